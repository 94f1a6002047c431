"""How replicates of a run, and the rows of their batches, lie over the devices of this host."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from effxf_jax.tasks import Examples


@dataclasses.dataclass(frozen=True)
class Layout:
    """Devices in as many equal groups as devices and replicates allow, each with its share of the replicates.

    The devices of a group hold the same states and share the rows of a batch, so that only they have to sum
    gradients. Over several hosts all devices are one group.

    What lies on devices is `[devices, replicates of a group, ...]`.

    Attributes:
        num_replicates: how many there are.
    """

    num_replicates: int = 1

    @property
    def num_groups(self) -> int:
        return math.gcd(self.num_replicates, jax.local_device_count()) if jax.process_count() == 1 else 1

    @property
    def replicates_in_group(self) -> int:
        return self.num_replicates // self.num_groups

    @property
    def devices_in_group(self) -> int:
        """Of this host."""
        return jax.local_device_count() // self.num_groups

    @property
    def axis_index_groups(self) -> list[list[int]] | None:
        """The groups, for a collective; None where there is one."""
        if self.num_groups == 1:
            return None
        return np.arange(jax.local_device_count()).reshape(self.num_groups, -1).tolist()

    def to_devices(self, states: Sequence[Any]) -> Any:
        """Lays out the states of the replicates, trees of arrays."""
        mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ('devices',))
        sharding = jax.NamedSharding(mesh, jax.P('devices'))

        def lay(*leaves):
            grouped = np.stack(leaves).reshape(self.num_groups, self.replicates_in_group, *leaves[0].shape)
            return jax.device_put(np.repeat(grouped, self.devices_in_group, axis=0), sharding)

        return jax.tree.map(lay, *states)

    def to_host(self, on_devices: Any) -> list[Any]:
        """The other way round, as numpy arrays; waits for the updates that make them."""

        def first_of_groups(leaf):
            shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
            return [shard.data for shard in shards[:: self.devices_in_group]]

        groups = jax.device_get(jax.tree.map(first_of_groups, on_devices))
        leaves, tree = jax.tree.flatten(groups, is_leaf=lambda x: isinstance(x, list))
        leaves = [np.concatenate([shard[0] for shard in leaf]) for leaf in leaves]
        return [tree.unflatten(leaf[i] for leaf in leaves) for i in range(self.num_replicates)]

    def shard(self, batch: Examples) -> Examples:
        """Lays out a host's batch, `[rows, length]` or, of several replicates, `[replicates, rows, length]`.

        Raises:
            ValueError: rows that the devices of a group cannot share evenly.
        """
        *_, rows, length = batch.tokens.shape
        devices = self.devices_in_group
        if rows % devices:
            raise ValueError(f'a batch must be divisible by {devices} devices; got {rows} rows')
        split = (self.num_groups, self.replicates_in_group, devices, rows // devices, length)

        def lay(x):
            return x.reshape(split).swapaxes(1, 2).reshape(-1, self.replicates_in_group, *split[3:])

        return Examples(*map(lay, batch))

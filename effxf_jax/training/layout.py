"""How replicates, and the rows of their batches, are distributed over the devices of this host."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from effxf_jax.tasks import Examples


@dataclasses.dataclass(frozen=True)
class Layout:
    """Divides devices into as many equal groups as possible, each with an equal share of the replicates.

    The devices of a group hold the same states and divide the rows of a batch among them, so gradients are
    summed within a group only. With several hosts, all devices form one group. Arrays on devices are
    `[devices, replicates of a group, ...]`.

    Attributes:
        num_replicates: number of replicates.
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
        """Devices in a group, on this host."""
        return jax.local_device_count() // self.num_groups

    @property
    def axis_index_groups(self) -> list[list[int]] | None:
        """The groups' devices, for a collective; None if there is one group."""
        if self.num_groups == 1:
            return None
        return np.arange(jax.local_device_count()).reshape(self.num_groups, -1).tolist()

    def to_devices(self, states: Sequence[Any]) -> Any:
        """Distributes the replicates' states, trees of arrays, over the devices."""
        mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ('devices',))
        sharding = jax.NamedSharding(mesh, jax.P('devices'))

        def lay(*leaves):
            grouped = np.stack(leaves).reshape(self.num_groups, self.replicates_in_group, *leaves[0].shape)
            return jax.device_put(np.repeat(grouped, self.devices_in_group, axis=0), sharding)

        return jax.tree.map(lay, *states)

    def to_host(self, on_devices: Any) -> list[Any]:
        """The reverse of `to_devices`: a tree of numpy arrays per replicate; waits for pending updates."""

        def first_of_groups(leaf):
            shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
            return [shard.data for shard in shards[:: self.devices_in_group]]

        leaves, tree = jax.tree.flatten(on_devices)
        shards = jax.device_get(list(map(first_of_groups, leaves)))
        leaves = [np.concatenate([shard[0] for shard in of_leaf]) for of_leaf in shards]
        return [tree.unflatten(leaf[i] for leaf in leaves) for i in range(self.num_replicates)]

    def shard(self, batches: Sequence[Examples]) -> Examples:
        """Distributes batches of this host over its devices.

        Args:
            batches: one batch per update, all of one shape: Examples `[rows, length]` or `[replicates, rows,
                length]`.

        Returns:
            Examples `[devices, replicates of a group, updates, rows of a device, length]`.

        Raises:
            ValueError: the rows are not divisible by the number of devices in a group.
        """
        *_, rows, length = batches[0].tokens.shape
        devices = self.devices_in_group
        if rows % devices:
            raise ValueError(f'a batch must be divisible by {devices} devices; got {rows} rows')
        split = (-1, self.num_groups, self.replicates_in_group, devices, rows // devices, length)

        def lay(*of_updates):
            by_device = np.stack(of_updates).reshape(split).transpose(1, 3, 2, 0, 4, 5)
            return by_device.reshape(-1, *by_device.shape[2:])

        return Examples(*map(lay, *batches))

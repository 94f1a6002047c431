"""Replicates and rows are laid out over devices as the update expects, and the inverse restores them."""

import itertools

import chex
import jax
import numpy as np
import pytest

from effxf_jax.tasks import Examples
from effxf_jax.training.layout import Layout

# Replicates, and the groups of the tests' four devices that they make.
GROUPS = {1: 1, 2: 2, 3: 1, 4: 4, 6: 2, 8: 4}


@pytest.fixture(params=GROUPS)
def layout(request):
    return Layout(request.param)


def test_groups_are_as_many_as_share_devices_and_replicates_evenly(layout):
    assert jax.local_device_count() == 4
    groups = GROUPS[layout.num_replicates]
    assert layout.num_groups == groups
    assert layout.devices_in_group * groups == 4
    assert layout.replicates_in_group * groups == layout.num_replicates
    if groups == 1:
        assert layout.axis_index_groups is None
    else:
        assert layout.axis_index_groups == {2: [[0, 1], [2, 3]], 4: [[0], [1], [2], [3]]}[groups]


def test_states_come_back_as_they_went_and_a_groups_devices_hold_the_same(layout):
    states = [
        {'a': np.arange(6.0).reshape(2, 3) + 10 * i, 'b': np.int32(i), 'list': [np.ones(2), np.zeros(3)]}
        for i in range(layout.num_replicates)
    ]
    on_devices = layout.to_devices(states)
    assert on_devices['a'].shape == (4, layout.replicates_in_group, 2, 3)
    for shard in on_devices['b'].addressable_shards:
        device = shard.index[0].start
        first = device // layout.devices_in_group * layout.replicates_in_group
        np.testing.assert_array_equal(shard.data, [np.arange(first, first + layout.replicates_in_group)])
    back = layout.to_host(on_devices)
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(back))
    for before, after in zip(states, back, strict=True):
        chex.assert_trees_all_equal(before, after)


def test_each_devices_rows_are_of_its_replicates_and_next_to_one_another(layout):
    count = layout.num_replicates
    tokens = np.arange(3 * count * 8 * 5).reshape(3, count, 8, 5)
    batches = [Examples(of_update, of_update % 2 == 0) for of_update in tokens]
    if count == 1:  # with or without an axis over replicates
        batches = [Examples(*(x[0] for x in batch)) for batch in batches]
    sharded = layout.shard(batches)
    rows = 8 // layout.devices_in_group
    assert sharded.tokens.shape == (4, layout.replicates_in_group, 3, rows, 5)
    for device, update in itertools.product(range(4), range(3)):
        group, place = divmod(device, layout.devices_in_group)
        first = group * layout.replicates_in_group
        of_group = tokens[update, first : first + layout.replicates_in_group]
        expected = of_group[:, place * rows : (place + 1) * rows]
        np.testing.assert_array_equal(sharded.tokens[device, :, update], expected)
        np.testing.assert_array_equal(sharded.given[device, :, update], expected % 2 == 0)


def test_a_batch_that_devices_cannot_share_is_refused():
    rows = np.zeros((6, 5), np.int32)
    with pytest.raises(ValueError, match='divisible by 4 devices; got 6 rows'):
        Layout().shard([Examples(rows, rows == 0)])

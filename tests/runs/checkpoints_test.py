"""A checkpoint is restored bit for bit, and a damaged one is skipped for the one before it."""

import shutil

import chex
import jax
import numpy as np
import pytest
from absl import logging

from effxf_jax.runs.checkpoints import Checkpoints
from effxf_jax.training import TrainState


def state_at(step):
    rng = np.random.default_rng(step)
    weights = {'kernel': rng.normal(size=(40, 30)).astype(np.float32), 'bias': np.float32(rng.random(5))}
    moments = (np.int32(step), jax.tree.map(np.square, weights))
    return TrainState(np.int32(step), weights, moments)


def save(directory, *steps):
    with Checkpoints(directory, keep=3) as checkpoints:
        for step in steps:
            checkpoints.save(
                step, state_at(step), {'config': {'seed': 1}, 'totals': {'wall_seconds': 0.1 * step}}
            )


def restore(directory):
    with Checkpoints(directory) as checkpoints:
        return checkpoints.restore_latest(state_at(0))


def test_the_latest_comes_back_bit_for_bit_with_its_record(tmp_path):
    save(tmp_path / 'new', 10, 20)
    restored = restore(tmp_path / 'new')
    chex.assert_trees_all_equal(restored.state, state_at(20))
    assert restored.record == {'config': {'seed': 1}, 'totals': {'wall_seconds': 2.0}}


def test_where_there_is_none_none_comes_back(tmp_path):
    assert restore(tmp_path) is None


def test_only_the_latest_few_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4, 5)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdigit()) == ['3', '4', '5']


def largest_file(directory):
    return max((p for p in directory.rglob('*') if p.is_file()), key=lambda p: p.stat().st_size)


def truncate(directory):
    path = largest_file(directory)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bits(directory):
    path = largest_file(directory)
    data = bytearray(path.read_bytes())
    for i in range(len(data) // 4, 3 * len(data) // 4, 97):
        data[i] ^= 0xFF
    path.write_bytes(data)


def empty_all(directory):
    for path in directory.rglob('*'):
        if path.is_file():
            path.write_bytes(b'')


def lose_record(directory):
    for path in (directory / 'record').rglob('*'):
        path.unlink()


def lose_state(directory):
    for path in sorted((directory / 'state').rglob('*'), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def take_the_state_of_another(directory):
    """Whole in itself, so that only the record tells."""
    shutil.rmtree(directory / 'state')
    shutil.copytree(directory.parent / '10' / 'state', directory / 'state')


DAMAGES = [truncate, flip_bits, empty_all, lose_record, lose_state, take_the_state_of_another]


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_newest_falls_back_to_the_one_before_with_a_warning(tmp_path, damage, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, 'warning', lambda text, *values: warnings.append(text % values))
    save(tmp_path, 10, 20)
    damage(tmp_path / '20')
    restored = restore(tmp_path)
    chex.assert_trees_all_equal(restored.state, state_at(10))
    assert len(warnings) == 1
    assert 'step 20 is damaged' in warnings[0]
    # The damaged one is out of the way of saving that step again.
    save(tmp_path, 20)
    chex.assert_trees_all_equal(restore(tmp_path).state, state_at(20))


def test_one_of_another_run_is_refused_and_stays(tmp_path):
    save(tmp_path, 10, 20)

    def check(record):
        raise RuntimeError(f'not of this run: {record["config"]}')

    other = state_at(0)._replace(params={'kernel': np.zeros((3, 3), np.float32)})
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(RuntimeError, match="'seed': 1"):
        checkpoints.restore_latest(other, check)
    chex.assert_trees_all_equal(restore(tmp_path).state, state_at(20))


def test_leftovers_of_a_killed_save_are_ignored(tmp_path):
    save(tmp_path, 10)
    leftover = tmp_path / '20.orbax-checkpoint-tmp-1'
    leftover.mkdir()
    (leftover / 'state').write_text('half')
    chex.assert_trees_all_equal(restore(tmp_path).state, state_at(10))

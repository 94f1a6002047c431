"""A checkpoint is restored bit for bit, and a damaged one is skipped for the one before it."""

import errno
import shutil
from pathlib import Path

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl import logging

from effxf_jax.runs import checkpoints
from effxf_jax.runs.checkpoints import CheckpointError, Checkpoints
from effxf_jax.training import TrainState


def state_at(step):
    rng = np.random.default_rng(step)
    weights = {'kernel': rng.normal(size=(40, 30)).astype(np.float32), 'bias': np.float32(rng.random(5))}
    moments = (np.int32(step), jax.tree.map(np.square, weights))
    return TrainState(np.int32(step), weights, moments)


def save(directory, *steps):
    with Checkpoints(directory, keep=3) as opened:
        for step in steps:
            opened.save(step, state_at(step), {'config': {'seed': 1}, 'totals': {'wall_seconds': 0.1 * step}})


def restore(directory):
    with Checkpoints(directory) as opened:
        return opened.restore_latest(state_at(0))


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


def break_the_list(directory):
    (directory / checkpoints.FILES).write_text('[]')


DAMAGES = [break_the_list, truncate, flip_bits, empty_all, lose_record, lose_state, take_the_state_of_another]


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
    assert (tmp_path / 'damaged' / '20').is_dir()
    # The damaged one is out of the way of saving that step again.
    save(tmp_path, 20)
    chex.assert_trees_all_equal(restore(tmp_path).state, state_at(20))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_second_damaged_one_of_a_step_has_a_place_of_its_own(tmp_path):
    for _ in range(2):
        save(tmp_path, 10, 20)
        break_the_list(tmp_path / '20')
        restore(tmp_path)
    assert names(tmp_path / 'damaged') == ['20', '20-2']


def test_where_all_are_damaged_training_does_not_begin_anew_unasked(tmp_path):
    save(tmp_path, 10, 20)
    truncate(tmp_path / '10')
    truncate(tmp_path / '20')
    with pytest.raises(CheckpointError, match='all checkpoints in .* are damaged'):
        restore(tmp_path)
    assert restore(tmp_path) is None


def stale(*_, **__):
    raise OSError(errno.ESTALE, 'Stale file handle')


def a_record_without_checksum(directory):
    (directory / checkpoints.FILES).unlink()
    (directory / 'record' / 'metadata').write_text('{"config": {}}')


def another_version(directory):
    """Its metadata is of a form that this version of Orbax does not read, and was written so."""
    (directory / checkpoints.FILES).unlink()
    (directory / 'state' / '_METADATA').write_text('{"tree_metadata": 7}')


@pytest.mark.parametrize(
    ('break_it', 'like', 'reason'),
    [
        (lambda path, patch: patch.setattr(Path, 'read_bytes', stale), state_at(0), 'Stale file handle'),
        (
            lambda path, patch: patch.setattr(ocp.CheckpointManager, 'restore', stale),
            state_at(0),
            'Stale file handle',
        ),
        (lambda path, patch: another_version(path), state_at(0), 'no checksum proves it damaged'),
        (lambda path, patch: a_record_without_checksum(path), state_at(0), "KeyError: 'checksum'"),
        (
            lambda path, patch: None,
            state_at(0)._replace(opt_state=(*state_at(0).opt_state, np.zeros(2, np.float32))),
            'no checksum proves it damaged',
        ),
    ],
    ids=['stale list', 'stale arrays', 'another version', 'no checksum', 'another structure'],
)
def test_one_that_cannot_be_restored_for_another_reason_stops_the_run_and_nothing_is_lost(
    tmp_path, monkeypatch, break_it, like, reason
):
    save(tmp_path, 10, 20)
    before = names(tmp_path)
    with monkeypatch.context() as patch:
        break_it(tmp_path / '20', patch)
        with Checkpoints(tmp_path) as opened, pytest.raises(CheckpointError, match=reason) as error:
            opened.restore_latest(like)
    assert str(tmp_path / '20') in str(error.value)
    assert names(tmp_path) == before


def test_one_of_another_run_is_refused_and_stays(tmp_path):
    save(tmp_path, 10, 20)

    def check(record):
        raise RuntimeError(f'not of this run: {record["config"]}')

    other = state_at(0)._replace(params={'kernel': np.zeros((3, 3), np.float32)})
    with Checkpoints(tmp_path) as opened, pytest.raises(RuntimeError, match="'seed': 1"):
        opened.restore_latest(other, check)
    chex.assert_trees_all_equal(restore(tmp_path).state, state_at(20))


def test_leftovers_of_a_killed_save_are_ignored(tmp_path):
    save(tmp_path, 10)
    leftover = tmp_path / '20.orbax-checkpoint-tmp-1'
    leftover.mkdir()
    (leftover / 'state').write_text('half')
    chex.assert_trees_all_equal(restore(tmp_path).state, state_at(10))


def test_a_save_that_fails_is_said_and_the_checkpoints_before_it_stay(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, 'No space left on device')

    save(tmp_path, 10)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, '_files', full)
        with pytest.raises(CheckpointError, match='step 20 cannot be saved .*No space left.*Earlier ones'):
            save(tmp_path, 20)
        with pytest.raises(CheckpointError, match='step 20 cannot be saved'):
            save(tmp_path, 20, 30)
        with pytest.raises(KeyError, match='under way'):
            save_and_fail(tmp_path)
    chex.assert_trees_all_equal(restore(tmp_path).state, state_at(10))
    save(tmp_path, 20)
    chex.assert_trees_all_equal(restore(tmp_path).state, state_at(20))


def test_a_save_that_fails_before_it_is_in_the_background_is_said_likewise(tmp_path, monkeypatch):
    monkeypatch.setattr(ocp.CheckpointManager, 'save', stale)
    with pytest.raises(CheckpointError, match='step 20 cannot be saved .*Stale file handle'):
        save(tmp_path, 20)


def save_and_fail(directory):
    with Checkpoints(directory) as opened:
        opened.save(20, state_at(20), {})
        raise KeyError('what is under way is not hidden')

"""A run that cannot fit into memory is refused with what it needs, and every preset is let through."""

import pytest

from effxf_jax.runs import memory, run
from effxf_jax.runs.listener import Silent
from experiments import configs


def experiment(overrides, preset='smoke'):
    return configs.make_experiment(configs.load(f'experiments/arith.py:{preset},{overrides}'))


@pytest.mark.parametrize(
    ('overrides', 'part'),
    [
        ('dim=1000000', 'the models and their training take'),
        ('num_replicates=10000000', 'the models and their training take'),
        ('batch_size=4000000000', 'a batch takes'),
        ('n=100000', 'a block of 1,024 examples takes'),
    ],
)
def test_what_cannot_fit_is_refused_before_anything_is_written(overrides, part, tmp_path):
    with pytest.raises(memory.MemoryLimitError, match=rf'{part} [\d,]{{3,}}\.\d GiB.*this machine has'):
        run.run(experiment(overrides), tmp_path / 'run', Silent())
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('config', ['arith', 'ed', 'ed_local', 'equations', 'lis', 'word_problems'])
@pytest.mark.parametrize('preset', ['laptop', 'quick', 'paper', 'smoke'])
def test_every_preset_is_let_through(config, preset):
    made = configs.make_experiment(configs.load(f'experiments/{config}.py:{preset}'))
    memory.check(made, 4)
    # It is a lower bound, and of the right order: these take from megabytes to a few gigabytes.
    assert 2**16 < sum(memory.least_bytes(made, 4)) < 2**33


def test_the_state_of_training_is_at_least_counted():
    examples, state, batch = memory.least_bytes(experiment('dim=64,num_replicates=3'), 1)
    alone = memory.least_bytes(experiment('dim=64'), 1)
    assert state == 3 * alone[1]
    assert (examples, batch) == (alone[0], alone[2])
    assert memory.least_bytes(experiment('dim=64'), 2)[2] == alone[2] // 2

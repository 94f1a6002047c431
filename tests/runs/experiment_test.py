"""A record is read by any later version, and a name follows from what differs from the defaults."""

import dataclasses
import json

import numpy as np
import pytest
from absl import logging

from effxf_jax import attention, registry, tasks
from effxf_jax.attention import linear
from effxf_jax.data import text_files
from effxf_jax.data.blocks import DataError, generate_block
from effxf_jax.data.sources import DataConfig
from effxf_jax.model import ModelConfig
from effxf_jax.runs import record
from effxf_jax.runs.config import RunConfig
from effxf_jax.runs.experiment import Experiment
from effxf_jax.runs.record import ExperimentError
from effxf_jax.tasks.lis import LongestIncreasingSubsequence
from effxf_jax.training import OPTIMIZERS, TrainConfig
from experiments import arith, configs, equations
from tests.runs import later
from tests.runs.later import LaterTask

RUN = RunConfig(64, 16, 100, 32, 100, 1, 10)


def make(task='lis', seed=0, mechanism='linear', options=(), train=(), **sizes):
    task = tasks.make(task, **(sizes or {'n': 12}))
    model = ModelConfig(task.vocabulary.size, task.max_length, dim=32, mechanism=mechanism, options=options)
    return Experiment(seed, task, model, DataConfig(), TrainConfig(100, 32, 4e-3, **dict(train)), RUN)


EXPERIMENTS = [
    make(),
    make(seed=7, number_range=80, n=20),
    make(mechanism='linear+sparse', options={'block_size': 8, 'chunk_size': 32}),
    make('edit_distance_local', rows=6, pattern_length=2, answer_mode='direct'),
    make(train={'num_replicates': 3, 'options': {'beta2': 0.98}}),
]
NAMES = [made.name for made in EXPERIMENTS]
RECORDS = [made.record for made in EXPERIMENTS]


@pytest.mark.parametrize('made', EXPERIMENTS, ids=NAMES)
def test_a_record_and_a_difference_give_back_the_experiment(made):
    assert Experiment.from_record(json.loads(json.dumps(made.record))) == made
    assert Experiment.from_difference(json.loads(json.dumps(made.difference))) == made


def test_names_are_readable_and_differ_where_experiments_do():
    assert make().name.startswith('lis-linear-n12-dim32-')
    name = make('edit_distance_local', rows=6, pattern_length=2).name
    assert name.startswith('edit_distance_local-linear-rows6-pattern_length2-dim32-')
    assert len({made.name for made in [*EXPERIMENTS, make(seed=1), make(options={'chunk_size': 8})]}) == 7


DEFAULTS = {
    'model.dim': 64,
    'model.num_heads': 4,
    'model.num_layers': 3,
    'model.mechanism': 'standard',
    'model.dropout': 0.1,
    'model.dtype': 'float32',
    'data.source': 'generated',
    'data.num_train_examples': None,
    'data.path': None,
    'data.test_path': None,
    'train.schedule': 'cosine',
    'train.warmup_steps': 0,
    'train.optimizer': 'adamw',
    'train.clip_norm': 1.0,
    'train.num_replicates': 1,
    'sparse.block_size': None,
    'sparse.summary_size': 1,
    'sparse.pattern': 'fixed',
    'sliding_window.window': None,
    'linear.feature_map': 'elu_plus_one',
    'linear.chunk_size': 64,
    'adamw.weight_decay': 0.01,
    'adamw.beta1': 0.9,
    'adamw.beta2': 0.999,
    'arithmetic.modulus': 11,
    'arithmetic.order': 'random',
    'arithmetic.answer_mode': 'chain',
    'edit_distance.border': 'published',
    'edit_distance.answer_mode': 'chain',
    'edit_distance_local.answer_mode': 'chain',
    'linear_equations.modulus': 11,
    'linear_equations.answer_mode': 'chain',
    'lis.number_range': None,
    'lis.answer_mode': 'chain',
}


def test_first_defaults_never_change():
    """If this fails, a default has changed: enter the old one in `registry.FIRST_DEFAULTS`."""
    found = {
        f'{owner}.{name}': value
        for table in (record.SECTIONS, attention.MECHANISMS, OPTIMIZERS, tasks.TASKS)
        for owner, factory in table.items()
        for name, value in registry.first_defaults(owner, factory).items()
    }
    assert {name: found[name] for name in DEFAULTS} == DEFAULTS


def test_names_are_what_they_were():
    """If this fails, the rule by which names are made has changed: raise SCHEMA_VERSION."""
    assert [name.rpartition('-')[2] for name in NAMES] == [
        '57d53c9c39', 'a352a8aff7', '504beca037', '4f86134d96', '548c4eab74',
    ]  # fmt: skip


def test_what_has_its_default_is_not_part_of_a_difference_nor_are_options_of_other_mechanisms():
    made = make(options={'chunk_size': 64})
    assert made.name == make().name
    assert 'model.chunk_size' not in made.difference
    assert made.difference['train.steps'] == 100  # what has no default always is
    assert set(made.record['model']) >= {'feature_map', 'chunk_size'}
    assert not set(made.record['model']) & {'block_size', 'window', 'vocab_size', 'options'}


@pytest.fixture
def later_version(monkeypatch):
    later.patch(monkeypatch)


def test_new_fields_with_defaults_leave_names_and_records_valid(later_version):
    assert 'ties' not in RECORDS[0]['task']
    read = [Experiment.from_record(record) for record in RECORDS]
    assert read[0].record['task']['ties'] == 'strict'
    assert read[0].record['model'] | {'norm': 'layer', 'gate': 'none'} == read[0].record['model']
    assert [made.name for made in read] == NAMES
    changed = Experiment.from_record({**RECORDS[0], 'train': {**RECORDS[0]['train'], 'ema': 0.5}})
    assert changed.name != NAMES[0]


def _linear_with_smaller_chunks(feature_map: str = 'elu_plus_one', chunk_size: int = 32):
    return linear(feature_map, chunk_size)


def test_a_changed_default_leaves_the_meaning_of_names_and_results(monkeypatch):
    difference = EXPERIMENTS[0].difference
    monkeypatch.setitem(attention.MECHANISMS, 'linear', _linear_with_smaller_chunks)
    monkeypatch.setitem(registry.FIRST_DEFAULTS, 'linear.chunk_size', 64)
    assert make(options={'chunk_size': 64}).name == NAMES[0]
    assert make().name != NAMES[0]
    read = Experiment.from_difference(difference)
    assert read.record['model']['chunk_size'] == 64
    assert Experiment.from_record(RECORDS[0]).name == NAMES[0]
    assert Experiment.from_difference(make().difference) == make()


def test_a_new_option_of_a_task_leaves_its_examples_as_they_are():
    old, new = LongestIncreasingSubsequence(6), LaterTask(6)
    assert new.stream_key == old.stream_key != LaterTask(6, ties='other').stream_key
    np.testing.assert_array_equal(
        generate_block(new, 0, 'train', 3).tokens, generate_block(old, 0, 'train', 3).tokens
    )


def test_records_of_before_that_held_the_options_of_all_mechanisms_are_read():
    unused = {'block_size': None, 'summary_size': 1, 'pattern': 'fixed', 'window': None}
    record = make().record
    assert Experiment.from_record({**record, 'model': record['model'] | unused}) == make()
    with pytest.raises(ExperimentError, match="model: block_size is not an option of mechanism 'linear'"):
        Experiment.from_record({**record, 'model': record['model'] | {'block_size': 8}})


def test_a_new_mechanism_leaves_early_records_readable(monkeypatch):
    other = lambda chunk_size=32: linear(chunk_size=chunk_size)
    monkeypatch.setitem(attention.MECHANISMS, 'other', other)
    record = make(mechanism='standard').record
    assert Experiment.from_record({**record, 'model': record['model'] | {'chunk_size': 64}}).name


def test_integers_and_floats_make_one_experiment():
    whole = dataclasses.replace(make(), train=TrainConfig(100, 32, learning_rate=1))
    assert whole.name == dataclasses.replace(make(), train=TrainConfig(100, 32, learning_rate=1.0)).name
    with pytest.raises(ValueError, match='steps must be of type int; got 10.5'):
        TrainConfig(10.5, 32, 1.0)


def test_a_record_of_another_shape_is_refused():
    for broken in ({'task': 3}, {'model': 3}, {'train': [1]}):
        with pytest.raises(ExperimentError, match='must hold fields and values; got'):
            Experiment.from_record(make().record | broken)


def test_text_in_a_size_makes_one_directory(monkeypatch):
    required = lambda task: {'path': 'gsm8k/main file'}
    monkeypatch.setattr(tasks, 'required_options', required)
    monkeypatch.setattr(tasks, 'given_options', required)
    assert make().name.startswith('lis-linear-pathgsm8k_main_file-dim32-')


def test_everything_wrong_with_a_record_is_named_at_once():
    record = make().record
    broken = {
        **record,
        'seed': -1,
        'sed': 3,
        'task': {'name': 'lis'},
        'model': {**record['model'], 'dimm': 3},
        'train': {**record['train'], 'steps': None},
        'run': {**record['run'], 'eval_every': 0},
    }
    with pytest.raises(ExperimentError) as error:
        Experiment.from_record(broken)
    for part in (
        'seeds must be from 0',
        "unknown field 'sed'",
        'task: n must be given',
        "model: unknown field 'dimm'; did you mean dim?",
        'train: steps must be given',
        'run: eval_every must be at least 1',
    ):
        assert part in str(error.value)
    assert len(error.value.problems) == 6


def test_the_last_seed_of_replicates_must_be_in_range():
    with pytest.raises(ExperimentError, match='got 2147483646 to 2147483648'):
        make(seed=2**31 - 2, train={'num_replicates': 3})


def test_more_test_problems_than_a_file_has_are_refused_whatever_they_are_for(tmp_path):
    config = 'smoke,source=text,num_eval_examples=9,num_progress_examples=8'
    paths = {name: tmp_path / f'{name}.txt' for name in ('train', 'test')}
    made = configs.make_experiment(
        arith.get_config(f'{config},path={paths["train"]},test_path={paths["test"]}')
    )
    for (split, path), count in zip(paths.items(), (9, 7), strict=True):
        text_files.write(path, made.task, 0, split, count)
    with pytest.raises(DataError) as error:
        made.open_data()
    assert str(error.value).splitlines() == [
        'num_eval_examples must be at most 7, the number of test examples; got 9',
        'num_progress_examples must be at most 7, the number of test examples; got 8',
    ]


def test_a_task_with_few_problems_is_warned_of(monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, 'warning', lambda layout, *values: warnings.append(layout % values))
    configs.make_experiment(equations.get_config('smoke,n=2,modulus=11')).open_data()
    assert warnings == []
    few = configs.make_experiment(equations.get_config('smoke,n=2,modulus=3,num_eval_examples=128'))
    few.open_data()
    assert len(warnings) == 1
    assert 'of the 128 test problems are different' in warnings[0]

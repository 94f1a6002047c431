"""String arguments become configurations, and all their problems are reported together."""

import json

import optax
import pytest

from effxf_jax import tasks, training
from experiments import arith, configs, ed, ed_local, equations, lis, word_problems


@pytest.mark.parametrize('module', [arith, ed, ed_local, equations, lis, word_problems])
@pytest.mark.parametrize('preset', ['laptop', 'quick', 'paper', 'smoke'])
def test_every_preset_makes_an_experiment(module, preset):
    experiment = configs.make_experiment(module.get_config(preset))
    assert experiment.task.max_length == experiment.model.max_length
    json.dumps(experiment.record)
    assert set(module.get_config(preset).task) == {'name', *tasks.options(module.TASK)}
    assert preset in module.__doc__


@pytest.mark.parametrize('module', [arith, ed, lis])
def test_size_alone_may_be_overridden(module):
    for n in 3, 12, 40:
        assert configs.make_task(module.get_config(f'n={n}')).n == n


def test_no_argument_means_the_laptop_preset():
    assert arith.get_config() == arith.get_config('laptop') == arith.get_config('')


def test_overrides_go_by_bare_or_dotted_name():
    config = arith.get_config('paper,n=10,model.dim=64,mechanism=linear,num_train_examples=none,block_size=8')
    assert config.task.n == 10
    assert config.model.dim == 64
    assert config.model.mechanism == 'linear'
    assert config.model.block_size == 8
    assert config.data.num_train_examples is None
    assert config.train.batch_size == arith.PRESETS['paper']['train.batch_size']


def test_overrides_without_a_preset_apply_to_the_default_one():
    config = arith.get_config('n=2,learning_rate=1')
    assert (config.task.n, config.train.learning_rate) == (2, 1.0)
    assert config.train.steps == arith.get_config().train.steps


@pytest.mark.parametrize('name', ['mechanism', 'block_size', 'summary_size', 'feature_map', 'chunk_size'])
def test_options_of_mechanisms_are_fields(name):
    assert name in arith.get_config().model


@pytest.mark.parametrize(
    'name, content, message',
    [
        ('none.py', None, "no config file .*none.py'; there is, for example, experiments/arith.py"),
        ('raises.py', 'raise RuntimeError("never")', 'raises.py is not a config file: RuntimeError: never'),
        ('garbage.py', '{', 'garbage.py is not a config file: SyntaxError'),
        ('other.py', 'x = 1', 'other.py is not a config file: it defines no get_config'),
        ('bare.py', 'def get_config(): pass', 'get_config must take one argument, the text after the colon'),
        (
            'fails.py',
            'def get_config(arg):\n    return {}[arg]',
            r"get_config\('n=2'\) of .*fails.py raises KeyError in line 2: 'n=2'",
        ),
        ('none.py', 'get_config = lambda arg: None', 'get_config must return a ConfigDict; got NoneType'),
        ('setup.cfg', '[metadata]', r'setup.cfg is not a config file: its name does not end in \.py'),
    ],
)
def test_a_file_that_is_not_a_config_file_is_refused(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(configs.ConfigError, match=message):
        configs.load(f'{tmp_path / name}:n=2')


def test_every_meaningless_part_of_an_argument_is_named():
    with pytest.raises(configs.ConfigError) as error:
        arith.get_config('laptp,dmi=3,n=three,steps=1.5,whatever')
    assert len(error.value.problems) == 5
    for part in (
        "'laptp'; a preset is one of laptop, quick, paper, smoke",
        'did you mean dim',
        'task.n must be of type int',
        'train.steps must be of type int; got 1.5',
        "'whatever'",
    ):
        assert part in str(error.value)


def test_every_value_out_of_range_is_named():
    config = arith.get_config(
        'dim=63,n=0,modulus=9,mechanism=cubic,batch_size=6,order=rightmost,eval_every=0'
    )
    with pytest.raises(configs.ConfigError) as error:
        configs.make_experiment(config, devices=4)
    message = str(error.value)
    for part in (
        'divisible by num_heads; got dim 63',
        'n must be at least 1',
        'prime from 2 to 113; got 9',
        "'cubic'",
        'divisible by the 4 devices; got 6',
        "'rightmost'",
        'eval_every must be at least 1',
    ):
        assert part in message


@pytest.mark.parametrize(
    ('arg', 'message'),
    [
        ('seed=-1', 'seeds must be from 0'),
        ('batch_size=none', 'train: batch_size must be given'),
        ('num_layers=2,mechanism=linear+linear+standard', 'num_layers must be at least 3 for the mixture'),
    ],
)
def test_what_would_fail_in_mid_run_is_refused_before(arg, message):
    with pytest.raises(configs.ConfigError, match=message):
        configs.make_experiment(arith.get_config(arg))


@pytest.mark.parametrize(
    ('arg', 'message'),
    [
        (
            'mechanism=standard,block_size=8',
            "block_size is not an option of mechanism 'standard'.*block_size=8",
        ),
        ('mechanism=standard,chunk_size=64', "chunk_size is not an option of mechanism 'standard'"),
        ('mechanism=linear,window=8', r"'linear' \(options: feature_map, chunk_size\); got window=8"),
        ('mechanism=lineer', "unknown mechanism 'lineer'; did you mean linear?"),
        ('optimizer=adam', "unknown optimizer 'adam'; did you mean adamw?"),
    ],
)
def test_options_of_another_mechanism_and_names_of_none_are_refused(arg, message):
    with pytest.raises(configs.ConfigError, match=message):
        configs.make_experiment(arith.get_config(arg))


def test_a_config_file_may_name_its_task_in_short_and_an_unknown_task_is_refused():
    presets = {'laptop': {'task.n': 3}}
    assert configs.build(None, 'ed', presets).task.name == 'edit_distance'
    with pytest.raises(configs.ConfigError, match="unknown task 'edit_distanze'; did you mean edit_d"):
        configs.build(None, 'edit_distanze', presets)


def test_a_presets_options_of_another_optimizer_are_left_out_and_given_ones_are_refused(monkeypatch):
    def sgd(momentum: float = 0.0):
        return lambda rate, roles: optax.sgd(rate, momentum)

    monkeypatch.setitem(training.OPTIMIZERS, 'sgd', sgd)
    assert 'train.beta2' in arith.PRESETS['laptop']
    train = configs.make_experiment(arith.get_config('optimizer=sgd,momentum=0.9')).train
    assert dict(train.options) == {'momentum': 0.9}
    config = arith.get_config('laptop')  # as the flag --config.train.optimizer does
    config.train.optimizer = 'sgd'
    assert configs.make_experiment(config).train.options == ()
    with pytest.raises(configs.ConfigError, match="beta2 is not an option of optimizer 'sgd'"):
        configs.make_experiment(arith.get_config('optimizer=sgd,beta2=0.9'))

"""A declared grid becomes cells, one run each; all problems are reported before a cell runs."""

import pytest
from ml_collections import ConfigDict

from effxf_jax.theory import complexity
from experiments import arith, configs
from experiments.sweeping import cells
from experiments.sweeps import (
    figure1,
    from_construction,
    learning_rates,
    live_set,
    locality,
    mechanisms,
    min_width,
    mixture,
    optimizers,
    presets,
    rate_transfer,
    studies,
)

WITH_SMOKE = (
    figure1,
    from_construction,
    live_set,
    locality,
    mechanisms,
    min_width,
    mixture,
    optimizers,
    presets,
    rate_transfer,
    studies,
)
SWEEPS = [(module, 'laptop') for module in (*WITH_SMOKE, learning_rates)]
SWEEPS += [(module, 'smoke') for module in WITH_SMOKE]
SWEEPS += [(figure1, 'first_row'), (min_width, 'decade')]
SWEEPS += [(figure1, 'paper'), (figure1, 'gpu'), (learning_rates, 'gpu')]


def sweep(config='experiments/arith.py:smoke', axes=None, **fields):
    axes = axes or {
        'mechanism': cells.values('mechanism', 'standard', 'linear'),
        'width': ('dim=8', 'dim=16'),
    }
    grid = {name: fields.pop(name) for name in ('metric', 'target', 'search') if name in fields}
    grids = {'grids': {'tiny': cells.grid(config, axes, **grid)}} | fields
    return ConfigDict({**cells.DEFAULTS, 'name': 'test', **grids})


@pytest.mark.parametrize('module, preset', SWEEPS, ids=lambda value: getattr(value, '__name__', value))
def test_every_preset_makes_a_sweep(module, preset):
    made = cells.make_sweep(module.get_config(preset))
    names = [cell.name for cell in made.cells()]
    assert len(names) == len(set(names)) > 0
    assert preset in module.__doc__


def test_the_paper_preset_has_the_cells_of_figure_1():
    made = cells.make_sweep(figure1.get_config('paper'))
    assert {grid.name: len(grid.cells) for grid in made.grids} == {
        'arithmetic': 3 * 4 * 5, 'edit_distance': 3 * 4 * 6, 'lis': 3 * 4 * 6
    }  # fmt: skip
    assert {cell.experiment.train.batch_size for cell in made.cells()} == {512}


def test_a_cell_is_the_run_that_its_overrides_describe():
    made = cells.make_sweep(sweep(num_seeds=2, side_by_side=1, seed=5))
    (grid,) = made.grids
    assert list(grid.cells) == [
        (f'mechanism={mechanism}', f'dim={dim}') for mechanism in ('standard', 'linear') for dim in (8, 16)
    ]
    last = grid.cells['mechanism=linear', 'dim=16']
    assert [cell.experiment.seed for cell in last] == [5, 6]
    expected = arith.get_config('smoke,mechanism=linear,dim=16,seed=6')
    assert last[1].experiment == configs.make_experiment(expected)


@pytest.mark.parametrize(
    'config, metric, expected',
    [
        ('arith', None, 'answer_accuracy'),
        ('lis', None, 'chain_accuracy'),
        ('arith', 'chain_accuracy', 'chain_accuracy'),
    ],
)
def test_the_accuracy_that_counts_is_by_default_that_of_the_task(config, metric, expected):
    (grid,) = cells.make_sweep(sweep(f'experiments/{config}.py:smoke', metric=metric)).grids
    assert grid.metric == expected


def test_training_costs_three_forward_passes_of_every_longest_row_of_every_seed():
    (grid,) = cells.make_sweep(sweep('experiments/arith.py:smoke,steps=7,batch_size=4', num_seeds=3)).grids
    (cell,) = grid.cells['mechanism=linear', 'dim=8']
    assert cell.experiment.train.num_replicates == 3
    multiply_adds = complexity.forward_cost(cell.experiment.model).total.macs
    assert cell.train_flops == 3 * 2 * multiply_adds * 4 * 7 * 3


@pytest.mark.parametrize(
    'num_seeds, side_by_side, groups', [(3, 3, [[0, 1, 2]]), (5, 3, [[0, 1, 2], [3, 4]]), (2, 1, [[0], [1]])]
)
def test_seeds_are_split_into_cells(num_seeds, side_by_side, groups):
    (grid,) = cells.make_sweep(sweep(num_seeds=num_seeds, side_by_side=side_by_side)).grids
    for point in grid.cells.values():
        assert [[alone.seed for alone in cell.experiment.replicates()] for cell in point] == groups


def test_more_seeds_leave_the_cells_of_the_first_ones_as_they_are():
    few, more = (
        {cell.name for cell in cells.make_sweep(sweep(num_seeds=count, side_by_side=3)).cells()}
        for count in (3, 6)
    )
    assert few < more


def test_axes_keep_their_order():
    axes = {'width': ('dim=8',), 'mechanism': ('mechanism=linear',), 'beta': ('beta2=0.9',)}
    (grid,) = cells.make_sweep(sweep(axes=axes)).grids
    assert list(grid.axes) == ['width', 'mechanism', 'beta']


def test_all_that_is_wrong_is_named_at_once():
    axes = {
        'mechanism': ('mechanism=cubic', 'mechanism=linear'),
        'width': ('dim=9', 'dmi=8', 'wide'),
        'n': (),
    }
    config = sweep(axes={**axes, 'n': ('n=2', 'n=2')}, metric='loss', target=1.5)
    with pytest.raises(configs.ConfigError) as caught:
        cells.make_sweep(config)
    text = str(caught.value)
    for part in (
        'grid tiny: axis n names a value twice', 'metric must be one of', 'target must be', "'cubic'",
        'mechanism=linear, dim=9, n=2: model: dim must be', "unknown field 'dmi'; did you mean dim?",
        "'wide' is not of the form field=value",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(
    'change, message',
    [
        (
            {'axes': {'rate': ('learning_rate=0.1',)}},
            'there must be two axes or more',
        ),
        ({'num_seeds': 0}, 'num_seeds must be at least 1; got 0'),
        ({'gpus': 1.5}, 'gpus above 1 must be whole; got 1.5'),
        ({'only': 'huge'}, "there is no grid 'huge'; expected one of tiny"),
        ({'config': 'experiments/none.py'}, "no config file 'experiments/none.py'"),
        ({'config': 'experiments/arith.py:smoke,dmi=3'}, 'did you mean dim'),
        ({'cpus': 3}, 'the 3 devices; got 16'),
        ({'axes': {'seed': ('seed=1', 'seed=2')}}, 'seed is set by the sweep'),
        ({'config': 'experiments/arith.py:smoke,seed=3'}, 'of its config are set by the sweep'),
    ],
)
def test_a_wrong_field_is_refused(change, message):
    with pytest.raises(configs.ConfigError, match=message.replace('?', '.')):
        cells.make_sweep(sweep(**change))


def test_a_cell_in_two_grids_is_run_once():
    config = sweep()
    config.grids.again = config.grids.tiny
    made = cells.make_sweep(config)
    assert len(list(made.cells())) == 4
    config.only = 'again'
    assert [grid.name for grid in cells.make_sweep(config).grids] == ['again']


def test_labels_are_shortened_for_display():
    assert cells.short('mechanism=sparse,pattern=strided,learning_rate=0.01') == 'sparse pattern=strided'
    assert cells.short('n=8') == 'n=8'


def test_two_points_of_a_grid_that_are_one_run_are_refused():
    # On a command line `none` leaves an option at its default.
    axes = {'mechanism': ('mechanism=sparse',), 'heads': ('heads=none', 'heads=merged', 'heads=separate')}
    with pytest.raises(configs.ConfigError) as error:
        cells.make_sweep(sweep(axes=axes))
    (problem,) = error.value.problems
    assert problem.endswith(
        'mechanism=sparse, heads=none and mechanism=sparse, heads=merged describe the same run'
    )


@pytest.mark.parametrize('name', ['a/b', '', 'a b', 'a\nb'])
def test_the_name_of_a_grid_must_be_a_part_of_file_names(name):
    made = sweep()
    declared = made.grids.tiny
    made.grids = ConfigDict({'tiny': declared})
    with made.unlocked():
        made.grids[name] = declared
    with pytest.raises(configs.ConfigError, match='a name of a grid, a part of file names'):
        cells.make_sweep(made)

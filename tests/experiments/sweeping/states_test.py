"""The cells that a grid still requires follow from the states of its cells."""

from experiments.sweeping.states import State, wanted
from tests.experiments.sweeping.small import sweep


def states(grid, reached):
    return {
        cell.name: State([{'seed': 0, grid.metric: reached[labels]}], True)
        if labels in reached
        else State([], False)
        for labels, (cell,) in grid.cells.items()
    }


def test_a_search_at_each_point_is_its_own():
    (grid,) = sweep((8, 12, 16), ('standard', 'linear'), search=True, target=0.9).grids
    point = lambda mechanism, dim: (f'mechanism={mechanism}', f'dim={dim}')
    asked = lambda reached: [cell.labels for cell in wanted(grid, states(grid, reached))]
    assert asked({}) == [point('standard', 12), point('linear', 12)]
    passed = {point('standard', 12): 0.9, point('linear', 12): 0.89}
    assert asked(passed) == [point('standard', 8), point('linear', 16)]
    passed |= {point('standard', 8): 0.1, point('linear', 16): 0.95}
    assert asked(passed) == [point('standard', 16), point('linear', 8)]
    assert asked(passed | {point('standard', 16): 1.0, point('linear', 8): 0.0}) == []


def test_a_cell_that_diverged_reaches_no_target_and_one_that_failed_otherwise_says_nothing():
    (grid,) = sweep((8, 12, 16), search=True).grids
    found = states(grid, {})
    name = grid.cells['mechanism=standard', 'dim=12'][0].name
    for diverged, expected in ((True, ['dim=16']), (False, ['dim=12'])):
        found[name] = State([], False, 'why', diverged)
        assert [cell.labels[1] for cell in wanted(grid, found)] == expected

"""What is drawn side by side can be told apart."""

from experiments.reporting import plotting
from experiments.sweeps import locality


def test_mechanisms_differ_in_their_looks():
    looks = plotting.looks_of([f'mechanism={number}' for number in range(50)])
    assert len({tuple(look.values()) for look in looks.values()}) == 50


def test_as_many_mechanisms_as_a_sweep_compares_differ_in_colour_alone():
    most = max(len(grid.axes[0][1]) for grid in locality.get_config().grids.values())
    looks = plotting.looks_of([f'mechanism={number}' for number in range(most)])
    assert len({look['color'] for look in looks.values()}) == most

"""What is drawn side by side can be told apart."""

from experiments.reporting import plotting


def test_mechanisms_differ_in_their_looks():
    looks = plotting.looks_of([f'mechanism={number}' for number in range(50)])
    assert len({tuple(look.values()) for look in looks.values()}) == 50

"""Verdicts say what the runs show, in which direction they leave theory, and why they do not say more."""

from dataclasses import replace

import pytest

from experiments.reporting import analysis, records, verdicts
from experiments.reporting.thresholds import Exponent, Interval

STANDARD, LINEAR, SPARSE = (f'mechanism={name}' for name in ('standard', 'linear', 'sparse'))


def verdict_with(grid, mechanism, **fields):
    """The verdict were the exponent of a mechanism another."""
    widths = analysis.widths(grid)
    fits = {**widths.exponents, mechanism: widths.exponents[mechanism]._replace(**fields)}
    return verdicts.verdict(grid, widths._replace(exponents=fits))


def detail(verdict, name):
    (found,) = (text for text in verdict.details if text.startswith(f'{name}: '))
    return found


def test_what_grows_as_in_theory_and_what_cannot_be_told_are_told_apart(grid):
    verdict = verdicts.verdict(grid, analysis.widths(grid))
    assert verdict.headline.startswith('The needed width grows with length as in theory with standard (L^')
    assert 'theory 0)' in verdict.headline
    assert verdict.headline.endswith('sparse: width known at two lengths, which give no interval.')
    assert verdict.more.startswith('At n=16, L=36, the width for 90% chain accuracy is ')
    text = detail(verdict, 'Sparse')
    assert 'above 16 at L=68. Growth inconclusive: ' in text


@pytest.mark.parametrize(
    'interval, words',
    [
        ((0.7, 0.9), 'It grows faster than in theory: L^0.80, 95% 0.70 to 0.90; theory 1/2.'),
        ((0.1, 0.2), 'It grows more slowly than in theory: L^0.80'),
        ((0.4, 0.9), 'It grows as in theory: L^0.80'),
        ((0.1, 0.9), 'Growth inconclusive: the interval of the exponent is too wide'),
        ((0.1, float('inf')), 'Growth inconclusive: the interval of the exponent is open'),
    ],
)
def test_an_interval_beside_the_exponent_of_theory_decides(grid, interval, words):
    agrees = {(0.4, 0.9): '1/2'}.get(interval, 'inconclusive')
    fields = {'value': 0.8, 'interval': Interval(*interval), 'verdict': agrees, 'sizes': 3}
    assert words in detail(verdict_with(grid, LINEAR, **fields), 'Linear')


def test_a_fit_that_misses_a_bounded_width_decides_nothing(grid):
    fields = {'interval': Interval(0.7, 0.9), 'sizes': 3, 'is_contradicted': True}
    text = detail(verdict_with(grid, LINEAR, **fields), 'Linear')
    assert 'Growth inconclusive: the fitted power law contradicts a length' in text


def test_where_no_growth_is_known_the_headline_says_so_and_why(grid):
    unknown = Exponent(float('nan'), Interval(-float('inf'), float('inf')), 1, 'not known')
    widths = analysis.widths(grid)
    verdict = verdicts.verdict(grid, widths._replace(exponents=dict.fromkeys(widths.exponents, unknown)))
    assert verdict.headline.startswith('Inconclusive: ')
    assert 'standard, linear and sparse: width known at 1 of 3 lengths' in verdict.headline


def test_without_a_run_that_is_done_nothing_is_claimed(grid):
    none = replace(grid, runs=tuple(replace(run, result=None, state='missing') for run in grid.runs))
    assert verdicts.verdict(none, None).headline == 'Inconclusive: no run is done.'


def test_growth_with_length_is_told_from_growth_with_locality(others):
    grid, _ = records.read([others])
    verdict = verdicts.verdict(grid, analysis.widths(grid))
    assert 'grows, where theory expects no growth, with linear (factor 1.3' in verdict.headline
    assert 'does not change beyond the seeds with sliding_window 8 (factor 1.00' in verdict.headline
    assert verdict.more.startswith('With a greater locality')
    assert 'grows with sliding_window 8' in verdict.more


def test_the_best_value_is_clear_only_if_all_its_seeds_lie_above_the_next(others):
    _, grid = records.read([others])
    verdict = verdicts.verdict(grid, None)
    assert verdict.headline == 'Best learning rate: linear 0.2.'
    assert verdict.more == 'In 1 of 1 cases all its seeds lie above those of the next one.'
    low = lambda run: run.seed == 1 and run.labels[-1] == 'learning_rate=0.2'
    runs = [
        replace(run, result={**run.result, 'chain_accuracy': 0.05, 'answer_accuracy': 0.05})
        if low(run)
        else run
        for run in grid.runs
    ]
    verdict = verdicts.verdict(replace(grid, runs=tuple(runs)), None)
    assert verdict.headline.startswith('Inconclusive: ')
    assert 'their seeds overlap' in verdict.details[0]

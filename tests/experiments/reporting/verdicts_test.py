"""Verdicts report the result, how it differs from theory, and why some are inconclusive."""

from dataclasses import replace

import pytest

from experiments.reporting import analysis, head_to_head, records, value_verdicts, verdicts
from experiments.reporting.thresholds import Exponent, Interval
from experiments.reporting.verdicts import Kind

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
    assert verdict.kind is Kind.GROWTH
    assert verdict.headline.startswith('At n=16, L=36, 90% chain accuracy needs width ')
    assert 'The needed width grows with length as in theory with standard (L^' in verdict.headline
    assert 'theory 0)' in verdict.headline
    assert verdict.more.endswith('sparse: width known at two lengths, which give no interval.')
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


UNKNOWN = Exponent(float('nan'), Interval(-float('inf'), float('inf')), 1, 'not known')


def without_growth(grid):
    widths = analysis.widths(grid)
    return widths._replace(exponents=dict.fromkeys(widths.exponents, UNKNOWN))


def test_where_no_growth_is_known_the_widths_at_one_size_lead(grid):
    widths = without_growth(grid)
    verdict = verdicts.verdict(grid, widths)
    assert verdict.kind is Kind.COMPARISON
    needed, costs = widths.needed, analysis.least_costs(grid)
    width = {m: needed[m, 'n=16'].width for m in (STANDARD, LINEAR, SPARSE)}
    times = {m: costs[m, 'n=16'].mflops / costs[STANDARD, 'n=16'].mflops for m in (LINEAR, SPARSE)}
    assert verdict.headline == (
        f'At n=16, L=36, 90% chain accuracy needs width {width[SPARSE]:.1f} with sparse ({times[SPARSE]:.1f} '
        f'times the FLOPs) and {width[LINEAR]:.1f} with linear ({times[LINEAR]:.1f} times the FLOPs) against '
        f'{width[STANDARD]:.1f} with standard.'
    )
    assert 'All seeds of standard lie above those of the others in ' in verdict.more
    assert verdict.more.endswith('The growth of the needed width with length is not known.')


def scored(grid, accuracy_of):
    """The grid, where each run that is done has reached what the function says."""
    result = lambda run: run.result and {**run.result, 'chain_accuracy': accuracy_of(run)}
    return replace(grid, runs=tuple(replace(run, result=result(run)) for run in grid.runs))


LEVELS = {STANDARD: 0.8, LINEAR: 0.5, SPARSE: 0.2}


def test_where_no_width_is_known_the_accuracies_at_one_width_lead(grid):
    low = scored(grid, lambda run: LEVELS[run.labels[0]] + 0.01 * run.seed)
    verdict = verdicts.verdict(low, without_growth(low))
    assert verdict.kind is Kind.COMPARISON
    assert verdict.headline == (
        'At n=16, L=36, D=64, chain accuracy is 0.810 (seeds 0.800 to 0.820) with standard, 0.510 (0.500 to '
        '0.520) with linear and 0.210 (0.200 to 0.220) with sparse. All seeds of standard lie above those of '
        'the others in all 10 sizes and widths.'
    )
    assert verdict.more.startswith('No width that reaches 90% chain accuracy is known.')


def test_a_mechanism_that_is_behind_somewhere_is_not_ahead(grid):
    place = (STANDARD, 'n=8', 'dim=8')
    ahead = lambda run: LEVELS[run.labels[0]]
    assert head_to_head.accuracies(scored(grid, ahead)).is_decided
    behind = scored(grid, lambda run: 0.0 if run.labels == place else ahead(run))
    assert head_to_head.accuracies(behind) is None
    level = scored(grid, lambda run: 0.5 if run.labels == place else ahead(run))
    assert '9 of 10 sizes and widths' in head_to_head.accuracies(level).text


def test_where_no_order_is_known_either_the_headline_says_so_and_why(grid):
    level = scored(grid, lambda run: 0.5)
    verdict = verdicts.verdict(level, without_growth(level))
    assert verdict.kind is Kind.INCONCLUSIVE
    assert verdict.headline.startswith('Inconclusive: ')
    assert 'standard, linear and sparse: width known at 1 of 3 lengths' in verdict.headline


def test_without_a_run_that_is_done_nothing_is_claimed(grid):
    none = replace(grid, runs=tuple(replace(run, result=None, state='missing') for run in grid.runs))
    assert verdicts.verdict(none, None).headline == 'Inconclusive: no run is done.'


def test_growth_with_length_is_told_from_growth_with_locality(others):
    grid, _ = records.read([others])
    verdict = verdicts.verdict(grid, analysis.widths(grid))
    assert verdict.kind is Kind.RATIO
    assert 'grows, where theory expects no growth, with linear (1.3' in verdict.headline
    assert 'does not change beyond the seeds with sliding window 8 (1.00 times' in verdict.headline
    assert verdict.more.startswith('With a greater locality')
    assert 'grows with sliding window 8' in verdict.more
    assert verdict.details[0].startswith('Sliding window 8: ')


@pytest.fixture(scope='module')
def rates(others):
    _, grid = records.read([others])
    return grid


def with_low_seed(grid):
    """The grid, where one seed of the better value has reached less than all others."""
    low = lambda run: run.seed == 1 and run.labels[-1].endswith('=0.2')
    runs = [
        replace(run, result={**run.result, 'chain_accuracy': 0.05, 'answer_accuracy': 0.05})
        if low(run)
        else run
        for run in grid.runs
    ]
    return replace(grid, runs=tuple(runs))


def test_the_better_of_two_values_beats_the_other_if_all_its_seeds_lie_above(rates):
    verdict = value_verdicts.verdict(rates)
    assert verdict.kind is Kind.SEARCH
    assert verdict.headline == (
        'Learning rate 0.2 beats 0.1 in 1 of 1 cases by more than the seeds differ; '
        '0 of 1 reach 90% answer accuracy.'
    )


def test_overlapping_seeds_are_told_beside_the_highest_means(rates):
    verdict = value_verdicts.verdict(with_low_seed(rates))
    assert verdict.headline == (
        'Highest means: linear 0.2. In 1 of 1 cases their seeds overlap those of the next value.'
    )
    assert 'their seeds overlap' in verdict.details[0]


def test_a_setting_other_than_the_learning_rate_decides_or_not(rates):
    def renamed(label):
        return label.replace('learning_rate=0.', 'steps=10')

    axes = dict(zip(('mechanism', 'size', 'steps'), rates.axes.values(), strict=True))
    axes['steps'] = tuple(map(renamed, axes['steps']))
    runs = tuple(replace(run, labels=(*run.labels[:-1], renamed(run.labels[-1]))) for run in rates.runs)
    steps = replace(rates, axes=axes, runs=runs)
    verdict = value_verdicts.verdict(steps)
    assert verdict.kind is Kind.COMPARISON
    assert verdict.headline.startswith('102 steps beat 101 in 1 of 1 cases')
    level = replace(steps, runs=tuple(replace(run, result=runs[0].result) for run in runs))
    verdict = value_verdicts.verdict(level)
    assert verdict.kind is Kind.INCONCLUSIVE
    assert verdict.headline.startswith('Inconclusive. Highest means: ')


def test_each_highest_mean_has_the_size_that_it_belongs_to(rates):
    swapped = {'learning_rate=0.1': 'learning_rate=0.2', 'learning_rate=0.2': 'learning_rate=0.1'}
    mechanism, (size,), columns = rates.axes.values()
    other = [replace(run, labels=(run.labels[0], 'n=3', swapped[run.labels[2]])) for run in rates.runs]
    two = replace(
        rates,
        axes={'mechanism': mechanism, 'size': (size, 'n=3'), 'rate': columns},
        runs=(*rates.runs, *other),
    )
    verdict = value_verdicts.verdict(two)
    assert verdict.headline == (
        'Highest means: linear 0.2 at n=2 and 0.1 at n=3. '
        'In both cases all their seeds lie above those of the next value.'
    )

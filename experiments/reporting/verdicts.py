"""What a grid of widths shows, in sentences: the answer first, then one sentence for each mechanism."""

import enum
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from experiments.reporting import analysis, head_to_head, labels
from experiments.reporting.analysis import Comparison, Widths
from experiments.reporting.records import GridRecord
from experiments.reporting.thresholds import Ratio


class Kind(enum.IntEnum):
    """What a verdict decides, in the order in which a page shows them."""

    GROWTH = 0
    RATIO = 1
    COMPARISON = 2
    INCONCLUSIVE = 3
    SEARCH = 4


class Verdict(NamedTuple):
    """A grid in words.

    Attributes:
        headline: the answer, with its numbers; or `Inconclusive: ...` with the reason.
        more: what else is worth a sentence.
        lead: what the details say, for all of them.
        details: a sentence for each mechanism.
        kind: what the headline decides.
    """

    headline: str
    more: str = ''
    lead: str = ''
    details: tuple[str, ...] = ()
    kind: Kind = Kind.INCONCLUSIVE


class _Growth(NamedTuple):
    """How a mechanism's width grows with length.

    Attributes:
        kind: 'faster', 'slower', 'as' (than and as theory), 'measured' without a theory, or 'inconclusive'.
        text: the exponent with its interval, and theory's; the reason where it is inconclusive.
    """

    kind: str
    text: str


def verdict(grid: GridRecord, widths: Widths | None) -> Verdict:
    """The verdict of a grid of widths; `widths` are None where no run is done."""
    if widths is None:
        return Verdict('Inconclusive: no run is done.')
    if grid.is_of_localities:
        return _of_localities(grid, widths)
    growth = {mechanism: _growth(grid, widths, mechanism) for mechanism in widths.exponents}
    details = [
        f'{_name(mechanism)}: {_needs(grid, widths, mechanism)}. {_growth_sentence(growth[mechanism])}'
        for mechanism in growth
    ]
    headline, more, kind = _answer(grid, widths, growth)
    return Verdict(headline, more, _lead(grid), tuple(details), kind)


def _answer(grid: GridRecord, widths: Widths, growth: Mapping[str, _Growth]) -> tuple[str, str, Kind]:
    """The headline, what follows it, and what it decides: growth or, where none is known, an order."""
    grows = _growth_clauses(growth)
    reasons = labels.grouped({m: g.text for m, g in growth.items() if g.kind == 'inconclusive'})
    needed, reached = head_to_head.needed_widths(grid, widths), head_to_head.accuracies(grid)
    if grows:
        more = f'Growth inconclusive for {reasons}.' if reasons else ''
        return f'{needed.text} {grows}', more, Kind.GROWTH
    unknown = 'the growth of the needed width with length is not known'
    if needed.is_decided or reached:
        first, *more = [needed, *filter(None, [reached])] if needed.is_decided else [reached, needed]
        more = ' '.join([*(each.text for each in more), f'{labels.capitalised(unknown)}.'])
        return first.text, more, Kind.COMPARISON
    order = 'no mechanism is ahead by more than the seeds differ in most sizes and widths'
    why = f' ({reasons})' if reasons else ''
    return f'Inconclusive: {unknown}{why}, and {order}.', needed.text, Kind.INCONCLUSIVE


def _lead(grid: GridRecord) -> str:
    return (
        f'Width that reaches {labels.reaching(grid)}, with its 95% bootstrap interval over seeds in brackets '
        f'where that is wider. {labels.COVERAGE}'
    )


def _name(mechanism: str) -> str:
    """A mechanism's name at the start of a sentence."""
    return labels.capitalised(labels.mechanism(mechanism))


def _growth(grid: GridRecord, widths: Widths, mechanism: str) -> _Growth:
    fit, theory = widths.exponents[mechanism], analysis.theory_of(grid, mechanism)
    low, high = fit.interval
    tried = sum(m == mechanism for m, _ in widths.needed)
    if math.isnan(fit.value):
        return _Growth('inconclusive', f'width known at {fit.sizes} of {tried} lengths')
    if fit.sizes == 2:
        return _Growth('inconclusive', 'width known at two lengths, which give no interval')
    if fit.is_contradicted:
        return _Growth(
            'inconclusive', 'the fitted power law contradicts a length where the width is only bounded'
        )
    if math.isinf(low) or math.isinf(high):
        return _Growth('inconclusive', 'the interval of the exponent is open, since seeds differ too much')
    text = f'L^{fit.value:.2f}, 95% {low:.2f} to {high:.2f}'
    if theory is None:
        return _Growth('measured', text)
    text += f'; theory {theory.text}'
    if low > theory.most:
        return _Growth('faster', text)
    if high < theory.least:
        return _Growth('slower', text)
    is_exact = theory.least == theory.most
    if fit.verdict == theory.text if is_exact else theory.least <= low and high <= theory.most:
        return _Growth('as', text)
    return _Growth('inconclusive', f'the interval of the exponent is too wide ({text})')


_GROWTH_KINDS = {
    'faster': 'grows faster with length than in theory with',
    'slower': 'grows more slowly with length than in theory with',
    'as': 'grows with length as in theory with',
    'measured': 'grows with length, without a theory to compare, with',
}


def _growth_clauses(growth: Mapping[str, _Growth]) -> str:
    """A sentence about all mechanisms whose growth is known; empty where there is none."""
    clauses = []
    for kind, words in _GROWTH_KINDS.items():
        found = [f'{labels.mechanism(m)} ({g.text})' for m, g in growth.items() if g.kind == kind]
        if found:
            clauses.append(f'{words} {labels.listed(found)}')
    return f'The needed width {"; it ".join(clauses)}.' if clauses else ''


_GROWTH_WORDS = {
    'faster': 'It grows faster than in theory', 'slower': 'It grows more slowly than in theory',
    'as': 'It grows as in theory', 'measured': 'It grows', 'inconclusive': 'Growth inconclusive',
}  # fmt: skip


def _growth_sentence(growth: _Growth) -> str:
    return f'{_GROWTH_WORDS[growth.kind]}: {growth.text}.'


def _needs(grid: GridRecord, widths: Widths, mechanism: str) -> str:
    """The widths that a mechanism needs, size by size."""
    parts = []
    for size in grid.axes['size']:
        if (mechanism, size) not in widths.needed:
            continue
        interval = analysis.range_text(*widths.intervals[mechanism, size], '.1f')
        text = analysis.needed_text(widths.needed[mechanism, size])
        seeds = len(grid.curve(mechanism, size).accuracy)
        shown = '' if interval == text or seeds < 2 else f' ({interval})'
        locality = f'locality {grid.locality(size)}, ' if grid.is_of_localities else ''
        parts.append(f'{text}{shown} at {locality}L={grid.length(mechanism, size)}')
    return '; '.join(parts)


def _of_localities(grid: GridRecord, widths: Widths) -> Verdict:
    """How the needed width follows length and locality, each where the other stays."""
    found = {m: each for m in grid.axes['mechanism'] if (each := analysis.comparisons(grid, m))}
    sentences, changes = [], set()
    for is_of_length, fixed in (
        (True, 'a longer sequence of the same locality'),
        (False, 'a greater locality'),
    ):
        chosen = {m: best for m, each in found.items() if (best := _clearest(each, is_of_length))}
        if chosen:
            # By theory the width of a local problem depends on its locality, at any length.
            grows = 'grows, where theory expects no growth,' if is_of_length else 'grows'
            sentences.append(_ratio_sentence(f'With {fixed}', grows, chosen))
            changes |= set(map(_change, chosen.values()))
    headline, *more = sentences or ['No two sizes differ in length alone or in locality alone.']
    is_open = changes <= {'open'}
    if is_open:
        headline = f'Inconclusive: {headline[0].lower()}{headline[1:]}'
    known = dict.fromkeys(mechanism for mechanism, _ in widths.needed)
    details = tuple(f'{_name(m)}: {_needs(grid, widths, m)}.' for m in known)
    kind = Kind.INCONCLUSIVE if is_open else Kind.RATIO
    return Verdict(headline, ' '.join(more), _lead(grid), details, kind)


def _clearest(found: Iterable[Comparison], is_of_length: bool) -> Comparison | None:
    """The comparison whose outcome is known, if there is one."""
    alike = [comparison for comparison in found if comparison.is_of_length == is_of_length]
    order = ('wider', 'narrower', 'same', 'open')
    return min(alike, key=lambda comparison: order.index(_change(comparison)), default=None)


def _change(comparison: Comparison) -> str:
    """What a greater size needs: 'wider', 'narrower', the 'same' width as far as seeds tell, or 'open'."""
    low, high = comparison.ratio.interval
    if low > 1:
        return 'wider'
    if high < 1:
        return 'narrower'
    return 'open' if math.isnan(comparison.ratio.value) else 'same'


def _ratio_sentence(opening: str, grows: str, chosen: Mapping[str, Comparison]) -> str:
    """`With ... (L 42 to 78) the needed width grows, ..., with linear (2.07 times); it does not ...`."""
    titles = {at.title for at in chosen.values()}
    shown = lambda at: _times(at.ratio) + ('' if len(titles) == 1 else f'; {at.title}')
    words = {
        'wider': f'{grows} with',
        'narrower': 'shrinks with',
        'same': 'does not change beyond the seeds with',
    }
    clauses = []
    for change, text in words.items():
        named = [f'{labels.mechanism(m)} ({shown(at)})' for m, at in chosen.items() if _change(at) == change]
        if named:
            clauses.append(f'{text} {labels.listed(named)}')
    unknown = [labels.mechanism(m) for m, at in chosen.items() if _change(at) == 'open']
    if unknown:
        clauses.append(f'is known too loosely to tell with {labels.listed(unknown)}')
    place = f' ({next(iter(titles))})' if len(titles) == 1 else ''
    return f'{opening}{place} the needed width {"; it ".join(clauses)}.'


def _times(ratio: Ratio) -> str:
    """`2.07 times, 95% 1.14 to 2.43`, or `above 1.07 times` where the ratio is only bounded."""
    interval = analysis.range_text(*ratio.interval, '.2f')
    return f'{interval} times' if math.isnan(ratio.value) else f'{ratio.value:.2f} times, 95% {interval}'

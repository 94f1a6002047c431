"""What a grid shows, in sentences: the answer first, then one sentence for each mechanism."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from experiments.reporting import analysis, labels
from experiments.reporting.analysis import Comparison, Widths
from experiments.reporting.records import GridRecord
from experiments.sweeping.cells import short


class Verdict(NamedTuple):
    """A grid in words.

    Attributes:
        headline: the answer, or `Inconclusive: ...` with the reason.
        more: what else is worth a sentence.
        lead: what the details say, for all of them.
        details: a sentence for each mechanism.
    """

    headline: str
    more: str = ''
    lead: str = ''
    details: tuple[str, ...] = ()


class _Growth(NamedTuple):
    """How a mechanism's width grows with length.

    Attributes:
        kind: 'faster', 'slower', 'as' (than and as theory), 'measured' without a theory, or 'inconclusive'.
        text: the exponent with its interval, and theory's; the reason where it is inconclusive.
    """

    kind: str
    text: str


def verdict(grid: GridRecord, widths: Widths | None) -> Verdict:
    """The verdict of a grid; `widths` are None where it is not a grid of widths."""
    if not grid.done:
        return Verdict('Inconclusive: no run is done.')
    if widths is None:
        return _best_values(grid)
    if grid.is_of_localities:
        return _of_localities(grid, widths)
    growth = {mechanism: _growth(grid, widths, mechanism) for mechanism in widths.exponents}
    details = [
        f'{_name(mechanism)}: {_needs(grid, widths, mechanism)}. {_growth_sentence(growth[mechanism])}'
        for mechanism in growth
    ]
    return Verdict(_growth_headline(growth), _comparison(grid, widths), _lead(grid), tuple(details))


def _lead(grid: GridRecord) -> str:
    return (
        f'Width that reaches {labels.reaching(grid)}, with its 95% interval over seeds where that is wider:'
    )


def _name(mechanism: str) -> str:
    """A mechanism's name at the start of a sentence."""
    name = labels.mechanism(mechanism)
    return name[0].upper() + name[1:]


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


def _growth_headline(growth: Mapping[str, _Growth]) -> str:
    clauses = []
    for kind, words in _GROWTH_KINDS.items():
        found = [f'{labels.mechanism(m)} ({g.text})' for m, g in growth.items() if g.kind == kind]
        if found:
            clauses.append(f'{words} {_listed(found)}')
    open_ones = _grouped({m: g.text for m, g in growth.items() if g.kind == 'inconclusive'})
    if not clauses:
        return f'Inconclusive: the growth of the needed width with length is not known ({open_ones}).'
    sentence = f'The needed width {"; it ".join(clauses)}.'
    return f'{sentence} Inconclusive for {open_ones}.' if open_ones else sentence


_GROWTH_WORDS = {
    'faster': 'It grows faster than in theory', 'slower': 'It grows more slowly than in theory',
    'as': 'It grows as in theory', 'measured': 'It grows', 'inconclusive': 'Growth inconclusive',
}  # fmt: skip


def _growth_sentence(growth: _Growth) -> str:
    return f'{_GROWTH_WORDS[growth.kind]}: {growth.text}.'


def _grouped(reasons: Mapping[str, str]) -> str:
    """Mechanisms with the same reason in one clause: `linear and sparse: the width ...; standard: ...`."""
    by_reason = {}
    for mechanism, reason in reasons.items():
        by_reason.setdefault(reason, []).append(labels.mechanism(mechanism))
    clauses = [f'{_listed(names)}: {reason}' for reason, names in by_reason.items()]
    return '; '.join(clauses)


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


def _comparison(grid: GridRecord, widths: Widths) -> str:
    """The needed widths of all mechanisms at the last size at which the most of them are known."""
    known = {
        size: sum(math.isfinite(at.width) for (_, s), at in widths.needed.items() if s == size)
        for size in grid.axes['size']
    }
    best = max(reversed(known), key=known.__getitem__)
    if not known[best]:
        return f'No width that reaches {labels.reaching(grid)} is known.'
    found = [
        f'{analysis.needed_text(at)} with {labels.mechanism(m)}'
        for (m, s), at in widths.needed.items()
        if s == best
    ]
    return f'At {labels.size_title(grid, best)}, the width for {labels.reaching(grid)} is {_listed(found)}.'


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
    headline, *more = sentences or ['no two sizes differ in length alone or in locality alone.']
    if changes <= {'open'}:
        headline = f'Inconclusive: {headline}'
    known = dict.fromkeys(mechanism for mechanism, _ in widths.needed)
    details = tuple(f'{_name(m)}: {_needs(grid, widths, m)}.' for m in known)
    return Verdict(headline, ' '.join(more), _lead(grid), details)


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
    """`With ... (L 42 to 78) the needed width grows, ..., with linear (factor 2.07); it does not ...`."""
    titles = {at.title for at in chosen.values()}
    shown = lambda at: (
        f'factor {analysis.ratio_text(at.ratio)}' + ('' if len(titles) == 1 else f'; {at.title}')
    )
    words = {
        'wider': f'{grows} with',
        'narrower': 'shrinks with',
        'same': 'does not change beyond the seeds with',
    }
    clauses = []
    for change, text in words.items():
        named = [f'{labels.mechanism(m)} ({shown(at)})' for m, at in chosen.items() if _change(at) == change]
        if named:
            clauses.append(f'{text} {_listed(named)}')
    unknown = [labels.mechanism(m) for m, at in chosen.items() if _change(at) == 'open']
    if unknown:
        clauses.append(f'is known too loosely to tell with {_listed(unknown)}')
    place = f' ({next(iter(titles))})' if len(titles) == 1 else ''
    return f'{opening}{place} the needed width {"; it ".join(clauses)}.'


def _best_values(grid: GridRecord) -> Verdict:
    """The best value of the last axis of a grid that is not of widths, and whether seeds tell it apart."""
    *_, columns = grid.axes.values()
    title = labels.field(columns[0])
    rows = list(dict.fromkeys(run.labels[:-1] for run in grid.done))
    details, clear, best_of = [], 0, {}
    for row in rows:
        runs = {c: [grid.accuracy(run) for run in grid.select(*row, c)] for c in columns}
        seeds = {c: known for c, each in runs.items() if (known := [a for a in each if not math.isnan(a)])}
        best, *others = sorted(seeds, key=lambda column: grid.mean_accuracy(*row, column), reverse=True)
        best_of.setdefault(row[0], []).append(labels.value(best))
        where = ', '.join([_name(row[0]), *map(short, row[1:])])
        spread = f'seeds {min(seeds[best]):.3f} to {max(seeds[best]):.3f}'
        text = f'{where}: {labels.value(best)} ({grid.mean_accuracy(*row, best):.3f}; {spread})'
        if others:
            is_clear = min(seeds[best]) > max(seeds[others[0]])
            clear += is_clear
            text += f'; next {labels.value(others[0])} ({grid.mean_accuracy(*row, others[0]):.3f})'
            text += '' if is_clear else '; their seeds overlap'
        details.append(f'{text}.')
    found = '; '.join(f'{labels.mechanism(m)} {_listed(list(dict.fromkeys(v)))}' for m, v in best_of.items())
    lead = f'Best {title} (mean accuracy, and that of its seeds):'
    if not clear:
        text = f'Inconclusive: in no case do all seeds of the best {title} lie above those of the next one.'
        return Verdict(text, f'Highest means: {found}.', lead, tuple(details))
    clear_text = f'In {clear} of {len(rows)} cases all its seeds lie above those of the next one.'
    return Verdict(f'Best {title}: {found}.', clear_text, lead, tuple(details))


def _listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f'{", ".join(words[:-1])} and {words[-1]}'

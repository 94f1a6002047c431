"""Totals over many judged problems."""

import dataclasses
from collections import Counter

from effxf_jax.gsm8k.judging import Judgement, Operand

QUESTION, RESULT, EITHER, CONVERSION, NOWHERE = ORIGINS = (
    'question', 'earlier result', 'question or earlier result', 'conversion', 'nowhere',
)  # fmt: skip
"""Where an operand is from; `EITHER`: its value stands in the question and is an earlier result."""


@dataclasses.dataclass(frozen=True)
class Totals:
    """Counts over problems, which can be added.

    Attributes:
        problems: how many.
        malformed: problems with a fault.
        answered: problems with one number behind ####.
        ends_in_answer: problems whose last annotation has the answer as its result.
        per_problem: how many problems have so many annotations.
        verdicts: annotations by verdict.
        misshown: annotations behind which another number follows than their result.
        notations: annotations by notation; one may have several.
        origins: operands by ORIGINS.
        ambiguous: operands with several possible places.
    """

    problems: int = 0
    malformed: int = 0
    answered: int = 0
    ends_in_answer: int = 0
    per_problem: Counter[int] = dataclasses.field(default_factory=Counter)
    verdicts: Counter[str] = dataclasses.field(default_factory=Counter)
    misshown: int = 0
    notations: Counter[str] = dataclasses.field(default_factory=Counter)
    origins: Counter[str] = dataclasses.field(default_factory=Counter)
    ambiguous: int = 0

    def __add__(self, other: 'Totals') -> 'Totals':
        names = [field.name for field in dataclasses.fields(self)]
        return Totals(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def annotations(self) -> int:
        return self.verdicts.total()


def totals_of(judgement: Judgement) -> Totals:
    """The totals of one problem."""
    judged = judgement.annotations
    operands = [operand for one in judged for operand in one.operands]
    return Totals(
        problems=1,
        malformed=int(bool(judgement.faults)),
        answered=int(judgement.answer is not None),
        ends_in_answer=int(judgement.ends_in_answer),
        per_problem=Counter([len(judged)]),
        verdicts=Counter(one.verdict for one in judged),
        misshown=sum(one.is_shown is False for one in judged),
        notations=Counter(notation for one in judged for notation in one.notations),
        origins=Counter(map(origin_of, operands)),
        ambiguous=sum(len(operand.origins) > 1 for operand in operands),
    )


def origin_of(operand: Operand) -> str:
    """Where an operand is from, one of ORIGINS."""
    if not operand.origins:
        return CONVERSION if operand.conversion else NOWHERE
    kinds = {bool(place.step) for place in operand.origins}
    return EITHER if len(kinds) > 1 else RESULT if kinds == {True} else QUESTION

"""A word problem as a chain: each annotation is a step, and the tokens are words and marks of punctuation.

The question's tokens come first, then the solution's, annotations included: an operand is used where it
stands inside `<<`, and a result stands behind `=`.
"""

from effxf_jax.dependencies import Chain, Operand, Step
from effxf_jax.gsm8k.judging import Judgement


def chain_of(judgement: Judgement) -> Chain:
    """The chain of a judged problem; an unreadable annotation is a step without operands."""
    return Chain(
        tuple(
            Step(tuple(Operand(o.position, o.origins) for o in one.operands), one.place)
            for one in judgement.annotations
        ),
        judgement.length,
    )

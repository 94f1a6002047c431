"""Metrics of a model on a task: grades of generated rows, and the likelihood of reference rows."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.decoding import greedy_decode, prefill_length
from effxf_jax.model import Transformer
from effxf_jax.tasks import Examples, Grade, Task
from effxf_jax.tasks.task import produced, prompt_hash
from effxf_jax.training import token_losses


class Evaluation(NamedTuple):
    """Metrics over the examples.

    Attributes:
        answer_accuracy: share of generated rows that end in the right answer.
        chain_accuracy: share of generated rows whose every step is legal and whose answer is right.
        teacher_forced_accuracy: share of reference rows in which every produced token is the model's most
            likely one after the reference tokens before it. The metric of Feng et al. for edit distance and
            LIS; it cannot reach 1 where several chains are right.
        teacher_forced_loss: mean negative log-likelihood of a produced reference token, in nats.
    """

    answer_accuracy: float
    chain_accuracy: float
    teacher_forced_accuracy: float
    teacher_forced_loss: float


class Generations(NamedTuple):
    """The rows that the model generated, int32 `[count, length]`, and their grade."""

    tokens: np.ndarray
    grade: Grade


def evaluate(
    model: Transformer, params, task: Task, examples: Examples, batch_size: int = 256
) -> tuple[Evaluation, Generations]:
    """Evaluates a model on examples, and generates greedily from the given tokens of each.

    Args:
        model, params: the Transformer and its parameters.
        task: the examples' task, which grades the generated rows.
        examples: reference rows, `[count, length]`.
        batch_size: number of examples to process at a time.
    """
    count = len(examples.tokens)
    batch_size = min(batch_size, count)
    prefill = prefill_length(examples.given)  # of all batches, so that one program decodes them
    tokens, losses, counted, matched = [], [], [], []
    for start in range(0, count, batch_size):
        # The last batch repeats earlier rows, so that all batches have one shape.
        first = min(start, count - batch_size)
        new = slice(start - first, None)
        batch = Examples(*(x[first : first + batch_size] for x in examples))
        tokens.append(greedy_decode(model, params, *batch, prefill)[new])
        loss, number, match = (np.asarray(x)[new] for x in _teacher_forced(model, params, batch))
        losses.append(loss)
        counted.append(number)
        matched.append(match)

    tokens = np.concatenate(tokens)
    grade = task.grade(tokens, examples.given)
    evaluation = Evaluation(
        answer_accuracy=float(np.mean(grade.answer_correct)),
        chain_accuracy=float(np.mean(grade.chain_correct)),
        teacher_forced_accuracy=float(np.mean(np.concatenate(matched))),
        teacher_forced_loss=float(np.sum(np.concatenate(losses)) / np.sum(np.concatenate(counted))),
    )
    return evaluation, Generations(tokens, grade)


def distinct_prompts(examples: Examples) -> int:
    """The number of different prompts among examples `[count, length]`."""
    return len(np.unique(prompt_hash(examples)))


def first_errors(examples: Examples, grade: Grade, parts: int = 10) -> np.ndarray:
    """Counts the rows with an error by the position of their first error along the chain.

    Args:
        examples: the reference rows `[count, length]`; a chain reaches from a row's first to its last
            produced token.
        grade: the grade of the rows generated from their given tokens.
        parts: number of equal parts of a chain.

    Returns:
        int64 `[parts]`: the number of rows whose first error is in each part of the reference chain; errors
            after its end, possible where several chains are right, count in the last part.
    """
    due = produced(examples)
    start, end = due.argmax(axis=1), due.shape[1] - due[:, ::-1].argmax(axis=1)
    along = (grade.first_wrong - start) / (end - start)
    part = np.clip(np.floor(along * parts), 0, parts - 1).astype(np.int64)
    return np.bincount(part[~grade.chain_correct], minlength=parts)


def mean_loss(model: Transformer, params, examples: Examples) -> float:
    """Mean negative log-likelihood of a produced reference token, in nats."""
    losses, counts, _ = _teacher_forced(model, params, examples)
    return float(jnp.sum(losses) / jnp.sum(counts))


@functools.partial(jax.jit, static_argnames='model')
def _teacher_forced(model: Transformer, params, batch: Examples):
    """Per row: the summed loss, the number of produced tokens, and whether all of them are most likely."""
    losses, counts, matches = token_losses(model, params, batch)
    return jnp.sum(losses, axis=1), jnp.sum(counts, axis=1), jnp.all(matches | ~counts, axis=1)


def describe(task: Task, generations: Generations, row: int) -> str:
    """Formats a generated row, one step per line, each marked right or wrong up to the first wrong one."""
    tokens = generations.tokens[row]
    first_wrong = generations.grade.first_wrong[row]
    right = first_wrong < 0
    lines = []
    for number, step in enumerate(task.steps(tokens)):
        if number == 0:
            mark = ' '
        elif right or step.stop <= first_wrong:
            mark = '✓'
        elif step.start <= first_wrong:
            mark = '✗'
        else:
            mark = '?'  # steps after a wrong one are not graded
        lines.append(f'  {mark} {task.spell(tokens[step])}')
    if not right and step.stop <= first_wrong:
        lines.append('  ✗ (cut off)')
    verdict = (
        'right' if right else 'wrong step, right answer' if generations.grade.answer_correct[row] else 'wrong'
    )
    return '\n'.join([f'example {row}: {verdict}', *lines])

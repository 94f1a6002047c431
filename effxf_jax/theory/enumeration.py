"""Counts the classes of a tiny task's prefixes by enumeration, to check the task's closed-form bounds."""

from collections.abc import Iterable

import numpy as np

from effxf_jax.tasks import EOS, PAD, Task


def count_classes(task: Task, prompts: Iterable[np.ndarray]) -> list[int]:
    """Counts the classes that the legal prefixes of each length form; see `tasks.task.Bits`.

    Every legal row is written out, at some 10^5 tokens per second, so the task must be tiny.

    Args:
        task: a task in chain mode.
        prompts: all legal prompts, int `[length]`, of any lengths.

    Returns:
        The number of classes of prefixes of 1, 2 ... tokens; a whole row with its `<eos>` is not a prefix.

    Raises:
        ValueError: a prompt is not legal in the task.
    """
    # A trie: children[node] maps tokens to nodes; levels[t] holds the nodes at depth t.
    children: list[dict[int, int]] = [{}]
    levels: list[list[int]] = [[0]]
    behind_prompts: list[dict[int, np.ndarray]] = [{}]  # for each level, rows to continue, by node

    def child(node: int, token: int, length: int) -> int:
        if token not in children[node]:
            children[node][token] = len(children)
            children.append({})
            while len(levels) <= length:
                levels.append([])
                behind_prompts.append({})
            levels[length].append(children[node][token])
        return children[node][token]

    for prompt in prompts:
        if (fault := task.prompt_fault(prompt)) is not None:
            raise ValueError(f'{task.spell(prompt)!r} is not a prompt of {task}: {fault.detail}')
        node = 0
        for length, token in enumerate(prompt.tolist(), start=1):
            node = child(node, token, length)
        behind_prompts[len(prompt)][node] = prompt

    vocabulary = np.array([token for token in range(task.vocabulary.size) if token != PAD], np.int32)
    length = 0
    while length < len(levels):
        if rows := behind_prompts[length]:
            trials = np.repeat(np.stack(list(rows.values())), len(vocabulary), axis=0)
            tokens = np.tile(vocabulary, len(rows))
            trials = np.concatenate([trials, tokens[:, None]], axis=1)
            first_wrong = task.grade(trials, np.zeros(trials.shape, bool)).first_wrong
            nodes = np.repeat(list(rows), len(vocabulary))
            for i in np.flatnonzero((first_wrong < 0) | (first_wrong > length)):
                after = child(int(nodes[i]), int(tokens[i]), length + 1)
                if tokens[i] != EOS:
                    behind_prompts[length + 1][after] = trials[i]
        length += 1

    counts = []
    class_of: dict[int, int] = {}
    for level in reversed(levels):
        ids: dict[tuple, int] = {}
        for node in level:
            future = tuple(sorted((token, class_of[after]) for token, after in children[node].items()))
            class_of[node] = ids.setdefault(future, len(ids))
        ids.pop((), None)  # whole rows
        counts.append(len(ids))
    return counts[::-1][1:-1]

"""How local are chains of thought? python -m experiments.dependencies --path=FILE,FILE --out=DIR

Measures where the operands of each step come from, how many steps and tokens back, and how many values must
be kept for later steps. Files are of word problems in the format of GSM8K: words are the tokens, calculator
annotations the steps. Tasks may stand beside them:

    --path=FILE,FILE                       files of word problems
    --task=experiments/ed.py:n=12          a config whose task is measured, too; may be given several times
    --count=1000                           test examples drawn from each task
    --out=DIR                              where dependencies.json and the figures are written

A number of a step may stand in several places before. Then each figure has two readings: that the operand is
the nearest of them, and the farthest.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from absl import flags

from effxf_jax.data.blocks import DataError, generate
from effxf_jax.dependencies import Chain, Summary, summarize
from effxf_jax.gsm8k import records
from effxf_jax.gsm8k.chains import chain_of
from effxf_jax.gsm8k.judging import judge
from experiments import command_line, configs, dependency_table
from experiments.command_line import CONFIG, refuse
from experiments.console import table_console

_PATHS = command_line.define_paths('path', 'Files of word problems in the format of GSM8K, by commas.')
_TASKS = flags.DEFINE_multi_string(
    'task', [], 'A config, such as experiments/ed.py:n=12, whose task is measured; may be repeated.'
)
_COUNT = flags.DEFINE_integer('count', 1000, 'Test examples drawn from each task.', lower_bound=1)
_OUT = command_line.define_path('out', 'The directory to write to.')

_SHOWN = 5


class Source(NamedTuple):
    """A data set: the name that figures have for it, what it is, and its chains, read on iteration."""

    name: str
    description: str
    chains: Iterator[Chain]


class InputError(ValueError):
    """A file or a task cannot be measured."""


def main(argv):
    problems = [f'unexpected argument {word!r}; every option starts with --' for word in argv[1:]]
    if CONFIG.value is not None:
        problems.append('--config: give a task as --task=CONFIG, once for each')
    if not _PATHS.value and not _TASKS.value:
        problems.append('--path=FILE or --task=CONFIG is missing, what to measure')
    if _OUT.value is None:
        problems.append('--out=DIR is missing, the directory to write to')
    problems += command_line.directory_problems('--out', _OUT.value)
    sources = _files(_PATHS.value)
    for reference in _TASKS.value:
        try:
            sources.append(_of_task(reference))
        except configs.ConfigError as error:
            problems += [f'--task={reference}: {problem}' for problem in error.problems]
    names = [source.name for source in sources]
    problems += [f'{name} is given twice' for name in sorted(set(names)) if names.count(name) > 1]
    if problems:
        return refuse(problems)
    summaries = {}
    for source in sources:
        try:
            summaries[source.name] = summarize(source.chains)
        except (InputError, DataError, records.FileError) as error:
            problems.append(str(error))
    if problems:
        return refuse(problems)
    table_console().print(dependency_table.table(summaries))
    descriptions = {source.name: source.description for source in sources}
    try:
        written = write(descriptions, summaries, Path(_OUT.value))
    except OSError as error:
        return refuse([f'the results cannot be written: {error}'])
    print('\n'.join(map(str, written)))
    return 0


def word_problems(path: str) -> Iterator[Chain]:
    """Yields the chains of a file of word problems.

    Raises:
        FileError: the file cannot be read.
        InputError: it is empty or has bad lines; the message names the first of them.
    """
    bad, found = [], False
    for read in records.read(path):
        if isinstance(read, records.BadLine):
            bad.append(read)
            if len(bad) > _SHOWN:
                break
        elif not bad:
            found = True
            yield chain_of(judge(read.question, read.answer))
    if bad:
        shown = ''.join(f'; line {line.number}: {line.reason}' for line in bad[:_SHOWN])
        raise InputError(f'{path} has bad lines{shown}{"; ..." * (len(bad) > _SHOWN)}')
    if not found:
        raise InputError(f'{path} is empty; expected one problem per line')


def task_chains(reference: str, count: int) -> tuple[str, Iterator[Chain]]:
    """A config's task as text, and the chains of its first test examples, drawn on iteration.

    Drawing raises InputError if the task does not say where its values come from.

    Raises:
        ConfigError: there is no such config, or its task is invalid.
    """
    config = configs.load(reference)
    task = configs.make_task(config)

    def chains() -> Iterator[Chain]:
        for examples in generate(task, config.seed, 'test', count):
            for row in examples.tokens:
                try:
                    yield task.dependencies(row)
                except NotImplementedError as error:
                    problem = f'{task} does not say where its values come from'
                    raise InputError(f'--task={reference}: {problem}') from error
                except ValueError as error:  # such as direct answers, which have no steps
                    raise InputError(f'--task={reference}: {error}') from error

    return str(task), chains()


def write(descriptions: Mapping[str, str], summaries: Mapping[str, Summary], directory: Path) -> list[Path]:
    """Writes dependencies.json and the figures; returns their files.

    Args:
        descriptions: what each data set is, by name.
        summaries: their statistics, by name.
        directory: where to write; it is made if need be.

    Raises:
        OSError: a file cannot be written.
    """
    from experiments import dependency_figures

    report = [
        {'name': name, 'source': descriptions[name], **dependency_table.describe(summary)}
        for name, summary in summaries.items()
    ]
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / 'dependencies.json'
    path.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    return [path, *dependency_figures.draw(summaries, directory)]


def _files(paths: list[str]) -> list[Source]:
    """The files' sources, named by their last parts where these differ."""
    names = [Path(path).name for path in paths]
    return [
        Source(name if names.count(name) == 1 else path, path, word_problems(path))
        for name, path in zip(names, paths, strict=True)
    ]


def _of_task(reference: str) -> Source:
    task, chains = task_chains(reference, _COUNT.value)
    path, colon, argument = reference.partition(':')
    return Source(f'{Path(path).stem}{colon}{argument}', task, chains)


if __name__ == '__main__':
    command_line.start(main)

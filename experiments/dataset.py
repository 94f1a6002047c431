"""Examples as files: python -m experiments.dataset COMMAND --config=experiments/ed.py:n=12 ...

    export --split=test --count=1000 --out=FILE   writes examples, one per line (Feng et al.'s text format)
    check --path=FILE                             grades each line of a file in this format, from any source;
                                                  with train_sizes=mixture, lines of all sizes
    show --split=train --count=3                  prints examples for reading, one step per line

With --format=gsm8k, export and check are of files in GSM8K's format, one JSON object per line, for tasks that
have this form. Without a config, check judges word problems by themselves:

    check --format=gsm8k --path=FILE              recomputes each calculator annotation, and says where the
                                                  numbers of each step may come from

Exit status 0: success; 1: the file has bad lines or wrong steps, or is empty; 2: nothing was done.
"""

import os
import sys

from absl import flags
from ml_collections import ConfigDict

from effxf_jax.data.blocks import SPLITS, DataError, generate
from effxf_jax.data.sources import FORMATS
from effxf_jax.gsm8k.records import FileError
from effxf_jax.tasks import Task
from experiments import command_line, configs, gsm8k_check
from experiments.command_line import CONFIG, refuse

_SPLIT = flags.DEFINE_enum('split', 'train', SPLITS, 'Which examples, for export and show.')
_COUNT = flags.DEFINE_integer('count', None, 'How many, for export (1,000) and show (3).', lower_bound=1)
_OUT = command_line.define_path('out', 'The file to write, for export.')
_PATH = command_line.define_path('path', 'The file to check, for check.')
_FORMAT = flags.DEFINE_enum(
    'format', 'text', [*FORMATS], "The format of the file: Feng et al.'s text, or that of GSM8K."
)


def main(argv):
    if problems := _problems(argv[1:]):
        return refuse(problems)
    try:
        if CONFIG.value is None:
            return gsm8k_check.check(_PATH.value)
        return COMMANDS[argv[1]](configs.make_task(CONFIG.value), CONFIG.value)
    except configs.ConfigError as error:
        return refuse(error.problems)
    except (DataError, FileError) as error:
        return refuse([str(error)])
    except BrokenPipeError:  # the reader of the output, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return refuse([str(error)])


def _problems(words: list[str]) -> list[str]:
    """What is wrong with the command and its flags, given the words that are no flags."""
    is_of_records = _FORMAT.value == 'gsm8k'
    known = ['export', 'check'] if is_of_records else list(COMMANDS)
    problems = [] if is_of_records and words == ['check'] else command_line.missing_config()
    if len(words) != 1 or words[0] not in known:
        of_format = f' for --format={_FORMAT.value}' * is_of_records
        expected = f'expected one command of {", ".join(known)}{of_format}'
        problems.append(f'{expected}; got {" ".join(words) or "none"}')
    elif words[0] == 'export' and _OUT.value is None:
        problems.append('--out=FILE is missing, the file to write')
    elif words[0] == 'check' and _PATH.value is None:
        problems.append('--path=FILE is missing, the file to check')
    return problems


def export(task: Task, config: ConfigDict) -> int:
    count = _COUNT.value or 1000
    FORMATS[_FORMAT.value].write(_OUT.value, task, config.seed, _SPLIT.value, count)
    print(f'{_OUT.value}: {count:,} {_SPLIT.value} examples of {task}')
    return 0


def check(task: Task, config: ConfigDict) -> int:
    right = bad = completed = left_out = 0
    for lines in FORMATS[_FORMAT.value].read(_PATH.value, task, config.data.train_sizes == 'mixture'):
        right += len(lines.tokens) + lines.left_out
        bad += len(lines.bad)
        completed += lines.completed
        left_out += lines.left_out
        for line in lines.bad:
            print(f'line {line.number}: {line.reason}')
    if not right + bad:
        print(f'{_PATH.value} is empty; expected one line per example')
        return 1
    print(f'{_PATH.value}: {right:,} of {right + bad:,} chains are right, {bad:,} are bad')
    if completed:
        print(f'{completed:,} of the right ones are prompts alone, whose chains are computed')
    if left_out:
        print(f'{left_out:,} of the right ones are longer than the rows of the task')
    return 1 if bad else 0


def show(task: Task, config: ConfigDict) -> int:
    count = _COUNT.value or 3
    print(f'{task}: {task.vocabulary.size} tokens, rows of up to {task.max_length}\n')
    for examples in generate(task, config.seed, _SPLIT.value, count):
        for row in examples.tokens:
            print('\n'.join(task.spell(row[step]) for step in task.steps(row)) + '\n')
    return 0


COMMANDS = {'export': export, 'check': check, 'show': show}


if __name__ == '__main__':
    command_line.start(main, command_line.problems_of(configs.make_task))

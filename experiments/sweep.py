"""Runs a sweep: python -m experiments.sweep --config=experiments/sweeps/figure1.py

Each cell is trained, decoded and graded in a directory of its own, in worker processes that Ray schedules.
A sweep may be killed or stopped at any time; the same command then skips finished cells and resumes others.

    --directory=DIR    directory of the cells; by default sweeps/NAME-PRESET
    --ray_address=...  Ray cluster to run on, such as auto or HOST:6379; by default this machine. All nodes
                       must see the directory
    --reuse=SOURCE,SOURCE
                       directories of other sweeps, or files of results such as results/figure1-laptop.jsonl:
                       runs that are done or have diverged there are copied, not trained again, as are those
                       that an earlier version left under other names in the sweep's own directory
    --dry_run          prints the cells, their parameters and the cost of their training; runs nothing
    --retry_failed     runs failed cells again
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import ray
from absl import flags
from rich.table import Table

from effxf_jax.runs.directory import InUseError, MismatchError
from effxf_jax.runs.termination import Interrupted
from effxf_jax.theory.complexity import num_params
from experiments import command_line, configs
from experiments.command_line import CONFIG, refuse
from experiments.console import table_console
from experiments.sweeping import archive, cells, reuse, scheduler, view
from experiments.sweeping.outcomes import RecordError
from experiments.sweeping.states import read_state
from experiments.sweeping.worker import first_line

_DIRECTORY = command_line.define_path('directory', 'Directory of the cells; by default sweeps/NAME-PRESET.')
_ADDRESS = flags.DEFINE_string('ray_address', None, 'A Ray cluster, such as auto; by default this machine.')
_REUSE = command_line.define_paths('reuse', 'Directories of other sweeps, or files of results, to copy from.')
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Print the cells and their cost, and run nothing.')
_RETRY_FAILED = flags.DEFINE_bool('retry_failed', False, 'Run failed cells again.')


def run(argv):
    if len(argv) > 1:
        return refuse([f'unexpected argument {word!r}; every option starts with --' for word in argv[1:]])
    if problems := command_line.missing_config('experiments/sweeps/figure1.py'):
        return refuse(problems)
    # This process trains nothing; the accelerators are for its workers.
    jax.config.update('jax_platforms', 'cpu')
    directory = Path(_DIRECTORY.value or Path('sweeps') / CONFIG.value.get('name', ''))
    problems = command_line.directory_problems('directory', directory) + _reuse_problems()
    try:
        sweep = cells.make_sweep(CONFIG.value)
    except configs.ConfigError as error:
        problems = error.problems + problems
    if problems:
        return refuse(problems)
    print(f'directory: {directory}', flush=True)
    sources = [Path(source) for source in _REUSE.value]
    try:
        if _DRY_RUN.value:
            print_cells(sweep, directory, sources, _RETRY_FAILED.value)
            return 0
        with view.TerminalWatcher(sweep) as watcher:
            states = scheduler.run(sweep, directory, watcher, _ADDRESS.value, _RETRY_FAILED.value, sources)
    except (MismatchError, RecordError, InUseError, ConnectionError, scheduler.ResourceError) as error:
        return refuse([str(error)])
    except OSError as error:
        print(f'Stopped: {error}. Checkpoints are kept; the same command resumes.', file=sys.stderr)
        return 1
    except Interrupted as error:
        print(f'{error}. To resume, run the same command again.', file=sys.stderr)
        return 128 + error.signal_number
    except ray.exceptions.RayError as error:
        reason = first_line(error)
        print(f'Ray: {reason}. Checkpoints are kept; the same command resumes.', file=sys.stderr)
        return 1
    failed = {name: state.error for name, state in states.items() if state.error is not None}
    for name, error in failed.items():
        print(f'{directory / name} failed: {error}', file=sys.stderr)
    if failed:
        print(f'{len(failed)} cells failed; --retry_failed runs them again.', file=sys.stderr)
    print(f'Figures and tables: python -m experiments.report {directory}')
    return 1 if failed else 0


def print_cells(
    sweep: cells.Sweep, directory: Path, sources: Sequence[Path] = (), retry_failed: bool = False
) -> None:
    """Prints every cell with its state and its cost; for the last two arguments see `scheduler.run`."""
    copied = reuse.find(sweep, directory, sources, also_diverged=not retry_failed)
    table = Table(title=f'{sum(1 for _ in sweep.cells())} cells', title_justify='left')
    for column in 'grid', 'cell', 'directory', 'state':
        table.add_column(column, overflow='fold')
    for column in 'seeds', 'parameters', 'steps', 'training FLOPs':
        table.add_column(column, justify='right')
    total = left = 0.0
    for cell in sweep.cells():
        state = read_state(directory, cell)
        how = 'done' if state.done else 'failed' if state.error and not retry_failed else 'to run'
        how = 'to copy' if cell.name in copied else how
        flops = cell.train_flops
        total, left = total + flops, left + (flops if how == 'to run' else 0.0)
        seeds = [alone.seed for alone in cell.experiment.replicates()]
        what = ' '.join(map(cells.short, cell.labels))
        which = str(seeds[0]) if len(seeds) == 1 else f'{seeds[0]} to {seeds[-1]}'
        row = f'{num_params(cell.experiment.model):,}', f'{cell.experiment.train.steps:,}', f'{flops:.2e}'
        table.add_row(cell.grid, what, cell.name, how, which, *row)
    console = table_console()
    console.print(table)
    console.print(
        f'{total:.2e} training FLOPs, {left:.2e} of them to run; a search runs only some of its cells'
    )


def _reuse_problems() -> list[str]:
    return [
        f'reuse must name directories of sweeps, with a sweep.json, or files of results; got {source}'
        for source in _REUSE.value
        if not (Path(source) / 'sweep.json').is_file()
        and not (source.endswith(archive.SUFFIX) and Path(source).is_file())
    ]


def _flag_problems(config, values) -> list[str]:
    """Checks the other flags and fields, after a part of the configuration was found invalid."""
    problems = command_line.problems_of(cells.make_sweep)(config, values)
    return problems + command_line.directory_problems('directory', values.get('directory'))


if __name__ == '__main__':
    command_line.start(run, _flag_problems)

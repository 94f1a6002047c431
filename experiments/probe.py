"""Is the state a real bottleneck? python -m experiments.probe --workdir=RUN

Cuts a trained model's rows during their generation and changes the state, through which alone later tokens
depend on the tokens before the cut:

    * the whole state is exchanged between two problems, whose continuations must change places;
    * the state of one layer or head is exchanged: whose chain and whose answer do the rows follow?
    * the state is made smaller, in several ways: how many rows continue as before, by the bits kept, and how
      many does the pigeonhole principle allow?

Prints tables, and writes probe.json and probe.png into the run's directory.

    --count=512       test problems to start from
    --position=60     index of the last token before the cut, from 0; by default in the middle
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from absl import flags, logging
from rich.table import Table

from effxf_jax import training
from effxf_jax.data.blocks import DataError
from effxf_jax.model import Transformer
from effxf_jax.runs.checkpoints import CheckpointError, Checkpoints
from effxf_jax.runs.directory import MismatchError, RunDirectory, check_same
from effxf_jax.runs.experiment import Experiment
from effxf_jax.runs.record import ExperimentError
from effxf_jax.theory import complexity, probing
from effxf_jax.theory.probing import Point, ProbeError
from experiments import command_line
from experiments.command_line import refuse
from experiments.console import table_console

_WORKDIR = command_line.define_path('workdir', 'The directory of a run that has trained.')
_COUNT = flags.DEFINE_integer('count', 512, 'Test problems to start from.', lower_bound=2)
_POSITION = flags.DEFINE_integer(
    'position', None, 'The last token before the cut, counted from 0.', lower_bound=1
)

BITS_A_NUMBER = (1, 2, 3, 4, 6, 8, 12)
COMPONENTS = (1, 2, 4, 8, 16, 32, 64, 128)


def main(argv):
    if len(argv) > 1:
        return refuse([f'unexpected argument {word!r}; every option starts with --' for word in argv[1:]])
    try:
        experiment, state = load(_WORKDIR.value)
        report = {'step': int(state.step)}
        report |= probe(experiment, state.params, _COUNT.value, _POSITION.value)
    except (ProbeError, MismatchError, DataError, CheckpointError) as error:
        return refuse([str(error)])
    except probing.PigeonholeError as error:
        print(
            f'The pigeonhole principle is violated, so there is a mistake in the probe: {error}',
            file=sys.stderr,
        )
        return 1
    _print(report)
    directory = Path(_WORKDIR.value)
    try:
        RunDirectory(directory).write_text('probe.json', json.dumps(report, indent=2) + '\n')
        draw(report, directory / 'probe.png')
    except OSError as error:
        return refuse([f'the results cannot be written: {error}'])
    return 0


def load(workdir: str | None) -> tuple[Experiment, training.TrainState]:
    """Loads the experiment of a run's directory and its latest state.

    Raises:
        ProbeError: the directory is not a run's, or has no checkpoint.
        MismatchError: the checkpoint has another configuration, or a file is damaged.
    """
    if workdir is None:
        raise ProbeError('--workdir=RUN is missing, the directory of a run')
    path = Path(workdir)
    if not (path / 'config.json').is_file():
        raise ProbeError(f'{workdir} is not the directory of a run: it has no config.json')
    record = RunDirectory(path).read_object('config.json')
    try:
        experiment = Experiment.from_record(record)
    except ExperimentError as error:
        reasons = '; '.join(error.problems)
        raise ProbeError(f'{path / "config.json"} is not the configuration of a run: {reasons}') from error
    if experiment.train.num_replicates > 1:
        raise ProbeError(f'{workdir} holds several runs; give one of {workdir}/seed-*')
    model = Transformer(experiment.model)
    optimizer = training.make_optimizer(experiment.train, experiment.model)
    like = training.init_state(model, optimizer, experiment.seed)
    if not os.path.isdir(path / 'checkpoints'):
        raise ProbeError(f'{workdir} has no checkpoints; train first')
    where = f'The checkpoint in {workdir}'
    with Checkpoints(path / 'checkpoints', read_only=True) as checkpoints:
        restored = checkpoints.restore_latest(
            like, check=lambda record: check_same(record['config'], experiment.record, where)
        )
    if restored is None:
        raise ProbeError(f'{workdir} has no checkpoint that can be read')
    return experiment, restored.state


def probe(experiment: Experiment, params, count: int, position: int | None = None) -> dict:
    """Computes all figures, as plain values.

    Raises:
        ProbeError: the model gets too few problems right.
        probing.PigeonholeError: information passes outside the state.
    """
    model, task = Transformer(experiment.model), experiment.task
    examples = experiment.open_data().test.read(np.arange(count))
    cut = probing.cut_rows(model, params, task, examples, position)
    parts = [
        {
            # From 1, as readers count layers.
            'layer': layer + 1,
            'head': None if head is None else head + 1,
            **{name: shares._asdict() for name, shares in followed.items()},
        }
        for layer, head, followed in probing.follow(model, params, task, cut)
    ]
    most = int(np.ceil(np.log2(len(cut.tokens))))
    settings = {'bits a number': BITS_A_NUMBER, 'components': COMPONENTS, 'bits in all': range(most + 1)}
    if any(probing.matrices(experiment.model)):
        head_dim = experiment.model.head_dim
        ranks = [2**k for k in range(head_dim.bit_length()) if 2**k < head_dim]
        settings['rank'] = [*ranks, head_dim]
    points = [
        point._asdict()
        for kind, values in settings.items()
        for point in probing.shrink(model, params, task, cut, kind, values)
    ]
    return {
        'task': str(task),
        'mechanism': experiment.model.mechanism,
        'dim': experiment.model.dim,
        'seed': experiment.seed,
        'problems': count,
        'rows': len(cut.tokens),
        'position': cut.position,
        'state_size': complexity.state_at(experiment.model, cut.position),
        'exchange_of_all': probing.sanity(model, params, cut),
        'exchange_of_parts': parts,
        'points': points,
    }


def _print(report: dict) -> None:
    console = table_console()
    console.print(
        '{task}\n{mechanism}, width {dim}, after {step:,} steps: {rows} right rows, cut after '
        'position {position}; a state of {state_size:,} numbers\nWhole state exchanged: '
        '{exchange_of_all:.1%} continue as their partners did\n'.format_map(report)
    )
    table = Table('layer', 'head', title='One part of the state exchanged: what rows follow')
    for column in 'own chain', "partner's", 'neither', 'own answer', "partner's", 'neither':
        table.add_column(column, justify='right')
    for part in report['exchange_of_parts']:
        shares = [part[name][key] for name in ('chain', 'answer') for key in ('own', 'partner', 'neither')]
        head = 'all' if part['head'] is None else str(part['head'])
        table.add_row(str(part['layer']), head, *(f'{share:.3f}' for share in shares))
    console.print(table)
    table = Table(
        'state made smaller', title='Rows that are still right, and that continue as with the whole state'
    )
    for column in 'setting', 'bits kept', 'right', 'as before', 'ceiling':
        table.add_column(column, justify='right')
    for row in report['points']:
        point = Point(**row)
        shares = (f'{share:.3f}' for share in (point.right, point.kept, point.ceiling))
        table.add_row(point.kind, str(point.setting), f'{point.bits:,.0f}', *shares)
    console.print(table)


def draw(report: dict, path: Path) -> None:
    """Draws the share of rows kept against bits, with its ceiling, and whose answers rows follow, by part."""
    import matplotlib

    matplotlib.use('agg')
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout='constrained')
    points = [Point(**row) for row in report['points']]
    for marker, kind in zip('osv^', dict.fromkeys(point.kind for point in points), strict=False):
        of_kind = sorted(point for point in points if point.kind == kind)
        left.plot([p.bits for p in of_kind], [p.kept for p in of_kind], marker + '-', ms=4, label=kind)
    ceilings = sorted((p.bits, p.ceiling) for p in points)
    left.plot(*zip(*ceilings, strict=True), 'k--', lw=1, label='pigeonhole ceiling')
    left.set(
        xscale='symlog', xlabel='bits kept of the state', ylabel='rows that go on as before', ylim=(0, 1.05)
    )
    left.legend(loc='upper center', bbox_to_anchor=(0.5, -0.15), ncols=5, fontsize=8)
    left.grid(alpha=0.3)

    parts = report['exchange_of_parts']
    names = [f'{part["layer"]}' + ('' if part['head'] is None else f'.{part["head"]}') for part in parts]
    bottom = np.zeros(len(parts))
    for key, label in ('own', 'own'), ('partner', "the partner's"), ('neither', 'neither'):
        shares = np.array([part['answer'][key] for part in parts])
        right.bar(names, shares, bottom=bottom, label=label)
        bottom += shares
    right.set(xlabel='layer, or layer.head, whose state is exchanged', ylabel='answers', ylim=(0, 1.15))
    right.tick_params(axis='x', rotation=90)
    right.legend(ncols=3)
    figure.suptitle(f'{report["mechanism"]}, width {report["dim"]}, cut behind position {report["position"]}')
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == '__main__':
    command_line.start(main, verbosity=logging.ERROR)  # Orbax warns about every read-only directory

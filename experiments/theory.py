"""Costs and width bounds for a task: python -m experiments.theory --config=experiments/arith.py:n=10

Prints for each attention mechanism and width the multiply-adds and bytes of a forward pass, by part, and the
state that decoding keeps. Prints for each mechanism the bits that must pass through it, the least width that
allows this, the cost of a forward pass at that width, relative to the standard Transformer's, and the width
of a construction, if there is one: a model whose weights are written by hand.

    --widths=64,128   widths of the table; by default the config's width and three doublings
    --precision=16    bits per neuron; by default ceil(log2 L)
    --plot=FILE       draws cost, least width and constructed width against the length of larger problems
    --json            prints the figures as JSON
"""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags
from rich.table import Table

from effxf_jax import attention
from effxf_jax.constructions import catalogue
from effxf_jax.model import ModelConfig
from effxf_jax.tasks import Task
from effxf_jax.theory import bottleneck, complexity
from experiments import command_line, configs
from experiments.command_line import CONFIG, refuse
from experiments.console import table_console

_WIDTHS = flags.DEFINE_list('widths', None, 'Widths of the table, each divisible by the heads.')
_PRECISION = flags.DEFINE_integer(
    'precision', None, 'Bits per neuron; by default ceil(log2 L).', lower_bound=1
)
_PLOT = command_line.define_path('plot', 'A file to draw to, such as theory.png.')
_JSON = flags.DEFINE_bool('json', False, 'Print JSON.')

_LONGEST_DRAWN = 10**7
_POINTS_DRAWN = 13
_LARGEST_CONSTRUCTED, _CONSTRUCTED_DRAWN = 32, 9  # times the size of the task; points


def main(argv):
    if len(argv) > 1:
        return refuse([f'unexpected argument {word!r}; every option starts with --' for word in argv[1:]])
    if problems := command_line.missing_config():
        return refuse(problems)
    try:
        experiment = configs.make_experiment(CONFIG.value)
        widths = _widths(experiment.model)
    except configs.ConfigError as error:
        return refuse(error.problems)
    if _PLOT.value:
        try:
            draw(experiment.task, experiment.model, _PRECISION.value, _PLOT.value)
        except (OSError, ValueError) as error:  # ValueError: an unknown file format, or nothing to draw
            return refuse([f'--plot: {error}'])
    report = describe(experiment.task, experiment.model, widths, _PRECISION.value)
    if _JSON.value:
        print(json.dumps(report, indent=2))
    else:
        _print(report)
    return 0


def mechanisms(config: ModelConfig) -> Iterator[tuple[str, ModelConfig]]:
    """Yields every mechanism's name and its config, with the given options; a config's mixture comes last."""
    given = dict(config.options)
    for title, (mechanism, options) in attention.variants().items():
        known = attention.option_values(mechanism, {})
        kept = {name: value for name, value in given.items() if name in known and name not in options}
        yield title, dataclasses.replace(config, mechanism=mechanism, options=options | kept)
    if '+' in config.mechanism:
        yield config.mechanism, config


def describe(task: Task, config: ModelConfig, widths: list[int], precision: int | None = None) -> dict:
    """Computes all figures, as plain values.

    Args:
        task: the task; in direct mode the width bounds are 0.
        config: the model; all mechanisms are described, whichever it has.
        widths: widths of the forward passes.
        precision: bits per neuron; by default ceil(log2 L).
    """
    precision = precision or bottleneck.default_precision(config.max_length)
    bits = task.required_bits()
    passes, bounds = [], []
    for name, of_mechanism in mechanisms(config):
        for dim in widths:
            at_width = dataclasses.replace(of_mechanism, dim=dim)
            cost = complexity.forward_cost(at_width)
            state = complexity.state_size(at_width)
            passes.append(
                {
                    'mechanism': name,
                    'dim': dim,
                    'length': config.max_length,
                    'macs': {part: value.macs for part, value in cost._asdict().items()},
                    'bytes': {part: value.bytes for part, value in cost._asdict().items()},
                    'total_macs': cost.total.macs,
                    'total_bytes': cost.total.bytes,
                    'flops': cost.flops,
                    'state_size': state,
                    'state_bits': state * precision,
                }
            )
        bound = bottleneck.least_width(task, of_mechanism, precision)
        dim = macs = None  # if no width is enough
        if math.isfinite(bound.width):
            dim = bottleneck.round_up(bound.width, config.num_heads)
            macs = complexity.forward_cost(dataclasses.replace(of_mechanism, dim=dim)).total.macs
        bounds.append(
            {
                'mechanism': name,
                'complexity_class': complexity.complexity_class(of_mechanism),
                'least_width': bound.width if dim else None,
                'least_dim': dim,
                'neurons': bound.neurons,
                'cut_length': bound.length,
                'cut_bits': bound.bits,
                'macs_at_least_dim': macs,
                **_constructed(task, of_mechanism),
            }
        )
    standard = next(bound['macs_at_least_dim'] for bound in bounds if bound['mechanism'] == 'standard')
    for bound in bounds:
        macs = bound['macs_at_least_dim']
        bound['macs_relative_to_standard'] = macs and macs / standard
    return {
        'task': str(task),
        'length': config.max_length,
        'num_layers': config.num_layers,
        'num_heads': config.num_heads,
        'precision': precision,
        'required_bits': bits._asdict(),
        'forward_passes': passes,
        'width_bounds': bounds,
    }


def _construction(task: Task, config: ModelConfig) -> catalogue.Narrowest | None:
    """The narrowest construction for a model's mechanism; None for a task with direct answers."""
    if task.answer_mode == 'direct' or '+' in config.mechanism:
        return None
    pattern = attention.option_values(config.mechanism, dict(config.options)).get('pattern')
    return catalogue.narrowest(task, config.mechanism, pattern)


def _constructed(task: Task, config: ModelConfig) -> dict:
    found = _construction(task, config)
    if found is None:
        return {'construction': None, 'constructed_dim': None, 'constructed_task': None}
    return {
        'construction': found.name,
        'constructed_dim': found.width,
        'constructed_task': str(found.task),
    }


def _print(report: dict) -> None:
    console = table_console()
    bits = report['required_bits']
    console.print(
        f'{report["task"]}: sequences of {report["length"]:,} tokens; {report["num_layers"]} layers, '
        f'{report["num_heads"]} heads, {report["precision"]} bits per neuron\n'
        f'After {bits["length"]:,} tokens, at least {bits["lower"]:,.1f} bits of them must still be known'
        f'{"" if bits["lower"] else " (no bound is known)"}; {bits["upper"]:,.1f} bits are enough\n'
    )
    for title, parts, total, others in (
        ('Multiply-adds of a forward pass over one sequence', 'macs', 'total_macs', ()),
        ('Bytes moved, at least, and the state kept', 'bytes', 'total_bytes', ('state_size', 'state_bits')),
    ):
        table = Table('mechanism', 'D', title=title)
        names = [part.replace('_', ' ') for part in report['forward_passes'][0][parts]]
        for column in *names, 'total', *(('state numbers', 'state bits') if others else ()):
            table.add_column(column, justify='right')
        for row in report['forward_passes']:
            figures = *row[parts].values(), row[total], *(row[name] for name in others)
            table.add_row(row['mechanism'], str(row['dim']), *map(_short, figures))
        console.print(table)

    table = Table(title='The least width, and a forward pass at that width')
    for column in 'mechanism', 'order':
        table.add_column(column)
    for column in 'D at least', 'rounded':
        table.add_column(column, justify='right')
    table.add_column('what must pass through')
    for column in 'multiply-adds', 'standard = 1', 'D constructed':
        table.add_column(column, justify='right')
    for row in report['width_bounds']:
        table.add_row(
            row['mechanism'],
            row['complexity_class'],
            'none is enough' if row['least_width'] is None else f'{row["least_width"]:,.2f}',
            '' if row['least_dim'] is None else str(row['least_dim']),
            f'{row["neurons"]}: {row["cut_bits"]:,.0f} bits after {row["cut_length"]:,} tokens',
            '' if row['macs_at_least_dim'] is None else _short(row['macs_at_least_dim']),
            '' if row['macs_at_least_dim'] is None else f'{row["macs_relative_to_standard"]:,.2f}',
            '' if row['constructed_dim'] is None else str(row['constructed_dim']),
        )
    console.print(table)
    console.print('A width is a bound, not a prediction: below it no model is right on every problem.')
    for constructed in {row['constructed_task'] for row in report['width_bounds']} - {None}:
        console.print(f'At a constructed width, weights written by hand solve {constructed}.')


def _short(number: int) -> str:
    """A number with three digits and a unit prefix."""
    for power, unit in (12, 'T'), (9, 'G'), (6, 'M'), (3, 'k'):
        if number >= 10**power:
            return f'{number / 10**power:.3g} {unit}'
    return str(number)


def larger_tasks(task: Task) -> list[Task]:
    """The task at its own size and at ever larger ones, up to sequences of 10^7 tokens."""
    found = [task]
    for factor in np.geomspace(1, 10**6, 4 * _POINTS_DRAWN)[1:]:
        try:
            larger = task.scaled(factor)
        except ValueError:  # the task has a largest size
            break
        if larger.max_length > _LONGEST_DRAWN:
            break
        if larger.max_length > found[-1].max_length:
            found.append(larger)
    chosen = np.unique(np.linspace(0, len(found) - 1, _POINTS_DRAWN).astype(int))
    return [found[i] for i in chosen]


def draw(task: Task, config: ModelConfig, precision: int | None, path: str) -> None:
    """Draws the least width and the cost at that width against length; the legend has the slopes."""
    if not task.required_bits().lower:
        what = 'direct answers' if task.answer_mode == 'direct' else 'this task'
        raise ValueError(f'no width is claimed for {what}, so there is nothing to draw')
    import matplotlib

    matplotlib.use('agg')
    from matplotlib import pyplot as plt

    from experiments.reporting.looks import looks_of
    from experiments.reporting.static import MARKERS

    drawn = {name: (_axis_value(of_mechanism), of_mechanism) for name, of_mechanism in mechanisms(config)}
    looks = looks_of([value for value, _ in drawn.values()])
    figure, (left, right) = plt.subplots(1, 2, figsize=(13.5, 4.5), layout='constrained')
    sizes = larger_tasks(task)
    lengths = [larger.max_length for larger in sizes]
    for name, (axis_value, of_mechanism) in drawn.items():
        look = looks[axis_value]
        widths, macs = [], []
        for larger in sizes:
            at_size = dataclasses.replace(
                of_mechanism, vocab_size=larger.vocabulary.size, max_length=larger.max_length
            )
            bound = bottleneck.least_width(larger, at_size, precision)
            if not math.isfinite(bound.width):
                raise ValueError(f'{name}: no width is enough, nothing passes from one position to the next')
            dim = bottleneck.round_up(bound.width, config.num_heads)
            widths.append(bound.width)
            cost = complexity.forward_cost(dataclasses.replace(at_size, dim=dim))
            macs.append(cost.total.macs - cost.vocabulary.macs)
        style = {'color': look.colour, 'marker': MARKERS[look.marker], 'ms': 5}
        for axes, values in (left, macs), (right, widths):
            axes.plot(lengths, values, **style, label=name + _slope(lengths, values))
        if built := constructed_widths(task, of_mechanism):
            label = f'{name}, constructed{_slope(*zip(*built, strict=True))}'
            right.plot(*zip(*built, strict=True), **style, ls='--', mfc='white', label=label)
    left.set(title='forward pass at the least width', ylabel='multiply-adds, without the vocabulary')
    right.set(
        title='the least width; below 1 it excludes no model', ylabel='D at least; dashed: D of weights'
    )
    right.axhline(1, color='gray', lw=0.8)
    for axes in left, right:
        axes.set(xscale='log', yscale='log', xlabel='tokens in the longest sequence')
        axes.grid(alpha=0.3)
    left.legend()
    figure.legend(*right.get_legend_handles_labels(), loc='outside right upper')
    figure.suptitle(type(task).__name__)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def constructed_widths(task: Task, config: ModelConfig) -> list[tuple[int, int]]:
    """Lengths and widths of constructions of the task and of larger ones, as far as float32 holds them."""
    found, name = [], None
    for factor in np.geomspace(1, _LARGEST_CONSTRUCTED, _CONSTRUCTED_DRAWN):
        try:
            construction = _construction(task.scaled(factor), config)
        except ValueError:  # the task has a largest size
            break
        if construction is None or construction.name != (name or construction.name):
            break  # beyond a construction's largest size there may be another one, of an easier task
        name = construction.name
        found.append((construction.task.max_length, construction.width))
    return found


def _axis_value(config: ModelConfig) -> str:
    """The mechanism and its options that differ from their defaults, as on the axis of a grid."""
    return ','.join([f'mechanism={config.mechanism}', *(f'{name}={value}' for name, value in config.options)])


def _slope(lengths: list[int], values: list[float]) -> str:
    """The exponent of a line, as text; empty if it has too few points or a zero."""
    if len(lengths) < 3 or min(values) <= 0:
        return ''
    return f', L^{np.polyfit(np.log(lengths), np.log(values), 1)[0]:.2f}'


def _widths(config: ModelConfig) -> list[int]:
    """The values of --widths, or else the config's width and three doublings."""
    if _WIDTHS.value is None:
        return [config.dim * factor for factor in (1, 2, 4, 8)]
    problems, widths = [] if _WIDTHS.value else ['--widths is empty'], []
    for text in _WIDTHS.value:
        try:
            widths.append(int(text))
            dataclasses.replace(config, dim=widths[-1])
        except ValueError as error:
            problems += [f'--widths: {line}' for line in str(error).splitlines()]
    if problems:
        raise configs.ConfigError(problems)
    return widths


if __name__ == '__main__':
    command_line.start(main, command_line.problems_of(configs.make_experiment))

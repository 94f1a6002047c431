"""Weights written by hand: python -m experiments.construct --config=experiments/ed.py:n=20,mechanism=linear

Compiles a construction for the config's task and mechanism, and grades it as a trained model is graded. The
construction decides on width, layers and options; the run's directory is like that of any other run. Its
result.json says under `construction` how the weights were made, the smallest margin of a logit over the
others, the largest weight, and the largest size at which float32 is known to hold the construction.

    --config=FILE[:[PRESET][,FIELD=VALUE]...]    the task, the mechanism, and how many problems are graded
    --construction=NAME    such as linear_table; by default the narrowest for the task and the mechanism or,
                           if there is none, for other options of the task, such as lengths=equal
    --workdir=DIR          of the run; by default runs/ and a name made from the configuration
    --dim=D, --num_heads=H    a width, or heads, at least as many as the construction's
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from effxf_jax import training
from effxf_jax.constructions import catalogue
from effxf_jax.constructions.compiler import Compiled
from effxf_jax.constructions.program import ConstructionError
from effxf_jax.data.blocks import DataError
from effxf_jax.model import Transformer
from effxf_jax.runs import hosts, loop, run
from effxf_jax.runs.checkpoints import CheckpointError, Checkpoints
from effxf_jax.runs.directory import InUseError, MismatchError, RunDirectory
from effxf_jax.runs.experiment import Experiment
from effxf_jax.runs.memory import MemoryLimitError
from effxf_jax.tasks.task import produced
from experiments import command_line, compilations, configs, console
from experiments.command_line import CONFIG, refuse

_CONSTRUCTION = flags.DEFINE_string('construction', None, 'Which one; by default the narrowest.')
_WORKDIR = command_line.define_path('workdir', "The run's directory; by default runs/NAME.")
_DIM = flags.DEFINE_integer('dim', None, 'The width; by default the least.', lower_bound=1)
_NUM_HEADS = flags.DEFINE_integer('num_heads', None, 'Heads; by default the least.', lower_bound=1)


def main(argv):
    if len(argv) > 1:
        return refuse([f'unexpected argument {word!r}; every option starts with --' for word in argv[1:]])
    if problems := command_line.missing_config('experiments/ed.py'):
        return refuse(problems)
    compilations.keep()
    try:
        name, compiled, experiment = make(CONFIG.value, _CONSTRUCTION.value, _NUM_HEADS.value, _DIM.value)
    except configs.ConfigError as error:
        return refuse(error.problems)
    except ConstructionError as error:
        return refuse([str(error)])
    workdir = Path(_WORKDIR.value or Path('runs') / f'{name}-{experiment.name}')
    print(f'construction: {name}, width {compiled.config.dim}')
    print(f'task: {experiment.task}\nworkdir: {workdir}', flush=True)
    listener = console.TerminalListener(experiment.train.steps)
    try:
        write(experiment, compiled, workdir)
        run.run(experiment, workdir, listener)
        describe(experiment, name, compiled, RunDirectory(workdir))
    except (MismatchError, InUseError, DataError, MemoryLimitError) as error:
        return refuse([str(error)])
    except CheckpointError as error:
        print(f'Stopped: {error}.', file=sys.stderr)
        return hosts.leave(1, at_once=True)  # as `main` does
    except OSError as error:
        print(f'Stopped: {error}.', file=sys.stderr)
        return 1
    finally:
        listener.close()
    return 0


def make(
    config: ConfigDict, name: str | None = None, num_heads: int | None = None, dim: int | None = None
) -> tuple[str, Compiled, Experiment]:
    """The construction for a configuration: its name, the model, and the experiment of no updates.

    Raises:
        ConfigError: the configuration is invalid.
        ConstructionError: there is no construction for the task and the mechanism, or it does not fit.
    """
    config = config.copy_and_resolve_references().unlock()
    task = configs.make_task(config)
    name = name or _default(config, task)
    chosen = catalogue.CONSTRUCTIONS[config.task.name].get(name)
    if chosen is not None:
        config.task.update(chosen.task_options)
    task = configs.make_task(config)
    compiled = catalogue.build(task, name, num_heads, dim)
    model = compiled.config
    config.model.update(
        dim=model.dim,
        num_heads=model.num_heads,
        num_layers=model.num_layers,
        mechanism=model.mechanism,
        positions=model.positions,
        dropout=0.0,
        **dict(model.options),
    )
    config.train.update(steps=0, warmup_steps=0)
    return name, compiled, configs.make_experiment(config)


def _default(config: ConfigDict, task) -> str:
    """The name of the narrowest construction for the config's mechanism and pattern."""
    of_task, mechanism, pattern = config.task.name, config.model.mechanism, config.model.get('pattern')
    found = catalogue.narrowest(task, mechanism, pattern)
    if found is not None:
        return found.name
    known = {name: catalogue.CONSTRUCTIONS[of_task][name] for name in catalogue.names(of_task)}
    if too_large := catalogue.fitting(task, mechanism, pattern):
        return max(too_large, key=lambda name: known[name].largest)  # which `build` refuses with its reason
    attention = lambda mechanism, pattern: f'{mechanism} attention' + f' ({pattern})' * bool(pattern)
    there = dict.fromkeys(attention(c.mechanism, c.options(task).get('pattern')) for c in known.values())
    raise ConstructionError(
        f'there is no construction of {of_task} with {attention(mechanism, pattern)}; '
        f'there are some with {", ".join(there)}'
    )


def write(experiment: Experiment, compiled: Compiled, workdir: Path) -> None:
    """Writes the configuration and a checkpoint of the weights, as a run of no updates leaves them.

    Raises:
        MismatchError: the directory has another configuration.
        CheckpointError: the checkpoint cannot be saved.
        OSError: the directory cannot be written.
    """
    directory = RunDirectory(workdir)
    directory.claim(experiment.record)
    if directory.read_result() is not None:
        return
    optimizer = training.make_optimizer(experiment.train, experiment.model)
    state = jax.tree.map(np.asarray, training.init_state(Transformer(experiment.model), optimizer, 0))
    state = state._replace(params=compiled.params)
    with directory.lock(), Checkpoints(workdir / 'checkpoints') as checkpoints:
        replicate = loop.Replicate(experiment, directory, experiment)
        checkpoints.save(0, state, loop.record(experiment, loop.Totals(), [replicate]))


def describe(experiment: Experiment, name: str, compiled: Compiled, directory: RunDirectory) -> None:
    """Adds to result.json how the weights were made, unless it says so already."""
    result = directory.read_result()
    if 'construction' in result:
        return
    count = min(experiment.run.num_progress_examples, experiment.run.num_eval_examples)
    examples = experiment.open_data().test.read(np.arange(count))
    result['construction'] = {
        'name': name,
        'logit_margin': logit_margin(compiled, examples),
        'largest_weight': max(float(np.abs(x).max()) for x in jax.tree.leaves(compiled.params)),
        'largest_size': catalogue.CONSTRUCTIONS[experiment.record['task']['name']][name].largest,
    }
    directory.write_text('result.json', json.dumps(result, indent=2) + '\n')


def logit_margin(compiled: Compiled, examples) -> float:
    """By how much the right token's logit exceeds all others, at least, over the tokens that are written."""
    model = Transformer(compiled.config)
    logits = np.array(jax.jit(model.apply)({'params': compiled.params}, examples.tokens)[:, :-1])
    following = examples.tokens[:, 1:]
    written = produced(examples)[:, 1:]
    right = np.take_along_axis(logits, following[..., None], axis=-1)[..., 0]
    np.put_along_axis(logits, following[..., None], -np.inf, axis=-1)
    return float((right - logits.max(axis=-1))[written].min())


if __name__ == '__main__':
    command_line.start(main, command_line.problems_of(configs.make_task))

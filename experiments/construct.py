"""Weights written by hand: python -m experiments.construct --config=experiments/ed.py:n=20,mechanism=linear

Makes a run that begins with a construction's weights (`run.start`), and grades it as any other run. The
construction decides on width, layers and options. Under `construction` result.json says how the weights were
made and, of the exact weights, by which margin they choose a token, the largest one, and the largest size at
which float32 is known to hold the construction.

    --config=FILE[:[PRESET][,FIELD=VALUE]...]    the task, the mechanism, and how many problems are graded
    --construction=NAME    such as linear_table; by default the narrowest for the task and the mechanism or,
                           if there is none, for other options of the task, such as lengths=equal
    --workdir=DIR          of the run; by default runs/ and a name made from the configuration
    --dim=D, --num_heads=H    a width, or heads, at least as many as the construction's
    --steps=N              updates, with the config's optimiser, before the grading; by default none

With noise, such as --config=experiments/ed.py:n=6,start_noise=0.003,optimizer=adamw,learning_rate=1e-4
--steps=1000, this shows whether training repairs the weights.
"""

import contextlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from effxf_jax.constructions import catalogue, zeros
from effxf_jax.constructions.compiler import LOGIT_SCALE, NEVER, Compiled
from effxf_jax.constructions.program import ConstructionError
from effxf_jax.data.blocks import DataError
from effxf_jax.model import Transformer
from effxf_jax.runs import hosts, run
from effxf_jax.runs.checkpoints import CheckpointError
from effxf_jax.runs.directory import InUseError, MismatchError, RunDirectory
from effxf_jax.runs.experiment import Experiment
from effxf_jax.runs.memory import MemoryLimitError
from effxf_jax.runs.record import section_fields
from effxf_jax.tasks.task import produced
from experiments import command_line, compilations, configs, console
from experiments.command_line import CONFIG, refuse

_CONSTRUCTION = flags.DEFINE_string('construction', None, 'Which one; by default the narrowest.')
_WORKDIR = command_line.define_path('workdir', "The run's directory; by default runs/NAME.")
_DIM = flags.DEFINE_integer('dim', None, 'The width; by default the least.', lower_bound=1)
_NUM_HEADS = flags.DEFINE_integer('num_heads', None, 'Heads; by default the least.', lower_bound=1)
_STEPS = flags.DEFINE_integer('steps', 0, 'Updates before the grading.', lower_bound=0)


def main(argv):
    if len(argv) > 1:
        return refuse([f'unexpected argument {word!r}; every option starts with --' for word in argv[1:]])
    if problems := command_line.missing_config('experiments/ed.py'):
        return refuse(problems)
    compilations.keep()
    try:
        name, compiled, experiment = make(
            CONFIG.value, _CONSTRUCTION.value, _NUM_HEADS.value, _DIM.value, _STEPS.value
        )
    except configs.ConfigError as error:
        return refuse(error.problems)
    except ConstructionError as error:
        return refuse([str(error)])
    workdir = Path(_WORKDIR.value or Path('runs') / f'{name}-{experiment.name}')
    print(f'construction: {name}, width {compiled.config.dim}')
    print(f'task: {experiment.task}\nworkdir: {workdir}', flush=True)
    listener = console.TerminalListener(experiment.train.steps)
    is_exact = experiment.train.steps == 0 and experiment.run.start_noise == 0
    try:
        with zeros.left_out(compiled.params) if is_exact else contextlib.nullcontext():
            run.run(experiment, workdir, listener)
        describe(experiment, compiled, RunDirectory(workdir))
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
    config: ConfigDict,
    name: str | None = None,
    num_heads: int | None = None,
    dim: int | None = None,
    steps: int = 0,
) -> tuple[str, Compiled, Experiment]:
    """The construction for a configuration: its name, the model, and the experiment that begins with it.

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
    made = {field.name: getattr(model, field.name) for field in section_fields('model')}
    config.model.update(made | dict(model.options))
    config.run.start = name
    config.train.update(steps=steps, warmup_steps=min(config.train.warmup_steps, steps))
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


def describe(experiment: Experiment, compiled: Compiled, directory: RunDirectory) -> None:
    """Adds to result.json how the weights without noise were made, unless it says so already."""
    result = directory.read_result()
    if 'construction' in result:
        return
    name = experiment.run.start
    count = min(experiment.run.num_progress_examples, experiment.run.num_eval_examples)
    examples = experiment.open_data().test.read(np.arange(count))
    result['construction'] = {
        'name': name,
        'score_margin': score_margin(compiled, examples),
        'largest_weight': largest_weight(compiled),
        'largest_size': catalogue.CONSTRUCTIONS[experiment.record['task']['name']][name].largest,
    }
    directory.write_text('result.json', json.dumps(result, indent=2) + '\n')


def largest_weight(compiled: Compiled) -> float:
    """The largest parameter, apart from the head's biases of tokens that are never written."""
    biases = compiled.params['head']['bias']
    rest = {
        **compiled.params,
        'head': compiled.params['head'] | {'bias': biases[biases != NEVER * LOGIT_SCALE]},
    }
    return max(float(np.abs(x).max()) for x in jax.tree.leaves(rest))


def score_margin(compiled: Compiled, examples) -> float:
    """By how much the right token's score exceeds all others, at least, over the tokens that are written.

    A program's scores of two adjacent numbers differ by 1 or more; see `compiler.LOGIT_SCALE`.
    """
    model = Transformer(compiled.config)
    with zeros.left_out(compiled.params):
        logits = np.array(jax.jit(model.apply)({'params': compiled.params}, examples.tokens)[:, :-1])
    following = examples.tokens[:, 1:]
    written = produced(examples)[:, 1:]
    right = np.take_along_axis(logits, following[..., None], axis=-1)[..., 0]
    np.put_along_axis(logits, following[..., None], -np.inf, axis=-1)
    return float((right - logits.max(axis=-1))[written].min()) / LOGIT_SCALE


if __name__ == '__main__':
    command_line.start(main, command_line.problems_of(configs.make_task))

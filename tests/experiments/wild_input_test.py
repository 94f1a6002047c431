"""Whatever a user types or passes, the answer is a result or one clear message, never a traceback.

EFFXF_EXAMPLES=10000 draws so many configurations and files, rather than a few.
"""

import contextlib
import json
import os
import random
import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effxf_jax import tasks
from effxf_jax.data import text_files
from effxf_jax.data.blocks import DataError
from effxf_jax.data.mixtures import smaller_sizes
from effxf_jax.runs import memory
from effxf_jax.theory import complexity
from experiments import configs
from experiments.reporting import records, run_table
from experiments.sweeping.outcomes import RecordError
from experiments.theory import describe
from tests.experiments import programs

EXAMPLES = int(os.environ.get('EFFXF_EXAMPLES', '80'))
CONFIGS = ('arith', 'ed', 'ed_local', 'equations', 'lis', 'word_problems')
PRESETS = ('laptop', 'quick', 'paper', 'smoke')

many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
numbers = st.one_of(
    st.integers(-3, 300),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.sampled_from([0.0, 1.0, 1e-3, 2**31, 2**31 - 1, 2**63]),
)
WORDS = """none None true False
    standard linear sparse sparse+linear + standard+ sliding_window muon adamw lion
    chain direct random leftmost text tfds generated mixture single fixed strided merged separate bfloat16
    float32 float16 cosine linear a/b ../x ~/x gs://x/y nan inf 1e3 0x10 1_000 [1] {} () " """
words = st.one_of(
    st.sampled_from(WORDS.split()),
    st.text(alphabet=string.printable + 'äß∂√日本🙂\u202e\x00', max_size=12),
)
values = st.one_of(numbers.map(str), words)


known = [*configs.fields(configs.load('experiments/lis.py:smoke')), 'n', 'dim', 'mechanism', 'rows']
names = st.one_of(st.sampled_from(known), st.text(max_size=8))
overrides = st.dictionaries(names, values, max_size=4)


@many
@given(
    config=st.sampled_from(CONFIGS),
    preset=st.one_of(st.sampled_from(PRESETS), words),
    overrides=overrides,
)
def test_a_configuration_is_made_or_refused_with_every_problem_in_a_line(config, preset, overrides):
    arg = ','.join([preset, *(f'{name}={value}' for name, value in overrides.items())])
    check_made_or_refused(lambda: configs.load(f'experiments/{config}.py:{arg}'))


@many
@given(config=st.sampled_from(CONFIGS), preset=st.sampled_from(PRESETS), data=st.data())
def test_fields_set_one_by_one_are_taken_or_refused(config, preset, data):
    made = configs.load(f'experiments/{config}.py:{preset}')
    anything = st.one_of(numbers, words, st.none(), st.booleans(), st.lists(st.integers(), max_size=2))
    for name in data.draw(st.lists(st.sampled_from(list(configs.fields(made))), max_size=4)):
        # What a flag of absl's would refuse as of another type.
        with contextlib.suppress(TypeError, ValueError):
            made.update_from_flattened_dict({name: data.draw(anything)})
    check_made_or_refused(lambda: made)


def check_made_or_refused(load):
    refused = None
    try:
        experiment = configs.make_experiment(load())
    except configs.ConfigError as error:
        refused = error
    if refused is not None:
        assert refused.problems
        assert all(problem.strip() and len(problem) < 2000 for problem in refused.problems)
        return
    assert experiment.name
    assert '/' not in experiment.name
    with contextlib.suppress(memory.MemoryLimitError):
        memory.check(experiment, 1)
    assert complexity.forward_cost(experiment.model).flops > 0
    if experiment.model.max_length < 10_000 and experiment.model.vocab_size < 10_000:
        assert json.dumps(describe(experiment.task, experiment.model, [experiment.model.dim]))


TASKS = [
    tasks.make('arithmetic', n=3),
    tasks.make('edit_distance', n=4),
    tasks.make('edit_distance_local', rows=3, pattern_length=2),
    tasks.make('linear_equations', n=2),
    tasks.make('lis', n=12),
    tasks.make('arithmetic', n=2, answer_mode='direct'),
    tasks.make('word_problems', num_steps=3),
    tasks.make('word_problems', num_steps=3, told='between'),
]


@st.composite
def files(draw):
    """A task, and the content of a file: lines of it and of others, cut, shuffled and spoilt."""
    task = draw(st.sampled_from(TASKS))
    rng = random.Random(draw(st.integers(0, 2**32)))
    lines = []
    kinds = 'right', 'smaller', 'other', 'spoilt', 'cut', 'noise', 'empty', 'long'
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=6)):
        of = task if kind not in ('smaller', 'other') else rng.choice([*smaller_sizes(task), *TASKS])
        line = text_of(of, rng.randrange(2**31))
        if kind == 'spoilt':
            tokens = line.split()
            tokens[rng.randrange(len(tokens))] = rng.choice([*task.vocabulary.tokens, 'x', '-1', '日'])
            line = ' '.join(tokens)
        elif kind == 'cut':
            line = line[: rng.randrange(len(line))]
        elif kind == 'noise':
            line = ''.join(rng.choices(string.printable + '\x00é', k=rng.randrange(200)))
        elif kind == 'empty':
            line = ''
        elif kind == 'long':
            line = ' '.join([line] * rng.randrange(2, 2000))
        lines.append(line)
    content = draw(st.sampled_from(['\n', '\r\n', '\n\n'])).join(lines).encode()
    return task, content + draw(st.sampled_from([b'', b'\n', b'\xff', b'\xef\xbb\xbf', b'\x00' * 9]))


def text_of(task, seed):
    (row,) = task.encode(task.sample(np.random.default_rng(seed), 1)).tokens
    return task.decode_text(row)


@many
@given(made=files(), mixture=st.booleans())
def test_every_line_of_a_file_is_read_or_reported_and_a_bad_file_is_refused(made, mixture, tmp_path_factory):
    task, content = made
    path = tmp_path_factory.getbasetemp() / 'file.txt'
    path.write_bytes(content)
    right, bad = [], []
    for lines in text_files.read(path, task, mixture):
        right += [task.decode_text(row) for row in lines.tokens]
        bad += lines.bad
    assert len(right) + len(bad) == content.count(b'\n') + (not content.endswith(b'\n') and content != b'')
    assert all(line.reason and '\n' not in line.reason and len(line.reason) < 1000 for line in bad)
    if right and not bad:
        assert len(text_files.load(path, task, mixture)) == len(right)
    else:
        with pytest.raises(DataError):
            text_files.load(path, task, mixture)


RESULTS = programs.ROOT / 'results' / 'rate_transfer-laptop.jsonl'


@st.composite
def results(draw):
    """The content of a file of results, with a few changes of its bytes or its values."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    lines = rng.sample(RESULTS.read_bytes().splitlines(), 3)
    changes = 'flip', 'cut', 'repeat', 'drop', 'value', 'value', 'value'
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(lines))
        change = draw(st.sampled_from(changes))
        line = lines[place]
        if change == 'flip' and line:
            at = rng.randrange(len(line))
            lines[place] = line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
        elif change == 'cut':
            lines[place] = line[: rng.randrange(len(line) + 1)]
        elif change == 'repeat':
            lines.append(line)
        elif change == 'drop':
            lines[place] = b''
        else:
            with contextlib.suppress(ValueError):
                lines[place] = json.dumps(spoilt(json.loads(line), rng, draw)).encode()
    return b'\n'.join(lines) + b'\n'


def spoilt(value, rng, draw):
    """A JSON value of which one part has become another, or is missing."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return draw(st.one_of(st.none(), st.booleans(), numbers, words, st.just({}), st.just([])))
    value = dict(value) if isinstance(value, dict) else list(value)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = rng.choice(keys)
    if rng.random() < 0.2:
        del value[key]
    else:
        value[key] = spoilt(value[key], rng, draw)
    return value


@many
@given(content=results())
def test_a_file_of_results_is_reported_or_refused(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / 'spoilt.jsonl'
    path.write_bytes(content)
    try:
        grids = records.read([path])
    except RecordError:
        return
    assert json.dumps(run_table.data(grids, path.parent))

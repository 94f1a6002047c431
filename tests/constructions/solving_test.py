"""Every construction solves every problem, and holds what the interpreter computes."""

import functools

import jax
import numpy as np
import pytest

from effxf_jax import decoding, tasks
from effxf_jax.constructions import catalogue, compiler, interpreter
from effxf_jax.constructions.catalogue import CONSTRUCTIONS
from effxf_jax.model import Transformer
from effxf_jax.tasks.task import PAD

ALL = [(task, name) for task, names in CONSTRUCTIONS.items() for name in names]
every_construction = pytest.mark.parametrize(('task', 'name'), ALL)
# From the smallest sizes on; the last is the size at which registers are compared.
SIZES = {
    'edit_distance': [{'n': 1}, {'n': 7}, {'n': 5}],
    'edit_distance_local': [
        {'rows': 1, 'pattern_length': 1},
        {'rows': 40, 'pattern_length': 1},
        {'rows': 5, 'pattern_length': 3},
        # An entry next to a block's begin needs all of the summary before it.
        {'rows': 9, 'pattern_length': 2},
    ],
    'lis': [{'n': 3}, {'n': 11}, {'n': 8}],
}
LONG = {
    'edit_distance': {'n': 31},
    'edit_distance_local': {'rows': 100, 'pattern_length': 4},
}
# Registers of these hold what the interpreter computes also where nothing is written.
ANYWHERE = {('edit_distance', name) for name in CONSTRUCTIONS['edit_distance']} - {
    ('edit_distance', 'standard_varied')
}
# How far from its corner a ReLU stays where something is written, so that a GELU is one. LIS holds lengths in
# eighths. Chosen codes of addresses, and means that are read where nothing is wanted, may be anywhere.
CORNERS = {
    'edit_distance': 0.1,
    ('edit_distance', 'standard_varied'): 0.0,
    'edit_distance_local': 0.1,
    ('edit_distance_local', 'strided'): 0.0,
    'lis': 0.05,
}


@functools.cache
def task_of(task, name, **options):
    return tasks.make(task, **options, **CONSTRUCTIONS[task][name].task_options)


def problems(task, count):
    return task.encode(task.sample(np.random.default_rng(1), count))


def visible(model, length):
    """Which positions attention sees, `[t, s]`, from the definitions of the patterns."""
    t, s = np.ogrid[:length, :length]
    options = dict(model.options)
    seen = True
    if model.mechanism == 'sliding_window':
        seen = t - s < options['window']
    elif model.mechanism == 'sparse':
        size = options['block_size']
        if options.get('pattern', 'fixed') == 'fixed':
            seen = (t // size == s // size) | (s % size >= size - options.get('summary_size', 1))
        else:
            seen = (t - s < size) | ((t - s) % size == 0)
    return (s <= t) & seen


def check_solves(task, name, count):
    compiled, examples = catalogue.build(task, name), problems(task, count)
    network = Transformer(compiled.config)
    generated = decoding.greedy_decode(network, compiled.params, *examples)
    assert task.grade(generated, examples.given).chain_correct.all()
    # In one pass, too, every token is the likeliest.
    logits = jax.jit(network.apply)({'params': compiled.params}, examples.tokens)
    written = ~examples.given[:, 1:] & (examples.tokens[:, 1:] != PAD)
    assert (np.asarray(logits[:, :-1].argmax(-1)) == examples.tokens[:, 1:])[written].all()


@every_construction
def test_every_problem_is_solved_through_caches_and_in_one_pass(task, name):
    check_solves(task_of(task, name, **SIZES[task][-1]), name, 48)


@pytest.mark.parametrize('name', CONSTRUCTIONS['edit_distance'])
@pytest.mark.parametrize('n', [1, 2])
def test_the_smallest_matrices_are_solved_too(name, n):
    check_solves(task_of('edit_distance', name, n=n), name, 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('task', 'name'),
    [
        ('edit_distance', 'standard'),
        ('edit_distance', 'linear_overwriting'),
        ('edit_distance_local', 'window'),
        ('edit_distance_local', 'linear'),
    ],
)
def test_a_sequence_of_a_thousand_tokens_is_solved(task, name):
    long = task_of(task, name, **LONG[task])
    assert long.max_length >= 1000
    check_solves(long, name, 8)


def made(task, name, size=-1):
    """A small problem's task, the construction's program and the model, and which positions it sees."""
    of = task_of(task, name, **SIZES[task][size])
    construction = CONSTRUCTIONS[task][name]
    program, heads = construction.program(of), construction.num_heads(of)
    compiled = compiler.compile_program(program, construction.mechanism, construction.options(of), heads)
    return of, program, compiled, visible(compiled.config, of.max_length)


@every_construction
def test_the_model_holds_what_the_interpreter_computes_in_every_register_after_every_layer(task, name):
    of, program, compiled, seen = made(task, name)
    checked = set()
    for tokens, given in zip(*problems(of, 3), strict=True):
        computed = interpreter.run(program, tokens, seen).registers
        if (task, name) in ANYWHERE:
            writes = np.ones(len(tokens), bool)
        else:  # elsewhere a register may hold anything
            writes = np.append(~given[1:] & (tokens[1:] != PAD), False)
        for register, held in compiler.streams(compiled, tokens).items():
            held = held[:, writes]
            expected = np.broadcast_to(computed[register][writes], held.shape)
            np.testing.assert_allclose(held, expected, atol=0.05, err_msg=register.name)
            checked.add(register)
    assert len(checked) > 10


@pytest.mark.parametrize(
    ('task', 'name', 'size'), [(task, name, size) for task, name in ALL for size in range(len(SIZES[task]))]
)
def test_the_interpreter_writes_the_right_chain(task, name, size):
    of, program, _, seen = made(task, name, size)
    for tokens, given in zip(*problems(of, 4), strict=True):
        trace = interpreter.run(program, tokens, seen)
        right = trace.logits[:-1].argmax(-1) == tokens[1:]
        written = ~given[1:] & (tokens[1:] != PAD)
        assert right[written].all()
        assert (trace.corner[:-1][written] > CORNERS.get((task, name), CORNERS.get(task))).all()


def slope(task, name, sizes):
    """The slope of log width over log L."""
    built = [(catalogue.build(of, name).config.dim, of.max_length) for of in sizes]
    widths, lengths = np.log(np.array(built, float).T)
    return np.polyfit(lengths, widths, 1)[0]


@pytest.mark.parametrize(('name', 'most'), [('window', 0), ('strided', 0), ('standard', 0.1), ('fixed', 0.1)])
def test_locally_softmax_attention_needs_a_width_that_the_length_does_not_change(name, most):
    sizes = [task_of('edit_distance_local', name, rows=rows, pattern_length=4) for rows in (6, 20, 100, 900)]
    assert abs(slope('edit_distance_local', name, sizes)) <= most + 1e-9


def test_locally_the_width_of_linear_attention_follows_the_pattern():
    width = lambda rows, m: (
        catalogue.build(
            task_of('edit_distance_local', 'linear', rows=rows, pattern_length=m), 'linear'
        ).config.dim
    )
    assert width(37, 4) <= width(6, 4) + 8
    assert 1.7 < width(20, 32) / width(20, 16) < 2.1


def test_for_lis_the_width_is_polylogarithmic_with_standard_attention_and_linear_with_the_others():
    sizes = lambda name, ns: [task_of('lis', name, n=n) for n in ns]
    assert slope('lis', 'standard', sizes('standard', (11, 40, 110, 499))) < 0.15
    # Up to n = 101 the range of numbers, of which there is a feature for each, does not grow.
    assert 0.85 < slope('lis', 'linear', sizes('linear', (110, 249, 499))) < 1.02
    assert 0.9 < slope('lis', 'fixed', sizes('fixed', (20, 40, 110))) < 1.02


def test_answers_without_a_chain_are_refused():
    for name in 'edit_distance_local', 'lis':
        options = {**SIZES[name][-1], 'answer_mode': 'direct'}
        with pytest.raises(catalogue.ConstructionError, match="answer_mode='chain'; got 'direct'"):
            catalogue.build(tasks.make(name, **options), 'standard')

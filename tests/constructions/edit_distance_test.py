"""Constructions solve every problem, hold what the interpreter computes, and are as wide as stated."""

import functools

import jax
import numpy as np
import pytest

from effxf_jax import decoding, tasks
from effxf_jax.constructions import catalogue, compiler, interpreter
from effxf_jax.constructions.catalogue import CONSTRUCTIONS
from effxf_jax.constructions.program import ConstructionError
from effxf_jax.model import Transformer

NAMES = list(CONSTRUCTIONS['edit_distance'])


def task_of(n):
    return tasks.make('edit_distance', n=n, lengths='equal')


@functools.cache
def model(name, n):
    return catalogue.build(task_of(n), name)


def problems(n, count):
    task = task_of(n)
    return task.encode(task.sample(np.random.default_rng(n), count))


def visible(name, n):
    """Which positions attention sees, `[t, s]`, from the definitions of the patterns."""
    t, s = np.ogrid[: task_of(n).max_length, : task_of(n).max_length]
    size = n + 1
    seen = {
        'fixed': (t // size == s // size) | (s % size == n),
        'strided': (t - s < size) | ((t - s) % size == 0),
    }
    return (s <= t) & seen.get(name, True)


def check_solves(name, n, count):
    task, examples = task_of(n), problems(n, count)
    network = Transformer(model(name, n).config)
    generated = decoding.greedy_decode(network, model(name, n).params, *examples)
    assert task.grade(generated, examples.given).chain_correct.all()
    # In one pass, too, every token is the likeliest.
    logits = jax.jit(network.apply)({'params': model(name, n).params}, examples.tokens)
    written = ~examples.given[:, 1:]
    assert (np.asarray(logits[:, :-1].argmax(-1)) == examples.tokens[:, 1:])[written].all()


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('n', [1, 2, 5])
def test_every_problem_is_solved_through_caches_and_in_one_pass(name, n):
    check_solves(name, n, 64)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['standard', 'linear_overwriting'])
def test_a_sequence_of_a_thousand_tokens_is_solved(name):
    assert task_of(31).max_length == 1059
    check_solves(name, 31, 8)


@pytest.mark.parametrize('name', NAMES)
def test_the_model_holds_what_the_interpreter_computes_in_every_register_after_every_layer(name):
    n = 5
    program = CONSTRUCTIONS['edit_distance'][name].program(task_of(n))
    compiled = compiler.compile_program(
        program,
        CONSTRUCTIONS['edit_distance'][name].mechanism,
        CONSTRUCTIONS['edit_distance'][name].options(task_of(n)),
    )
    checked = set()
    for tokens in problems(n, 4).tokens:
        trace = interpreter.run(program, tokens, visible(name, n))
        for register, held in compiler.streams(compiled, tokens).items():
            expected = np.broadcast_to(trace.registers[register], held.shape)
            np.testing.assert_allclose(held, expected, atol=0.05, err_msg=register.name)
            checked.add(register.name)
    assert 'entry' in checked
    assert len(checked) > 10


@pytest.mark.parametrize('name', NAMES)
def test_the_interpreter_writes_the_right_chain(name):
    n = 7
    program = CONSTRUCTIONS['edit_distance'][name].program(task_of(n))
    for tokens, given in zip(*problems(n, 3), strict=True):
        trace = interpreter.run(program, tokens, visible(name, n))
        right = trace.logits[:-1].argmax(-1) == tokens[1:]
        assert right[~given[1:]].all()
        assert trace.corner > 0.1  # where a GELU is a ReLU


def exponent(name, sizes):
    """The slope of log width over log L."""
    widths = [model(name, n).config.dim for n in sizes]
    lengths = [task_of(n).max_length for n in sizes]
    return np.polyfit(np.log(lengths), np.log(widths), 1)[0]


def test_widths_grow_as_the_theory_says():
    assert exponent('standard', (4, 9, 20, 31)) < 0.12
    assert exponent('strided', (4, 9, 20, 31)) < 0.12
    assert 0.35 < exponent('fixed', (9, 20, 31)) < 0.5
    assert 0.4 < exponent('linear_table', (9, 20, 31)) < 0.5
    assert exponent('linear_overwriting', (9, 20, 31)) < 0.25
    assert model('linear_overwriting', 20).config.dim < 128


def test_what_does_not_fit_is_refused_with_what_is_needed():
    least = model('standard', 5).config.dim
    with pytest.raises(
        ConstructionError, match=f'needs a width of {least}: .* registers .*; got {least - 4}'
    ):
        catalogue.build(task_of(5), 'standard', dim=least - 4)
    with pytest.raises(ConstructionError, match='layer 0 looks up in 4 heads; got num_heads 3'):
        catalogue.build(task_of(5), 'standard', num_heads=3)
    with pytest.raises(ConstructionError, match="lengths='equal' .*; got 'varied' and 'chain'"):
        catalogue.build(tasks.make('edit_distance', n=5), 'standard')
    with pytest.raises(
        ConstructionError, match='known to hold the construction linear_overwriting up to n = 36'
    ):
        catalogue.build(task_of(37), 'linear_overwriting')
    with pytest.raises(ConstructionError, match="one of standard, .*; got 'dense'"):
        catalogue.build(task_of(5), 'dense')
    with pytest.raises(ConstructionError, match="no construction of the task 'arithmetic'"):
        catalogue.build(tasks.make('arithmetic', n=3), 'standard')
    program = CONSTRUCTIONS['edit_distance']['standard'].program(task_of(5))
    with pytest.raises(ConstructionError, match='linear attention reads addresses that are OneHot'):
        compiler.compile_program(program, 'linear')
    program = CONSTRUCTIONS['edit_distance']['linear_overwriting'].program(task_of(60))
    with pytest.raises(
        ConstructionError, match='ages go up to 59; float32 holds weights that overwrite up to 36'
    ):
        compiler.compile_program(program, 'linear')


def test_a_wider_model_holds_it_too():
    wider = catalogue.build(task_of(4), 'standard', dim=64)
    assert wider.config.dim == 64
    examples = problems(4, 16)
    generated = decoding.greedy_decode(Transformer(wider.config), wider.params, *examples)
    assert task_of(4).grade(generated, examples.given).chain_correct.all()

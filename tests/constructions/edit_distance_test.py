"""Constructions of edit distance are as wide as stated, and refused where they do not fit."""

import functools

import numpy as np
import pytest

from effxf_jax import decoding, tasks
from effxf_jax.constructions import catalogue, compiler
from effxf_jax.constructions.catalogue import CONSTRUCTIONS
from effxf_jax.constructions.program import ConstructionError
from effxf_jax.model import Transformer


def task_of(n, lengths='equal'):
    return tasks.make('edit_distance', n=n, lengths=lengths)


@functools.cache
def model(name, n):
    return catalogue.build(task_of(n, 'varied' if name == 'standard_varied' else 'equal'), name)


def exponent(name, sizes):
    """The slope of log width over log L."""
    widths = [model(name, n).config.dim for n in sizes]
    lengths = [task_of(n).max_length for n in sizes]
    return np.polyfit(np.log(lengths), np.log(widths), 1)[0]


def test_widths_grow_as_the_theory_says():
    assert exponent('standard', (4, 9, 20, 31)) < 0.12
    assert exponent('strided', (4, 9, 20, 31)) < 0.12
    assert exponent('standard_varied', (4, 9, 20, 31)) < 0.12
    assert 0.35 < exponent('fixed', (9, 20, 31)) < 0.5
    assert 0.4 < exponent('linear_table', (9, 20, 31)) < 0.5
    assert exponent('linear_overwriting', (9, 20, 31)) < 0.25
    assert model('linear_overwriting', 20).config.dim < 128
    assert exponent('delta', (9, 20, 31)) < 0.25
    assert exponent('routed', (4, 9, 20, 31)) < 0.12


def test_what_does_not_fit_is_refused_with_what_is_needed():
    least = model('standard', 5).config.dim
    with pytest.raises(
        ConstructionError, match=f'needs a width of {least}: .* registers .*; got {least - 4}'
    ):
        catalogue.build(task_of(5), 'standard', dim=least - 4)
    with pytest.raises(ConstructionError, match='layer 0 reads with 4 heads; got num_heads 3'):
        catalogue.build(task_of(5), 'standard', num_heads=3)
    with pytest.raises(ConstructionError, match="lengths='equal' .*; got 'varied' and 'chain'"):
        catalogue.build(tasks.make('edit_distance', n=5), 'strided')
    with pytest.raises(
        ConstructionError, match='known to hold the construction linear_overwriting up to n = 36'
    ):
        catalogue.build(task_of(37), 'linear_overwriting')
    with pytest.raises(ConstructionError, match="one of standard, .*; got 'dense'"):
        catalogue.build(task_of(5), 'dense')
    with pytest.raises(ConstructionError, match="no construction of the task 'arithmetic'"):
        catalogue.build(tasks.make('arithmetic', n=3), 'standard')
    program = CONSTRUCTIONS['edit_distance']['standard'].program(task_of(5))
    with pytest.raises(ConstructionError, match='linear attention reads by addresses that are OneHot'):
        compiler.compile_program(program, 'linear')
    program = CONSTRUCTIONS['edit_distance']['linear_overwriting'].program(task_of(60))
    with pytest.raises(
        ConstructionError, match='ages go up to 59; float32 holds weights that overwrite up to 36'
    ):
        compiler.compile_program(program, 'linear')


def test_a_wider_model_holds_it_too():
    wider = catalogue.build(task_of(4), 'standard', dim=64)
    assert wider.config.dim == 64
    examples = task_of(4).encode(task_of(4).sample(np.random.default_rng(4), 16))
    generated = decoding.greedy_decode(Transformer(wider.config), wider.params, *examples)
    assert task_of(4).grade(generated, examples.given).chain_correct.all()

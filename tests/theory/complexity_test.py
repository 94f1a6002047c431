"""Cost formulas agree with a count of the operations of a forward pass."""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr

from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.theory import complexity

slow = functools.partial(pytest.param, marks=pytest.mark.slow)
CONFIG = ModelConfig(vocab_size=19, max_length=100, dim=24, num_heads=3, num_layers=2)


class MacCounter:
    """Runs a jaxpr equation by equation, loops turn by turn, and counts the multiply-adds of its products."""

    def __init__(self):
        self.macs = 0

    def run(self, closed, *args):
        values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        values |= dict(zip(closed.jaxpr.invars, args, strict=True))
        read = lambda atom: atom.val if hasattr(atom, 'val') else values[atom]
        for equation in closed.jaxpr.eqns:
            outs = self._apply(equation, [read(atom) for atom in equation.invars])
            values |= dict(zip(equation.outvars, outs, strict=True))
        return [read(atom) for atom in closed.jaxpr.outvars]

    def _apply(self, equation, args):
        params = equation.params
        match equation.primitive.name:
            case 'dot_general':
                (contracted, _), _ = params['dimension_numbers']
                inner = math.prod(args[0].shape[axis] for axis in contracted)
                self.macs += inner * math.prod(equation.outvars[0].aval.shape)
            case 'scan':
                return self._scan(args, **params)
            case 'while':
                return self._while(args, **params)
            case 'cond':
                return self.run(params['branches'][int(args[0])], *args[1:])
            case _:
                for name in 'jaxpr', 'call_jaxpr', 'fun_jaxpr':
                    if name in params:
                        inner = params[name]
                        return self.run(inner if hasattr(inner, 'consts') else ClosedJaxpr(inner, ()), *args)
        outs = equation.primitive.bind(*args, **params)
        return outs if equation.primitive.multiple_results else [outs]

    def _scan(self, args, *, jaxpr, length, num_consts, num_carry, reverse, **_):
        consts, carry = args[:num_consts], args[num_consts : num_consts + num_carry]
        steps = []
        for i in reversed(range(length)) if reverse else range(length):
            outs = self.run(jaxpr, *consts, *carry, *(x[i] for x in args[num_consts + num_carry :]))
            carry, out = outs[:num_carry], outs[num_carry:]
            steps.append(out)
        steps = steps[::-1] if reverse else steps
        return [*carry, *(jnp.stack(parts) for parts in zip(*steps, strict=True))]

    def _while(self, args, *, cond_jaxpr, body_jaxpr, cond_nconsts, body_nconsts, **_):
        cond, body = args[:cond_nconsts], args[cond_nconsts : cond_nconsts + body_nconsts]
        carry = args[cond_nconsts + body_nconsts :]
        while self.run(cond_jaxpr, *cond, *carry)[0]:
            carry = self.run(body_jaxpr, *body, *carry)
        return carry


@pytest.mark.parametrize(
    'mechanism', ['standard', 'linear', 'sparse', 'linear+sliding_window', 'gated_linear+delta']
)
@pytest.mark.parametrize('positions', ['sinusoidal', 'learned'])
def test_parameters_are_those_of_the_model(mechanism, positions):
    config = dataclasses.replace(CONFIG, mechanism=mechanism, positions=positions)
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    params = jax.eval_shape(Transformer(config).init, jax.random.key(0), tokens)
    assert complexity.num_params(config) == sum(x.size for x in jax.tree.leaves(params))


def macs_run(config, length):
    model = Transformer(config)
    tokens = jnp.ones((1, length), jnp.int32)
    params = model.init(jax.random.key(0), tokens[:, :1])['params']
    forward = lambda params: model.apply({'params': params}, tokens)
    counter = MacCounter()
    (logits,) = counter.run(jax.make_jaxpr(forward)(params), *jax.tree.leaves(params))
    np.testing.assert_allclose(logits, jax.jit(forward)(params), atol=1e-4)
    return counter.macs


def pairs_run(mechanism, length):
    """Pairs of query and key whose scores are computed, those in the future and in padding included."""
    if mechanism == 'standard' or (mechanism == 'strided' and length <= 256):
        if length <= 1536:
            rows = min(max(length // 40, 2), 8) if length >= 64 else 1
            ends = [length * number // rows for number in range(rows + 1)]
            return sum((end - begin) * end for begin, end in itertools.pairwise(ends))
        tiles = max(math.ceil(length / 512), 6)
        return math.ceil(length / tiles) ** 2 * tiles * (tiles + 1) // 2
    size = 2 ** int(math.log2(math.isqrt(length)))
    blocks = -(-length // size)
    if mechanism == 'strided':  # the own block, the preceding one, and one position of each block
        return blocks * size * (2 * size + blocks)
    if size > 8:
        if mechanism == 'sliding_window':
            return blocks * size**2 * (1 + (blocks > 1))
        return blocks * size**2 + blocks * size * (blocks - 1)
    # Tiny blocks are taken together, in tiles alike of up to 32 rows.
    tiles = math.ceil(blocks / (32 // size))
    of_tile = math.ceil(blocks / tiles)
    rows = tiles * of_tile * size
    if mechanism == 'sliding_window':  # the preceding tile's end too, if that is less than half of it
        before = size - 1 if size - 1 < of_tile * size / 2 else of_tile * size
        return rows * (of_tile * size + before * (tiles > 1))
    return rows * of_tile * size + rows * (tiles - 1) * of_tile


@pytest.mark.parametrize(
    ('mechanism', 'length'),
    [
        slow('standard', 40),  # at once, in rows, in tiles
        ('standard', 100),
        slow('standard', 600),
        slow('standard', 1600),
        ('sparse', 7),  # of tiny blocks, one tile and several; of larger ones
        slow('sparse', 40),
        slow('sparse', 300),
        ('sliding_window', 7),
        slow('sliding_window', 100),
        slow('sliding_window', 300),
        slow('strided', 100),
        slow('strided', 300),
    ],
)
def test_macs_are_those_run_but_for_pairs_that_a_mask_takes_away(mechanism, length):
    chosen = {'mechanism': mechanism}
    if mechanism == 'strided':
        chosen = {'mechanism': 'sparse', 'options': {'pattern': 'strided'}}
    config = dataclasses.replace(CONFIG, max_length=length, **chosen)
    cost = complexity.forward_cost(config)
    pairs = cost.attention.macs / (2 * config.dim * config.num_layers)
    masked = (pairs_run(mechanism, length) - pairs) * 2 * config.dim * config.num_layers
    assert macs_run(config, length) == cost.total.macs + masked


@pytest.mark.parametrize('length', [7, slow(65), slow(256)])
def test_macs_of_linear_attention_are_those_run_but_for_padding_and_masks(length):
    config = dataclasses.replace(CONFIG, mechanism='linear', max_length=length)
    cost = complexity.forward_cost(config)
    chunks = math.ceil(length / 64)
    head_dim, chunk = 8, math.ceil(length / chunks)
    rows = chunks * chunk  # the last one is filled up
    # Into the state and out of it; every pair of a chunk, whose scores' sum is a product with ones.
    of_head = rows * 2 * (head_dim**2 + head_dim) + rows * chunk * (2 * head_dim + 1)
    attention = config.num_layers * config.num_heads * of_head
    assert macs_run(config, length) == cost.total.macs - cost.attention.macs + attention


@pytest.mark.parametrize('length', [7, slow(65), slow(256)])
@pytest.mark.parametrize('mechanism', ['gated_linear', 'delta'])
def test_macs_of_recurrent_mechanisms_are_those_run_but_for_padding_and_masks(mechanism, length):
    config = dataclasses.replace(CONFIG, mechanism=mechanism, max_length=length)
    cost = complexity.forward_cost(config)
    chunks = math.ceil(length / 64)
    head_dim, chunk = 8, math.ceil(length / chunks)
    rows = chunks * chunk
    products = {'gated_linear': 2, 'delta': 3}[mechanism]
    of_head = products * (rows * head_dim**2 + rows * chunk * head_dim)
    if mechanism == 'delta':
        # The inverse of each chunk's triangular matrix, from blocks of 1, 2, 4 ... numbers, with two products
        # for each pair; and its product with a column for each feature of a key and a value.
        whole = 2 ** math.ceil(math.log2(chunk))
        pairs = [(block, whole // (2 * block)) for block in (2**i for i in range(10)) if block < whole]
        of_head += chunks * sum(2 * block**3 * count for block, count in pairs)
        of_head += rows * chunk * 2 * head_dim
    attention = config.num_layers * config.num_heads * of_head
    assert macs_run(config, length) == cost.total.macs - cost.attention.macs + attention


@pytest.mark.parametrize('length', [7, slow(65), slow(256)])
@pytest.mark.parametrize('mechanism', ['block_routing', 'lsh'])
def test_macs_of_content_chosen_attention_are_those_run_but_for_empty_slots_and_masks(mechanism, length):
    config = dataclasses.replace(CONFIG, mechanism=mechanism, max_length=length)
    cost = complexity.forward_cost(config)
    head_dim, size = 8, 2 ** int(math.log2(math.isqrt(length)))
    blocks = -(-length // size)
    square = 2 * size**2 * head_dim  # scores and scaled values of a group of queries and a block of keys
    if mechanism == 'block_routing':
        rows = blocks * size
        groups = rows * 2 // size + blocks
        of_head = blocks * square + rows * blocks * head_dim + groups * square
    else:
        buckets = 2 * max(round(length / size / 2), 1)
        groups = length // size + buckets
        of_head = 2 * (2 * groups * square + length * buckets // 2 * head_dim)
    attention = config.num_layers * config.num_heads * of_head
    assert macs_run(config, length) == cost.total.macs - cost.attention.macs + attention


@pytest.mark.slow
@pytest.mark.parametrize(
    ('mechanism', 'length'),
    [
        ('standard', 60),
        ('sparse', 256),
        ('sliding_window', 60),
        ('linear', 256),
        ('gated_linear', 256),
        ('block_routing', 256),
    ],
)
def test_at_a_usual_width_what_is_run_beyond_the_formula_is_less_than_five_percent(mechanism, length):
    config = dataclasses.replace(CONFIG, mechanism=mechanism, dim=192, max_length=length)
    assert 1 <= macs_run(config, length) / complexity.forward_cost(config).total.macs < 1.05


def test_a_part_is_what_its_shapes_say():
    cost = complexity.forward_cost(CONFIG, length=10)
    assert cost.attention.macs == 2 * 2 * 24 * 55
    assert cost.projections.macs == 2 * 10 * (24 * 72 + 24 * 24)
    assert cost.feed_forward.macs == 2 * 10 * 2 * 24 * 96
    assert cost.vocabulary.macs == 10 * 24 * 19
    assert cost.flops == 2 * sum(part.macs for part in cost)
    assert cost.total.bytes == sum(part.bytes for part in cost)


@pytest.mark.parametrize('length', [1, 50])
def test_bytes_are_those_of_all_parameters_and_of_what_goes_in_and_out(length):
    params = Transformer(CONFIG).init(jax.random.key(0), jnp.ones((1, 1), jnp.int32))['params']
    sizes = sum(x.size for x in jax.tree.leaves(params))
    sizes -= max(19 - length, 0) * CONFIG.dim  # embeddings of tokens that cannot all occur
    stream = length * CONFIG.dim
    activations = 2 * (4 + 6 + 2) * stream + 2 * stream + length * (1 + 19)
    assert complexity.forward_cost(CONFIG, length).total.bytes == 4 * (sizes + activations)


def test_the_state_is_what_the_caches_hold_at_their_fullest():
    for mechanism, options in (
        ('standard', {}),
        ('sparse', {'block_size': 16, 'summary_size': 2}),
        ('linear', {}),
        ('linear+standard', {}),
        ('gated_linear+delta', {}),
    ):
        config = dataclasses.replace(CONFIG, mechanism=mechanism, options=options)
        caches = jax.eval_shape(lambda c=config: Transformer(c).init_cache(1, 100))
        held = sum(x.size for x in jax.tree.leaves(caches) if x.ndim)
        # Sparse: at 95 tokens 5 summaries and 15 positions; its cache has room for one more of each.
        spare = 2 * 2 * 24 * (1 + 2 * 1) if mechanism == 'sparse' else 0
        assert complexity.state_size(config) == held - spare


def test_the_state_is_counted_at_the_cut_and_not_before():
    config = dataclasses.replace(CONFIG, mechanism='sparse', options={'block_size': 4})
    for length, positions in ((8, 2), (9, 3), (11, 5)):
        assert complexity.state_at(config, length) == 2 * 2 * 24 * positions  # layers, keys and values


def test_complexity_classes_are_the_papers():
    classes = {
        mechanism: complexity.complexity_class(dataclasses.replace(CONFIG, mechanism=mechanism))
        for mechanism in ('standard', 'sparse', 'linear', 'linear+standard')
    }
    assert classes == {
        'standard': 'M(L²D + LD²)',
        'sparse': 'M(L(B + cL/B)D + LD²)',
        'linear': 'M(L(C + D/H)D + LD²)',
        'linear+standard': 'M(L(C + D/H)D + L²D + LD²)',
    }


@pytest.mark.parametrize(
    ('mechanism', 'exponent'), [('standard', 2), ('sparse', 1.5), ('sliding_window', 1.5), ('linear', 1)]
)
def test_attention_grows_with_length_as_its_class_says(mechanism, exponent):
    lengths = [4**k for k in range(6, 10)]
    macs = [
        complexity.forward_cost(dataclasses.replace(CONFIG, mechanism=mechanism, max_length=n)).attention.macs
        for n in lengths
    ]
    slope = np.polyfit(np.log(lengths), np.log(macs), 1)[0]
    assert slope == pytest.approx(exponent, abs=0.02)

"""What the tests of all mechanisms check of the contract, given a mechanism's inputs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

HEADS, HEAD_DIM = 2, 8


def random_inputs(mechanism, length, batch=2, seed=0, scale=1.5):
    """What the mechanism's projections yield, for random tokens."""
    rng = np.random.default_rng(seed)
    sizes = [p.size or HEAD_DIM for p in mechanism.projections for _ in range(p.count)]
    return [rng.normal(size=(batch, length, HEADS, s), scale=scale).astype(np.float32) for s in sizes]


def check_values_and_gradients(attend, oracle, inputs, cotangent, rtol=1e-4, rtol_of_largest=1e-5):
    """Against an oracle in float64, to tolerances relative to each number and to the largest (if above 1)."""
    actual = _with_gradients(attend, inputs, cotangent)
    with jax.enable_x64(True):
        exact = [jnp.asarray(np.asarray(x, np.float64)) for x in (*inputs, cotangent)]
        expected = _with_gradients(oracle, exact[:-1], exact[-1])
        assert expected[0].dtype == np.float64
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == cotangent.dtype
        atol = rtol_of_largest * max(np.abs(e).max(), 1)
        np.testing.assert_allclose(np.asarray(a, np.float64), e, rtol=rtol, atol=atol)


def _with_gradients(attend, inputs, cotangent):
    @jax.jit
    def run(*inputs):
        out, pullback = jax.vjp(attend, *inputs)
        return out, *pullback(cotangent)

    return run(*inputs)


def check_no_later_input_is_reached(mechanism, inputs, t):
    """The gradient of the output at t is zero behind t, and not at t."""
    output_at_t = lambda *inputs: mechanism.attend(*inputs)[:, t].sum()
    for gradient in jax.jit(jax.grad(output_at_t, argnums=range(len(inputs))))(*inputs):
        assert np.all(gradient[:, t + 1 :] == 0)
        assert np.any(gradient[:, t] != 0)


def check_continues(mechanism, inputs, own=(), all_stretches=([13], [5, 1, 7], [8, 5]), rtol_of_cache=1e-5):
    """`step` and `prefill` of stretches continue a cache as `attend` would, and leave the same cache.

    Args:
        mechanism: the mechanism, resolved at the inputs' length.
        inputs: what its projections yield.
        own: its own parameters.
        all_stretches: several ways to cut the sequence.
        rtol_of_cache: how alike the caches must be.
    """
    batch, length = inputs[0].shape[:2]
    empty = mechanism.init_cache(batch, length, HEADS, HEAD_DIM, jnp.float32)
    step, prefill = jax.jit(mechanism.step), jax.jit(mechanism.prefill)
    stepped, outputs = empty, []
    for t in range(length):
        stepped, out = step(stepped, *(x[:, t] for x in inputs), *own)
        outputs.append(out)
    expected = jax.jit(mechanism.attend)(*inputs, *own)
    np.testing.assert_allclose(np.stack(outputs, 1), expected, rtol=1e-4, atol=1e-5)
    for stretches in all_stretches:
        filled, start, outputs = empty, 0, []
        for stretch in stretches:
            part = slice(start, start + stretch)
            filled, out = prefill(filled, *(x[:, part] for x in inputs), *own)
            outputs.append(out)
            start += stretch
        np.testing.assert_allclose(np.concatenate(outputs, 1), expected, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(filled, stepped, rtol=rtol_of_cache, atol=1e-5)


def check_finite(mechanism, length, scale, batch=1):
    """Values and gradients are finite for large inputs."""
    inputs = random_inputs(mechanism, length, batch, scale=scale)
    loss = lambda *inputs: jnp.square(mechanism.attend(*inputs)).sum()
    gradients = jax.value_and_grad(loss, argnums=range(len(inputs)))
    chex.assert_tree_all_finite(jax.jit(gradients)(*inputs))


def check_grows_by_padding(mechanism, inputs):
    """A cache that is not full, padded with zeros to the shapes of a longer one, works as that one."""
    batch, length = inputs[0].shape[:2]
    prefill, step = jax.jit(mechanism.prefill), jax.jit(mechanism.step)
    expected = jax.jit(mechanism.attend)(*inputs)
    larger = mechanism.init_cache(batch, length, HEADS, HEAD_DIM, jnp.float32)

    def pad(x, to):
        widths = [(0, n - m) for m, n in zip(x.shape, to.shape, strict=True)]
        return jnp.pad(x, widths) if widths else x

    for room in 9, 12:  # with and without the last block's end
        empty = mechanism.init_cache(batch, room, HEADS, HEAD_DIM, jnp.float32)
        prefilled, _ = prefill(empty, *(x[:, : room - 1] for x in inputs))
        stepped = empty
        for t in range(room - 1):
            stepped, _ = step(stepped, *(x[:, t] for x in inputs))
        for cache in prefilled, stepped:
            cache = jax.tree.map(pad, cache, larger)
            _, out = prefill(cache, *(x[:, room - 1 :] for x in inputs))
            np.testing.assert_allclose(out, expected[:, room - 1 :], rtol=1e-4, atol=1e-5)
            for t in range(room - 1, length):
                cache, out = step(cache, *(x[:, t] for x in inputs))
                np.testing.assert_allclose(out, expected[:, t], rtol=1e-4, atol=1e-5)

"""Cached greedy decoding against the predecessor's way, the full forward pass for every token.

    python -m benchmarks.decoding [--dim=128 --length=212 --batch=64]

Both write the same rows with the same random model. The slow way is timed over a few tokens, since each of
its passes costs the same.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from effxf_jax.decoding import greedy_decode
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.tasks import EOS

_DIM = flags.DEFINE_integer('dim', 128, 'Width of the model.')
_LENGTH = flags.DEFINE_integer('length', 212, 'Tokens in a row.')
_BATCH = flags.DEFINE_integer('batch', 64, 'Rows.')
_PROMPT = flags.DEFINE_integer('prompt', 24, 'Given tokens of a row.')
_RUNS = flags.DEFINE_integer('runs', 5, 'Repetitions; the median counts.')
_MECHANISMS = ('standard', 'sparse', 'linear', 'linear+linear+standard')
_VOCAB = 20


def median_seconds(call) -> float:
    """Of several calls, after one that compiles."""
    call()
    times = []
    for _ in range(_RUNS.value):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def tokens_per_second(mechanism: str) -> tuple[float, float]:
    """Of full forward passes, and with caches."""
    batch, length = _BATCH.value, _LENGTH.value
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, _VOCAB, (batch, length))
    given = np.broadcast_to(np.arange(length) < _PROMPT.value, tokens.shape)
    model = Transformer(ModelConfig(_VOCAB, length, dim=_DIM.value, mechanism=mechanism, dropout=0.0))
    params = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))['params']
    params['head']['bias'] = params['head']['bias'].at[EOS].set(-1e9)  # every row to its full length
    forward = jax.jit(lambda tokens: model.apply({'params': params}, tokens))
    full = median_seconds(lambda: jax.block_until_ready(forward(tokens)))
    cached = median_seconds(lambda: greedy_decode(model, params, tokens, given))
    return batch / full, batch * (length - _PROMPT.value) / cached


def main(argv):
    del argv
    print(f'dim {_DIM.value}, length {_LENGTH.value}, batch {_BATCH.value}, {jax.devices()[0].device_kind}')
    print(f'{"mechanism":24}{"full forward, tokens/s":>24}{"cached, tokens/s":>20}{"ratio":>8}')
    for mechanism in _MECHANISMS:
        full, cached = tokens_per_second(mechanism)
        print(f'{mechanism:24}{full:>24,.0f}{cached:>20,.0f}{cached / full:>8,.0f}')


if __name__ == '__main__':
    app.run(main)

"""Greedy decoding with caches, against a full forward pass per token and against PyTorch.

    python -m benchmarks.decoding [--dim=128 --length=212 --batch=64] [--out=DIR]

All programs write rows of one length after prompts of one length, with random parameters. PyTorch's full
pass, as in the predecessor, runs the whole prefix for every token; our full pass runs a whole row for every
token, so that it is compiled once. The plot shows the time of one token at several positions of one long row.
"""

import functools
from collections.abc import Sequence

import jax
import numpy as np
import torch
from absl import app, flags

from benchmarks import measure, peers
from benchmarks.one_token import STEPS_AT_POSITION, microseconds_at, with_random_weights
from effxf_jax.decoding import greedy_decode
from effxf_jax.model import ModelConfig

_DIM = flags.DEFINE_integer('dim', 128, 'Width of the model.')
_LENGTH = flags.DEFINE_integer('length', 212, 'Tokens in a row.')
_BATCH = flags.DEFINE_integer('batch', 64, 'Rows.')
_PROMPT = flags.DEFINE_integer('prompt', 24, 'Given tokens of a row.')
_MECHANISMS = (
    'standard',
    'sparse',
    'sliding_window',
    'linear',
    'gated_linear',
    'delta',
    'block_routing',
    'lsh',
    'linear+linear+standard',
)
_VOCAB = 20
_POSITIONS = (256, 512, 1024, 2048, 4096)


def make(mechanism: str, length: int):
    """A model of a mechanism, and its parameters."""
    return with_random_weights(ModelConfig(_VOCAB, length, dim=_DIM.value, mechanism=mechanism, dropout=0.0))


def throughput() -> list[dict]:
    """Tokens written per second by our programs and by PyTorch, and their ratios."""
    batch, length, prompt = _BATCH.value, _LENGTH.value, _PROMPT.value
    written = batch * (length - prompt)
    tokens = np.random.default_rng(0).integers(2, _VOCAB, (batch, length))
    given = np.broadcast_to(np.arange(length) < prompt, tokens.shape)
    peer = peers.PeerTransformer(ModelConfig(_VOCAB, length, dim=_DIM.value, dropout=0.0)).eval()
    prompts = torch.from_numpy(tokens[:, :prompt])
    assert torch.equal(peer.greedy_full(prompts, prompt + 8), peer.greedy_cached(prompts, prompt + 8))

    cached, full = {'PyTorch': lambda: peer.greedy_cached(prompts, length)}, {}
    for mechanism in _MECHANISMS:
        model, params = make(mechanism, length)
        cached[mechanism] = functools.partial(greedy_decode, model, params, tokens, given)
        forward = functools.partial(jax.jit(model.apply), {'params': params}, tokens)
        full[mechanism] = functools.partial(lambda f: jax.block_until_ready(f()), forward)
    cached_rate = {name: written / s for name, s in measure.in_turn(cached).items()}
    full_rate = {name: batch / s for name, s in measure.in_turn(full).items()}
    full_peer = {'PyTorch': lambda: peer.greedy_full(prompts, length)}
    full_rate['PyTorch'] = written / measure.in_turn(full_peer, runs=1, warmups=0)['PyTorch']
    return [
        {
            'mechanism': name,
            'cached, tokens/s': cached_rate[name],
            'full, tokens/s': full_rate[name],
            'cached / PyTorch full': cached_rate[name] / full_rate['PyTorch'],
            'cached / own full': cached_rate[name] / full_rate[name],
            'cached / PyTorch cached': cached_rate[name] / cached_rate['PyTorch'],
        }
        for name in cached
    ]


def by_position(positions: Sequence[int]) -> list[dict]:
    """The time of one token of one row at several positions, in microseconds, by mechanism."""
    length = max(positions) + STEPS_AT_POSITION
    microseconds = {name: microseconds_at(*make(name, length), positions) for name in _MECHANISMS}
    return [
        {'position': position, **{mechanism: microseconds[mechanism][position] for mechanism in _MECHANISMS}}
        for position in positions
    ]


def plot(rows, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout='constrained')
    for mechanism in _MECHANISMS:
        points = [(row['position'], row[mechanism]) for row in rows]
        axes.loglog(*zip(*points, strict=True), 'o-', label=mechanism)
    axes.set(xlabel='position', ylabel='one token of one row, µs', title=f'Width {_DIM.value}, three layers')
    axes.set_xticks(_POSITIONS, [str(position) for position in _POSITIONS])
    axes.minorticks_off()
    figure.legend(loc='outside right upper')
    figure.savefig(path, dpi=150)


def main(argv):
    del argv
    torch.set_num_threads(measure.machine()['cores'])
    measure.report('decoding', throughput())
    rows = by_position(_POSITIONS)
    measure.report('decoding_by_position', rows, functools.partial(plot, rows))


if __name__ == '__main__':
    app.run(main)

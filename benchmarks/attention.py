"""Every mechanism's forward and backward pass against PyTorch's causal attention, from 1k to 16k positions.

    python -m benchmarks.attention [--out=DIR]

One sequence, four heads of size 32, float32, random numbers. PyTorch uses all cores through threads; our
mechanisms, with several devices, distribute the heads over them. Memory is what the compiled program
allocates besides its arguments and results, over all devices, in units of q's size.
"""

import functools

import jax
import numpy as np
import torch
from absl import app
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks import measure
from effxf_jax import attention

_LENGTHS = (1024, 2048, 4096, 8192, 16384)
_HEADS, _HEAD_DIM = 4, 32
_MECHANISMS = {
    'standard': attention.standard(),
    'sparse': attention.sparse(),
    'sparse, strided': attention.sparse(pattern='strided'),
    'sliding window': attention.sliding_window(),
    'linear': attention.linear(),
    'gated linear': attention.gated_linear(),
    'delta rule': attention.delta(),
    'block routing': attention.block_routing(),
    'hashing': attention.lsh(),
}


def ours(mechanism, length, rng):
    """A function that runs forward and backward, and the program's memory in units of q's size."""
    sizes = [p.size or _HEAD_DIM for p in mechanism.projections for _ in range(p.count)]
    inputs = [rng.normal(size=(1, length, _HEADS, size)).astype(np.float32) for size in (_HEAD_DIM, *sizes)]

    def both(gradient, *inputs):
        out, pullback = jax.vjp(mechanism.attend, *inputs)
        return out, pullback(gradient)

    if jax.device_count() > 1:
        mesh = jax.make_mesh((jax.device_count(),), ('heads',))
        by_head = PartitionSpec(None, None, 'heads')
        inputs = [jax.device_put(x, NamedSharding(mesh, by_head)) for x in inputs]
        both = jax.shard_map(both, mesh=mesh, in_specs=by_head, out_specs=by_head, check_vma=False)
    compiled = jax.jit(both).lower(*inputs).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes * jax.device_count()
    return lambda: jax.block_until_ready(compiled(*inputs)), memory / inputs[0].nbytes


def peer(length, rng):
    """A function that runs PyTorch's attention forward and backward."""
    shape = (1, _HEADS, length, _HEAD_DIM)
    *qkv, g = (torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for _ in 'qkvg')
    for x in qkv:
        x.requires_grad_()

    def call():
        out = torch.nn.functional.scaled_dot_product_attention(*qkv, is_causal=True)
        torch.autograd.grad(out, qkv, g)

    return call


def main(argv):
    del argv
    torch.set_num_threads(measure.machine()['cores'])
    rng = np.random.default_rng(0)
    rows = []
    for length in _LENGTHS:
        calls, memory = {'PyTorch': peer(length, rng)}, {}
        for name, mechanism in _MECHANISMS.items():
            calls[name], memory[name] = ours(mechanism, length, rng)
        seconds = measure.in_turn(calls)
        rows += [
            {
                'length': length,
                'mechanism': name,
                'ms': seconds[name] * 1e3,
                'PyTorch / ours': seconds['PyTorch'] / seconds[name],
                'memory / q': memory.get(name, float('nan')),
            }
            for name in calls
        ]
    for name in ('PyTorch', *_MECHANISMS):
        print(f'{name}: time grows as length^{growth(rows, name):.2f}')
    measure.report('attention', rows, functools.partial(plot, rows))


def growth(rows, name: str) -> float:
    """The exponent x of time ~ length^x: the slope of a least-squares line through the logarithms."""
    points = [(row['length'], row['ms']) for row in rows if row['mechanism'] == name]
    return np.polyfit(*np.log(np.array(points)).T, 1)[0]


def plot(rows, path):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout='constrained')
    for name in ('PyTorch', *_MECHANISMS):
        points = [(row['length'], row['ms']) for row in rows if row['mechanism'] == name]
        style = {'color': 'black', 'linestyle': '--'} if name == 'PyTorch' else {}
        axes.loglog(
            *zip(*points, strict=True), marker='o', label=f'{name}, L^{growth(rows, name):.2f}', **style
        )
    axes.set(xlabel='length L', ylabel='forward and backward, ms', title='One sequence, 4 heads of 32')
    axes.set_xticks(_LENGTHS, [f'{length // 1024}k' for length in _LENGTHS])
    axes.minorticks_off()
    figure.legend(loc='outside right upper')
    figure.savefig(path, dpi=150)


if __name__ == '__main__':
    app.run(main)

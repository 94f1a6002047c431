"""The decoder-only Transformer, the same for every attention mechanism.

The architecture of Feng et al. (2023), whose code the paper is assumed to reuse: LayerNorm over the sum of
token embeddings and sinusoidal positions; pre-LN blocks with a tanh-GELU feed-forward layer of width 4 dim; a
final LayerNorm; an untied output head with bias. Linear layers have torch's default initialisation. Learned
positions are an option.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from effxf_jax.attention import Parameter, Projection
from effxf_jax.model.config import ModelConfig
from effxf_jax.model.dropout import Dropout


class Transformer(nn.Module):
    """`Transformer(config).apply({'params': params}, tokens) -> logits`.

    `init_cache`, `step` and `prefill` (called through `apply(..., method=...)`) run the same layers with
    caches, on one token or on a stretch of tokens.
    """

    config: ModelConfig

    def setup(self):
        config = self.config
        self.embedding = nn.Embed(config.vocab_size, config.dim, embedding_init=nn.initializers.normal(1.0))
        if config.positions == 'learned':
            shape = config.max_length, config.dim
            self.position_table = self.param('positions', nn.initializers.normal(1.0), shape, jnp.float32)
        self.embedding_norm = layer_norm(config)
        self.dropout = Dropout(config.dropout)
        self.blocks = [Block(config, m.projections, m.parameters) for m in config.mechanisms()]
        self.final_norm = layer_norm(config)
        self.head = dense(config, config.vocab_size)

    def __call__(
        self, tokens: jax.Array, deterministic: bool = True, first_row: int | jax.Array = 0
    ) -> jax.Array:
        """Computes the logits of each next token.

        Args:
            tokens: int `[batch, length]`, length at most max_length.
            deterministic: False applies dropout, which requires an rng named 'dropout'.
            first_row: the index of the first row in a larger batch; dropout depends on it.

        Returns:
            float32 `[batch, length, vocab_size]`.

        Raises:
            ValueError: a sequence longer than max_length.
        """
        length = tokens.shape[1]
        if length > self.config.max_length:
            raise ValueError(f'a sequence must have at most {self.config.max_length} tokens; got {length}')
        mixers = [lambda x, own, m=m: (None, m.attend(*x, *own)) for m in self.config.mechanisms()]
        return self._run(tokens, jnp.arange(length), mixers, deterministic, first_row)[1]

    def init_cache(self, batch: int, length: int):
        """Makes empty caches, one per layer, for `batch` sequences of at most `length` tokens."""
        config = self.config
        return [
            mechanism.init_cache(
                batch,
                length,
                config.num_heads,
                config.head_dim,
                jnp.dtype(config.dtype),
            )
            for mechanism in config.mechanisms()
        ]

    def prefill(self, caches, tokens: jax.Array, start: jax.Array):
        """Runs tokens int `[batch, length]` at positions start, start + 1, ...; returns caches and logits."""
        mixers = [
            lambda x, own, m=m, cache=cache: m.prefill(cache, *x, *own)
            for m, cache in zip(self.config.mechanisms(), caches, strict=True)
        ]
        return self._run(tokens, start + jnp.arange(tokens.shape[1]), mixers)

    def step(self, caches, tokens: jax.Array, position: jax.Array):
        """Runs one token per row, int `[batch]`; returns caches and logits `[batch, vocab_size]`."""

        def one_token(mechanism, cache):
            def mix(inputs, own):
                cache_after, out = mechanism.step(cache, *(x[:, 0] for x in inputs), *own)
                return cache_after, out[:, None]

            return mix

        mixers = [one_token(m, c) for m, c in zip(self.config.mechanisms(), caches, strict=True)]
        caches, logits = self._run(tokens[:, None], position[None], mixers)
        return caches, logits[:, 0]

    def _run(self, tokens, positions, mixers: Sequence[Callable], deterministic=True, first_row=0):
        if self.config.positions == 'learned':
            table = self.position_table
        else:
            table = jnp.asarray(sinusoids(self.config.max_length, self.config.dim))
        x = self.embedding(tokens) + table[positions]
        x = self.dropout(self.embedding_norm(x), deterministic, first_row)
        caches = []
        for block, mix in zip(self.blocks, mixers, strict=True):
            cache, x = block(x, mix, deterministic, first_row)
            caches.append(cache)
        return caches, self.head(self.final_norm(x)).astype(jnp.float32)


class Block(nn.Module):
    """Pre-LN attention and feed-forward layers, each a residual branch.

    Attributes:
        config: the model's configuration.
        projections, parameters: what the layer's mechanism declares.
    """

    config: ModelConfig
    projections: tuple[Projection, ...]
    parameters: tuple[Parameter, ...]

    @nn.compact
    def __call__(self, x, mix: Callable, deterministic: bool, first_row: int | jax.Array):
        """Runs the block, with attention `mix`: `(inputs, parameters) -> (cache, out)`."""
        config = self.config
        dropout = Dropout(config.dropout)
        batch, length, dim = x.shape

        stream = layer_norm(config, name='attention_norm')(x)
        inputs = []
        for projection in self.projections:
            features = projection.features(config.num_heads, config.head_dim)
            parts = jnp.split(dense(config, features, projection.name)(stream), projection.count, axis=-1)
            inputs += [part.reshape(batch, length, config.num_heads, -1) for part in parts]
        own = [
            self.param(p.name, p.init, p.shape(config.num_heads, config.head_dim), jnp.float32)
            for p in self.parameters
        ]
        cache, out = mix(inputs, own)
        out = dense(config, dim, name='attention_out')(out.reshape(batch, length, dim))
        x = x + dropout(out, deterministic, first_row)

        hidden = dense(config, 4 * dim, name='expand')(layer_norm(config, name='feed_forward_norm')(x))
        out = dense(config, dim, name='contract')(nn.gelu(hidden, approximate=True))
        return cache, x + dropout(out, deterministic, first_row)


def dense(config: ModelConfig, features: int, name: str | None = None) -> nn.Module:
    """A linear layer with torch's default initialisation: uniform within 1 / sqrt(inputs), bias included."""
    return _Dense(features, dtype=jnp.dtype(config.dtype), name=name)


class _Dense(nn.Module):
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        bound = x.shape[-1] ** -0.5
        within = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
        kernel = self.param('kernel', within, (x.shape[-1], self.features), jnp.float32)
        bias = self.param('bias', within, (self.features,), jnp.float32)
        # Batch and length are merged: with three axes, XLA transposes both factors of the kernel's gradient.
        rows = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        out = rows @ kernel.astype(self.dtype) + bias.astype(self.dtype)
        return out.reshape(*x.shape[:-1], self.features)


def layer_norm(config: ModelConfig, name: str | None = None) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=1e-5, dtype=jnp.dtype(config.dtype), name=name)


@functools.cache
def sinusoids(max_length: int, dim: int) -> np.ndarray:
    """Positions as alternating sines and cosines, float32 `[max_length, dim]` (Vaswani et al. 2017, 3.5)."""
    angle = np.arange(max_length)[:, None] * np.exp(np.arange(0, dim, 2) * (-np.log(10000.0) / dim))
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(max_length, dim).astype(np.float32)

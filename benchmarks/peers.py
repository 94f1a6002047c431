"""The same Transformer in PyTorch, as minGPT and the predecessor implement it, for comparison."""

from collections.abc import Sequence

import jax
import torch
from torch import nn
from torch.nn import functional

from effxf_jax.model import ModelConfig
from effxf_jax.model.transformer import sinusoids


class PeerTransformer(nn.Module):
    """The Transformer of a ModelConfig, whose mechanism must be 'standard', in eager PyTorch.

    Attention is `scaled_dot_product_attention`; dropout is at the same places as in our model.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        assert config.mechanism == 'standard'
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.embedding_norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(PeerBlock(config) for _ in range(config.num_layers))
        self.final_norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.vocab_size)
        self.register_buffer('positions', torch.from_numpy(sinusoids(config.max_length, config.dim)))

    def forward(self, tokens, caches=None, start=0):
        """Logits `[batch, length, vocab_size]`; with caches, for tokens from position `start` on."""
        x = self.embedding(tokens) + self.positions[start : start + tokens.shape[1]]
        x = self.dropout(self.embedding_norm(x))
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x = block(x, cache, start)
        return self.head(self.final_norm(x))

    def empty_caches(self, batch: int):
        """For each layer a buffer of keys and one of values, `[batch, heads, max_length, head_dim]`."""
        config = self.config
        shape = batch, config.num_heads, config.max_length, config.dim // config.num_heads
        return [(torch.zeros(shape), torch.zeros(shape)) for _ in self.blocks]

    @torch.inference_mode()
    def greedy_full(self, tokens, length: int):
        """Greedy decoding as in the predecessor: runs the whole prefix for every token."""
        while tokens.shape[1] < length:
            chosen = self(tokens)[:, -1].argmax(dim=-1, keepdim=True)
            tokens = torch.cat([tokens, chosen], dim=1)
        return tokens

    @torch.inference_mode()
    def greedy_cached(self, tokens, length: int):
        """Greedy decoding with a cache of keys and values that is written in place."""
        caches, start, new = self.empty_caches(len(tokens)), 0, tokens
        out = [tokens]
        for _ in range(length - tokens.shape[1]):
            logits = self(new, caches, start)
            start, new = start + new.shape[1], logits[:, -1].argmax(dim=-1, keepdim=True)
            out.append(new)
        return torch.cat(out, dim=1)


class PeerBlock(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        dim = config.dim
        self.heads = config.num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 4 * dim)
        self.contract = nn.Linear(4 * dim, dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x, cache, start):
        batch, length, dim = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if cache is not None:
            stop = start + length
            cache[0][:, :, start:stop], cache[1][:, :, start:stop] = k, v
            k, v = cache[0][:, :, :stop], cache[1][:, :, :stop]
        # A single query sees every key in the cache.
        out = functional.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        x = x + self.dropout(self.attention_out(out.transpose(1, 2).reshape(batch, length, dim)))
        hidden = functional.gelu(self.expand(self.feed_forward_norm(x)), approximate='tanh')
        return x + self.dropout(self.contract(hidden))


def train_step(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]):
    """A function that makes one update of a model in training mode and returns its loss.

    The function takes tokens, int64 `[batch, length]`, and float32 weights of the same shape: 1 for tokens
    that the loss counts, otherwise 0. Together the optimisers must have all parameters.
    """

    def step(tokens, counts) -> float:
        weights = counts[:, 1:].reshape(-1)
        logits = model(tokens[:, :-1])
        losses = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1), reduction='none'
        )
        loss = (losses * weights).sum() / weights.sum()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        return loss.item()

    return step


def adamw(model: nn.Module) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, at the predecessor's rate."""
    return [torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)]


def muon(model: PeerTransformer, betas: tuple[float, float]) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, and AdamW without weight decay for all other parameters."""
    matrices = [x for x in model.blocks.parameters() if x.ndim == 2]
    chosen = set(map(id, matrices))
    others = [x for x in model.parameters() if id(x) not in chosen]
    return [
        torch.optim.Muon(matrices, weight_decay=0.01),
        torch.optim.AdamW(others, betas=betas, weight_decay=0.0),
    ]


def params_of(model: PeerTransformer) -> dict:
    """The parameters as those of our model, numpy arrays."""
    linear = lambda x: {'kernel': x.weight.T, 'bias': x.bias}
    norm = lambda x: {'scale': x.weight, 'bias': x.bias}
    of_block = lambda block: {
        'attention_norm': norm(block.attention_norm),
        'qkv': linear(block.qkv),
        'attention_out': linear(block.attention_out),
        'feed_forward_norm': norm(block.feed_forward_norm),
        'expand': linear(block.expand),
        'contract': linear(block.contract),
    }
    params = {
        'embedding': {'embedding': model.embedding.weight},
        'embedding_norm': norm(model.embedding_norm),
        **{f'blocks_{number}': of_block(block) for number, block in enumerate(model.blocks)},
        'final_norm': norm(model.final_norm),
        'head': linear(model.head),
    }
    return jax.tree.map(lambda x: x.detach().numpy().copy(), params)

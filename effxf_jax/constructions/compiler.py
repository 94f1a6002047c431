"""Compiles a program into parameters of the Transformer.

Each register has a coordinate of the residual stream, from the layer that computes it to the last one that
reads it; then another register may take its place. Three coordinates more make LayerNorm harmless: two hold
+C and -C, far above the content, and one holds minus the sum of all others. So the mean is zero and the
standard deviation is C sqrt(2 / D) up to (content / C)^2, and with this number as its gain LayerNorm is the
identity. The layers' norms have the gain 0 for the three themselves: nothing reads them, and weights that
would read them may change in training without harm. Every other coordinate holds its register with the
opposite sign, which keeps the sum small.

A ReLU is a GELU at a large scale, gelu(s x) / s, up to e^(-(s x)^2 / 2). The difference of two GELUs of
opposite arguments, gelu(x) - gelu(-x) = x, is exact; it copies and erases.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from effxf_jax.constructions.program import (
    ConstructionError,
    Expression,
    Layer,
    Lookup,
    Overlap,
    Program,
    Recall,
    Register,
    Search,
)
from effxf_jax.model import ModelConfig, Transformer
from effxf_jax.model.transformer import Block

GELU_SCALE = 24.0
SHARPNESS = 20.0  # by how much the score of what a softmax head looks up exceeds all others
NOTHING = 200.0  # exp(-NOTHING) is zero in float32
LONGEST_AGES = 80.0  # exp(-LONGEST_AGES) is a normal number in float32
LEAST_TRACE = 0.05  # how much of a value may be left when it has been overwritten,
WANTED_TRACE = 1e-4  # and how much if ages allow it: a higher rate would enlarge errors of ages
CERTAIN = 40.0  # sigmoid(CERTAIN) is 1 in float32, and sigmoid(-CERTAIN) next to nothing
ANCHOR = 2.0**14  # far above all values of a table's row; what is read is divided by its root mean square
NEVER = -1e6  # the score of a token that is never written
LOGIT_SCALE = 10.0  # logits are so many times the scores; a score that exceeds another by 1 is then certain

_WRITTEN = ('qkv', 'beta')  # the projections that a compiled layer has
_RESERVED = 3
_PLUS, _MINUS, _BALANCE = range(_RESERVED)
_UNITS_PER_DIM = 4


class Compiled(NamedTuple):
    """A model made of a program.

    Attributes:
        config: the model's configuration.
        params: its parameters, float32.
        coordinates: the coordinate of each register that something reads.
        lifetimes: for each of these registers, the first and the last layer after which it is in the residual
            stream, counting the embedding as -1.
    """

    config: ModelConfig
    params: dict[str, Any]
    coordinates: dict[Register, int]
    lifetimes: dict[Register, tuple[int, int]]


def compile_program(
    program: Program,
    mechanism: str,
    options: Mapping[str, Any] | None = None,
    num_heads: int = 4,
    dim: int | None = None,
) -> Compiled:
    """Compiles a program for a mechanism.

    Args:
        program: the program.
        mechanism: the attention of every layer; 'linear' reads by addresses that are `OneHot`, all others by
            `Digits` and scores.
        options: the mechanism's options.
        num_heads: heads per layer.
        dim: the width; by default the least that holds the program.

    Raises:
        ConstructionError: the program does not fit, or the mechanism cannot read as it does.
    """
    needs, coordinates, erased, moments = _plan(program, mechanism, num_heads)
    config = _config(program, mechanism, options, num_heads, dim, needs)
    params = _Writer(program, config, coordinates).write(erased)
    # It is there after the layer that writes it, until before the network that may erase it.
    lifetimes = {
        register: ((first + 1) // 2 - 1, (last - 1) // 2 - 1) for register, (first, last) in moments.items()
    }
    return Compiled(config, params, coordinates, lifetimes)


def model_config(
    program: Program,
    mechanism: str,
    options: Mapping[str, Any] | None = None,
    num_heads: int = 4,
    dim: int | None = None,
) -> ModelConfig:
    """The configuration of the model that `compile_program` makes, which says what it raises; no weights."""
    needs, *_ = _plan(program, mechanism, num_heads)
    return _config(program, mechanism, options, num_heads, dim, needs)


def least_width(program: Program, mechanism: str, num_heads: int) -> int:
    """The least width that holds a program; `compile_program` says what it raises."""
    return _rounded(_plan(program, mechanism, num_heads)[0], num_heads)[0]


def _config(program: Program, mechanism: str, options, num_heads: int, dim: int | None, needs) -> ModelConfig:
    least, step = _rounded(needs, num_heads)
    if dim is None:
        dim = least
    elif dim < least:
        what = ', '.join(f'{need} for {name}' for name, need in needs.items())
        raise ConstructionError(
            f'the construction needs a width of {least}: {what}, rounded up to a multiple of {step}; '
            f'got {dim}'
        )
    config = ModelConfig(
        vocab_size=program.vocabulary_size,
        max_length=program.max_length,
        dim=dim,
        num_heads=num_heads,
        num_layers=len(program.layers),
        mechanism=mechanism,
        dropout=0.0,
        positions='learned',
        options=options or {},
    )
    inputs = [part.name for of in config.mechanisms() for part in (*of.projections, *of.parameters)]
    others = [name for name in dict.fromkeys(inputs) if name not in _WRITTEN]
    if others:
        raise ConstructionError(
            f'no weights are written for {" and ".join(others)} of {mechanism} attention; '
            f'got the options {dict(options or {})}'
        )
    return config


def _plan(program: Program, mechanism: str, num_heads: int):
    """What needs which width, and where registers are and when: `_needs`, `_allocate`, `_moments`."""
    _check_heads(program, num_heads)
    _check_kinds(program, mechanism)
    moments = _moments(program)
    coordinates, erased, registers = _allocate(program, moments)
    return _needs(program, erased, registers, num_heads), coordinates, erased, moments


def _rounded(needs: Mapping[str, int], num_heads: int) -> tuple[int, int]:
    """The width for all needs, and the number of which it is a multiple."""
    step = math.lcm(num_heads, 2)
    return -(-max(needs.values()) // step) * step, step


def most_overwritings(change: float) -> float:
    """How often linear attention can overwrite a value that changes by as much each time."""
    return LONGEST_AGES / math.log(max(change / LEAST_TRACE, math.e))


def sign(coordinate: int) -> float:
    """The sign with which a coordinate holds its register."""
    return -1.0 if coordinate % 2 else 1.0


def _check_heads(program: Program, num_heads: int) -> None:
    for layer in program.layers:
        if len(layer.heads) > num_heads:
            raise ConstructionError(
                f'layer {layer.number} reads with {len(layer.heads)} heads; got num_heads {num_heads}'
            )


_KINDS = {
    'linear': ((Lookup, Overlap), 'addresses that are OneHot, and features'),
    'delta': ((Recall,), 'rows of a table'),
}
_OTHERS = (Search,), 'addresses that are Digits, and scores'


def _check_kinds(program: Program, mechanism: str) -> None:
    kinds, needed = _KINDS.get(mechanism, _OTHERS)
    for layer in program.layers:
        if not all(isinstance(head, kinds) for head in layer.heads):
            raise ConstructionError(f'{mechanism} attention reads by {needed}; layer {layer.number} does not')


def _moments(program: Program) -> dict[Register, tuple[int, int]]:
    """When each register is written and last read.

    0 is the embedding, 2i + 1 the attention of layer i, and 2i + 2 its network.
    """
    written = dict.fromkeys([*program.tokens, *program.positions], 0)
    read: dict[Register, int] = {}
    for i, layer in enumerate(program.layers):
        for head in layer.heads:
            read |= dict.fromkeys(head.sources, 2 * i + 1)
            written |= dict.fromkeys(head.targets, 2 * i + 1)
        for register, value in layer.updates:
            read |= dict.fromkeys(value.registers, 2 * i + 2)
            written[register] = 2 * i + 2
    for score in program.logits.values():
        read |= dict.fromkeys(score.registers, 2 * len(program.layers) + 1)
    for register, moment in read.items():
        if register not in written or written[register] > moment:
            raise ConstructionError(f'{register.name} is read before it is written')
        if written[register] == moment:
            raise ConstructionError(f'{register.name} is read where it is written; use the next layer')
    return {register: (written[register], moment) for register, moment in read.items()}


def _allocate(
    program: Program, moments: Mapping[Register, tuple[int, int]]
) -> tuple[dict[Register, int], list[list[Register]], int]:
    """Gives each register a coordinate, and reuses those of registers that nothing reads any more.

    Returns:
        The coordinates; for each layer the registers that its network erases; and the number of coordinates.
    """
    coordinates: dict[Register, int] = {}
    erased: list[list[Register]] = [[] for _ in program.layers]
    free: list[tuple[int, Register]] = []  # when a network can erase a register
    count = _RESERVED
    for register, (first, last) in sorted(moments.items(), key=lambda item: item[1][0]):
        dead = next((item for item in free if item[0] <= first), None)
        if dead is None:
            coordinates[register] = count
            count += 1
        else:
            free.remove(dead)
            coordinates[register] = coordinates[dead[1]]
            erased[dead[0] // 2 - 1].append(dead[1])
        free.append((last + last % 2, register))
        free.sort(key=lambda item: item[0])
    return coordinates, erased, count


def _units(layer: Layer) -> list[tuple[Register, float, Expression]]:
    """The hidden units of a layer's network: each adds `weight relu(argument)` to a register."""
    units = []
    for register, value in layer.updates:
        units += [(register, weight, argument) for weight, argument in value.units]
        if value.weights:
            units += _copy(register, Expression(value.weights, 0.0))
    return units


def _copy(register: Register, value: Expression) -> list[tuple[Register, float, Expression]]:
    return [(register, 1.0, value), (register, -1.0, -value)]


def _needs(program: Program, erased, registers: int, num_heads: int) -> dict[str, int]:
    """The width that each part of the program needs, by the part's name."""
    head_dim = max((head.width for layer in program.layers for head in layer.heads), default=1)
    units = max(
        len(_units(layer)) + 2 * len(gone) for layer, gone in zip(program.layers, erased, strict=True)
    )
    return {
        f'{registers - _RESERVED} registers at once and {_RESERVED} of LayerNorm': registers,
        f'{num_heads} heads of {head_dim}': num_heads * head_dim,
        f'{units} hidden units': -(-units // _UNITS_PER_DIM),
    }


def _scale(head: Search | Lookup | Overlap | Recall, head_dim: int) -> float:
    """By what a head's output is multiplied."""
    if isinstance(head, Recall):  # it is divided by its root mean square, which is that of the anchors
        return head.rows * ANCHOR / math.sqrt(head_dim)
    return head.factor


class _Writer:
    """Writes the parameters; all matrices that write to the residual stream have rows with the sum zero."""

    def __init__(self, program: Program, config: ModelConfig, coordinates):
        self._program, self._config = program, config
        self._at = coordinates

    def write(self, erased: list[list[Register]]) -> dict[str, Any]:
        program, dim = self._program, self._config.dim
        embedding = np.zeros((program.vocabulary_size, dim))
        positions = np.zeros((program.max_length, dim))
        positions[:, _PLUS], positions[:, _MINUS] = program.constant, -program.constant
        for table, inputs in (embedding, program.tokens), (positions, program.positions):
            for register, values in inputs.items():
                if register in self._at:
                    table[:, self._at[register]] = values * self._sign(register)
        kernel = np.zeros((dim, program.vocabulary_size))
        bias = np.full(program.vocabulary_size, NEVER * LOGIT_SCALE)
        for token, score in program.logits.items():
            self._read(score * LOGIT_SCALE, kernel[:, token])
            bias[token] = score.constant * LOGIT_SCALE
        params = {
            'embedding': {'embedding': self._balanced(embedding)},
            'positions': self._balanced(positions),
            'embedding_norm': self._norm(reserved=True),
            'final_norm': self._norm(),
            'head': {'kernel': kernel, 'bias': bias},
        }
        for layer, gone in zip(program.layers, erased, strict=True):
            params[f'blocks_{layer.number}'] = {
                **self._attention(layer),
                **self._network(layer, gone),
                'attention_norm': self._norm(),
                'feed_forward_norm': self._norm(),
            }
        return jax.tree.map(lambda x: x.astype(np.float32), params)

    def _sign(self, register: Register) -> float:
        return sign(self._at[register])

    def _norm(self, reserved: bool = False) -> dict[str, np.ndarray]:
        """A LayerNorm that is the identity, but makes the reserved coordinates zero unless `reserved`."""
        dim = self._config.dim
        scale = np.full(dim, self._program.constant * math.sqrt(2 / dim))
        if not reserved:
            scale[:_RESERVED] = 0.0
        return {'scale': scale, 'bias': np.zeros(dim)}

    def _balanced(self, rows: np.ndarray) -> np.ndarray:
        rows[..., _BALANCE] -= rows.sum(axis=-1)
        return rows

    def _read(self, value: Expression, column: np.ndarray) -> None:
        for register, weight in value.weights.items():
            column[self._at[register]] += weight * self._sign(register)

    def _attention(self, layer: Layer) -> dict[str, dict[str, np.ndarray]]:
        dim, head_dim = self._config.dim, self._config.head_dim
        kernel, bias = np.zeros((3, dim, dim)), np.zeros((3, dim))
        if self._config.mechanism == 'linear':  # features are exp of these numbers
            bias[:2] = -NOTHING
        out = np.zeros((dim, dim))
        rates = {'kernel': np.zeros((dim, self._config.num_heads)), 'bias': np.zeros(self._config.num_heads)}
        for i, head in enumerate(layer.heads):
            start = i * head_dim
            columns = slice(start, start + head_dim)
            if isinstance(head, Search):
                self._score(head, kernel[:2, :, columns], bias[:2, columns])
            elif isinstance(head, Overlap):
                self._shared_features(head, kernel[:2, :, columns], bias[:2, columns])
            elif isinstance(head, Recall):
                self._rows(head, kernel[..., columns], bias[:, columns])
                self._read(head.idle * (-2 * CERTAIN), rates['kernel'][:, i])
                rates['bias'][i] = CERTAIN * (1 - 2 * head.idle.constant)
            else:
                self._features(head, layer.number, kernel[:2, :, columns])
            for place, (value, target) in enumerate(zip(head.values, head.targets, strict=True), start):
                if target in self._at:
                    self._read(value, kernel[2, :, place])
                    bias[2, place] = value.constant
                    out[place, self._at[target]] = _scale(head, head_dim) * self._sign(target)
        return {
            **({'beta': rates} if self._config.mechanism == 'delta' else {}),
            'qkv': {'kernel': np.concatenate(list(kernel), axis=1), 'bias': bias.reshape(-1)},
            'attention_out': {'kernel': self._balanced(out), 'bias': np.zeros(dim)},
        }

    def _sides(self, head, scales: tuple[float, float], kernel: np.ndarray, bias: np.ndarray) -> None:
        """Writes a head's query and key, times their scales: kernels `[2, dim, head_dim]` and biases."""
        for side, (parts, scale) in enumerate(zip((head.query, head.key), scales, strict=True)):
            for place, part in enumerate(parts):
                self._read(part * scale, kernel[side, :, place])
                bias[side, place] = part.constant * scale

    def _score(self, head: Search, kernel: np.ndarray, bias: np.ndarray) -> None:
        """Writes the query and the key of a softmax head."""
        sharpness = SHARPNESS / head.gap * math.sqrt(self._config.head_dim)
        self._sides(head, (sharpness, 1.0), kernel, bias)
        if head.share is not None:
            place = len(head.key)
            bias[0, place] = math.sqrt(self._config.head_dim)
            self._read(head.share, kernel[1, :, place])
            bias[1, place] = head.share.constant

    def _shared_features(self, head: Overlap, kernel: np.ndarray, bias: np.ndarray) -> None:
        """Writes the query and the key of a linear head that finds shared features."""
        self._sides(head, (-NOTHING, -NOTHING), kernel, bias)
        # Features of a query are relative to its largest, so one that has no other needs one that no key has.
        bias[0, len(head.query)] = 0.0

    def _rows(self, head: Recall, kernel: np.ndarray, bias: np.ndarray) -> None:
        """Writes the query, the key and the anchor of a head of the delta rule, `[3, dim, head_dim]`."""
        self._sides(head, (1.0, 1.0), kernel, bias)
        bias[2, len(head.values)] = ANCHOR

    def _features(self, head: Lookup, layer: int, kernel: np.ndarray) -> None:
        """Writes the query and the key of a linear head, kernels `[2, dim, head_dim]`."""
        for side, address in enumerate((head.query, head.key)):
            for place, register in enumerate(address.registers):
                scale = NOTHING / address.code.radius
                kernel[side, self._at[register], place] = scale * self._sign(register)
        if head.age is not None:
            decay = self._decay(head, layer) * self._sign(head.age)
            kernel[1, self._at[head.age], : len(head.key.registers)] -= decay

    def _decay(self, lookup: Lookup, layer: int) -> float:
        """The rate at which weights fall with age, if float32 holds one that is large enough to overwrite."""
        ages = self._program.positions[lookup.age]
        codes = np.stack([self._program.positions[r] for r in lookup.key.registers], axis=-1)
        gap = np.inf
        for code in np.unique(codes[codes.any(axis=-1)], axis=0):
            different = np.unique(ages[(codes == code).all(axis=-1)])
            gap = min(gap, np.diff(different).min(initial=np.inf))
        rate = LONGEST_AGES / max(ages[codes.any(axis=-1)].max(), 1.0)
        if rate * gap * most_overwritings(lookup.change) < LONGEST_AGES:
            most = int(most_overwritings(lookup.change) * gap)
            raise ConstructionError(
                f'layer {layer}: ages go up to {ages.max():g}; '
                f'float32 holds weights that overwrite up to {most}'
            )
        return min(rate, math.log(max(lookup.change / WANTED_TRACE, math.e)) / gap)

    def _network(self, layer: Layer, erased: list[Register]) -> dict[str, dict[str, np.ndarray]]:
        dim = self._config.dim
        units = _units(layer)
        for register in erased:
            units += _copy(register, -Expression({register: 1.0}, 0.0))
        expand, bias = np.zeros((dim, _UNITS_PER_DIM * dim)), np.zeros(_UNITS_PER_DIM * dim)
        contract, constant = np.zeros((_UNITS_PER_DIM * dim, dim)), np.zeros(dim)
        place = 0
        for register, weight, argument in units:
            if register in self._at:
                self._read(argument * GELU_SCALE, expand[:, place])
                bias[place] = argument.constant * GELU_SCALE
                contract[place, self._at[register]] = weight / GELU_SCALE * self._sign(register)
                place += 1
        for register, value in layer.updates:
            if register in self._at:
                constant[self._at[register]] += value.constant * self._sign(register)
        return {
            'expand': {'kernel': expand, 'bias': bias},
            'contract': {'kernel': self._balanced(contract), 'bias': self._balanced(constant)},
        }


def streams(compiled: Compiled, tokens: np.ndarray) -> dict[Register, np.ndarray]:
    """What the model holds in its registers for one sequence, int `[length]`.

    Returns:
        By register, float32 `[layers, length]`: a row for each layer after which the register is in the
        residual stream, see `Compiled.lifetimes`. Registers that only one layer's network reads are left out.
    """
    is_part = lambda module, _: module.name == 'embedding_norm' or isinstance(module, Block)
    _, state = Transformer(compiled.config).apply(
        {'params': compiled.params}, tokens[None], capture_intermediates=is_part, mutable=['intermediates']
    )
    parts = state['intermediates']
    stream = [parts['embedding_norm']['__call__'][0][0]]
    stream += [parts[f'blocks_{i}']['__call__'][0][1][0] for i in range(compiled.config.num_layers)]
    stream = np.stack([np.asarray(x) for x in stream])
    return {
        register: sign(at := compiled.coordinates[register]) * stream[first + 1 : last + 2, :, at]
        for register, (first, last) in compiled.lifetimes.items()
        if last >= first
    }

"""Texts as tokens and back, without loss: words with the space before them, or bytes.

A text in words is cut into words, single digits, signs and white space. A piece takes the space before it
along, so the pieces, joined, are the text. Digits and the signs of ASCII are always in the vocabulary.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from effxf_jax.tasks.task import Vocabulary

SEPARATOR, UNKNOWN, LINE_END = '<sep>', '<unk>', '\n'
SEP, UNK = 2, 3  # token ids

# A long run of letters is several pieces, so that no token is long.
_PIECE = re.compile(r'<unk>| ?(?!<unk>)(?:[^\W\d_]{1,30}|<<|>>|####|\S)|\s')
_SIGNS = ['####', '<<', '>>', *string.digits, *string.punctuation]
_ALWAYS = [LINE_END, ' ', *_SIGNS, *(f' {sign}' for sign in _SIGNS)]


def pieces(text: str) -> list[str]:
    """Cuts a text into pieces: `pieces('It is 12%.\\n') == ['It', ' is', ' 1', '2', '%', '.', '\\n']`."""
    return _PIECE.findall(text)


class Words(NamedTuple):
    """Text by pieces; a piece that is not in the vocabulary is `<unk>`.

    Attributes:
        vocabulary: the tokens.
        ids: their ids.
    """

    vocabulary: Vocabulary
    ids: dict[str, int]

    @classmethod
    def of(cls, counts: Counter[str], min_count: int) -> 'Words':
        """The pieces that occur `min_count` times or more, the frequent ones first, behind the signs."""
        known = dict.fromkeys([SEPARATOR, UNKNOWN, *_ALWAYS])
        for piece, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            if count >= min_count:
                known[piece] = None
        vocabulary = Vocabulary.of(known)
        return cls(vocabulary, dict(vocabulary.ids()))

    def encode(self, text: str) -> np.ndarray:
        """The token ids of a text, int32 `[length]`."""
        return np.array([self.ids.get(piece, UNK) for piece in pieces(text)], np.int32)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids."""
        names = self.vocabulary.tokens
        return ''.join([names[token] for token in tokens])

    def place(self, tokens: Sequence[int], offset: int) -> int:
        """The index of the token with a character of the decoded text; their number for its end."""
        ends = np.cumsum([len(self.vocabulary.tokens[token]) for token in tokens])
        return int(np.searchsorted(ends, offset, side='right'))


_FIRST_BYTE = 3  # the token id of byte 0
_BYTES = Vocabulary.of([SEPARATOR, *(chr(byte) if byte < 128 else f'<0x{byte:02x}>' for byte in range(256))])


class Bytes(NamedTuple):
    """Text by the bytes of its UTF-8; bytes that are none become lone surrogates, as in file names."""

    vocabulary: Vocabulary = _BYTES

    def encode(self, text: str) -> np.ndarray:
        """The token ids of a text, int32 `[length]`."""
        return np.frombuffer(text.encode('utf-8', 'surrogateescape'), np.uint8).astype(np.int32) + _FIRST_BYTE

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids."""
        return bytes([token - _FIRST_BYTE for token in tokens]).decode('utf-8', 'surrogateescape')

    def place(self, tokens: Sequence[int], offset: int) -> int:
        """The index of the token with a character of the decoded text; their number for its end."""
        return len(self.decode(tokens)[:offset].encode('utf-8', 'surrogateescape'))

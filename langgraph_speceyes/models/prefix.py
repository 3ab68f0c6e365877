"""What a local model need not compute twice: key-value prefixes of prompts, and features of images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Ids = NDArray[np.int64]
Value = TypeVar("Value")

MEBI = 1024 * 1024


class ByteBudget(Generic[Value]):
    """Values by key, the least recently used dropped once they hold more bytes than allowed.

    Args:
        limit: Most bytes; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """The value, now the most recently used."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Keep a value of so many bytes; one larger than the whole budget is not kept."""
        self.drop(key)
        if size > self.limit:
            return
        self._entries[key] = value, size
        self.held += size
        while self.held > self.limit:
            self.drop(next(iter(self._entries)))

    def drop(self, key: Hashable) -> None:
        """Forget a value, if there is one."""
        if key in self._entries:
            self.held -= self._entries.pop(key)[1]

    def items(self) -> list[tuple[Hashable, Value]]:
        """Keys and values, the most recently used last."""
        return [(key, value) for key, (value, _) in self._entries.items()]


@dataclass(frozen=True)
class Prefix:
    """Keys and values of a prompt's tokens, never changed once made.

    Attributes:
        ids: The tokens; those of an image are numbers made from its digest, so that equal ids mean equal images.
        layers: Keys and values of each layer, ``[heads, tokens, size]``.
    """

    ids: Ids
    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""
        return sum(t.numel() * t.element_size() for pair in self.layers for t in pair)


class PrefixCache:
    """Prompts' key-value prefixes within a byte budget.

    Args:
        limit: Most bytes of keys and values.
    """

    def __init__(self, limit: int) -> None:
        self._prefixes: ByteBudget[Prefix] = ByteBudget(limit)

    @property
    def limit(self) -> int:
        """Most bytes."""
        return self._prefixes.limit

    @property
    def held(self) -> int:
        """Bytes held."""
        return self._prefixes.held

    def longest(self, ids: Ids) -> tuple[Prefix | None, int]:
        """The prefix that shares most tokens with a prompt, and how many."""
        best: tuple[Hashable, Prefix | None, int] = (None, None, 0)
        for key, prefix in self._prefixes.items():
            if (shared := shared_length(prefix.ids, ids)) > best[2]:
                best = key, prefix, shared
        if best[1] is not None:
            self._prefixes.get(best[0])
        return best[1], best[2]

    def put(self, prefix: Prefix) -> None:
        """Keep a prefix in place of those it goes on from."""
        for key, other in self._prefixes.items():
            shared = shared_length(other.ids, prefix.ids)
            if shared == len(prefix.ids):
                self._prefixes.get(key)
                return
            if shared == len(other.ids):
                self._prefixes.drop(key)
        self._prefixes.put(prefix.ids.tobytes(), prefix, prefix.nbytes)


def shared_length(one: Ids, two: Ids) -> int:
    """How many leading tokens two prompts share."""
    size = min(len(one), len(two))
    differs = np.flatnonzero(one[:size] != two[:size])
    return int(differs[0]) if differs.size else size


def image_spans(ids: Sequence[int], image_token: int) -> list[tuple[int, int]]:
    """Where images are among a prompt's tokens: begin and end of each run of placeholders."""
    marks = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(ids) == image_token, [0]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(marks[::2], marks[1::2], strict=True)]

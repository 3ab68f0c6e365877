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

    def peek(self, key: Hashable) -> Value | None:
        """The value, no more recently used than before."""
        found = self._entries.get(key)
        return None if found is None else found[0]

    def newest(self) -> list[Hashable]:
        """The keys, the most recently used first."""
        return list(reversed(self._entries))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._entries)


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
        self._about: dict[int, list[Hashable]] = {}

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
        image, begin = _first_image(ids)
        # those about the same image first: all others can share no more than what is before it
        for keys, most in ((self._kept(image), len(ids)), (self._prefixes.newest(), begin)):
            for key in keys:
                if best[2] >= most:
                    break
                prefix = self._prefixes.peek(key)
                if prefix is not None and (shared := shared_length(prefix.ids, ids)) > best[2]:
                    best = key, prefix, shared
        if best[1] is not None:
            self._prefixes.get(best[0])
        return best[1], best[2]

    def put(self, prefix: Prefix) -> None:
        """Keep a prefix in place of those it goes on from."""
        image, _ = _first_image(prefix.ids)
        for key in {*self._kept(image), *self._kept(0)} if image else self._prefixes.newest():
            other = self._prefixes.peek(key)
            if other is None:
                continue
            shared = shared_length(other.ids, prefix.ids)
            if shared == len(prefix.ids):
                self._prefixes.get(key)
                return
            if shared == len(other.ids):
                self._prefixes.drop(key)
        own = prefix.ids.tobytes()
        self._prefixes.put(own, prefix, prefix.nbytes)
        self._about.setdefault(image, []).append(own)
        if len(self._about) > 2 * len(self._prefixes) + 16:
            self._about = {about: kept for about in list(self._about) if (kept := self._kept(about))}

    def _kept(self, image: int) -> list[Hashable]:
        """Keys of what is kept of prompts about an image, the newest first; 0 is no image."""
        keys = [key for key in self._about.get(image, ()) if self._prefixes.peek(key) is not None]
        if image in self._about:
            self._about[image] = keys
        return keys[::-1]


def _first_image(ids: Ids) -> tuple[int, int]:
    """The number of a prompt's first image, and where it begins; 0 and the prompt's length without one."""
    # the first token may be a scope's number
    at = np.flatnonzero(ids[1:] < 0)
    return (int(ids[1 + at[0]]), 1 + int(at[0])) if at.size else (0, len(ids))


def shared_length(one: Ids, two: Ids) -> int:
    """How many leading tokens two prompts share."""
    size = min(len(one), len(two))
    differs = np.flatnonzero(one[:size] != two[:size])
    return int(differs[0]) if differs.size else size


def image_spans(ids: Sequence[int], image_token: int) -> list[tuple[int, int]]:
    """Where images are among a prompt's tokens: begin and end of each run of placeholders."""
    marks = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(ids) == image_token, [0]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(marks[::2], marks[1::2], strict=True)]

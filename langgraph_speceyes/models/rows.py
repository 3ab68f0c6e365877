"""Prompts under way: their keys and values side by side, with bounded room for tokens and rows to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Tokens that there is room for ahead at least, where answers may become that long."""
SMALL = 4096
"""Slots (rows times columns) up to which room for twice the rows is made; it is no matter what they hold."""


class Layer(DynamicLayer):
    """Keys and values of one layer, written in place: a token costs one write and no copy of what is before it.

    Args:
        columns: Tokens that there is room for.

    Attributes:
        keys: ``[rows, heads, tokens, size]``, the part in use of what is held.
        values: The same.
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        self._columns = columns
        self._held: list[Tensor] = []

    @classmethod
    def of(cls, like: Tensor, rows: int, tokens: int, columns: int) -> Layer:
        """A layer whose tokens are still to be written, all that it shows of them.

        Where no token is, zeros: what is masked is multiplied by zero, which not all that memory holds survives.

        Args:
            like: Keys or values of one row, ``[heads, tokens, size]``.
            rows: How many there are.
            tokens: How many are in use.
            columns: How many there is room for.
        """
        layer = cls(columns)
        layer._hold(like[None], rows)
        layer.show(rows, tokens)
        return layer

    @property
    def capacity(self) -> tuple[int, int]:
        """Rows and tokens that there is room for in all."""
        return self._held[0].shape[0], self._held[0].shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes held, in use or not."""
        return sum(held.numel() * held.element_size() for held in self._held)

    def show(self, rows: int, tokens: int) -> None:
        """Say what of the room is in use."""
        self.keys, self.values = (held[:rows, :, :tokens] for held in self._held)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write further tokens, for which there must be room; returns all of them."""
        rows = key_states.shape[0]
        if not self._held:
            self._hold(key_states, rows)
        begin = self.get_seq_length()
        end = begin + key_states.shape[2]
        for held, new in zip(self._held, (key_states, value_states), strict=True):
            held[:rows, :, begin:end] = new
        self.show(rows, end)
        return self.keys, self.values

    def place(self, rows: slice, other: Layer, tokens: int) -> None:
        """Fill rows with another layer's, of which the last so many tokens count, right-aligned."""
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            begin = mine.shape[2] - tokens
            mine[rows, :, :begin] = 0
            mine[rows, :, begin:] = theirs[:, :, -tokens:]

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        tokens = self.get_seq_length()
        for held in self._held:
            held[target, :, :tokens] = held[source, :, :tokens]

    def resize(self, capacity: tuple[int, int], width: int, kept: int) -> None:
        """Hold room for so many rows and columns instead.

        Never more than keys or values are held twice, and of this layer alone.

        Args:
            capacity: The rows and columns.
            width: Columns in use from now on.
            kept: Columns whose tokens are kept, the last ones.
        """
        rows, old = self.keys.shape[0], self.keys.shape[2]
        self.keys = self.values = self._held[0].new_empty(0)
        for which in (0, 1):
            held = self._held[which]
            new = held.new_empty((capacity[0], held.shape[1], capacity[1], held.shape[3]))
            new[:rows, :, : width - kept] = 0
            new[:rows, :, width - kept : width] = held[:rows, :, old - kept : old]
            self._held[which] = new
            del held
        self.show(rows, width)

    def release(self) -> None:
        """Hold nothing any more."""
        self.keys = self.values = self.keys.new_empty(0)
        self._held = []

    def _hold(self, like: Tensor, rows: int) -> None:
        self.lazy_initialization(like, like)
        shape = (rows, like.shape[1], self._columns, like.shape[3])
        self._held = [like.new_empty(shape), like.new_empty(shape)]


class Rows:
    """Prompts that are being answered, right-aligned in one batch.

    Args:
        numbers: Who each row is.
        cache: Their keys and values, of which this becomes the owner.
        mask: ``[rows, tokens]`` on the processor, true where a token is.
        tokens: The newest token of each, ``[rows]``, not yet in the cache.
        shift: What is added to a token's place among the row's own to get its rotary position, of each.
        left: How many further tokens of each may come to be in the cache.
        most: Most rows that there can be.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        cache: Cache,
        mask: Tensor,
        tokens: Tensor,
        *,
        shift: Sequence[int],
        left: Sequence[int],
        most: int,
    ) -> None:
        self.numbers, self.cache, self.most = list(numbers), cache, most
        self.left, self.lengths = list(left), mask.sum(-1).tolist()
        # columns from a row's first token on: more than its tokens where there is a gap in it
        self.spans: list[int] = (mask.shape[1] - mask.int().argmax(-1)).tolist()
        self.mask, self.tokens = mask.to(tokens.device), tokens
        self.index = torch.tensor(self.lengths, device=tokens.device)
        self.shift = torch.tensor(list(shift), device=tokens.device)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.numbers)

    @property
    def padded(self) -> bool:
        """Whether there is a row that does not fill all columns; it may be the only one."""
        return min(self.lengths) < self.mask.shape[1]

    @property
    def used(self) -> int:
        """Columns from the first one on that a row uses."""
        return max(self.spans)

    @property
    def capacity(self) -> tuple[int, int]:
        """Rows and columns that there is room for in all."""
        layer: Layer = self.cache.layers[0]
        return layer.capacity

    def grow(self) -> tuple[Tensor, Tensor]:
        """Take the newest token in: tokens ``[rows, 1]`` and positions ``[4, rows, 1]`` of the next forward pass."""
        (rows, columns), used = self.capacity, self.used
        room = room_for(len(self), used, self._longest, self.most)
        # those who have left may have been many, or the longest
        wasteful = rows * columns > SMALL and 4 * rows * columns > 5 * room[0] * room[1]
        if wasteful or self.mask.shape[1] >= columns:
            for layer in self.cache.layers:
                layer.resize(room, used, used)
            self.mask = self.mask[:, -used:]
        at = self.index + self.shift
        positions = torch.stack([self.index, at, at, at])[:, :, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self), 1)], dim=-1)
        self.index = self.index + 1
        self.lengths = [length + 1 for length in self.lengths]
        self.spans = [span + 1 for span in self.spans]
        self.left = [left - 1 for left in self.left]
        return self.tokens[:, None], positions

    def prefix(self, place: int) -> tuple[tuple[Tensor, Tensor], ...]:
        """A copy of one row's keys and values, ``[heads, tokens, size]`` of each layer."""
        count, width = self.lengths[place], self.mask.shape[1]
        # a slice is many times faster; beside others with a longer beginning there may be a gap in it
        which = slice(width - count, None) if self.spans[place] == count else self.mask[place]
        return tuple(
            (layer.keys[place][:, which].clone(), layer.values[place][:, which].clone()) for layer in self.cache.layers
        )

    def leave(self, places: Sequence[int]) -> None:
        """Let rows go; the last ones take their places."""
        if not places:
            return
        left = [place for place in range(len(self)) if place not in places]
        # those that stay behind the new end move into the gaps before it
        gaps = [place for place in places if place < len(left)]
        moved = [place for place in left if place >= len(left)]
        order = list(range(len(left)))
        for source, target in zip(moved, gaps, strict=True):
            order[target] = source
            for layer in self.cache.layers:
                layer.move(source, target)
        for layer in self.cache.layers:
            layer.show(len(left), layer.get_seq_length())
        chosen = torch.tensor(order, dtype=torch.long, device=self.mask.device)
        self.mask, self.tokens = self.mask[chosen], self.tokens[chosen]
        self.index, self.shift = self.index[chosen], self.shift[chosen]
        self.numbers, self.lengths, self.spans, self.left = (
            [of[place] for place in order] for of in (self.numbers, self.lengths, self.spans, self.left)
        )

    def join(self, others: Rows) -> None:
        """Take further rows in, which are left without anything; none where all ended with their first token."""
        if not others:
            return
        rows, theirs, used = len(self) + len(others), others.used, self.used
        width, room = self.mask.shape[1], self.capacity
        fits = rows <= room[0] and theirs <= width
        if not fits:
            width = max(used, theirs)
            room = room_for(rows, width, max(self._longest, others._longest), self.most)
        for mine, new in zip(self.cache.layers, others.cache.layers, strict=True):
            if not fits:
                mine.resize(room, width, used)
            mine.show(rows, width)
            mine.place(slice(len(self), rows), new, theirs)
            new.release()
        mask = self.mask.new_zeros(rows, width)
        mask[: len(self), width - used :] = self.mask[:, -used:]
        mask[len(self) :, width - theirs :] = others.mask[:, -theirs:]
        self.mask = mask
        self.tokens = torch.cat([self.tokens, others.tokens])
        self.index = torch.cat([self.index, others.index])
        self.shift = torch.cat([self.shift, others.shift])
        self.numbers, self.lengths = self.numbers + others.numbers, self.lengths + others.lengths
        self.spans, self.left = self.spans + others.spans, self.left + others.left

    @property
    def _longest(self) -> int:
        """Columns that the longest row may come to need."""
        return max(span + left for span, left in zip(self.spans, self.left, strict=True))


def room_for(rows: int, used: int, longest: int, most: int) -> tuple[int, int]:
    """Rows and columns to hold, so that neither each token nor each newcomer means a copy.

    Args:
        rows: Rows in use.
        used: Columns in use.
        longest: Columns that may come to be in use.
        most: Most rows that there can be.
    """
    columns = max(min(used + max(ROOM, used // 16), longest), used + 1)
    spare = rows if 2 * rows * columns <= SMALL else rows // 8
    return max(min(rows + spare, most), rows), columns

"""Prompts under way: their keys and values side by side, with room for tokens and rows to come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Tokens that there is room for ahead."""


class Layer(DynamicLayer):
    """Keys and values of one layer, written in place: a token costs one write and no copy of what is before it.

    Attributes:
        keys: ``[rows, heads, tokens, size]``, the part in use of what is held.
        values: The same.
    """

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, like: Tensor, rows: int, tokens: int, *, room: int = ROOM, spare: int = 0) -> Layer:
        """A layer whose tokens are still to be written, all that it shows of them.

        Where no token is, zeros: what is masked is multiplied by zero, which not all that memory holds survives.

        Args:
            like: Keys or values of one row, ``[heads, tokens, size]``.
            rows: How many are in use.
            tokens: How many are in use.
            room: Further tokens that there is room for.
            spare: Further rows that there is room for.
        """
        layer = cls()
        layer.lazy_initialization(like, like)
        shape = (rows + spare, like.shape[0], tokens + room, like.shape[2])
        layer._held = (like.new_empty(shape), like.new_empty(shape))
        layer.show(rows, tokens)
        return layer

    @property
    def capacity(self) -> tuple[int, int]:
        """Rows and tokens that there is room for in all."""
        assert self._held is not None
        return self._held[0].shape[0], self._held[0].shape[2]

    def show(self, rows: int, tokens: int) -> None:
        """Say what of the room is in use."""
        assert self._held is not None
        self.keys, self.values = (held[:rows, :, :tokens] for held in self._held)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write further tokens; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, begin = key_states.shape[0], self.get_seq_length() if self._held is not None else 0
        end = begin + key_states.shape[2]
        if self._held is None or end > self._held[0].shape[2]:
            self._widen(key_states, begin, end)
        assert self._held is not None
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
        assert self._held is not None
        tokens = self.get_seq_length()
        for held in self._held:
            held[target, :, :tokens] = held[source, :, :tokens]

    def _widen(self, like: Tensor, begin: int, end: int) -> None:
        old = self._held
        made = Layer.of(like[0], old[0].shape[0] if old else like.shape[0], end)._held
        assert made is not None
        for new, held in zip(made, old or (), strict=False):
            new[:, :, :begin] = held[:, :, :begin]
        self._held = made


class Rows:
    """Prompts that are being answered, right-aligned in one batch.

    Args:
        numbers: Who each row is.
        cache: Their keys and values.
        mask: ``[rows, tokens]``, 1 where a token is, 0 where there is none.
        tokens: The newest token of each, ``[rows]``, not yet in the cache.
        index: That token's place among the row's own, ``[rows]``.
        shift: What is added to it to get its rotary position, ``[rows]``.

    Attributes:
        padded: Whether there is a row that does not fill all columns; it may be the only one.
    """

    def __init__(
        self, numbers: Sequence[int], cache: Cache, mask: Tensor, tokens: Tensor, index: Tensor, shift: Tensor
    ) -> None:
        self.numbers, self.cache, self.mask = list(numbers), cache, mask
        self.tokens, self.index, self.shift = tokens, index, shift
        self.padded = not bool(mask.all())

    def __len__(self) -> int:
        """How many there are."""
        return len(self.numbers)

    def grow(self) -> tuple[Tensor, Tensor]:
        """Take the newest token in: tokens ``[rows, 1]`` and positions ``[4, rows, 1]`` of the next forward pass."""
        if self.mask.shape[1] >= self.cache.layers[0].capacity[1]:
            # those who have left may have been the longest
            self._rebuild(len(self), self.used)
        at = self.index + self.shift
        positions = torch.stack([self.index, at, at, at])[:, :, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self), 1)], dim=-1)
        self.index = self.index + 1
        return self.tokens[:, None], positions

    def prefix(self, place: int) -> tuple[tuple[Tensor, Tensor], ...]:
        """A copy of one row's keys and values, ``[heads, tokens, size]`` of each layer."""
        real = self.mask[place].bool()
        count = int(real.sum())
        # a slice is many times faster; beside others with a longer beginning there may be a gap in it
        which = slice(len(real) - count, None) if bool(real[len(real) - count :].all()) else real
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
        self.numbers = [self.numbers[place] for place in order]
        chosen = torch.tensor(order, dtype=torch.long, device=self.mask.device)
        self.mask, self.tokens = self.mask[chosen], self.tokens[chosen]
        self.index, self.shift = self.index[chosen], self.shift[chosen]
        self.padded = not bool(self.mask.all())

    def join(self, others: Rows) -> None:
        """Take further rows in; none where all ended with their first token."""
        if not others:
            return
        rows, theirs = len(self) + len(others), others.used
        first: Layer = self.cache.layers[0]
        if rows > first.capacity[0] or theirs > self.mask.shape[1]:
            self._rebuild(rows, max(self.used, theirs))
        width = self.mask.shape[1]
        for mine, new in zip(self.cache.layers, others.cache.layers, strict=True):
            mine.show(rows, width)
            mine.place(slice(len(self), rows), new, theirs)
        mask = self.mask.new_zeros(len(others), width)
        mask[:, width - theirs :] = others.mask[:, -theirs:]
        self.numbers += others.numbers
        self.mask = torch.cat([self.mask, mask])
        self.tokens = torch.cat([self.tokens, others.tokens])
        self.index = torch.cat([self.index, others.index])
        self.shift = torch.cat([self.shift, others.shift])
        self.padded = not bool(self.mask.all())

    @property
    def used(self) -> int:
        """Columns from the first one on that a row uses."""
        return self.mask.shape[1] - int(self.mask.any(0).nonzero()[0])

    def _rebuild(self, rows: int, width: int) -> None:
        """Make room for so many rows and columns; columns that no row uses are left out."""
        kept = self.used
        layers = []
        for layer in self.cache.layers:
            # twice the rows, so that this does not happen for every newcomer
            made = Layer.of(layer.keys[0], len(self), width, spare=2 * rows - len(self))
            made.place(slice(0, len(self)), layer, kept)
            layers.append(made)
        self.cache = Cache(layers=layers)
        mask = self.mask.new_zeros(len(self), width)
        mask[:, width - kept :] = self.mask[:, -kept:]
        self.mask = mask

"""Prompts under way: their keys and values side by side, with room for the tokens to come."""

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
    """Keys and values of one layer, ``[rows, heads, tokens, size]``, written in place.

    A token costs one write, where concatenating would copy everything before it.

    Args:
        rows: How many there are.
        like: Keys or values of one row, ``[heads, tokens, size]``.
        length: Tokens that are to be written by the caller.
        room: Tokens that there is room for beyond those.
    """

    def __init__(self, rows: int = 0, like: Tensor | None = None, length: int = 0, room: int = ROOM) -> None:
        super().__init__()
        if like is not None:
            self.lazy_initialization(like, like)
            # zeros: what is masked is multiplied by zero, which garbage may survive
            made = [like.new_zeros(rows, like.shape[0], length + room, like.shape[2]) for _ in range(2)]
            self._held: tuple[Tensor, Tensor] | None = (made[0], made[1])
            self._show(length)
        else:
            self._held = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write further tokens; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = self.get_seq_length() if self._held is not None else 0
        end = begin + key_states.shape[-2]
        if self._held is None or end > self._held[0].shape[-2]:
            self._held = (self._roomy(key_states, self.keys, end), self._roomy(value_states, self.values, end))
        for held, new in zip(self._held, (key_states, value_states), strict=True):
            held[:, :, begin:end] = new
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows."""
        if self._held is not None:
            length = self.get_seq_length()
            self._held = (self._held[0][indices], self._held[1][indices])
            self._show(length)

    def _show(self, length: int) -> None:
        assert self._held is not None
        self.keys, self.values = self._held[0][:, :, :length], self._held[1][:, :, :length]

    def _roomy(self, new: Tensor, old: Tensor | None, length: int) -> Tensor:
        made = new.new_empty(*new.shape[:2], length + ROOM, new.shape[3])
        if self._held is not None and old is not None:
            made[:, :, : old.shape[-2]] = old
        return made


class Rows:
    """Prompts that are being answered, right-aligned in one batch.

    Args:
        numbers: Who each row is.
        cache: Their keys and values.
        mask: ``[rows, tokens]``, 1 where a token is, 0 where there is none.
        tokens: The newest token of each, ``[rows]``, not yet in the cache.
        index: That token's place among the row's own, ``[rows]``.
        shift: What is added to it to get its rotary position, ``[rows]``.
    """

    def __init__(
        self, numbers: Sequence[int], cache: Cache, mask: Tensor, tokens: Tensor, index: Tensor, shift: Tensor
    ) -> None:
        self.numbers, self.cache, self.mask = list(numbers), cache, mask
        self.tokens, self.index, self.shift = tokens, index, shift

    def __len__(self) -> int:
        """How many there are."""
        return len(self.numbers)

    def grow(self) -> tuple[Tensor, Tensor]:
        """Take the newest token in: tokens ``[rows, 1]`` and positions ``[4, rows, 1]`` of the next forward pass."""
        at = self.index + self.shift
        positions = torch.stack([self.index, at, at, at])[:, :, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self), 1)], dim=-1)
        self.index = self.index + 1
        return self.tokens[:, None], positions

    def prefix(self, place: int) -> tuple[tuple[Tensor, Tensor], ...]:
        """A copy of one row's keys and values, ``[heads, tokens, size]`` of each layer."""
        real = self.mask[place].bool()
        return tuple((layer.keys[place][:, real], layer.values[place][:, real]) for layer in self.cache.layers)

    def keep(self, places: Sequence[int]) -> None:
        """Let the other rows go."""
        if len(places) == len(self):
            return
        left = torch.tensor(list(places), dtype=torch.long, device=self.mask.device)
        self.numbers = [self.numbers[place] for place in places]
        self.cache.batch_select_indices(left)
        self.mask, self.tokens = self.mask[left], self.tokens[left]
        self.index, self.shift = self.index[left], self.shift[left]

    def join(self, others: Rows) -> Rows:
        """These rows, then others, in one batch; columns that no row uses are left out."""
        parts = (self, others)
        used = [int(part.mask.any(0).nonzero()[0]) for part in parts]
        widths = [part.mask.shape[1] - first for part, first in zip(parts, used, strict=True)]
        width = max(widths)
        mask = self.mask.new_zeros(len(self) + len(others), width)
        layers = []
        for number, layer in enumerate(self.cache.layers):
            made = Layer(len(self) + len(others), layer.keys[0], width)
            row = 0
            for part, size in zip(parts, widths, strict=True):
                theirs, end = part.cache.layers[number], row + len(part)
                made.keys[row:end, :, width - size :] = theirs.keys[:, :, -size:]
                made.values[row:end, :, width - size :] = theirs.values[:, :, -size:]
                mask[row:end, width - size :] = part.mask[:, -size:]
                row = end
            layers.append(made)
        return Rows(
            self.numbers + others.numbers,
            Cache(layers=layers),
            mask,
            torch.cat([self.tokens, others.tokens]),
            torch.cat([self.index, others.index]),
            torch.cat([self.shift, others.shift]),
        )

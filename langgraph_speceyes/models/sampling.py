"""The next token of each row, greedy or drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from langgraph_speceyes.errors import ArgumentError

LEAST = 1e-5
"""Temperatures below it are greedy: logits divided by them are more than a number can hold."""


def temperature_of(asked: float | None, default: float) -> float:
    """The temperature of a call.

    Args:
        asked: What the call brings, if it does.
        default: The model's own.

    Raises:
        ArgumentError: It is below 0, or no finite number.
    """
    temperature = float(default if asked is None else asked)
    if not 0 <= temperature < math.inf:
        raise ArgumentError("temperature", "a number of at least 0", temperature)
    return temperature if temperature >= LEAST else 0.0


class Sampler:
    """Draws each prompt's tokens from a generator of its own, so that no answer depends on its neighbours.

    Args:
        temperature: 0 is greedy.
        seed: Of the generators; None is another one for each.
    """

    def __init__(self, temperature: float, seed: int | None) -> None:
        self.temperature, self.seed = temperature, seed
        self._generators: dict[int, torch.Generator] = {}

    def __call__(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """Choose.

        Args:
            logits: Of the next tokens, ``[rows, vocabulary]``.
            rows: Whose they are.

        Returns:
            The tokens, ``[rows]``.
        """
        if self.temperature <= 0:
            return logits.argmax(-1)
        shares = (logits.float() / self.temperature).softmax(-1)
        drawn = [s.multinomial(1, generator=self._generator(row, s)) for s, row in zip(shares, rows, strict=True)]
        return torch.cat(drawn)

    def _generator(self, row: int, like: Tensor) -> torch.Generator:
        if row not in self._generators:
            made = self._generators[row] = torch.Generator(device=like.device)
            made.seed() if self.seed is None else made.manual_seed(self.seed)
        return self._generators[row]

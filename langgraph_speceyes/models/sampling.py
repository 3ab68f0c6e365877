"""The next token of each row, greedy or drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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

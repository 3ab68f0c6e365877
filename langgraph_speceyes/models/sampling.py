"""The next token of each row, greedy or drawn."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor

from langgraph_speceyes.errors import ArgumentError

_logger = logging.getLogger(__name__)

_TAKEN = frozenset(
    {
        *("max_tokens", "temperature", "seed", "logprobs", "top_logprobs", "tools", "template_options"),
        *("batch_key", "extra_body", "continue_final_message"),
        # which change nothing here, or are LangChain's own
        *("stream", "parallel_tool_calls", "strict", "ls_structured_output_format"),
    }
)

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


def warn_of_others(options: Iterable[str]) -> None:
    """Say once of each option of a call that it is not known, such as `top_p`: it changes nothing.

    Other chat models have it, so that no call fails for it.
    """
    for name in options:
        if name not in _TAKEN:
            _warn_once(name)


@cache
def _warn_once(name: str) -> None:
    _logger.warning("a LocalChatModel has no option %s, it is ignored; see max_tokens, temperature, seed, stop", name)


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

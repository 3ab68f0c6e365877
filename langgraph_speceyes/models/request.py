"""What an engine is asked for, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Candidate:
    """One entry of a step's distribution: token id and natural log-probability."""

    id: int
    logprob: float


@dataclass(frozen=True)
class Step:
    """One generated token with its K strongest candidates, strongest first (none when none were asked for).

    Attributes:
        chosen: The token.
        ids: The candidates' token ids, ``[K]``, int32.
        logprobs: Their natural log-probabilities, ``[K]``, float32.
    """

    chosen: Candidate
    ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]

    @property
    def top(self) -> list[Candidate]:
        """The candidates."""
        pairs = zip(self.ids.tolist(), self.logprobs.tolist(), strict=True)
        return [Candidate(id, logprob) for id, logprob in pairs]


@dataclass(frozen=True)
class Request:
    """One prompt.

    Attributes:
        text: The prompt as the chat template rendered it, one placeholder an image.
        images: The images, in the order of their placeholders.
        max_tokens: Most tokens to generate.
        top: Candidates to keep for each token; None keeps no log-probabilities at all.
        stop: The answer ends before the first of these.
        temperature: 0 is greedy.
        seed: Seed of the sampling, when the temperature is above 0.
        scope: Which requests it shares what is cached with.
        on_step: Called on the engine's thread after each token of this request, with its place in the answer; from the
            first one on again when the request had to be begun again.
        abandoned: Set once nobody waits for it any more: it ends at the next token.
    """

    text: str
    images: tuple[Image.Image, ...] = ()
    max_tokens: int = 512
    top: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int | None = None
    scope: str = ""
    on_step: Callable[[int, Step], None] | None = field(default=None, compare=False)
    abandoned: threading.Event = field(default_factory=threading.Event, compare=False)

    @property
    def sampling(self) -> tuple[float, int | None]:
        """What requests in one batch must have in common."""
        return self.temperature, self.seed


@dataclass(frozen=True)
class Completion:
    """What came of one request: text, tokens (end-of-sequence excluded), why it ended, and its prompt's tokens.

    Of the prompt's tokens, `cached_tokens` were found in the cache.
    """

    text: str
    steps: tuple[Step, ...]
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int = 0

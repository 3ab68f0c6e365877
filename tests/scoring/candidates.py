"""Candidates of tokens: logits with ties, tails and temperatures, as rows and in the layout of ``ChatOpenAI``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st


def entry(logprobs: Sequence[float], token: str = "t") -> dict[str, Any]:
    """One token and its candidates."""
    top = [{"token": f"c{rank}", "logprob": float(value)} for rank, value in enumerate(logprobs)]
    return {"token": token, "logprob": float(max(logprobs)), "top_logprobs": top}


def log_softmax(logits: Sequence[float]) -> list[float]:
    """Their log-probabilities, if there is nothing else."""
    most = max(logits)
    total = most + math.log(math.fsum(math.exp(value - most) for value in logits))
    return [value - total for value in logits]


@st.composite
def rows(draw: st.DrawFn, k: int, tied: int = 1) -> list[float]:
    """K logits in any order, the first ``tied`` of which lead: a flat, spread or steep tail at any temperature."""
    lead, temperature = draw(st.floats(-30, 30)), draw(st.sampled_from([0.05, 0.3, 1.0, 3.0, 20.0]))
    gap, slope = draw(st.floats(0, 8)), draw(st.sampled_from([0.0, 0.01, 0.2, 1.0]))
    noise = draw(st.lists(st.floats(0, 1), min_size=k - tied, max_size=k - tied))
    tail = [lead - (gap + slope * rank + more) / temperature for rank, more in enumerate(noise)]
    return draw(st.permutations([*[lead] * tied, *tail]))


@st.composite
def ties(draw: st.DrawFn, k: int, *, most: int) -> list[float]:
    """K logits of which between 2 and ``most`` lead together."""
    return draw(rows(k, draw(st.integers(2, most))))

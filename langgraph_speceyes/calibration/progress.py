"""How far evidence is, and how much of it is still to come."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DepthProgress", "Progress", "log_mean", "more_questions"]

_Floats = NDArray[np.float64]

_FURTHEST = 1 << 24  # questions: nothing further off is estimated


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a gate is that opens itself.

    Attributes:
        threshold: The lowest threshold opened; None while shut.
        next_threshold: The threshold that is opened next; None when the whole grid is open.
        questions: Questions seen.
        accepted: Share of them that `threshold` accepts; 0 while shut.
        reachable: Share of them that the lowest threshold accepts at which no more than the limit was seen to differ:
            what there may be to open in the end.
        differing: Estimate of the share of all questions whose answers differ and which `threshold` accepts.
        share: Largest evidence so far for the next threshold as a share of what opens it, on the logarithmic scale;
            0 to 1.
        more_questions: Roughly how many more questions open it at the audit rate last in force, if answers go on to
            differ as often as so far; None where that opens nothing.
        words: The same in a sentence.
    """

    threshold: float | None
    next_threshold: float | None
    questions: int
    accepted: float
    reachable: float
    differing: float
    share: float
    more_questions: int | None
    words: str


@dataclass(frozen=True, slots=True)
class DepthProgress:
    """How far one depth is of a gate that opens itself, as shares of all questions.

    Attributes:
        depth: From 0.
        threshold: The threshold opened, which is that of all depths; None while shut.
        accepted: What the depth answers there; 0 while shut.
        differing: Estimate of what it answers there and the agent answers otherwise.
        next_accepted: What it would answer at the next threshold.
        next_differing: Estimate of what of that differs: what keeps the gate from opening further.
    """

    depth: int
    threshold: float | None
    accepted: float
    differing: float
    next_accepted: float
    next_differing: float


def more_questions(
    log_wealth: _Floats, fractions: _Floats, max_loss: float, rate: float, loss: float, goal: float
) -> int | None:
    """Questions until a threshold opens, at the growth that the differing so far would give; None: not to come.

    Args:
        log_wealth: Logarithm of what each bettor has, ``[f]``.
        fractions: Their shares of the largest bet, ``[f]``.
        max_loss: The limit.
        rate: The audit rate in force.
        loss: Mean of ``Z`` at the threshold so far.
        goal: Logarithm of the wealth that opens it, above the present one.
    """
    share = min(float(loss) * rate, 1.0)  # how often Z is 1/r
    bets = fractions / (1 / rate - max_loss)
    growth = (1 - share) * np.log1p(bets * max_loss) + share * np.log1p(-fractions)
    if growth.max() <= 0:
        return None

    def there(more: int) -> bool:
        return float(log_mean(log_wealth + more * growth)) >= goal

    # convex in `more` and below the goal at 0: once there, always there
    enough = 1
    while not there(enough):
        enough *= 2
        if enough > _FURTHEST:
            return None
    return bisect_left(range(enough), True, lo=1, key=there)


def log_mean(log_wealth: _Floats) -> _Floats:
    """``ln mean exp`` over the last axis."""
    most = log_wealth.max(axis=-1)
    return np.asarray(most + np.log(np.exp(log_wealth - most[..., None]).mean(axis=-1)))

"""Whether accepted answers have begun to differ from the agent's too often: a Shiryaev-Roberts e-detector.

For each ``lambda_j``, with ``Z`` the loss seen on a question, ``m`` the limit and ``r`` the audit rate in force:

    R_j <- (1 + lambda_j r (Z - m)) (R_j + r),    level = mean over j of R_j

A factor's expectation is at most 1 while the loss expected given the past is at most ``m``, so the expected level is
at most the sum of the rates. As that sum grows to N, the level ever reaches ``N / delta`` with probability ``delta`` at
most (Ville's inequality for the level less that sum). Reaching N alone may happen without a cause about once in N
audits (the average run length is N at least): that is a warning.

What is observed is every question that is asked while the gate is open, with ``Z = D A / a`` if the gate's threshold
accepts it and 0 otherwise (:meth:`Opening.observe` returns it), and ``m`` is the opening's own limit, a share of all
questions. That tests the promise itself. A limit among accepted answers would be ``m`` over the share accepted, which
would have to be estimated and would drift; here it follows from the questions as they come: between two audits at rate
r the level shrinks as often as questions were asked. With ``r = 1`` and every observation an audited answer it is the
detector of single audits, and ``m`` the limit among these.

Source: e-detectors, Shin, Ramdas and Rinaldo (arXiv 2203.03532).
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.errors import ArgumentError

__all__ = ["LAMBDAS", "Detector"]

#: Sizes of the bets, in equal parts: the larger, the sooner a large change is found.
LAMBDAS = (2.0, 5.0, 10.0, 20.0, 30.0)

_LARGEST = 0.9  # most that a question without loss may take from the level
_FULL = 1e300


class Detector:
    """The level of evidence that the limit is no longer kept.

    Args:
        max_loss: The limit ``m``, strictly between 0 and 1.
        false_alarms: ``delta``: how probable an alarm without a cause is within the horizon.
        horizon: ``N``, in audits: questions weighted by the audit rate in force, so 20,000 questions at a rate of 0.1
            for 2,000.
        lambdas: Sizes of the bets, above 0; cut at ``0.9 / max_loss``.

    Raises:
        ArgumentError: An argument is out of its range; the error names it.
    """

    def __init__(
        self,
        max_loss: float,
        *,
        false_alarms: float = 0.05,
        horizon: int = 2000,
        lambdas: Sequence[float] = LAMBDAS,
    ) -> None:
        for name, value in (("max_loss", max_loss), ("false_alarms", false_alarms)):
            if not isinstance(value, Real) or not 0 < value < 1:
                raise ArgumentError(name, "a number strictly between 0 and 1", repr(value))
        if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
            raise ArgumentError("horizon", "a whole number of at least 1", repr(horizon))
        sizes: NDArray[np.float64] = np.array(lambdas, dtype=np.float64)
        if sizes.ndim != 1 or not sizes.size or not np.all((sizes > 0) & np.isfinite(sizes)):
            raise ArgumentError("lambdas", "numbers above 0", repr(lambdas))
        self.max_loss, self.false_alarms, self.horizon = float(max_loss), float(false_alarms), horizon
        self._lambdas = sizes
        self._bets = np.minimum(sizes, _LARGEST / self.max_loss)
        self._levels = np.zeros(sizes.size)
        self._highest = 0.0
        self._n = 0

    @property
    def level(self) -> float:
        """The evidence now, >= 0."""
        return float(self._levels.mean())

    @property
    def observed(self) -> int:
        """Observations so far."""
        return self._n

    @property
    def warning_level(self) -> float:
        """``N``: what is ever reached without a cause about once in N audits."""
        return float(self.horizon)

    @property
    def alarm_level(self) -> float:
        """``N / delta``."""
        return self.horizon / self.false_alarms

    @property
    def warned(self) -> bool:
        """Whether the level was ever at `warning_level`."""
        return self._highest >= self.warning_level

    @property
    def alarmed(self) -> bool:
        """Whether the level was ever at `alarm_level`."""
        return self._highest >= self.alarm_level

    def observe(self, loss: float, *, rate: float = 1.0) -> float:
        """Take in one question.

        Args:
            loss: ``Z``: with ``rate=1`` whether the answers differ, as a truth value or 0 or 1; otherwise 0, or 1 over
                the probability with which the difference was to be seen. At most ``1 / rate``.
            rate: The audit rate in force, fixed before the question was seen, in (0, 1].

        Returns:
            The level.

        Raises:
            ArgumentError: An argument is out of its range.
        """
        if not 0 < rate <= 1:
            raise ArgumentError("rate", "a number in (0, 1]", rate)
        if not 0 <= loss <= (1 + 1e-12) / rate:
            raise ArgumentError("loss", f"a number from 0 to 1 / rate ({1 / rate:g})", loss)
        factors = 1 + self._bets * rate * (float(loss) - self.max_loss)
        self._levels = np.minimum(factors * (self._levels + rate), _FULL)
        self._n += 1
        level = self.level
        self._highest = max(self._highest, level)
        return level

    def to_dict(self) -> dict[str, Any]:
        """The state as plain JSON; :meth:`from_dict` goes on from it to the last bit."""
        return {
            "max_loss": self.max_loss,
            "false_alarms": self.false_alarms,
            "horizon": self.horizon,
            "lambdas": self._lambdas.tolist(),
            "levels": self._levels.tolist(),
            "highest": self._highest,
            "observed": self._n,
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Detector:
        """The detector whose :meth:`to_dict` this is.

        Raises:
            ArgumentError: It is none.
        """
        try:
            self = cls(
                state["max_loss"],
                false_alarms=state["false_alarms"],
                horizon=state["horizon"],
                lambdas=state["lambdas"],
            )
            self._levels = np.array(state["levels"], dtype=np.float64).reshape(self._lambdas.size)
            self._highest, self._n = float(state["highest"]), int(state["observed"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError("state", "the state of a detector", f"{type(error).__name__}: {error}") from error
        return self

"""A threshold that opens on evidence which may be looked at after every question, without labels.

With ``D = 1[the two answers differ]`` the accuracy lost at a threshold t is at most ``L(t) = E[1{s >= t} D]``, a share
of all questions. Whether they differ is known wherever the agent has answered too: in shadow, on fallbacks, and on
accepted answers that are audited. For each threshold of a grid set down beforehand a bettor bets against ``L(t) >= m``:

    W_t <- mean over f of  prod (1 + f / (1/r - m) * (m - Z_t)),    Z_t = 1{s >= t} D A / a

``A`` says whether D is known, ``a`` with which probability that was to happen: 1 where the agent's answer was there
anyway, otherwise the audit rate ``r`` in force. The gate opens downwards along the grid while the largest ``W_t`` so
far reaches ``1 / delta``.

Why this holds at every moment. ``r`` was fixed before the question was seen, so the bet ``f / (1/r - m)`` was too, and
given the past, score and answers ``E[A] = a``, so ``E[Z_t]`` given the past is ``L(t)``. As ``Z_t <= 1/r``, no factor
is below ``1 - f > 0``; while ``L(t) >= m``, its expectation is at most 1. So ``W_t`` is a nonnegative supermartingale
from 1, and ever reaches ``1 / delta`` with probability ``delta`` at most (Ville). ``L`` only grows on the way down: the
promise is broken only if the first threshold of the grid with ``L(t) > m`` is passed, so with probability ``delta`` at
most, however long and however often one looks. The bet must not use ``a``: it depends on the score, and a bet that is
larger on fallbacks (where ``Z_t`` is mostly 0) than on accepted answers makes money from answers that differ too often.

**With several depths** (looks) there is one threshold for all of them, a path on which they go down together, and the
promise is on what they lose together: ``Z_t`` is that of the first depth whose score reaches t, 0 where none does. The
loss need not grow on the way down then, and it does not have to: thresholds are passed one after the other, so that a
threshold above the limit is in force only if the first such one of the grid was passed. What is needed is always known:
at a threshold below the one in force the first depth that accepts is one that was asked.

Sources: betting, Waudby-Smith and Ramdas (arXiv 2010.09686); fixed sequence, Learn then Test (arXiv 2110.01052).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langgraph_speceyes.calibration.progress import DepthProgress, Progress, log_mean, more_questions
from langgraph_speceyes.errors import ArgumentError

__all__ = ["FRACTIONS", "OPENING_GRID", "Opening", "Progress"]

_Floats = NDArray[np.float64]

#: Thresholds to open along when no others are given, descending, ``[66]``: even in the logit from 12 to -1.
OPENING_GRID: _Floats = 1 / (1 + np.exp(-np.linspace(12, -1, 66)))
OPENING_GRID.flags.writeable = False

#: Shares of the largest possible bet, in equal parts: small ones survive answers that differ, large ones grow fast.
FRACTIONS = (0.15, 0.4, 0.7, 0.95)

_AT_ONCE = 1024  # questions of `observe_many` in one table


class Opening:
    """The evidence of a stream of questions, and the threshold that it opens.

    Args:
        max_loss: The limit ``m``: the share of all questions whose accepted answer may differ from the agent's,
            strictly between 0 and 1.
        confidence: ``1 - delta``, strictly between 0 and 1.
        grid: Thresholds, ``[g]``, strictly between 0 and 1, in any order; set down without looking at outcomes.
        fractions: Shares of the largest bet, each strictly between 0 and 1.
        depths: How many answers a question may have, one after the other, >= 1.

    Raises:
        ArgumentError: An argument is out of its range; the error names it.
    """

    def __init__(
        self,
        max_loss: float,
        confidence: float = 0.9,
        *,
        grid: ArrayLike = OPENING_GRID,
        fractions: Sequence[float] = FRACTIONS,
        depths: int = 1,
    ) -> None:
        for name, value in (("max_loss", max_loss), ("confidence", confidence)):
            if not isinstance(value, Real) or not 0 < value < 1:
                raise ArgumentError(name, "a number strictly between 0 and 1", repr(value))
        if isinstance(depths, bool) or not isinstance(depths, int) or depths < 1:
            raise ArgumentError("depths", "a whole number of at least 1", repr(depths))
        self.max_loss, self.confidence, self.depths = float(max_loss), float(confidence), depths
        self._grid = np.unique(_inside("grid", grid))[::-1]
        self._fractions = _inside("fractions", fractions)
        self._n = 0
        self._opened = 0
        self._rate = 1.0
        self._log_wealth = np.zeros((self._grid.size, self._fractions.size))
        self._best = np.zeros(self._grid.size)
        self._above = np.zeros(self._grid.size, dtype=np.int64)
        self._loss = np.zeros(self._grid.size)
        self._above_by = np.zeros((depths, self._grid.size), dtype=np.int64)
        self._loss_by = np.zeros((depths, self._grid.size))

    @property
    def questions(self) -> int:
        """Questions seen."""
        return self._n

    @property
    def grid(self) -> _Floats:
        """The thresholds, descending, ``[g]``."""
        return self._grid.copy()

    @property
    def threshold(self) -> float | None:
        """The lowest threshold opened; None while shut. It never rises."""
        return float(self._grid[self._opened - 1]) if self._opened else None

    @property
    def accepted(self) -> float:
        """Share of the questions seen that `threshold` accepts; 0 while shut."""
        return float(self._above[self._opened - 1] / self._n) if self._opened else 0.0

    @property
    def reachable(self) -> float:
        """Share of them that the lowest threshold accepts at which no more than the limit was seen to differ."""
        within = int((self._loss <= self.max_loss * self._n).cumprod().sum())
        return float(self._above[within - 1] / self._n) if within and self._n else 0.0

    @property
    def evidence(self) -> _Floats:
        """``W_t`` now, ``[g]``."""
        return np.exp(log_mean(self._log_wealth))

    @property
    def by_depth(self) -> list[DepthProgress]:
        """How far each depth is: what it answers and what of that differs, at the threshold and at the next one."""
        at, last = self._opened, self._grid.size - 1

        def share(table: NDArray[Any], depth: int, step: int) -> float:
            return float(table[depth, step] / self._n) if self._n and step >= 0 else 0.0

        return [
            DepthProgress(
                depth=depth,
                threshold=self.threshold,
                accepted=share(self._above_by, depth, at - 1),
                differing=share(self._loss_by, depth, at - 1),
                next_accepted=share(self._above_by, depth, min(at, last)),
                next_differing=share(self._loss_by, depth, min(at, last)),
            )
            for depth in range(self.depths)
        ]

    def observe(
        self,
        score: float | Sequence[float | None] | None,
        differs: bool | Sequence[bool | None] | None = None,
        *,
        rate: float = 1.0,
        accepted: bool = False,
        audited: bool = True,
    ) -> float:
        """Take in one question.

        Args:
            score: The speculation's score, 0 to 1. None, 0 or NaN for a question that no threshold accepts: without a
                speculation, screened out by the judge, left to the agent by intake. A sequence of them with several
                depths; None for those that were not asked.
            differs: Whether the answers differ; what could not be decided does. Not looked at where it is not known. A
                sequence where `score` is one.
            rate: The audit rate in force, fixed before the question was seen: 1 while shut; while open the share of
                accepted answers audited, **also when this question fell back**. In (0, 1].
            accepted: Whether the speculation was returned, so that the agent's answer is known by audit only.
            audited: Whether an accepted answer was chosen for audit.

        Returns:
            ``Z_t`` at the threshold in force before this question; 0 while shut.

        Raises:
            ArgumentError: An argument is out of its range.
        """
        before = self._opened
        known = audited or not accepted
        scores = score if isinstance(score, Sequence) else [score]
        found = differs if isinstance(differs, Sequence) else [differs]
        if len(scores) > self.depths or len(found) != len(scores):
            expected = f"scores of at most {self.depths} depths, and as many values of differs"
            raise ArgumentError("score", expected, f"{len(scores)} and {len(found)}")
        values = [math.nan if one is None else float(one) for one in scores]
        for value in values:
            if not 0 <= value <= 1 and not math.isnan(value):
                raise ArgumentError("score", "a number in [0, 1] or None", value)
        if not 0 < rate <= 1:
            raise ArgumentError("rate", "a number in (0, 1]", rate)
        if known and any(one is None and value > 0 for one, value in zip(found, values, strict=True)):
            raise ArgumentError("differs", "whether the answers differ, as the agent's is known", None)
        losses = [float(bool(one) and known) / (rate if accepted else 1.0) for one in found]
        self._one(values, losses, float(rate))
        if not before:
            return 0.0
        at = self._grid[before - 1]
        return next((loss for value, loss in zip(values, losses, strict=True) if value >= at), 0.0)

    def observe_many(
        self,
        scores: ArrayLike | Sequence[float | None],
        differs: ArrayLike,
        *,
        rate: ArrayLike = 1.0,
        accepted: ArrayLike = False,
        audited: ArrayLike = True,
    ) -> None:
        """Take in questions in their order; the same, to the last bit, as :meth:`observe` of each.

        Args:
            scores: As in :meth:`observe`, ``[n]``.
            differs: Whether the answers differ, ``[n]``; any value where that is not known.
            rate: The audit rates in force, ``[n]`` or one for all.
            accepted: Which speculations were returned, ``[n]`` or one for all.
            audited: Which accepted answers were chosen for audit, ``[n]`` or one for all.

        Raises:
            ArgumentError: Scores or rates are out of range, or lengths differ; or there are several depths.
        """
        if self.depths > 1:
            raise ArgumentError("depths", "1 for questions in columns", self.depths)
        values = np.array(scores, dtype=np.float64)  # None becomes NaN
        if np.any((values < 0) | (values > 1)):
            raise ArgumentError("scores", "numbers in [0, 1] or None", "others")
        columns = []
        for name, given in (("differs", differs), ("rate", rate), ("accepted", accepted), ("audited", audited)):
            column = np.asarray(given, dtype=np.float64 if name == "rate" else bool)
            if column.shape not in ((), values.shape) or (name == "differs" and column.shape != values.shape):
                raise ArgumentError(name, f"{values.size} values", f"shape {column.shape}")
            columns.append(np.broadcast_to(column, values.shape))
        differ, rates, took, chosen = columns
        if not np.all((rates > 0) & (rates <= 1)):
            raise ArgumentError("rate", "numbers in (0, 1]", "others")
        losses = (differ & (chosen | ~took)) / np.where(took, rates, 1.0)
        for start in range(0, values.size, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            self._many(values[part], losses[part], rates[part])

    def _one(self, scores: Sequence[float], losses: Sequence[float], rate: float) -> None:
        """One question: score and ``D A / a`` by depth, and rate in force.

        What :meth:`_many` does of one depth, in a quarter of the time.
        """
        stays, falls = self._steps(np.full(len(scores), rate), np.array(losses))
        below = self._grid.size
        for depth, (score, loss) in enumerate(zip(scores, losses, strict=True)):
            # thresholds from here on accept it, down to those that an earlier depth has accepted at
            first = self._grid.size if math.isnan(score) else int(np.searchsorted(-self._grid, -score))
            mine = slice(first, below)
            if first < below:
                self._log_wealth[mine] += falls[depth] if loss > 0 else stays[depth]
                self._above[mine] += 1
                self._loss[mine] += loss
                self._above_by[depth, mine] += 1
                self._loss_by[depth, mine] += loss
                below = first
        self._log_wealth[:below] += stays[0]
        self._count(1, rate, log_mean(self._log_wealth))

    def _many(self, scores: _Floats, losses: _Floats, rates: _Floats) -> None:
        """Questions in their order, ``[n]``; see :meth:`_one`."""
        above = scores[:, None] >= self._grid  # False for NaN, as it must be
        stays, falls = self._steps(rates, losses)
        steps = np.where((above & (losses > 0)[:, None])[:, :, None], falls[:, None, :], stays[:, None, :])
        path = np.cumsum(np.concatenate([self._log_wealth[None], steps]), axis=0)[1:]
        self._log_wealth = path[-1]
        self._above += above.sum(axis=0)
        self._loss = np.cumsum(np.concatenate([self._loss[None], above * losses[:, None]]), axis=0)[-1]
        # of one depth, as `observe_many` knows no other
        self._above_by[0], self._loss_by[0] = self._above, self._loss
        self._count(scores.size, float(rates[-1]), log_mean(path).max(axis=0))

    def _steps(self, rates: _Floats, losses: _Floats) -> tuple[_Floats, _Floats]:
        """Logarithms of the factors without and with the loss, ``[n, f]`` each."""
        bets = self._fractions / (1 / rates[:, None] - self.max_loss)
        # never below 1 - f; rounding must not say otherwise
        least = (1 - self._fractions) * (1 - 1e-12)
        falls = np.log(np.maximum(1 + bets * (self.max_loss - losses[:, None]), least))
        return np.log1p(bets * self.max_loss), falls

    def _count(self, questions: int, rate: float, evidence: _Floats) -> None:
        self._n += questions
        self._rate = rate
        self._best = np.maximum(self._best, evidence)
        reached = self._best[self._opened :] >= self._goal
        self._opened += int(reached.cumprod().sum())

    @property
    def _goal(self) -> float:
        return -math.log1p(-self.confidence)

    @property
    def progress(self) -> Progress:
        """How far it is, and what it still waits for."""
        n, at = self._n, self._opened
        accepted, reachable = self.accepted, self.reachable
        differing = float(self._loss[at - 1] / n) if at else 0.0
        here = f"open from {self.threshold:.6g} on, accepting {accepted:.0%} of {n} questions" if at else "shut"
        if at == self._grid.size:
            words = f"{here}; the whole grid is open"
            return Progress(self.threshold, None, n, accepted, reachable, differing, 1.0, 0, words)
        nearest = float(self._grid[at])
        share = min(max(float(self._best[at]) / self._goal, 0.0), 1.0)
        share_lost = self._loss[at] / n if n else 0.0
        more = more_questions(self._log_wealth[at], self._fractions, self.max_loss, self._rate, share_lost, self._goal)
        more = more if n else None
        if more is None:
            rest = "at the present rate of differing answers that is not to come" if n else "no question was seen yet"
        else:
            rest = f"about {more} more question{'s' * (more != 1)}, if answers go on to differ as often as so far"
        words = f"{here}; the evidence for {nearest:.6g} is at {share:.0%} of what opens it: {rest}"
        return Progress(self.threshold, nearest, n, accepted, reachable, differing, share, more, words)

    def to_dict(self) -> dict[str, Any]:
        """The state as plain JSON; :meth:`from_dict` goes on from it to the last bit."""
        several = {"above_by": self._above_by.tolist(), "loss_by": self._loss_by.tolist()}
        return {
            "max_loss": self.max_loss,
            "confidence": self.confidence,
            "grid": self._grid.tolist(),
            "fractions": self._fractions.tolist(),
            "questions": self._n,
            "opened": self._opened,
            "rate": self._rate,
            "log_wealth": self._log_wealth.tolist(),
            "best": self._best.tolist(),
            "above": self._above.tolist(),
            "loss": self._loss.tolist(),
            **({"depths": self.depths, **several} if self.depths > 1 else {}),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Opening:
        """The opening whose :meth:`to_dict` this is.

        Raises:
            ArgumentError: It is none.
        """
        try:
            self = cls(
                state["max_loss"],
                state["confidence"],
                grid=state["grid"],
                fractions=state["fractions"],
                depths=state.get("depths", 1),
            )
            cells = (self._grid.size, self._fractions.size)
            self._n, self._opened, self._rate = int(state["questions"]), int(state["opened"]), float(state["rate"])
            self._log_wealth = np.array(state["log_wealth"], dtype=np.float64).reshape(cells)
            self._best = np.array(state["best"], dtype=np.float64).reshape(cells[0])
            self._above = np.array(state["above"], dtype=np.int64).reshape(cells[0])
            self._loss = np.array(state["loss"], dtype=np.float64).reshape(cells[0])
            by, shape = (state.get("above_by", self._above), state.get("loss_by", self._loss)), self._above_by.shape
            self._above_by = np.array(by[0], dtype=np.int64).reshape(shape)
            self._loss_by = np.array(by[1], dtype=np.float64).reshape(shape)
        except (KeyError, TypeError, ValueError) as error:
            raise ArgumentError("state", "the state of an opening", f"{type(error).__name__}: {error}") from error
        return self


def _inside(argument: str, values: ArrayLike) -> _Floats:
    expected = "numbers strictly between 0 and 1"
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(argument, expected, type(values).__name__) from error
    if array.ndim != 1 or not array.size or not np.all((array > 0) & (array < 1)):
        raise ArgumentError(argument, expected, f"an array of shape {array.shape}, or others among them")
    return array

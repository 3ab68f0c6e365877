"""Which depths a question may come to: all of them, or those that pay by what questions have cost."""

from __future__ import annotations

import logging
import threading
from collections import deque
from itertools import combinations
from random import Random
from typing import Literal

from langgraph_speceyes.choices import DepthChoice
from langgraph_speceyes.front.order import DOUBT, EVERY, LEAST, WINDOW, WINDOW_S, mean, share
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import Decision

Free = Literal["any", "last", "none"]
"""Which looks may be left out: any of them, the last ones, or none."""

_logger = logging.getLogger(__name__)


def free_to_leave(gate: Gate) -> Free:
    """Which looks may be left out without voiding what was promised for a gate.

    A question that comes to one depth less, at the end, is the agent's where that depth would have answered: there are
    fewer bypasses and no others, so no more is lost. This is so where gains make up for nothing (``harm``), and where
    the calibration has tested every shorter chain along with the whole (``shorter``); a net loss may have been paid for
    by gains of the depth that is left out.

    A question that is not asked about in between comes to a *later* depth, which may have it wrong where the one left
    out had it right. Only limits that each depth keeps by itself (``separate``) allow for that.
    """
    made = gate.calibration or {}
    if made.get("method") != "guarantee" or made.get("found") == "separate":
        return "any"
    return "last" if made.get("shorter") else "none"


def ways_to_leave(looks: int, free: Free) -> list[tuple[int, ...]]:
    """The sets of depths that may be left out, the empty one first."""
    every = range(1, looks + 1)
    if free == "any":
        return [chosen for count in range(looks + 1) for chosen in combinations(every, count)]
    return [tuple(every[looks - count :]) for count in range(looks + 1)] if free == "last" else [()]


class DepthChooser:
    """Leaves out the looks that do not pay: those with ``alpha_j V_{j+1} <= c_j`` (:mod:`..calibration.latency`).

    ``c_j`` is the mean of what look, speculation and gate took at depth j, ``alpha_j`` the share that its gate has
    accepted of the questions that came there, and ``V_{j+1}`` what is expected from the next depth on, the agent's mean
    at the end. They are taken from the newest questions. A depth is left out once :data:`LEAST` questions have come to
    it, and as long as it would not pay by :data:`DOUBT` standard errors more; now and then a question comes to it all
    the same, so that a change is noticed.

    The answer before the first look is always asked for. Safe to share between threads.

    Args:
        looks: How many there are.
        free: Which may be left out.
    """

    def __init__(self, looks: int, free: Free) -> None:
        self.looks, self.free = looks, free
        self._seconds = {depth: deque[float](maxlen=WINDOW_S) for depth in range(1, looks + 1)}
        self._accepted = {depth: deque[bool](maxlen=WINDOW) for depth in range(1, looks + 1)}
        self._agent = deque[float](maxlen=WINDOW_S)
        self._learned, self._until_other = 0, EVERY
        self._left: tuple[int, ...] = ()
        # the same for every graph, so that a run can be repeated
        self._random = Random(0)
        self._lock = threading.Lock()

    def choose(self) -> DepthChoice:
        """Which depths the next question is not to come to, and what that follows from."""
        with self._lock:
            left, value = self._not_paying()
            explored = False
            if left:
                self._until_other -= 1
                if self._until_other <= 0:
                    self._until_other = self._random.randrange(EVERY // 2, EVERY + EVERY // 2 + 1)
                    left, explored = (), True
            return DepthChoice(
                left_out=list(left),
                explored=explored,
                questions=self._learned,
                seconds={str(depth): _mean(found) for depth, found in self._seconds.items() if found},
                alpha={str(depth): _mean(found) for depth, found in self._accepted.items() if found},
                behind={str(depth): seconds for depth, seconds in value.items()},
            )

    def learn(self, decision: Decision) -> None:
        """Take in what a question cost."""
        with self._lock:
            if "agent" in decision["seconds"]:
                self._agent.append(decision["seconds"]["agent"])
            choice = decision.get("depth_choice")
            for one in decision.get("depths", ()):
                # a run that stopped in a graph with more looks may end in this one
                known = one["depth"] in self._seconds
                if known and not (choice and one["depth"] in choice["left_out"]):
                    # a look that fails or shows nothing costs its time, and accepts nothing
                    self._seconds[one["depth"]].append(one["seconds"])
                    self._accepted[one["depth"]].append(bool(one["accepted"]))
            self._learned += 1
            left, value = self._not_paying()
            if left != self._left:
                self._tell(left, value)
                self._left = left

    def _not_paying(self) -> tuple[tuple[int, ...], dict[int, float]]:
        """Depths that do not pay and may be left out, and the seconds behind each, as far as they are known."""
        last = mean(self._agent)
        if last is None:
            return (), {}
        value, behind, left = last.mean, {}, list[int]()
        for depth in range(self.looks, 0, -1):
            behind[depth] = value
            cost = mean(self._seconds[depth])
            if cost is None:
                continue
            alpha = share(self._accepted[depth])
            best = min(alpha.mean + DOUBT * alpha.error, 1.0) * value - (cost.mean - DOUBT * cost.error)
            known = len(self._accepted[depth]) >= LEAST
            only_last = self.free == "last" and len(left) < self.looks - depth
            if known and best <= 0 and self.free != "none" and not only_last:
                left.insert(0, depth)
            else:
                value = cost.mean + (1 - alpha.mean) * value
        return tuple(left), behind

    def _tell(self, left: tuple[int, ...], behind: dict[int, float]) -> None:
        for depth in sorted({*left} ^ {*self._left}):
            alpha, cost = _mean(self._accepted[depth]), _mean(self._seconds[depth])
            what = "is left out: it does not pay" if depth in left else "is taken again: it may pay"
            _logger.info(
                "depth %d %s, %.2f of the questions accepted there, %.4g s behind it, at %.4g s each",
                depth,
                what,
                alpha,
                behind[depth],
                cost,
            )


def _mean(values: deque[float] | deque[bool]) -> float:
    return sum(values) / len(values)

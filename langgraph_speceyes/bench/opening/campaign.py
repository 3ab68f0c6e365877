"""Many gates through many streams, and many detectors: the figures that the documentation quotes."""

from __future__ import annotations

from typing import Any

import numpy as np

from langgraph_speceyes.bench.opening.streams import ORDERS, Outcomes, follow
from langgraph_speceyes.calibration.detector import Detector
from langgraph_speceyes.traffic.opening import SelfOpening

QUESTIONS = 2500

_NEAR = 0.9  # of what could be accepted


def campaign(
    outcomes: Outcomes, settings: SelfOpening, *, order: str = "shuffled", runs: int, questions: int = QUESTIONS
) -> dict[str, Any]:
    """Figures of many gates, each in a stream of its own.

    Args:
        outcomes: The population.
        settings: The gate's.
        order: One of :data:`~langgraph_speceyes.bench.opening.streams.ORDERS`.
        runs: How many gates.
        questions: Length of a stream.

    Returns:
        By name: shares of runs, medians and 90th percentiles of questions (infinite where half or a tenth never got
        there), means over the runs. ``above`` is the share that was ever open at a threshold whose loss in the
        population is above the limit; ``over`` the share of runs in which more than the limit differed, of all the
        questions of the stream, and ``over_unnoticed`` of those without a close.
    """
    grid = np.unique(settings.fresh().opening.grid)
    could = max((outcomes.accepted(t) for t in grid if outcomes.loss(t) <= settings.max_loss), default=0.0)
    opened, near, accepted, above, closed, shut = [], [], [], 0, [], 0
    served, lost, differing, audits, rates, delays = [], [], [], [], [], []
    change = questions - questions * 2 // 5 if order == "hard last" else 0
    for run in range(runs):
        rng = np.random.default_rng([run, questions])
        stream = ORDERS[order](outcomes, questions, rng)
        course = follow(outcomes, stream, settings, rng)
        in_force = [float(t) for t in np.unique(course.thresholds[~np.isnan(course.thresholds)])]
        last = None if np.isnan(course.thresholds[-1]) else float(course.thresholds[-1])
        opened.append(course.first("opened") or np.inf)
        good = [t for t in in_force if outcomes.accepted(t) >= _NEAR * could]
        near.append(1 + int(np.argmax(course.thresholds <= max(good))) if good else np.inf)
        accepted.append(outcomes.accepted(last))
        above += any(outcomes.loss(t) > settings.max_loss for t in in_force)
        closes = [at for name, at in course.events if name == "closed"]
        closed.append(len(closes))
        shut += last is None
        delays += [at - change for at in closes[:1] if change and at > change]
        served.append(course.accepted.mean())
        lost.append((course.accepted * outcomes.lost[stream]).mean())
        differing.append((course.accepted & outcomes.differs[stream]).mean())
        audits.append(course.audits)
        rates.append(course.rates[-1])
    return {
        "order": order,
        "runs": runs,
        "questions": questions,
        "could_accept": could,
        "above": above / runs,
        "opens_median": _quantile(opened, 0.5),
        "opens_p90": _quantile(opened, 0.9),
        "near_median": _quantile(near, 0.5),
        "near_p90": _quantile(near, 0.9),
        "accepts_median": float(np.median(accepted)),
        "accepts_mean": float(np.mean(accepted)),
        "ever_closed": float(np.mean(np.array(closed) > 0)),
        "over": float(np.mean(np.array(differing) > settings.max_loss)),
        "over_unnoticed": float(np.mean((np.array(differing) > settings.max_loss) & (np.array(closed) == 0))),
        "shut_at_the_end": shut / runs,
        "closes_after_median": _quantile(delays, 0.5) if delays else None,
        "bypassed": float(np.mean(served)),
        "accuracy_lost": float(np.mean(lost)),
        "accuracy_lost_worst": float(np.max(lost)),
        "differing": float(np.mean(differing)),
        "differing_p90": _quantile(differing, 0.9),
        "audits": float(np.mean(audits)),
        "last_rate": float(np.mean(rates)),
    }


def alarms(
    before: float, after: float, *, change: int, audits: int, runs: int, max_loss: float = 0.03
) -> dict[str, Any]:
    """Figures of many detectors, fed with audited accepted answers alone.

    Args:
        before: How often the answers differ at first.
        after: How often from the change on.
        change: Audits before the change.
        audits: Audits in all.
        runs: How many detectors.
        max_loss: Their limit among audits.

    Returns:
        By name: shares of runs warned and closed before the change, and audits from the change to the alarm, those
        that had it before left out.
    """
    early, warned, delays = 0, 0, []
    for run in range(runs):
        rng = np.random.default_rng([run, audits])
        rates = np.where(np.arange(audits) < change, before, after)
        detector, at, noticed = Detector(max_loss), np.inf, np.inf
        for number, differs in enumerate(rng.random(audits) < rates, 1):
            detector.observe(float(differs))
            if detector.warned:
                noticed = min(noticed, number)
            if detector.alarmed:
                at = number
                break
        early += at <= change
        warned += noticed <= change
        if at > change:
            delays.append(at - change)
    return {
        "runs": runs,
        "before": before,
        "after": after,
        "change": change,
        "false_alarms": early / runs,
        "false_warnings": warned / runs,
        "delay_median": _quantile(delays, 0.5) if audits > change else None,
        "delay_p90": _quantile(delays, 0.9) if audits > change else None,
    }


def _quantile(values: list[Any], share: float) -> float:
    """A value of the list, so that infinite ones do no harm."""
    return float(np.quantile(values, share, method="higher")) if values else float("inf")

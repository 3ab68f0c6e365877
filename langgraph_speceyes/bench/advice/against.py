"""What speaks against a bypass, in sentences, from the evidence alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from langgraph_speceyes.bench.compositions import (
    Composition,
    Terms,
    answered_depths,
    available,
    losses,
    steps_of,
)
from langgraph_speceyes.bench.depth_answers import DepthAnswers
from langgraph_speceyes.bench.evidence import Evidence
from langgraph_speceyes.bench.statistics import Estimate, auroc, bootstrapped, sums, total_speedup
from langgraph_speceyes.bench.sweep import Mask, screened_by
from langgraph_speceyes.calibration.chain import first_accepting
from langgraph_speceyes.calibration.guarantee import GRID
from langgraph_speceyes.traffic.record import Record

MOST_SCREENED = 0.98
"""A judge that keeps more than this share to the agent leaves nothing to a gate."""
FEWEST = 20
"""Questions from which on the evidence says anything."""


@dataclass(frozen=True)
class Facts:
    """What the questions say about judge, speculator and agent, whatever the threshold.

    The speculation is the answer from the whole image; where none was asked for, the first one after a look.

    Attributes:
        questions: How many.
        answered: How many of them have a scored speculation.
        left: Questions that the front end did not look at.
        troubles: What went wrong in it, by the error's type.
        screened: Share that the recorded judge keeps to the agent; None without a judge.
        agent_s: Mean seconds of the agent.
        judge_s: Mean seconds of the judge; None without one.
        speculate_s: Mean seconds of speculation and gate, where there was one.
        agree: Share of the scored answers that say what the agent says.
        surest: The same among the tenth with the highest scores.
        auroc: How well the score tells these from others; .5 is a coin flip.
        ceiling: Speed-up if every speculation were accepted, without a judge.
        hoped: The largest speed-up of all compositions at the thresholds that keep the limit on these very questions;
            of a gate that is yet to be certified it is a hope, and where it is none no more questions help.
    """

    questions: int
    answered: int
    left: int
    troubles: dict[str, int]
    screened: float | None
    agent_s: float
    judge_s: float | None
    speculate_s: float
    agree: float | None
    surest: float | None
    auroc: Estimate
    ceiling: Estimate
    hoped: float


def facts(evidence: Evidence, terms: Terms, records: Mapping[str, Record]) -> Facts:
    """Look at the questions.

    Args:
        evidence: Of them, all of whose agents' seconds are known.
        terms: What may be lost.
        records: The journal's, by id.
    """
    columns = evidence.columns
    judged = not np.isnan(columns.judge_s).all()
    at = evidence.gate.judge_threshold
    first = next(iter(answered_depths(evidence)), 0)
    said: Evidence | DepthAnswers = evidence.deeper[first - 1] if first else evidence
    by_name = columns.deeper[first - 1].scores if first else columns.scores
    # nothing was asked before
    seconds, answered = columns.deeper[first - 1].entered_s if first else columns.speculate_s, said.answered
    same = np.array([one is True for one in said.agree], dtype=bool)
    scores = by_name.get(evidence.gate.score, np.zeros_like(columns.agent_s))
    surest = np.argsort(-np.where(answered, scores, -1.0), kind="stable")[: max(1, int(answered.sum()) // 10)]
    ceiling = sums([np.where(answered, seconds, columns.agent_s), columns.agent_s])
    tries = _tries(evidence, terms)
    return Facts(
        questions=len(evidence.ids),
        answered=int(answered.sum()),
        left=sum(records[id]["reason"] is not None and not ok for id, ok in zip(evidence.ids, answered, strict=True))
        if evidence.is_journal
        else 0,
        troubles=_troubles(evidence, records),
        screened=float(screened_by(columns, at)[_looked(evidence)].mean())
        if judged and at is not None and not first
        else None,
        agent_s=float(columns.agent_s.mean()),
        judge_s=float(np.nanmean(columns.judge_s)) if judged else None,
        speculate_s=float(seconds[answered].mean()) if answered.any() else 0.0,
        agree=float(same[answered].mean()) if answered.any() else None,
        surest=float(same[surest].mean()) if answered.any() else None,
        auroc=bootstrapped(auroc, scores[answered], same[answered])
        if answered.any()
        else Estimate(None, None, None, 0),
        ceiling=total_speedup([ceiling]),
        hoped=max(tries, default=1.0),
    )


def _looked(evidence: Evidence) -> Mask:
    return evidence.answered | ~np.isnan(evidence.columns.judge_s)


def _tries(evidence: Evidence, terms: Terms) -> list[float]:
    """The speed-up of each composition at its lowest threshold that keeps the limit here, with no promise."""
    found = []
    for one in available(evidence):
        if one.depths != (0,):
            found += _tried_at_depths(evidence, one, terms)
            continue
        compared, lost = one.compared(evidence), losses(evidence, terms)
        order = np.argsort(-compared, kind="stable")
        running = np.cumsum(lost[order]) / len(order)
        # a threshold takes all answers of one score or none, and none without a score
        last = np.append(np.diff(compared[order]) != 0, True) & (compared[order] >= GRID[-1])
        kept = np.flatnonzero(last & (running <= terms.max_loss))
        if not kept.size:
            continue
        threshold = float(compared[order][kept[-1]])
        seconds, _ = one.seconds(evidence, steps_of(compared >= threshold), threshold)
        found.append(float(evidence.columns.agent_s.mean() / seconds.mean()) if seconds.mean() else 1.0)
    return found


def _tried_at_depths(evidence: Evidence, one: Composition, terms: Terms) -> list[float]:
    """The same for several depths with a threshold in common."""
    if one.found != "path":
        return []
    scores = one.scores(evidence)
    by = first_accepting(scores, np.repeat(GRID[:, None], len(scores), axis=1))
    lost = np.stack([*(losses(evidence, terms, depth) for depth in one.depths), np.zeros(scores.shape[1])])
    kept = np.flatnonzero(lost[by, np.arange(scores.shape[1])].mean(axis=1) <= terms.max_loss)
    if not kept.size:
        return []
    seconds, _ = one.seconds(evidence, by[kept[-1]], float(GRID[kept[-1]]))
    return [float(evidence.columns.agent_s.mean() / seconds.mean()) if seconds.mean() else 1.0]


def _troubles(evidence: Evidence, records: Mapping[str, Record]) -> dict[str, int]:
    if evidence.is_journal:
        errors = [records[id]["error"] for id in evidence.ids]
    else:
        errors = [o["trouble"] for o in evidence.outcomes]
    return dict(Counter(error.partition(":")[0] for error in errors if error).most_common())


def useless(found: Facts) -> list[str]:
    """Why no threshold can help, however many questions are asked; nothing where one might."""
    if found.questions < FEWEST:
        return []
    why = []
    if not found.answered:
        why.append(_unanswered(found))
    elif found.ceiling.high is not None and found.ceiling.high <= 1:
        why.append(
            f"the agent is as fast as what would stand in front of it: it takes {duration(found.agent_s)} a question, "
            f"speculation and gate {duration(found.speculate_s)}"
        )
    return why


def _unanswered(found: Facts) -> str:
    trouble = next(iter(found.troubles), None)
    if trouble == "MissingLogprobsError":
        return (
            "the small model returns no log-probabilities, and without them there is no score "
            "(speceyes probe says what its endpoint can do)"
        )
    if trouble is not None:
        return f"no speculation could be scored: {trouble} on {found.troubles[trouble]} of {found.questions} questions"
    return f"the front end looked at none of the {found.questions} questions"


def described(found: Facts) -> list[str]:
    """What stands in the way, as far as the questions show it."""
    why = []
    if found.screened is not None and found.screened > MOST_SCREENED:
        why.append(f"the judge keeps {found.screened:.0%} of the questions to the agent")
    if found.auroc.high is not None and found.auroc.low is not None and found.auroc.low <= 0.5:
        why.append(
            f"the score does not tell which answers agree with the agent's (AUROC {found.auroc.value:.2f} "
            f"[{found.auroc.low:.2f}, {found.auroc.high:.2f}], where .5 is a coin flip)"
        )
    if found.agree is not None and found.surest is not None:
        why.append(
            f"{found.agree:.0%} of the small model's answers agree with the agent's, and {found.surest:.0%} of the "
            "tenth with the highest scores"
        )
    if found.answered < 0.9 * found.questions:
        kinds = ", ".join(f"{name} {count}" for name, count in found.troubles.items())
        why.append(
            f"{found.questions - found.answered} of {found.questions} questions have no scored speculation"
            + (f" ({kinds})" if kinds else "")
        )
    return why


def too_slow(found: Facts, composition: Composition, gained: Estimate, accepted: float) -> str:
    """That the front end costs more than it saves."""
    judge = f"{duration(found.judge_s)} for the judge and " if composition.judge_threshold and found.judge_s else ""
    balance = "costs more than it saves" if (gained.value or 1.0) <= 1 else "saves hardly more than it costs"
    return (
        f"the front end {balance}: it accepts {accepted:.0%} of the questions, each of which saves "
        f"{duration(found.agent_s)} of the agent, and takes {judge}{duration(found.speculate_s)} for speculation and "
        f"gate; in total time that is {gained.value or 1.0:.2f} times the agent's speed"
        + (f" [{gained.low:.2f}, {gained.high:.2f}]" if gained.low is not None and gained.high is not None else "")
    )


def duration(seconds: float | None) -> str:
    """Seconds in words."""
    value = seconds or 0.0
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"

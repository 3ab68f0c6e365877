"""Streams of recorded questions, and one gate on its way through such a stream."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.traffic.opening import SelfOpening

Order = Callable[["Outcomes", int, np.random.Generator], NDArray[np.int64]]


@dataclass(frozen=True)
class Outcomes:
    """What both models did on the same questions, taken for the whole population.

    Attributes:
        scores: Answer scores, ``[n]``.
        differs: Whether the answers differ, ``[n]``; what nobody can tell counts as differing.
        lost: The agent's correctness less the speculator's, ``[n]``, in {-1, 0, 1}.
        splits: The kind of each question, ``[n]``.
    """

    scores: NDArray[np.float64]
    differs: NDArray[np.bool_]
    lost: NDArray[np.int8]
    splits: NDArray[np.str_]

    def accepted(self, threshold: float | None) -> float:
        """Share of questions that a threshold accepts."""
        return 0.0 if threshold is None else float((self.scores >= threshold).mean())

    def loss(self, threshold: float | None) -> float:
        """Share of questions that it accepts and whose answers differ: what the promise is about."""
        return 0.0 if threshold is None else float(((self.scores >= threshold) & self.differs).mean())


def read_outcomes(path: str | os.PathLike[str], score: str) -> Outcomes:
    """Read a table of outcomes.

    Args:
        path: A CSV file with the columns ``split``, ``speculator_right``, ``agent_right``, ``agree`` and the score's.
        score: Which score.

    Raises:
        ArgumentError: A column is missing.
    """
    with Path(path).open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for name in ("split", "speculator_right", "agent_right", "agree", score):
        if not rows or name not in rows[0]:
            raise ArgumentError("path", f"a table with the column {name!r}", os.fspath(path))
    small, large = (np.array([row[name] == "1" for row in rows]) for name in ("speculator_right", "agent_right"))
    return Outcomes(
        scores=np.array([float(row[score]) for row in rows]),
        differs=np.array([row["agree"] != "1" for row in rows]),
        lost=large.astype(np.int8) - small.astype(np.int8),
        splits=np.array([row["split"] for row in rows]),
    )


def shuffled(outcomes: Outcomes, questions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Independent draws: the case that the promise is for."""
    return rng.integers(0, outcomes.scores.size, questions)


def easy_first(outcomes: Outcomes, questions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Two fifths of the stream without any question whose answers differ, then draws from all."""
    easy = np.flatnonzero(~outcomes.differs)
    first = questions * 2 // 5
    return np.concatenate([rng.choice(easy, first), shuffled(outcomes, questions - first, rng)])


def split_by_split(outcomes: Outcomes, questions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One split after the other, in a random order of splits."""
    names = rng.permutation(np.unique(outcomes.splits))
    parts = np.array_split(np.arange(questions), names.size)
    drawn = [rng.choice(np.flatnonzero(outcomes.splits == n), p.size) for n, p in zip(names, parts, strict=True)]
    return np.concatenate(drawn)


def hard_last(outcomes: Outcomes, questions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draws from all; in the last two fifths every fifth is one of the four surest that only the agent has right."""
    drawn = shuffled(outcomes, questions, rng)
    last = np.arange(questions - questions * 2 // 5, questions)
    hard = last[rng.random(last.size) < 0.2]
    # others a gate at a high threshold would not accept
    wrong = np.flatnonzero(outcomes.lost > 0)
    surest = wrong[np.argsort(-outcomes.scores[wrong])][:4]
    drawn[hard] = rng.choice(surest, hard.size)
    return drawn


ORDERS: dict[str, Order] = {
    "shuffled": shuffled,
    "easy first": easy_first,
    "split by split": split_by_split,
    "hard last": hard_last,
}


@dataclass(frozen=True)
class Course:
    """A gate's way through a stream.

    Attributes:
        thresholds: In force for each question, ``[n]``; NaN while shut.
        rates: Audit rate in force, ``[n]``.
        levels: The detector's level after each question, ``[n]``.
        accepted: Which answers were the speculator's, ``[n]``.
        audits: Accepted answers that the agent answered again.
        events: What happened, and at which question, counted from 1.
    """

    thresholds: NDArray[np.float64]
    rates: NDArray[np.float64]
    levels: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    audits: int
    events: list[tuple[str, int]]

    def first(self, event: str) -> int | None:
        """At which question something first happened."""
        return next((at for name, at in self.events if name == event), None)


def follow(outcomes: Outcomes, stream: NDArray[np.int64], settings: SelfOpening, rng: np.random.Generator) -> Course:
    """Lead a gate through a stream: each question is answered and audited as the questions before it have it.

    Args:
        outcomes: The population.
        stream: Which question comes when, ``[n]``.
        settings: The gate's.
        rng: Chooses the audits.
    """
    state, n = settings.fresh(), stream.size
    thresholds, rates, levels = np.full(n, np.nan), np.ones(n), np.zeros(n)
    accepted, audits = np.zeros(n, dtype=bool), 0
    events: list[tuple[str, int]] = []
    chosen = rng.random(n)
    for i, which in enumerate(stream):
        threshold, rate, _ = state.terms
        score = float(outcomes.scores[which])
        taken, audited = threshold is not None and score >= threshold, bool(chosen[i] < rate)
        known: Any = bool(outcomes.differs[which]) if audited or not taken else None
        event = state.observe(score, known, rate=rate, accepted=taken, audited=audited)
        thresholds[i], rates[i], accepted[i] = np.nan if threshold is None else threshold, rate, taken
        levels[i] = state.detector.level
        audits += taken and audited
        if event:
            events.append((event, i + 1))
        if event == "closed":
            state = state.begin_anew()
    return Course(thresholds, rates, levels, accepted, audits, events)

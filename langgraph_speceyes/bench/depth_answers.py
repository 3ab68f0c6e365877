"""What the small model said after each look, as evidence: beside the columns, what labels and agreement say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from langgraph_speceyes.answers.agreement import agree
from langgraph_speceyes.bench.runs import DepthPart, Outcome
from langgraph_speceyes.bench.sweep import Deeper, Mask
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.traffic.record import DepthRecord, Record

Label = tuple[bool | None, bool | None]


@dataclass(frozen=True)
class DepthAnswers:
    """One depth from 1 on, ``[n]`` each.

    Attributes:
        answered: Whether there is an answer with a score.
        agree: Whether it agrees with the agent's; None where that is undecided.
        right: Labels; None where there is none.
        passed_over: Whether somebody looked at it and could not tell.
        said: The answers; None where texts are not kept.
        tokens: Tokens read and written, ``[n, 2]``.
    """

    answered: Mask
    agree: tuple[bool | None, ...]
    right: tuple[bool | None, ...]
    passed_over: Mask
    said: tuple[str | None, ...]
    tokens: np.ndarray[tuple[int, ...], np.dtype[np.float64]]

    def part(self, keep: Sequence[int]) -> DepthAnswers:
        """Some of the questions, by position."""
        at = list(keep)
        some = {name: tuple(getattr(self, name)[k] for k in at) for name in ("agree", "right", "said")}
        return DepthAnswers(self.answered[at], passed_over=self.passed_over[at], tokens=self.tokens[at], **some)


def answers_of_run(
    outcomes: Sequence[Outcome], depths: int, labels: Mapping[tuple[str, int], Label], *, people: bool
) -> tuple[DepthAnswers, ...]:
    """The answers after each look of a run.

    Args:
        outcomes: Of a bypass, each with every depth.
        depths: How many looks there are.
        labels: A person's labels of answer and agent, by question and depth.
        people: Whether only these count.
    """
    found = []
    for depth in range(1, depths + 1):
        parts: list[DepthPart] = [o["depths"][depth] for o in outcomes]  # type: ignore[misc]
        labelled = [labels.get((o["id"], depth)) for o in outcomes]
        said = [o["agent"]["answer"] if o["agent"] else "" for o in outcomes]
        found.append(
            DepthAnswers(
                answered=np.array([bool(part.get("scores")) for part in parts]),
                agree=tuple(
                    agree(o["question"], part["answer"], answer).agree
                    for o, part, answer in zip(outcomes, parts, said, strict=True)
                ),
                right=tuple(
                    (one or (None, None))[0] if labels or people else part["right"]
                    for one, part in zip(labelled, parts, strict=True)
                ),
                passed_over=np.array([one == (None, None) for one in labelled]),
                said=tuple(part["answer"] for part in parts),
                tokens=np.array([[part["tokens"].get(kind, 0) for kind in ("input", "output")] for part in parts]),
            )
        )
    return tuple(found)


def answers_of_journal(
    records: Sequence[Record], over: set[str]
) -> tuple[tuple[Deeper, ...], tuple[DepthAnswers, ...]]:
    """The columns and answers after each look of a journal's shadow records, in which every depth was asked."""
    depths = max((one["depth"] for record in records for one in record.get("depths", ())), default=0)
    names, columns, found = score_names(records), [], []
    for depth in range(1, depths + 1):
        rows = [next((one for one in r.get("depths", ()) if one["depth"] == depth), _nothing(depth)) for r in records]
        seconds = np.array([row["seconds"] for row in rows])
        columns.append(
            Deeper(
                scores={name: np.array([row["scores"].get(name) or 0.0 for row in rows]) for name in names},
                right=np.array([bool(row["speculator_right"]) for row in rows]),
                seconds=seconds,
                entered_s=seconds,
            )
        )
        phase = f"speculate_{depth}"
        spent = [record["tokens"].get(phase, {}) for record in records]
        found.append(
            DepthAnswers(
                answered=np.array([row["score"] is not None for row in rows]),
                agree=tuple(row["agree"] for row in rows),
                right=tuple(row["speculator_right"] for row in rows),
                passed_over=np.array([depth_key(record["id"], depth) in over for record in records]),
                said=tuple(row["speculation"] for row in rows),
                tokens=np.array([[one.get(kind, 0) for kind in ("input", "output")] for one in spent], dtype=float),
            )
        )
    return tuple(columns), tuple(found)


def score_names(records: Sequence[Record]) -> list[str]:
    """Names of the answer scores that any depth has: one of which nothing was shown, or that is left out, has none."""
    return sorted({name for record in records for one in (record, *record.get("depths", ())) for name in one["scores"]})


def depth_key(id: str, depth: int) -> str:
    """What tells a question's answer at a depth from the others."""
    return f"{id}@{depth}" if depth else id


def labelled_record(record: Record, depth: int, small: bool | None, large: bool | None) -> Record:
    """A record with a person's label of the answer at a depth, and of the agent's.

    Raises:
        ArgumentError: It has no such depth.
    """
    depths = record.get("depths", [])
    if depth and depth not in {one["depth"] for one in depths}:
        raise ArgumentError("depth", "a depth of the record", depth)
    labelled: list[DepthRecord] = [
        {**one, "speculator_right": small} if one["depth"] == depth else one for one in depths
    ]
    first = record["speculator_right"] if depth else small
    agent = label_of_agent([first, *(one["speculator_right"] for one in labelled)], large, record["agent_right"])
    changed: Record = {**record, "speculator_right": first, "agent_right": agent}
    if "depths" in record:
        changed["depths"] = labelled
    return changed


def label_of_agent(small: Sequence[bool | None], large: bool | None, before: bool | None) -> bool | None:
    """The agent's label of a question, when one of the small model's answers to it got a label or lost it.

    Args:
        small: Labels of the small model's answers, by depth.
        large: What was said of the agent's with it; None where nobody could tell, or the label was taken back.
        before: The agent's label until then, which may have been told beside another answer.
    """
    return before if large is None and any(one is not None for one in small) else large


def _nothing(depth: int) -> DepthRecord:
    return DepthRecord(
        depth=depth,
        look=None,
        score=None,
        scores={},
        threshold=None,
        k=None,
        accepted=None,
        seconds=0.0,
        agree=None,
        agreed_by=None,
        agree_probability=None,
        speculator_right=None,
        speculation=None,
        error=None,
    )

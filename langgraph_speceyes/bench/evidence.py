"""What calibration rests on, from a run made with `--full` or from a journal's shadow records: columns, and labels."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from langgraph_speceyes.answers.agreement import agree
from langgraph_speceyes.bench.depth_answers import (
    DepthAnswers,
    Label,
    answers_of_journal,
    answers_of_run,
    depth_key,
    labelled_record,
    score_names,
)
from langgraph_speceyes.bench.journals import is_journal, journal_at, public_name, records_of
from langgraph_speceyes.bench.person_labels import LABELS_FILE, PASSED_OVER, label_of, read_labels
from langgraph_speceyes.bench.routes import deepest
from langgraph_speceyes.bench.runs import PICTURES, Outcome, Part, no_answers, picture_name, read_runs
from langgraph_speceyes.bench.sweep import Mask, Table, sweepable, table
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.files import append_line
from langgraph_speceyes.scoring import Gate, check_score
from langgraph_speceyes.traffic.record import Record

BY_RUN, BY_JOURNAL = ("split", "group", "rule", "expected"), ("group",)
"""Columns that are fixed before anything is answered, so that a promise for each of their values holds."""


@dataclass(frozen=True)
class Shown:
    """A question as a person sees it who compares two answers.

    Attributes:
        question: Its text.
        speculation: The small model's answer.
        answer: The agent's.
        images: References of its images.
    """

    question: str
    speculation: str
    answer: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """Questions that both sides have answered, ``[n]`` each, in their order.

    Attributes:
        source: The run's folder, or the journal as a command names it.
        ids: Of the questions.
        images: What tells the questions' images apart; the id where there is none.
        columns: Scores, probabilities and seconds; `speculator_right` and `agent_right` are false without a label.
        answered: Whether there is a speculation with a score.
        agree: Whether the answers agree; None where that is undecided.
        speculator_right: Labels; None where there is none.
        agent_right: Labels; None where there is none.
        passed_over: Whether somebody looked at it and could not tell.
        gate: Score, K, models and settings behind the columns; its threshold means nothing.
        ks: The K's of the scores; several make those useless that mean something at one K only.
        by: Columns that loss can be shown by.
        shown: What a person sees; None where texts are not kept.
        left_out: Questions that do not count, by the reason.
        outcomes: Of a run; empty for a journal.
        looks: What tells the looks apart, of a run with looks; their names, of a journal.
        deeper: The answers after each look; empty without.
    """

    source: str | PathLike[str]
    ids: tuple[str, ...]
    images: tuple[str, ...]
    columns: Table
    answered: Mask
    agree: tuple[bool | None, ...]
    speculator_right: tuple[bool | None, ...]
    agent_right: tuple[bool | None, ...]
    passed_over: Mask
    gate: Gate
    ks: tuple[int, ...]
    by: dict[str, tuple[str, ...]]
    shown: tuple[Shown | None, ...]
    left_out: dict[str, int]
    outcomes: tuple[Outcome, ...] = ()
    looks: tuple[str, ...] = ()
    deeper: tuple[DepthAnswers, ...] = ()

    @property
    def is_journal(self) -> bool:
        """Whether it is from a journal."""
        return not self.outcomes

    def part(self, rows: Mask) -> Evidence:
        """Some of the questions."""
        keep = np.flatnonzero(rows).tolist()

        def some(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[k] for k in keep)

        return replace(
            self,
            ids=some(self.ids),
            images=some(self.images),
            columns=self.columns.part(keep),
            answered=self.answered[keep],
            agree=some(self.agree),
            speculator_right=some(self.speculator_right),
            agent_right=some(self.agent_right),
            passed_over=self.passed_over[keep],
            by={name: some(values) for name, values in self.by.items()},
            shown=some(self.shown),
            outcomes=some(self.outcomes) if self.outcomes else (),
            deeper=tuple(one.part(keep) for one in self.deeper),
        )


def read_evidence(
    source: str | PathLike[str], *, splits: Sequence[str] | None = None, people: bool = False
) -> Evidence:
    """The evidence of a run's folder, or of a journal: a file or a ``postgresql://`` URL.

    Args:
        source: Either of them.
        splits: Only these, of a run.
        people: Whether only a person's labels count; else a run that has none of these is labelled by its own verdicts.

    Raises:
        ArgumentError: It is neither, lacks a side, was made on test questions, or holds no shadow records.
        JournalError: The database is another program's.
    """
    if is_journal(source, "run"):
        if splits:
            raise ArgumentError("split", "none for a journal", splits[0])
        return _from_journal(source)
    return _from_run(Path(source), splits, people)


# --- runs ---


def _from_run(folder: Path, splits: Sequence[str] | None, people: bool) -> Evidence:
    ((manifest, outcomes),) = read_runs([folder])
    if manifest["benchmark"].get("part") == "test":
        raise ArgumentError("run", "calibration questions", f"the test part in {folder}")
    bypasses = list(dict.fromkeys(o["method"] for o in outcomes if o["route"] is not None))
    if not bypasses:
        raise ArgumentError("run", "the outcomes of a bypass", f"methods {', '.join(manifest['methods'])}")
    by_method = {name: [o for o in outcomes if o["method"] == name] for name in bypasses}
    # the one that tells most: a cascade has neither looks nor a judge, whichever was named first
    most = max(by_method.values(), key=lambda rows: (deepest(rows), any("judge" in o["seconds"] for o in rows)))
    rows = [o for o in most if splits is None or o["split"] in splits]
    missing = [split for split in splits or () if split not in {o["split"] for o in outcomes}]
    if missing:
        raise ArgumentError("split", "splits of the run", missing[0])
    looks = deepest(rows)
    rows = [_failed(o, looks) if o["error"] is not None and o["route"] is None else o for o in rows]
    kept = sweepable(rows)
    if not kept or len(kept) < len(rows):
        raise ArgumentError(
            "run",
            "a bypass whose every question has both sides (speceyes eval --method speceyes --full)",
            f"{len(rows) - len(kept)} of {len(rows)} outcomes without",
        )
    person_labels = read_labels(folder / LABELS_FILE)
    found = evidence_of(
        kept,
        _gate(manifest, kept, _ks(kept)),
        folder,
        person_labels=person_labels,
        people=people,
        looks=tuple(manifest.get("looks", ())),
    )
    # the questions of a run come split by split: those to come may be of another kind
    to_come = manifest.get("count", len(most)) - len(most)
    return replace(found, left_out={"that the run has not come to yet": to_come})


def evidence_of(
    outcomes: Sequence[Outcome],
    gate: Gate,
    source: Path,
    *,
    person_labels: Mapping[tuple[str, int], Label] | None = None,
    people: bool = False,
    looks: Sequence[str] = (),
) -> Evidence:
    """The evidence of outcomes of a bypass.

    Args:
        outcomes: Each with both sides.
        gate: Score, K, models and settings behind them.
        source: Where they are from.
        person_labels: A person's labels of speculator and agent by question and depth, which take the place of the
            rule's.
        people: Whether only a person's labels count.
        looks: What tells the looks apart.

    Raises:
        ArgumentError: There is no outcome, or one lacks a side.
    """
    columns = table(outcomes)
    small = [o["speculator"] or Part() for o in outcomes]  # type: ignore[typeddict-item]
    large = [o["agent"] or Part() for o in outcomes]  # type: ignore[typeddict-item]
    person_labels = person_labels or {}
    rights = [(p["right"], q["right"]) for p, q in zip(small, large, strict=True)]
    # the mean probability of the chosen tokens rests on no candidates
    ks = _ks(outcomes)
    labels = [label_of(person_labels, o["id"]) for o in outcomes] if person_labels or people else rights
    depths = len(columns.deeper)
    return Evidence(
        source=source,
        ids=tuple(o["id"] for o in outcomes),
        images=tuple(o["image"] or o["id"] for o in outcomes),
        columns=columns,
        answered=np.array([bool(p.get("scores")) for p in small]),
        agree=tuple(
            agree(o["question"], p["answer"], q["answer"]).agree for o, p, q in zip(outcomes, small, large, strict=True)
        ),
        speculator_right=tuple(one for one, _ in labels),
        agent_right=tuple(two for _, two in labels),
        passed_over=np.array([person_labels.get((o["id"], 0)) == (None, None) for o in outcomes]),
        gate=gate,
        ks=ks,
        by={name: tuple(str(o[name]) for o in outcomes) for name in BY_RUN},  # type: ignore[literal-required]
        shown=tuple(
            Shown(o["question"], p["answer"], q["answer"], _picture(source, o))
            for o, p, q in zip(outcomes, small, large, strict=True)
        ),
        left_out={},
        outcomes=tuple(outcomes),
        # a run with looks may hold a method without
        looks=tuple(looks[:depths]) or tuple(str(outcomes[0]["depths"][d]["look"]) for d in range(1, depths + 1)),  # type: ignore[index]
        deeper=answers_of_run(outcomes, depths, person_labels, people=people),
    )


def _picture(folder: Path, outcome: Outcome) -> tuple[str, ...]:
    """The image, or the small picture that the run keeps of questions answered wrongly where the image is gone."""
    small = folder / PICTURES / picture_name(outcome["id"])
    if small.is_file() and not Path(outcome["image"]).is_file():
        return (str(small),)
    return (outcome["image"],) if outcome["image"] else ()


def _ks(outcomes: Sequence[Outcome]) -> tuple[int, ...]:
    """Candidates that scores rest on, at any depth; the mean probability of the chosen tokens rests on none."""
    asked = (part for o in outcomes for part in (o["speculator"], *o.get("depths", ())) if part)
    return tuple(sorted({k for part in asked if (k := part.get("k")) is not None}))


def _gate(manifest: dict[str, Any], outcomes: Sequence[Outcome], ks: Sequence[int]) -> Gate:
    ids = {name: (model or {}).get("id") for name, model in manifest["models"].items() if name != "agent"}
    # what failed before the judge, or was left to the agent at intake, has none
    judges = {o["judge_threshold"] for o in outcomes} - {None}
    compared = {o["score"] for o in outcomes} - {None}
    return Gate(
        score=check_score(next(iter(compared)) if len(compared) == 1 else manifest["gate"]["score"]),
        k=min(ks, default=manifest["gate"]["k"]),
        speculator=ids.get("speculator"),
        agent=ids.get("large"),
        judge_threshold=next(iter(judges)) if len(judges) == 1 else None,
        prompts=manifest.get("prompts"),
        max_answer_tokens=manifest.get("max_answer_tokens"),
        front_pixels=manifest.get("front_pixels"),
    )


def _failed(outcome: Outcome, looks: int) -> Outcome:
    """A question that failed, or a row that could not be used: answered by neither, wrong whatever the gates do."""
    seconds = outcome["seconds"].get("total", 0.0)
    nothing = Part(answer="", right=False, seconds=seconds, error=outcome["error"], tokens={})
    failed: Outcome = {**outcome, "route": "fallback", "speculator": {**nothing, "seconds": 0.0}, "agent": nothing}
    if looks:
        failed["depths"] = no_answers(looks, 0.0, outcome["error"])
    return failed


# --- journals ---


def _from_journal(source: str | PathLike[str]) -> Evidence:
    with closing(journal_at(source)) as journal:
        records = list(records_of(journal))
        over = set((journal.load(PASSED_OVER) or {}).get("ids", ()))
    shadow = [record for record in records if record["mode"] == "shadow"]
    if not shadow:
        raise ArgumentError(
            "journal",
            'records of mode "shadow", in which every question has both answers',
            f"{len(records)} records, none of them, in {public_name(source)}",
        )
    gate = shadow[-1]["gate"]
    kept = [record for record in shadow if record["gate"] == gate]
    asked = [one["k"] for record in kept for one in (record, *record.get("depths", ()))]
    ks = tuple(sorted({k for k in asked if k is not None}))
    judges = {record["judge_threshold"] for record in kept} - {None}
    columns, deeper = answers_of_journal(kept, over)
    return Evidence(
        source=source,
        ids=tuple(record["id"] for record in kept),
        images=tuple(record["images"][0] if record["images"] else record["id"] for record in kept),
        columns=replace(_table(kept), deeper=columns),
        answered=np.array([record["score"] is not None for record in kept]),
        agree=tuple(record["agree"] for record in kept),
        speculator_right=tuple(record["speculator_right"] for record in kept),
        agent_right=tuple(record["agent_right"] for record in kept),
        passed_over=np.array([record["id"] in over for record in kept]),
        gate=Gate(
            score=kept[-1]["score_name"],  # type: ignore[arg-type]
            k=min(ks, default=Gate().k),
            judge_threshold=next(iter(judges)) if len(judges) == 1 else None,
        ),
        ks=ks,
        by={"group": tuple(record["group"] or "" for record in kept)},
        shown=tuple(_shown(record) for record in kept),
        left_out={
            'not of mode "shadow"': len(records) - len(shadow),
            "of another gate": len(shadow) - len(kept),
        },
        looks=_looks(kept, len(deeper)),
        deeper=deeper,
    )


def _looks(records: Sequence[Record], depths: int) -> tuple[str, ...]:
    """Names of the looks; a journal knows nothing of their settings but that they were the same for one gate."""
    names = {one["depth"]: one["look"] for record in records for one in record.get("depths", ())}
    return tuple(names.get(depth) or f"look {depth}" for depth in range(1, depths + 1))


def _table(records: Sequence[Record]) -> Table:
    names = score_names(records)
    need = [record["tool_need"] for record in records]
    seconds = [record["seconds"] for record in records]
    return Table(
        scores={name: np.array([record["scores"].get(name) or 0.0 for record in records]) for name in names},
        # intake's questions are the agent's as those are that the judge keeps
        tool_need=np.array([np.nan if value is None else value for value in need]),
        speculator_right=np.array([bool(record["speculator_right"]) for record in records]),
        agent_right=np.array([bool(record["agent_right"]) for record in records]),
        judge_s=np.array([s.get("judge", np.nan) for s in seconds]),
        speculate_s=np.array([s.get("speculate", 0.0) + s.get("gate", 0.0) for s in seconds]),
        agent_s=np.array([s.get("agent", 0.0) for s in seconds]),
    )


def _shown(record: Record) -> Shown | None:
    said = record["speculation"]
    if record["question"] is None or record["answer"] is None or (said is None and record["score"] is not None):
        return None
    # an answer after a look may be all there is
    return Shown(record["question"], said or "", record["answer"], tuple(record["images"]))


# --- labels ---


def keep_label(evidence: Evidence, id: str, label: Label | None, *, depth: int = 0, at: float | None = None) -> None:
    """Write a label down: beside a run's outcomes, or into the journal's record.

    Args:
        evidence: Where the question is from.
        id: The question.
        label: Whether speculation and agent are right; two Nones where nobody can tell; None takes the label back.
        depth: Which of the small model's answers it is about.
        at: When, in seconds since the epoch; now by default.

    Raises:
        ArgumentError: The journal's record is gone.
        JournalError: The journal cannot be written.
    """
    small, large = label or (None, None)
    if not evidence.is_journal:
        line: dict[str, Any] = {"id": id, "speculator_right": small, "agent_right": large, "undone": label is None}
        line |= {"depth": depth} if depth else {}
        append_line(Path(evidence.source) / LABELS_FILE, json.dumps({**line, "at": time.time() if at is None else at}))
        return
    with closing(journal_at(evidence.source)) as journal:
        record = journal.get(id)
        if record is None:
            raise ArgumentError("id", "a record of the journal", repr(id))
        journal.write(labelled_record(record, depth, small, large))
        over = set((journal.load(PASSED_OVER) or {}).get("ids", ()))
        key = depth_key(id, depth)
        changed = over | {key} if label == (None, None) else over - {key}
        if changed != over:
            journal.save(PASSED_OVER, {"ids": sorted(changed)})

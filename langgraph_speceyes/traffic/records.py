"""From a run's state and decision to the record of its question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph_speceyes.answers.agreement import Agreement
from langgraph_speceyes.depths import left_out
from langgraph_speceyes.front.route import needs_tools
from langgraph_speceyes.images import ImageRef
from langgraph_speceyes.scoring import FirstLook, Gate
from langgraph_speceyes.state import Decision, DepthDecision, settings_of
from langgraph_speceyes.traffic.record import DepthRecord, Record


def gate_digest(
    gate: Gate,
    models: Mapping[str, str | None],
    prompts: str,
    max_answer_tokens: int,
    looks: Sequence[str] = (),
    first_look: FirstLook = "rejected",
    front_pixels: int | None = None,
) -> str:
    """What scores and judgments depend on, in 16 hexadecimal digits: evidence for one such gate is none for another.

    The threshold is no part of it: the same records tell about every threshold.

    Args:
        gate: Score and K.
        models: Names of speculator and judge.
        prompts: Digest of the instructions.
        max_answer_tokens: How long a speculation may get.
        looks: What tells the looks from others.
        first_look: When the first one is taken.
        front_pixels: Most pixels of an image that a hosted speculator is sent.
    """
    parts: list[Any] = [gate.score, gate.k, sorted(models.items(), key=str), prompts, max_answer_tokens]
    if looks:
        parts += [list(looks), first_look]
    if front_pixels is not None:
        parts.append({"front_pixels": front_pixels})
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def record_of(
    state: Mapping[str, Any],
    decision: Decision,
    gate: str,
    *,
    question: str | None = None,
    images: tuple[ImageRef, ...] = (),
    looks: Sequence[str] = (),
) -> Record:
    """The record of a question when its user has an answer.

    Args:
        state: The state with the phases' records.
        decision: What was decided.
        gate: Digest of the gate.
        question: The question's text.
        images: The question's images.
        looks: What tells the looks from others.

    Returns:
        The record, not settled where the two answers to the question are still to be compared.
    """
    query, settings = state["speceyes_query"], settings_of(state)
    order = decision["order"]
    bypassed = decision["route"] == "bypass"
    depths = decision.get("depths")
    first: Any = depths[0] if depths else decision
    without = left_out(state)
    deeper = [_depth(one, looks) for one in depths or () if one["depth"] > 0 and one["depth"] not in without]
    scored = first["score"] is not None
    accepted = bool(first["accepted"]) and not needs_tools(state)
    accepting = [*([0] if accepted else []), *(one["depth"] for one in deeper if one["accepted"])]
    comparable = scored or any(one["score"] is not None for one in deeper)
    record = Record(
        id=query["id"],
        at=query["began"],
        gate=gate,
        group=settings["group"] if settings else None,
        mode=decision["mode"],
        route=decision["route"],
        would="bypass" if accepting else "fallback",
        decided_by=decision["decided_by"],
        reason=decision["reason"],
        order=order["order"] if order else None,
        tool_need=decision["tool_need"],
        judge_threshold=settings["judge_threshold"] if settings else decision["judge_threshold"],
        screened=needs_tools(state) or not scored,
        score_name=decision["score_name"],
        score=first["score"],
        scores={str(name): value for name, value in first["scores"].items()},
        threshold=first["threshold"],
        k=first["k"],
        audit_rate=settings["audit_rate"] if decision["mode"] == "on" and settings else 1.0,
        audited=decision["audited"] or not bypassed,
        agree=None,
        agreed_by=None,
        agree_probability=None,
        settled=not (comparable and (decision["audited"] or not bypassed)),
        speculator_right=None,
        agent_right=None,
        seconds=dict(decision["seconds"]),
        tokens={phase: dict(counts) for phase, counts in decision["tokens"].items()},
        error=decision["error"],
        question=question,
        speculation=first["speculation"],
        answer=None,
        # a part of them would be another question
        images=[] if any(image.kind == "inline" for image in images) else [image.uri for image in images],
    )
    if depths is not None:
        record["depth"], record["depths"] = accepting[0] if accepting else None, deeper
    return record


def answers_in(record: Record) -> list[tuple[int, str | None]]:
    """What the small model has said that can be compared with the agent's answer, by depth."""
    deeper = record.get("depths")
    said = [(0, record["speculation"])] if deeper is None or record["score"] is not None else []
    return said + [(one["depth"], one["speculation"]) for one in deeper or () if one["score"] is not None]


def agreed(record: Record, depth: int, found: Agreement) -> Record:
    """A record that says whether a depth's answer and the agent's agree."""
    said: Any = {"agree": found.agree, "agreed_by": found.by, "agree_probability": found.probability}
    if not depth:
        return {**record, **said, "error": record["error"] or found.error}
    depths: Any = [
        {**one, **said, "error": one["error"] or found.error} if one["depth"] == depth else one
        for one in record["depths"]
    ]
    return {**record, "depths": depths}


def returned_differs(record: Record) -> bool:
    """Whether the answer that the gate accepts, at whatever depth, differs from the agent's or may do so."""
    depth = record.get("depth")
    if depth:
        return next(one["agree"] for one in record["depths"] if one["depth"] == depth) is not True
    return record["agree"] is not True


def undecided(record: Record) -> Record:
    """A record to which no answer of the agent's is to come: what was answered counts as differing."""
    record = {**record, "settled": True}
    if record["score"] is not None or "depths" not in record:
        record["agreed_by"] = "undecided"
    if "depths" in record:
        by = {False: None, True: "undecided"}
        record["depths"] = [{**one, "agreed_by": by[one["score"] is not None]} for one in record["depths"]]
    return record


def _depth(depth: DepthDecision, looks: Sequence[str]) -> DepthRecord:
    return DepthRecord(
        depth=depth["depth"],
        # a run that stopped in a graph with more looks may end in this one
        look=looks[depth["depth"] - 1] if depth["depth"] <= len(looks) else depth["look"],
        score=depth["score"],
        scores={str(name): value for name, value in depth["scores"].items()},
        threshold=depth["threshold"],
        k=depth["k"],
        accepted=depth["accepted"],
        seconds=depth["seconds"],
        agree=None,
        agreed_by=None,
        agree_probability=None,
        speculator_right=None,
        speculation=depth["speculation"],
        error=depth["error"],
    )

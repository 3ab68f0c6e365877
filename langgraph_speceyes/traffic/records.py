"""From a run's state and decision to the record of its question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from langgraph_speceyes.front.route import needs_tools
from langgraph_speceyes.images import ImageRef
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import Decision, settings_of
from langgraph_speceyes.traffic.record import Record


def gate_digest(gate: Gate, models: Mapping[str, str | None], prompts: str, max_answer_tokens: int) -> str:
    """What scores and judgments depend on, in 16 hexadecimal digits: evidence for one such gate is none for another.

    The threshold is no part of it: the same records tell about every threshold.

    Args:
        gate: Score and K.
        models: Names of speculator and judge.
        prompts: Digest of the instructions.
        max_answer_tokens: How long a speculation may get.
    """
    parts = [gate.score, gate.k, sorted(models.items(), key=str), prompts, max_answer_tokens]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def record_of(
    state: Mapping[str, Any],
    decision: Decision,
    gate: str,
    *,
    question: str | None = None,
    images: tuple[ImageRef, ...] = (),
) -> Record:
    """The record of a question when its user has an answer.

    Args:
        state: The state with the phases' records.
        decision: What was decided.
        gate: Digest of the gate.
        question: The question's text.
        images: The question's images.

    Returns:
        The record, not settled where the two answers to the question are still to be compared.
    """
    query, settings = state["speceyes_query"], settings_of(state)
    order = decision["order"]
    bypassed = decision["route"] == "bypass"
    # of depth 0, with looks too: what is learnt from traffic is learnt of answers without a look
    depths = decision.get("depths")
    first: Any = depths[0] if depths else decision
    scored = first["score"] is not None
    accepted = bool(first["accepted"]) and not needs_tools(state)
    return Record(
        id=query["id"],
        at=query["began"],
        gate=gate,
        group=settings["group"] if settings else None,
        mode=decision["mode"],
        route=decision["route"],
        would="bypass" if accepted else "fallback",
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
        settled=not (scored and (decision["audited"] or not bypassed)),
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

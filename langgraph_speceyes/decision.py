"""The record of what was decided for a query."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

from langchain_core.messages import BaseMessage

from langgraph_speceyes.depths import at_depth, counted, depths_of, left_out, newest_depth
from langgraph_speceyes.foreign import foreign_text
from langgraph_speceyes.scoring import AnswerScore, Gate
from langgraph_speceyes.state import Decision, Depth, DepthDecision, Phase, Route, SpecEyesState, settings_of

_DEEPEST = 64
# tuples, and first what is met most: unions and abstract classes are slow to ask
_AS_IT_IS, _MAPPINGS, _LISTS = (bool, int), (dict, Mapping), (list, tuple, set, frozenset)

METADATA_KEY = "speceyes"
"""Key of the decision in an answer's `response_metadata`."""


def decide(
    state: SpecEyesState,
    gate: Gate,
    route: Route,
    *,
    agent_seconds: float | None = None,
    person_seconds: float = 0.0,
    slot_seconds: float | None = None,
    agent_tokens: dict[str, int] | None = None,
    model_calls: int = 0,
    tool_steps: int = 0,
    tool_calls: Sequence[dict[str, Any]] = (),
) -> Decision:
    """Put the phases' records together.

    Args:
        state: The graph's state after the phases that ran.
        gate: The gate in use.
        route: Whose answer it is.
        agent_seconds: Wall time of the agent at work, if it ran.
        person_seconds: How long it waited for a person.
        slot_seconds: How long it waited for a slot, if it needed one.
        agent_tokens: Tokens the agent read and wrote, if it ran.
        model_calls: Model calls the agent made.
        tool_steps: Tool calls the agent made.
        tool_calls: Those calls.

    Returns:
        The decision: strict JSON, with None in the place of numbers that are none.
    """
    judgment, speculation, verdict = (
        state.get("speceyes_judgment"),
        state.get("speceyes_speculation"),
        state.get("speceyes_verdict"),
    )
    scored = AnswerScore(**speculation["score"]) if speculation and speculation["score"] else None
    query, settings = state.get("speceyes_query"), settings_of(state)
    records, looks = _records(state), depths_of(state)
    seconds = {phase: record["seconds"] for phase, record in records.items()}
    tokens = {name: record["tokens"] for name, record in records.items() if "tokens" in record}
    newest = newest_depth(state)
    if slot_seconds is not None:
        seconds["slot"] = slot_seconds
    if agent_seconds is not None:
        seconds["agent"] = agent_seconds
        tokens["agent"] = agent_tokens or {"input": 0, "output": 0}
    seconds["total"] = time.time() - query["began"] - person_seconds if query else sum(seconds.values())
    if person_seconds:
        seconds["person"] = person_seconds
    by_token = zip(scored.tokens, scored.by_token(gate.score), strict=True) if scored else ()
    errors = [record["error"] for name, record in records.items() if name != "intake" and record["error"]]
    decision = Decision(
        mode=settings["mode"] if settings else "on",
        route=route,
        decided_by=_decided_by(state),
        reason=_reason(state),
        follow_up=bool(query and query["follow_up"]),
        order=query["order"] if query else None,
        accepted=verdict["accepted"] if verdict else None,
        tool_need=judgment["tool_need"] if judgment else None,
        judge_threshold=judgment["threshold"] if judgment else None,
        score_name=gate.score,
        score=scored.scores[gate.score] if scored else None,
        scores=dict(scored.scores) if scored else {},
        threshold=_threshold(gate, state, newest),
        k=scored.k_used if scored else None,
        speculation=speculation["answer"] if speculation and scored else None,
        answer_tokens=[[token, value] for token, value in by_token],
        tokens=tokens,
        seconds=seconds,
        model_calls=model_calls,
        tool_steps=tool_steps,
        tool_calls=list(tool_calls),
        error=errors[0] if errors else None,
        hedge=query["hedge"] if query else None,
        audited=route == "bypass" and settings is not None and settings["audited"],
        cost=None,
    )
    if looks:
        decision["depth"] = newest if route == "bypass" else None
        decision["depths"] = [_depth(number, one, gate, state) for number, one in enumerate(looks)]
        if query and "depth_choice" in query:
            decision["depth_choice"] = query["depth_choice"]
    return cast("Decision", _plain(decision))


def _records(state: SpecEyesState) -> dict[str, Any]:
    """The records of the phases that ran, by the phase's name."""
    found: dict[str, Any] = {"intake": state.get("speceyes_query"), "judge": state.get("speceyes_judgment")}
    depths, without = depths_of(state), left_out(state)
    first: Any = depths[0] if depths else {}
    found["speculate"] = first.get("speculation") if depths else state.get("speceyes_speculation")
    found["gate"] = first.get("verdict") if depths else state.get("speceyes_verdict")
    for number, depth in enumerate(depths[1:], 1):
        if number in without:
            continue
        found[at_depth("look", number)] = {"seconds": depth["seconds"], "error": depth["error"]}
        found[at_depth("speculate", number)] = depth["speculation"]
        found[at_depth("gate", number)] = depth["verdict"]
    return {name: record for name, record in found.items() if record is not None}


def _threshold(gate: Gate, state: SpecEyesState, depth: int) -> float | None:
    """The threshold that a depth was compared with, the run's own where the depth has none; None if it is unknown."""
    settings = settings_of(state)
    if depth and gate.depths is not None:
        # a run that stopped in a graph with more looks may go on in this one
        return gate.at(depth).threshold if depth <= len(gate.depths) else None
    if settings is None:
        return gate.threshold
    return settings["threshold"]


def _depth(number: int, depth: Depth, gate: Gate, state: SpecEyesState) -> DepthDecision:
    speculation, verdict = depth["speculation"], depth["verdict"]
    scored = AnswerScore(**speculation["score"]) if speculation and speculation["score"] else None
    parts: list[Any] = [part for part in (depth, speculation, verdict) if part is not None]
    shown = counted(depth["observations"])
    return DepthDecision(
        depth=number,
        look=depth["look"],
        images=shown["images"],
        characters=shown["characters"],
        speculation=speculation["answer"] if speculation and scored else None,
        score=scored.scores[gate.score] if scored else None,
        scores=dict(scored.scores) if scored else {},
        k=scored.k_used if scored else None,
        threshold=_threshold(gate, state, number),
        accepted=verdict["accepted"] if verdict else None,
        seconds=sum(part["seconds"] for part in parts),
        tokens=speculation["tokens"] if speculation else {"input": 0, "output": 0},
        error=next((part["error"] for part in parts if part["error"]), None),
    )


def _plain(value: Any, depth: int = 0) -> Any:
    """What strict JSON can hold: no NaN, no infinity, nothing but its own types."""
    if isinstance(value, str):
        return foreign_text(value)
    if value is None or isinstance(value, _AS_IT_IS):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < _DEEPEST and isinstance(value, _MAPPINGS):
        return {_key(str(key)): _plain(one, depth + 1) for key, one in value.items()}
    if depth < _DEEPEST and isinstance(value, _LISTS):
        return [_plain(one, depth + 1) for one in value]
    # an agent's own record of its steps may hold anything; bytes and arrays have no place in a decision
    return f"({type(value).__name__})"


_key = lru_cache(maxsize=512)(foreign_text)
"""Most keys are those of the records."""


def _reason(state: SpecEyesState) -> str | None:
    """Why intake left the question to the agent, and why the gate is shut where that is the reason."""
    query, settings = state.get("speceyes_query"), settings_of(state)
    reason = query["reason"] if query else None
    shut = settings["shut"] if settings and settings["mode"] == "shadow" else None
    return f"{reason}: {shut}" if reason and shut else reason


def _decided_by(state: SpecEyesState) -> Phase:
    query = state.get("speceyes_query")
    judgment, speculation = state.get("speceyes_judgment"), state.get("speceyes_speculation")
    if query and query["reason"]:
        return "intake"
    if query and query["hedge"] and query["hedge"]["agent_first"]:
        return "agent"
    if len(depths := depths_of(state)) > 1:
        if not depths[-1]["observations"]:
            return "look"
        return "speculate" if speculation and speculation["error"] else "gate"
    if judgment and judgment["tools_needed"]:
        return "judge"
    if speculation and speculation["error"]:
        return "speculate"
    return "gate"


Message = TypeVar("Message", bound=BaseMessage)


def signed(message: Message, decision: Decision) -> Message:
    """The answer, with the decision in its `response_metadata`."""
    return message.model_copy(update={"response_metadata": {**message.response_metadata, METADATA_KEY: decision}})

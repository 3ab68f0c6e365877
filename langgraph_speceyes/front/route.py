"""Where a query goes next: a table for each order of judge and speculator, from a phase and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from langgraph_speceyes.state import SpecEyesState, query_of

Outcome = Literal["look", "leave", "tools", "no_tools", "accepted", "rejected"]
ANSWERED, OTHERWISE = "answered", "otherwise"
"""Where the table ends: the speculation is the answer; the query is the agent's."""

TABLES: dict[str, dict[tuple[str, Outcome], tuple[str, ...]]] = {
    "judge_first": {
        ("intake", "look"): ("judge",),
        ("judge", "no_tools"): ("speculate",),
        ("judge", "tools"): (OTHERWISE,),
        ("gate", "accepted"): (ANSWERED,),
        ("gate", "rejected"): (OTHERWISE,),
    },
    "speculate_first": {
        ("intake", "look"): ("speculate",),
        ("gate", "accepted"): ("judge",),
        ("gate", "rejected"): (OTHERWISE,),
        ("judge", "no_tools"): (ANSWERED,),
        ("judge", "tools"): (OTHERWISE,),
    },
    "parallel": {
        ("intake", "look"): ("judge", "speculate"),
        # the gate, one step later, looks at both
        ("judge", "no_tools"): (),
        ("judge", "tools"): (),
        ("gate", "accepted"): (ANSWERED,),
        ("gate", "rejected"): (OTHERWISE,),
    },
    "no_judge": {
        ("intake", "look"): ("speculate",),
        ("gate", "accepted"): (ANSWERED,),
        ("gate", "rejected"): (OTHERWISE,),
    },
    # every phase has its say, whatever the others find
    "watching": {
        ("intake", "look"): ("judge",),
        ("judge", "no_tools"): ("speculate",),
        ("judge", "tools"): ("speculate",),
        ("gate", "accepted"): (ANSWERED,),
        ("gate", "rejected"): (OTHERWISE,),
    },
}
"""`speculate` is always followed by `gate`; what intake leaves is the agent's in every order."""


WATCHING = "watching"
"""The order of a front end whose answers nobody waits for."""
CHOSEN = tuple(order for order in TABLES if order != WATCHING)
"""The orders that `order="auto"` chooses from."""


def outcome(phase: str, state: SpecEyesState) -> Outcome:
    """What a phase came to."""
    if phase == "intake":
        return "leave" if query_of(state)["reason"] else "look"
    if phase == "judge":
        return "tools" if needs_tools(state) else "no_tools"
    return "accepted" if accepted(state) else "rejected"


def next_phases(phase: str, state: SpecEyesState) -> tuple[str, ...]:
    """The phases that follow one, by the order of the query."""
    found = outcome(phase, state)
    return (OTHERWISE,) if found == "leave" else TABLES[order_of(state)][phase, found]


def order_of(state: SpecEyesState) -> str:
    """The order of a query's phases."""
    order = query_of(state)["order"]
    return order["order"] if order else "no_judge"


def destinations(phase: str, orders: tuple[str, ...]) -> set[str]:
    """All that may follow a phase in some orders."""
    found = {node for order in orders for (at, _), nodes in TABLES[order].items() if at == phase for node in nodes}
    return found | {OTHERWISE} if phase == "intake" else found


def needs_tools(state: Mapping[str, Any]) -> bool:
    """Whether the judge screened a query out."""
    judgment = state.get("speceyes_judgment")
    return judgment is not None and judgment["tools_needed"]


def accepted(state: Mapping[str, Any]) -> bool:
    """Whether the gate accepted, and a judge that has spoken by then agrees."""
    verdict = state.get("speceyes_verdict")
    return verdict is not None and verdict["accepted"] and not needs_tools(state)

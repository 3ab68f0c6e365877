"""Where a query goes next: a table for each order of judge and speculator, from a phase and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from langgraph_speceyes.depths import at_depth, depths_of, newest_depth, split_depth
from langgraph_speceyes.state import SpecEyesState, query_of

Outcome = (
    Literal["look", "leave", "tools", "no_tools", "accepted", "rejected"]
    | Literal["not_alone", "stands_alone", "unjudged", "seen", "nothing"]
)
"""The second half only where there are looks."""
ANSWERED, OTHERWISE = "answered", "otherwise"
"""Where the table ends: the speculation is the answer; the query is the agent's."""

Table = dict[tuple[str, Outcome], tuple[str, ...]]

TABLES: dict[str, Table] = {
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


@cache
def table(order: str, looks: int = 0) -> Table:
    """The table of an order, grown by looks: what was rejected, or needs tools, is looked at again.

    A follow-up of which the judge says that it needs tools may need the conversation instead, which no look shows: it
    is the agent's, and where the judge has not been asked it is asked before the first look.

    Args:
        order: A key of :data:`TABLES`.
        looks: How many looks there are; shadow runs know none.
    """
    grown = dict(TABLES[order])
    if not looks or order == WATCHING:
        return grown
    if ("judge", "tools") in grown:
        grown["judge", "not_alone"] = grown["judge", "tools"]
        if order == "parallel":
            grown["gate", "not_alone"] = (OTHERWISE,)
        if order == "speculate_first":
            grown["gate", "unjudged"] = ("judge",)
            grown["judge", "stands_alone"] = ("look_1",)
    for key in (("gate", "rejected"), ("judge", "tools")):
        if grown.get(key) == (OTHERWISE,):
            grown[key] = ("look_1",)
    for depth in range(1, looks + 1):
        onward = (at_depth("look", depth + 1) if depth < looks else OTHERWISE,)
        grown[at_depth("look", depth), "seen"] = (at_depth("speculate", depth),)
        grown[at_depth("look", depth), "nothing"] = onward
        grown[at_depth("gate", depth), "accepted"] = (ANSWERED,)
        grown[at_depth("gate", depth), "rejected"] = onward
    return grown


def outcome(phase: str, state: SpecEyesState, looks: int = 0) -> Outcome:
    """What a phase came to."""
    name, depth = split_depth(phase)
    if name == "intake":
        return "leave" if query_of(state)["reason"] else "look"
    if name == "look":
        return "seen" if depths_of(state)[-1]["observations"] else "nothing"
    follows = bool(looks) and query_of(state)["follow_up"]
    if name == "judge":
        if needs_tools(state):
            return "not_alone" if follows else "tools"
        unsure = follows and order_of(state) == "speculate_first" and not accepted(state)
        return "stands_alone" if unsure else "no_tools"
    if accepted(state):
        return "accepted"
    if not depth and follows and order_of(state) != "no_judge":
        if state.get("speceyes_judgment") is None:
            return "unjudged"
        if needs_tools(state):
            return "not_alone"
    return "rejected"


def next_phases(phase: str, state: SpecEyesState, looks: int = 0) -> tuple[str, ...]:
    """The phases that follow one, by the order of the query."""
    found = outcome(phase, state, looks)
    return (OTHERWISE,) if found == "leave" else table(order_of(state), looks)[phase, found]


def order_of(state: SpecEyesState) -> str:
    """The order of a query's phases."""
    order = query_of(state)["order"]
    return order["order"] if order else "no_judge"


def destinations(phase: str, orders: tuple[str, ...], looks: int = 0) -> set[str]:
    """All that may follow a phase in some orders."""
    tables = [table(order, looks) for order in orders]
    found = {node for one in tables for (at, _), nodes in one.items() if at == phase for node in nodes}
    return found | {OTHERWISE} if phase == "intake" else found


def needs_tools(state: Mapping[str, Any]) -> bool:
    """Whether the judge screened a query out."""
    judgment = state.get("speceyes_judgment")
    return judgment is not None and judgment["tools_needed"]


def accepted(state: Mapping[str, Any]) -> bool:
    """Whether the gate accepted, and a judge that has spoken by then agrees: it speaks of answers without a look."""
    verdict = state.get("speceyes_verdict")
    return verdict is not None and verdict["accepted"] and (newest_depth(state) > 0 or not needs_tools(state))

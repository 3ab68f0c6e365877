"""Where a query goes next: a table for each order of judge and speculator, from a phase and its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

from langgraph_speceyes.depths import at_depth, depths_of, left_out, newest_depth, split_depth
from langgraph_speceyes.state import SpecEyesState, query_of

Outcome = (
    Literal["look", "leave", "tools", "no_tools", "accepted", "rejected"]
    | Literal["follows", "not_alone", "stands_alone", "unjudged", "seen", "nothing"]
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
    "watching_alone": {
        ("intake", "look"): ("speculate",),
        ("gate", "accepted"): (ANSWERED,),
        ("gate", "rejected"): (OTHERWISE,),
    },
}
"""`speculate` is always followed by `gate`; what intake leaves is the agent's in every order."""


WATCHING, WATCHING_ALONE = "watching", "watching_alone"
"""The orders of a front end whose answers nobody waits for, with a judge and without."""
CHOSEN = tuple(order for order in TABLES if order not in (WATCHING, WATCHING_ALONE))
"""The orders that `order="auto"` chooses from."""


@cache
def table(order: str, looks: int = 0, without: tuple[int, ...] = ()) -> Table:
    """The table of an order, grown by looks: what was rejected, or needs tools, is looked at again.

    A follow-up of which the judge says that it needs tools may need the conversation instead, which no look shows: it
    is the agent's, and where the judge has not been asked it is asked before the first look.

    Where nobody waits for the answers, questions go through all depths.

    Args:
        order: A key of :data:`TABLES`.
        looks: How many looks there are.
        without: Depths that are left out. Without depth 0 the judge has nothing to say but of follow-ups.
    """
    if not looks:
        return dict(TABLES[order])
    watched, judged = order in (WATCHING, WATCHING_ALONE), order not in ("no_judge", WATCHING_ALONE)
    taken = [depth for depth in range(1, looks + 1) if depth not in without]
    nodes = [*(at_depth("look", depth) for depth in taken), OTHERWISE]
    grown = _without_depth_0(nodes[0], judged) if 0 in without else _from_depth_0(order, nodes[0])
    for depth, onward in zip(taken, nodes[1:], strict=True):
        grown[at_depth("look", depth), "seen"] = (at_depth("speculate", depth),)
        grown[at_depth("look", depth), "nothing"] = (onward,)
        grown[at_depth("gate", depth), "accepted"] = (onward if watched else ANSWERED,)
        grown[at_depth("gate", depth), "rejected"] = (onward,)
    return grown


def _from_depth_0(order: str, first: str) -> Table:
    grown = dict(TABLES[order])
    if ("judge", "tools") in grown:
        grown["judge", "not_alone"] = grown["judge", "tools"]
        if order in ("parallel", WATCHING):
            grown["gate", "not_alone"] = (OTHERWISE,)
        if order == "speculate_first":
            grown["gate", "unjudged"] = ("judge",)
            grown["judge", "stands_alone"] = (first,)
    for key in (("gate", "rejected"), ("judge", "tools")):
        if grown.get(key) == (OTHERWISE,):
            grown[key] = (first,)
    if order in (WATCHING, WATCHING_ALONE):
        grown["gate", "accepted"] = (first,)
    return grown


def _without_depth_0(first: str, judged: bool) -> Table:
    grown: Table = {("intake", "look"): (first,)}
    if judged:
        grown["intake", "follows"] = ("judge",)
        grown["judge", "no_tools"] = (first,)
        grown["judge", "not_alone"] = (OTHERWISE,)
    return grown


def outcome(phase: str, state: SpecEyesState, looks: int = 0, order: str | None = None) -> Outcome:
    """What a phase came to, in the order of the query or in another."""
    name, depth = split_depth(phase)
    follows = bool(looks) and query_of(state)["follow_up"]
    order, without = order or order_of(state), left_out(state)
    judged = order not in ("no_judge", WATCHING_ALONE)
    if name == "intake":
        if query_of(state)["reason"]:
            return "leave"
        return "follows" if follows and judged and 0 in without else "look"
    if name == "look":
        return "seen" if depths_of(state)[-1]["observations"] else "nothing"
    if name == "judge":
        if needs_tools(state):
            return "not_alone" if follows else "tools"
        unsure = follows and order == "speculate_first" and 0 not in without and not accepted(state)
        return "stands_alone" if unsure else "no_tools"
    if not depth and follows and order == WATCHING and needs_tools(state):
        return "not_alone"
    if accepted(state):
        return "accepted"
    if not depth and follows and judged:
        if state.get("speceyes_judgment") is None:
            return "unjudged"
        if needs_tools(state):
            return "not_alone"
    return "rejected"


def next_phases(phase: str, state: SpecEyesState, looks: int = 0, order: str | None = None) -> tuple[str, ...]:
    """The phases that follow one, in the order of the query or in another."""
    found = outcome(phase, state, looks, order)
    if found == "leave":
        return (OTHERWISE,)
    return table(order or order_of(state), looks, left_out(state))[phase, found]


def order_of(state: SpecEyesState) -> str:
    """The order of a query's phases."""
    order = query_of(state)["order"]
    return order["order"] if order else "no_judge"


def destinations(
    phase: str, orders: Sequence[str], looks: int = 0, leaving: Sequence[tuple[int, ...]] = ((),)
) -> set[str]:
    """All that may follow a phase in some orders, some depths being left out."""
    tables = [table(order, looks, without) for order in orders for without in leaving]
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

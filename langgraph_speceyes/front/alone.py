"""Judge, speculator and gate alone as a graph: between intake and what follows from their records."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NotRequired, get_type_hints

from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from typing_extensions import TypedDict

from langgraph_speceyes.front.end import FrontEnd
from langgraph_speceyes.state import Records


def alone(front: FrontEnd, keys: Collection[str]) -> Pregel[Any, Any, Any, Any]:
    """Compile the phases of a front end without an agent.

    Args:
        front: The phases.
        keys: Keys of the state around them.

    Returns:
        A compiled graph, whose output holds the phases' records.
    """
    # nothing is reduced in it: values come and go as they are
    hints = {**get_type_hints(Records, include_extras=True), **dict.fromkeys(keys, NotRequired[Any])}
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(TypedDict("FrontState", hints))  # type: ignore[operator]
    front.wire(graph, START, END, END, noted=False)
    # over before the node is: nothing of it is worth a checkpoint of its own
    return graph.compile(name="front", checkpointer=False)

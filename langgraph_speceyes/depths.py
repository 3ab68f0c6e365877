"""The record of the depths: what the small model answered as it stands, and after each look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph_speceyes.state import Depth


def at_depth(phase: str, depth: int) -> str:
    """A phase's name at a depth: `gate`, `gate_1`, `gate_2`, ..."""
    return f"{phase}_{depth}" if depth else phase


def split_depth(name: str) -> tuple[str, int]:
    """The phase and the depth of a name that :func:`at_depth` made."""
    phase, _, depth = name.partition("_")
    return phase, int(depth or 0)


def depths_of(state: Mapping[str, Any]) -> list[Depth]:
    """Each depth that was reached, from 0 on; empty in a graph without looks.

    Depth 0 is what the phases' own records say as long as there was no look.
    """
    found: list[Depth] | None = state.get("speceyes_depths")
    if found is None:
        return []
    return found or [
        Depth(
            look=None,
            observations=[],
            seconds=0.0,
            error=None,
            speculation=state.get("speceyes_speculation"),
            verdict=state.get("speceyes_verdict"),
        )
    ]


def left_out(state: Mapping[str, Any]) -> tuple[int, ...]:
    """The depths that a query may not come to."""
    query = state.get("speceyes_query")
    choice = query.get("depth_choice") if query else None
    return tuple(choice["left_out"]) if choice else ()


def newest_depth(state: Mapping[str, Any]) -> int:
    """The depth of the newest speculation: that of the records `speceyes_speculation` and `speceyes_verdict`."""
    asked = [number for number, depth in enumerate(depths_of(state)) if depth["speculation"] is not None]
    return asked[-1] if asked else 0


def counted(blocks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How much a look has shown: images, and characters of text."""
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    return {"images": len(blocks) - len(texts), "characters": sum(map(len, texts))}


def depth_update(state: Mapping[str, Any], depth: int, **found: Any) -> dict[str, Any]:
    """The state update that adds a record to the newest depth; depth 0's stand where they always do."""
    if not depth:
        return {}
    *before, last = depths_of(state)
    return {"speceyes_depths": [*before, {**last, **found}]}


def depth_shown(state: Mapping[str, Any], depth: int) -> dict[str, int]:
    """What an event says of its depth: nothing in a graph without looks."""
    return {} if state.get("speceyes_depths") is None else {"depth": depth}

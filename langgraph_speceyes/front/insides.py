"""What agents of LangChain and LangGraph keep in the closures of their nodes, and nowhere else."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import FunctionType
from typing import Any

MODEL_NODES = ("model", "agent")
"""Names of the node that calls the model: `create_agent`'s, and `create_react_agent`'s."""
_FAR = 32


def format_of(agent: object) -> Any:
    """The `response_format` that an agent of LangChain's `create_agent` was made with; None where it has none."""
    return _closure(_function(agent, "model")).get("initial_response_format")


def author_of(agent: object) -> str | None:
    """The name that an agent writes on its answers, as one of `create_agent` or `create_react_agent` does.

    Returns:
        The name; None where it writes none, or where that cannot be seen.
    """
    found = (author_in(_function(agent, node)) for node in MODEL_NODES)
    return next((name for name in found if name), None)


def author_in(function: object) -> str | None:
    """The name that a function writes on messages, or one that it calls; see :func:`author_of`."""
    waiting, seen = deque([function]), set[int]()
    while waiting and len(seen) < _FAR:
        one = waiting.popleft()
        if not isinstance(one, FunctionType) or id(one) in seen:
            continue
        seen.add(id(one))
        kept = _closure(one)
        # `message.name = name`
        if "name" in kept and "name" in one.__code__.co_names:
            name = kept["name"]
            return name if isinstance(name, str) and name else None
        waiting.extend(kept.values())
    return None


def _function(agent: object, node: str) -> object:
    """The function of a node of an agent."""
    nodes = getattr(getattr(agent, "builder", agent), "nodes", None)
    found = nodes.get(node) if isinstance(nodes, Mapping) else None
    return getattr(getattr(found, "runnable", None), "func", None)


def _closure(function: object) -> dict[str, Any]:
    """What a function has taken along from where it was made, by name."""
    if not isinstance(function, FunctionType) or function.__closure__ is None:
        return {}
    kept = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
        try:
            kept[name] = cell.cell_contents
        except ValueError:
            continue  # not bound yet
    return kept

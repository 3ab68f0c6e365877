"""Running the front end as a graph of its own inside another node: its events are shown to all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.config import get_stream_writer
from langgraph.pregel import Pregel

DURABILITY = "__pregel_durability"
"""Where LangGraph hands down when checkpoints are written."""


class NestedRun:
    """A run of the front end: its newest values; its custom events go on at once, until it is abandoned."""

    def __init__(self) -> None:
        self.abandoned = False
        # events of a graph within a graph are shown to those only who ask for subgraphs
        self._write: Callable[[Any], None] = get_stream_writer()
        self.values: dict[str, Any] = {}

    def take(self, part: Any) -> None:
        """Take in a part of the run's stream."""
        mode, data = part
        if self.abandoned:
            return
        if mode == "custom":
            self._write(data)
        else:
            self.values = data


def run_nested(
    front: Pregel[Any, Any, Any, Any], given: Any, config: RunnableConfig | None = None, run: NestedRun | None = None
) -> dict[str, Any]:
    """Run a front end.

    Args:
        front: The compiled front end.
        given: Its input.
        config: The config to run with; None for the ambient one.
        run: What takes in its stream.

    Returns:
        Its last state.
    """
    last, modes = run or NestedRun(), ["custom", "values"]
    for part in front.stream(given, _roomy(config, front), stream_mode=modes):  # type: ignore[arg-type]
        if last.abandoned:
            break  # what it has not begun is not begun any more
        last.take(part)
    return last.values


async def arun_nested(
    front: Pregel[Any, Any, Any, Any], given: Any, config: RunnableConfig | None = None, run: NestedRun | None = None
) -> dict[str, Any]:
    """Run a front end; see :func:`run_nested`."""
    last, modes = run or NestedRun(), ["custom", "values"]
    async for part in front.astream(given, _roomy(config, front), stream_mode=modes):  # type: ignore[arg-type]
        if last.abandoned:
            break  # what it has not begun is not begun any more
        last.take(part)
    return last.values


def _roomy(config: RunnableConfig | None, front: Pregel[Any, Any, Any, Any]) -> RunnableConfig:
    """A config with room for the front end, whatever the run around it is held to.

    The thread that LangGraph streams with takes one of the places of `max_concurrency`, and waits for ever if there is
    no other; two calls come at once. A limit on steps is the agent's. And LangGraph fails where it is to wait for
    checkpoints (`durability="sync"`) that a graph does not make.
    """
    given = config or var_child_runnable_config.get() or RunnableConfig()
    settings = {**((config or {}).get("configurable") or {}), DURABILITY: "async"}
    room = RunnableConfig(recursion_limit=max(given.get("recursion_limit") or 0, len(front.nodes) + 2))
    if limit := given.get("max_concurrency"):
        room["max_concurrency"] = max(limit, 3)
    return RunnableConfig(**{**(config or {}), **room, "configurable": settings})

"""Running the front end as a graph of its own inside another node: its events are shown to all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.pregel import Pregel


class Look:
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


def look(
    front: Pregel[Any, Any, Any, Any], given: Any, config: RunnableConfig | None = None, run: Look | None = None
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
    last, modes = run or Look(), ["custom", "values"]
    for part in front.stream(given, config, stream_mode=modes):  # type: ignore[arg-type]
        last.take(part)
    return last.values


async def alook(
    front: Pregel[Any, Any, Any, Any], given: Any, config: RunnableConfig | None = None, run: Look | None = None
) -> dict[str, Any]:
    """Run a front end; see :func:`look`."""
    last, modes = run or Look(), ["custom", "values"]
    async for part in front.astream(given, config, stream_mode=modes):  # type: ignore[arg-type]
        last.take(part)
    return last.values

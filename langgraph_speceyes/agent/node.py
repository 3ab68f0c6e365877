"""A graph node with a sync and an async form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig

State = Mapping[str, Any]
Update = dict[str, Any]


class DualNode(Runnable[Any, Any]):
    """Two functions as one node; unlike ``RunnableLambda`` it adds no run of its own to a trace.

    Args:
        sync: Runs under ``invoke``.
        asynchronous: Runs under ``ainvoke``.
    """

    def __init__(
        self,
        sync: Callable[[State, RunnableConfig], Update],
        asynchronous: Callable[[State, RunnableConfig], Awaitable[Update]],
    ) -> None:
        self._sync = sync
        self._async = asynchronous

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the sync form."""
        return self._sync(input, config or {})

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the async form."""
        return await self._async(input, config or {})

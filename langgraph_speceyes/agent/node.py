"""A graph node with a sync and an async form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

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


class Route(Runnable[Any, str]):
    """The function of a conditional edge, without a run of its own in a trace.

    Args:
        choose: The next node of a state.
    """

    def __init__(self, choose: Callable[[Any], str]) -> None:
        self._choose, self.name = choose, choose.__name__

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> str:
        """The next node."""
        return self._choose(input)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> str:
        """The next node."""
        return self._choose(input)


class SubgraphNode(RunnableLambda[Any, Any]):
    """The same around a graph, which LangGraph then finds: nested state, streams and drawings reach into it.

    LangGraph looks for subgraphs among the `deps` of a ``RunnableLambda``; unlike one, it adds no run to a trace.

    Args:
        sync: Runs under ``invoke``.
        asynchronous: Runs under ``ainvoke``.
        subgraph: The graph that both run.
    """

    def __init__(
        self,
        sync: Callable[[State, RunnableConfig], Update],
        asynchronous: Callable[[State, RunnableConfig], Awaitable[Update]],
        subgraph: Runnable[Any, Any],
    ) -> None:
        super().__init__(sync, afunc=asynchronous)
        self._sync, self._async, self._subgraph = sync, asynchronous, subgraph

    # the plain forms, which only call invoke and ainvoke
    stream, astream = Runnable.stream, Runnable.astream
    transform, atransform = Runnable.transform, Runnable.atransform

    @property
    def deps(self) -> list[Runnable[Any, Any]]:
        """The graph."""
        return [self._subgraph]

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the sync form."""
        return self._sync(input, config or {})

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the async form."""
        return await self._async(input, config or {})

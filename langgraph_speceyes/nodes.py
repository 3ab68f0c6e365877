"""A graph node with a sync and an async form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.errors import GraphBubbleUp

from langgraph_speceyes.contained import contained
from langgraph_speceyes.foreign import cleaned
from langgraph_speceyes.tracing import masked_beneath

State = Mapping[str, Any]
Update = dict[str, Any]


class _Cleaning:
    """Errors leave the block without image data and credentials; LangGraph's own signals as they are."""

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the block."""
        if isinstance(error, Exception) and not isinstance(error, GraphBubbleUp):
            cleaned(error)


class DualNode(Runnable[Any, Any]):
    """Two functions as one node; unlike ``RunnableLambda`` it adds no run of its own to a trace.

    What they raise goes on as the same object, without image data and credentials: checkpoints and traces quote it.

    Args:
        sync: Runs under ``invoke``.
        asynchronous: Runs under ``ainvoke``.
        trace_images: Whether the runs beneath show images instead of their digests.
    """

    def __init__(
        self,
        sync: Callable[[State, RunnableConfig], Update],
        asynchronous: Callable[[State, RunnableConfig], Awaitable[Update]],
        *,
        trace_images: bool = False,
    ) -> None:
        self._sync, self._async, self._beneath = sync, asynchronous, nullcontext if trace_images else masked_beneath

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the sync form."""
        with contained(), self._beneath(config or {}) as inner, _Cleaning():
            return self._sync(input, inner)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the async form."""
        with contained(), self._beneath(config or {}) as inner, _Cleaning():
            return await self._async(input, inner)


class Route(Runnable[Any, Any]):
    """The function of a conditional edge, without a run of its own in a trace.

    Args:
        choose: The next node of a state.
        chosen: Told of every choice, with the config of the node it was made at.
    """

    def __init__(
        self, choose: Callable[[Any], Any], chosen: Callable[[RunnableConfig, Any], None] | None = None
    ) -> None:
        self._choose, self._chosen, self.name = choose, chosen, choose.__name__

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:
        """The next node."""
        destination = self._choose(input)
        if self._chosen is not None:
            self._chosen(config or {}, destination)
        return destination

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:
        """The next node."""
        return self.invoke(input, config)


class SubgraphNode(RunnableLambda[Any, Any]):
    """The same around a graph, which LangGraph then finds: nested state, streams and drawings reach into it.

    LangGraph looks for subgraphs among the `deps` of a ``RunnableLambda``; unlike one, it adds no run to a trace.

    Args:
        sync: Runs under ``invoke``.
        asynchronous: Runs under ``ainvoke``.
        subgraph: The graph that both run.
        trace_images: Whether the runs beneath show images instead of their digests.
    """

    def __init__(
        self,
        sync: Callable[[State, RunnableConfig], Update],
        asynchronous: Callable[[State, RunnableConfig], Awaitable[Update]],
        subgraph: Runnable[Any, Any],
        *,
        trace_images: bool = False,
    ) -> None:
        super().__init__(sync, afunc=asynchronous)
        self._node, self._subgraph = DualNode(sync, asynchronous, trace_images=trace_images), subgraph

    # the plain forms, which only call invoke and ainvoke
    stream, astream = Runnable.stream, Runnable.astream
    transform, atransform = Runnable.transform, Runnable.atransform

    @property
    def deps(self) -> list[Runnable[Any, Any]]:
        """The graph."""
        return [self._subgraph]

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the sync form."""
        return self._node.invoke(input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:
        """Run the async form."""
        return await self._node.ainvoke(input, config)

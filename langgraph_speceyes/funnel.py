"""Many queries at once: each on its own whole path, their front ends in shared batches."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired

from langchain_core.messages import AnyMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from langgraph.runtime import get_runtime
from langgraph.types import Command, Overwrite, Send
from typing_extensions import TypedDict

from langgraph_speceyes.contained import contained
from langgraph_speceyes.errors import ArgumentError, describe_error
from langgraph_speceyes.nodes import DualNode, SubgraphNode
from langgraph_speceyes.question import conversation
from langgraph_speceyes.state import Decision
from langgraph_speceyes.tracing import trace_policy


class Outcome(TypedDict):
    """What came of one query.

    Attributes:
        index: Its place in the input.
        answer: The answer's text; None when the query failed, or its answer is in another key.
        state: What the agent's other keys came to.
        decision: What was decided and why; None when the query failed.
        error: Why it failed, or None.
    """

    index: int
    answer: str | None
    state: dict[str, Any]
    decision: Decision | None
    error: str | None


class FunnelInput(TypedDict):
    """One input for each query: its messages, or the whole input state of an agent with other keys."""

    queries: list[list[AnyMessage] | dict[str, Any]]


class FunnelOutput(TypedDict):
    """One outcome for each query, in the order of the input."""

    outcomes: list[Outcome]


class _Task(TypedDict):
    index: int
    given: dict[str, Any]


class _State(TypedDict):
    queries: list[list[AnyMessage] | dict[str, Any]]
    arrived: Annotated[list[Outcome], operator.add]
    outcomes: NotRequired[list[Outcome]]


def create_funnel(
    speceyes: StateGraph[Any, Any, Any, Any] | Runnable[Any, Any], *, trace_images: bool = False
) -> StateGraph[Any, Any, Any, Any]:
    """A graph that takes many queries and sends each through the bypass on a path of its own.

    A fast query never waits for a slow one: each is one `Send` that holds its whole path, and its outcome is streamed
    as soon as it is there (`stream_mode="updates"`: `{"query": {"arrived": [outcome]}}`). The calls of queries under
    way together share forward batches in models that batch. One query's failure is that query's outcome. How many
    queries are under way at once is the run's `max_concurrency`; the cap on agents is
    `create_speceyes(max_concurrent_agents=...)`. In the sync form queries run on threads, as many as `max_concurrency`
    allows (by default a few more than there are cores): use the async form, or set it, for large batches.

    Args:
        speceyes: What :func:`create_speceyes` returns, compiled or not.
        trace_images: Whether the queries' runs in LangSmith show images; by default their digests.

    Returns:
        An uncompiled graph from :class:`FunnelInput` to :class:`FunnelOutput`.
    """
    one = speceyes.compile(name="speceyes") if isinstance(speceyes, StateGraph) else speceyes

    def spread(state: Any, config: RunnableConfig) -> Any:
        queries = state.get("queries")
        if not isinstance(queries, list):
            raise ArgumentError("queries", "a list with one list of messages for each query", type(queries).__name__)
        given = [q if isinstance(q, Mapping) else {"messages": q} for q in queries]
        sends = [Send("query", _Task(index=i, given=dict(q))) for i, q in enumerate(given)]
        # a thread may hold outcomes of an earlier run
        return Command(goto=sends or "collect", update={"arrived": Overwrite([])})

    async def aspread(state: Any, config: RunnableConfig) -> Any:
        return spread(state, config)

    def query(task: Any, config: RunnableConfig) -> dict[str, Any]:
        try:
            with contained():
                return _arrived(task, one.invoke(task["given"], config, **_context(one)))
        except GraphBubbleUp:
            raise
        except Exception as error:
            return _failed(task, error)

    async def aquery(task: Any, config: RunnableConfig) -> dict[str, Any]:
        try:
            with contained():
                return _arrived(task, await one.ainvoke(task["given"], config, **_context(one)))
        except GraphBubbleUp:
            raise
        except Exception as error:
            return _failed(task, error)

    def collect(state: _State) -> dict[str, Any]:
        return {"outcomes": sorted(state.get("arrived", []), key=lambda outcome: outcome["index"])}

    graph = StateGraph(_State, input_schema=FunnelInput, output_schema=FunnelOutput)
    shown = trace_policy(trace_images)
    node = SubgraphNode(query, aquery, one, trace_images=trace_images)
    graph.add_node("query", node, input_schema=_Task, trace_policy=shown)
    graph.add_node("collect", collect, trace_policy=shown)
    # a node, because the run of a conditional edge at START would show the queries' images
    graph.add_node("spread", DualNode(spread, aspread), destinations=("query", "collect"), trace_policy=shown)
    graph.add_edge(START, "spread")
    graph.add_edge("query", "collect")
    graph.add_edge("collect", END)
    return graph


def _context(one: object) -> dict[str, Any]:
    """The context as it is given to a graph that makes an object of it; the funnel does not know what that is."""
    context = get_runtime().context
    return {"context": context} if isinstance(context, dict) and isinstance(one, Pregel) else {}


def _arrived(task: _Task, result: dict[str, Any]) -> dict[str, Any]:
    # an agent without a reducer may keep them as dicts
    messages = conversation(result.get("messages"))
    answer = messages[-1].text if messages else None
    others = {key: value for key, value in result.items() if key not in ("messages", "decision")}
    made = Outcome(index=task["index"], answer=answer, state=others, decision=result["decision"], error=None)
    return {"arrived": [made]}


def _failed(task: _Task, error: Exception) -> dict[str, Any]:
    failed = Outcome(index=task["index"], answer=None, state={}, decision=None, error=describe_error(error))
    return {"arrived": [failed]}

"""Commands for the graph around the bypass, and the tools that hand over to other agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import replace
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.graph import Graph
from langgraph.errors import ParentCommand
from langgraph.graph.state import CompiledStateGraph, StateGraph
from langgraph.types import Command

from langgraph_speceyes.behind.caller import apart, called
from langgraph_speceyes.front.scope import RunScope

TOOLS = "tools"
"""Name of the tools' node in agents of LangChain, by which handoffs are found."""


@contextmanager
def handed_up(config: RunnableConfig) -> Iterator[None]:
    """Let an agent's command for its parent reach the graph around the bypass, which is one level further up.

    Args:
        config: The config of the node that the agent runs in.
    """
    try:
        yield
    except ParentCommand as command:
        raise ParentCommand(_upwards(command.args[0], config)) from None


def _upwards(command: Command[Any], config: RunnableConfig) -> Command[Any]:
    here: str = (config.get("configurable") or {}).get("checkpoint_ns", "")
    target = command.graph or Command.PARENT
    levels = here.split("|")
    if target == Command.PARENT or target in (here, _names(here)) or target.startswith(f"{here}|"):
        return replace(command, graph=Command.PARENT)
    if target == _names(levels[-1]):
        # a graph further up of the same name as this node, which must not keep it
        above = [i for i in range(len(levels) - 1) if _names(levels[i]) == target]
        return replace(command, graph="|".join(levels[: above[-1] + 1]) if above else Command.PARENT)
    return command


def _names(namespace: str) -> str:
    """A namespace without the ids of its tasks."""
    return "|".join(level.split(":")[0] for level in namespace.split("|"))


def agent_tools(agent: object) -> Runnable[Any, Any] | None:
    """The node of an agent that holds its tools, if it has one."""
    nodes = getattr(agent, "nodes", None)
    node = nodes.get(TOOLS) if isinstance(nodes, dict) else None
    bound = getattr(node, "bound", None)
    return bound if isinstance(bound, Runnable) and hasattr(bound, "tools_by_name") else None


class CompiledBypass(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled bypass, whose picture shows the agent's tools: there frameworks find whom it hands over to.

    However a run of it ends, what it had announced to batching models is taken back: an interrupt, a limit, or a caller
    who reads no further ends it between two nodes.
    """

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:
        """Run the graph and yield what is streamed."""
        config = self._called(input, config, options)
        with RunScope(self.cache) as run, closing(super().stream(input, config, **options)) as parts:  # type: ignore[type-var]
            under_way = run.under_way()
            while True:
                try:
                    with under_way:
                        part = next(parts)
                except StopIteration:
                    return
                yield part

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        """Run the graph and yield what is streamed."""
        config = self._called(input, config, options)
        with RunScope(self.cache) as run:
            async with aclosing(super().astream(input, config, **options)) as parts:  # type: ignore[type-var]
                under_way = run.under_way()
                while True:
                    try:
                        with under_way:
                            part = await anext(parts)
                    except StopAsyncIteration:
                        return
                    yield part

    @property
    def traffic(self) -> Any:
        """What watches its questions (:class:`~langgraph_speceyes.traffic.watch.Traffic`)."""
        return getattr(self.builder, "traffic", None)

    @property
    def tools(self) -> Runnable[Any, Any] | None:
        """The node of the agent that holds its tools."""
        return agent_tools(getattr(self.builder, "agent", None))

    def get_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """A picture of the graph."""
        return self._with_tools(super().get_graph(config, xray=xray))

    async def aget_graph(self, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
        """A picture of the graph."""
        return self._with_tools(await super().aget_graph(config, xray=xray))

    def _called(self, input: Any, config: RunnableConfig | None, options: dict[str, Any]) -> RunnableConfig | None:
        config = called(input, config, self.config, len(self.nodes))
        if options.get("context") is not None:
            schema = getattr(self.builder, "agent_context", None)
            options["context"], config = apart(options["context"], schema, config)
        return config

    def _with_tools(self, graph: Graph) -> Graph:
        agent = graph.nodes.get("agent")
        if self.tools is None or agent is None or TOOLS in graph.nodes:
            return graph
        tools = graph.add_node(self.tools, id=TOOLS)
        graph.add_edge(agent, tools, conditional=True)
        graph.add_edge(tools, agent)
        return graph


class BypassGraph(StateGraph[Any, Any, Any, Any]):
    """The bypass before it is compiled; what the agent was compiled with is the default.

    Attributes:
        agent: The agent as it was given.
        agent_context: What it wants as `context`.
        traffic: What watches its questions.
    """

    agent: object = None
    agent_context: type[Any] | None = None
    traffic: Any = None

    def compile(self, checkpointer: Any = None, **options: Any) -> CompiledBypass:
        """Compile it, by default with the agent's own checkpointer, store, cache and name."""
        if checkpointer is None and not isinstance(own := getattr(self.agent, "checkpointer", None), bool):
            checkpointer = own
        for option in ("store", "cache"):
            if options.get(option) is None and (own := getattr(self.agent, option, None)) is not None:
                options[option] = own
        name = getattr(self.agent, "name", None)
        if options.get("name") is None and isinstance(name, str) and name != "LangGraph":
            options["name"] = name
        compiled: Any = super().compile(checkpointer, **options)
        compiled.__class__ = CompiledBypass
        return compiled  # type: ignore[no-any-return]

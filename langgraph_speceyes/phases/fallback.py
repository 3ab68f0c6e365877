"""Phase IV: the agent, with all its tools."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.pregel import Pregel

from langgraph_speceyes.errors import SpecEyesError
from langgraph_speceyes.images import MessagesChannel, intern_images
from langgraph_speceyes.phases.calling import usage
from langgraph_speceyes.phases.decision import decide, signed
from langgraph_speceyes.phases.slots import Slots
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import SpecEyesState


class Fallback:
    """The full stateful loop of ``M_L`` (paper, phase IV), whatever agent it is.

    The agent runs as a subgraph of this graph: its checkpoints, interrupts, streams and traces nest under the run. Its
    last AI message becomes the answer; the steps in between stay in its own state.

    Args:
        agent: A compiled agent over `messages`.
        gate: The gate in use, for the record.
        slots: A cap on concurrent agent runs, or None.
    """

    def __init__(self, agent: Runnable[Any, Any], gate: Gate, slots: Slots | None) -> None:
        self.agent, self.gate, self.slots = agent, gate, slots
        channels = agent.channels if isinstance(agent, Pregel) else {}
        # such an agent reads references: a checkpoint of its input then holds no image bytes
        self._by_reference = isinstance(channels.get("messages"), MessagesChannel)

    def node(self) -> RunnableLambda[SpecEyesState, dict[str, Any]]:
        """The phase as a node: run the agent on the messages and append its answer."""
        # LangGraph finds a node's subgraph, for nested state and drawings, among the names its functions close over
        agent, slots = self.agent, self.slots

        def run(state: SpecEyesState, config: RunnableConfig) -> dict[str, Any]:
            with slots.hold() if slots else nullcontext():
                began = time.perf_counter()
                result = agent.invoke(self._input(state, config), config)
            return self._update(state, result, time.perf_counter() - began)

        async def arun(state: SpecEyesState, config: RunnableConfig) -> dict[str, Any]:
            async with slots.ahold() if slots else nullcontext():
                began = time.perf_counter()
                result = await agent.ainvoke(self._input(state, config), config)
            return self._update(state, result, time.perf_counter() - began)

        return RunnableLambda(run, afunc=arun, name="run agent")

    def _input(self, state: SpecEyesState, config: RunnableConfig) -> dict[str, Any]:
        messages = list(state["messages"])
        # a thread means a checkpointer, which would keep inline images twice more
        if self._by_reference and "thread_id" in config.get("configurable", {}):
            messages = cast(list[AnyMessage], intern_images(messages))
        return {"messages": messages}

    def _update(self, state: SpecEyesState, result: dict[str, Any], seconds: float) -> dict[str, Any]:
        known = {m.id for m in state["messages"] if m.id is not None}
        new = [m for m in result["messages"] if m.id not in known]
        answer = next((m for m in reversed(new) if isinstance(m, AIMessage)), None)
        if answer is None:
            raise SpecEyesError("agent: expected an AI message as its answer, found none among its new messages")
        calls = tool_calls(new, result.get("steps"))
        decision = decide(
            state,
            self.gate,
            "fallback",
            agent_seconds=seconds,
            agent_tokens=spent(new),
            tool_steps=len(calls),
            tool_calls=calls,
        )
        return signed(answer, decision)


def tool_calls(messages: Sequence[AnyMessage], steps: object = None) -> list[dict[str, Any]]:
    """An agent's tool calls: its own record of steps where it keeps one, else the tool messages it wrote."""
    if isinstance(steps, list):
        return [dict(step) for step in steps]
    asked = {c["id"]: c["args"] for m in messages if isinstance(m, AIMessage) for c in m.tool_calls}
    return [
        {
            "tool": m.name,
            "arguments": asked.get(m.tool_call_id),
            "text": m.text or None,
            "error": m.text if m.status == "error" else None,
        }
        for m in messages
        if isinstance(m, ToolMessage)
    ]


def spent(messages: Sequence[AnyMessage]) -> dict[str, int]:
    """Tokens that an agent's messages read and wrote."""
    found = [usage(m) for m in messages if isinstance(m, AIMessage)]
    return {"input": sum(u["input"] for u in found), "output": sum(u["output"] for u in found)}

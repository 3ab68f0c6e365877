"""Phase IV: the agent, with all its tools."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Overwrite

from langgraph_speceyes.behind.adopted import MESSAGES, AdoptedAgent
from langgraph_speceyes.behind.slots import Slots
from langgraph_speceyes.decision import decide, signed
from langgraph_speceyes.errors import AgentError
from langgraph_speceyes.events import emit
from langgraph_speceyes.front.calling import usage
from langgraph_speceyes.front.order import OrderChooser
from langgraph_speceyes.hedge.watch import Watch
from langgraph_speceyes.images import find_images
from langgraph_speceyes.nodes import SubgraphNode
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import SpecEyesState
from langgraph_speceyes.tracing import RunNotes

OutputMode = Literal["full_history", "last_message"]
OUTPUT_MODES: tuple[OutputMode, ...] = ("full_history", "last_message")


class Ran(NamedTuple):
    """A run of the agent.

    Attributes:
        result: What it returned.
        messages: Its messages, as messages.
        others: The other keys that it returns.
        seconds: Its wall time.
        waited: How long it waited for a slot, in seconds; None where it needs none.
    """

    result: Mapping[str, Any]
    messages: list[AnyMessage]
    others: dict[str, Any]
    seconds: float
    waited: float | None


class Fallback:
    """The full stateful loop of ``M_L`` (paper, phase IV), whatever agent it is.

    The agent runs as a subgraph of this graph: its checkpoints, interrupts, streams and traces nest under the run. It
    is given the state keys it takes and what it returns becomes the state, as if it ran alone.

    Args:
        agent: The agent.
        gate: The gate in use, for the record.
        slots: A cap on concurrent agent runs, or None.
        output_mode: Whether all of the agent's new messages become part of the state, or its answer only.
        answers: Whether the answer must be a message; False where it may be elsewhere in the agent's state.
        notes: What is noted on runs.
        chooser: What learns from the decision.
    """

    def __init__(
        self,
        agent: AdoptedAgent,
        gate: Gate,
        slots: Slots | None,
        output_mode: OutputMode,
        *,
        answers: bool,
        notes: RunNotes,
        chooser: OrderChooser | None = None,
    ) -> None:
        self.agent, self.gate, self.slots, self.output_mode, self.answers = agent, gate, slots, output_mode, answers
        self.notes, self.chooser = notes, chooser

    def node(self, trace_images: bool = False) -> SubgraphNode:
        """The phase as a node: run the agent on its part of the state.

        Args:
            trace_images: Whether the agent's runs show images instead of their digests.
        """
        return SubgraphNode(self._run, self._arun, self.agent.runnable, trace_images=trace_images)

    def _run(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        update = self.update(state, self.run(state, config))
        self.notes.phase(config, state, update)
        return update

    async def _arun(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        update = self.update(state, await self.arun(state, config))
        self.notes.phase(config, state, update)
        return update

    def run(self, state: SpecEyesState, config: RunnableConfig, watch: Watch | None = None) -> Ran:
        """Run the agent.

        Args:
            state: The graph's state.
            config: The node's config.
            watch: What watches over the run, and can stop it.

        Returns:
            What came of it.
        """
        asked = time.perf_counter()
        with self.slots.hold(watch.stopped if watch else None) if self.slots else nullcontext():
            began = time.perf_counter()
            if watch is not None:
                watch.begin()
            result = self.agent.callee.invoke(self.agent.input(state, config), config)
            seconds = time.perf_counter() - began
        return Ran(result, *self.agent.output(result), seconds, began - asked if self.slots else None)

    async def arun(self, state: SpecEyesState, config: RunnableConfig, watch: Watch | None = None) -> Ran:
        """Run the agent; see :meth:`run`."""
        asked = time.perf_counter()
        async with self.slots.ahold() if self.slots else nullcontext():
            began = time.perf_counter()
            if watch is not None:
                watch.begin()
            # images are read and written off the event loop
            given = await asyncio.to_thread(self.agent.input, state, config)
            result = await self.agent.callee.ainvoke(given, config)
            seconds = time.perf_counter() - began
        output = await asyncio.to_thread(self.agent.output, result)
        return Ran(result, *output, seconds, began - asked if self.slots else None)

    def update(self, state: SpecEyesState, ran: Ran) -> dict[str, Any]:
        """What a run of the agent does to the state around it.

        Raises:
            AgentError: The agent gave no answer.
        """
        messages, others = ran.messages, ran.others
        held: Sequence[AnyMessage] = state.get(MESSAGES) or []  # type: ignore[assignment]
        before = {m.id: m for m in held if m.id is not None}
        new = [m for m in messages if m.id is None or m.id not in before]
        calls = tool_calls(new, ran.result.get("steps"))
        decision = decide(
            state,
            self.gate,
            "fallback",
            agent_seconds=ran.seconds,
            slot_seconds=ran.waited,
            agent_tokens=spent(new),
            tool_steps=len(calls),
            tool_calls=calls,
        )
        update = {key: Overwrite(v) if key in self.agent.reduced else v for key, v in others.items()}
        answer = next((m for m in reversed(new) if isinstance(m, AIMessage)), None)
        if answer is None and self.answers:
            raise AgentError("agent: expected an AI message as its answer, found none among its new messages")
        if MESSAGES in self.agent.returned:
            said = None if answer is None else signed(answer, decision)
            if self.output_mode == "last_message":
                update[MESSAGES] = [] if said is None else [said]
            else:
                update[MESSAGES] = self._history(before, [said if said and m is answer else m for m in messages])
        if self.chooser:
            self.chooser.learn(decision)
        emit("decision", decision, state)
        return {**update, "decision": decision}

    def _history(self, before: Mapping[str, BaseMessage], messages: Sequence[AnyMessage]) -> Any:
        """The update that makes the state's messages those of the agent."""
        if self.agent.remote:
            # it repeats what it was given, with the images as data
            messages = [before.get(m.id, m) for m in messages]  # type: ignore[arg-type, misc]
        if MESSAGES in self.agent.reduced:
            return Overwrite(list(messages))
        kept = [m.id for m in messages if m.id is not None and m.id in before]
        if kept == list(before) == [m.id for m in messages[: len(before)]]:
            return [m for m in messages if m.id is None or m.id not in before or m != before[m.id]]
        # it removed or reordered some
        return [RemoveMessage(id=REMOVE_ALL_MESSAGES), *messages]


def tool_calls(messages: Sequence[AnyMessage], steps: object = None) -> list[dict[str, Any]]:
    """An agent's tool calls: the record of steps that a visual agent keeps, else the tool messages it wrote."""
    if isinstance(steps, list) and all(isinstance(step, Mapping) and "tool" in step for step in steps):
        return [dict(step) for step in steps]
    asked = {c["id"]: c["args"] for m in messages if isinstance(m, AIMessage) for c in m.tool_calls}
    return [_tool_call(m, asked.get(m.tool_call_id)) for m in messages if isinstance(m, ToolMessage)]


def _tool_call(message: ToolMessage, arguments: dict[str, Any] | None) -> dict[str, Any]:
    # inline data has no place in a record
    shown = next((ref for ref in find_images([message]) if ref.kind != "inline"), None)
    region = shown.region if shown else None
    return {
        "tool": message.name,
        "arguments": arguments,
        "box": [region.x, region.y, region.x + region.width, region.y + region.height] if region else None,
        "image": shown.uri if shown else None,
        "text": message.text or None,
        "error": message.text if message.status == "error" else None,
    }


def spent(messages: Sequence[AnyMessage]) -> dict[str, int]:
    """Tokens that an agent's messages read and wrote."""
    found = [usage(m) for m in messages if isinstance(m, AIMessage)]
    return {"input": sum(u["input"] for u in found), "output": sum(u["output"] for u in found)}

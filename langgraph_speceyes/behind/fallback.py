"""Phase IV: the agent, with all its tools."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.behind.abandoned import marked
from langgraph_speceyes.behind.agent import Agent, result_messages
from langgraph_speceyes.behind.caller import for_agent
from langgraph_speceyes.behind.handoff import handed_up
from langgraph_speceyes.behind.history import answer_of, last_answer, new_messages
from langgraph_speceyes.behind.meter import Cost, Meter, PausedRuns
from langgraph_speceyes.behind.pinned import with_images
from langgraph_speceyes.behind.result import Result
from langgraph_speceyes.behind.schema import MESSAGES
from langgraph_speceyes.behind.slots import Slots
from langgraph_speceyes.behind.waiting import aresume_update, resume_update
from langgraph_speceyes.contained import contained
from langgraph_speceyes.decision import decide, signed
from langgraph_speceyes.front.settled import Settled
from langgraph_speceyes.images import off_loop, readable_images
from langgraph_speceyes.nodes import SubgraphNode
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import Decision, SpecEyesState, query_id
from langgraph_speceyes.tracing import RunNotes
from langgraph_speceyes.usage import usage

OutputMode = Literal["full_history", "last_message"]
OUTPUT_MODES: tuple[OutputMode, ...] = ("full_history", "last_message")


@dataclass(frozen=True)
class Ran:
    """A run of the agent.

    Attributes:
        result: What it returned.
        shown: The conversation as it was given it.
        cost: What it cost.
        waited: How long it waited for a slot, in seconds; None where it needs none.
    """

    result: Result
    shown: Any
    cost: Cost
    waited: float | None


class Fallback:
    """The full stateful loop of ``M_L`` (paper, phase IV), whatever agent it is.

    The agent runs as a subgraph of this graph: its checkpoints, interrupts, streams and traces nest under the run. It
    is given the state keys it takes and what it returns becomes the state, as if it ran alone.

    Args:
        agent: The agent.
        adapter: Where the question is in the state.
        gate: The gate in use, for the record.
        slots: A cap on concurrent agent runs, or None.
        output_mode: Whether all of the agent's new messages become part of the state, or its answer only.
        notes: What is noted on runs.
        settled: Who is told of the decision.
    """

    def __init__(
        self,
        agent: Agent,
        adapter: StateAdapter,
        gate: Gate,
        slots: Slots | None,
        output_mode: OutputMode,
        *,
        notes: RunNotes,
        settled: Settled,
    ) -> None:
        self.agent, self.adapter, self.gate, self.slots, self.output_mode = agent, adapter, gate, slots, output_mode
        self.notes, self.settled, self._paused = notes, settled, PausedRuns()

    def node(self, trace_images: bool = False) -> SubgraphNode:
        """The phase as a node: run the agent on its part of the state.

        Args:
            trace_images: Whether the agent's runs show images instead of their digests.
        """
        return SubgraphNode(self._run, self._arun, self.agent.runnable, trace_images=trace_images)

    def _run(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        with self.failure_reported(state), self._metered(state) as meter:
            ran = self.run(state, meter.config(config), meter)
        return self._settled(state, config, ran)

    async def _arun(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        with self.failure_reported(state), self._metered(state) as meter:
            ran = await self.arun(state, meter.config(config), meter)
        return self._settled(state, config, ran)

    def run(self, state: SpecEyesState, config: RunnableConfig, meter: Meter) -> Ran:
        """Run the agent.

        Args:
            state: The graph's state.
            config: The node's config, with the meter.
            meter: What counts its cost, and can stop it.

        Returns:
            What came of it.
        """
        asked = time.perf_counter()
        with self.slots.hold(meter.stopped) if self.slots else nullcontext():
            waited = time.perf_counter() - asked
            given = self.agent.given_of(state, config)
            update = resume_update(self.agent, config)
            with _at_work(config, meter):
                result = self.agent.invoke(update or given.input, self._pinned(state, config))
        return Ran(result, given.messages, meter.cost(), waited if self.slots else None)

    async def arun(self, state: SpecEyesState, config: RunnableConfig, meter: Meter) -> Ran:
        """Run the agent; see :meth:`run`."""
        asked = time.perf_counter()
        async with self.slots.ahold() if self.slots else nullcontext():
            waited = time.perf_counter() - asked
            # images are read off the event loop
            given = await off_loop(self.agent.given_of, state, config)
            update = await aresume_update(self.agent, config)
            with _at_work(config, meter):
                result = await self.agent.ainvoke(update or given.input, self._pinned(state, config))
        return Ran(result, given.messages, meter.cost(), waited if self.slots else None)

    @contextmanager
    def failure_reported(self, state: Any) -> Iterator[None]:
        """Tell whoever records questions of an error of the agent's, which goes on.

        Args:
            state: The graph's state, with what the front end has found.
        """
        try:
            yield
        except GraphBubbleUp:
            raise
        except Exception as error:
            self.settled.failed(state, decide(state, self.gate, "fallback"), error)
            raise

    def update(self, state: SpecEyesState, ran: Ran) -> dict[str, Any]:
        """What a run of the agent does to the state around it."""
        held = state.get(MESSAGES)
        messages = result_messages(self.agent, ran.result)
        if MESSAGES in self.agent.keys:
            messages = self.agent.restored(held, ran.shown, messages)
        places = dict(new_messages(held, messages))
        new = list(places.values())
        calls = tool_calls(new, ran.result.values.get("steps"))
        decision = decide(
            state,
            self.gate,
            "fallback",
            agent_seconds=ran.cost.seconds,
            person_seconds=ran.cost.person,
            slot_seconds=ran.waited,
            agent_tokens=ran.cost.tokens if ran.cost.model_calls else written_tokens(new),
            model_calls=ran.cost.model_calls,
            tool_steps=len(calls) or ran.cost.tool_steps,
            tool_calls=calls,
        )
        decision = self.settled.costs.priced(decision)
        messages = self._kept(messages, places, decision)
        update = self.agent.update(state, ran.result, messages)
        self.settled.answered(state, decision, ran.result.values, answer_of(new))
        return {**update, "decision": decision}

    def _settled(self, state: Any, config: RunnableConfig, ran: Ran) -> dict[str, Any]:
        update = self.update(state, ran)
        self.notes.phase(config, state, update)
        return update

    def _kept(self, messages: list[Any], places: Mapping[int, Any], decision: Decision) -> list[Any]:
        """The messages that become part of the state; the answer is signed with the decision.

        Args:
            messages: The agent's.
            places: The new ones among them, by their indices.
            decision: What is signed with.
        """
        new = list(places.values())
        if not new:
            return messages
        answer = answer_of(new)
        sign = new[-1] if answer is None else answer
        if self.output_mode == "last_message":
            before = [m for i, m in enumerate(messages) if i not in places]
            messages = [*before, *last_answer(new)]
        return [signed(m, decision) if m is sign and isinstance(m, BaseMessage) else m for m in messages]

    @contextmanager
    def _metered(self, state: Any) -> Iterator[Meter]:
        """Count what a run costs, from what it had cost when it stopped for a person; where it stops, remember that."""
        meter = Meter(self._paused.resume(query_id(state)))
        try:
            yield meter
        except GraphInterrupt:
            self._paused.pause(query_id(state), meter.cost())
            raise

    def _pinned(self, state: Any, config: RunnableConfig) -> RunnableConfig:
        """The config that names the query, and the question's images: an agent's own messages may hide or remove it."""
        config = for_agent(config)
        if self.agent.remote:
            return config
        return with_images(marked(config, query_id(state)), self.adapter, state)


@contextmanager
def _at_work(config: RunnableConfig, meter: Meter) -> Iterator[None]:
    """Count an agent's time, hand its commands up."""
    meter.begin()
    try:
        with handed_up(config), contained():
            yield
    finally:
        meter.end()


def tool_calls(messages: Sequence[Any], steps: object = None) -> list[dict[str, Any]]:
    """An agent's tool calls: the record of steps that a visual agent keeps, else the tool messages it wrote."""
    if isinstance(steps, list) and all(isinstance(step, Mapping) and "tool" in step for step in steps):
        return [dict(step) for step in steps]
    asked: dict[str | None, dict[str, Any]] = {}
    calls = []
    for message in messages:
        # servers repeat ids from turn to turn: a result belongs to the newest call of its id
        if isinstance(message, AIMessage):
            asked |= {call["id"]: call["args"] for call in message.tool_calls}
        elif isinstance(message, ToolMessage):
            calls.append(_tool_call(message, asked.get(message.tool_call_id)))
    return calls


def written_tokens(messages: Sequence[Any]) -> dict[str, int]:
    """Tokens by an agent's own messages: of models that no callback sees, on a server or called without LangChain."""
    found = [usage(m) for m in messages if isinstance(m, AIMessage)]
    return {kind: sum(one[kind] for one in found) for kind in ("input", "output")}


def _tool_call(message: ToolMessage, arguments: dict[str, Any] | None) -> dict[str, Any]:
    # inline data has no place in a record
    shown = next((ref for ref in readable_images([message]) if ref.kind != "inline"), None)
    region = shown.region if shown else None
    return {
        "tool": message.name,
        "arguments": arguments,
        "box": [region.x, region.y, region.x + region.width, region.y + region.height] if region else None,
        "image": shown.uri if shown else None,
        "text": message.text or None,
        "error": message.text if message.status == "error" else None,
    }

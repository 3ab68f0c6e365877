"""An agent behind the bypass, whatever it is: its state, and what its run means for the state around it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langgraph.channels import BinaryOperatorAggregate, Topic
from langgraph.channels.base import BaseChannel
from langgraph.constants import START
from langgraph.graph import StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol

from langgraph_speceyes.agent import VisualAgent
from langgraph_speceyes.behind.channels import (
    accumulates,
    around,
    emptied,
    exactly,
    merges_messages,
    passes,
    untracked,
    within,
)
from langgraph_speceyes.behind.history import same
from langgraph_speceyes.behind.remote import RemoteAgent
from langgraph_speceyes.behind.result import Collected, Result, returned
from langgraph_speceyes.behind.schema import MESSAGES, channel_of, hints_of, messages_hint, surrounding
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import ImagePolicy, in_force, inline_local_images
from langgraph_speceyes.question import conversation
from langgraph_speceyes.state import AgentMemory

Channels = Mapping[str, BaseChannel[Any, Any, Any]]


@dataclass(frozen=True)
class Given:
    """What an agent is called with.

    Attributes:
        input: Its input.
        messages: What of the conversation it is given in other words than the state has: for each message that with
            references as data, where the agent is not known to read them, else None. Agents may change their messages
            in place, and these stay as they were given.
    """

    input: dict[str, Any]
    messages: Any


@dataclass(frozen=True)
class Agent:
    """An agent, ready to run behind the bypass.

    A LangGraph agent runs anew for every question, from the state around it: all of its state, what it keeps to itself
    included, stands there between turns, in channels of the same classes. So it goes on as it would alone.

    Attributes:
        runnable: The agent: a compiled graph, a remote one, or another runnable over `messages`.
        policy: Which images may be loaded, here for an agent that does not read them itself and by the agent.
        given: State keys it takes, with their annotations in the state around it.
        returned: State keys it gives back.
        private: State keys that it neither takes nor gives back.
        channels: All of these with the agent's own channels.
        context_schema: What it wants as `context`.
    """

    runnable: Runnable[Any, Any]
    policy: ImagePolicy
    given: dict[str, Any] = field(default_factory=dict)
    returned: dict[str, Any] = field(default_factory=dict)
    private: dict[str, Any] = field(default_factory=dict)
    channels: Channels = field(default_factory=dict)
    context_schema: type[Any] | None = None

    @cached_property
    def keys(self) -> frozenset[str]:
        """All keys of its state."""
        return frozenset({*self.given, *self.returned, *self.private})

    @property
    def remote(self) -> bool:
        """Whether it runs behind another server, which sees none of this machine's files and answers in JSON."""
        return isinstance(self.runnable, PregelProtocol) and not isinstance(self.runnable, Pregel)

    @cached_property
    def local(self) -> Pregel[Any, Any, Any, Any] | None:
        """The agent as a graph of this process, which also takes the values of its channels; None for all others."""
        graph = self.runnable
        if not isinstance(graph, Pregel) or not isinstance(getattr(graph, "builder", None), StateGraph):
            return None
        twin = copy.copy(graph)
        twin.input_channels = [START, *self.channels]
        return twin

    @property
    def opens_images(self) -> bool:
        """Whether it is this package's own, which reads every reference itself."""
        return isinstance(getattr(self.runnable, "builder", None), VisualAgent)

    @property
    def reads_references(self) -> bool:
        """Whether it is known to read this package's references: its own agents, and those that say so."""
        marked = (self.runnable, getattr(self.runnable, "builder", None))
        return self.opens_images or any(getattr(one, "accepts_image_references", False) is True for one in marked)

    def given_of(self, state: Mapping[str, Any], config: RunnableConfig) -> Given:
        """What the agent is called with; images are read for it.

        Args:
            state: The state around it.
            config: The config it will run with.
        """
        memory: AgentMemory | None = state.get("speceyes_agent")
        held = {**(memory["kept"] if memory else {}), **state}
        messages = None
        if MESSAGES in held and MESSAGES in self.keys:
            before, held[MESSAGES] = held[MESSAGES], self.readable(held[MESSAGES])
            messages = _reworded(before, held[MESSAGES])
        if self.local is None:
            # without a thread its server remembers nothing
            known = memory["held"] if memory and "thread_id" in (config.get("configurable") or {}) else None
            sent = {key: self._sent(key, held[key], known) for key in self.given if key in held}
            return Given(sent, messages)
        start, seeds = {}, {}
        for key, channel in self.channels.items():
            if key not in held:
                continue
            if passes(channel):
                start[key] = held[key]
            else:
                seeds[key] = exactly(within(channel), held[key])
        return Given({START: start, **seeds}, messages)

    def invoke(self, given: Any, config: RunnableConfig) -> Result:
        """Run it, with the policy in force for whatever it loads."""
        with in_force(self.policy):
            if self.local is None:
                return returned(self._callee.invoke(given, config))
            collected = Collected(self.keys, given)
            for part in self.local.stream(
                given, config, stream_mode=["updates", "values"], output_keys=list(self.channels)
            ):
                collected.add(part)
            return collected.result

    async def ainvoke(self, given: Any, config: RunnableConfig) -> Result:
        """Run it; see :meth:`invoke`."""
        with in_force(self.policy):
            if self.local is None:
                return returned(await self._callee.ainvoke(given, config))
            collected = Collected(self.keys, given)
            modes: Any = ["updates", "values"]
            async for part in self.local.astream(given, config, stream_mode=modes, output_keys=list(self.channels)):
                collected.add(part)
            return collected.result

    def update(self, state: Mapping[str, Any], result: Result, messages: list[Any]) -> dict[str, Any]:
        """The update that makes the state around it the agent's own.

        Args:
            state: The state it ran from.
            result: What it returned.
            messages: Its messages, as they are to be kept.
        """
        update: dict[str, Any] = {}
        for key in self.keys - {MESSAGES}:
            channel = self.channels[key]
            if key in result.values:
                if accumulates(channel) or state.get(key, update) is not result.values[key]:
                    update[key] = exactly(around(channel), result.values[key])
            elif key in state and (passes(channel) or (self.local is not None and not accumulates(channel))):
                update[key] = emptied()
        if MESSAGES in self.keys and (said := self.said(state.get(MESSAGES), messages)) is not None:
            update[MESSAGES] = said
        update["speceyes_agent"] = self._remembered(state, result)
        return update

    def stale(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The update that takes outputs of earlier turns out of the state, and keeps them for the agent's next run."""
        memory: AgentMemory = state.get("speceyes_agent") or AgentMemory(outputs=[], kept={}, held={})
        old = [key for key in memory["outputs"] if key in state]
        if not old:
            return {}
        kept = {**memory["kept"], **{key: state[key] for key in old}}
        return {**{key: emptied() for key in old}, "speceyes_agent": {**memory, "kept": kept}}

    def answered(self, answer: AIMessage, state: Mapping[str, Any]) -> Any:
        """The update of `messages` that an answer is, in the form in which the agent keeps them."""
        held = state.get(MESSAGES) or []
        said: Any = answer
        if held and all(isinstance(one, dict) for one in held):
            said = {"role": "assistant", "content": answer.text} | ({"name": answer.name} if answer.name else {})
        channel = self.channels.get(MESSAGES)
        if channel is None or accumulates(channel):
            return [said]
        return [*held, said]

    @property
    def _callee(self) -> Runnable[Any, Any]:
        if isinstance(self.runnable, PregelProtocol) and self.remote:
            return RemoteAgent(self.runnable)
        return self.runnable

    def readable(self, messages: Any) -> Any:
        """Messages as the agent reads them: this package's own references as data, unless it reads those itself."""
        if self.reads_references or not isinstance(messages, list):
            return messages
        return [
            inline_local_images([one], self.policy, among=messages)[0] if isinstance(one, BaseMessage) else one
            for one in messages
        ]

    def restored(self, held: Any, shown: Any, messages: list[Any]) -> list[Any]:
        """An agent's messages, where it repeats what it was given as that stands in the state.

        Args:
            held: The conversation in the state, with the references it has.
            shown: The same as the agent was given it; None for messages that it was given as they are.
            messages: What the agent returned.
        """
        pairs = list(zip(held, shown, strict=False)) if isinstance(held, list) and isinstance(shown, list) else []
        pairs = [(one, one if given is None else given) for one, given in pairs]
        if merges_messages(self.channels[MESSAGES]):
            known = {
                one.id: (one, given) for one, given in pairs if isinstance(one, BaseMessage) and one.id is not None
            }
            return [
                known[m.id][0] if m.id in known and (self.remote or _among(m, known[m.id])) else m for m in messages
            ]
        restored = list(messages)
        for index, (pair, message) in enumerate(zip(pairs, messages, strict=False)):
            if not _among(message, pair):
                break
            restored[index] = pair[0]
        return restored

    def _sent(self, key: str, value: Any, held: Mapping[str, int] | None) -> Any:
        """What a remote agent is sent: its thread holds a value already, which it would add to."""
        channel = self.channels[key]
        if not self.remote or merges_messages(channel) or not accumulates(channel):
            return value
        if held is None and isinstance(channel, BinaryOperatorAggregate) and not channel.is_available():
            # the first value of all is kept as it is sent
            return value
        # a Topic cannot be set: it is sent what has come since
        return value[(held or {}).get(key, 0) :] if isinstance(channel, Topic) else {"__overwrite__": value}

    def _remembered(self, state: Mapping[str, Any], result: Result) -> AgentMemory:
        """Which keys are outputs of a turn: those of one value that every run so far has written."""
        written = {
            key
            for key in self.returned
            if key != MESSAGES
            and key in result.values
            and not accumulates(self.channels[key])
            and not untracked(self.channels[key])
            and not passes(self.channels[key])
            and (
                (result.written is not None and key in result.written)
                or key not in state
                or not same(state[key], result.values[key])
            )
        }
        memory: AgentMemory | None = state.get("speceyes_agent")
        outputs = written if memory is None else written & set(memory["outputs"])
        topics = [key for key in result.values if self.remote and isinstance(self.channels.get(key), Topic)]
        return AgentMemory(outputs=sorted(outputs), kept={}, held={key: len(result.values[key]) for key in topics})

    def said(self, held: Any, messages: list[Any]) -> Any:
        """The update that makes the state's messages those of the agent."""
        before = list(held or [])
        channel = self.channels[MESSAGES]
        if not merges_messages(channel):
            return exactly(around(channel), messages)
        known = {m.id: m for m in before if isinstance(m, BaseMessage) and m.id is not None}
        kept = [m.id for m in messages if m.id is not None and m.id in known]
        if kept == list(known) == [m.id for m in messages[: len(known)]]:
            return [m for m in messages if m.id is None or m.id not in known or not same(m, known[m.id])]
        # it removed or reordered some
        return [RemoveMessage(id=REMOVE_ALL_MESSAGES), *messages]


def adopt(agent: object, policy: ImagePolicy, state_schema: type[Any] | None, adapted: bool) -> Agent:
    """Get an agent ready to run, and find out what its state is.

    Args:
        agent: A LangGraph agent, compiled or not, a `RemoteGraph`, or another runnable over `messages`.
        policy: Which images may be loaded, here for an agent that does not read them itself and by the agent.
        state_schema: Its state, where it cannot be seen (remote agents, plain runnables).
        adapted: Whether the caller's own functions read the question and write the answer.

    Raises:
        ArgumentError: It is no agent, or its state lacks `messages` and nothing says where the question is.
    """
    if isinstance(agent, StateGraph):
        # a name of its own: the node's run is called agent already
        agent = agent.compile(name="visual_agent" if isinstance(agent, VisualAgent) else "LangGraph")
    if not isinstance(agent, Runnable):
        raise ArgumentError("agent", "a LangGraph agent, compiled or not", type(agent).__name__)
    if isinstance(_innermost(agent), BaseLanguageModel):
        expected = (
            "an agent over a state with `messages`, such as create_visual_agent(model) or create_agent(model, ...)"
        )
        raise ArgumentError("agent", expected, f"a chat model ({type(agent).__name__})")
    # what retries it or falls back to another has its state
    inside = _innermost(agent)
    builder = getattr(inside, "builder", None)
    private: dict[str, Any] = {}
    context = builder.context_schema if isinstance(builder, StateGraph) else None
    if isinstance(inside, Pregel) and isinstance(builder, StateGraph) and (inside is agent or state_schema is None):
        channels: dict[str, Any] = {key: inside.channels[key] for key in builder.channels}
        taken, returned = (_seen(schema, channels) for schema in (builder.input_schema, builder.output_schema))
        if state_schema is not None:
            taken = returned = _seen(state_schema, channels)
        hints = {key: hint for schema in builder.schemas for key, hint in _seen(schema, channels).items()}
        private = {key: hints.get(key, Any) for key in channels if key not in taken and key not in returned}
        if inside is agent:
            agent = copy.copy(inside)
            agent.channels = {**inside.channels, **{key: within(channel) for key, channel in channels.items()}}
    elif state_schema is not None:
        taken = returned = hints_of(state_schema)
        channels = {key: channel_of(hint) for key, hint in taken.items()}
        if isinstance(agent, Pregel) and _looks_back(agent):
            # what it returned last is in checkpoints of its own, which last from turn to turn so
            agent = copy.copy(agent)
            agent.checkpointer = True
    elif isinstance(agent, Pregel):
        raise ArgumentError("agent", "a graph made of a state schema, or state_schema beside it", "an entrypoint")
    elif adapted:
        raise ArgumentError("state_schema", "the state of an agent that cannot be looked into", "none")
    else:
        taken = returned = {MESSAGES: messages_hint()}
        channels = {MESSAGES: channel_of(messages_hint())}
    if not adapted and (MESSAGES not in taken or MESSAGES not in returned):
        found = ", ".join(sorted(taken)) or "none"
        expected = "an agent whose state has `messages`, or query_from_state and update_from_answer beside it"
        raise ArgumentError("agent", expected, f"state keys {found}")
    known = {key: channel for key, channel in channels.items() if channel is not None}

    def hints_around(part: Mapping[str, Any]) -> dict[str, Any]:
        return {key: surrounding(hint, known[key]) for key, hint in part.items() if key in known}

    return Agent(agent, policy, hints_around(taken), hints_around(returned), hints_around(private), known, context)


def result_messages(agent: Agent, result: Result) -> list[Any]:
    """The messages that an agent returned: as it keeps them, or made into messages where it answered in JSON."""
    found = result.values.get(MESSAGES)
    channel = agent.channels.get(MESSAGES)
    if not isinstance(found, list | tuple):
        return conversation(found)
    merged = channel is not None and merges_messages(channel)
    return conversation(found) if merged else list(found)


def _seen(schema: type[Any], channels: Mapping[str, Any]) -> dict[str, Any]:
    """A schema's hints without managed values, which are no part of the state that is passed on."""
    return {key: hint for key, hint in hints_of(schema).items() if key in channels}


def _looks_back(entrypoint: Pregel[Any, Any, Any, Any]) -> bool:
    """Whether it asks for what it returned in the turn before."""
    return any("previous" in getattr(node.bound, "func_accepts", ()) for node in entrypoint.nodes.values())


def _innermost(agent: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """What a runnable adds settings, retries or substitutes to."""
    while isinstance(agent, RunnableBindingBase | RunnableWithFallbacks):
        agent = agent.bound if isinstance(agent, RunnableBindingBase) else agent.runnable
    return agent


def _reworded(before: Any, readable: Any) -> Any:
    if not isinstance(before, list) or not isinstance(readable, list):
        return readable
    return [None if one is now else copy.deepcopy(now) for one, now in zip(before, readable, strict=True)]


def _among(one: Any, others: Iterable[Any]) -> bool:
    return any(same(one, other) for other in others)

"""What an existing agent brings along: its state, its context, and how it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from dataclasses import fields as dataclass_fields
from typing import Annotated, Any, NotRequired, get_origin, get_type_hints

from langchain_core.messages import AnyMessage, BaseMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.channels import BinaryOperatorAggregate
from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol
from pydantic import BaseModel
from typing_extensions import TypedDict

from langgraph_speceyes.agent import VisualAgent, is_user
from langgraph_speceyes.behind.remote import RemoteAgent
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import ImagePolicy, MessagesChannel, inline_images, intern_images, restore_images

MESSAGES = "messages"


@dataclass(frozen=True)
class AdoptedAgent:
    """An agent, ready to run behind the bypass.

    Attributes:
        runnable: The agent: a compiled graph, a remote one, or another runnable over `messages`.
        policy: Which images may be loaded for an agent on another machine.
        given: State keys it takes, with their annotations.
        returned: State keys it gives back, with their annotations.
        reduced: Keys whose values it has already put together with a reducer: what it returns is all of it.
        context_schema: What it wants as `context`.
    """

    runnable: Runnable[Any, Any]
    policy: ImagePolicy
    given: dict[str, Any] = field(default_factory=dict)
    returned: dict[str, Any] = field(default_factory=dict)
    reduced: frozenset[str] = frozenset()
    context_schema: type[Any] | None = None

    @property
    def remote(self) -> bool:
        """Whether it runs behind another server, which sees none of this machine's files and answers in JSON."""
        return isinstance(self.runnable, PregelProtocol) and not isinstance(self.runnable, Pregel)

    @property
    def callee(self) -> Runnable[Any, Any]:
        """What is called."""
        if isinstance(self.runnable, PregelProtocol) and self.remote:
            return RemoteAgent(self.runnable)
        return self.runnable

    @property
    def by_reference(self) -> bool:
        """Whether it reads image references, so that a checkpoint of its input need hold no image bytes."""
        channels = self.runnable.channels if isinstance(self.runnable, Pregel) else {}
        return isinstance(channels.get(MESSAGES), MessagesChannel)

    def input(self, state: Mapping[str, Any], config: RunnableConfig) -> dict[str, Any]:
        """What the agent is called with."""
        given = {key: state[key] for key in self.given if key in state}
        if MESSAGES in given:
            messages = list(given[MESSAGES])
            if self.remote:
                # what it wrote itself refers to images of its own machine
                given[MESSAGES] = [inline_images([m], self.policy)[0] if is_user(m) else m for m in messages]
            elif self.by_reference and "thread_id" in config.get("configurable", {}):
                # a thread means a checkpointer, which would keep inline images twice more
                given[MESSAGES] = intern_images(messages)
        return given

    def output(self, result: object) -> tuple[list[AnyMessage], dict[str, Any]]:
        """What the agent's result means for the state around it.

        Returns:
            Its messages, as messages, and the other keys that it returns.

        Raises:
            ArgumentError: The result is no state.
        """
        if not isinstance(result, Mapping):
            raise ArgumentError("agent", "a state (a mapping) as its result", type(result).__name__)
        messages: Sequence[Any] = result.get(MESSAGES) or []
        if not all(isinstance(m, BaseMessage) for m in messages):
            messages = convert_to_messages(list(messages))
        if self.by_reference:
            messages = restore_images(messages)
        others = {key: result[key] for key in self.returned if key != MESSAGES and key in result}
        return list(messages), others


def adopt(agent: object, policy: ImagePolicy, state_schema: type[Any] | None, adapted: bool) -> AdoptedAgent:
    """Get an agent ready to run, and find out what its state is.

    Args:
        agent: A LangGraph agent, compiled or not, a `RemoteGraph`, or another runnable over `messages`.
        policy: Which images may be loaded for an agent on another machine.
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
    builder = getattr(agent, "builder", None)
    if state_schema is not None:
        given = returned = _hints(state_schema)
        context = None
    elif isinstance(agent, Pregel) and isinstance(builder, StateGraph):
        given, returned = (_channels(schema, agent) for schema in (builder.input_schema, builder.output_schema))
        context = builder.context_schema
    elif isinstance(agent, Pregel):
        raise ArgumentError("agent", "a graph made of a state schema, or state_schema beside it", "an entrypoint")
    elif adapted:
        raise ArgumentError("state_schema", "the state of an agent that cannot be looked into", "none")
    else:
        given = returned = {MESSAGES: _messages()}
        context = None
    if not adapted and (MESSAGES not in given or MESSAGES not in returned):
        found = ", ".join(sorted(given)) or "none"
        expected = "an agent whose state has `messages`, or query_from_state and update_from_answer beside it"
        raise ArgumentError("agent", expected, f"state keys {found}")
    reduced = {key for key, hint in returned.items() if _reducer(hint) not in (None, add_messages)}
    return AdoptedAgent(agent, policy, given, returned, frozenset(reduced), context)


def extended(records: type[Any] | None, *parts: Mapping[str, Any], name: str) -> type[Any]:
    """A state schema made of several; `messages` with the `add_messages` reducer keep images out of checkpoints.

    Args:
        records: The schema to extend, or None.
        parts: Hints of the keys to add.
        name: Name of the schema.
    """
    hints = _hints(records) if records else {}
    for part in parts:
        for key, hint in part.items():
            hints[key] = _messages() if key == MESSAGES and _reducer(hint) is add_messages else hint
    return TypedDict(name, hints)  # type: ignore[operator, no-any-return]


def _messages() -> Any:
    return Annotated[list[AnyMessage], MessagesChannel]


def _channels(schema: type[Any], agent: Pregel[Any, Any, Any, Any]) -> dict[str, Any]:
    """A schema's hints without managed values, which are no part of the state that is passed on."""
    return {key: hint for key, hint in _hints(schema).items() if key in agent.channels}


def _hints(schema: type[Any]) -> dict[str, Any]:
    """A schema's keys with their annotations; those that may be missing say so."""
    hints = get_type_hints(schema, include_extras=True)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return {key: NotRequired[hints[key]] for key in schema.model_fields}
    if is_dataclass(schema):
        return {one.name: NotRequired[hints[one.name]] for one in dataclass_fields(schema)}
    optional: frozenset[str] = getattr(schema, "__optional_keys__", frozenset())
    return {
        key: NotRequired[hint] if key in optional and get_origin(hint) is not NotRequired else hint
        for key, hint in hints.items()
    }


def _reducer(hint: Any) -> Any:
    """The reducer of a key, None where the last value counts."""
    channel = StateGraph(_one(hint)).channels["key"]
    if isinstance(channel, MessagesChannel):
        return add_messages
    return channel.operator if isinstance(channel, BinaryOperatorAggregate) else None


def _one(hint: Any) -> type[Any]:
    return TypedDict("_One", {"key": hint})  # type: ignore[operator, no-any-return]

"""How the bypass reads a question from an agent's state, and writes an answer into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage

from langgraph_speceyes.errors import InputError, describe_error
from langgraph_speceyes.foreign import cleaned
from langgraph_speceyes.question import as_messages

QueryFromState = Callable[[Mapping[str, Any]], HumanMessage | Sequence[AnyMessage]]
"""The question in an agent's state: one message with image and text, or the conversation that ends with it."""
UpdateFromAnswer = Callable[[AIMessage, Mapping[str, Any]], dict[str, Any]]
"""The state update that an answer is, as the agent itself would make it. Takes the answer and the state."""


@dataclass(frozen=True)
class StateAdapter:
    """Two functions between the bypass and an agent's state; the default is for agents over `messages`.

    Attributes:
        query: The question in the state.
        keys: The state keys that `update` may set.
        update: What an answer does to the state; without `query`, beside becoming its last message.
        said: The update of `messages` that an answer is.
    """

    query: QueryFromState | None = None
    update: UpdateFromAnswer | None = None
    keys: frozenset[str] = frozenset()
    said: Callable[[AIMessage, Mapping[str, Any]], Any] = lambda answer, state: [answer]

    @property
    def argument(self) -> str:
        """What errors about the question blame."""
        return "messages" if self.query is None else "query_from_state"

    def messages(self, state: Mapping[str, Any]) -> Sequence[AnyMessage]:
        """The conversation that ends with the question.

        Raises:
            InputError: The function returned something else than messages.
        """
        if self.query is None:
            return as_messages(state.get("messages"))
        try:
            found = self.query(state)
        except (KeyError, AttributeError) as error:
            expected = "a state with what the function reads"
            raise InputError(self.argument, expected, describe_error(error)) from cleaned(error)
        messages = [found] if isinstance(found, BaseMessage) else found
        if not isinstance(messages, Sequence) or not all(isinstance(m, BaseMessage) for m in messages):
            raise InputError(self.argument, "a HumanMessage or a list of messages", type(found).__name__)
        return as_messages(messages)

    def answered(self, answer: AIMessage, state: Mapping[str, Any]) -> dict[str, Any]:
        """The state update of an answer that comes from the speculator."""
        said = {"messages": self.said(answer, state)} if self.query is None else {}
        if self.update is None:
            return said
        update = self.update(answer, state)
        if not isinstance(update, Mapping):
            raise InputError("update_from_answer", "a state update (a mapping)", type(update).__name__)
        if unknown := sorted(set(update) - self.keys):
            expected = f"keys of the agent's state ({', '.join(sorted(self.keys))})"
            raise InputError("update_from_answer", expected, ", ".join(map(str, unknown)))
        return {**said, **update}

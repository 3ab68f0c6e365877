"""How the bypass reads a question from an agent's state, and writes an answer into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage

from langgraph_speceyes.errors import InputError

QueryFromState = Callable[[Mapping[str, Any]], HumanMessage | Sequence[AnyMessage]]
"""The question in an agent's state: one message with image and text, or the conversation that ends with it."""
UpdateFromAnswer = Callable[[AIMessage, Mapping[str, Any]], dict[str, Any]]
"""The state update that an answer is, as the agent itself would make it. Takes the answer and the state."""


@dataclass(frozen=True)
class StateAdapter:
    """Two functions between the bypass and an agent's state; the default is for agents over `messages`.

    Attributes:
        query: The question in the state.
        update: What an answer does to the state; without `query`, beside becoming its last message.
    """

    query: QueryFromState | None = None
    update: UpdateFromAnswer | None = None

    def messages(self, state: Mapping[str, Any]) -> Sequence[AnyMessage]:
        """The conversation that ends with the question.

        Raises:
            InputError: The function returned something else than messages.
        """
        if self.query is None:
            return list(state.get("messages") or [])
        found = self.query(state)
        messages = [found] if isinstance(found, BaseMessage) else found
        if not isinstance(messages, Sequence) or not all(isinstance(m, BaseMessage) for m in messages):
            raise InputError("query_from_state", "a HumanMessage or a list of messages", type(found).__name__)
        return messages

    def answered(self, answer: AIMessage, state: Mapping[str, Any]) -> dict[str, Any]:
        """The state update of an answer that comes from the speculator."""
        said = {"messages": [answer]} if self.query is None else {}
        return said if self.update is None else {**said, **self.update(answer, state)}

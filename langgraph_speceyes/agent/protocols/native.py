"""Native tool calling: tools through ``bind_tools``, results as tool messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, ToolMessage
from langchain_core.runnables import Runnable

from langgraph_speceyes.agent.call import Outcome, ToolCall, make_call
from langgraph_speceyes.agent.protocols.base import ToolSchema, Turn, build_prompt
from langgraph_speceyes.agent.protocols.tags import find_answer
from langgraph_speceyes.agent.protocols.words import FromFile
from langgraph_speceyes.agent.question import observation_message
from langgraph_speceyes.errors import ArgumentError

SYSTEM = (
    "You answer questions about images. Where something is too small or too faint to be sure of, look closer with the "
    "tools before you answer. Once you know the answer, reply with the answer only."
)
REMINDER = "Use a tool, or answer the question."
FINAL = "There are no tool calls left. Answer the question now from what you have seen."
IMAGE_FOLLOWS = "The image is in the next user message."


@dataclass(frozen=True)
class NativeProtocol(FromFile):
    """Tool calls and tool messages as LangChain defines them, for hosted models and servers.

    All calls of an output are answered.

    Attributes:
        system: The system prompt. Empty for none.
        instruction: Text at the end of the question, after a line break. Empty for none.
        reminder: User turn after an empty output.
        final: User turn that asks for the answer when no steps are left; the model is then called without tools.
            Empty for none.
        images_in_user_message: Show images in a user message after the tool messages, for servers that refuse
            them in tool messages (OpenAI's chat completions; `speceyes probe` tells).
    """

    system: str = SYSTEM
    instruction: str = ""
    reminder: str = REMINDER
    final: str = FINAL
    images_in_user_message: bool = False

    def front(self, tools: Sequence[ToolSchema]) -> list[SystemMessage]:
        """Return the system prompt; the tools go to the model by ``bind_tools``."""
        return [SystemMessage(self.system)] if self.system else []

    def bind(self, model: Any, tools: Sequence[ToolSchema]) -> Runnable[Any, Any]:
        """Return the model with the tools.

        Raises:
            ArgumentError: It cannot call tools.
        """
        try:
            bound: Runnable[Any, Any] = model.bind_tools(list(tools))
        except (AttributeError, NotImplementedError) as error:
            expected = "a chat model with bind_tools for the protocol 'native'"
            raise ArgumentError("model", expected, type(model).__name__) from error
        return bound

    def prompt(
        self, messages: Sequence[BaseMessage], question: int, *, tools: Sequence[ToolSchema], final: bool
    ) -> list[BaseMessage]:
        """Return the front, the conversation with the instruction, and the final turn if this is the last call."""
        closing = self.final if final else ""
        return build_prompt(self.front(tools), messages, question, instruction=self.instruction, final=closing)

    def read(self, message: AIMessage, tools: Sequence[str]) -> Turn:
        """Read all calls; an output without any is the answer unless it is empty."""
        known = {name: name for name in tools}
        # A tool message needs an id to answer to, and some models give none.
        named = [{**call, "id": call["id"] or _new_id()} for call in message.tool_calls]
        broken = [{**call, "id": call["id"] or _new_id()} for call in message.invalid_tool_calls]
        calls = [_read_call(call, known) for call in named]
        valid = [{**call, "args": read["arguments"]} for call, read in zip(named, calls, strict=True)]
        kept = message.model_copy(update={"tool_calls": valid, "invalid_tool_calls": broken})
        calls += [_broken_call(call) for call in broken]
        return Turn(kept, tuple(calls), answered=not calls and bool(self.answer(message)))

    def respond(self, outcomes: Sequence[Outcome]) -> list[BaseMessage]:
        """Return one tool message for each outcome, and a user message with their images if so configured."""
        messages: list[BaseMessage] = [self._response(outcome) for outcome in outcomes]
        blocks: list[str | dict[Any, Any]] = []
        if self.images_in_user_message:
            for outcome in outcomes:
                if outcome["images"]:
                    blocks += [{"type": "text", "text": f"Result of {outcome['tool']}:"}, *_blocks(outcome)]
        return [*messages, observation_message(blocks)] if blocks else messages

    def remind(self) -> list[BaseMessage]:
        """Return the reminder as a user turn."""
        return [observation_message(self.reminder or REMINDER)]

    def answer(self, message: AIMessage) -> str:
        """Return the text, without thoughts and answer tags."""
        return find_answer(str(message.text))

    def _response(self, outcome: Outcome) -> ToolMessage:
        content: str | list[str | dict[Any, Any]]
        text = outcome["text"] or ""
        if outcome["error"] is not None:
            content = f"Error: {outcome['error']}"
        elif not outcome["images"]:
            content = text
        elif self.images_in_user_message:
            content = f"{text}\n{IMAGE_FOLLOWS}" if text else IMAGE_FOLLOWS
        else:
            content = [*([{"type": "text", "text": text}] if text else []), *_blocks(outcome)]
        status = "success" if outcome["error"] is None else "error"
        return ToolMessage(content=content, tool_call_id=outcome["id"], name=outcome["tool"] or None, status=status)


def _blocks(outcome: Outcome) -> list[dict[str, Any]]:
    return [{"type": "image", "url": url} for url in outcome["images"]]


def _new_id() -> str:
    return f"call_{uuid4().hex}"


def _read_call(call: Mapping[str, Any], known: Mapping[str, str]) -> ToolCall:
    return make_call(call["name"], call["args"], known, call["id"])


def _broken_call(call: Mapping[str, Any]) -> ToolCall:
    error = "the arguments of the tool call are not valid JSON"
    return ToolCall(id=call["id"], tool=call.get("name") or "", arguments={}, error=error)

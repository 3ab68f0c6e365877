"""Models that play a script, and the questions of a thread of three turns."""

from __future__ import annotations

import base64
import io
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from PIL import Image
from pydantic import Field

from langgraph_speceyes.agent import is_user
from tests.scripted import Scripted, peaked

FIRST, SECOND, THIRD = "First", "Second", "Third"
TURNS = (FIRST, SECOND, THIRD)
BLUE = "blue"
"""What the small model answers."""
Reply = str | AIMessage
Script = Mapping[str, Sequence[Reply]]


def question(turn: str) -> HumanMessage:
    """A question with an image in it, so that nobody has to open anything."""
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), ("teal", "navy", "gold")[TURNS.index(turn)]).save(picture, "PNG")
    data = base64.b64encode(picture.getvalue()).decode()
    blocks = [{"type": "image", "base64": data, "mime_type": "image/png"}, {"type": "text", "text": f"{turn}: colour?"}]
    return HumanMessage(blocks)  # type: ignore[arg-type]


def calls(*made: tuple[str, dict[str, Any], str], text: str = "") -> AIMessage:
    """A reply that calls tools: their names, arguments and ids."""
    return AIMessage(text, tool_calls=[ToolCall(name=name, args=args, id=id) for name, args, id in made])


def turn_of(messages: Sequence[BaseMessage]) -> tuple[str, int]:
    """The turn that a conversation is in, and where its question is."""
    for index in range(len(messages) - 1, -1, -1):
        if is_user(messages[index]):
            for turn in TURNS:
                if f"{turn}: " in messages[index].text:
                    return turn, index
    raise AssertionError("no question in what the model was given")


class Playing(BaseChatModel):
    """Plays a script: for each turn what it says, one reply after the other.

    How far it has come it reads off the messages it is given: its own replies since the question.
    """

    script: Script
    label: str = "agent"
    usual: str | None = None
    seen: list[tuple[list[BaseMessage], dict[str, Any]]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "playing"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _reply(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        self.seen.append(([message.model_copy(deep=True) for message in messages], kwargs))
        if self.usual is not None:
            reply: Reply = self.usual
        else:
            turn, at = turn_of(messages)
            step = sum(message.response_metadata.get("by") == self.label for message in messages[at:])
            replies = self.script[turn]
            assert step < len(replies), f"{self.label} is asked once more in turn {turn}"
            reply = replies[step]
        reply = AIMessage(reply) if isinstance(reply, str) else reply.model_copy(deep=True)
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        return reply.model_copy(update={"response_metadata": {"by": self.label}, "usage_metadata": usage})

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        kwargs.pop("run_manager", None)
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages, kwargs))])

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        kwargs.pop("run_manager", None)
        whole, id = self._reply(messages, kwargs), f"lc_run--{uuid.uuid4()}"
        for word in re.findall(r"\S+\s*", whole.text):
            yield ChatGenerationChunk(message=AIMessageChunk(word, id=id))
        chunk = AIMessageChunk(
            "", id=id, tool_calls=whole.tool_calls, response_metadata=whole.response_metadata, chunk_position="last"
        )
        yield ChatGenerationChunk(message=chunk.model_copy(update={"usage_metadata": whole.usage_metadata}))


class Choosing(Scripted):
    """A small model that is sure of its answer in some turns only."""

    sure: tuple[str, ...] = ()

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        turn, _ = turn_of(messages)
        self.content = [peaked(BLUE, 64, 40.0 if turn in self.sure else 0.01)]
        return super()._generate(messages, *args, **kwargs)


def front(*sure: str) -> dict[str, Any]:
    """Settings of a bypass that answers in some turns only, and looks in all."""
    return {"speculator": Choosing(sure=sure), "follow_ups": "bypass"}

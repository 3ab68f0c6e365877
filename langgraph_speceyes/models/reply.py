"""What a model generated as LangChain's messages: whole, and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from langgraph_speceyes.models.engine import Engine
from langgraph_speceyes.models.request import Candidate, Completion, Step
from langgraph_speceyes.models.template import RAW_OUTPUT
from langgraph_speceyes.models.tool_calls import parse_tool_calls


def whole_message(
    completion: Completion, model_name: str, *, tools: bool, entry: Callable[[Candidate], dict[str, Any]] | None
) -> AIMessage:
    """An answer with its tool calls, log-probabilities and usage.

    Args:
        completion: What was generated.
        model_name: For its metadata.
        tools: Whether tools were offered, so that calls are read from the text.
        entry: Describes a token for the log-probabilities; None leaves them out.
    """
    text = completion.text
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    metadata: dict[str, Any] = {}
    if tools:
        text, calls, invalid = parse_tool_calls(text)
        if calls or invalid:
            metadata[RAW_OUTPUT] = completion.text
    metadata["model_name"] = model_name
    metadata["finish_reason"] = "tool_calls" if calls else completion.finish_reason
    if entry is not None:
        content = [{**entry(step.chosen), "top_logprobs": [entry(c) for c in step.top]} for step in completion.steps]
        metadata["logprobs"] = {"content": content}
    # the end-of-sequence token is generated too
    spent = len(completion.steps) + (completion.finish_reason == "stop")
    usage = UsageMetadata(
        input_tokens=completion.prompt_tokens,
        output_tokens=spent,
        total_tokens=completion.prompt_tokens + spent,
        input_token_details={"cache_read": completion.cached_tokens},
    )
    return AIMessage(
        content=text, tool_calls=calls, invalid_tool_calls=invalid, response_metadata=metadata, usage_metadata=usage
    )


def last_chunk(message: AIMessage, said: str) -> ChatGenerationChunk:
    """The end of a stream: the text that was held back, the calls, and all that only the whole answer tells.

    Args:
        message: The whole answer.
        said: The text that was streamed.
    """
    calls = [
        tool_call_chunk(name=c["name"], args=json.dumps(c["args"]), id=c["id"], index=i)
        for i, c in enumerate(message.tool_calls)
    ]
    rest = message.text[len(said) :] if message.text.startswith(said) else ""
    return ChatGenerationChunk(
        message=AIMessageChunk(
            content=rest,
            response_metadata=message.response_metadata,
            usage_metadata=message.usage_metadata,
            tool_call_chunks=calls,
            chunk_position="last",
        )
    )


class Spoken:
    """The text to stream so far: held back where it may still become a tool call, a stop string or half a character."""

    def __init__(self, engine: Engine, tools: Any, stop: tuple[str, ...]) -> None:
        self._engine, self._ids = engine, list[int]()
        self._holds = (*stop, *(("<tool_call>",) if tools else ()))
        self.said = ""

    def hear(self, step: Step) -> str:
        """Take a token in; what can be said because of it."""
        self._ids.append(step.chosen.id)
        text = self._engine.decode(self._ids)
        end = len(text.rstrip("\ufffd"))
        for hold in self._holds:
            at = text.find(hold)
            end = min(end, at) if at >= 0 else end
            # the beginning of a hold at the very end
            size = next((n for n in range(min(len(hold), len(text)), 0, -1) if text.endswith(hold[:n])), 0)
            end = min(end, len(text) - size)
        delta = text[len(self.said) : end]
        self.said += delta
        return delta

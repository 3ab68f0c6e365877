"""What a model generated as LangChain's messages: whole, and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from langgraph_speceyes.models.engine import Engine
from langgraph_speceyes.models.rendering import Renderer
from langgraph_speceyes.models.request import Candidate, Completion, Step
from langgraph_speceyes.models.template import RAW_OUTPUT, READ_AS, read_as
from langgraph_speceyes.models.tool_calls import parsed_calls, read_calls

Tools = Sequence[Mapping[str, Any]]


class Reader:
    """Reads one answer: the thought that its prompt began, and the calls of tools that were offered.

    Args:
        engine: What generated it.
        renderer: What wrote its prompt.
        prompt: The prompt.
        tools: The tools that were offered, in OpenAI's format.
    """

    def __init__(self, engine: Engine, renderer: Renderer, prompt: str, tools: Tools | None) -> None:
        self.engine, self.renderer, self.prompt, self.tools = engine, renderer, prompt, list(tools or ())
        self.opened = renderer.open_thought(prompt)
        """The mark of the thought that the prompt ends in, which the answer's text begins with; else empty."""
        special, opening = renderer.control.special, renderer.form.opening
        self._raw = renderer.parses or any(one in special for one in opening)
        self.holds = tuple(one for one in opening if one not in special) if self.tools else ()
        """How calls begin in the text."""
        ends = [engine.tokenizer.convert_tokens_to_ids(one) for one in opening if one in special]
        self.hold_ids = frozenset(ends if self.tools else ())
        """The same as tokens that are not part of it."""

    def read(self, completion: Completion) -> tuple[str, list[ToolCall], list[InvalidToolCall], str | None]:
        """The text, the calls, those that cannot be used, and what was written if the model can be shown it again."""
        text = self.opened + completion.text
        if not self.tools:
            return text, [], [], None
        if not self._raw:
            rest, calls, invalid = read_calls(text, self.renderer.form, self.tools)
            return rest, calls, invalid, completion.text if calls or invalid else None
        ids = [step.chosen.id for step in completion.steps]
        written = str(self.engine.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        if self.renderer.parses:
            rest, calls, invalid = parsed_calls(self.renderer.tokenizer, written, self.prompt, self.tools)
        else:
            rest, calls, invalid = read_calls(self.opened + written, self.renderer.form, self.tools)
        if not calls and not invalid:
            return text, [], [], None
        for token in self.renderer.control.special:
            rest = rest.replace(token, "")
        # special tokens would be lost in the text: the template writes such calls again
        return rest.strip(), calls, invalid, completion.text if written == completion.text else None


def whole_message(
    completion: Completion, model_name: str, reader: Reader, *, entry: Callable[[Candidate], dict[str, Any]] | None
) -> AIMessage:
    """An answer with its tool calls, log-probabilities and usage.

    Args:
        completion: What was generated.
        model_name: For its metadata.
        reader: Reads its text.
        entry: Describes a token for the log-probabilities; None leaves them out.
    """
    text, calls, invalid, again = reader.read(completion)
    metadata: dict[str, Any] = {} if again is None else {RAW_OUTPUT: again, READ_AS: read_as(text, calls)}
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
    calls: list[tuple[str | None, str, str | None]]
    calls = [(c["name"], json.dumps(c["args"]), c["id"]) for c in message.tool_calls]
    calls += [(c["name"], _unusable(c["args"] or ""), c["id"]) for c in message.invalid_tool_calls]
    # white space around a call was said before it was known to be one
    begun = next((one for one in (said, said.lstrip(), said.strip()) if message.text.startswith(one)), message.text)
    return ChatGenerationChunk(
        message=AIMessageChunk(
            content=message.text[len(begun) :],
            response_metadata=message.response_metadata,
            usage_metadata=message.usage_metadata,
            tool_call_chunks=[
                tool_call_chunk(name=name, args=args, id=identity, index=place)
                for place, (name, args, identity) in enumerate(calls)
            ],
            chunk_position="last",
        )
    )


def _unusable(written: str) -> str:
    """What was written of a call, as chunks have it that do not become a call."""
    # LangChain mends JSON that is cut, and takes any object, and no text at all, for arguments
    return json.dumps(written, ensure_ascii=False) if "{" in written or not written else written


class Spoken:
    """The text to stream so far: held back where it may still become a tool call, a stop string or half a character."""

    def __init__(self, reader: Reader, stop: tuple[str, ...]) -> None:
        self._reader, self._engine, self._holds = reader, reader.engine, (*stop, *reader.holds)
        self._longest = max(map(len, self._holds), default=0)
        self._ids: list[int] = []
        # what was decoded last, and the tokens that are decoded again with the next one
        self._text, self._from, self._upto = reader.opened, 0, 0
        self._held = False
        self.said = ""

    def hear(self, step: Step) -> str:
        """Take a token in; what can be said because of it."""
        self._ids.append(step.chosen.id)
        self._held = self._held or step.chosen.id in self._reader.hold_ids
        if self._held:
            return ""
        before = self._engine.decode(self._ids[self._from : self._upto])
        now = self._engine.decode(self._ids[self._from :])
        if now.endswith("\ufffd"):
            return ""
        self._text += now[len(before) :]
        self._from, self._upto = self._upto, len(self._ids)
        begin = max(0, len(self.said) - self._longest)
        tail = self._text[begin:]
        end = len(tail)
        for hold in self._holds:
            at = tail.find(hold)
            if at >= 0:
                end, self._held = min(end, at), True
            # the beginning of a hold at the very end
            size = next((n for n in range(min(len(hold), len(tail)), 0, -1) if tail.endswith(hold[:n])), 0)
            end = min(end, len(tail) - size)
        delta = self._text[len(self.said) : begin + end]
        self.said += delta
        return delta

"""OpenAI's chat completions as bytes and dictionaries: requests read and checked, answers written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langgraph_speceyes.agent.marks import Written
from langgraph_speceyes.agent.question import MARKUP_MARK
from langgraph_speceyes.scoring.separability import FLOOR

MAX_TOKENS = 2048
"""Most tokens of one answer; a model that never stops would hold the others up."""
_TYPES = {401: "authentication_error", 404: "NotFoundError", 500: "InternalServerError", 503: "ServiceUnavailable"}
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "functions": ([],),
}
"""What is not offered: a request that sets it to anything else is refused and not answered as if it had not."""


class Refusal(Exception):
    """A request that is not answered.

    Args:
        status: HTTP status.
        message: What is wrong.
        param: The field that is wrong.
        code: OpenAI's code of the error; the default is the status, as vLLM has it.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI's clients read it."""
        kind = _TYPES.get(self.status, "BadRequestError")
        found = {"message": str(self), "type": kind, "param": self.param, "code": self.code or self.status}
        return {"error": found}


class StreamOptions(BaseModel):
    """What a stream brings beside the answer."""

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """The body of a request for a chat completion; the fields are OpenAI's."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a request.

        Raises:
            Refusal: It is no JSON object, a field is missing or has a wrong value, or it asks for what is not offered.
        """
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError) as error:
            # the error's text, never the body's, which may hold images
            reason = str(error)[:200] if isinstance(error, json.JSONDecodeError) else type(error).__name__
            raise Refusal(400, f"the body is not valid JSON: {reason}") from None
        if not isinstance(content, dict):
            raise Refusal(400, f"the body must be a JSON object, found {type(content).__name__}")
        try:
            request = cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise Refusal(400, f"{where}: {first['msg']}", param=where) from None
        for name, neutral in _NEUTRAL.items():
            if content.get(name) is not None and content[name] not in neutral:
                raise Refusal(400, f"{name} is not supported by this server", param=name)
        return request

    def options(self, limit: int) -> dict[str, Any]:
        """What to call the model with.

        Args:
            limit: Most `top_logprobs`.

        Raises:
            Refusal: A field has a value that cannot be used; the wording is vLLM's.
        """
        top = self.top_logprobs
        if top is not None:
            if not self.logprobs:
                raise Refusal(400, "when using `top_logprobs`, `logprobs` must be set to true.", param="top_logprobs")
            if top < 0:
                raise Refusal(400, f"`top_logprobs` must be a non-negative value, got {top}.", param="top_logprobs")
            if top > limit:
                message = f"Requested sample logprobs of {top}, which is greater than max allowed: {limit}"
                raise Refusal(400, message, param="logprobs")
        if self.stream_options is not None and not self.stream:
            raise Refusal(400, "Stream options can only be defined when `stream=True`.", param="stream_options")
        # OpenAI's default temperature is 1, and vLLM's too
        options: dict[str, Any] = {"temperature": 1.0 if self.temperature is None else self.temperature}
        if self.logprobs:
            options |= {"logprobs": True, "top_logprobs": top or 0}
        for name, value in (
            ("max_tokens", self.max_completion_tokens or self.max_tokens),
            ("seed", self.seed),
            ("stop", self._stops()),
            ("tools", self._offered()),
        ):
            if value is not None:
                options[name] = value
        return options

    def _stops(self) -> list[str] | None:
        stops = [self.stop] if isinstance(self.stop, str) else self.stop
        if stops is not None and "" in stops:
            raise Refusal(400, "stop cannot contain an empty string.", param="stop")
        return stops or None

    def _offered(self) -> list[dict[str, Any]] | None:
        if self.tool_choice not in (None, "auto", "none"):
            raise Refusal(400, 'tool_choice must be "auto" or "none" on this server', param="tool_choice")
        for at, tool in enumerate(self.tools or []):
            function = tool.get("function")
            if tool.get("type") != "function" or not isinstance(function, dict) or not _text(function.get("name")):
                raise Refusal(400, f"tools.{at}: expected a function with a name", param="tools")
        return self.tools if self.tools and self.tool_choice != "none" else None

    def read_messages(self, *, tool_images: bool) -> list[BaseMessage]:
        """The conversation.

        Args:
            tool_images: Accept images in messages of role `tool`.

        Raises:
            Refusal: A message cannot be used.
        """
        return [_message(turn, at, tool_images) for at, turn in enumerate(self.messages)]


def _message(turn: Mapping[str, Any], at: int, tool_images: bool) -> BaseMessage:
    role, where = turn.get("role"), f"messages.{at}"
    if role == "assistant":
        calls = turn.get("tool_calls") or []
        if not isinstance(calls, list):
            raise _wrong(where, "tool_calls: expected a list")
        content = _content(turn, where, images=False) if turn.get("content") is not None else ""
        return AIMessage(content, tool_calls=[_call(call, where) for call in calls])
    if role in ("system", "developer"):
        return SystemMessage(_content(turn, where, images=False))
    if role == "user":
        # a client's protocol writes its tags (<tool_response>) into a user's turn, and vLLM reads them as tokens
        marks = {MARKUP_MARK: Written("yes")}
        return HumanMessage(_content(turn, where, images=True), additional_kwargs=marks)
    if role == "tool":
        if not _text(turn.get("tool_call_id")):
            raise _wrong(where, "a tool message needs a tool_call_id")
        return ToolMessage(_content(turn, where, images=tool_images), tool_call_id=turn["tool_call_id"])
    raise _wrong(where, f"unknown role {str(role)[:40]!r}")


def _content(turn: Mapping[str, Any], where: str, *, images: bool) -> str | list[str | dict[Any, Any]]:
    content = turn.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _wrong(where, "content: expected text or a list of parts")
    parts: list[str | dict[Any, Any]] = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "image_url":
            if not images:
                role = turn.get("role")
                raise _wrong(
                    where,
                    f"Image URLs are only allowed for messages with role 'user', but this message with role '{role}' "
                    "contains an image URL.",
                )
            parts.append(_image(part, where))
        else:
            raise _wrong(where, f"content: expected parts of type text or image_url, found {str(kind)[:40]!r}")
    return parts


def _image(part: Mapping[str, Any], where: str) -> dict[str, Any]:
    holder = part.get("image_url")
    url = holder.get("url") if isinstance(holder, dict) else None
    if not isinstance(url, str) or url[:11].lower() != "data:image/":
        # anything else would be a fetch, or a file of this machine
        raise _wrong(where, "image_url: expected {'url': 'data:image/...'}; this server fetches no images")
    return {"type": "image_url", "image_url": {"url": url}}


def _call(call: Any, where: str) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not _text(function.get("name")):
        raise _wrong(where, "tool_calls: expected functions with a name")
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except (TypeError, ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise _wrong(where, "tool_calls: expected arguments that are a JSON object, as text")
    return tool_call(name=function["name"], args=arguments, id=str(call.get("id")))


def _wrong(where: str, message: str) -> Refusal:
    return Refusal(400, f"Invalid '{where}'. {message}", param=where)


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def completion(identity: Mapping[str, Any], message: AIMessage) -> dict[str, Any]:
    """A whole answer.

    Args:
        identity: `id`, `created` and `model`.
        message: The model's message.
    """
    said: dict[str, Any] = {"role": "assistant", "content": message.text}
    if calls := _calls(message):
        said |= {"content": message.text or None, "tool_calls": calls}
    choice = {"index": 0, "message": said, "logprobs": _logprobs(message), "finish_reason": _finish(message, calls)}
    return {**identity, "object": "chat.completion", "choices": [choice], "usage": usage(message)}


def delta(identity: Mapping[str, Any], chunk: AIMessage | AIMessageChunk | None) -> dict[str, Any]:
    """A piece of a streamed answer; None for the opening one, which names the role.

    The last piece brings the log-probabilities of all tokens: until then the model keeps them.
    """
    said: dict[str, Any] = {"role": "assistant", "content": ""} if chunk is None else {"content": chunk.text}
    choice: dict[str, Any] = {"index": 0, "delta": said, "logprobs": None, "finish_reason": None}
    if chunk is not None:
        if calls := _calls(chunk):
            said["tool_calls"] = [{"index": at, **call} for at, call in enumerate(calls)]
        if "finish_reason" in chunk.response_metadata:
            choice |= {"logprobs": _logprobs(chunk), "finish_reason": _finish(chunk, calls)}
    return {**identity, "object": "chat.completion.chunk", "choices": [choice]}


def usage(message: AIMessage) -> dict[str, int]:
    """Tokens read and written."""
    found = message.usage_metadata
    read, written = (found["input_tokens"], found["output_tokens"]) if found else (0, 0)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _calls(message: AIMessage) -> list[dict[str, Any]]:
    """The tool calls; broken ones as the model wrote them, for the client to see."""
    written = [(c["id"], c["name"], json.dumps(c["args"])) for c in message.tool_calls]
    broken = [(c["id"], c["name"], c["args"]) for c in message.invalid_tool_calls]
    return [
        {"id": identity, "type": "function", "function": {"name": name or "", "arguments": arguments or ""}}
        for identity, name, arguments in [*written, *broken]
    ]


def _finish(message: AIMessage, calls: list[dict[str, Any]]) -> str:
    return "tool_calls" if calls else str(message.response_metadata["finish_reason"])


def _logprobs(message: AIMessage) -> dict[str, Any] | None:
    found = message.response_metadata.get("logprobs")
    if found is None:
        return None
    return {
        "content": [
            {**_entry(token), "top_logprobs": [_entry(one) for one in token["top_logprobs"]]}
            for token in found["content"]
        ]
    }


def _entry(token: Mapping[str, Any]) -> dict[str, Any]:
    # JSON has no infinity; vLLM writes this floor too
    return {"token": token["token"], "logprob": max(token["logprob"], FLOOR), "bytes": token["bytes"]}


__all__ = ["ChatRequest", "Refusal", "completion", "delta", "usage"]

"""What a model's endpoint can do, found by asking it: a handful of requests of a few tokens each."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable

from langgraph_speceyes.errors import ArgumentError, EndpointError, describe_error
from langgraph_speceyes.scoring.answer import DEFAULT_K
from langgraph_speceyes.scoring.separability import FLOOR

__all__ = ["Endpoint", "Verdict", "aprobe", "probe", "stated_limit"]

Verdict = Literal["yes", "ignored", "refused"]
"""`ignored`: accepted without an error, and without any effect."""

QUESTION = "What is in the image? Answer in one sentence."
MAX_TOKENS = 4
USUAL_LIMIT = 20
"""What vLLM gives by default, and OpenAI at most."""
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look at a part of the image.",
        "parameters": {"type": "object", "properties": {"part": {"type": "string"}}, "required": ["part"]},
    },
}

_BEFORE = r"less than or equal to|<=|at most|no more than|up to|between \d+ and|maximum(?: value)?(?: of| is)?:?"
_LIMITS = (
    # vLLM, also with its later endings
    re.compile(r"logprobs of -?\d+, which is greater than max allowed: (\d+)", re.IGNORECASE),
    # OpenAI, Azure and servers that check with pydantic
    re.compile(rf"logprobs\b.*?(?:{_BEFORE}) ?(\d+)", re.IGNORECASE | re.DOTALL),
)

# Once a plain question was answered, these are about what was added to it. OpenAI refuses logprobs with 403, OpenRouter
# images and tools with 404.
_REFUSED = frozenset({400, 403, 404, 405, 406, 413, 415, 422, 501})
# llama-server refuses with 500
_UNSUPPORTED = re.compile(r"not support|unsupported|requires", re.IGNORECASE)
_HINTS = {
    401: "the key is refused",
    403: "the key is refused",
    404: "no such model or path there; a base URL usually ends in /v1",
    429: "it takes no more requests for now",
}
# Probabilities add up to one: where their logarithms say more, they are none. Raw logits are off by far more than this,
# rounded log-probabilities by far less.
_EXCESS = 0.05


@dataclass(frozen=True)
class Endpoint:
    """What a model's endpoint can do.

    Attributes:
        model: The model's name.
        url: Where it is, where that is known.
        asked: Candidates asked for (K).
        k: Candidates it returned for every token: the largest K of a gate over it; 0 without any.
        limit: The most `top_logprobs` it gives, if fewer than asked.
        logprobs: Whether it returns log-probabilities.
        raw_logits: What it calls log-probabilities are raw logits (vLLM's `--logprobs-mode raw_logits`).
        images: Whether it takes images in user messages.
        tool_images: Whether it takes them in messages of role `tool`.
        tools: Whether it takes tools.
        requests: Requests this took.
        said: Its own words on what it refused, by the name of the attribute.
    """

    model: str
    url: str | None
    asked: int
    k: int
    limit: int | None
    logprobs: Verdict
    raw_logits: bool
    images: Verdict
    tool_images: Verdict
    tools: Verdict
    requests: int
    said: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All of it, and the advice, as JSON can hold it."""
        return {**asdict(self), "advice": self.advice()}

    def rows(self) -> list[tuple[str, str]]:
        """What was found, a line each: what was looked at, and how it is."""
        verdicts: list[tuple[str, Verdict, str]] = [
            ("logprobs", self.logprobs, "logprobs"),
            ("images in user messages", self.images, "images"),
            ("images in tool messages", self.tool_images, "tool_images"),
            ("tools", self.tools, "tools"),
        ]
        lines = [(name, verdict + self._words(verdict, key)) for name, verdict, key in verdicts]
        if self.logprobs == "yes":
            of = f"of {self.asked} asked for" + ("" if self.limit is None else f", the limit is {self.limit}")
            values = "raw logits, not log-probabilities" if self.raw_logits else "log-probabilities"
            lines[1:1] = [("candidates a token (K)", f"{self.k} {of}"), ("their values", values)]
        return lines

    def advice(self) -> list[str]:
        """What follows, in plain words, the most important first."""
        lines = [self._about_k()]
        if self.raw_logits:
            lines.append(
                "The values are raw logits: the scores that compare candidates hold, the score `log` does not; "
                "start vLLM without --logprobs-mode raw_logits for all of them."
            )
        if self.images != "yes":
            lines.append(f"Images are {self.images}: it can neither answer nor judge questions about images.")
        elif self.tool_images != "yes":
            lines.append(
                f"Images in tool messages are {self.tool_images}: as the agent's model give it "
                "NativeProtocol(images_in_user_message=True), or protocol='deepeyes'."
            )
        if self.tools != "yes":
            lines.append(
                f"Tools are {self.tools}: as the agent's model give it protocol='deepeyes', or start vLLM with "
                "--enable-auto-tool-choice --tool-call-parser NAME."
            )
        return lines

    def describe(self) -> str:
        """All of it as text."""
        width = max(len(name) for name, _ in self.rows())
        found = [f"{name:<{width}}  {how}" for name, how in self.rows()]
        return "\n".join([self.name, *found, *self.advice()])

    @property
    def name(self) -> str:
        """The model and where it is."""
        return f"{self.model} at {self.url}" if self.url else self.model

    def _words(self, verdict: Verdict, key: str) -> str:
        return f": {self.said[key]}" if verdict == "refused" and key in self.said else ""

    def _about_k(self) -> str:
        if self.logprobs != "yes":
            return (
                f"Logprobs are {self.logprobs}: it can be neither speculator nor judge, only the agent's model; "
                "vLLM returns them."
            )
        if self.k < 2:
            return f"K = {self.k}: a score needs at least 2 candidates a token, so it cannot be the speculator."
        if self.k < self.asked:
            return f"K = {self.k}: calibrate the gate with k={self.k}, or start vLLM with --max-logprobs {self.asked}."
        return f"K = {self.k}: a gate with k={self.k} can be used as it is."


def model_name(model: object) -> str | None:
    """What a model is called, where it says so."""
    for attribute in ("model_name", "model", "model_id"):
        if isinstance(found := getattr(model, attribute, None), str):
            return found
    return None


def stated_limit(text: str) -> int | None:
    """The most `top_logprobs` a server gives, as its refusal of more says; None where it does not say."""
    for pattern in _LIMITS:
        if found := pattern.search(text):
            return int(found[1])
    return None


@dataclass(frozen=True)
class _Ask:
    messages: list[BaseMessage]
    options: dict[str, Any] = field(default_factory=dict)
    tools: bool = False


_Reply = AIMessage | Exception
_Plan = Generator[_Ask, _Reply, Endpoint]


def probe(model: BaseChatModel, *, k: int = DEFAULT_K) -> Endpoint:
    """Find out what a model's endpoint can do.

    Takes six to eight requests, a few more where the limit on `top_logprobs` has to be searched for. What is silently
    ignored is told from the number of input tokens, where the endpoint counts them.

    Args:
        model: Any chat model; see :func:`~langgraph_speceyes.models.hosted.hosted_model`.
        k: Candidates a token to ask for (the paper's K), at least 2.

    Returns:
        What was found.

    Raises:
        ArgumentError: `k` is below 2.
        EndpointError: It cannot be asked at all: it does not answer, refuses the key, does not know the model.
    """
    plan, ask = _started(model, k)
    while True:
        reply: _Reply
        try:
            reply = _callee(model, ask).invoke(ask.messages, {"tags": ["nostream"]}, **ask.options)
        except Exception as error:
            reply = error
        try:
            ask = plan.send(reply)
        except StopIteration as done:
            return _found(done)


async def aprobe(model: BaseChatModel, *, k: int = DEFAULT_K) -> Endpoint:
    """Find out what a model's endpoint can do; see :func:`probe`."""
    plan, ask = _started(model, k)
    while True:
        reply: _Reply
        try:
            reply = await _callee(model, ask).ainvoke(ask.messages, {"tags": ["nostream"]}, **ask.options)
        except Exception as error:
            reply = error
        try:
            ask = plan.send(reply)
        except StopIteration as done:
            return _found(done)


def _started(model: BaseChatModel, k: int) -> tuple[_Plan, _Ask]:
    if k < 2:
        raise ArgumentError("k", "at least 2 candidates a token", k)
    plan = _Probe(model).run(k)
    return plan, next(plan)


def _found(done: StopIteration) -> Endpoint:
    found: Endpoint = done.value
    return found


def _callee(model: BaseChatModel, ask: _Ask) -> Runnable[Any, AIMessage]:
    return model.bind_tools([TOOL]) if ask.tools else model


class _Probe:
    """The questions, one after the other; who asks them, and how, is left to the caller."""

    def __init__(self, model: BaseChatModel) -> None:
        self.model = model_name(model) or type(model).__name__
        self.url = _shown(getattr(model, "openai_api_base", None) or getattr(model, "base_url", None))
        self.requests = 0
        self.said: dict[str, str] = {}

    def run(self, k: int) -> _Plan:
        text: dict[str, Any] = {"type": "text", "text": QUESTION}
        picture = _picture()
        plain = yield from self._ask(_Ask([HumanMessage([text])]))
        if isinstance(plain, Exception):
            raise self._trouble(plain) from plain

        reply = yield from self._ask(_Ask([HumanMessage([picture, text])]))
        images = self._verdict("images", reply, plain)
        human = HumanMessage([picture, text] if images == "yes" else [text])

        answer, limit, refusal = yield from self._candidates(human, k)
        logprobs: Verdict = "yes"
        entries: list[dict[str, Any]] | None = None
        if answer is None:
            logprobs, self.said["logprobs"] = "refused", _words(refusal)
        elif (entries := _content(answer)) is None:
            logprobs = "ignored"
        elif not entries:
            raise EndpointError(self._name, "an answer without a token to look at")
        counts, raw = _candidates_of(entries or [])
        if counts < (k if limit is None else limit):
            limit = counts if logprobs == "yes" else None

        reply = yield from self._ask(_Ask([HumanMessage([text])], tools=True))
        tools = self._verdict("tools", reply, plain)
        tool_images: Verdict = images
        if images == "yes":
            tool_images = yield from self._tool_images(human, picture, tools == "yes")
        return Endpoint(
            model=self.model,
            url=self.url,
            asked=k,
            k=counts,
            limit=limit,
            logprobs=logprobs,
            raw_logits=raw,
            images=images,
            tool_images=tool_images,
            tools=tools,
            requests=self.requests,
            said=self.said,
        )

    def _ask(self, ask: _Ask) -> Generator[_Ask, _Reply, _Reply]:
        self.requests += 1
        options = {"max_tokens": MAX_TOKENS, "temperature": 0.0} | ask.options
        return (yield _Ask(ask.messages, options, ask.tools))

    def _verdict(self, about: str, reply: _Reply, without: AIMessage) -> Verdict:
        """What became of something added to a request, compared with the answer to the request without it."""
        if isinstance(reply, Exception):
            self._must_be_refusal(reply)
            self.said[about] = _words(reply)
            return "refused"
        more, fewer = _read(reply), _read(without)
        return "ignored" if more is not None and more == fewer else "yes"

    def _tool_images(
        self, human: HumanMessage, picture: dict[str, Any], tools: bool
    ) -> Generator[_Ask, _Reply, Verdict]:
        call = {"name": "look", "args": {"part": "middle"}, "id": "call_1", "type": "tool_call"}
        words: dict[str, Any] = {"type": "text", "text": "The middle of the image."}
        turns = [human, AIMessage("", tool_calls=[call])]
        seen = yield from self._ask(_Ask([*turns, ToolMessage([words, picture], tool_call_id="call_1")], tools=tools))
        if isinstance(seen, Exception):
            return self._verdict("tool_images", seen, AIMessage(""))
        without = yield from self._ask(_Ask([*turns, ToolMessage([words], tool_call_id="call_1")], tools=tools))
        return "yes" if isinstance(without, Exception) else self._verdict("tool_images", seen, without)

    def _candidates(
        self, human: HumanMessage, k: int
    ) -> Generator[_Ask, _Reply, tuple[AIMessage | None, int | None, Exception | None]]:
        """An answer with as many candidates as there are: the answer, the limit if one was met, and its wording."""

        def ask(count: int) -> Generator[_Ask, _Reply, _Reply]:
            reply = yield from self._ask(_Ask([human], {"logprobs": True, "top_logprobs": count}))
            if isinstance(reply, Exception):
                self._must_be_refusal(reply)
            return reply

        reply = yield from ask(k)
        if isinstance(reply, AIMessage):
            return reply, None, None
        refusal = reply
        low, high, best = 0, k, None
        named = stated_limit(str(refusal))
        # the limit it names first, then the usual one; the rest is halving
        guesses = [named, named + 1] if named is not None else [USUAL_LIMIT, USUAL_LIMIT + 1]
        if named is not None:
            high = min(high, named + 1)
        while high - low > 1:
            count = next((g for g in guesses if low < g < high), (low + high) // 2)
            reply = yield from ask(count)
            if isinstance(reply, AIMessage):
                low, best = count, reply
            else:
                high, refusal = count, reply
        return best, low, refusal

    def _must_be_refusal(self, error: Exception) -> None:
        """Tell an endpoint's no from trouble on the way to it.

        Raises:
            EndpointError: It is trouble.
        """
        status = getattr(error, "status_code", None)
        if status is None:
            # a model of this process, or an adapter that knows its own limits
            refused = isinstance(error, ValueError | TypeError | NotImplementedError)
        else:
            refused = status in _REFUSED or (status == 500 and bool(_UNSUPPORTED.search(str(error))))
        if not refused:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> EndpointError:
        status, cause, words = getattr(error, "status_code", None), error.__cause__, _words(error)
        if status is None and cause is not None:
            # the client's own message for an unreachable server is no more than "Connection error."
            while cause.__cause__ is not None:
                cause = cause.__cause__
            words = f"{words} ({_words(cause)})"
        hint = f"{_HINTS[status]}: " if status in _HINTS else ""
        return EndpointError(self._name, hint + words)

    @property
    def _name(self) -> str:
        return f"{self.model} at {self.url}" if self.url else self.model


def _picture() -> dict[str, Any]:
    from PIL import Image

    canvas = Image.new("RGB", (112, 112), "white")
    canvas.paste("red", (28, 28, 84, 84))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return {"type": "image", "base64": base64.b64encode(buffer.getvalue()).decode(), "mime_type": "image/png"}


def _content(message: AIMessage) -> list[dict[str, Any]] | None:
    found = message.response_metadata.get("logprobs")
    content = found.get("content") if isinstance(found, dict) else None
    return list(content) if content is not None else None


def _candidates_of(entries: list[dict[str, Any]]) -> tuple[int, bool]:
    """Candidates that every token has, floors left out, and whether their values are raw logits."""
    counts, raw = [], False
    for entry in entries:
        values = [float(one["logprob"]) for one in entry.get("top_logprobs") or []]
        values = [value for value in values if value > FLOOR]
        counts.append(len(values))
        if values:
            highest = max(values)
            total = highest + math.log(math.fsum(math.exp(value - highest) for value in values))
            raw = raw or total > _EXCESS
    return min(counts, default=0), raw


def _read(message: AIMessage) -> int | None:
    return message.usage_metadata["input_tokens"] if message.usage_metadata else None


def _words(error: BaseException | None) -> str:
    """An endpoint's own words, in one line."""
    if error is None:
        return "no reason given"
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    text = said if isinstance(said, str) and said else describe_error(error)
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:297]}..."


def _shown(url: object) -> str | None:
    """An URL without a name and password in it."""
    if not isinstance(url, str):
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

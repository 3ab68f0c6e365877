"""Finding out what a model's endpoint can do: a handful of requests of a few tokens each."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable

from langgraph_speceyes.agent.protocols.thyme import CONTINUED
from langgraph_speceyes.errors import ArgumentError, EndpointError, MissingLogprobsError
from langgraph_speceyes.foreign import cleaned, hide_keys
from langgraph_speceyes.images import ResizeRule, as_rule
from langgraph_speceyes.models.endpoint import Endpoint, Verdict, listed_tokens, model_name, stated_limit
from langgraph_speceyes.models.refusal import in_words, is_refusal, told, trouble_in_words
from langgraph_speceyes.scoring.answer import DEFAULT_K, TokenLogprobs
from langgraph_speceyes.scoring.separability import FLOOR

__all__ = ["aprobe", "probe"]

QUESTION = "What is in the image? Answer in one sentence."
MAX_TOKENS = 4
_SMALLER, _LARGER = (112, 112), (1400, 1000)
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


# Probabilities add up to one: where their logarithms say more, they are none. Raw logits are off by far more than this,
# rounded log-probabilities by far less.
_EXCESS = 0.05


@dataclass(frozen=True)
class _Ask:
    messages: list[BaseMessage]
    options: dict[str, Any] = field(default_factory=dict)
    tools: bool = False


_Reply = AIMessage | Exception
_Plan = Generator[_Ask, _Reply, Endpoint]


def probe(model: BaseChatModel, *, k: int = DEFAULT_K, resize: ResizeRule | str | None = None) -> Endpoint:
    """Find out what a model's endpoint can do.

    Takes six to eleven requests, a few more where the limit on `top_logprobs` has to be searched for. What is silently
    ignored is told from the number of input tokens, where the endpoint counts them.

    Args:
        model: Any chat model; see :func:`~langgraph_speceyes.models.hosted.hosted_model`.
        k: Candidates a token to ask for (the paper's K), at least 2.
        resize: A rule that its processor may follow, or the name of a family such as `"qwen2.5-vl"`: whether it does is
            told from the tokens that the endpoint counts for an image of 1.4 megapixels.

    Returns:
        What was found.

    Raises:
        ArgumentError: `k` is below 2, or there is no such rule.
        EndpointError: It cannot be asked at all: it does not answer, refuses the key, does not know the model.
    """
    plan, ask = _started(model, k, as_rule(resize))
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


async def aprobe(model: BaseChatModel, *, k: int = DEFAULT_K, resize: ResizeRule | str | None = None) -> Endpoint:
    """Find out what a model's endpoint can do; see :func:`probe`."""
    plan, ask = _started(model, k, as_rule(resize))
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


def _started(model: BaseChatModel, k: int, rule: ResizeRule | None) -> tuple[_Plan, _Ask]:
    if k < 2:
        raise ArgumentError("k", "at least 2 candidates a token", k)
    hide_keys(model)
    plan = _Probe(model).run(k, rule)
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
        self.extra = dict(getattr(model, "extra_body", None) or {})
        self.requests = 0
        self.said: dict[str, str] = {}

    def run(self, k: int, rule: ResizeRule | None) -> _Plan:
        text: dict[str, Any] = {"type": "text", "text": QUESTION}
        picture = _picture()
        plain = yield from self._ask(_Ask([HumanMessage([text])]))
        if isinstance(plain, Exception):
            raise self._trouble(plain) from cleaned(plain)

        reply = yield from self._ask(_Ask([HumanMessage([picture, text])]))
        images = self._verdict("images", reply, plain)
        human = HumanMessage([picture, text] if images == "yes" else [text])
        counted = None
        if rule is not None and images == "yes" and isinstance(reply, AIMessage):
            larger = yield from self._ask(_Ask([HumanMessage([_picture(*_LARGER), text])]))
            if isinstance(larger, AIMessage) and (more := _read(larger)) is not None:
                counted = more - (_read(reply) or 0)

        answer, limit, refusal = yield from self._candidates(human, k)
        logprobs: Verdict = "yes"
        entries: list[dict[str, Any]] | None = None
        if answer is None:
            logprobs, self.said["logprobs"] = "refused", in_words(refusal)
        elif (entries := listed_tokens(answer)) is None:
            logprobs = "ignored"
        elif not entries:
            raise EndpointError(self._name, "an answer without a token to look at")
        try:
            counts, raw = _candidates_of(entries or [], k)
        except (ArgumentError, MissingLogprobsError) as error:
            raise EndpointError(self._name, f"log-probabilities in a layout of its own ({error})") from error
        if counts < (k if limit is None else limit):
            limit = counts if logprobs == "yes" else None

        reply = yield from self._ask(_Ask([HumanMessage([text])], tools=True))
        tools = self._verdict("tools", reply, plain)
        tool_images: Verdict = images
        if images == "yes":
            tool_images = yield from self._tool_images(human, picture, tools == "yes")
        continues: Verdict = images
        if images == "yes":
            continues = yield from self._continues(human, picture)
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
            continues=continues,
            requests=self.requests,
            image_tokens=counted,
            rule_tokens=None if rule is None else rule.tokens(*_LARGER) - rule.tokens(*_SMALLER),
            said=self.said,
        )

    def _ask(self, ask: _Ask) -> Generator[_Ask, _Reply, _Reply]:
        self.requests += 1
        options = {"max_tokens": MAX_TOKENS, "temperature": 0.0} | ask.options
        reply = yield _Ask(ask.messages, options, ask.tools)
        if not isinstance(reply, AIMessage | Exception):
            raise EndpointError(self._name, f"an answer that is a {type(reply).__name__}, which no assistant writes")
        return reply

    def _verdict(self, about: str, reply: _Reply, without: AIMessage) -> Verdict:
        """What became of something added to a request, compared with the answer to the request without it."""
        if isinstance(reply, Exception):
            self._must_be_refusal(reply)
            self.said[about] = in_words(reply)
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

    def _continues(self, human: HumanMessage, picture: dict[str, Any]) -> Generator[_Ask, _Reply, Verdict]:
        """Whether the model goes on with its own turn, and sees the image in it.

        The same turn is asked about three times: as it is to be gone on with, without its image, and closed. One that
        is gone on with has fewer tokens than one that is closed and followed by the beginning of another.
        """
        begin: dict[str, Any] = {"type": "text", "text": "A closer look: "}
        end: dict[str, Any] = {"type": "text", "text": " It shows"}
        options = {"extra_body": {**self.extra, **CONTINUED}}
        seen = yield from self._ask(_Ask([human, AIMessage([begin, picture, end])], options))
        if isinstance(seen, Exception):
            return self._verdict("continues", seen, AIMessage(""))
        without = yield from self._ask(_Ask([human, AIMessage([begin, end])], options))
        if isinstance(without, Exception):
            return "yes"
        if self._verdict("continues", seen, without) == "ignored":
            return "ignored"
        closed = yield from self._ask(_Ask([human, AIMessage([begin, picture, end])]))
        if isinstance(closed, Exception):
            return "yes"
        return self._verdict("continues", seen, closed)

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
        named = stated_limit(told(refusal))
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
        if not is_refusal(error):
            raise self._trouble(error) from cleaned(error)

    def _trouble(self, error: Exception) -> EndpointError:
        return EndpointError(self._name, trouble_in_words(error))

    @property
    def _name(self) -> str:
        return f"{self.model} at {self.url}" if self.url else self.model


def _picture(width: int = 112, height: int = 112) -> dict[str, Any]:
    from PIL import Image

    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste("red", (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return {"type": "image", "base64": base64.b64encode(buffer.getvalue()).decode(), "mime_type": "image/png"}


def _candidates_of(entries: list[dict[str, Any]], k: int) -> tuple[int, bool]:
    """Candidates that every token has, K at most and floors left out, and whether their values are raw logits.

    Raises:
        ArgumentError: An entry has another layout than scores are read from.
        MissingLogprobsError: A token has no value at all.
    """
    counts, raw = [], False
    for entry in entries:
        values = [value for _, value in TokenLogprobs.from_entry(entry).top if value > FLOOR]
        counts.append(len(values))
        if values:
            highest = max(values)
            total = highest + math.log(math.fsum(math.exp(value - highest) for value in values))
            raw = raw or total > _EXCESS
    return min([k, *counts]) if counts else 0, raw


def _read(message: AIMessage) -> int | None:
    return message.usage_metadata["input_tokens"] if message.usage_metadata else None


def _shown(url: object) -> str | None:
    """An URL without a name and password in it."""
    if not isinstance(url, str):
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

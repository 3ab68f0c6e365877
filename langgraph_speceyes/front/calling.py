"""Calling a chat model within a time limit, in step with the batches it forms."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.cache.base import BaseCache
from langgraph.types import CachePolicy, RetryPolicy

from langgraph_speceyes.agent import VisualAgent
from langgraph_speceyes.contained import contained
from langgraph_speceyes.errors import AnswerError, ImageError, MissingLogprobsError
from langgraph_speceyes.front.caching import CallCache
from langgraph_speceyes.front.retrying import Retries
from langgraph_speceyes.images import (
    DEFAULT_POLICY,
    ImagePolicy,
    ImageRef,
    fitted,
    images_as_urls,
    in_force,
    inline_images,
    off_loop,
    stoppable,
)
from langgraph_speceyes.models.endpoint import listed_tokens, model_name
from langgraph_speceyes.models.given import chat_models, identity, with_tools
from langgraph_speceyes.models.overview import pixels_sent
from langgraph_speceyes.models.template import THOUGHT_BLOCKS
from langgraph_speceyes.models.waiting import deadline, on_thread
from langgraph_speceyes.scoring import Gate

Value = TypeVar("Value")

_REASONS = ("finish_reason", "stop_reason", "stopReason", "finishReason", "done_reason")

_MAKING = ThreadPoolExecutor(2, thread_name_prefix="speceyes-images")
"""Makes what hosted models are sent. Few threads: a call whose image they have not come to makes it itself."""


class ModelCall:
    """One model, asked for a few tokens with their log-probabilities.

    Args:
        model: Any LangChain chat model, or one with retries, fallbacks or settings around it.
        name: Name of the model's run in traces.
        max_tokens: Most tokens of the answer.
        top_logprobs: Candidates to ask for, for each token; with 0 only the token's own log-probability.
        policy: Which images may be loaded, here and by the model.
        most_pixels: Most pixels of an image for a model that takes no references; None for images as they are.
        timeout_s: Longest wait in seconds, or None. A local forward pass that is under way is not stopped by it.
        tools: Tools shown to the model, in OpenAI's format, for a prompt that begins like another one of it.
        retries: When the model is asked again, within the time limit.
        cache_policy: How long answers are kept; None keeps none.
        cache: Where they are kept; None for the cache of the graph under way.
    """

    def __init__(
        self,
        model: Runnable[Any, Any],
        *,
        name: str,
        max_tokens: int,
        top_logprobs: int,
        policy: ImagePolicy,
        timeout_s: float | None,
        most_pixels: int | None = None,
        tools: Sequence[dict[str, Any]] = (),
        retries: Sequence[RetryPolicy] = (),
        cache_policy: CachePolicy[Any] | None = None,
        cache: BaseCache[Any] | None = None,
    ) -> None:
        self.model, self.policy, self.timeout_s, self.top_logprobs = model, policy, timeout_s, top_logprobs
        self.max_tokens, self.most_pixels = max_tokens, most_pixels
        self.models = chat_models(model)
        self._callee = with_tools(model, list(tools)) if tools else model
        self._settings: dict[str, Any] = {"logprobs": True, "max_tokens": max_tokens, "temperature": 0.0}
        if top_logprobs:
            self._settings["top_logprobs"] = top_logprobs
        # the answer's tokens are not the graph's answer yet: keep them out of the caller's message stream
        self._config: RunnableConfig = {"run_name": name, "tags": ["nostream"]}
        # whichever of them is called gets the same messages and settings
        self._references = all(getattr(one, "accepts_image_references", False) for one in self.models)
        self._batched = all(hasattr(one, "expect") and hasattr(one, "dismiss") for one in self.models)
        self._streams = any(getattr(one, "streaming", False) for one in self.models)
        self._keeps_deadlines = all(getattr(one, "keeps_deadlines", False) for one in self.models)
        self._first: Any = self.models[0]
        self._retries, self._cache = Retries(retries), None
        if cache_policy is not None:
            known = {"model": identity(model), "settings": self._settings | {"tools": list(tools)}}
            self._cache = CallCache(cache_policy, cache, name=name, model=known, images=policy)

    @property
    def model_id(self) -> str | None:
        """The name of the model that is asked first, where it has one."""
        return model_name(self._first)

    @property
    def model_ids(self) -> list[str | None]:
        """The names of all models that may answer."""
        return [model_name(one) for one in self.models]

    @property
    def pixels_sent(self) -> int | None:
        """Most pixels of an image that a hosted model is sent, 0 for images as they are; None for a local one."""
        return pixels_sent(self.most_pixels, self.models)

    @property
    def vocabulary(self) -> int | None:
        """The smallest vocabulary of the models that may answer, where known."""
        sizes = [size for one in self.models if isinstance(size := getattr(one, "vocab_size", None), int)]
        return min(sizes, default=None)

    def preload(self, image: ImageRef) -> bool:
        """Let a local model take its own, small copy of an image.

        Returns:
            Whether that showed the image to be sound and within the call's policy.
        """
        if (load := getattr(self._first, "preload", None)) is None:
            return False
        # what only its own policy refuses is the call's failure, later
        with suppress(ImageError), in_force(self.policy):
            own = self.policy is DEFAULT_POLICY and getattr(self._first, "policy", None) != self.policy
            return bool(load(image)) and not own
        return False

    def prepare(self, image: ImageRef) -> None:
        """Begin to make what a hosted model will be sent of an image, beside what goes on meanwhile."""
        if self._references or self.most_pixels is None or image.kind == "remote":
            return
        most = self.most_pixels

        def make() -> None:
            # trouble is the call's, which comes to the same
            with suppress(Exception), in_force(self.policy):
                fitted(image, most, self.policy)

        _MAKING.submit(contextvars.copy_context().run, make)

    def expect(self, key: str) -> None:
        """Tell a batching model that a call is on its way."""
        if self._batched:
            self._first.expect(key)

    def dismiss(self, key: str) -> None:
        """Tell a batching model that the call will not come."""
        if self._batched:
            self._first.dismiss(key)

    def __call__(self, messages: Sequence[BaseMessage], key: str) -> AIMessage:
        """Ask the model."""
        try:
            until = self._until()
            with in_force(self.policy):
                if self.timeout_s is None or not self._keeps_deadlines:
                    return within(self.timeout_s, lambda: self._ask(messages, key, until))
                # no thread, which would wait on after the time is over
                with deadline(self.timeout_s):
                    return self._ask(messages, key, until)
        except BaseException:
            self.dismiss(key)
            raise

    async def acall(self, messages: Sequence[BaseMessage], key: str) -> AIMessage:
        """Ask the model; see :meth:`__call__`."""
        try:
            with in_force(self.policy):
                return await asyncio.wait_for(self._aask(messages, key, self._until()), self.timeout_s)
        except BaseException:
            self.dismiss(key)
            raise

    def _ask(self, messages: Sequence[BaseMessage], key: str, until: float) -> AIMessage:
        if not self._references:
            messages = self._inlined(messages)
        if self._cache is None or (cache := self._cache.open) is None:
            return self._tried(messages, key, until)
        asked = self._cache.key(messages)
        if (kept := self._cache.get(cache, asked)) is not None:
            self.dismiss(key)
            return kept
        message = self._tried(messages, key, until)
        self._cache.set(cache, asked, message)
        return message

    async def _aask(self, messages: Sequence[BaseMessage], key: str, until: float) -> AIMessage:
        if not self._references:
            messages = await off_loop(self._inlined, messages)
        if self._cache is None or (cache := self._cache.open) is None:
            return await self._atried(messages, key, until)
        asked = await off_loop(self._cache.key, messages)
        if (kept := await self._cache.aget(cache, asked)) is not None:
            self.dismiss(key)
            return kept
        message = await self._atried(messages, key, until)
        await self._cache.aset(cache, asked, message)
        return message

    def _inlined(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        return inline_images(messages, self.policy, most_pixels=self.most_pixels, check=False)

    def _tried(self, messages: Sequence[BaseMessage], key: str, until: float) -> AIMessage:
        given = self._given(messages)

        def attempt() -> AIMessage:
            with contained():
                return _answer(self._callee.invoke(given, self._config, **self._arguments(key)))

        return self._retries.run(attempt, until, lambda: self.dismiss(key))

    async def _atried(self, messages: Sequence[BaseMessage], key: str, until: float) -> AIMessage:
        given = self._given(messages)

        async def attempt() -> AIMessage:
            with contained():
                return _answer(await self._callee.ainvoke(given, self._config, **self._arguments(key)))

        return await self._retries.arun(attempt, until, lambda: self.dismiss(key))

    def _until(self) -> float:
        return math.inf if self.timeout_s is None else time.monotonic() + self.timeout_s

    def _given(self, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
        return images_as_urls(messages) if self._references else list(messages)

    def _arguments(self, key: str) -> dict[str, Any]:
        # Nobody sees these tokens arrive. LangChain would stream them all the same where the graph is streamed, and its
        # protocol v3 keeps the log-probabilities of the last chunk alone.
        whole = {} if self._streams else {"stream": False}
        return self._settings | whole | ({"batch_key": key} if self._batched else {})


def _answer(message: Any) -> AIMessage:
    if not isinstance(message, AIMessage):
        # a server names the role
        raise AnswerError(f"the model answers with a {type(message).__name__}, which no assistant writes")
    return message


def check_use(gate: Gate, small: ModelCall, large: ModelCall | None, agent: object = None) -> None:
    """Check that a gate was calibrated for the models in use, each that may answer.

    Args:
        gate: The gate.
        small: The speculator.
        large: The judge, if any.
        agent: The agent; its model is known where :func:`~langgraph_speceyes.create_visual_agent` made it.

    Raises:
        GateMismatchError: It was calibrated for others.
    """
    for name in small.model_ids:
        gate.check_models(speculator=name)
    for name in large.model_ids if large else []:
        gate.check_models(judge=name)
    built = getattr(agent, "builder", agent)
    if isinstance(built, VisualAgent):
        gate.check_models(agent=model_name(built.model))


def within(seconds: float | None, do: Callable[[], Value]) -> Value:
    """Run a function, and stop waiting for it after some seconds.

    Raises:
        TimeoutError: It took longer.
    """
    if seconds is None:
        return do()
    # a fetch that nobody waits for ends
    with stoppable():
        return on_thread(do).result(timeout=seconds)


def logprob_content(message: AIMessage) -> list[dict[str, Any]]:
    """The tokens of an answer with their log-probabilities.

    Raises:
        MissingLogprobsError: The model returned none.
    """
    if (content := listed_tokens(message)) is None:
        raise MissingLogprobsError(
            "the model returned no log-probabilities; ask an endpoint that supports logprobs and top_logprobs "
            "(chat completions, not the Responses API)"
        )
    return content


def usage_metadata(tokens: Mapping[str, int]) -> UsageMetadata | None:
    """The same in LangChain's words, for cost tracking; None where the model did not say."""
    read, wrote = tokens["input"], tokens["output"]
    if not read and not wrote:
        return None
    return UsageMetadata(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote)


def finish_reason(message: AIMessage) -> str | None:
    """Why a model stopped, in its server's words; None where it does not say.

    LangChain's classes that name their provider keep the place of a reason that is null: they leave it out only where a
    stream broke off.
    """
    found = message.response_metadata
    if reason := next((found[key] for key in _REASONS if found.get(key)), None):
        return str(reason)
    details = found.get("incomplete_details")
    if isinstance(details, dict) and details.get("reason"):
        return str(details["reason"])
    broke_off = "model_provider" in found and not found.keys() & {*_REASONS, "status"}
    return "a stream without a reason at its end" if broke_off else None


def thought_apart(message: AIMessage) -> bool:
    """Whether a message holds a thought beside its text."""
    if any(message.additional_kwargs.get(key) for key in ("reasoning_content", "reasoning", "thinking")):
        return True
    counted: object = message.usage_metadata
    details = counted.get("output_token_details") if isinstance(counted, Mapping) else None
    if isinstance(details, Mapping) and details.get("reasoning"):
        return True
    blocks = message.content if isinstance(message.content, list) else []
    return any(isinstance(one, dict) and one.get("type") in THOUGHT_BLOCKS for one in blocks)

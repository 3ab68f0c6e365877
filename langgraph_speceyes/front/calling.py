"""Calling a chat model within a time limit, in step with the batches it forms."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig

from langgraph_speceyes.errors import ImageError, MissingLogprobsError
from langgraph_speceyes.images import ImagePolicy, ImageRef, inline_images
from langgraph_speceyes.models.endpoint import model_name

Value = TypeVar("Value")


class ModelCall:
    """One model, asked for a few tokens with their log-probabilities.

    Args:
        model: Any LangChain chat model.
        name: Name of the model's run in traces.
        max_tokens: Most tokens of the answer.
        top_logprobs: Candidates to ask for, for each token.
        policy: Which images may be loaded when the model takes no references.
        timeout_s: Longest wait in seconds, or None. A local forward pass that is under way is not stopped by it.
        tools: Tools shown to the model, in OpenAI's format, for a prompt that begins like another one of it.
    """

    def __init__(
        self,
        model: BaseChatModel,
        *,
        name: str,
        max_tokens: int,
        top_logprobs: int,
        policy: ImagePolicy,
        timeout_s: float | None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.model, self.policy, self.timeout_s, self.top_logprobs = model, policy, timeout_s, top_logprobs
        self.max_tokens = max_tokens
        self._callee = model.bind_tools(list(tools)) if tools else model
        self._settings = {"logprobs": True, "top_logprobs": top_logprobs, "max_tokens": max_tokens, "temperature": 0.0}
        # the answer's tokens are not the graph's answer yet: keep them out of the caller's message stream
        self._config: RunnableConfig = {"run_name": name, "tags": ["nostream"]}
        self._references = bool(getattr(model, "accepts_image_references", False))
        self._batched = hasattr(model, "expect") and hasattr(model, "dismiss")

    @property
    def model_id(self) -> str | None:
        """The model's name, where it has one."""
        return model_name(self.model)

    def preload(self, image: ImageRef) -> bool:
        """Let a local model take its own, small copy of an image.

        Returns:
            Whether that showed the image to be sound and within the call's policy.
        """
        if (load := getattr(self.model, "preload", None)) is None:
            return False
        # what only its own policy refuses is the call's failure, later
        with suppress(ImageError):
            return bool(load(image)) and getattr(self.model, "policy", None) == self.policy
        return False

    def expect(self, key: str) -> None:
        """Tell a batching model that a call is on its way."""
        if self._batched:
            self.model.expect(key)  # type: ignore[attr-defined]

    def dismiss(self, key: str) -> None:
        """Tell a batching model that the call will not come."""
        if self._batched:
            self.model.dismiss(key)  # type: ignore[attr-defined]

    def __call__(self, messages: Sequence[BaseMessage], key: str) -> AIMessage:
        """Ask the model."""
        try:
            return within(self.timeout_s, lambda: self._ask(messages, key))
        except BaseException:
            self.dismiss(key)
            raise

    async def acall(self, messages: Sequence[BaseMessage], key: str) -> AIMessage:
        """Ask the model; see :meth:`__call__`."""
        try:
            return await asyncio.wait_for(self._aask(messages, key), self.timeout_s)
        except BaseException:
            self.dismiss(key)
            raise

    def _ask(self, messages: Sequence[BaseMessage], key: str) -> AIMessage:
        if not self._references:
            messages = inline_images(messages, self.policy)
        return self._callee.invoke(list(messages), self._config, **self._arguments(key))

    async def _aask(self, messages: Sequence[BaseMessage], key: str) -> AIMessage:
        if not self._references:
            messages = await asyncio.to_thread(inline_images, messages, self.policy)
        return await self._callee.ainvoke(list(messages), self._config, **self._arguments(key))

    def _arguments(self, key: str) -> dict[str, Any]:
        return self._settings | ({"batch_key": key} if self._batched else {})


def within(seconds: float | None, do: Callable[[], Value]) -> Value:
    """Run a function, and stop waiting for it after some seconds.

    Raises:
        TimeoutError: It took longer.
    """
    return do() if seconds is None else begun(do).result(timeout=seconds)


def begun(do: Callable[[], Value]) -> Future[Value]:
    """Run a function on a thread of its own, with the context variables of this one."""
    future: Future[Value] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            future.set_result(context.run(do))
        except BaseException as error:
            future.set_exception(error)

    # a daemon: a model that never returns must not keep the process alive
    threading.Thread(target=run, daemon=True).start()
    return future


def logprob_content(message: AIMessage) -> list[dict[str, Any]]:
    """The tokens of an answer with their log-probabilities.

    Raises:
        MissingLogprobsError: The model returned none.
    """
    found = message.response_metadata.get("logprobs")
    content = found.get("content") if isinstance(found, dict) else None
    if content is None:
        raise MissingLogprobsError(
            "the model returned no log-probabilities; ask an endpoint that supports logprobs and top_logprobs "
            "(chat completions, not the Responses API)"
        )
    return list(content)


def usage(message: AIMessage) -> dict[str, int]:
    """Tokens read and written, zero where the model does not say."""
    found = message.usage_metadata
    return {"input": found["input_tokens"] if found else 0, "output": found["output_tokens"] if found else 0}


def finish_reason(message: AIMessage) -> str | None:
    """Why a model stopped, in its server's words; None where it does not say."""
    found = message.response_metadata
    for key in ("finish_reason", "stop_reason", "stopReason", "finishReason", "done_reason"):
        if (reason := found.get(key)) is not None:
            return str(reason)
    details = found.get("incomplete_details")
    return str(details["reason"]) if isinstance(details, dict) and details.get("reason") else None

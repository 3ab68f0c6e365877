"""A LangChain chat model over a local vision-language checkpoint."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Self

import torch
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from PIL import Image
from pydantic import ConfigDict, Field, PrivateAttr

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy, ImageRef, ResizeRule, load_resized
from langgraph_speceyes.models.batcher import BatchStats, MicroBatcher
from langgraph_speceyes.models.engine import Engine, check_top
from langgraph_speceyes.models.loading import load_model
from langgraph_speceyes.models.processor import load_processor
from langgraph_speceyes.models.reply import Spoken, last_chunk, whole_message
from langgraph_speceyes.models.request import Completion, Request, Step
from langgraph_speceyes.models.scope import current_scope
from langgraph_speceyes.models.template import images_as_user_turns, turns
from langgraph_speceyes.models.waiting import wait_for

CACHE_BYTES = 512 * 1024 * 1024
"""Of each kind: key-value prefixes, image features. 512 MiB are about 9,000 tokens of a 7B model in 16 bits."""

MAX_BATCH = 16
"""Calls in one forward pass."""


class LocalChatModel(BaseChatModel):
    """Any checkpoint that `AutoModelForImageTextToText` and its processor can load, as a chat model.

    Greedy by default. Tools go through the checkpoint's chat template and come back as `AIMessage.tool_calls`.
    `logprobs=True, top_logprobs=K` puts log-probabilities in `response_metadata["logprobs"]` in the layout of OpenAI's
    chat completions, natural logarithms of the untempered distribution, end-of-sequence excluded. Calls under way
    together, from threads or tasks, share forward passes; a call's answer does not depend on its neighbours.

    Images in messages may be references (paths, `file:` URLs, regions `#xywh=x,y,w,h`, `sha256:` of an interned image):
    they are loaded here, within `policy`.

    Example:
        .. code-block:: python

            model = LocalChatModel.from_pretrained("Qwen/Qwen3-VL-2B-Instruct")
            content = [{"type": "image", "url": "street.jpg"}, {"type": "text", "text": "What is this?"}]
            model.invoke([HumanMessage(content)])
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    model_name: str
    """Hub id or folder the checkpoint was loaded from, or another name for it."""
    source: str | None = None
    """Hub id or folder the checkpoint was loaded from, whatever its name."""
    revision: str | None = None
    """Hub revision it was loaded from, where there is one."""
    temperature: float = 0.0
    """0 is greedy; above it, sampling from the tempered distribution."""
    seed: int | None = None
    """Seed of the sampling."""
    max_tokens: int = 512
    """Most tokens of one answer."""
    logprobs: bool = False
    """Return log-probabilities."""
    top_logprobs: int | None = None
    """Candidates for each token (K); needs `logprobs`."""
    stop: list[str] | None = None
    """The answer ends before the first of these."""
    tools_in_prompt: bool = True
    """Show bound tools through the chat template; False for checkpoints that know their tools, whose calls are then
    only read."""
    policy: ImagePolicy = Field(default=DEFAULT_POLICY)
    """Which images may be loaded."""

    _engine: Engine = PrivateAttr()
    _batcher: MicroBatcher[Request, Completion] = PrivateAttr()

    accepts_image_references: bool = True
    """Callers may pass image references: they need not be turned into base64 first."""
    keeps_deadlines: bool = True
    """A call within :func:`~langgraph_speceyes.models.waiting.deadline` raises `TimeoutError` in time by itself."""

    @classmethod
    def from_pretrained(
        cls,
        model_id: str,
        *,
        revision: str | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        max_batch: int = MAX_BATCH,
        max_wait_s: float = 0.05,
        max_queue: int = 4096,
        cache_bytes: int = CACHE_BYTES,
        kv_tokens: int | None = None,
        model_options: dict[str, Any] | None = None,
        processor_options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Self:
        """Load a checkpoint.

        Args:
            model_id: Hub id or folder.
            revision: Hub revision.
            device: Where to run; the default is CUDA, else MPS, else the CPU.
            dtype: Of the weights; the default is bfloat16 on CUDA that supports it, float16 on other accelerators,
                float32
                on the CPU.
            attn_implementation: As transformers names them; the default is its own choice (SDPA where there is one).
            max_batch: Most calls in one forward pass.
            max_wait_s: Longest wait for calls that were announced, in seconds; others are never waited for.
            max_queue: Most calls waiting; one more raises `QueueFullError`.
            cache_bytes: Most bytes for key-value prefixes of prompts, and as many for image features; 0 caches nothing.
            kv_tokens: Most tokens of keys and values of all calls under way, padding and answers to come included; the
                default is what the device's free memory has room for. Calls wait for room.
            model_options: Further arguments of the model's `from_pretrained`.
            processor_options: Further arguments of the processor's, such as a pixel budget.
            settings: Fields of this class.

        Returns:
            The model, ready to be called.
        """
        options = dict(model_options or {})
        if attn_implementation is not None:
            options["attn_implementation"] = attn_implementation
        model = load_model(model_id, revision=revision, device=device, dtype=dtype, options=options)
        processor = load_processor(model_id, revision=revision, **(processor_options or {}))
        batching = {"max_batch": max_batch, "max_wait_s": max_wait_s, "max_queue": max_queue}
        revision = getattr(model.config, "_commit_hash", None) or revision
        settings = {"model_name": model_id, "source": model_id, "revision": revision} | settings
        settings |= {"cache_bytes": cache_bytes, "kv_tokens": kv_tokens}
        return cls.from_loaded(model, processor, batching=batching, **settings)

    @classmethod
    def from_loaded(
        cls,
        model: Any,
        processor: Any,
        *,
        batching: dict[str, Any] | None = None,
        cache_bytes: int = CACHE_BYTES,
        kv_tokens: int | None = None,
        model_name: str = "local",
        **settings: Any,
    ) -> Self:
        """Wrap a transformers model and processor that are already in memory; see :meth:`from_pretrained`."""
        chat = cls(model_name=model_name, **settings)
        if cache_bytes < 0:
            raise ArgumentError("cache_bytes", "0 or more", cache_bytes)
        batching = dict[str, Any](max_batch=MAX_BATCH, name=f"speceyes {model_name}") | (batching or {})
        most, room = batching["max_batch"], {"prefix_bytes": cache_bytes, "feature_bytes": cache_bytes}
        engine = chat._engine = Engine(model, processor, **room, kv_tokens=kv_tokens, max_batch=most)
        chat._batcher = MicroBatcher(engine.serve, group=lambda r: r.sampling, interrupt=engine.interrupted, **batching)
        return chat

    @property
    def vocab_size(self) -> int:
        """Entries of the output distribution: the largest `top_logprobs`."""
        return self._engine.vocab_size

    @property
    def batch_size(self) -> int:
        """Most calls in one forward pass."""
        return self._batcher.max_batch

    @property
    def stats(self) -> BatchStats:
        """What the batcher has done so far."""
        return self._batcher.stats

    @property
    def resize_rule(self) -> ResizeRule | None:
        """How the processor resizes an image before the model sees it, for Qwen-style processors."""
        images: Any = getattr(self._engine.processor, "image_processor", None)
        try:
            return ResizeRule(
                factor=images.patch_size * images.merge_size,
                min_pixels=images.size.shortest_edge,
                max_pixels=images.size.longest_edge,
            )
        except (AttributeError, TypeError):
            return None

    @property
    def _bicubic_rule(self) -> ResizeRule | None:
        """The rule if the processor follows it with bicubic resizing, so that resizing beforehand changes no pixel."""
        images: Any = getattr(self._engine.processor, "image_processor", None)
        plain = getattr(images, "resample", None) == Image.Resampling.BICUBIC and getattr(images, "do_resize", False)
        return self.resize_rule if plain else None

    @property
    def _llm_type(self) -> str:
        return "langgraph-speceyes-local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "temperature": self.temperature, "max_tokens": self.max_tokens}

    def preload(self, image: ImageRef) -> bool:
        """Load an image at the size at which the model sees it, for the calls to come.

        Returns:
            Whether that can be done: the processor's way of resizing is known.

        Raises:
            ImageError: It cannot be loaded.
        """
        if (rule := self._bicubic_rule) is None:
            return False
        load_resized(image, rule, self.policy)
        return True

    def expect(self, key: Hashable) -> None:
        """Announce a call: one made later with `batch_key=key` is waited for, up to `max_wait_s`."""
        self._batcher.expect(key)

    def dismiss(self, key: Hashable) -> None:
        """Call an announcement off."""
        self._batcher.dismiss(key)

    def clear_caches(self) -> None:
        """Drop cached prefixes and image features, for instance between two measurements."""
        self._engine.clear()

    def close(self) -> None:
        """End the batcher's thread and wait for its end; calls that wait or are under way fail."""
        self._batcher.close()

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools through the chat template.

        Raises:
            ArgumentError: `tool_choice` forces a tool, which a local model cannot promise.
        """
        if tool_choice not in (None, "auto"):
            raise ArgumentError("tool_choice", "None or 'auto'", repr(tool_choice))
        return self.bind(tools=[convert_to_openai_tool(t) for t in tools], **kwargs)

    def render(
        self, messages: Sequence[BaseMessage], tools: list[dict[str, Any]] | None = None
    ) -> tuple[str, tuple[Any, ...]]:
        """The prompt text and the images that these messages become, generation prompt included."""
        found, images = turns(messages, self.policy, self._bicubic_rule)
        text = self._template(found, tools)
        if images and self._placeholders(text) != len(images):
            # the template has no place for images in tool results
            text = self._template(images_as_user_turns(found), tools)
        if images and self._placeholders(text) != len(images):
            raise ArgumentError(
                "messages", f"{self._placeholders(text)} images, which the chat template has room for", len(images)
            )
        return text, tuple(images)

    def _template(self, found: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        return str(
            self._engine.processor.apply_chat_template(
                found, tools=tools or None, tokenize=False, add_generation_prompt=True
            )
        )

    def _placeholders(self, text: str) -> int:
        token = getattr(self._engine.processor, "image_token", None) or "<image>"
        return text.count(token)

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Request:
        logprobs = kwargs.get("logprobs", self.logprobs)
        top = kwargs.get("top_logprobs", self.top_logprobs)
        if top is not None and not logprobs:
            raise ArgumentError("top_logprobs", "logprobs=True beside it", f"logprobs={logprobs}")
        check_top(top, self.vocab_size)
        text, images = self.render(messages, kwargs.get("tools") if self.tools_in_prompt else None)
        self._engine.check(text)
        return Request(
            text=text,
            images=images,
            max_tokens=int(kwargs.get("max_tokens") or self.max_tokens),
            top=(top or 0) if logprobs else None,
            stop=tuple(stop or self.stop or ()),
            temperature=float(kwargs.get("temperature", self.temperature)),
            seed=kwargs.get("seed", self.seed),
            scope=current_scope(),
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        future = self._batcher.submit(request, kwargs.get("batch_key"))
        return self._result(request, wait_for(future, request.abandoned), kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # images are decoded and templates rendered off the event loop
        request = await asyncio.to_thread(self._request, messages, stop, kwargs)
        try:
            completion = await asyncio.wrap_future(self._batcher.submit(request, kwargs.get("batch_key")))
        except asyncio.CancelledError:
            request.abandoned.set()
            raise
        return self._result(request, completion, kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        request = self._request(messages, stop, kwargs)
        future = self._submit_watched(request, kwargs, steps.put)
        spoken = Spoken(self._engine, kwargs.get("tools"), request.stop)
        try:
            while (step := steps.get()) is not None:
                if delta := spoken.hear(step):
                    yield self._delta(delta, run_manager)
        finally:
            future.cancel()
            request.abandoned.set()
        yield self._last(request, future.result(), spoken, kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        loop, steps = asyncio.get_running_loop(), asyncio.Queue[Step | None]()
        request = await asyncio.to_thread(self._request, messages, stop, kwargs)
        future = self._submit_watched(request, kwargs, lambda step: loop.call_soon_threadsafe(steps.put_nowait, step))
        spoken = Spoken(self._engine, kwargs.get("tools"), request.stop)
        try:
            while (step := await steps.get()) is not None:
                if delta := spoken.hear(step):
                    yield self._delta(delta, None)
                    if run_manager:
                        await run_manager.on_llm_new_token(delta)
        finally:
            future.cancel()
            request.abandoned.set()
        yield self._last(request, future.result(), spoken, kwargs)

    def _submit_watched(
        self, request: Request, kwargs: dict[str, Any], put: Callable[[Step | None], Any]
    ) -> Future[Completion]:
        watched = replace(request, on_step=put)
        future = self._batcher.submit(watched, kwargs.get("batch_key"))
        future.add_done_callback(lambda _: put(None))
        return future

    def _delta(self, text: str, run_manager: CallbackManagerForLLMRun | None) -> ChatGenerationChunk:
        chunk = ChatGenerationChunk(message=AIMessageChunk(content=text))
        if run_manager:
            run_manager.on_llm_new_token(text, chunk=chunk)
        return chunk

    def _last(
        self, request: Request, completion: Completion, spoken: Spoken, kwargs: dict[str, Any]
    ) -> ChatGenerationChunk:
        return last_chunk(self._message(request, completion, kwargs), spoken.said)

    def _result(self, request: Request, completion: Completion, kwargs: dict[str, Any]) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._message(request, completion, kwargs))])

    def _message(self, request: Request, completion: Completion, kwargs: dict[str, Any]) -> AIMessage:
        entry = self._engine.token_entry if request.top is not None else None
        return whole_message(completion, self.model_name, tools=bool(kwargs.get("tools")), entry=entry)

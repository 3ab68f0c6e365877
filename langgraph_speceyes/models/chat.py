"""A LangChain chat model over a local vision-language checkpoint."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field, InstanceOf, PrivateAttr

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import off_loop
from langgraph_speceyes.models.batcher import BatchStats, MicroBatcher
from langgraph_speceyes.models.capabilities import Capabilities, found
from langgraph_speceyes.models.engine import Engine, check_top
from langgraph_speceyes.models.loading import Checkpoint, load
from langgraph_speceyes.models.prompting import PromptingChatModel
from langgraph_speceyes.models.rendering import Renderer
from langgraph_speceyes.models.reply import Reader, Spoken, last_chunk, whole_message
from langgraph_speceyes.models.request import Completion, Request, Step
from langgraph_speceyes.models.sampling import temperature_of, warn_of_others
from langgraph_speceyes.models.scope import current_scope
from langgraph_speceyes.models.waiting import next_of, wait_for

_logger = logging.getLogger(__name__)

CACHE_BYTES = 512 * 1024 * 1024
"""Of each kind: key-value prefixes, image features. 512 MiB are about 9,000 tokens of a 7B model in 16 bits."""

CONTINUE = "continue_final_message"
"""Argument of a call, also within `extra_body` as for vLLM: whether the model goes on with the last message."""

MAX_BATCH = 16
"""Calls in one forward pass."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory: what runs it, writes its prompts, and gathers its calls."""

    engine: Engine
    renderer: Renderer
    batcher: MicroBatcher[Request, Completion]


class LocalChatModel(PromptingChatModel):
    """A vision-language checkpoint of transformers as a chat model.

    Families of the Qwen-VL kind share prefixes, images and forward passes; all others are generated batch by batch.
    What a model gets is in its :attr:`capabilities`, and logged when it is loaded; docs/local-models.md lists families.

    Greedy by default. Tools go through the checkpoint's chat template and come back as `AIMessage.tool_calls`.
    `logprobs=True, top_logprobs=K` puts log-probabilities in `response_metadata["logprobs"]` in the layout of OpenAI's
    chat completions, natural logarithms of the untempered distribution, end-of-sequence excluded. Calls under way
    together, from threads or tasks, share forward passes; a call's answer does not depend on its neighbours.

    `extra_body={"continue_final_message": True}`, as for vLLM, has the model go on with the last message, a turn of its
    own that ends with text; images may be part of it.

    What users, tools and images say never becomes one of the tokenizer's control tokens. Where a prompt begins the
    model's thought, so does its answer's text.

    Images in messages may be references (paths, `file:` URLs, regions `#xywh=x,y,w,h`, `sha256:` of an interned image):
    they are loaded here, within `policy`.

    Example:
        .. code-block:: python

            model = LocalChatModel.from_pretrained("Qwen/Qwen3-VL-2B-Instruct")
            content = [{"type": "image", "url": "street.jpg"}, {"type": "text", "text": "What is this?"}]
            model.invoke([HumanMessage(content)])
    """

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
    loaded: InstanceOf[Loaded] | None = Field(default=None, exclude=True, repr=False)
    """The checkpoint in memory, which models that are made of this one's fields share (`configurable_fields`)."""
    _batcher: MicroBatcher[Request, Completion] = PrivateAttr()

    keeps_deadlines: bool = True
    """A call within :func:`~langgraph_speceyes.models.waiting.deadline` raises `TimeoutError` in time by itself."""

    @classmethod
    def from_pretrained(
        cls,
        model_id: str | os.PathLike[str],
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
            model_id: Hub id or folder, of a whole checkpoint or of a LoRA on one.
            revision: Hub revision.
            device: Where to run; the default is CUDA, else MPS, else the CPU.
            dtype: Of the weights; the default is bfloat16 on CUDA that has it, float16 on other accelerators, float32
                on the CPU.
            attn_implementation: As transformers names them; the default is its own choice (SDPA where there is one).
            max_batch: Most calls in one forward pass.
            max_wait_s: Longest wait for calls that were announced, in seconds; others are never waited for.
            max_queue: Most calls waiting; one more raises `QueueFullError`.
            cache_bytes: Most bytes for key-value prefixes of prompts, and as many for image features; 0 caches nothing.
            kv_tokens: Most tokens of keys and values of all calls under way, padding and answers to come included; the
                default is what the device's free memory has room for. Calls wait for room.
            model_options: Further arguments of the model's `from_pretrained`, such as `device_map` or
                `quantization_config`. Only safetensors are loaded, unless `use_safetensors` is False among them.
            processor_options: Further arguments of the processor's, such as a pixel budget.
            settings: Fields of this class.

        Returns:
            The model, ready to be called.

        Raises:
            ArgumentError: It is no checkpoint for a chat, or two arguments contradict each other.
            MissingLibraryError: A library that the checkpoint needs is not installed.
        """
        cls.check_settings(settings)
        model_id, options = os.fspath(model_id), dict(model_options or {})
        if attn_implementation is not None:
            options["attn_implementation"] = attn_implementation
        checkpoint = Checkpoint.find(model_id, revision, options)
        model, processor = load(
            checkpoint, device=device, dtype=dtype, options=options, processor_options=processor_options or {}
        )
        batching = {"max_batch": max_batch, "max_wait_s": max_wait_s, "max_queue": max_queue}
        settings = {"model_name": model_id, "source": model_id, "revision": checkpoint.commit} | settings
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
        """Wrap a transformers model and processor that are already in memory; see :meth:`from_pretrained`.

        Of a PEFT model the model inside is taken, adapters included.
        """
        cls.check_settings(settings)
        if cache_bytes < 0:
            raise ArgumentError("cache_bytes", "0 or more", cache_bytes)
        model = model.get_base_model() if hasattr(model, "get_base_model") else model
        renderer = Renderer(processor)
        batching = dict[str, Any](max_batch=MAX_BATCH, name=f"speceyes {model_name}") | (batching or {})
        most, room = batching["max_batch"], {"prefix_bytes": cache_bytes, "feature_bytes": cache_bytes}
        engine = Engine(model, processor, **room, kv_tokens=kv_tokens, max_batch=most)
        batcher = MicroBatcher(engine.serve, group=lambda r: r.sampling, interrupt=engine.interrupted, **batching)
        chat = cls(**(settings | {"model_name": model_name, "loaded": Loaded(engine, renderer, batcher)}))
        _logger.info("%s", chat.capabilities.line())
        return chat

    @classmethod
    def sharing(cls, other: LocalChatModel, **fields: Any) -> Self:
        """A model of this class over the weights and batches of another one.

        Args:
            other: Whose settings it has, too.
            fields: Settings of its own.
        """
        return cls(**({name: getattr(other, name) for name in LocalChatModel.model_fields} | fields))

    def model_post_init(self, context: Any, /) -> None:
        """Take the checkpoint that is in memory."""
        super().model_post_init(context)
        if self.loaded is not None:
            self._engine, self._renderer = self.loaded.engine, self.loaded.renderer
            self._batcher = self.loaded.batcher

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do, and how it is run."""
        return found(self.model_name, self._engine, self._renderer, self.tools_without_template, self.template_options)

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
    def _llm_type(self) -> str:
        return "langgraph-speceyes-local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        # all that an answer depends on: LangChain's caches tell models apart by it
        names = (
            *("model_name", "source", "revision", "temperature", "seed", "max_tokens", "logprobs", "top_logprobs"),
            *("template_options", "tools_in_prompt", "tools_without_template"),
        )
        # as "stop" they write what a call brings
        return {name: getattr(self, name) for name in names} | {"stop_sequences": self.stop}

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

    def _request(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Request:
        warn_of_others(kwargs)
        logprobs = kwargs.get("logprobs", self.logprobs)
        top = kwargs.get("top_logprobs", self.top_logprobs)
        if top is not None and not logprobs:
            raise ArgumentError("top_logprobs", "logprobs=True beside it", f"logprobs={logprobs}")
        check_top(top, self.vocab_size)
        tools = kwargs.get("tools") if self.tools_in_prompt else None
        continued = bool((kwargs.get("extra_body") or {}).get(CONTINUE, kwargs.get(CONTINUE)))
        stops = stop or self.stop or ()
        if isinstance(stops, str) or not all(isinstance(one, str) and one for one in stops):
            raise ArgumentError("stop", "a list of texts, none of them empty", repr(stops))
        most = kwargs.get("max_tokens")
        most = self.max_tokens if most is None else int(most)
        if most < 1:
            raise ArgumentError("max_tokens", "at least 1 token", most)
        text, images = self.render(messages, tools, kwargs.get("template_options"), continued=continued)
        self._engine.check(text)
        return Request(
            text=text,
            images=images,
            max_tokens=most,
            top=(top or 0) if logprobs else None,
            stop=tuple(stops),
            temperature=temperature_of(kwargs.get("temperature"), self.temperature),
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
        request = await off_loop(self._request, messages, stop, kwargs)
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
        spoken = Spoken(self._reader(request, kwargs), request.stop)
        try:
            while (step := next_of(steps)) is not None:
                if delta := spoken.hear(step):
                    yield self._delta(delta, run_manager)
        finally:
            future.cancel()
            request.abandoned.set()
        yield last_chunk(self._message(request, future.result(), kwargs), spoken.said)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        loop, steps = asyncio.get_running_loop(), asyncio.Queue[Step | None]()
        request = await off_loop(self._request, messages, stop, kwargs)

        def put(step: Step | None) -> None:
            try:
                loop.call_soon_threadsafe(steps.put_nowait, step)
            except RuntimeError:
                # the loop was closed with the stream still open
                request.abandoned.set()

        future = self._submit_watched(request, kwargs, put)
        spoken = Spoken(self._reader(request, kwargs), request.stop)
        try:
            while (step := await steps.get()) is not None:
                if delta := spoken.hear(step):
                    yield self._delta(delta, None)
                    if run_manager:
                        await run_manager.on_llm_new_token(delta)
        finally:
            future.cancel()
            request.abandoned.set()
        yield last_chunk(self._message(request, future.result(), kwargs), spoken.said)

    def _submit_watched(
        self, request: Request, kwargs: dict[str, Any], put: Callable[[Step | None], Any]
    ) -> Future[Completion]:
        heard = 0

        def hear(place: int, step: Step) -> None:
            nonlocal heard
            # an answer that had to be begun again is not said again
            if place == heard:
                heard += 1
                put(step)

        watched = replace(request, on_step=hear)
        future = self._batcher.submit(watched, kwargs.get("batch_key"))
        future.add_done_callback(lambda _: put(None))
        return future

    def _delta(self, text: str, run_manager: CallbackManagerForLLMRun | None) -> ChatGenerationChunk:
        chunk = ChatGenerationChunk(message=AIMessageChunk(content=text))
        if run_manager:
            run_manager.on_llm_new_token(text, chunk=chunk)
        return chunk

    def _result(self, request: Request, completion: Completion, kwargs: dict[str, Any]) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._message(request, completion, kwargs))])

    def _message(self, request: Request, completion: Completion, kwargs: dict[str, Any]) -> AIMessage:
        entry = self._engine.token_entry if request.top is not None else None
        return whole_message(completion, self.model_name, self._reader(request, kwargs), entry=entry)

    def _reader(self, request: Request, kwargs: dict[str, Any]) -> Reader:
        return Reader(self._engine, self._renderer, request.text, kwargs.get("tools"))

"""One batched generation: prompts and images in, tokens and their strongest candidates out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.models.decoder import CachedDecoder
from langgraph_speceyes.models.patches import flatten_patches


@dataclass(frozen=True)
class Candidate:
    """One entry of a step's distribution: token id and natural log-probability."""

    id: int
    logprob: float


@dataclass(frozen=True)
class Step:
    """One generated token with its K strongest candidates, strongest first (none when none were asked for).

    Attributes:
        chosen: The token.
        ids: The candidates' token ids, ``[K]``, int32.
        logprobs: Their natural log-probabilities, ``[K]``, float32.
    """

    chosen: Candidate
    ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]

    @property
    def top(self) -> list[Candidate]:
        """The candidates."""
        pairs = zip(self.ids.tolist(), self.logprobs.tolist(), strict=True)
        return [Candidate(id, logprob) for id, logprob in pairs]


@dataclass(frozen=True)
class Request:
    """One prompt.

    Attributes:
        text: The prompt as the chat template rendered it, one placeholder an image.
        images: The images, in the order of their placeholders.
        max_tokens: Most tokens to generate.
        top: Candidates to keep for each token; None keeps no log-probabilities at all.
        stop: The answer ends before the first of these.
        temperature: 0 is greedy.
        seed: Seed of the sampling, when the temperature is above 0.
        scope: Which requests it shares what is cached with.
        on_step: Called on the engine's thread after each token of this request.
    """

    text: str
    images: tuple[Image.Image, ...] = ()
    max_tokens: int = 512
    top: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    seed: int | None = None
    scope: str = ""
    on_step: Callable[[Step], None] | None = field(default=None, compare=False)

    @property
    def sampling(self) -> tuple[float, int | None]:
        """What requests in one batch must have in common."""
        return self.temperature, self.seed


@dataclass(frozen=True)
class Completion:
    """What came of one request: text, tokens (end-of-sequence excluded), why it ended, and its prompt's tokens.

    Of the prompt's tokens, `cached_tokens` were found in the cache.
    """

    text: str
    steps: tuple[Step, ...]
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int = 0


class Engine:
    """A model, its processor, and the one way to run them.

    Args:
        model: An image-text-to-text model of transformers, in evaluation mode.
        processor: Its processor; the tokenizer pads on the left.
    """

    def __init__(self, model: Any, processor: Any, *, prefix_bytes: int = 0, feature_bytes: int = 0) -> None:
        self.model, self.processor = model, processor
        flatten_patches(model)
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.vocab_size = int(model.get_output_embeddings().weight.shape[0])
        self.end_ids = _end_ids(model, self.tokenizer)
        self.decoder = (
            CachedDecoder(model, processor, prefix_bytes, feature_bytes)
            if prefix_bytes + feature_bytes > 0 and CachedDecoder.fits(model, processor)
            else None
        )
        # module state (rope_deltas, caches) makes a model single-file; its batcher is one thread, other callers queue
        self._lock = threading.Lock()
        self._words: dict[int, tuple[str, list[int] | None]] = {}

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Generate for several prompts in one left-padded batch.

        Args:
            requests: Requests with equal `sampling`.

        Returns:
            One completion a request, in their order.

        Raises:
            ArgumentError: A request asks for more candidates than the vocabulary has.
        """
        for request in requests:
            check_top(request.top, self.vocab_size)
        return self._plain(requests) if self.decoder is None else self._cached(self.decoder, requests)

    def clear(self) -> None:
        """Drop what is cached."""
        with self._lock:
            if self.decoder is not None:
                self.decoder.clear()

    def _cached(self, decoder: CachedDecoder, requests: Sequence[Request]) -> list[Completion]:
        recorder = _Recorder(requests, self)
        temperature, seed = requests[0].sampling
        with self._lock, torch.inference_mode():
            generator = None
            if temperature > 0:
                generator = torch.Generator(device=self.model.device)
                generator.seed() if seed is None else generator.manual_seed(seed)
            prompts = decoder.prepare([(r.text, r.images, r.scope) for r in requests])

            def choose(logits: Tensor, rows: Sequence[int]) -> tuple[Tensor, list[bool]]:
                if generator is None:
                    tokens = logits.argmax(-1)
                else:
                    shares = (logits.float() / temperature).softmax(-1)
                    tokens = shares.multinomial(1, generator=generator)[:, 0]
                recorder.step(tokens, logits, rows)
                return tokens, [recorder.finished[row] is None for row in rows]

            decoder.run(prompts, choose)
        return [recorder.completion(i, len(p.tokens), p.cached) for i, p in enumerate(prompts)]

    def _plain(self, requests: Sequence[Request]) -> list[Completion]:
        images = [list(r.images) for r in requests]
        inputs = self.processor(
            text=[r.text for r in requests],
            images=images if any(images) else None,
            padding=True,
            return_tensors="pt",
        ).to(self.model.device)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        recorder = _Recorder(requests, self)
        temperature, seed = requests[0].sampling
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
        config = GenerationConfig(
            **({"do_sample": False} | sampling),
            max_new_tokens=max(r.max_tokens for r in requests),
            eos_token_id=sorted(self.end_ids) or None,
            pad_token_id=self.tokenizer.pad_token_id,
            # a checkpoint's own penalties would make the scores depend on the prompt
            repetition_penalty=1.0,
        )
        with self._lock, torch.inference_mode():
            if seed is not None:
                torch.manual_seed(seed)
            self.model.generate(
                **inputs,
                generation_config=config,
                logits_processor=LogitsProcessorList([recorder.processor]),
                stopping_criteria=StoppingCriteriaList([recorder.criteria]),
            )
        mask = inputs["attention_mask"].sum(-1).tolist()
        return [recorder.completion(i, int(mask[i])) for i in range(len(requests))]

    def token_entry(self, candidate: Candidate) -> dict[str, Any]:
        """A token as OpenAI's chat completions list it: `token`, `logprob`, and `bytes` where they are whole."""
        if candidate.id not in self._words:
            word = str(self.tokenizer.decode([candidate.id], clean_up_tokenization_spaces=False))
            self._words[candidate.id] = word, None if "\ufffd" in word else list(word.encode())
        word, raw = self._words[candidate.id]
        return {"token": word, "logprob": candidate.logprob, "bytes": raw}

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def check_top(top: int | None, vocabulary: int) -> None:
    """Refuse a number of candidates that the vocabulary does not have."""
    if top is not None and not 0 <= top <= vocabulary:
        raise ArgumentError("top_logprobs", f"0 to {vocabulary}, the size of the vocabulary", top)


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    ends: set[int] = set()
    for found in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        ends.update(found if isinstance(found, (list, tuple)) else [] if found is None else [found])
    return frozenset(int(e) for e in ends)


class _Recorder:
    """Watches a generation: keeps the candidates of each step and ends each row when it is done.

    What is kept is O(tokens * K): the full distribution of a step is dropped before the next one.
    """

    def __init__(self, requests: Sequence[Request], engine: Engine) -> None:
        self.requests, self.engine = requests, engine
        self.steps: list[list[Step]] = [[] for _ in requests]
        self.finished: list[str | None] = [None] * len(requests)
        self.text: list[str | None] = [None] * len(requests)
        self.top = max((r.top for r in requests if r.top is not None), default=None)
        self._logits: Tensor | None = None
        recorder = self

        class Watch(LogitsProcessor):
            def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
                recorder._logits = scores
                return scores

        class End(StoppingCriteria):
            def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
                recorder.step(input_ids[:, -1], recorder._logits, range(len(requests)))
                recorder._logits = None
                done = [reason is not None for reason in recorder.finished]
                return torch.tensor(done, device=input_ids.device)

        self.processor, self.criteria = Watch(), End()

    def step(self, chosen: Tensor, logits: Tensor | None, rows: Sequence[int]) -> None:
        """Take in a step: the tokens chosen from the logits ``[rows, vocabulary]``, and whose rows they are."""
        logprobs: list[float] = [0.0] * len(rows)
        values, indices = np.empty((len(rows), 0), np.float32), np.empty((len(rows), 0), np.int32)
        if self.top is None or logits is None:
            ids = chosen.tolist()
        else:
            logits = logits.float()
            norm = logits.logsumexp(-1, keepdim=True)
            picked = logits.gather(-1, chosen[:, None].to(logits.device))
            top = logits.topk(self.top, dim=-1)
            # one transfer for everything, ids beside values: float32 holds integers up to 2**24
            named = torch.cat([chosen[:, None].to(logits.device), top.indices], dim=-1).to(logits.dtype)
            packed = torch.cat([picked - norm, top.values - norm, named], dim=-1).cpu()
            logprobs = packed[:, 0].tolist()
            values = packed[:, 1 : 1 + self.top].numpy()
            whole = packed[:, 1 + self.top :].int()
            ids, indices = whole[:, 0].tolist(), whole[:, 1:].numpy()
        for place, row in enumerate(rows):
            request = self.requests[row]
            if self.finished[row] is not None:
                continue
            if ids[place] in self.engine.end_ids:
                self.finished[row] = "stop"
                continue
            keep = request.top or 0
            # copies: a row would keep the whole batch's step in memory
            kept = indices[place, :keep].copy(), values[place, :keep].copy()
            step = Step(Candidate(ids[place], logprobs[place]), *kept)
            self.steps[row].append(step)
            if request.stop and self._stopped(row):
                self.finished[row] = "stop"
                continue
            if request.on_step is not None:
                request.on_step(step)
            if len(self.steps[row]) >= request.max_tokens:
                self.finished[row] = "length"

    def _stopped(self, row: int) -> bool:
        text = self.engine.decode([s.chosen.id for s in self.steps[row]])
        found = [at for at in (text.find(stop) for stop in self.requests[row].stop) if at >= 0]
        if not found:
            return False
        self.text[row] = text[: min(found)]
        # tokens wholly behind the cut are not part of the answer
        while self.steps[row] and len(self.engine.decode([s.chosen.id for s in self.steps[row][:-1]])) >= min(found):
            self.steps[row].pop()
        return True

    def completion(self, row: int, prompt_tokens: int, cached_tokens: int = 0) -> Completion:
        text = self.text[row]
        if text is None:
            text = self.engine.decode([s.chosen.id for s in self.steps[row]])
        return Completion(text, tuple(self.steps[row]), self.finished[row] or "length", prompt_tokens, cached_tokens)

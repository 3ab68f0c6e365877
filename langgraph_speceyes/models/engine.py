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
from langgraph_speceyes.models.batcher import Feed
from langgraph_speceyes.models.control import adds_special
from langgraph_speceyes.models.decoder import CachedDecoder, Prompt
from langgraph_speceyes.models.patches import flatten_patches, own_settings


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
        abandoned: Set once nobody waits for it any more: it ends at the next token.
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
    abandoned: threading.Event = field(default_factory=threading.Event, compare=False)

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
        self.plain_because = "cache_bytes is 0"
        """Why there are neither caches nor a running batch; empty where there are."""
        if prefix_bytes + feature_bytes > 0:
            self.plain_because = CachedDecoder.misfit(model, processor) or ""
        self.decoder = None if self.plain_because else CachedDecoder(model, processor, prefix_bytes, feature_bytes)
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
        alone = _Alone()
        self.serve(requests, alone)
        return [alone.found[number] for number in range(len(requests))]

    def serve(self, requests: Sequence[Request], feed: Feed[Request, Completion]) -> None:
        """Generate for several prompts, each done as soon as it is; greedy ones are joined by what the feed has.

        Args:
            requests: Requests with equal `sampling`.
            feed: Is given the completions, and gives further requests.

        Raises:
            ArgumentError: A request asks for more candidates than the vocabulary has.
        """
        for request in requests:
            check_top(request.top, self.vocab_size)
        if self.decoder is not None:
            self._cached(self.decoder, requests, feed)
            return
        for number, completion in enumerate(self._plain(requests)):
            feed.done(number, completion)

    def clear(self) -> None:
        """Drop what is cached."""
        with self._lock:
            if self.decoder is not None:
                self.decoder.clear()

    def _cached(self, decoder: CachedDecoder, requests: Sequence[Request], feed: Feed[Request, Completion]) -> None:
        recorder = _Recorder(self)
        temperature, seed = requests[0].sampling
        prompts: dict[int, Prompt] = {}

        def ready(several: Sequence[Request]) -> dict[int, Prompt]:
            numbers = recorder.add(several)
            inputs = [(r.text, r.images, r.scope) for r in several]
            try:
                made = dict(zip(numbers, decoder.prepare(inputs), strict=True))
            except Exception:
                made = {}
                # one bad request must not fail its neighbours
                for number, one in zip(numbers, inputs, strict=True):
                    try:
                        made[number] = decoder.prepare([one])[0]
                    except Exception as error:
                        feed.fail(number, error)
            prompts.update(made)
            return made

        def more() -> dict[int, Prompt]:
            # a sampled answer would depend on who joins
            new = [] if temperature > 0 else feed.more()
            return ready(new) if new else {}

        def choose(logits: Tensor, rows: Sequence[int]) -> tuple[Tensor, list[int], list[bool]]:
            if generator is None:
                tokens = logits.argmax(-1)
            else:
                shares = (logits.float() / temperature).softmax(-1)
                tokens = shares.multinomial(1, generator=generator)[:, 0]
            ids = recorder.step(tokens, logits, rows)
            going = [recorder.finished[row] is None for row in rows]
            for row, goes in zip(rows, going, strict=True):
                if not goes:
                    prompt = prompts.pop(row)
                    feed.done(row, recorder.completion(row, len(prompt.tokens), prompt.cached))
            return tokens, ids, going

        with self._lock, torch.inference_mode():
            generator = None
            if temperature > 0:
                generator = torch.Generator(device=self.model.device)
                generator.seed() if seed is None else generator.manual_seed(seed)
            decoder.run(ready(requests), choose, more)

    def _plain(self, requests: Sequence[Request]) -> list[Completion]:
        images = [list(r.images) for r in requests]
        inputs = self.processor(
            text=[r.text for r in requests],
            images=images if any(images) else None,
            padding=True,
            return_tensors="pt",
            add_special_tokens=adds_special(self.tokenizer, requests[0].text),
        ).to(self.model.device, dtype=self.model.dtype)
        recorder = _Recorder(self)
        recorder.add(requests)
        temperature, seed = requests[0].sampling
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
        config = GenerationConfig(
            **({"do_sample": False} | sampling),
            max_new_tokens=max(r.max_tokens for r in requests),
            eos_token_id=sorted(self.end_ids) or None,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with self._lock, torch.inference_mode(), own_settings(self.model):
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


class _Alone:
    """A feed of requests that nobody joins."""

    def __init__(self) -> None:
        self.found: dict[int, Completion] = {}

    def more(self) -> Sequence[Request]:
        return ()

    def done(self, number: int, result: Completion) -> None:
        self.found[number] = result

    def fail(self, number: int, error: Exception) -> None:
        raise error


class _Recorder:
    """Watches a generation: keeps the candidates of each step and ends each row when it is done.

    What is kept is O(tokens * K): the full distribution of a step is dropped before the next one.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self._added = engine, 0
        self.requests: dict[int, Request] = {}
        self.steps: dict[int, list[Step]] = {}
        self.finished: dict[int, str | None] = {}
        self.text: dict[int, str] = {}
        self._logits: Tensor | None = None
        recorder = self

        class Watch(LogitsProcessor):
            def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
                recorder._logits = scores
                return scores

        class End(StoppingCriteria):
            def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
                rows = list(recorder.requests)
                recorder.step(input_ids[:, -1], recorder._logits, rows)
                recorder._logits = None
                done = [recorder.finished[row] is not None for row in rows]
                return torch.tensor(done, device=input_ids.device)

        self.processor, self.criteria = Watch(), End()

    def add(self, requests: Sequence[Request]) -> list[int]:
        """Take on requests; their numbers, counted from the first one on."""
        numbers = list(range(self._added, self._added + len(requests)))
        self._added += len(requests)
        self.requests.update(zip(numbers, requests, strict=True))
        self.steps.update((number, []) for number in numbers)
        self.finished.update(dict.fromkeys(numbers))
        return numbers

    def step(self, chosen: Tensor, logits: Tensor | None, rows: Sequence[int]) -> list[int]:
        """Take in a step: the tokens chosen from the logits ``[rows, vocabulary]``, and whose rows they are.

        Returns:
            The tokens.
        """
        requests = [self.requests[row] for row in rows]
        most = max((r.top for r in requests if r.top is not None), default=None)
        logprobs: list[float] = [0.0] * len(rows)
        values, indices = np.empty((len(rows), 0), np.float32), np.empty((len(rows), 0), np.int32)
        if most is None or logits is None:
            ids: list[int] = chosen.tolist()
        else:
            logits = logits.float()
            norm = logits.logsumexp(-1, keepdim=True)
            picked = logits.gather(-1, chosen[:, None].to(logits.device))
            top = logits.topk(most, dim=-1)
            # one transfer for everything, ids beside values: float32 holds integers up to 2**24
            named = torch.cat([chosen[:, None].to(logits.device), top.indices], dim=-1).to(logits.dtype)
            packed = torch.cat([picked - norm, top.values - norm, named], dim=-1).cpu()
            logprobs = packed[:, 0].tolist()
            values = packed[:, 1 : 1 + most].numpy()
            whole = packed[:, 1 + most :].int()
            ids, indices = whole[:, 0].tolist(), whole[:, 1:].numpy()
        for place, (row, request) in enumerate(zip(rows, requests, strict=True)):
            if self.finished[row] is not None:
                continue
            if request.abandoned.is_set():
                self.finished[row] = "abandoned"
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
        return ids

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
        """What came of a request, which is forgotten."""
        steps, text = self.steps.pop(row), self.text.pop(row, None)
        del self.requests[row]
        if text is None:
            text = self.engine.decode([s.chosen.id for s in steps])
        return Completion(text, tuple(steps), self.finished.pop(row) or "length", prompt_tokens, cached_tokens)

"""One batched generation: prompts and images in, tokens and their strongest candidates out."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.models.batcher import Feed
from langgraph_speceyes.models.control import adds_special
from langgraph_speceyes.models.decoder import CachedDecoder
from langgraph_speceyes.models.interrupt import interrupted
from langgraph_speceyes.models.limits import batches, check_text, check_tokens, context_length
from langgraph_speceyes.models.memory import Memory, is_out_of_memory, release
from langgraph_speceyes.models.patches import flatten_patches, own_settings
from langgraph_speceyes.models.prefill import Prompt
from langgraph_speceyes.models.request import Candidate, Completion, Request, Step
from langgraph_speceyes.models.sampling import Sampler


class Engine:
    """A model, its processor, and the one way to run them.

    Args:
        model: An image-text-to-text model of transformers, in evaluation mode.
        processor: Its processor; the tokenizer pads on the left.
        prefix_bytes: Most bytes of key-value prefixes kept.
        feature_bytes: Most bytes of image features kept.
        kv_tokens: Most key-value slots of the prompts under way; None is what free memory has room for.
        max_batch: Most prompts under way.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        prefix_bytes: int = 0,
        feature_bytes: int = 0,
        kv_tokens: int | None = None,
        max_batch: int = 16,
    ) -> None:
        self.model, self.processor = model, processor
        flatten_patches(model)
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.vocab_size = int(model.get_output_embeddings().weight.shape[0])
        self.end_ids = _end_ids(model, self.tokenizer)
        self.context = context_length(model.config)
        self.memory = Memory(model, kv_tokens)
        # a call's answer does not depend on its neighbours
        self._most_plain = max_batch if batches(model.config) else 1
        self.plain_because = "cache_bytes is 0"
        """Why there are neither caches nor a running batch; empty where there are."""
        if prefix_bytes + feature_bytes > 0:
            self.plain_because = CachedDecoder.misfit(model, processor) or ""
        self.decoder = (
            None
            if self.plain_because
            else CachedDecoder(model, processor, prefix_bytes, feature_bytes, self.memory, max_batch)
        )
        # module state (rope_deltas, caches) makes a model single-file; its batcher is one thread, other callers queue
        self._lock = threading.Lock()
        _all.add(self)
        self._words: dict[int, tuple[str, list[int] | None]] = {}
        self._before: list[int] = self.tokenizer("a", add_special_tokens=False)["input_ids"]

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
        begin = 0
        while begin < len(requests):
            part, tight = requests[begin : begin + self._most_plain], False
            try:
                completions = self._plain(part)
            except Exception as error:
                if not is_out_of_memory(error) or len(part) == 1:
                    raise
                tight = True
            # not above, where the error still holds what the passes had made
            if tight:
                self._most_plain = len(part) // 2
                release(self.model.device)
                continue
            for number, completion in enumerate(completions, begin):
                feed.done(number, completion)
            begin += len(part)

    def check(self, text: str) -> None:
        """Refuse a prompt that is far longer than the model's context, without tokenizing all of it.

        Args:
            text: The prompt, images as their placeholders.

        Raises:
            PromptTooLongError: It is.
        """
        check_text(self.tokenizer, text, self.context)

    def interrupted(self, thread: threading.Thread) -> AbstractContextManager[None]:
        """Within, what the thread computes with the model ends at its next layer, with :class:`ClosedError`."""
        return interrupted(self.model, thread)

    def clear(self) -> None:
        """Drop what is cached."""
        with self._lock:
            if self.decoder is not None:
                self.decoder.clear()

    def _cached(self, decoder: CachedDecoder, requests: Sequence[Request], feed: Feed[Request, Completion]) -> None:
        sampler = Sampler(*requests[0].sampling)
        recorder = _Recorder(self, sampler)
        prompts: dict[int, Prompt] = {}

        def ready(several: Sequence[Request]) -> dict[int, Prompt]:
            numbers = recorder.add(several)
            inputs = [(r.text, r.images, r.scope) for r in several]
            try:
                made = dict(zip(numbers, decoder.prepare(inputs), strict=True))
            except Exception as error:
                made = {}
                if is_out_of_memory(error):
                    decoder.clear()
                # one bad request must not fail its neighbours
                for number, one in zip(numbers, inputs, strict=True):
                    try:
                        made[number] = decoder.prepare([one])[0]
                    except Exception as error:
                        feed.fail(number, error)
            for number, prompt in made.items():
                prompt.most = recorder.limit(number, len(prompt.tokens), self.context)
            prompts.update(made)
            return made

        def more() -> dict[int, Prompt]:
            new = feed.more()
            return ready(new) if new else {}

        def choose(logits: Tensor, rows: Sequence[int]) -> tuple[Tensor, list[int], list[bool]]:
            tokens = sampler(logits, rows)
            ids = recorder.step(tokens, logits, rows)
            going = [recorder.finished[row] is None for row in rows]
            for row, goes in zip(rows, going, strict=True):
                if not goes:
                    prompt = prompts.pop(row)
                    feed.done(row, recorder.completion(row, len(prompt.tokens), prompt.cached))
            return tokens, ids, going

        with self._lock, torch.inference_mode():
            decoder.run(ready(requests), choose, more, feed.fail)

    def count(self, request: Request) -> int:
        """A prompt's tokens, those of its images included."""
        return int(self._inputs([request])["input_ids"].shape[-1])

    def _inputs(self, requests: Sequence[Request]) -> Any:
        images = [list(r.images) for r in requests]
        return self.processor(
            text=[r.text for r in requests],
            images=images if any(images) else None,
            padding=True,
            return_tensors="pt",
            add_special_tokens=adds_special(self.tokenizer, requests[0].text),
        )

    def _plain(self, requests: Sequence[Request]) -> list[Completion]:
        inputs = self._inputs(requests).to(self.model.device, dtype=self.model.dtype)
        lengths = inputs["attention_mask"].sum(-1).tolist()
        check_tokens(max(lengths), self.context)
        recorder = _Recorder(self, Sampler(*requests[0].sampling))
        limits = [recorder.limit(n, int(lengths[n]), self.context) for n in recorder.add(requests)]
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max(limits),
            eos_token_id=sorted(self.end_ids) or None,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with self._lock, torch.inference_mode(), own_settings(self.model) as generate:
            generate(
                **inputs,
                generation_config=config,
                logits_processor=LogitsProcessorList([recorder.processor]),
                stopping_criteria=StoppingCriteriaList([recorder.criteria]),
            )
        return [recorder.completion(i, int(lengths[i])) for i in range(len(requests))]

    def token_entry(self, candidate: Candidate) -> dict[str, Any]:
        """A token as OpenAI's chat completions list it: `token`, `logprob`, and `bytes` where they are whole."""
        if candidate.id not in self._words:
            # behind another one: some tokenizers drop the space that a text begins with
            said, both = (
                str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))
                for ids in (self._before, [*self._before, candidate.id])
            )
            word = both.removeprefix(said)
            self._words[candidate.id] = word, None if "\ufffd" in word else list(word.encode())
        word, raw = self._words[candidate.id]
        return {"token": word, "logprob": candidate.logprob, "bytes": raw}

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _forked() -> None:
    for engine in list(_all):
        engine._lock = threading.Lock()


_all: weakref.WeakSet[Engine] = weakref.WeakSet()
# who held a lock is not there in a process that was forked
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


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

    def __init__(self, engine: Engine, sampler: Sampler) -> None:
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
                if sampler.temperature <= 0:
                    return scores
                # `generate` takes the strongest, and would draw for all rows from one generator, the process's own
                drawn = sampler(scores, list(recorder.requests))
                return torch.full_like(scores, -torch.inf).scatter(-1, drawn[:, None], 0.0)

        class End(StoppingCriteria):
            def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
                rows, logits, recorder._logits = list(recorder.requests), recorder._logits, None
                if logits is None:
                    # it generates in a way of its own, and no scores must not look like certainty
                    raise ArgumentError("model", "one that shows its logits", type(engine.model).__name__)
                recorder.step(input_ids[:, -1], logits, rows)
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

    def limit(self, number: int, prompt_tokens: int, context: int | None) -> int:
        """Most tokens of an answer, with a prompt of so many tokens within the model's context."""
        request = self.requests[number]
        if context is not None and prompt_tokens + request.max_tokens > context:
            request = self.requests[number] = replace(request, max_tokens=context - prompt_tokens)
        return request.max_tokens

    def step(self, chosen: Tensor, logits: Tensor, rows: Sequence[int]) -> list[int]:
        """Take in the tokens chosen from logits ``[rows, vocabulary]``, whose rows they are; gives them as numbers."""
        requests = [self.requests[row] for row in rows]
        most = max((r.top for r in requests if r.top is not None), default=None)
        logprobs: list[float] = [0.0] * len(rows)
        values, indices = np.empty((len(rows), 0), np.float32), np.empty((len(rows), 0), np.int32)
        if most is None:
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
                request.on_step(len(self.steps[row]) - 1, step)
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

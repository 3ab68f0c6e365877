"""Batched decoding from cached prefixes, for vision-language models with three-dimensional rotary positions."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import Cache

from langgraph_speceyes.models.prefix import ByteBudget, Ids, Prefix, PrefixCache, image_spans
from langgraph_speceyes.models.rows import ROOM, Layer, Rows
from langgraph_speceyes.models.token_pass import TokenPass

Choose = Callable[[Tensor, Sequence[int]], tuple[Tensor, list[int], list[bool]]]
"""Takes the next-token logits ``[rows, vocabulary]`` and whose they are; gives the tokens, on the device and as
numbers, and who goes on."""
More = Callable[[], Mapping[int, "Prompt"]]
_EAGER = 4
"""Newcomers join at once while fewer rows than this are under way, else after as many tokens."""


@dataclass(frozen=True)
class Features:
    """What the vision tower makes of one image.

    Attributes:
        digest: Of the pixels.
        grid: Its patches: time, height, width.
        pooled: ``[tokens, size]``, as the language model reads them.
        deep: The same for each of the early layers that read more (Qwen3-VL), or none.
    """

    digest: bytes
    grid: tuple[int, int, int]
    pooled: Tensor
    deep: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(t.numel() * t.element_size() for t in (self.pooled, *self.deep))


@dataclass
class Prompt:
    """A prompt, ready to be run.

    Attributes:
        tokens: Its token ids.
        ids: The same with images by their digest.
        positions: Rotary positions, ``[3, tokens]``.
        delta: What is added to a later token's index to get its position.
        spans: Begin and end of each image.
        features: The images.
        prefix: What is cached of it.
        cached: How many of its first tokens that is.
    """

    tokens: list[int]
    ids: Ids
    positions: Tensor
    delta: int
    spans: list[tuple[int, int]]
    features: list[Features]
    prefix: Prefix | None = None
    cached: int = 0


class CachedDecoder:
    """Runs prompts in one left-padded batch that newcomers join, each from the longest prefix that is cached.

    Everything that belongs to one prompt (positions, `rope_deltas`, keys and values) is passed explicitly: the model's
    own state, which is shared between requests, is never read.

    Args:
        model: A model whose positions come from `get_rope_index`.
        processor: Its processor.
        prefix_bytes: Most bytes of keys and values kept.
        feature_bytes: Most bytes of image features kept.
    """

    def __init__(self, model: Any, processor: Any, prefix_bytes: int, feature_bytes: int) -> None:
        self.model, self.processor = model, processor
        self.tokenizer = processor.tokenizer
        self.prefixes = PrefixCache(prefix_bytes)
        self.features: ByteBudget[Features] = ByteBudget(feature_bytes)
        self.image_token = int(model.config.image_token_id)
        self.merge = int(processor.image_processor.merge_size) ** 2
        text = model.config.get_text_config(decoder=True)
        # other kinds of attention take masks of other shapes
        self._lean = text._attn_implementation == "sdpa" and hasattr(model.model, "language_model")
        self._token = TokenPass.of(model) if self._lean else None
        self.prefilled = self.reused = self.encoded = 0
        """Prompt tokens computed, prompt tokens found in the cache, and images encoded so far."""

    @staticmethod
    def fits(model: Any, processor: Any) -> bool:
        """Whether a model is of the kind: M-RoPE, full attention in every layer, features that can be passed in."""
        inner: Any = getattr(model, "model", None)
        if not hasattr(inner, "get_rope_index") or not hasattr(processor, "image_processor"):
            return False
        text = model.config.get_text_config(decoder=True)
        full = all(kind == "full_attention" for kind in getattr(text, "layer_types", None) or ["full_attention"])
        return full and "mm_encoder_outputs" in inspect.signature(inner.forward).parameters

    def clear(self) -> None:
        """Drop what is cached."""
        self.prefixes, self.features = PrefixCache(self.prefixes.limit), ByteBudget(self.features.limit)

    def prepare(self, requests: Sequence[tuple[str, Sequence[Image.Image], str]]) -> list[Prompt]:
        """Tokens, positions and image features of prompts; images that are not cached are encoded together.

        Args:
            requests: Text, images and cache scope of each.
        """
        features = self._encode([(image, scope) for _, images, scope in requests for image in images])
        prompts, at = [], 0
        for text, images, scope in requests:
            mine = features[at : at + len(images)]
            at += len(images)
            prompts.append(self._prompt(text, mine, scope))
        return prompts

    def run(self, prompts: Mapping[int, Prompt], choose: Choose, more: More) -> None:
        """Prefill what is not cached, then decode until nobody goes on; finished prompts are cached.

        Between two tokens newcomers are let in: nobody waits for the end of a longer answer.

        Args:
            prompts: The first prompts, by number.
            choose: Takes each step's logits and says how it goes on.
            more: Prompts that have come since it was last asked, by number.
        """
        known = dict(prompts)
        spoken: dict[int, list[int]] = {}
        rows: Rows | None = None
        new, waited = dict(prompts), 0
        while new or rows:
            if new:
                fresh, logits = self._begin(new)
                spoken |= {number: [] for number in new}
                self._take(fresh, logits, choose, known, spoken)
                if rows:
                    rows.join(fresh)
                else:
                    rows, waited = fresh, 0
            if rows:
                logits = self._step(rows)
                self._take(rows, logits, choose, known, spoken)
                waited += 1
            # a few at a time: each joining is a forward pass of its own
            new = dict(more()) if not rows or len(rows) < _EAGER or waited >= _EAGER else {}
            waited = 0 if new else waited
            known |= new

    def _take(
        self, rows: Rows, logits: Tensor, choose: Choose, known: dict[int, Prompt], spoken: dict[int, list[int]]
    ) -> None:
        """Choose each row's next token; rows that end are cached and let go."""
        rows.tokens, chosen, going = choose(logits, rows.numbers)
        ended = []
        for place, (number, token, goes) in enumerate(zip(rows.numbers, chosen, going, strict=True)):
            if goes:
                spoken[number].append(token)
            else:
                self._keep(known.pop(number), spoken.pop(number), rows, place)
                ended.append(place)
        rows.leave(ended)

    def _cached(self, prompt: Prompt) -> tuple[Prefix | None, int]:
        prefix, shared = self.prefixes.longest(prompt.ids)
        # the last token is run again, for its logits; an image is cached whole or not at all
        shared = min(shared, len(prompt.tokens) - 1)
        for begin, end in prompt.spans:
            if begin < shared < end:
                shared = begin
        return (prefix, shared) if shared else (None, 0)

    def _begin(self, prompts: Mapping[int, Prompt]) -> tuple[Rows, Tensor]:
        """Prefill prompts side by side, each from the longest prefix that is cached; their next-token logits too."""
        several = list(prompts.values())
        for prompt in several:
            prompt.prefix, prompt.cached = self._cached(prompt)
            self.reused += prompt.cached
            self.prefilled += len(prompt.tokens) - prompt.cached
        device = self.model.device
        past, fresh = max(p.cached for p in several), max(len(p.tokens) - p.cached for p in several)
        ids = torch.full((len(several), fresh), int(self.tokenizer.pad_token_id), dtype=torch.long)
        mask = torch.zeros(len(several), past + fresh, dtype=torch.long)
        positions = torch.zeros(4, len(several), fresh, dtype=torch.long)
        pictures: list[Features] = []
        for row, prompt in enumerate(several):
            new = len(prompt.tokens) - prompt.cached
            ids[row, fresh - new :] = torch.tensor(prompt.tokens[prompt.cached :])
            mask[row, past - prompt.cached : past] = 1
            mask[row, past + fresh - new :] = 1
            positions[0, row, fresh - new :] = torch.arange(prompt.cached, len(prompt.tokens))
            positions[1:, row, fresh - new :] = prompt.positions[:, prompt.cached :]
            spans = zip(prompt.spans, prompt.features, strict=True)
            pictures += [one for (begin, _), one in spans if begin >= prompt.cached]
        cache = self._past(several, past, fresh) if past else Cache(layer_class_to_replicate=Layer)
        mask = mask.to(device)
        logits = self._forward(ids.to(device), mask, positions.to(device), cache, pictures)
        index = torch.tensor([len(p.tokens) for p in several], device=device)
        shift = torch.tensor([p.delta for p in several], device=device)
        return Rows(list(prompts), cache, mask, index, index, shift), logits

    def _past(self, prompts: Sequence[Prompt], past: int, fresh: int) -> Cache:
        """The prompts' prefixes side by side, right-aligned, with room for what is new."""
        like = next(p.prefix for p in prompts if p.prefix is not None)
        layers = []
        for number, (one, _) in enumerate(like.layers):
            layer = Layer.of(one, len(prompts), past, room=fresh + ROOM)
            for row, prompt in enumerate(prompts):
                begin = past - prompt.cached
                for which, mine in enumerate((layer.keys, layer.values)):
                    mine[row, :, :begin] = 0
                    if prompt.prefix is not None:
                        mine[row, :, begin:] = prompt.prefix.layers[number][which][:, : prompt.cached]
            layers.append(layer)
        return Cache(layers=layers)

    def _forward(
        self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache, pictures: Sequence[Features] | None
    ) -> Tensor:
        seen = None
        if pictures:
            deep = [list(one) for one in zip(*(p.deep for p in pictures), strict=True)]
            seen = {"image": SimpleNamespace(pooler_output=[p.pooled for p in pictures], deepstack_features=deep)}
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            mm_encoder_outputs=seen,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1]
        return logits

    def _step(self, rows: Rows) -> Tensor:
        """The next logits of prompts under way."""
        tokens, positions = rows.grow()
        if not self._lean:
            return self._forward(tokens, rows.mask, positions, rows.cache, None)
        # past what the whole model does for images and masks in each pass: one token sees all there is of its row
        mask = rows.mask[:, None, None, :].bool() if rows.padded else None
        if self._token is not None:
            return self._token(tokens, positions[1], mask, rows.cache)
        out = self.model.model.language_model(
            inputs_embeds=self.model.get_input_embeddings()(tokens),
            attention_mask=mask,
            position_ids=positions[1:],
            past_key_values=rows.cache,
            use_cache=True,
        )
        logits: Tensor = self.model.get_output_embeddings()(out.last_hidden_state[:, -1])
        return logits

    def _keep(self, prompt: Prompt, spoken: Sequence[int], rows: Rows, place: int) -> None:
        if self.prefixes.limit:
            ids = np.concatenate([prompt.ids, np.asarray(spoken, dtype=np.int64)])
            self.prefixes.put(Prefix(ids, rows.prefix(place)))

    def _prompt(self, text: str, features: list[Features], scope: str) -> Prompt:
        parts = text.split(self.processor.image_token)
        whole = parts[0]
        for one, rest in zip(features, parts[1:], strict=True):
            whole += self.processor.image_token * (int(np.prod(one.grid)) // self.merge) + rest
        tokens: list[int] = self.tokenizer(whole, add_special_tokens=False)["input_ids"]
        ids = np.asarray(tokens, dtype=np.int64)
        row = torch.tensor([tokens])
        grids = torch.tensor([one.grid for one in features]) if features else None
        positions, delta = self.model.model.get_rope_index(
            row, mm_token_type_ids=(row == self.image_token).int(), image_grid_thw=grids, attention_mask=None
        )
        spans = image_spans(tokens, self.image_token)
        for (begin, end), one in zip(spans, features, strict=True):
            # negative, so that no token can be mistaken for it
            ids[begin:end] = _number(one.digest)
        if scope:
            # prompts of other scopes differ from the first token on
            ids[0] = _number(hashlib.blake2b(scope.encode(), digest_size=8).digest())
        return Prompt(tokens, ids, positions[:, 0], int(delta), spans, features)

    def _encode(self, images: Sequence[tuple[Image.Image, str]]) -> list[Features]:
        keys = [(scope, _digest(image)) for image, scope in images]
        found = {key: self.features.get(key) for key in keys}
        missing = {key: image for key, (image, _) in zip(keys, images, strict=True) if found[key] is None}
        if missing:
            batch = self.processor.image_processor(images=list(missing.values()), return_tensors="pt")
            pixels = batch["pixel_values"].to(self.model.device, self.model.dtype)
            grids = batch["image_grid_thw"].to(self.model.device)
            seen = self.model.model.get_image_features(pixels, grids, return_dict=True)
            deep = getattr(seen, "deepstack_features", None) or []
            for index, key in enumerate(missing):
                grid = tuple(grids[index].tolist())
                # clones: a slice would keep the whole batch in memory
                made = Features(
                    key[1], grid, seen.pooler_output[index].clone(), tuple(layer[index].clone() for layer in deep)
                )
                found[key] = made
                self.features.put(key, made, made.nbytes)
            self.encoded += len(missing)
        return [one for key in keys if (one := found[key]) is not None]


def _number(digest: bytes) -> int:
    """A token id that no tokenizer has: below zero."""
    return -1 - (int.from_bytes(digest[:8], "little") >> 1)


def _digest(image: Image.Image) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16, key=f"{image.mode} {image.size}".encode()[:64]).digest()

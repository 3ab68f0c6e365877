"""Batched decoding from cached prefixes, for vision-language models with three-dimensional rotary positions."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import Cache

from langgraph_speceyes.errors import DeviceMemoryError
from langgraph_speceyes.models.control import adds_special
from langgraph_speceyes.models.limits import PromptTooLongError, check_tokens, context_length, positions_by_length
from langgraph_speceyes.models.memory import Memory, is_out_of_memory, release
from langgraph_speceyes.models.prefill import Features, Filling, Part, Prompt, UnderWay, grouped
from langgraph_speceyes.models.prefix import ByteBudget, Prefix, PrefixCache, image_spans
from langgraph_speceyes.models.rows import Rows, room_for
from langgraph_speceyes.models.token_pass import TokenPass

MEASURED = frozenset(
    {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "glm4v", "glm4v_moe", "paddleocr_vl"},
)
"""Kinds of models whose answers from the cache were compared with transformers' own."""

Choose = Callable[[Tensor, Sequence[int]], tuple[Tensor, list[int], list[bool]]]
"""Takes the next-token logits ``[rows, vocabulary]`` and whose they are; gives the tokens, on the device and as
numbers, and who goes on."""
More = Callable[[], Mapping[int, Prompt]]
Fail = Callable[[int, Exception], None]
ImageKey = tuple[str, bytes]
"""A cache scope, and the digest of the pixels."""
_EAGER = 4
"""Newcomers join at once while fewer rows than this are under way, else after as many tokens."""


class CachedDecoder:
    """Runs prompts in one left-padded batch that newcomers join, each from the longest prefix that is cached.

    Everything that belongs to one prompt (positions, `rope_deltas`, keys and values) is passed explicitly: the model's
    own state, which is shared between requests, is never read.

    Args:
        model: A model whose positions come from `get_rope_index`.
        processor: Its processor.
        prefix_bytes: Most bytes of keys and values kept.
        feature_bytes: Most bytes of image features kept.
        memory: The budget of what is under way.
        most: Most prompts under way.
    """

    def __init__(
        self, model: Any, processor: Any, prefix_bytes: int, feature_bytes: int, memory: Memory, most: int
    ) -> None:
        self.model, self.processor, self.memory, self.most = model, processor, memory, most
        self.context = context_length(model.config)
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
    def misfit(model: Any, processor: Any) -> str | None:
        """Why a model is not of the kind: M-RoPE, full attention in every layer, features that can be passed in.

        Returns:
            None for one that is.
        """
        inner: Any = getattr(model, "model", None)
        if not hasattr(inner, "get_rope_index") or not hasattr(processor, "image_processor"):
            return "other positions than Qwen-VL's"
        kinds = getattr(model.config.get_text_config(decoder=True), "layer_types", None) or []
        if other := sorted({kind for kind in kinds if kind != "full_attention"}):
            return f"layers of {' and '.join(kind.replace('_', ' ') for kind in other)}"
        if growing := positions_by_length(model.config):
            return f"{growing} positions, which depend on the longest prompt of a batch"
        if "mm_encoder_outputs" not in inspect.signature(inner.forward).parameters:
            return "its image features cannot be passed in (with this release of transformers)"
        if model.config.model_type not in MEASURED:
            return f"nobody has compared {model.config.model_type} with transformers from a cache"
        return None

    def clear(self) -> None:
        """Drop what is cached."""
        self.prefixes, self.features = PrefixCache(self.prefixes.limit), ByteBudget(self.features.limit)

    def prepare(self, requests: Sequence[tuple[str, Sequence[Image.Image], str]]) -> list[Prompt]:
        """Tokens, positions and image features of prompts; images that are not cached are encoded together.

        Args:
            requests: Text, images and cache scope of each.

        Raises:
            PromptTooLongError: A prompt has more tokens than the model's context.
        """
        written = [self._ids(text) for text, *_ in requests]
        for ids, (_, images, _) in zip(written, requests, strict=True):
            check_tokens(len(ids) + sum(self._image_tokens(image) - 1 for image in images), self.context)
        features = self._encode([(image, scope) for _, images, scope in requests for image in images])
        prompts, at = [], 0
        for ids, (_, images, scope) in zip(written, requests, strict=True):
            mine = features[at : at + len(images)]
            at += len(images)
            prompts.append(self._prompt(ids, mine, scope))
        return prompts

    def run(self, prompts: Mapping[int, Prompt], choose: Choose, more: More, fail: Fail) -> None:
        """Prefill what is not cached, then decode until nobody goes on; finished prompts are cached.

        Between two tokens newcomers are let in, as far as memory goes, and one pass of their prefills is computed:
        nobody waits for the end of a longer answer or of a longer prompt. When the device is out of memory, the budget
        shrinks, and what was under way goes on where it was.

        Args:
            prompts: The first prompts, by number.
            choose: Takes each step's logits and says how it goes on.
            more: Prompts that have come since it was last asked, by number.
            fail: Is told of prompts for which there is no room.
        """
        under, waited, slots = UnderWay({}), 0, self.memory.slots()
        under.add(prompts)
        while under.known:
            trouble = None
            try:
                self._admit(under, slots, fail)
                began = not under.rows
                self._fill(under, choose)
                waited = 0 if began else waited
                if under.rows:
                    logits = self._step(under.rows)
                    self._take(under.rows, logits, choose, under.known, under.spoken)
                    waited += 1
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                trouble = str(error)
            # not above, where the error still holds what the pass had made
            if trouble is not None:
                self._recover(under, trouble, fail)
                slots = self.memory.slots()
            # what those who were the last held
            under.rows = under.rows or None
            # a few at a time: each joining is a forward pass of its own
            if not under.rows or len(under.rows) < _EAGER or waited >= _EAGER:
                new = dict(more())
                under.add(new)
                waited = 0 if new else waited

    def _admit(self, under: UnderWay, slots: int, fail: Fail) -> None:
        """Let those in who wait, the first that came first, while there is room for all answers at full length."""
        if not under.waiting:
            return
        inside = [under.known[number] for number in under.admitted]
        new: dict[int, Prompt] = {}
        while under.waiting:
            number = under.waiting[0]
            prompt = under.known[number]
            count, longest = len(inside) + 1, max(one.end for one in [*inside, prompt])
            if count > 1 and count * longest > slots:
                break
            under.waiting.popleft()
            if len(prompt.tokens) > (room := self.memory.largest):
                under.known.pop(number)
                fail(number, PromptTooLongError(room, str(len(prompt.tokens)), f"memory ({self.memory.device})"))
                continue
            prompt.prefix, prompt.cached = self._cached(prompt)
            self.reused += prompt.cached
            self.prefilled += prompt.fresh
            inside.append(prompt)
            new[number] = prompt
        under.filling += [Filling(group) for group in grouped(new, self.memory.pass_slots)]

    def _fill(self, under: UnderWay, choose: Choose) -> None:
        """One pass of a prefill; those whose prefill is complete get their first token and join."""
        if not under.filling:
            return
        # in turns: the oldest goes on, and the shortest is not held up by it
        under.turn += 1
        oldest = under.turn % 2 == 0
        filling = under.filling[0] if oldest else min(under.filling, key=lambda one: one.left)
        alone = not under.rows and len(under.filling) == 1
        logits = self._prefill(filling, alone=alone)
        if filling.left:
            return
        under.filling.remove(filling)
        rows = filling.rows(self.model.device, self.most)
        self._take(rows, logits, choose, under.known, under.spoken)
        if under.rows:
            under.rows.join(rows)
        else:
            under.rows = rows

    def _prefill(self, filling: Filling, *, alone: bool) -> Tensor:
        """One pass; the next-token logits of its last column.

        Args:
            filling: Prompts.
            alone: Nobody else is under way, so that answers can go on in the cache that is made.
        """
        if (cache := filling.cache) is None:
            columns = filling.width
            if alone:
                longest = columns + max(p.most for p in filling.prompts.values()) - 1
                columns = max(columns, room_for(len(filling.prompts), columns, longest, self.most)[1])
            cache = filling.start(int(self.tokenizer.pad_token_id), columns)
        ids, mask, positions, pictures = filling.chunk(self.memory.pass_slots)
        device = self.model.device
        return self._forward(ids.to(device), mask.to(device), positions.to(device), cache, pictures)

    def _recover(self, under: UnderWay, trouble: str, fail: Fail) -> None:
        """Give everything back after the device ran out of memory, and go on more modestly."""
        reserved = [under.known[number].end for number in under.admitted]
        admitted = under.give_up()
        self.clear()
        release(self.memory.device)
        if not self.memory.shrink(reserved):
            for number in admitted:
                under.waiting.remove(number)
                under.known.pop(number)
                words = f"{self.memory.device} has no room for a prompt of {reserved[0]} tokens, its answer included"
                fail(number, DeviceMemoryError(f"{words}: {trouble}"))

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

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache, pictures: Sequence[Part]) -> Tensor:
        seen = None
        if pictures:
            deep = [list(one) for one in zip(*(deep for _, deep in pictures), strict=True)]
            seen = {"image": SimpleNamespace(pooler_output=[pooled for pooled, _ in pictures], deepstack_features=deep)}
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
            return self._forward(tokens, rows.mask, positions, rows.cache, ())
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
        if self.prefixes.limit < rows.lengths[place] * self.memory.slot_bytes:
            return
        ids = np.concatenate([prompt.ids, np.asarray(spoken, dtype=np.int64)])
        try:
            self.prefixes.put(Prefix(ids, rows.prefix(place)))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # an answer is worth more than what might be asked next
            self.prefixes = PrefixCache(self.prefixes.limit)

    def _ids(self, text: str) -> list[int]:
        special = adds_special(self.tokenizer, text)
        ids: list[int] = self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
        return ids

    def _prompt(self, written: Sequence[int], features: list[Features], scope: str) -> Prompt:
        places = [place for place, token in enumerate(written) if token == self.image_token]
        tokens, begin = list[int](), 0
        for place, one in zip(places, features, strict=True):
            tokens += [*written[begin:place], *[self.image_token] * (int(np.prod(one.grid)) // self.merge)]
            begin = place + 1
        tokens += written[begin:]
        check_tokens(len(tokens), self.context)
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

    def _image_tokens(self, image: Image.Image) -> int:
        """An image's tokens, before anything is made of it; 1 where only the processor's work would tell."""
        count: Any = getattr(self.processor.image_processor, "get_number_of_image_patches", None)
        return int(count(image.height, image.width)) // self.merge if count is not None else 1

    def _passes(self, images: Mapping[ImageKey, Image.Image]) -> Iterator[dict[ImageKey, Image.Image]]:
        """Images that the vision tower sees together: as many tokens as a pass of a prefill, or one image."""
        group, tokens = dict[ImageKey, Image.Image](), 0
        for key, image in images.items():
            own = self._image_tokens(image)
            if group and tokens + own > self.memory.pass_slots:
                yield group
                group, tokens = {}, 0
            group[key] = image
            tokens += own
        if group:
            yield group

    def _encode(self, images: Sequence[tuple[Image.Image, str]]) -> list[Features]:
        keys = [(scope, _digest(image)) for image, scope in images]
        found = {key: self.features.get(key) for key in keys}
        missing = {key: image for key, (image, _) in zip(keys, images, strict=True) if found[key] is None}
        for group in self._passes(missing):
            batch = self.processor.image_processor(images=list(group.values()), return_tensors="pt")
            pixels = batch["pixel_values"].to(self.model.device, self.model.dtype)
            grids = batch["image_grid_thw"].to(self.model.device)
            seen = self.model.model.get_image_features(pixels, grids, return_dict=True)
            deep = getattr(seen, "deepstack_features", None) or []
            for index, key in enumerate(group):
                grid = tuple(grids[index].tolist())
                # clones: a slice would keep the whole batch in memory
                made = Features(
                    key[1], grid, seen.pooler_output[index].clone(), tuple(layer[index].clone() for layer in deep)
                )
                found[key] = made
                self.features.put(key, made, made.nbytes)
            self.encoded += len(group)
        return [one for key in keys if (one := found[key]) is not None]


def _number(digest: bytes) -> int:
    """A token id that no tokenizer has: below zero."""
    return -1 - (int.from_bytes(digest[:8], "little") >> 1)


def _digest(image: Image.Image) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16, key=f"{image.mode} {image.size}".encode()[:64]).digest()

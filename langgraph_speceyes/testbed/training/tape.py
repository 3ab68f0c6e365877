"""Training sequences: a shared front (system, image) with branches that do not see one another.

One forward pass then teaches several questions about one image, each exactly as it looks when it is asked alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from langgraph_speceyes.testbed import prompts

MERGE = 2
TOKENS = 6
PATCHES = TOKENS * MERGE
"""Patches along a square image; how many pixels a patch has is the model's matter."""
IGNORE = -100
IMAGE_TEXT = "<|vision_start|>" + "<|image_pad|>" * (TOKENS * TOKENS) + "<|vision_end|>"


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that the tokenizer must have."""
    found = tokenizer.token_to_id(token)
    assert found is not None, f"{token} is not in the vocabulary"
    return int(found)


class Encoder:
    """Text to token ids, with a memory: the world's sentences recur."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.image_id = token_id(tokenizer, "<|image_pad|>")
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """Token ids of a text."""
        if text not in self._known:
            self._known[text] = self.tokenizer.encode(text).ids
        return self._known[text]

    def is_word(self, token: int) -> bool:
        """Whether a token has a letter or a digit."""
        return any(c.isalnum() for c in str(self.tokenizer.id_to_token(token)).lstrip("Ġ"))


@dataclass
class Tape:
    """Tokens with labels: `given` is context, `said` is what the model must say, tagged for the metrics.

    Attributes:
        branches: What may follow its end, each without seeing the others.
    """

    encode: Encoder
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    branches: list[Tape] = field(default_factory=list)

    def __len__(self) -> int:
        """Tokens, those of its branches among them."""
        return len(self.ids) + sum(map(len, self.branches))

    def given(self, text: str) -> Tape:
        """Append context; no loss."""
        tokens = self.encode(text)
        self.ids += tokens
        self.labels += [IGNORE] * len(tokens)
        self.tags += [""] * len(tokens)
        return self

    def said(self, text: str, tag: str = "text") -> Tape:
        """Append what the model must say; the tag goes to words, not to the marks around them."""
        tokens = self.encode(text)
        self.ids += tokens
        self.labels += tokens
        self.tags += [tag if self.encode.is_word(token) else "text" for token in tokens]
        return self


@dataclass
class Example:
    """One scene's sequence: the front, which may go on as a trajectory, and branches off the front.

    Attributes:
        main: The front and what follows it.
        views: The images, in the order of their tokens: those of `main`, then each branch's before its own branches'.
        fork: Tokens of `main` that the branches see.
        branches: What may follow the front, each without seeing the others; a branch may have branches of its own.
        seen: What each visual token of each view shows, where that is taught too.
    """

    main: Tape
    views: list[np.ndarray]
    fork: int
    branches: list[Tape]
    seen: list[tuple[np.ndarray, ...]] = field(default_factory=list)


def front(encode: Encoder, system: str = prompts.SYSTEM) -> Tape:
    """System prompt and image: what every prompt about an image begins with."""
    return Tape(encode).given(f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{IMAGE_TEXT}")


def asked(tape: Tape, question: str, instruction: str) -> Tape:
    """The question, what to do with it, and the opening of the assistant's turn."""
    return tape.given(f"{question}\n{instruction}<|im_end|>\n<|im_start|>assistant\n")


def view(image: Image.Image, box: tuple[int, int, int, int] | None = None, side: int = prompts.VIEW) -> np.ndarray:
    """An image or a region of it as a processor resizes it: uint8, ``[side, side, 3]``."""
    small = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.asarray(small, dtype=np.uint8)


def patches(views: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Views in Qwen-VL's patch order: pixel values ``[n * 144, 6 * patch ** 2]`` in [-1, 1] and grids ``[n, 3]``."""
    n, side, patch = len(views), PATCHES, len(views[0]) // PATCHES
    half = side // MERGE
    x = torch.from_numpy(np.stack(views)).float().div_(127.5).sub_(1.0)
    x = x.permute(0, 3, 1, 2).reshape(n, 3, half, MERGE, patch, half, MERGE, patch)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)
    return x.reshape(n * side * side, -1).contiguous(), torch.tensor([[1, side, side]] * n)


def positions(ids: list[int], image_id: int, start: int = 0) -> np.ndarray:
    """Qwen-VL's rotary positions ``[3, len(ids)]``: time, row and column; text advances all three alike."""
    found = np.empty((3, len(ids)), dtype=np.int64)
    at, now = 0, start
    while at < len(ids):
        if ids[at] == image_id:
            steps = np.arange(TOKENS)
            found[0, at : at + TOKENS * TOKENS] = now
            found[1, at : at + TOKENS * TOKENS] = now + np.repeat(steps, TOKENS)
            found[2, at : at + TOKENS * TOKENS] = now + np.tile(steps, TOKENS)
            at, now = at + TOKENS * TOKENS, now + TOKENS
        else:
            found[:, at] = now
            at, now = at + 1, now + 1
    return found


@dataclass
class Batch:
    """What one training step needs."""

    inputs: dict[str, Any]
    labels: Tensor
    tags: list[str]


def collate(examples: list[Example], image_id: int) -> Batch:
    """Pad examples into one batch with the attention mask ``[B, 1, L, L]`` that keeps branches apart."""
    size, width = len(examples), max(len(e.main.ids) + sum(map(len, e.branches)) for e in examples)
    ids = torch.zeros(size, width, dtype=torch.long)
    labels = torch.full((size, width), IGNORE)
    place = np.zeros((3, size, width), dtype=np.int64)
    mask = np.zeros((size, 1, width, width), dtype=bool)
    tags: list[str] = []
    causal = np.tril(np.ones((width, width), dtype=bool))
    for i, example in enumerate(examples):
        main = example.main
        n = len(main.ids)
        place[:, i, :n] = positions(main.ids, image_id)
        mask[i, 0, :n, :n] = causal[:n, :n]
        tokens, wanted = list(main.ids), list(main.labels)
        here = list(main.tags)
        for branch, before in _walk(example.branches, [(0, example.fork)], n):
            m, last = len(branch.ids), before[-1][1]
            place[:, i, n : n + m] = positions(branch.ids, image_id, int(place[:, i, last - 1].max()) + 1)
            for begin, end in before:
                mask[i, 0, n : n + m, begin:end] = True
            mask[i, 0, n : n + m, n : n + m] = causal[:m, :m]
            tokens += branch.ids
            wanted += branch.labels
            here += branch.tags
            n += m
        # the label of a position is the next token; a branch's first token is never one that what precedes it must say
        ids[i, :n] = torch.tensor(tokens)
        labels[i, : n - 1] = torch.tensor(wanted[1:])
        tags += [t for t, w in zip(here[1:], wanted[1:], strict=True) if w != IGNORE]
        rest = np.arange(n, width)
        mask[i, 0, rest, rest] = True
    pixels, grid = patches([v for e in examples for v in e.views])
    inputs = {
        "input_ids": ids,
        # made once what attention makes of a mask in every layer
        "attention_mask": torch.zeros(mask.shape).masked_fill_(torch.from_numpy(~mask), float("-inf")),
        "position_ids": torch.from_numpy(place),
        "pixel_values": pixels,
        "image_grid_thw": grid,
    }
    return Batch(inputs, labels, tags)


_Spans = list[tuple[int, int]]


def _walk(branches: list[Tape], before: _Spans, at: int) -> Iterator[tuple[Tape, _Spans]]:
    """Branches and their branches, in the order in which they are laid out from `at` on, and the tokens each sees."""
    for branch in branches:
        yield branch, before
        end = at + len(branch.ids)
        yield from _walk(branch.branches, [*before, (at, end)], end)
        at += len(branch)

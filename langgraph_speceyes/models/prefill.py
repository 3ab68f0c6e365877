"""Prompts on their way into a running batch: which are computed side by side, and how much of them in one pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from transformers import Cache

from langgraph_speceyes.models.prefix import Ids, Prefix
from langgraph_speceyes.models.rows import Layer, Rows

Part = tuple[Tensor, list[Tensor]]
"""Of an image: pooled and deep features of some of its tokens."""

PADDING = 256
"""Slots of padding that cost about as much as a pass of their own."""
SLACK = 4096
"""Key-value slots that prompts side by side may hold beyond what each of them needs."""


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

    def part(self, begin: int, end: int) -> Part:
        """What belongs to some of its tokens: pooled and deep."""
        return self.pooled[begin:end], [layer[begin:end] for layer in self.deep]


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
        most: Most tokens of its answer.
        prefix: What is cached of it.
        cached: How many of its first tokens that is.
    """

    tokens: list[int]
    ids: Ids
    positions: Tensor
    delta: int
    spans: list[tuple[int, int]]
    features: list[Features]
    most: int = 1
    prefix: Prefix | None = None
    cached: int = 0

    @property
    def fresh(self) -> int:
        """Tokens to compute."""
        return len(self.tokens) - self.cached

    @property
    def end(self) -> int:
        """Tokens that it and its answer have at most."""
        return len(self.tokens) + self.most

    def with_answer(self, said: Sequence[int]) -> Prompt:
        """The prompt that goes on where an answer was broken off."""
        new = torch.tensor(list(said), dtype=torch.long)
        at = torch.arange(len(self.tokens), len(self.tokens) + len(said)) + self.delta
        return replace(
            self,
            tokens=self.tokens + list(said),
            ids=torch.cat([torch.from_numpy(self.ids), new]).numpy(),
            positions=torch.cat([self.positions, at.expand(3, -1).to(self.positions)], dim=-1),
            most=self.most - len(said),
            prefix=None,
            cached=0,
        )


class Filling:
    """Prompts that are computed side by side, right-aligned, in as many passes as it takes.

    Nothing is held for them before the first pass.

    Args:
        prompts: The prompts, by number.
    """

    def __init__(self, prompts: Mapping[int, Prompt]) -> None:
        self.prompts = dict(prompts)
        several = list(self.prompts.values())
        self.past, self.fresh = max(p.cached for p in several), max(p.fresh for p in several)
        self.done = 0
        self.cache: Cache | None = None
        self._ids = self._positions = self._mask = torch.empty(0)

    @property
    def left(self) -> int:
        """Slots to compute."""
        return len(self.prompts) * (self.fresh - self.done)

    @property
    def read(self) -> int:
        """Tokens computed so far."""
        return sum(max(0, p.fresh - (self.fresh - self.done)) for p in self.prompts.values())

    @property
    def width(self) -> int:
        """Columns when it is complete."""
        return self.past + self.fresh

    def start(self, pad: int, columns: int) -> Cache:
        """Make the cache, with room for so many columns, and what the passes need.

        Args:
            pad: The token that stands where there is none.
            columns: The room, at least :attr:`width`.
        """
        several = list(self.prompts.values())
        self._ids = torch.full((len(several), self.fresh), pad, dtype=torch.long)
        self._mask = torch.zeros(len(several), self.width, dtype=torch.bool)
        self._positions = torch.zeros(4, len(several), self.fresh, dtype=torch.long)
        for row, prompt in enumerate(several):
            begin = self.fresh - prompt.fresh
            self._ids[row, begin:] = torch.tensor(prompt.tokens[prompt.cached :])
            self._mask[row, self.past - prompt.cached : self.past] = True
            self._mask[row, self.past + begin :] = True
            self._positions[0, row, begin:] = torch.arange(prompt.cached, len(prompt.tokens))
            self._positions[1:, row, begin:] = prompt.positions[:, prompt.cached :]
        self.cache = Cache(layers=self._past(columns)) if self.past else _Empty(columns)
        return self.cache

    def chunk(self, slots: int) -> tuple[Tensor, Tensor, Tensor, list[Part]]:
        """The next columns, as many as so many slots have.

        Returns:
            Tokens ``[rows, columns]``, the mask of all columns so far, positions ``[4, rows, columns]``, and the parts
            of images among the tokens.
        """
        begin = self.done
        self.done = end = min(self.fresh, begin + max(1, slots // len(self.prompts)))
        pictures = []
        for prompt in self.prompts.values():
            # column of the prompt's token 0
            first = self.fresh - len(prompt.tokens)
            for (start, stop), one in zip(prompt.spans, prompt.features, strict=True):
                low, high = max(start, prompt.cached, begin - first), min(stop, end - first)
                if low < high:
                    pictures.append(one.part(low - start, high - start))
        mask, positions = self._mask[:, : self.past + end], self._positions[:, :, begin:end]
        return self._ids[:, begin:end], mask, positions, pictures

    def rows(self, device: torch.device, most: int) -> Rows:
        """What was computed, once that is all."""
        assert self.cache is not None
        several = list(self.prompts.values())
        return Rows(
            list(self.prompts),
            self.cache,
            self._mask,
            torch.zeros(len(several), dtype=torch.long, device=device),
            shift=[p.delta for p in several],
            # the last token of an answer is read by nobody
            left=[p.most - 1 for p in several],
            most=most,
        )

    def _past(self, columns: int) -> list[Layer]:
        """The prompts' prefixes side by side, right-aligned."""
        like = next(p.prefix for p in self.prompts.values() if p.prefix is not None)
        layers = []
        for number, (one, _) in enumerate(like.layers):
            layer = Layer.of(one, len(self.prompts), self.past, columns)
            for row, prompt in enumerate(self.prompts.values()):
                begin = self.past - prompt.cached
                for which, mine in enumerate((layer.keys, layer.values)):
                    mine[row, :, :begin] = 0
                    if prompt.prefix is not None:
                        mine[row, :, begin:] = prompt.prefix.layers[number][which][:, : prompt.cached]
            layers.append(layer)
        return layers


@dataclass
class UnderWay:
    """What a run has in hand.

    Attributes:
        known: Prompts whose answer is not complete, by number.
        spoken: The tokens of their answers so far that are in no prompt.
        waiting: Those of them that are not admitted yet, the first that came in front.
        filling: Admitted ones whose prefill is not complete.
        rows: Those that are being answered.
        turn: Passes of prefills so far.
    """

    known: dict[int, Prompt]
    spoken: dict[int, list[int]] = field(default_factory=dict)
    waiting: deque[int] = field(default_factory=deque)
    filling: list[Filling] = field(default_factory=list)
    rows: Rows | None = None
    turn: int = 0

    def add(self, prompts: Mapping[int, Prompt]) -> None:
        """Take in prompts that have come."""
        self.known.update(prompts)
        self.spoken.update((number, []) for number in prompts)
        self.waiting.extend(prompts)

    @property
    def admitted(self) -> list[int]:
        """The numbers of those that are not waiting."""
        waiting = set(self.waiting)
        return [number for number in self.known if number not in waiting]

    def give_up(self) -> list[int]:
        """Drop what is held for those that are admitted; they wait again, in front, and go on where they were."""
        admitted = self.admitted
        self.filling, self.rows = [], None
        for number in admitted:
            self.known[number] = self.known[number].with_answer(self.spoken[number])
            self.spoken[number] = []
        self.waiting.extendleft(reversed(admitted))
        return admitted


class _Empty(Cache):
    """A cache that makes its layers when they are first written."""

    def __init__(self, columns: int) -> None:
        super().__init__(layer_class_to_replicate=lambda: Layer(columns))


def grouped(prompts: Mapping[int, Prompt], slots: int) -> list[dict[int, Prompt]]:
    """Prompts in groups that waste little beside each other, the shortest first.

    Args:
        prompts: The prompts, by number.
        slots: Most slots of a pass; a prompt that has more is a group of its own.
    """
    groups: list[dict[int, Prompt]] = []
    for number, prompt in sorted(prompts.items(), key=lambda pair: pair[1].fresh):
        group = {**groups[-1], number: prompt} if groups else {}
        rows, real = len(group), sum(p.fresh for p in group.values())
        computed = rows * prompt.fresh
        held = rows * (max((p.cached for p in group.values()), default=0) + prompt.fresh)
        slack = held - sum(len(p.tokens) for p in group.values())
        if group and computed <= slots and computed - real <= PADDING and slack <= SLACK:
            groups[-1] = group
        else:
            groups.append({number: prompt})
    return groups

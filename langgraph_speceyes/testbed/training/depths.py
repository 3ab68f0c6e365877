"""Looking more than once: what the speculator learns beyond the overview, on top of what it answers from it.

A scene's tree of prompts is that of the product: behind the overview stand the questions of depth 0, the four quarters
with the questions of depth 1, a crop of the crowd's cell with those of depth 2, and what was read of the label with
questions about it. Where to look is learnt from the overview alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel

from langgraph_speceyes.agent.tools import NO_TEXT
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.questions import DEEP, Family, Question, attribute, reading, relation
from langgraph_speceyes.testbed.training.dialect import END
from langgraph_speceyes.testbed.training.tape import (
    IMAGE_TEXT,
    Encoder,
    Example,
    Tape,
    asked,
    collate,
    front,
    view,
)
from langgraph_speceyes.testbed.training.teacher import (
    answer_branch,
    ask_any,
    dense_labels,
    fresh_scene,
    say,
    where_branch,
)
from langgraph_speceyes.testbed.training.train import (
    Metrics,
    SeenWords,
    Stage,
    image_features,
    label_loss,
    spoken,
)
from langgraph_speceyes.testbed.world import (
    COLOURS,
    GRID,
    QUARTERS,
    SHAPES,
    WORDS,
    Scene,
    Size,
    Thing,
    make_scene,
)

BOARD_CELLS, CROP_SIDES = (96, 128), (144, 192, 288)
SIDE = prompts.SPECULATOR_VIEW
STRAY = "CCCOOXx"
"""What a reader takes icons beside a label for."""
SCENES, CROWDED = 6, 2
"""Scenes of a step, and how many of them have a crowd."""
MOST_TOKENS = 700
"""Of a scene with all its branches: the longest sets the price of a step."""


def crowded_scene(rng: random.Random) -> tuple[Scene, Image.Image]:
    """A training scene with a crowd, and its picture."""
    scene = make_scene(f"train/{rng.getrandbits(60)}", label_share=0.4, **DEEP)
    return scene, scene.render(rng.choice(BOARD_CELLS))


def quarter(image: Image.Image, number: int) -> np.ndarray:
    """A quarter of the board as the speculator sees it."""
    half = image.width // 2
    x, y = number % 2 * half, number // 2 * half
    return view(image, (x, y, x + half, y + half), SIDE)


def crop(scene: Scene, cell: int, rng: random.Random) -> np.ndarray:
    """A crop of one cell as the speculator sees it."""
    return view(scene.render(rng.choice(CROP_SIDES), only=cell), side=SIDE)


def crop_labels(scene: Scene, cell: int) -> tuple[np.ndarray, ...]:
    """What each visual token of a crop of the crowd's cell shows: shape, colour and cell, ``[36]`` each."""
    shape = np.zeros((GRID, GRID), dtype=np.int64)
    colour = np.zeros((GRID, GRID), dtype=np.int64)
    for thing in (t for t in scene.things if t.cell == cell):
        row, column = int((thing.y - thing.row) * GRID), int((thing.x - thing.column) * GRID)
        shape[row, column] = SHAPES.index(thing.kind) + 1
        colour[row, column] = list(COLOURS).index(thing.colour) + 1
    return shape.reshape(-1), colour.reshape(-1), np.full(GRID * GRID, cell)


def depth_example(encode: Encoder, rng: random.Random, *, crowd: bool) -> Example:
    """A scene with all that can be asked about it before and after each look.

    Args:
        encode: Text to tokens.
        rng: Where chance comes from.
        crowd: Whether the board has a crowd.
    """
    scene, image = crowded_scene(rng) if crowd else fresh_scene(rng)
    main = front(encode)
    views, seen = [view(image, side=SIDE)], [dense_labels(scene, None)]
    branches = [answer_branch(encode, q, f"0 {q.size}") for q in _at_first(scene, rng)]
    branches += [_read_branch(encode, scene, rng) for _ in range(2 if scene.find("label") else 1)]
    branches += _where(encode, scene, rng)
    quarters = Tape(encode).given(IMAGE_TEXT * QUARTERS)
    quarters.branches = [answer_branch(encode, q, f"1 {q.size}") for q in _after_quarters(scene, rng)]
    sought = rng.choice([t for t in scene.icons() if t.size != "speck"])
    quarters.branches.append(where_branch(encode, [sought.kind], [sought], "1"))
    branches.append(quarters)
    views += [quarter(image, k) for k in range(QUARTERS)]
    seen += [dense_labels(scene, k) for k in range(QUARTERS)]
    if scene.crowd:
        close = Tape(encode).given(IMAGE_TEXT)
        close.branches = [answer_branch(encode, q, f"2 {q.size}") for q in _after_crop(scene, rng)]
        branches.append(close)
        views.append(crop(scene, scene.crowd.cell, rng))
        seen.append(crop_labels(scene, scene.crowd.cell))
    _fit(branches, MOST_TOKENS - len(main), rng)
    return Example(main, views, len(main.ids), branches, seen)


def _fit(branches: list[Tape], room: int, rng: random.Random) -> None:
    """Leave out questions, any of them, until the branches fit."""
    leaves = [
        (some, leaf) for some in (branches, *(b.branches for b in branches)) for leaf in some if not leaf.branches
    ]
    for some, leaf in rng.sample(leaves, len(leaves)):
        if sum(map(len, branches)) <= room:
            return
        some.remove(leaf)


def _asked(scene: Scene, rng: random.Random, *what: tuple[Size, Family]) -> list[Question]:
    found = [ask_any(scene, rng, size, family) for size, family in what]
    return [q for q in found if q is not None]


def _open(questions: list[Question], rng: random.Random) -> list[Question]:
    """Mostly without their options, as boards with a crowd are asked about."""
    return [replace(q, text=q.stem, letter="") if rng.random() < 0.8 else q for q in questions]


def _at_first(scene: Scene, rng: random.Random) -> list[Question]:
    """As from the overview alone: what it does not show is guessed."""
    if scene.crowd:
        found = _open(_asked(scene, rng, ("small", "attributes"), ("speck", "attributes")), rng)
    else:
        found = _asked(scene, rng, ("large", "attributes"), ("large", "relations"))
        found += _asked(scene, rng, ("small", "attributes"), ("small", "relations"), ("small", "existence"))
        # always there where small ones may be: too many of these, and the model says yes to everything
        if not scene.icons("small") or rng.random() < 0.4:
            found += _asked(scene, rng, ("large", "existence"))
    return found + (_asked(scene, rng, ("small", "reading")) if rng.random() < 0.5 else [])


def _after_quarters(scene: Scene, rng: random.Random) -> list[Question]:
    """Large and small icons can be told, specks and the label are guessed."""
    if scene.crowd:
        sizes: tuple[Size, ...] = ("small", "small", "speck", "speck")
        found = _open(_asked(scene, rng, *((size, "attributes") for size in sizes)), rng)
    else:
        found = _asked(scene, rng, ("large", "attributes"), ("large", "relations"))
        families: tuple[Family, ...] = ("attributes", "relations", "existence") * 2
        found += _asked(scene, rng, *(("small", family) for family in families))
        if not scene.icons("small"):
            found += _asked(scene, rng, ("large", "existence"))
        first, second = rng.sample(scene.icons(), 2)
        side = relation(scene, first, second, rng)
        found += [side] if side else []
    return found + (_asked(scene, rng, ("small", "reading")) if rng.random() < 0.3 else [])


def _after_crop(scene: Scene, rng: random.Random) -> list[Question]:
    """Specks can be told, what lies elsewhere is guessed."""
    specks = [attribute(scene, speck, rng) for speck in rng.sample(scene.icons("speck"), 4)]
    return _open([*specks, *_asked(scene, rng, ("small", "attributes"))], rng)


def _read_branch(encode: Encoder, scene: Scene, rng: random.Random) -> Tape:
    """A question about the label behind what was read of it: any word, since the overview shows none."""
    label = scene.find("label")
    word = rng.choice(WORDS)
    if label and rng.random() < 0.1:
        text, word = NO_TEXT, label.text
    else:
        lines = [word, *(rng.choice(STRAY) for _ in range(rng.random() < 0.35))]
        text = "\n".join(rng.sample(lines, len(lines)))
    question = reading(scene, Thing("label", "white", 0, 0, 0, 0.44, "small", word), rng)
    tape = asked(Tape(encode).given(f"<tool_response>{text}</tool_response>\n"), question.text, prompts.SPECULATE)
    return say(tape, question.answer, "guess" if text == NO_TEXT else "read").said(END[:-1])


def _where(encode: Encoder, scene: Scene, rng: random.Random) -> list[Tape]:
    """Where crowd and label are, and the calls of its own that follow from it."""
    places = {prompts.CROWD: scene.crowd, "label": scene.find("label")}
    found = []
    for name, thing in places.items():
        # that there is none is soon learnt
        if thing or rng.random() < 0.2:
            there = [replace(thing, kind=name)] if thing else []
            found.append(where_branch(encode, [name], there, f"where {name}" if thing else "nowhere"))
    sizes: tuple[Size, ...] = ("speck", "small") if scene.crowd else ("small", "large")
    size = rng.choice(sizes)
    families: tuple[Family, ...] = ("attributes", "attributes", "relations", "existence")
    questions = _asked(scene, rng, (size, rng.choice(families)))
    if scene.crowd:
        questions = _open(_asked(scene, rng, *((s, "attributes") for s in sizes)), rng)
    if places["label"]:
        questions += _asked(scene, rng, ("small", "reading"))
    return found + [call_branch(encode, scene, q) for q in questions]


def call_branch(encode: Encoder, scene: Scene, question: Question) -> Tape:
    """The speculator's own look: into the crowd, at the label, or none where quarters show all there is."""
    tape = asked(Tape(encode), question.text, prompts.AGENT)
    label = scene.find("label") if question.family == "reading" else None
    place = label or (scene.crowd if question.size != "large" else None)
    if place is None:
        seen = [t for t in question.targets if t.size == "large"]
        sight = [(kind, next((t.place for t in seen if t.kind == kind), None)) for kind in question.kinds]
        return say(tape, prompts.sighting(sight), "no call").said(f".{END[:-1]}")
    name, tool = ("label", "ocr") if label else (prompts.CROWD, "crop")
    # a cell is easier to see than the numbers of its box
    say(tape, prompts.sighting([(name, place.place)]), f"call {name}")
    return tape.said(f".{prompts.call(tool, prompts.cell_box(place.cell))}", f"box {name}").said(END[:-1])


def depth_stages(model: PreTrainedModel, encode: Encoder, steps: tuple[int, int]) -> Iterator[Stage]:
    """A speculator that answers from the overview learns to look again: the tower first, then everything.

    Args:
        model: The trained speculator.
        encode: Text to tokens.
        steps: Most steps of both stages.
    """
    seen = SeenWords(model, encode)
    seeing = [*model.model.visual.parameters(), *seen.parameters()]
    yield Stage("tower", steps[0], 1e-3, lambda rng, _: _tower(model, seen, rng), seeing)
    everything = [*model.parameters(), seen.without_word]

    def loss(rng: random.Random, _: int) -> tuple[Tensor, Metrics]:
        examples = [depth_example(encode, rng, crowd=k < CROWDED) for k in range(SCENES)]
        batch = collate(examples, encode.image_id)
        caught: list[Tensor] = []

        def keep(_: nn.Module, __: object, out: object) -> None:
            caught.append(out.pooler_output)  # type: ignore[attr-defined]

        hook = model.model.visual.register_forward_hook(keep)
        try:
            said, metrics = spoken(model, batch)
        finally:
            hook.remove()
        # the tower goes on seeing what the language model does not ask for yet
        dense, sight = label_loss(seen, caught[0], [labels for e in examples for labels in e.seen])
        return said + dense, metrics | sight

    yield Stage("look twice", steps[1], 1e-3, loss, everything)


def _tower(model: PreTrainedModel, seen: SeenWords, rng: random.Random) -> tuple[Tensor, Metrics]:
    """The vision tower tells what quarters and crops show, and goes on telling what the overview shows."""
    views: dict[str, list[np.ndarray]] = {"overview": [], "quarter": [], "crop": []}
    wanted: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in views}
    for k in range(16):
        scene, image = crowded_scene(rng) if k % 2 else fresh_scene(rng)
        if k < 6:
            views["overview"].append(view(image, side=SIDE))
            wanted["overview"].append(dense_labels(scene, None))
        for number in sorted({t.quarter for t in rng.sample(scene.things, min(3, len(scene.things)))}):
            views["quarter"].append(quarter(image, number))
            wanted["quarter"].append(dense_labels(scene, number))
        if scene.crowd:
            views["crop"].append(crop(scene, scene.crowd.cell, rng))
            wanted["crop"].append(crop_labels(scene, scene.crowd.cell))
    features = image_features(model, [v for some in views.values() for v in some])
    total, at = torch.zeros(()), 0
    metrics: Metrics = {}
    for name, some in views.items():
        end = at + GRID * GRID * len(some)
        loss, metrics_of = label_loss(seen, features[at:end], wanted[name])
        total = total + loss * (0.3 if name == "overview" else 1.0)
        metrics |= {f"{name} {what}": value for what, value in metrics_of.items()}
        at = end
    return total, metrics

"""The agent learns to look into a crowd: a fine-tune of a model that can do everything else.

Every step mixes boards with a crowd and the boards it knows, or it would forget those.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.questions import DEEP, attribute
from langgraph_speceyes.testbed.training.dialect import TOOL_CALLS, Dialect
from langgraph_speceyes.testbed.training.tape import Encoder, Example, front, view
from langgraph_speceyes.testbed.training.teacher import (
    answer_branch,
    crowd_view,
    dense_labels,
    fresh_scene,
    in_view,
    judge_branch,
    perception_example,
    quarter_view,
    run_example,
    trajectory_example,
    where_branch,
)
from langgraph_speceyes.testbed.training.train import Make, Metrics, SeenWords, Stage, labelled_loss, token_loss
from langgraph_speceyes.testbed.world import COLOURS, GRID, QUARTERS, SHAPES, Scene, Size, Thing, make_scene

CELLS = (128, 192, 256)
"""Finer than other boards': a speck of fewer pixels is not the shape it should be."""
WORDLESS = 60
"""Steps in which only the vectors for what has no word are learnt."""
CROWD: Literal["crowd"] = "crowd"
StepLoss = Callable[[random.Random, int], tuple[Tensor, Metrics]]
Region = int | Literal["crowd"] | None
"""What is in view: a quarter, the crowd's cell, or the whole board."""


def crowded_scene(rng: random.Random) -> tuple[Scene, Image.Image]:
    """A training scene with a crowd and its picture at one of several resolutions."""
    scene = make_scene(f"train/{rng.getrandbits(60)}", **DEEP)
    return scene, scene.render(rng.choice(CELLS))


def seen_in(scene: Scene, region: Region) -> list[Thing]:
    """The icons that can be told in a region."""
    return scene.icons("speck") if region == CROWD else in_view(scene, region)


def shown(scene: Scene, image: Image.Image, region: Region) -> np.ndarray:
    """A region as the model sees it."""
    if region == CROWD:
        return crowd_view(scene)
    return view(image) if region is None else quarter_view(image, region)


def crowd_labels(scene: Scene) -> tuple[np.ndarray, ...]:
    """What each visual token of the crowd's cell shows, as :func:`dense_labels` has it for the board: ``[36]`` each."""
    shape = np.zeros((GRID, GRID), dtype=np.int64)
    colour = np.zeros((GRID, GRID), dtype=np.int64)
    specks = scene.icons("speck")
    for speck in specks:
        place = int(speck.y % 1 * GRID), int(speck.x % 1 * GRID)
        shape[place] = SHAPES.index(speck.kind) + 1
        colour[place] = list(COLOURS).index(speck.colour) + 1
    return shape.reshape(-1), colour.reshape(-1), np.full(GRID * GRID, specks[0].cell)


def deep_trajectory_example(encode: Encoder, rng: random.Random, dialect: Dialect = TOOL_CALLS) -> Example:
    """A run about a small icon or a speck on a board with a crowd."""
    scene, image = crowded_scene(rng)
    sizes: tuple[Size, ...] = ("small", "speck")
    target = rng.choice(scene.icons(rng.choice(sizes)))
    return run_example(encode, rng, attribute(scene, target, rng), image, dialect)


def deep_perception_example(encode: Encoder, rng: random.Random, dialect: Dialect = TOOL_CALLS) -> Example:
    """A view of a board with a crowd: whether tools are needed, what is seen, and where."""
    scene, image = crowded_scene(rng)
    crowd = scene.icons("speck")[0]
    quarter = crowd.quarter if rng.random() < 0.5 else rng.randrange(QUARTERS)
    region: Region = rng.choice((None, quarter, quarter, CROWD))
    main, seen = front(encode, dialect.system), seen_in(scene, region)
    hidden = [t for t in scene.icons() if t not in seen]
    tag = "speck" if region == CROWD else "large" if region is None else "quarter"
    branches = [where_branch(encode, [t.kind], seen, tag) for t in rng.sample(seen, min(2, len(seen)))]
    branches += [where_branch(encode, [t.kind], seen, tag) for t in rng.sample(hidden, min(2, len(hidden)))]
    branches += [answer_branch(encode, attribute(scene, t, rng), tag) for t in rng.sample(seen, min(3, len(seen)))]
    if region != CROWD:
        there = region is None or region == crowd.quarter
        found = [Thing(prompts.CROWD, "", crowd.cell, 0, 0, 0, "large")] if there else []
        branches.append(where_branch(encode, [prompts.CROWD], found, f"{tag} crowd"))
    if region is None:
        branches.append(judge_branch(encode, attribute(scene, rng.choice(hidden), rng)))
    return Example(main, [shown(scene, image, region)], len(main.ids), branches)


def colours_example(encode: Encoder, rng: random.Random, dialect: Dialect = TOOL_CALLS) -> Example:
    """The colour of everything that a view of any board shows, each asked for on its own."""
    while True:
        if rng.random() < 0.5:
            scene, image = crowded_scene(rng)
            region: Region = CROWD
        else:
            scene, image = fresh_scene(rng, rng.choice((0, 0, 1, 3)))
            region = rng.choice(scene.things).quarter if rng.random() < 0.8 else None
        seen = seen_in(scene, region)
        if seen:
            break
    tag = "speck" if region == CROWD else "large" if region is None else "quarter"
    main = front(encode, dialect.system)
    branches = [answer_branch(encode, attribute(scene, thing, rng), tag) for thing in seen]
    return Example(main, [shown(scene, image, region)], len(main.ids), branches)


def whole_view_example(encode: Encoder, rng: random.Random, dialect: Dialect = TOOL_CALLS) -> Example:
    """Where each shape is in a view of any board, or that it is not in view, and the colour of what is seen."""
    if rng.random() < 0.4:
        scene, image = crowded_scene(rng)
        regions: tuple[Region, ...] = (*range(QUARTERS), CROWD, CROWD)
    else:
        scene, image = fresh_scene(rng, rng.choice((0, 0, 2, 3)))
        regions = (None, *range(QUARTERS))
    region = rng.choice(regions)
    seen = seen_in(scene, region)
    tag = "speck" if region == CROWD else "large" if region is None else "quarter"
    branches = [where_branch(encode, [kind], seen, tag) for kind in SHAPES]
    branches += [answer_branch(encode, attribute(scene, thing, rng), tag) for thing in seen]
    main = front(encode, dialect.system)
    return Example(main, [shown(scene, image, region)], len(main.ids), branches)


def either(first: Make, second: Make) -> Make:
    """One of two kinds of examples at random."""
    return lambda encode, rng: (first if rng.random() < 0.5 else second)(encode, rng)


def _labelled(rng: random.Random) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """A view of any board with its dense labels; every other one is of a crowd."""
    if rng.random() < 0.5:
        scene, _ = crowded_scene(rng)
        return crowd_view(scene), crowd_labels(scene)
    scene, image = crowded_scene(rng) if rng.random() < 0.3 else fresh_scene(rng)
    region = rng.choice(scene.things).quarter if rng.random() < 0.7 else None
    return shown(scene, image, region), dense_labels(scene, region)


def deep_stages(model: PreTrainedModel, encode: Encoder, steps: tuple[int, int, int, int]) -> Iterator[Stage]:
    """What comes after the agent's other stages: see what a crowd's cell shows, act on it, and be sure of all again.

    Args:
        model: An agent that has learnt the other families.
        encode: Its tokenizer.
        steps: Most steps of the four stages.
    """
    seen = SeenWords(model, encode)

    def see(rng: random.Random, size: int, *, tower: bool = True) -> tuple[Tensor, Metrics]:
        views, wanted = zip(*(_labelled(rng) for _ in range(size)), strict=True)
        return labelled_loss(model, seen, list(views), wanted, tower=tower)

    def seeing(rng: random.Random, step: int) -> tuple[Tensor, Metrics]:
        # what has no word is learnt anew, and must not pull at the tower before it is
        return see(rng, 24, tower=step >= WORDLESS)

    tower = [*model.model.visual.parameters(), seen.without_word]
    yield Stage("see crowds", steps[0], 1e-3, seeing, tower)
    everything = [*model.parameters(), seen.without_word]
    makers: list[tuple[Make, int]] = [
        (deep_trajectory_example, 10),
        (either(perception_example, deep_perception_example), 12),
        (trajectory_example, 8),
        (colours_example, 24),
    ]
    yield Stage("deep", steps[1], 1e-3, _watched(token_loss(model, encode, makers), see, (3,), len(makers)), everything)
    makers = [
        (deep_trajectory_example, 10),
        (whole_view_example, 16),
        (trajectory_example, 12),
        (whole_view_example, 16),
        (either(perception_example, deep_perception_example), 12),
    ]
    loss = _watched(token_loss(model, encode, makers), see, (1, 3), len(makers))
    yield Stage("settle", steps[2], 5e-4, loss, everything)
    makers = [
        (trajectory_example, 16),
        (whole_view_example, 16),
        (deep_trajectory_example, 8),
        (trajectory_example, 16),
        (perception_example, 12),
    ]
    loss = _watched(token_loss(model, encode, makers), see, (1,), len(makers))
    yield Stage("rehearse", steps[3], 4e-4, loss, everything)


def _watched(act: StepLoss, see: StepLoss, turns: Sequence[int], of: int) -> StepLoss:
    """A loss with that of the vision tower beside it in some turns: it goes on seeing what is not asked for yet."""

    def loss(rng: random.Random, step: int) -> tuple[Tensor, Metrics]:
        found, metrics = act(rng, step)
        if step % of in turns:
            dense, seeing_metrics = see(rng, 16)
            found, metrics = found + 0.3 * dense, metrics | seeing_metrics
        return found, metrics

    return loss

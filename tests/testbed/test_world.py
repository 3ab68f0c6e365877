from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.questions import (
    ABSENT,
    SMALL_EVERY,
    SPLITS,
    STYLES,
    Family,
    Split,
    pick,
    questions,
)
from langgraph_speceyes.testbed.world import (
    COLOURS,
    COMPANIONS,
    GRID,
    POPULARITY,
    SHAPES,
    Size,
    make_scene,
    outline,
)

seeds = st.integers(min_value=0)


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_a_scene_has_distinct_things_in_cells_of_their_own(seed: int) -> None:
    scene = make_scene(seed)
    assert len({t.kind for t in scene.things}) == len({t.cell for t in scene.things}) == len(scene.things)
    for thing in scene.things:
        row, column = divmod(thing.cell, GRID)
        assert column <= thing.x <= column + 1
        assert row <= thing.y <= row + 1
        left, top, right, bottom = prompts.quarter_box(thing.quarter)
        assert left <= thing.x * prompts.VIEW / GRID <= right
        assert top <= thing.y * prompts.VIEW / GRID <= bottom


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_rendering_shows_each_icon_in_its_colour(seed: int) -> None:
    scene = make_scene(seed)
    image = np.asarray(scene.render(96)).astype(int)
    for thing in scene.things:
        if thing.kind in SHAPES and thing.kind not in ("ring", "moon"):
            assert np.abs(image[int(thing.y * 96), int(thing.x * 96)] - COLOURS[thing.colour]).max() == 0


def test_scenes_do_not_depend_on_the_process() -> None:
    code = "from langgraph_speceyes.testbed.questions import questions; print(questions('attributes', 'test', 3))"
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert found == {f"{questions('attributes', 'test', 3)}\n"}


@pytest.mark.parametrize("split", SPLITS)
def test_parts_share_no_scene_and_longer_lists_begin_with_shorter_ones(split: str) -> None:
    test, calibration = questions(split, "test", 40), questions(split, "calibration", 40)  # type: ignore[arg-type]
    assert not {q.scene.things for q in test} & {q.scene.things for q in calibration}
    assert questions(split, "test", 10) == test[:10]  # type: ignore[arg-type]


@pytest.mark.parametrize("split", SPLITS)
def test_as_many_questions_are_about_small_things_as_the_split_says(split: Split) -> None:
    few, of = SMALL_EVERY[split]
    asked = questions(split, "test", 10 * of)
    assert sum(q.size == "small" for q in asked) == 10 * few


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_small_is_a_pixel_or_two_in_the_speculators_overview_and_legible_in_a_quarter(seed: int) -> None:
    for thing in make_scene(seed).icons():
        overview = 2 * thing.radius * prompts.SPECULATOR_VIEW / GRID
        quarter = 2 * thing.radius * prompts.VIEW / (GRID / 2)
        assert quarter > 5
        assert overview < 2 if thing.size == "small" else overview > 5


@given(st.sampled_from(SHAPES))
def test_every_shape_covers_the_same_area(shape: str) -> None:
    pen = Image.new("L", (800, 800))
    ImageDraw.Draw(pen).polygon([(400 + x, 400 + y) for x, y in outline(shape, 150)], fill=255)
    assert np.count_nonzero(np.asarray(pen)) == pytest.approx(math.pi * 150**2, rel=0.02)


@given(seeds, st.sampled_from([(0, 0), (0, 3), (3, 0), (5, 5)]))
@settings(max_examples=20, deadline=None)
def test_the_colour_of_the_ground_tells_the_cell(seed: int, cell: tuple[int, int]) -> None:
    row, column = cell
    scene = make_scene(seed, large=(1, 1), small=(0, 0), label_share=0.0)
    if scene.things[0].cell == row * GRID + column:
        return
    pixels = np.asarray(scene.render(32)).astype(float)[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32]
    red, green, blue = pixels.reshape(-1, 3).mean(0)
    for found, step in ((red - green, column), (blue - green, row)):
        assert round((found / 45 + 1) * GRID / 2 - 0.5) == step


@given(seeds, st.sampled_from(get_args(Family)), st.sampled_from(["large", "small"]))
@settings(max_examples=200, deadline=None)
def test_answers_are_true_of_the_scene(seed: int, family: Family, size: Size) -> None:
    rng = random.Random(seed)
    scene = make_scene(seed, label_share=0.5, **rng.choice(STYLES))
    question = pick(scene, family, size, rng, rng.choice(ABSENT))
    if question is None:
        return
    assert question.size == size
    assert question.family == family
    there = [scene.find(kind) for kind in question.kinds]
    if family == "attributes":
        assert question.key == there[0].colour
    elif family == "reading":
        assert question.key == there[0].text
    elif family == "existence":
        assert question.key == ("yes" if there[0] else "no")
        assert bool(question.absent) == (question.key == "no")
    else:
        first, second = there
        across, down = first.x - second.x, first.y - second.y
        assert {"left": across < 0, "right": across > 0, "above": down < 0, "below": down > 0}[question.key]
    if question.letter:
        assert f"({question.letter}) {question.key}" in question.text.split("\n")
        assert len(question.text.split("\n")) == len(question.wrong) + 2
        assert question.key not in question.wrong
        assert len(set(question.wrong)) == len(question.wrong)


@given(seeds, st.sampled_from(get_args(Family)))
@settings(max_examples=200, deadline=None)
def test_only_the_right_answer_is_right(seed: int, family: Family) -> None:
    rng = random.Random(seed)
    scene = make_scene(seed, label_share=0.5)
    question = pick(scene, family, rng.choice(["large", "small"]), rng)
    if question is None:
        return
    said = question.answer
    for same in (said, said.upper(), said.rstrip("."), f" {said}\n", said.replace('"', "")):
        assert question.is_right(same)
    other = rng.choice(question.wrong)
    assert question.key in said
    assert not question.is_right(said.replace(question.key, other))
    for wrong in ("", f"{other} or {question.key}", "(Z)", f"{said} (Z)", f"{said} I think.", f"{said}?"):
        assert not question.is_right(wrong)
    if question.letter:
        assert question.is_right(f"({question.letter})")
        assert question.is_right(f"{said.rstrip('.')} ({question.letter}).")
        assert not question.is_right(f"{said.replace(question.key, other)} ({question.letter})")
    else:
        assert not question.is_right(f"{said} (A)")


def test_absent_objects_are_chosen_as_pope_does() -> None:
    asked = [q for q in questions("existence", "test", 300) if q.absent]
    assert {q.absent for q in asked} == set(ABSENT)
    for question in asked:
        there = {t.kind for t in question.scene.icons()}
        (kind,) = question.kinds
        assert kind not in there
        if question.absent == "popular":
            assert POPULARITY[kind] == max(POPULARITY[s] for s in SHAPES if s not in there)
        if question.absent == "adversarial":
            assert COMPANIONS[kind] in there


def test_dense_images_have_at_least_4096_pixels_a_side() -> None:
    asked = questions("dense", "test", 60)
    assert all(q.cell * GRID >= 4096 for q in asked)
    assert {q.family for q in asked} == {"attributes", "relations"}
    image = asked[0].render()
    assert image.size == (asked[0].cell * GRID,) * 2


def test_letters_of_right_options_are_even() -> None:
    letters = Counter(q.letter for q in questions("attributes", "test", 400) if q.letter)
    assert set(letters) == set("ABCD")
    assert max(letters.values()) < 2 * min(letters.values())

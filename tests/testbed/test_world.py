from __future__ import annotations

import hashlib
import itertools
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
    DEEP,
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
    CROWD,
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


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_a_crowd_is_six_specks_apart_in_a_cell_of_its_own(seed: int) -> None:
    scene = make_scene(seed, label_share=0.5, **DEEP)
    specks, others = scene.icons("speck"), [t for t in scene.things if t.size != "speck"]
    assert len({t.kind for t in scene.icons()}) == len(scene.icons()) == len(SHAPES)
    assert len(specks) == len({t.colour for t in specks}) == CROWD
    assert {t.cell for t in specks} == {scene.crowd.cell}
    assert scene.crowd.cell not in {t.cell for t in others}
    assert [t.size for t in others if t.kind != "label"] == ["small", "small"]
    parts = []
    for speck in specks:
        across, down = (speck.x - speck.column) * GRID, (speck.y - speck.row) * GRID
        # each in the middle of what one visual token shows of a crop of the cell, and not over its edge
        reach = speck.radius * GRID
        assert 0.4 < across % 1 < 0.6
        assert 0.4 < down % 1 < 0.6
        assert reach < 0.25
        # as small in a quarter as a small icon in the overview, and larger in a crop of the cell than that in a quarter
        assert 2 * speck.radius * prompts.SPECULATOR_VIEW / (GRID / 2) < 2
        assert 2 * speck.radius * prompts.SPECULATOR_VIEW > 4
        parts.append((int(across), int(down)))
    assert all(max(abs(a - c), abs(b - d)) > 1 for k, (a, b) in enumerate(parts) for c, d in parts[:k])


@given(seeds, st.integers(0, GRID * GRID - 1))
@settings(max_examples=20, deadline=None)
def test_a_cell_drawn_alone_is_the_cell_of_the_board(seed: int, cell: int) -> None:
    scene = make_scene(seed, **DEEP)
    for chosen in (cell, scene.crowd.cell):
        row, column = divmod(chosen, GRID)
        whole = scene.render(64).crop((column * 64, row * 64, column * 64 + 64, row * 64 + 64))
        assert np.array_equal(np.asarray(scene.render(64, only=chosen)), np.asarray(whole))


def test_deep_asks_open_questions_about_small_icons_and_specks_alike() -> None:
    asked = questions("deep", "test", 60)
    assert Counter(q.size for q in asked) == {"small": 30, "speck": 30}
    assert {q.cell * GRID for q in asked} == {8064, 8400}
    for question in asked:
        (target,) = question.targets
        assert question.text == question.stem
        assert not question.letter
        assert question.family == "attributes"
        assert question.answer == f"The {target.kind} is {target.colour}."
        assert question.size == target.size


def test_the_scenes_and_questions_of_the_other_splits_stay_what_they_were() -> None:
    """Runs, thresholds and figures of before were measured on them."""
    found = hashlib.sha256()
    for split in [split for split in SPLITS if split != "deep"]:
        for part, seed in itertools.product(("calibration", "test"), (0, 1)):
            found.update("".join(f"{q}\n" for q in questions(split, part, 20, seed)).encode())
    found.update(make_scene("pixels").render(48).tobytes())
    assert found.hexdigest() == "99e18017a97d9c57eddbe14e26bb25f4855a6024117a62cc98f26ab42a51ff36"


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


@given(seeds, st.sampled_from(get_args(Family)), st.sampled_from(get_args(Size)))
@settings(max_examples=200, deadline=None)
def test_answers_are_true_of_the_scene(seed: int, family: Family, size: Size) -> None:
    rng = random.Random(seed)
    scene = make_scene(seed, label_share=0.5, **(DEEP if size == "speck" else rng.choice(STYLES)))
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

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.questions import SPLITS, ask, questions
from langgraph_speceyes.testbed.world import GRID, SHAPES, make_scene

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
        if thing.kind in SHAPES and thing.kind != "ring":
            from langgraph_speceyes.testbed.world import COLOURS

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


def test_half_of_the_attributes_are_too_small_for_the_overview() -> None:
    asked = questions("attributes", "test", 100)
    assert sum(q.size == "small" for q in asked) == 50
    assert all(q.target.radius * prompts.VIEW / GRID < 3 for q in asked if q.size == "small")
    assert all(q.target.radius * prompts.VIEW / GRID > 8 for q in asked if q.size == "large")


def test_only_the_right_sentence_is_right() -> None:
    scene = make_scene("right", label_share=1.0)
    for thing in scene.things:
        question = ask(scene, thing, random.Random(0))
        assert question.is_right(question.answer)
        assert question.is_right(question.answer.rstrip(".") + " ")
        assert not question.is_right("")
        assert not question.is_right(question.key)
        assert not question.is_right(f"Not sure. {question.answer}")

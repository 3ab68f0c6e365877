"""What the agent is taught about a crowd, and that its training goes on where it stopped."""

from __future__ import annotations

import random
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import MAX_STEPS
from langgraph_speceyes.testbed.questions import DEEP, attribute
from langgraph_speceyes.testbed.training.architecture import new_agent
from langgraph_speceyes.testbed.training.deep import CROWD, crowd_labels, deep_perception_example, seen_in
from langgraph_speceyes.testbed.training.tape import Encoder
from langgraph_speceyes.testbed.training.teacher import IN_CROWD, crowd_view, dense_labels, run_example
from langgraph_speceyes.testbed.training.tokenizer import build_tokenizer
from langgraph_speceyes.testbed.training.train import Stage, train
from langgraph_speceyes.testbed.world import COLOURS, GRID, SHAPES, make_scene


@pytest.fixture(scope="module")
def encode() -> Encoder:
    return Encoder(build_tokenizer())


@pytest.mark.parametrize("size", ["small", "speck"])
def test_a_run_looks_into_the_crowd_when_its_quarter_is_in_view_and_the_target_is_not(
    encode: Encoder, size: str
) -> None:
    rng, most = random.Random(4), 0
    for k in range(40):
        scene = make_scene(f"{size} {k}", **DEEP)
        target = rng.choice(scene.icons(size))
        example = run_example(encode, rng, attribute(scene, target, rng), scene.render(24))
        text = encode.tokenizer.decode(example.main.ids, skip_special_tokens=False)
        looks = [tuple(map(int, found)) for found in re.findall(r"\[(\d+),(\d+),(\d+),(\d+)\]", text)]
        crowd = scene.crowd
        last = crowd.quarter if size == "speck" else target.quarter
        expected = []
        for quarter in range(last + 1):
            expected.append(prompts.quarter_box(quarter))
            if quarter == crowd.quarter and (size == "speck" or quarter < last):
                expected.append(prompts.cell_box(crowd.cell))
        assert looks == expected
        assert len(example.views) == len(looks) + 1
        assert text.count(f"the crowd at {crowd.place}, search {crowd.place}.") == (
            prompts.cell_box(crowd.cell) in looks
        )
        assert text.endswith(f"seen.</think><answer>The {target.kind} is {target.colour}.</answer><|im_end|>")
        assert encode.tokenizer.decode(example.branches[0].ids).endswith("assistant\nyes")
        most = max(most, len(looks))
    assert most == MAX_STEPS == (5 if size == "speck" else most)


def test_the_labels_of_a_crowd_are_where_its_specks_show() -> None:
    for k in range(20):
        scene = make_scene(k, **DEEP)
        shape, colour, cell = crowd_labels(scene)
        pixels = crowd_view(scene).astype(int)
        tokens = pixels.reshape(GRID, 32, GRID, 32, 3).swapaxes(1, 2).reshape(GRID * GRID, 32 * 32, 3)
        away = np.abs(tokens - np.median(pixels, axis=(0, 1))).max(axis=(1, 2))
        assert ((away > 50) == (shape > 0)).all()
        assert ((colour > 0) == (shape > 0)).all()
        assert set(cell) == {scene.crowd.cell}
        assert {SHAPES[s - 1] for s in shape[shape > 0]} == {t.kind for t in scene.icons("speck")}
        for token in np.flatnonzero(shape):
            (speck,) = (t for t in scene.icons("speck") if t.kind == SHAPES[shape[token] - 1])
            assert list(COLOURS)[colour[token] - 1] == speck.colour
            assert np.abs(tokens[token] - COLOURS[speck.colour]).max(axis=1).min() < 25


def test_specks_can_be_told_in_the_crowd_alone() -> None:
    scene = make_scene("told", **DEEP)
    assert {t.size for t in seen_in(scene, CROWD)} == {"speck"}
    elsewhere = [t for region in (None, 0, 1, 2, 3) for t in seen_in(scene, region)]
    assert {t.size for t in elsewhere} == {"small"}
    shape, _, _ = dense_labels(scene, scene.crowd.quarter)
    assert IN_CROWD in shape


def test_a_view_of_a_board_with_a_crowd_is_asked_where_it_is(encode: Encoder) -> None:
    asked = set()
    for k in range(30):
        example = deep_perception_example(encode, random.Random(k))
        for branch in example.branches:
            question, _, answer = encode.tokenizer.decode(branch.ids).partition("assistant\n")
            if question.startswith("Where is the crowd?"):
                assert re.fullmatch(r"The crowd (at [a-f][1-6]|not in view)\.", answer)
                asked.add(answer.split()[2])
    assert asked == {"at", "not"}


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_training_goes_on_where_it_stopped_also_with_what_is_learnt_beside_the_model(tmp_path: Path, stop: int) -> None:
    def begun(folder: Path, start: float, stop: int | None) -> list[float]:
        """Run two stages of three steps each, to their end or up to a step; the values that the steps began with."""
        beside, found = nn.Parameter(torch.tensor(start)), []

        def loss(rng: random.Random, step: int) -> tuple[torch.Tensor, dict[str, float]]:
            if len(found) == stop:
                raise InterruptedError
            found.append(float(beside.detach()))
            return (beside - 1) ** 2, {}

        stages = (Stage(name, 3, 0.1, loss, [beside]) for name in "ab")
        with suppress(InterruptedError):
            train(model, stages, folder, save_seconds=0, note=lambda _: None)
        return found

    model = new_agent(build_tokenizer(), width=32)
    whole = begun(tmp_path / "whole", 0.0, None)
    assert len(whole) == len(set(whole)) == 6
    parts = begun(tmp_path / "stopped", 0.0, stop) + begun(tmp_path / "stopped", 7.0, None)
    assert parts == pytest.approx(whole)

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from langgraph_speceyes.cli import app
from langgraph_speceyes.testbed.files import write_vstar
from langgraph_speceyes.testbed.questions import questions
from langgraph_speceyes.testbed.world import COLOURS


def test_scenes_are_written_in_the_layout_of_vstar(tmp_path: Path) -> None:
    asked = [
        *questions("attributes", "test", 4),
        *questions("relations", "test", 2),
        *questions("existence", "test", 4),
    ]
    images = list(write_vstar(asked, tmp_path))
    assert [i.parent.name for i in images] == ["direct_attributes"] * 4 + ["relative_position"] * 2 + ["existence"] * 4
    for image, question in zip(images, asked, strict=True):
        facts = json.loads(image.with_suffix(".json").read_text())
        assert facts["question"] == question.stem
        assert "\n" not in facts["question"]
        assert facts["options"][0] == question.key
        assert set(facts["options"][1:]) == set(question.wrong)
        assert facts["target_object"] == list(question.kinds)
        assert len(facts["bbox"]) == len(question.targets)
        with Image.open(image) as picture:
            pixels = np.asarray(picture).astype(int)
        assert pixels.shape == (1152, 1152, 3)
        for (left, top, width, height), target in zip(facts["bbox"], question.targets, strict=True):
            inside = pixels[top : top + height, left : left + width]
            near = (np.abs(inside - COLOURS[target.colour]).max(-1) < 40).mean()
            # shapes of equal area fill their boxes to a third at least
            assert near > 0.25


def test_the_command_writes_the_splits_asked_for_and_names_a_wrong_one(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["testbed", "write", str(tmp_path), "--limit", "2", "--split", "reading"])
    assert run.exit_code == 0, run.output
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == [
        "test-reading-0.jpg",
        "test-reading-0.json",
        "test-reading-1.jpg",
        "test-reading-1.json",
    ]
    run = CliRunner().invoke(app, ["testbed", "write", str(tmp_path), "--split", "colours"])
    assert run.exit_code == 2
    assert "split" in run.output
    assert "colours" in run.output

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from langgraph_speceyes.cli import app

Ask = Callable[[str, int], list[Any]]


@pytest.fixture
def run() -> Callable[..., Any]:
    return lambda *arguments: CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "NO_COLOR": "1"})


def test_demo_prints_one_json_object_and_nothing_else(run: Callable[..., Any]) -> None:
    result = run("demo", "--queries", "6", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert set(figures) == {
        *("queries", "agent", "speceyes", "speedup", "beta", "alpha", "routes", "tool_calls"),
        *("predicted_latency_s", "threshold", "score"),
    }
    fields = {"accuracy", "latency_mean_s", "latency_p95_s", "tool_steps_mean"}
    assert set(figures["agent"]) == set(figures["speceyes"]) == fields
    routes = figures["routes"]
    assert set(routes) == {"screened", "bypass", "rejected"}
    assert sum(routes.values()) == figures["queries"] == 6
    assert figures["beta"] == pytest.approx((routes["bypass"] + routes["rejected"]) / 6)
    ratio = figures["agent"]["latency_mean_s"] / figures["speceyes"]["latency_mean_s"]
    assert figures["speedup"] == pytest.approx(ratio)
    assert sum(figures["tool_calls"].values()) == pytest.approx(figures["speceyes"]["tool_steps_mean"] * 6)


def test_demo_shows_a_table(run: Callable[..., Any]) -> None:
    result = run("demo", "--queries", "2")
    assert result.exit_code == 0, result.output
    for word in ("accuracy", "speed-up", "95th percentile", "predicted", "beta", "alpha", "rejected by the gate"):
        assert word in result.stdout


def test_ask_shows_the_route_and_saves_the_regions(run: Callable[..., Any], ask: Ask, tmp_path: Path) -> None:
    question, message = ask("reading", 1)[0]
    image = message.content[0]["url"]
    shown = run("ask", image, question.text, "--save-crops", str(tmp_path / "crops"))
    assert shown.exit_code == 0, shown.output
    assert "route      fallback" in shown.stdout
    kept = json.loads(run("ask", image, question.text, "--save-crops", str(tmp_path / "crops"), "--json").stdout)
    boxes = [call["box"] for call in kept["decision"]["tool_calls"] if call["image"]]
    assert boxes
    for path, (left, top, right, bottom) in zip(kept["crops"], boxes, strict=True):
        with Image.open(path) as region:
            assert (region.width % (right - left), region.height % (bottom - top)) == (0, 0)


def test_ask_shows_the_score_of_every_token(run: Callable[..., Any], ask: Ask) -> None:
    question, message = next(x for x in ask("attributes", 8) if x[0].size == "large")
    shown = run("ask", message.content[0]["url"], question.text, "--threshold", "0.01")
    assert shown.exit_code == 0, shown.output
    if "decided by the judge" not in shown.stdout:
        line = next(x for x in shown.stdout.splitlines() if x.startswith("tokens"))
        assert len(re.findall(r"\d\.\d{3}", line)) >= 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ask", "absent.png", "What?"), "ImageError: messages"),
        (("ask", "{image}", " "), "InputError: messages"),
        (("ask", "{image}", "What?", "--threshold", "2"), "threshold"),
        (("ask", "{image}", "What?", "--speculator", "somewhere"), "agent"),
        (("demo", "--threshold", "0"), "threshold"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    run: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    result = run(*(a.format(image=tmp_path / "a.png") for a in arguments))
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert not result.stdout

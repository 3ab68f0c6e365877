"""How large an image judge, speculator and agent are sent."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from langgraph_speceyes import create_speceyes, create_visual_agent, image_question
from langgraph_speceyes.errors import ArgumentError, GateMismatchError, ImageError
from langgraph_speceyes.images import clear_fitted, fitting, inline_images
from langgraph_speceyes.models.overview import OVERVIEW, pixels_for
from langgraph_speceyes.scoring import Gate
from tests.images.pictures import encode, picture
from tests.scripted import Agent, Scripted, judge, peaked, speculator

SIDE = 600


@pytest.fixture
def photo(tmp_path: Path) -> str:
    clear_fitted()
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(picture(SIDE, SIDE), "JPEG"))
    return str(path)


def shown(model: Scripted, call: int = 0) -> bytes:
    messages, _ = model.calls[call]
    (block,) = (block for block in messages[-1].content if block["type"] == "image")
    return base64.b64decode(block["base64"])  # type: ignore[index]


def side(data: bytes) -> int:
    return Image.open(io.BytesIO(data)).width


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("order", ["judge_first", "parallel"])
def test_both_are_sent_the_same_small_image_made_once(
    photo: str, asynchronous: bool, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = fitting._made
    monkeypatch.setattr(fitting, "_made", lambda *a: made.append(a) or original(*a))
    large, small = judge(0.1), speculator()
    graph = create_speceyes(Agent().graph, speculator=small, judge=large, front_pixels=90_000, order=order).compile()
    asked: Any = {"messages": [image_question(photo, "?")]}
    result = asyncio.run(graph.ainvoke(asked)) if asynchronous else graph.invoke(asked)
    assert result["decision"]["route"] == "bypass"
    assert shown(large) == shown(small)
    assert side(shown(small)) == 300
    # a thread of an earlier test may still be at its own photo
    assert [image.source for image, *_ in made].count(photo) == 1


def test_a_webp_larger_than_what_is_read_of_its_beginning_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "photo.webp"
    path.write_bytes(encode(picture(SIDE, SIDE), "WEBP", lossless=True))
    assert path.stat().st_size > fitting._HEAD
    graph = create_speceyes(Agent().graph, speculator=speculator()).compile()
    result = graph.invoke({"messages": [image_question(path, "?")]})
    assert (result["decision"]["route"], result["decision"]["reason"]) == ("bypass", None)


def test_a_judge_that_reads_the_agents_bytes_shares_its_prefix(photo: str) -> None:
    small, large = speculator(gap=0.0), judge(0.1)
    agent = create_visual_agent(large, tools=["crop"], protocol="deepeyes")
    graph = create_speceyes(agent, speculator=small, judge=large, front_pixels={"judge": None, "speculator": 90_000})
    result = graph.compile().invoke({"messages": [image_question(photo, "?")]})
    assert result["decision"]["route"] == "fallback"
    assert shown(large, 0) == shown(large, 1) == Path(photo).read_bytes()
    assert side(shown(small)) == 300


def test_the_agent_is_given_the_original(photo: str) -> None:
    agent, small = Agent(), speculator(gap=0.0)
    graph = create_speceyes(agent.graph, speculator=small, front_pixels=90_000).compile()
    graph.invoke({"messages": [image_question(photo, "?")]})
    (block,) = inline_images(agent.runs[0])[0].content[:1]
    assert base64.b64decode(block["base64"]) == Path(photo).read_bytes()  # type: ignore[index]
    assert side(shown(small)) == 300


@pytest.mark.parametrize("strict", [False, True])
def test_what_only_decoding_shows_to_be_broken_is_still_the_agents(photo: str, strict: bool) -> None:
    data = Path(photo).read_bytes()
    Path(photo).write_bytes(data[: len(data) // 2])
    small, agent = speculator(), Agent()
    graph = create_speceyes(agent.graph, speculator=small, front_pixels=90_000, strict=strict).compile()
    asked: Any = {"messages": [image_question(photo, "?")]}
    if strict:
        with pytest.raises(ImageError, match="complete"):
            graph.invoke(asked)
        return
    decision = graph.invoke(asked)["decision"]
    assert (decision["route"], decision["decided_by"]) == ("fallback", "speculate")
    assert "complete" in decision["error"]
    assert not small.calls


def test_families() -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.model_name = name

    gpt, claude = Named("gpt-5-mini"), Named("anthropic/claude-sonnet-5")
    assert pixels_for("auto", "judge", [gpt]) == pixels_for("auto", "judge", [claude, gpt]) == OVERVIEW
    assert pixels_for({"speculator": 1000}, "judge", [claude]) < OVERVIEW
    assert pixels_for({"speculator": 1000}, "speculator", [claude]) == 1000
    assert pixels_for(None, "judge", [gpt]) is None


def test_a_gate_knows_the_size_it_was_calibrated_with() -> None:
    def build(gate: Gate, **options: Any) -> None:
        create_speceyes(Agent().graph, speculator=speculator(), gate=gate, **options)

    small = Gate(score="min", threshold=0.5, k=64, front_pixels=90_000)
    build(small, front_pixels=90_000)
    for used in ("auto", None, 1000):
        with pytest.raises(GateMismatchError, match="front_pixels: expected 90000 pixels"):
            build(small, front_pixels=used)
    build(replace(small, front_pixels=0), front_pixels=None)
    with pytest.raises(GateMismatchError, match="images as they are"):
        build(replace(small, front_pixels=0))
    build(replace(small, front_pixels=None), front_pixels=1000)


@pytest.mark.parametrize("wrong", [0, 100, True, "large", 1e6, {"agent": 1000}, {"judge": 10}])
def test_other_settings_are_refused_by_name(wrong: Any) -> None:
    with pytest.raises(ArgumentError, match="front_pixels"):
        create_speceyes(Agent().graph, speculator=Scripted(content=[peaked("a", 64, 1.0)]), front_pixels=wrong)

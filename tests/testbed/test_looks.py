"""Where the embedded speculator looks again, and what it says then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from langgraph_speceyes.images import find_images, parse_block
from langgraph_speceyes.looks import Sight, observed
from langgraph_speceyes.testbed.looks import embedded_looks
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.world import Thing

Ask = Callable[[str, int], list[Any]]
OPEN, CLOSED = 1e-9, 1 - 1e-12


class Kept:
    """A reader that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[Image.Image] = []

    def read(self, image: Image.Image) -> list[str]:
        self.shown.append(image)
        return ["KEPT"]


def sight(question: Any, message: Any) -> Sight:
    return Sight(tuple(find_images([message])), question.text)


def region(block: dict[str, Any]) -> tuple[int, int, int, int]:
    found = parse_block(block, "block").region
    assert found is not None
    return found.x, found.y, found.width, found.height


def cell(thing: Thing, side: int) -> tuple[int, int, int, int]:
    return thing.column * side, thing.row * side, side, side


@pytest.mark.parametrize("split", ["attributes", "relations", "existence", "deep"])
def test_icons_are_looked_for_in_the_quarters(pair: Pair, ask: Ask, split: str) -> None:
    first, _ = embedded_looks(pair.speculator, Kept())
    ((question, message),) = ask(split, 1)
    half = question.cell * 3
    expected = [(x, y, half, half) for y in (0, half) for x in (0, half)]
    for found in (first(sight(question, message)), asyncio.run(first.acall(sight(question, message)))):
        assert [region(block) for block in observed(found)] == expected


def test_a_label_is_read_in_the_cell_where_the_speculator_sees_it(pair: Pair, ask: Ask) -> None:
    reader = Kept()
    first, _ = embedded_looks(pair.speculator, reader)
    for question, message in ask("reading", 5):
        assert first(sight(question, message)) == ["KEPT"]
        (label,) = question.targets
        x, y, side, _ = cell(label, question.cell)
        board = question.render()
        # the file is a JPEG
        assert reader.shown[-1].size == (side, side)
        there, shown = (
            image.convert("RGB").resize((24, 24))
            for image in (board.crop((x, y, x + side, y + side)), reader.shown[-1])
        )
        assert max(abs(a - b) for a, b in zip(there.tobytes(), shown.tobytes(), strict=True)) < 40
    assert len(reader.shown) == 5


def test_where_no_label_is_seen_nothing_is_read(pair: Pair, ask: Ask) -> None:
    reader = Kept()
    first, _ = embedded_looks(pair.speculator, reader)
    message = next(one[1] for one in ask("attributes", 12) if one[0].scene.find("label") is None)
    found = first(Sight(tuple(find_images([message])), "What does the label say?"))
    assert (observed(found), reader.shown) == ([], [])


def test_the_speculators_own_call_shows_the_crowd_or_reads_the_label(pair: Pair, ask: Ask) -> None:
    reader = Kept()
    first, own = embedded_looks(pair.speculator, reader)
    for question, message in ask("deep", 4):
        seen = sight(question, message)
        for found in (own(seen), asyncio.run(own.acall(seen))):
            *quarters, crowd = observed(found)
            # behind depth 1 the prompt goes on where that one's images end
            assert quarters == observed(first(seen))
            assert region(crowd) == cell(question.scene.crowd, question.cell)
    question, message = ask("reading", 1)[0]
    assert observed(own(sight(question, message))) == [{"type": "text", "text": "KEPT"}]
    # without a crowd the quarters show all there is, and it calls nothing
    question, message = next(one for one in ask("attributes", 12) if one[0].size == "small")
    assert observed(own(sight(question, message))) == []


@pytest.mark.parametrize(("split", "depth"), [("attributes", 1), ("reading", 1), ("deep", 2)])
def test_the_pair_with_its_looks_answers_at_the_depth_that_shows_it(
    pair: Pair, ask: Ask, split: str, depth: int
) -> None:
    closed = tuple(OPEN if at == depth else CLOSED for at in (1, 2))
    gate = replace(pair.gate, threshold=CLOSED, judge_threshold=None, depths=closed)
    graph = pair.speceyes(judge=None, gate=gate, looks=pair.looks).compile()
    for question, message in ask(split, 6)[-4:]:
        result = graph.invoke({"messages": [message]})
        decision = result["decision"]
        assert (decision["route"], decision["depth"], decision["error"]) == ("bypass", depth, None)
        assert question.is_right(result["messages"][-1].text)
        assert [one["look"] for one in decision["depths"][1:]] == ["quarters_or_text", "quarters_and_call"][:depth]


def test_after_the_quarters_the_speculator_doubts_what_only_the_crop_shows(pair: Pair, ask: Ask) -> None:
    gate = replace(pair.gate, threshold=CLOSED, depths=(CLOSED, OPEN))
    graph = pair.speceyes(gate=gate, looks=pair.looks).compile()
    for question, message in ask("deep", 6):
        _, first, second = graph.invoke({"messages": [message]})["decision"]["depths"]
        assert second["score"] > 0.9
        assert first["score"] > 0.9 if question.size == "small" else first["score"] < 0.7

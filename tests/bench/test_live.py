"""A stream of questions through a gate that opens itself: it opens, closes after a swap, and loses no question."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.graph import START, MessagesState, StateGraph
from PIL import Image

from langgraph_speceyes import Gate, ImagePolicy, Prompts
from langgraph_speceyes.bench.chosen import embedded_models
from langgraph_speceyes.bench.datasets import Item
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.bench.opening.live import drawn, lost, run_live, settings_of, summary
from langgraph_speceyes.bench.opening.live_plot import draw_opening
from langgraph_speceyes.bench.opening.swapped import Swapped
from langgraph_speceyes.bench.speed.canned import Canned, content, message
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import ImageRef
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.traffic.opening import SelfOpening

# opens after a handful of questions that agree, so that a test need not ask hundreds
QUICK: Any = {"max_loss": 0.2, "confidence": 0.6, "audit": 1.0}


def number_in(messages: Sequence[BaseMessage]) -> str:
    """The number that a question asks for."""
    return next(word for word in messages[-1].text.split() if word.isdigit())


def said(messages: Sequence[BaseMessage]) -> AIMessage:
    text = number_in(messages)
    return message(text, content(text))


def scripted() -> Models:
    """Both answer a question with the number in it."""

    def act(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(number_in(state["messages"]))]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("act", act)
    graph.add_edge(START, "act")
    return Models(Canned(say=said), None, graph.compile(), Gate("odds", 0.98, 20), Prompts())


def numbered(folder: Path, count: int) -> Iterator[Item]:
    for number in range(count):
        path = folder / f"{number}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
        yield Item(str(number), "numbers", f"Which number is {number} ?", (), str(number), ImageRef(str(path)))


async def test_it_opens_and_closes_when_the_speculator_is_swapped_and_loses_nothing(tmp_path: Path) -> None:
    settings = SelfOpening(**QUICK)
    seen: list[str] = []
    live = await run_live(
        scripted(),
        numbered(tmp_path, 80),
        tmp_path / "journal.sqlite",
        gate=settings,
        questions=80,
        swap_at=41,
        concurrency=1,
        backlog=0,
        report=lambda point, events, status: seen.extend(event["event"] for event in events),
    )
    found = summary(live)
    assert 0 < found["opened_after"] < 20
    # one that differs is no reason yet, a handful is
    assert 42 <= found["closed_after"] <= 50
    assert seen[0] == "opened"
    assert seen[-1] == "closed"
    assert lost(live) == []
    assert (found["questions"], found["records"], len(live.answers)) == (80, 80, 80)
    assert {point.mode for point in live.points} == {"shadow", "on"}
    # before the swap all audits agree, behind it none does
    assert found["differing"]["value"] == 0
    assert found["swap"]["differing"]["value"] == 1
    assert found["threshold"] is None
    json.dumps(live.to_dict(), allow_nan=False)
    plot = draw_opening(live, tmp_path)
    assert (tmp_path / f"{plot.name}.png").stat().st_size > 10_000


async def test_a_question_without_a_record_is_lost(tmp_path: Path) -> None:
    live = await run_live(
        scripted(),
        numbered(tmp_path, 4),
        tmp_path / "journal.sqlite",
        gate=SelfOpening(**QUICK),
        questions=4,
    )
    assert lost(live) == []
    assert len(lost(replace(live, records=live.records[1:]))) == 1
    unsettled = [{**live.records[0], "settled": False}, *live.records[1:]]
    assert lost(replace(live, records=unsettled)) == live.records[0]["images"]  # type: ignore[arg-type]
    twice = {path: answers * 2 for path, answers in live.answers.items()}
    assert len(lost(replace(live, answers=twice))) == 4


async def test_a_journal_that_is_there_and_a_swap_out_of_range_are_refused(tmp_path: Path) -> None:
    settings: Any = {"gate": SelfOpening(), "questions": 10}
    with pytest.raises(ArgumentError, match="swap_at"):
        await run_live(scripted(), [], tmp_path / "new.sqlite", swap_at=11, **settings)
    (tmp_path / "old.sqlite").touch()
    with pytest.raises(ArgumentError, match="not there yet"):
        await run_live(scripted(), [], tmp_path / "old.sqlite", **settings)


async def test_the_embedded_pair_opens_its_gate(pair: Pair, tmp_path: Path) -> None:
    # statistical in principle; scenes and models are fixed
    models = replace(embedded_models(pair), policy=ImagePolicy())
    live = await run_live(
        models,
        drawn(tmp_path, 30),
        tmp_path / "journal.sqlite",
        gate=settings_of(models, **QUICK),
        questions=30,
        backlog=0,
    )
    found = summary(live)
    assert found["opened_after"] is not None
    assert any(point.route == "bypass" for point in live.points)
    assert lost(live) == []
    assert all(
        record["agree"] is not None or record["agreed_by"] == "undecided" or record["screened"]
        for record in live.records
    )


def test_a_swapped_model_gives_sure_answers_of_other_questions() -> None:
    model = Swapped(model=Canned(say=said, model_name="small"))
    assert model.model_name == "small"
    assert not hasattr(model, "expect")
    with pytest.raises(ArgumentError, match="two questions"):
        model.swap()
    asked = [f"Which number is {number} ?" for number in range(20)]
    assert [model.invoke(one).text for one in asked] == [str(number) for number in range(20)]
    model.swap()
    for number, one in enumerate(asked):
        answer = model.invoke(one)
        assert answer.text != str(number)
        assert answer.response_metadata["logprobs"]["content"][0]["token"] == answer.text

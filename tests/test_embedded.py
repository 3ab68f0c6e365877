"""The whole graph on the embedded pair: real judgments, speculations, gates and tool calls."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from PIL import Image

from langgraph_speceyes import create_funnel
from langgraph_speceyes.agent import DeepEyesProtocol
from langgraph_speceyes.images import load_image, parse_reference
from langgraph_speceyes.looks import own_calls, tiles
from langgraph_speceyes.models import batcher as batcher_module
from langgraph_speceyes.models.hosted import hosted_model
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import AGENT_NAME, SPECULATOR_NAME, Pair, load_pair
from langgraph_speceyes.testbed.server import ModelServer
from tests.images.pictures import encode, stored
from tests.waiting import auntil

Ask = Callable[[str, int], list[Any]]
OPEN, CLOSED = 1e-9, 1 - 1e-12


@pytest.fixture(scope="module")
def asked(ask: Ask) -> list[Any]:
    return [*ask("attributes", 12), *ask("reading", 4)]


def results(graph: Any, asked: list[Any]) -> list[dict[str, Any]]:
    return [graph.invoke({"messages": [message]}) for _, message in asked]


def test_the_agent_really_uses_its_tools(pair: Pair, asked: list[Any]) -> None:
    graph = pair.agent().compile()
    found = results(graph, asked)
    used = {step["tool"] for r in found for step in r["steps"]}
    assert used >= {"zoom", "crop", "ocr"}
    for (_, message), result in zip(asked, found, strict=True):
        original = load_image(parse_reference(message.content[0]["url"]))
        for step in result["steps"]:
            if step["image"] and step["tool"] == "crop":
                left, top, right, bottom = step["box"]
                region = load_image(parse_reference(step["image"]))
                assert region.tobytes() == original.crop((left, top, right, bottom)).tobytes()
    right = sum(q.is_right(r["messages"][-1].text) for (q, _), r in zip(asked, found, strict=True))
    # a guess is right one time in eight for a colour, one in forty for a word
    assert right >= len(asked) / 2


def test_large_objects_are_answered_with_more_confidence_than_small_ones(pair: Pair, ask: Ask) -> None:
    questions = ask("attributes", 40)
    graph = pair.speceyes(judge=None, gate=replace(pair.gate, threshold=OPEN, judge_threshold=None)).compile()
    found = results(graph, questions)
    assert all(r["decision"]["route"] == "bypass" for r in found)
    scores: dict[str, list[float]] = {"large": [], "small": []}
    hits: dict[str, list[bool]] = {"large": [], "small": []}
    for (question, _), result in zip(questions, found, strict=True):
        scores[question.size].append(result["decision"]["score"])
        hits[question.size].append(question.is_right(result["messages"][-1].text))
    assert sum(hits["large"]) / 20 >= 0.9
    assert sum(hits["small"]) < sum(hits["large"])
    assert sorted(scores["large"])[10] > sorted(scores["small"])[10]


def test_the_judge_tells_large_from_small(pair: Pair, ask: Ask) -> None:
    questions = ask("attributes", 40)
    # a judge that sends nobody on: what the agent would do is not asked here
    gate = replace(pair.gate, threshold=OPEN, judge_threshold=CLOSED)
    found = results(pair.speceyes(gate=gate).compile(), questions)
    needs = {
        size: sorted(r["decision"]["tool_need"] for (q, _), r in zip(questions, found, strict=True) if q.size == size)
        for size in ("large", "small")
    }
    assert needs["large"][10] < 0.5 < needs["small"][10]


@pytest.mark.parametrize("judged", [True, False])
async def test_64_concurrent_runs_share_front_end_batches(
    asked: list[Any], judged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # announced calls are waited for, however long they take to come
    monkeypatch.setattr(batcher_module, "_FORGET_S", math.inf)
    pair = load_pair(max_batch=16, max_wait_s=threading.TIMEOUT_MAX / 2)
    batcher, decoder = pair.speculator._batcher, pair.speculator._engine.decoder
    assert decoder is not None
    expect, serve, step = batcher.expect, batcher._run, decoder._step
    announced, begun, passes, all_here = list[Any](), list[int](), list[None](), threading.Event()

    def noted(key: Any) -> None:
        announced.append(key)
        expect(key)

    def held(requests: Any, feed: Any) -> None:
        begun.append(len(requests))
        all_here.wait()
        serve(requests, feed)

    def counted(rows: Any) -> Any:
        passes.append(None)
        return step(rows)

    async def let_go() -> None:
        """Hold the model until every call of the 64 runs has come or was called off."""
        await auntil(lambda: len(announced) == 64)
        batcher.dismiss("the other runs")
        await auntil(lambda: not batcher._expected)
        all_here.set()

    batcher.expect("the other runs")
    monkeypatch.setattr(batcher, "expect", noted)
    monkeypatch.setattr(batcher, "_run", held)
    monkeypatch.setattr(decoder, "_step", counted)
    options: dict[str, Any] = {} if judged else {"judge": None, "gate": replace(pair.gate, judge_threshold=None)}
    graph = pair.speceyes(max_concurrent_agents=8, **options).compile()
    messages = [message for _, message in asked] * 4
    *found, _ = await asyncio.gather(*(graph.ainvoke({"messages": [m]}) for m in messages), let_go())
    decisions = [r["decision"] for r in found]
    assert len(decisions) == 64
    assert all(decision["error"] is None for decision in decisions)
    stats = pair.speculator.stats
    # the end of an answer is a token too
    lengths = [d["tokens"]["speculate"]["output"] + 1 for d in decisions if "speculate" in d["tokens"]]
    assert stats.calls == len(lengths) >= 16
    # the first batch is full, and filled up again: while any call waits, a forward pass is for four at least
    assert (begun[0], stats.largest) == (16, 16)
    assert len(passes) <= sum(lengths) / 4 + max(lengths)


async def test_a_query_in_a_crowd_fares_as_it_does_alone(pair: Pair, asked: list[Any]) -> None:
    graph = pair.speceyes().compile()
    alone = results(graph, asked)
    crowd = await create_funnel(pair.speceyes()).compile().ainvoke({"queries": [[m] for _, m in asked]})
    for one, outcome in zip(alone, crowd["outcomes"], strict=True):
        first, second = one["decision"], outcome["decision"]
        assert outcome["answer"] == one["messages"][-1].text
        assert (first["route"], first["decided_by"], first["tool_steps"]) == (
            second["route"],
            second["decided_by"],
            second["tool_steps"],
        )
        for key in ("score", "tool_need"):
            assert second[key] == pytest.approx(first[key], abs=1e-4)


@pytest.mark.parametrize("made", ["visual_agent", "create_agent"])
def test_a_later_turn_of_a_thread_is_answered_as_it_is_alone(pair: Pair, ask: Ask, made: str) -> None:
    closed = replace(pair.gate, threshold=CLOSED)
    agent = pair.agent() if made == "visual_agent" else pair.tool_calling_agent()
    graph = pair.speceyes(agent=agent, gate=closed).compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": made}}
    for split in ("existence", "reading", "attributes"):
        ((_, message),) = ask(split, 1)
        alone = agent.compile() if made == "visual_agent" else agent
        expected = alone.invoke({"messages": [message]})["messages"][-1].text
        assert graph.invoke({"messages": [message]}, config)["messages"][-1].text == expected


def test_a_run_of_the_pair_with_tool_steps_keeps_small_checkpoints(pair: Pair, asked: list[Any]) -> None:
    from tests.test_checkpoints import stored

    saver = InMemorySaver()
    graph = pair.speceyes(gate=replace(pair.gate, threshold=CLOSED)).compile(checkpointer=saver)
    reading = asked[-1][1]
    result = graph.invoke({"messages": [reading]}, {"configurable": {"thread_id": "1"}})
    assert result["decision"]["tool_steps"] >= 1
    assert stored(saver) < 100_000


def test_the_pair_takes_a_second_look(pair: Pair, ask: Ask) -> None:
    questions = ask("attributes", 6)
    pair.speculator.clear_caches()
    decoder = pair.speculator._engine.decoder
    assert decoder is not None
    plain = results(pair.speceyes().compile(), questions)
    shut = replace(pair.gate, threshold=CLOSED, depths=(OPEN,))
    pair.speculator.clear_caches()
    before = decoder.reused
    looked = results(pair.speceyes(gate=shut, looks=[tiles(2, 2)]).compile(), questions)
    # the second prompt begins like the first one, which is not computed again
    assert decoder.reused > before
    for alone, result in zip(plain, looked, strict=True):
        decision = result["decision"]
        assert (decision["route"], decision["depth"], decision["error"]) == ("bypass", 1, None)
        first, second = decision["depths"]
        assert second["look"] == "tiles"
        assert second["images"] == 4
        # without the look, the same to the last bit
        assert (first["speculation"], first["score"]) == (
            alone["decision"]["speculation"],
            alone["decision"]["score"],
        )
        assert result["messages"][-1].text == second["speculation"]
        if first["speculation"] is not None:
            # 36 tokens a view and two around it
            assert second["tokens"]["input"] == first["tokens"]["input"] + 4 * 38
    behind = results(pair.speceyes(gate=replace(shut, depths=(CLOSED,)), looks=[tiles(2, 2)]).compile(), questions[:2])
    assert [r["decision"]["route"] for r in behind] == ["fallback"] * 2
    assert [r["decision"]["depth"] for r in behind] == [None] * 2


def test_a_model_that_knows_its_tools_directs_a_look(pair: Pair, ask: Ask) -> None:
    protocol = DeepEyesProtocol(system=prompts.SYSTEM, instruction=prompts.AGENT, reminder="", final="", aliases={})
    look = own_calls(pair.large, protocol=protocol, coordinates="resized", tools=("crop", "zoom", "ocr"))
    gate = replace(pair.gate, threshold=CLOSED, depths=(OPEN,))
    questions = ask("reading", 3)
    for (_, message), result in zip(
        questions, results(pair.speceyes(gate=gate, looks=[look]).compile(), questions), strict=True
    ):
        decision = result["decision"]
        assert (decision["depths"][1]["look"], decision["depths"][1]["error"]) == ("own_calls", None)
        # a label is never readable as it stands: the model always looks, once
        assert decision["depths"][1]["images"] + decision["depths"][1]["characters"] > 0
        assert (decision["route"], decision["depth"]) == ("bypass", 1)
        assert [block["type"] for block in result["messages"][0].content] == [b["type"] for b in message.content]


@pytest.mark.allow_hosts(["127.0.0.1"])
# turned one way, turned the other way, mirrored and turned; decoding is tested with all of them
@pytest.mark.parametrize("orientation", [6, 8, 5])
def test_a_photo_held_any_way_is_answered_as_the_upright_one(
    pair: Pair, ask: Ask, tmp_path: Path, orientation: int
) -> None:
    """Judge, speculator, agent and its crops, in this process and behind a server that knows nothing of the tag."""
    upright = [(question, message) for split in ("existence", "reading") for question, message in ask(split, 1)]
    exif = Image.Exif()
    exif[0x0112] = orientation
    held = []
    for k, (_, message) in enumerate(upright):
        scene = load_image(parse_reference(message.content[0]["url"]))
        path = tmp_path / f"{k}.png"
        path.write_bytes(encode(stored(scene, orientation), "PNG", exif=exif))
        held.append(HumanMessage([{"type": "image", "url": str(path)}, message.content[1]]))
    routes = set()
    with ModelServer(pair, max_logprobs=64) as server:
        names = (SPECULATOR_NAME, AGENT_NAME)
        small, large = (hosted_model(name, base_url=server.url, temperature=0.0) for name in names)
        graphs = [pair.speceyes().compile(), replace(pair, speculator=small, large=large).speceyes().compile()]
        for (_, message), photo in zip(upright, held, strict=True):
            expected = graphs[0].invoke({"messages": [message]})
            routes.add(expected["decision"]["route"])
            for graph in graphs:
                found = graph.invoke({"messages": [photo]})
                assert found["messages"][-1].text == expected["messages"][-1].text
                for key in ("route", "speculation", "tool_steps"):
                    assert found["decision"][key] == expected["decision"][key]
                assert found["decision"]["tool_need"] == pytest.approx(expected["decision"]["tool_need"], abs=1e-3)
                calls = [one["decision"]["tool_calls"] for one in (found, expected)]
                for mine, other in zip(*calls, strict=True):
                    assert mine["box"] == other["box"]
                    if mine["image"]:
                        shown, wanted = (load_image(parse_reference(one["image"])) for one in (mine, other))
                        assert shown.tobytes() == wanted.tobytes()
    assert routes == {"bypass", "fallback"}

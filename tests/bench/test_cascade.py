"""The plain cascade and the judge alone, on the embedded pair and on scripted models."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from PIL import Image

from langgraph_speceyes.agent import with_instruction
from langgraph_speceyes.bench.benchmark import EMBEDDED, Benchmark
from langgraph_speceyes.bench.calibrate import calibrate_run
from langgraph_speceyes.bench.cascade import RULE_OF_THUMB, create_cascade, mean_probability
from langgraph_speceyes.bench.chosen import embedded_models
from langgraph_speceyes.bench.evaluation import Evaluation, overview
from langgraph_speceyes.bench.methods import METHODS, Models, build
from langgraph_speceyes.bench.report import figures
from langgraph_speceyes.bench.report.data import load
from langgraph_speceyes.bench.runs import Outcome, Run
from langgraph_speceyes.bench.sweep import sweep
from langgraph_speceyes.errors import ArgumentError, MissingLogprobsError
from langgraph_speceyes.prompts import MAX_ANSWER_TOKENS, Prompts, image_question
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.questions import SPLITS
from tests.scripted import Agent, Scripted, entry, judge, speculator

Ask = Callable[[str, int], list[Any]]
METHODS_RUN = ["agent", "speceyes", "judge-only", "cascade", "cascade:threshold=0.97"]


@pytest.fixture(scope="module")
def models(pair: Pair) -> Models:
    return embedded_models(pair)


@pytest.fixture(scope="module")
def folder(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    benchmark = Benchmark(EMBEDDED, part="calibration", limit=2)
    out = tmp_path_factory.mktemp("cascade") / "run"
    asyncio.run(Evaluation(benchmark, METHODS_RUN, models, out, full=True).run())
    return out


def by_method(folder: Path) -> dict[str, dict[str, Outcome]]:
    found: dict[str, dict[str, Outcome]] = {}
    for outcome in Run(folder).outcomes():
        found.setdefault(outcome["method"], {})[outcome["id"]] = outcome
    return found


# what they do


async def test_the_cascade_goes_where_one_written_by_hand_goes(models: Models, pair: Pair, ask: Ask) -> None:
    messages = [message for split in ("attributes", "existence") for _, message in ask(split, 8)]
    threshold, routes = 0.97, set()
    graph = build(f"cascade:threshold={threshold}", models)
    for message in messages:
        prompt = [SystemMessage(prompts.SYSTEM), with_instruction(message, prompts.SPECULATE)]
        said = await pair.speculator.ainvoke(prompt, logprobs=True, max_tokens=64, temperature=0.0)
        tokens = [t["logprob"] for t in said.response_metadata["logprobs"]["content"] if t["token"] != "<|im_end|>"]
        by_hand = "bypass" if math.exp(sum(tokens) / len(tokens)) >= threshold else "fallback"
        found = await graph.ainvoke({"messages": [message]})
        assert found["decision"]["route"] == by_hand
        answer = said.text if by_hand == "bypass" else (await asked(models, message))
        assert found["messages"][-1].text == answer
        assert found["messages"][0].content == message.content
        routes.add(by_hand)
    assert routes == {"bypass", "fallback"}


async def asked(models: Models, message: HumanMessage) -> str:
    return str((await models.agent.ainvoke({"messages": [message]}))["messages"][-1].text)


def test_a_run_holds_what_sweeps_need_and_agrees_with_the_bypass_own_scores(folder: Path) -> None:
    found = by_method(folder)
    for spec, threshold in (("cascade", RULE_OF_THUMB), ("cascade:threshold=0.97", 0.97)):
        swept = sweep(list(found["speceyes"].values()), score="log", threshold=threshold, judge_threshold=None)
        for k, (id, beside) in enumerate(found["speceyes"].items()):
            outcome = found[spec][id]
            part, other = outcome["speculator"], beside["speculator"]
            assert part is not None
            assert other is not None
            assert part["answer"] == other["answer"]
            assert part["scores"] == {"log": pytest.approx(other["scores"]["log"], abs=1e-5)}
            assert (outcome["route"] == "bypass") == swept.bypass[k]
            assert outcome["right"] == swept.right[k]
            assert (outcome["score"], outcome["threshold"], outcome["tool_need"]) == ("log", threshold, None)
            assert outcome["error"] is None
            assert set(outcome["seconds"]) == {"speculate", "total"} | (
                {"agent"} if outcome["route"] == "fallback" else set()
            )
            assert outcome["agent"] is not None
            assert outcome["agent"]["answer"] == found["agent"][id]["answer"]
            assert outcome["agent"].get("tools") == found["agent"][id]["agent"].get("tools")  # type: ignore[union-attr]
        assert 0 < swept.bypass.sum() < len(swept.bypass)


def test_the_judge_alone_returns_what_needs_no_tools_and_nothing_else(folder: Path, models: Models) -> None:
    found = by_method(folder)
    at = models.gate.judge_threshold
    assert at is not None
    swept = sweep(list(found["speceyes"].values()), score="min", threshold=1e-12, judge_threshold=at)
    for k, (id, beside) in enumerate(found["speceyes"].items()):
        outcome = found["judge-only"][id]
        assert outcome["tool_need"] == pytest.approx(beside["tool_need"], abs=1e-5)
        assert outcome["judge_threshold"] == at
        assert (outcome["route"] == "bypass") == swept.bypass[k] == (beside["decided_by"] == "gate")
        assert outcome["right"] == swept.right[k]
        assert outcome["decided_by"] == ("gate" if swept.bypass[k] else "judge")
    assert 0 < swept.bypass.sum() < len(swept.bypass)


def test_a_cascade_run_can_be_calibrated_and_its_gate_used(models: Models, tmp_path: Path) -> None:
    benchmark = Benchmark(EMBEDDED, part="calibration", limit=3, splits=("existence", "reading"))
    run = Evaluation(benchmark, ["cascade"], models, tmp_path / "run", full=True)
    outcomes = asyncio.run(run.run())
    found = calibrate_run(tmp_path / "run", method="paper").gate
    assert found is not None
    assert (found.score, found.judge_threshold) == ("log", None)
    found.save(tmp_path / "gate.json")
    graph = build(f"cascade:gate={tmp_path / 'gate.json'}", models)
    assert graph.get_name() == "cascade"
    accepted = [o["speculator"] for o in outcomes if o["speculator"]["scores"]["log"] >= found.threshold]  # type: ignore[index]
    assert all(part["right"] for part in accepted if part)


def test_the_report_shows_both_beside_the_bypass(folder: Path, models: Models) -> None:
    report = figures(load([folder]))
    rows = {row.label: row for row in report.table.rows}
    assert list(rows) == METHODS_RUN
    right = {m: {i: o["right"] for i, o in found.items()} for m, found in by_method(folder).items()}
    for name, row in rows.items():
        total = row.total
        assert total.n == total.pairs == 2 * len(SPLITS)
        assert total.lost == sum(right["agent"][i] and not right[name][i] for i in right["agent"])
        assert total.won == sum(not right["agent"][i] and right[name][i] for i in right["agent"])
        assert total.difference.value == pytest.approx((total.won - total.lost) / total.n)
        taken = [[o["seconds"]["total"] for o in by_method(folder)[m].values()] for m in ("agent", name)]
        assert total.speedup.value == pytest.approx(sum(taken[0]) / sum(taken[1]))
        assert row.mean.splits == len(SPLITS)
        if name != "agent":
            # the command's closing table says the same
            closing = overview(Run(folder).outcomes())["overall"][name]
            assert closing["speedup"] == pytest.approx(total.speedup.value)
            assert closing["speedup_mean"] == pytest.approx(row.mean.speedup.value)
    assert rows["agent"].total.bypassed.value is None
    cascade, judged = rows["cascade"].total, rows["judge-only"].total
    assert cascade.routes is not None
    assert cascade.routes.beta.value == 1
    assert cascade.routes.alpha.value == cascade.bypassed.value
    assert judged.routes is not None
    assert judged.routes.alpha.value == 1
    assert judged.routes.beta.value == judged.bypassed.value
    # the cascade's one score is no second set of speculations
    assert [one.k for one in report.scores] == [models.gate.k]


# models that are not local


def scripted(small: Scripted, agent: Agent | None = None, **changes: Any) -> Models:
    made = agent or Agent()
    return replace(Models(small, judge(0.1), made.graph.compile(), Gate(), Prompts()), **changes)


@given(st.lists(st.floats(-5, 0), min_size=1, max_size=8), st.floats(0.01, 0.99))
async def test_the_mean_probability_decides_and_the_agent_is_asked_only_behind_it(
    logprobs: list[float], threshold: float
) -> None:
    content = [{"token": "a", "logprob": value} for value in logprobs] + [{"token": "<|im_end|>", "logprob": -9.0}]
    small, agent = Scripted(answer="a a", content=content), Agent()
    graph = create_cascade(agent.graph.compile(), small, threshold=threshold).compile()
    found = await graph.ainvoke({"messages": [HumanMessage("What colour?")]})
    score = math.exp(sum(logprobs) / len(logprobs))
    if math.isclose(score, threshold):
        return
    accepted = score > threshold
    assert (found["messages"][-1].text == "a a") == accepted == (not agent.runs)
    assert found["decision"]["score"] == pytest.approx(score)
    assert found["decision"]["route"] == ("bypass" if accepted else "fallback")
    # the agent sees the question and nothing of the speculation
    assert [[m.text for m in run] for run in agent.runs] == ([] if accepted else [["What colour?"]])
    (call,) = small.calls
    assert {k: call[1][k] for k in ("logprobs", "max_tokens", "temperature")} == {
        "logprobs": True,
        "max_tokens": MAX_ANSWER_TOKENS,
        "temperature": 0.0,
    }


async def test_an_empty_answer_is_the_agents_and_a_model_without_logprobs_is_told() -> None:
    empty = Scripted(answer=" ", content=[{"token": " ", "logprob": 0.0}])
    graph = create_cascade(Agent().graph.compile(), empty, threshold=0.01).compile()
    found = await graph.ainvoke({"messages": [HumanMessage("What colour?")]})
    assert found["messages"][-1].text == "from the agent"
    with pytest.raises(MissingLogprobsError):
        mean_probability(AIMessage("blue"))


def test_the_threshold_of_another_score_is_not_taken_for_the_cascade(tmp_path: Path) -> None:
    def threshold(spec: str, gate: Gate) -> float:
        small = Scripted(content=[entry("blue", [("blue", math.log(0.95))])])
        graph = build(spec, scripted(small, gate=gate))
        result = asyncio.run(graph.ainvoke({"messages": [HumanMessage("What colour?")]}))
        return float(result["decision"]["threshold"])

    for spec in ("cascade", "cascade:threshold=0.5"):
        assert threshold(spec, Gate(threshold=0.99)) == (0.5 if "=" in spec else RULE_OF_THUMB)
    assert threshold("cascade", Gate(score="log", threshold=0.7)) == 0.7
    Gate(score="log", threshold=0.6).save(tmp_path / "log.json")
    assert threshold(f"cascade:gate={tmp_path / 'log.json'}", Gate()) == 0.6
    # one that was found for answers after a look
    at_once = Gate(score="log", threshold=0.6, depths=(0.6,), first_look="always")
    assert threshold("cascade", at_once) == RULE_OF_THUMB
    at_once.save(tmp_path / "at_once.json")
    with pytest.raises(ArgumentError, match="after a look"):
        threshold(f"cascade:gate={tmp_path / 'at_once.json'}", Gate())
    Gate().save(tmp_path / "min.json")
    with pytest.raises(ArgumentError, match="score log"):
        threshold(f"cascade:gate={tmp_path / 'min.json'}", Gate())
    for spec in ("cascade:judge=off", "cascade:k=5", "judge-only:threshold=0.5", "judge-only:judge=off"):
        with pytest.raises(ArgumentError, match="options"):
            build(spec, scripted(speculator()))
    for missing in ({"large": None}, {"judging": False}):
        with pytest.raises(ArgumentError, match="judge"):
            METHODS["judge-only"](scripted(speculator(), **missing))


@pytest.mark.parametrize(("at", "route"), [(0.2, "bypass"), (0.05, "fallback")])
async def test_the_judge_alone_has_a_threshold_and_no_gate(at: float, route: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(path)
    # no gate would accept a speculation that hardly leads
    graph = build(f"judge-only:judge_threshold={at}", scripted(speculator(gap=0.01)))
    found = await graph.ainvoke({"messages": [image_question(path, "What colour?")]})
    assert found["decision"]["route"] == route
    assert found["messages"][-1].text == ("blue" if route == "bypass" else "from the agent")

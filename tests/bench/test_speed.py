"""`speceyes bench`: its statistics, that runs do not help each other, its exact numbers, its JSON. Never how fast."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, MessagesState, StateGraph
from PIL import Image
from typer.testing import CliRunner

from langgraph_speceyes.bench import statistics
from langgraph_speceyes.bench.benchmark import Benchmark
from langgraph_speceyes.bench.chosen import embedded_models
from langgraph_speceyes.bench.datasets import Item
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.bench.speed import AIMS, KEYS, MEASUREMENTS, Bench, caches, comparison, gate, run
from langgraph_speceyes.bench.speed.figures import Figure, mean_speedup, paired, total_speedup, typical
from langgraph_speceyes.bench.speed.gate import Shape, all_logits, held_bytes, kept_numbers
from langgraph_speceyes.bench.speed.latency import AGENT, PLAIN, REJECTED, SCREENED, SPECEYES
from langgraph_speceyes.bench.speed.subjects import (
    Within,
    changed,
    counted,
    empty,
    images_decoded_whole,
    images_not_kept,
    in_turn,
    question,
    rounds,
    speceyes,
    turn,
)
from langgraph_speceyes.bench.speed.words import WORDS, words
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import ResizeRule, clear_cache, load, load_resized, parse_reference
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.questions import SPLITS
from tests.scripted import judge, speculator

SECONDS = st.floats(1e-4, 1e3)
QUICK = ("reading", "relations", "dense")
TINY = Shape(
    vocabulary=500, hidden=32, layers=4, heads=2, kv_heads=1, head_dim=16, intermediate=48, context=6, batch=2, tokens=3
)


@pytest.fixture(autouse=True, scope="module")
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 40)
        yield


@pytest.fixture(scope="module")
def models(pair: Pair) -> Models:
    return embedded_models(pair)


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    rows = Benchmark("embedded", limit=2, part="calibration").rows(tmp_path_factory.mktemp("scenes"))
    return in_turn([row for row in rows if isinstance(row, Item)])


# statistics


@given(st.lists(SECONDS, min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_a_median_lies_in_its_interval_and_the_interval_among_the_values(values: list[float]) -> None:
    found = typical(values)
    assert found.median == pytest.approx(float(np.median(values)))
    assert found.low is not None
    assert found.high is not None
    assert min(values) <= found.low <= found.high <= max(values)
    assert found.n == len(values)


@given(st.lists(SECONDS, min_size=1, max_size=30), st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_a_constant_ratio_has_no_spread_however_the_times_vary(below: list[float], ratio: float) -> None:
    found = paired([ratio * b for b in below], below)
    for value in (found.median, found.low, found.high):
        assert value == pytest.approx(ratio)


@given(st.lists(st.tuples(st.sampled_from("abc"), SECONDS, SECONDS), min_size=1, max_size=30), st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_a_speedup_is_the_mean_of_the_splits_and_does_not_depend_on_the_clock(
    rows: list[tuple[str, float, float]], unit: float
) -> None:
    splits, slow, fast = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    by_split = [
        math.fsum(r[1] for r in rows if r[0] == split) / math.fsum(r[2] for r in rows if r[0] == split)
        for split in set(splits)
    ]
    found = mean_speedup(splits, slow, fast)
    assert found.median == pytest.approx(math.fsum(by_split) / len(by_split))
    again = mean_speedup(splits, [unit * s for s in slow], [unit * s for s in fast])
    assert again.median == pytest.approx(found.median)


def test_values_that_are_not_finite_are_not_counted() -> None:
    assert typical([1.0, math.nan, 3.0]).n == 2
    assert paired([1.0, 2.0], [0.0, 1.0]) == Figure(2.0, 2.0, 2.0, 1)
    assert typical([]).reason
    assert mean_speedup([], [], []).median is None


@given(st.integers(1, 6))
def test_in_a_full_cycle_each_comes_before_each_other_equally_often(count: int) -> None:
    names = [str(k) for k in range(count)]
    orders = [turn(names, number) for number in range(2 * count)]
    for order in orders:
        assert sorted(order) == names
    for one in names:
        for two in names:
            if one != two:
                assert sum(order.index(one) < order.index(two) for order in orders) == count


def test_the_splits_come_in_turn(items: list[Item]) -> None:
    splits = [item.split for item in items]
    assert splits[: len(SPLITS)] == splits[len(SPLITS) :]
    assert set(splits) == set(SPLITS)


# isolation


async def test_no_run_profits_from_the_one_before(models: Models, items: list[Item]) -> None:
    """Whichever goes first, each computes the same prompt tokens, from nothing."""
    graphs = {AGENT: (models.agent, models), SPECEYES: (speceyes(models), models)}
    same = [items[0], items[0], items[3], items[3]]
    found = await rounds(graphs, same)
    assert [next(iter(runs)) for runs in found] == [AGENT, SPECEYES, SPECEYES, AGENT]
    for runs in found:
        assert all(run.held == 0 and run.error is None for run in runs.values())
    for one, two in ((found[0], found[1]), (found[2], found[3])):
        for name in graphs:
            assert (one[name].prefilled, one[name].reused) == (two[name].prefilled, two[name].reused)
            assert one[name].prefilled > 0


async def test_the_first_call_after_clearing_finds_nothing(models: Models, items: list[Item]) -> None:
    assert models.large is not None
    message = question(items[0])
    await models.large.ainvoke([message])
    empty(models)
    assert counted(models)[2] == 0
    cached = []
    for _ in range(2):
        answer = await models.large.ainvoke([message])
        assert answer.usage_metadata is not None
        cached.append(answer.usage_metadata["input_token_details"]["cache_read"])
    assert cached[0] == 0 < cached[1]


async def test_what_is_switched_off_is_off_and_answers_stay_the_same(models: Models, items: list[Item]) -> None:
    messages = {"messages": [question(items[0])]}
    answer = (await models.agent.ainvoke(messages))["messages"][-1].text
    for settings_, keeps in (
        ({"prefixes": False}, (True, False)),
        ({"features": False}, (False, True)),
        ({"prefixes": False, "features": False}, None),
    ):
        own = changed(models, **settings_)
        assert isinstance(own, Models)
        assert (await own.agent.ainvoke(messages))["messages"][-1].text == answer
        assert own.large is not models.large
        decoder = own.large._engine.decoder  # type: ignore[union-attr]
        assert (decoder is None) == (keeps is None)
        if keeps is not None:
            assert (decoder.features.held > 0, decoder.prefixes.held > 0) == keeps
    single = changed(models, batching=False)
    assert isinstance(single, Models)
    assert single.large.batch_size == 1  # type: ignore[union-attr]


async def test_images_are_not_kept_or_decoded_whole_only_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (2400, 2400), "red").save(path)

    async def look(_: Any) -> list[Any]:
        rule = ResizeRule(factor=28, min_pixels=56 * 56, max_pixels=120 * 120)
        return [load_resized(str(path), rule) for _ in range(2)] + [
            load._CACHE.find(f"{parse_reference(str(path)).source_key} 1/4")
        ]

    seen = RunnableLambda(lambda _: [], afunc=look)
    for context, kept, small in (
        (None, True, True),
        (images_not_kept, False, False),
        (images_decoded_whole, True, False),
    ):
        clear_cache()
        graph = Within(seen, context) if context else seen
        one, two, quarter = await graph.ainvoke({})
        assert (one is two) == kept
        assert (quarter is not None) == small
    assert load_resized(str(path), ResizeRule(28, 56 * 56, 120 * 120)) is one


# the gate at size


def test_the_sizes_of_the_papers_setting_are_exact() -> None:
    assert all_logits(Shape()) == 8 * 20 * 151_936 * 4 == 97_239_040
    assert kept_numbers(Shape()) == 8 * 20 * 65 * 8 == 83_200


def test_held_bytes_counts_each_object_once_and_the_data_of_arrays() -> None:
    import sys

    text = "a" * 1000
    assert held_bytes([text, text]) == sys.getsizeof([1, 2]) + sys.getsizeof(text)
    array = np.zeros(1000)
    assert held_bytes(array) == sys.getsizeof(array)
    assert held_bytes(array[:1]) >= array.nbytes
    tensor = torch.zeros(1000)
    assert held_bytes(tensor) == sys.getsizeof(tensor) + 4000
    assert held_bytes(tensor[:1]) >= 4000


async def test_what_the_gate_keeps_does_not_grow_with_the_vocabulary(models: Models) -> None:
    found = [
        await gate.measure(Bench(models, [], quick=True), Shape(**{**vars(TINY), "vocabulary": size, "k": 8}))
        for size in (500, 5000)
    ]
    kept = [part.details["kept_bytes"] for part in found]
    # ten times the vocabulary; ids below 257 are objects that Python shares
    assert kept[0] == pytest.approx(kept[1], rel=0.25)
    ratio = found[1].figures["gate_memory_ratio"].median
    assert ratio == kept[1] / (2 * 3 * 5000 * 4)
    assert found[0].figures["gate_time_share"].median > 0  # type: ignore[operator]


# the whole


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real size takes gigabytes."""
    measure: Callable[..., Any] = gate.measure
    monkeypatch.setitem(MEASUREMENTS, "gate", (lambda bench: measure(bench, TINY), gate.KEYS))


def test_every_key_has_words_and_every_aim_a_key() -> None:
    assert set(WORDS) == set(KEYS)
    assert set(AIMS) < set(KEYS)
    assert len(KEYS) == len(set(KEYS))
    for key in KEYS:
        # no speed-up without saying which
        said = ("total time", "mean of 5 splits", "split dense")
        assert "speedup" not in key or any(which in words(key, 5) for which in said)


@given(st.lists(st.tuples(st.sampled_from("abc"), SECONDS, SECONDS), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None)
def test_total_time_is_the_ratio_of_sums_whatever_the_splits(rows: list[tuple[str, float, float]]) -> None:
    slow, fast = [r[1] for r in rows], [r[2] for r in rows]
    found = total_speedup(slow, fast)
    assert found.median == pytest.approx(math.fsum(slow) / math.fsum(fast))
    if len({r[0] for r in rows}) == 1:
        mean = mean_speedup([r[0] for r in rows], slow, fast)
        assert (mean.median, mean.low, mean.high) == pytest.approx((found.median, found.low, found.high))


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """A quick run of everything on the embedded pair, on the families that take least: what it prints and keeps."""
    out = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        measure: Callable[..., Any] = gate.measure
        patch.setitem(MEASUREMENTS, "gate", (lambda bench: measure(bench, TINY), gate.KEYS))
        patch.setattr(caches, "WIDE", 2)
        arguments = ["bench", "--quick", "--questions", "1", "--stream", "24", "--json", "--out", str(out)]
        arguments += [word for split in QUICK for word in ("--split", split)]
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), json.loads((out / "speed.json").read_text()), out


def test_the_json_has_exactly_the_keys_and_positive_figures(printed: tuple[dict[str, Any], Any, Path]) -> None:
    figures, kept, _ = printed
    assert list(kept["figures"]) == list(figures)
    assert set(figures) == {
        *("speceyes_over_cascade", "speceyes_over_judge_only", "speedup_total", "speedup_plain_total"),
        *("gate_off_ratio_judge", "gate_off_ratio_all", "speedup_plain", "speedup_cached", "speedup_dense"),
        *("throughput_over_agent", "throughput_over_limit", "batched_decode_ratio", "prefill_share", "overhead_ms"),
        *("gate_python_ms", "gate_time_share", "gate_memory_ratio"),
    }
    for key, figure in figures.items():
        assert set(figure) == {"median", "low", "high", "n"}, key
        assert 0 < figure["low"] <= figure["median"] <= figure["high"] < math.inf, key
        assert figure["n"] >= 1
    # SpecEyes alone in total time comes before the mean, and the agent at the same concurrency before the limit
    order = list(figures)
    assert order.index("speedup_total") < order.index("speedup_cached")
    assert order.index("throughput_over_agent") < order.index("throughput_over_limit")


def test_the_comparison_runs_all_of_them_on_questions_that_chose_no_threshold(printed: tuple[Any, Any, Path]) -> None:
    found = printed[1]["details"]["comparison"]
    assert list(found["methods"]) == ["agent", "speceyes", "judge-only", "cascade"]
    # so few questions can promise nothing
    assert found["rule"] == "paper"
    assert len(found["questions"]) == len(QUICK)
    for row in found["questions"]:
        assert row["id"].startswith("test/")
        runs = row["runs"]
        assert set(runs) == set(found["methods"])
        assert {run["held"] for run in runs.values()} == {0}
        assert "phases" not in runs["agent"]
        assert "judge" not in runs["cascade"]["phases"]
        assert "judge" in runs["judge-only"]["phases"]
    assert len({next(iter(row["runs"])) for row in found["questions"]}) > 1
    for name in ("speceyes", "judge-only", "cascade"):
        one = found["methods"][name]
        assert one["calibrated"]["questions"] == len(QUICK)
        assert one["accuracy"]["value"] == pytest.approx(sum(r["right"][name] for r in found["questions"]) / len(QUICK))
    page = (printed[2] / "speed.md").read_text()
    assert "SpecEyes against simpler things" in page
    assert page.index("total time") < page.index(f"mean of {len(QUICK)} splits")


async def test_questions_whose_images_chose_a_threshold_are_not_measured(models: Models, items: list[Item]) -> None:
    found = await comparison.measure(Bench(models, items[:4], calibration=lambda: items[2:4]))
    assert {row["id"] for row in found.details["questions"]} == {item.id for item in items[:2]}
    for bench in (Bench(models, items[:4]), Bench(models, items[:2], calibration=lambda: items[:4])):
        left = await comparison.measure(bench)
        assert set(left.figures) == set(comparison.KEYS)
        assert all(figure.reason for figure in left.figures.values())


def test_every_way_went_where_it_was_meant_to(printed: tuple[Any, dict[str, Any], Path]) -> None:
    found = printed[1]["details"]["latency"]
    assert found["failed"] == 0
    assert len(found["questions"]) == len(QUICK)
    for row in found["questions"]:
        runs = row["runs"]
        assert set(runs) == {PLAIN, AGENT, SPECEYES, SCREENED, REJECTED}
        assert runs[SCREENED]["decision"]["decided_by"] == "judge"
        assert runs[REJECTED]["decision"]["decided_by"] == "gate"
        assert runs[SCREENED]["decision"]["route"] == runs[REJECTED]["decision"]["route"] == "fallback"
        assert runs[PLAIN]["reused"] == 0
        assert {run["held"] for run in runs.values()} == {0}
        assert all(run["cpu_s"] > 0 for run in runs.values())
        # the judge's prompt is the agent's beginning
        assert runs[SCREENED]["reused"] > runs[AGENT]["reused"]


def test_the_stream_keeps_its_order_and_memory_is_sampled_at_quarters(printed: tuple[Any, Any, Path]) -> None:
    found = printed[1]["details"]["stream"]
    assert found["order_kept"]
    assert found["failed"] == 0
    assert [s["queries"] for s in found["quarters"]] == [6, 12, 18, 24]
    assert all(s["rss_mib"] > 0 for s in found["quarters"])


def test_plots_are_drawn_and_shown_on_a_page(printed: tuple[Any, Any, Path]) -> None:
    for name in ("comparison", "latency-routes", "speedups", "throughput", "switches", "stream"):
        for ending in ("png", "svg"):
            assert (printed[2] / f"{name}.{ending}").stat().st_size > 1000
        assert f"({name}.png)" in (printed[2] / "speed.md").read_text()


def test_only_what_is_asked_for_is_measured_and_shown(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "--quick", "--only", "gate_memory_ratio", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert list(figures) == list(KEYS)
    for key, figure in figures.items():
        if key.startswith("gate_") and "off" not in key:
            assert figure["median"] > 0
        else:
            assert figure == {"median": None, "low": None, "high": None, "n": 0, "reason": "not asked for"}
    shown = CliRunner().invoke(app, ["bench", "--quick", "--only", "gate"], env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert shown.exit_code == 0, shown.output
    assert "gate_memory_ratio" in shown.stdout
    assert "speedup_plain" not in shown.stdout
    wrong = CliRunner().invoke(app, ["bench", "--only", "speed"])
    assert wrong.exit_code == 2
    assert "only" in wrong.stderr


# models that are not local


def scripted_models() -> Models:
    def act(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("from the agent")]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("act", act)
    graph.add_edge(START, "act")
    graph.add_edge("act", END)
    return Models(speculator(), judge(0.1), graph.compile(), Gate(), Prompts())


def test_what_needs_local_models_is_left_out_with_its_reason() -> None:
    names = [name for name in MEASUREMENTS if name not in ("gate", "stream")]
    measured = asyncio.run(run(scripted_models(), Benchmark("embedded"), only=names, questions=1, quick=True))
    found = measured.to_dict()
    assert list(found) == list(KEYS)
    for key in (
        "speedup_plain_total",
        "speedup_plain",
        "gate_off_ratio_judge",
        "gate_off_ratio_all",
        "batched_decode_ratio",
        "prefill_share",
    ):
        assert found[key]["median"] is None
        assert "LocalChatModel" in found[key]["reason"]
    for key in ("speedup_total", "speedup_cached", "speedup_dense", "overhead_ms", "throughput_over_agent"):
        assert found[key]["median"] > 0
    # every question is accepted
    assert "no limit" in found["throughput_over_limit"]["reason"]


def test_numbers_below_one_are_refused() -> None:
    for options in ({"questions": 0}, {"stream": 0}):
        with pytest.raises(ArgumentError):
            asyncio.run(run(scripted_models(), **options))

"""`speceyes report`: its numbers against ones worked out by hand, and its page."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from langgraph_speceyes.bench import statistics
from langgraph_speceyes.bench.demo import summary
from langgraph_speceyes.bench.report import figures, write_report
from langgraph_speceyes.bench.report.cases import timeline
from langgraph_speceyes.bench.report.data import Loaded, busy_shares, judges_second, load
from langgraph_speceyes.bench.report.scores import aurc, calibration_error, density, log_odds, risks
from langgraph_speceyes.bench.report.series import series, sweeps
from langgraph_speceyes.bench.report.table import cell, shares_of, table
from langgraph_speceyes.bench.runs import Outcome, Run, picture_name
from langgraph_speceyes.bench.statistics import Estimate, drawn_means, estimate, mean_of, means, share, sums
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError, MissingExtraError

RIGHT, WRONG = True, False


@pytest.fixture(autouse=True, scope="module")
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 200)
        yield


def answered(method: str, id: str, right: bool, seconds: float | dict[str, float] = 1.0, **more: Any) -> Outcome:
    """An outcome of a method that decides nothing."""
    times = seconds if isinstance(seconds, dict) else {"total": seconds}
    found: dict[str, Any] = {
        "method": method,
        "id": id,
        "split": "a",
        "group": "",
        "question": f"What is {id}?",
        "expected": "red",
        "letter": "",
        "image": "",
        "answer": "red" if right else "blue",
        "right": right,
        "reason": "",
        "read": "red" if right else "blue",
        "rule": "free_form",
        "route": None,
        "decided_by": None,
        "tool_need": None,
        "judge_threshold": None,
        "score": None,
        "threshold": None,
        "speculator": None,
        "agent": None,
        "seconds": times,
        "tokens": {},
        "began": 0.0,
        "trouble": None,
        "error": None,
    }
    return {**found, **more}  # type: ignore[return-value]


def part(right: bool, seconds: float, score: float | None = None, k: int = 64) -> dict[str, Any]:
    found: dict[str, Any] = {"answer": "red" if right else "blue", "right": right, "seconds": seconds}
    found |= {"error": None, "tokens": {"input": 0, "output": 0}}
    if score is None:
        return found
    return found | {"scores": dict.fromkeys(("min", "mean", "bottom", "log"), score), "k": k}


def decided(
    id: str,
    by: str,
    route: str,
    *,
    score: float = 0.9,
    small: bool = RIGHT,
    large: bool = RIGHT,
    full: bool = True,
    method: str = "speceyes",
    k: int = 64,
    **more: Any,
) -> Outcome:
    """An outcome of a bypass: 0.1 s to judge, 0.2 to speculate, 2 for the agent."""
    seconds = {"judge": 0.1}
    if by != "judge":
        seconds |= {"speculate": 0.19, "gate": 0.01}
    if route == "fallback":
        seconds["agent"] = 2.0
    right = small if route == "bypass" else large
    asked = full or by != "judge"
    return answered(
        method,
        id,
        right,
        **{
            "route": route,
            "decided_by": by,
            "tool_need": 0.9 if by == "judge" else 0.1,
            "judge_threshold": 0.5,
            "score": "min",
            "threshold": 0.8,
            "speculator": part(small, 0.2, score, k) if asked else None,
            "agent": part(large, 2.0) if full or route == "fallback" else None,
            "seconds": {**seconds, "total": sum(seconds.values())},
            **more,
        },
    )


def manifest(outcomes: Sequence[Outcome], **more: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "command": ["speceyes", "eval", "own"],
        "benchmark": {"name": "own"},
        "methods": list(dict.fromkeys(o["method"] for o in outcomes)),
        "models": {"speculator": {"id": "s"}, "large": {"id": "l"}, "agent": "agent"},
        "prompts": "0",
        "gate": {"score": "min", "threshold": 0.8, "k": 64},
        "concurrency": 1,
        "full": True,
        "versions": {"python": "3.11"},
        "hardware": {"processor": "one <b>core</b>"},
        **more,
    }


def written(folder: Path, outcomes: Sequence[Outcome], **more: Any) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest(outcomes, **more)))
    run = Run(folder)
    for outcome in outcomes:
        run.append(outcome)
    return folder


def loaded(outcomes: Sequence[Outcome], name: str = "run", **more: Any) -> Loaded:
    return Loaded(name, Path("nowhere"), manifest(outcomes, **more), list(outcomes))


# ----------------------------------------------------------------------------------------------------------------------
# Numbers


def test_a_cell_pairs_questions_and_counts_what_failed_as_wrong() -> None:
    agent = [answered("agent", f"{k}", k != 2, s) for k, s in enumerate((4.0, 2.0, 6.0))]
    mine = [answered("m", f"{k}", k != 0, s) for k, s in enumerate((1.0, 2.0, 3.0))]
    mine += [
        # neither is paired: one the agent has not been asked, one that could not be run
        answered("m", "alone", RIGHT, 100.0),
        answered("m", "bad", WRONG, rule="bad_row", error="no image", seconds={}, read=None),
        answered("m", "failed", WRONG, 1.0, error="TimeoutError", read=None, answer=None),
        answered("m", "unclear", WRONG, 1.0, read=None),
    ]
    run = loaded([*agent, *mine])
    found = cell(mine, agent, shares_of(run))
    assert (found.n, found.pairs, found.errors, found.bad_rows, found.unanswered) == (7, 3, 1, 1, 1)
    assert found.accuracy == share([False, True, True, True, False, False, False])
    assert found.speedup.value == pytest.approx(12 / 6)
    # of the three pairs the agent has two right and so has the method
    assert found.difference.value == pytest.approx(0.0)
    assert found.seconds.value == pytest.approx((1 + 2 + 3 + 100 + 1 + 1) / 6)
    assert found.speedup.low is not None
    assert found.speedup.low < 2 < found.speedup.high


def test_beta_alpha_and_the_predicted_latency() -> None:
    agent = [answered("agent", f"{k}", RIGHT, 2.0) for k in range(10)]
    mine = [decided(f"{k}", "judge", "fallback") for k in range(4)]
    mine += [decided(f"{k}", "gate", "bypass") for k in range(4, 7)]
    mine += [decided(f"{k}", "gate", "fallback") for k in (7, 8)]
    mine += [decided("9", "speculate", "fallback", trouble="TimeoutError")]
    found = cell(mine, agent, shares_of(loaded([*agent, *mine]))).routes
    assert found is not None
    assert (found.beta.value, found.alpha.value, found.trouble) == (pytest.approx(0.6), pytest.approx(0.5), 1)
    assert (found.judge_s, found.speculate_s, found.agent_s) == pytest.approx((0.1, 0.2, 2.0))
    assert cell(agent, agent, shares_of(loaded(agent))).routes is None


def costly(id: str, by: str, route: str, seconds: dict[str, float]) -> Outcome:
    """An outcome between whose phases there is time, too."""
    return decided(id, by, route, seconds={**seconds, "total": sum(seconds.values()) + 0.01 * len(seconds)})


def test_the_formula_has_all_costs_and_the_agent_where_it_answered() -> None:
    kinds = [
        ("gate", "bypass", {"intake": 0.03, "judge": 0.1, "speculate": 0.2, "gate": 0.01}),
        ("judge", "fallback", {"intake": 0.05, "judge": 0.1, "agent": 3.0}),
        ("gate", "fallback", {"intake": 0.03, "judge": 0.1, "speculate": 0.3, "gate": 0.01, "agent": 2.0}),
    ]
    mine = [costly(f"{k}", *kinds[k % 3]) for k in range(30)]
    agent = [answered("agent", o["id"], RIGHT, o["seconds"].get("agent", 1.0)) for o in mine]
    took = np.asarray([o["seconds"]["total"] for o in mine])
    # with the means of one half the formula is that half's own mean, and it is held against the other's
    one, other = np.array_split(np.random.default_rng(0).permutation(len(mine)), 2)
    routes = cell(mine, agent, shares_of(loaded([*agent, *mine]))).routes
    assert routes is not None
    assert (routes.predicted_s, routes.measured_s) == pytest.approx((took[one].mean(), took[other].mean()))
    assert routes.agent_s == pytest.approx(2.51)
    # the agent alone takes as long as behind the bypass but for what is between the phases
    assert summary([*agent, *mine])["predicted_latency_s"] == pytest.approx(took.mean(), abs=0.01)


def test_a_judge_that_comes_second_has_no_beta() -> None:
    mine = [decided("0", "gate", "bypass"), decided("1", "judge", "fallback")]
    assert not judges_second(mine)
    rejected = decided("2", "gate", "fallback", seconds={"speculate": 0.2, "agent": 2.0, "total": 2.2})
    assert judges_second([*mine, rejected])
    run = loaded([*mine, rejected])
    assert table([run]).rows[0].cells["own / a"].routes is None
    assert sweeps(run)[0] is None
    assert any("before it judges" in sentence for sentence in figures([run]).missing["table"])


def test_throughput_is_over_busy_time_only() -> None:
    # 0..4 and 2..6 overlap, then nothing until 10..11: busy for 7 of 11 seconds
    shares = busy_shares([0.0, 2.0, 10.0], [4.0, 4.0, 1.0])
    assert shares.tolist() == pytest.approx([3.0, 3.0, 1.0])
    times = [(1e9 + b, s) for b, s in ((0.0, 4.0), (2.0, 4.0), (10.0, 1.0))]
    mine = [answered("m", f"{k}", RIGHT, s, began=b) for k, (b, s) in enumerate(times)]
    agent = [answered("agent", f"{k}", RIGHT, 7.0, began=1e9 + 20 + 9 * k) for k in range(3)]
    found = cell(mine, agent, shares_of(loaded([*agent, *mine])))
    assert found.throughput == pytest.approx(3 / 7)
    assert found.throughput_speedup.value == pytest.approx(21 / 7)
    assert found.speedup.value == pytest.approx(21 / 9)
    assert busy_shares([], []).size == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 8)), min_size=1, max_size=12))
@settings(deadline=None)
def test_shares_of_busy_time_add_up_to_the_union(times: list[tuple[int, int]]) -> None:
    shares = busy_shares([b for b, _ in times], [s for _, s in times])
    union = {second for b, s in times for second in range(b, b + s)}
    assert shares.sum() == pytest.approx(len(union))
    for share_of, (_, s) in zip(shares, times, strict=True):
        assert 0 <= share_of <= s + 1e-9


def test_the_mean_over_splits_is_unweighted_and_runs_of_one_setting_share_a_row() -> None:
    one = [
        answered(m, f"{k}", k < 9 or m == "m", 2.0 if m == "agent" else 1.0) for m in ("agent", "m") for k in range(10)
    ]
    two = [answered(m, "0", m == "agent", 3.0 if m == "agent" else 1.0, split="b") for m in ("agent", "m")]
    runs = [loaded(one, "first"), loaded(two, "second", benchmark={"name": "/data/other"})]
    found = table(runs)
    assert found.columns == [("own", "a"), ("other", "b")]
    assert [(row.label, row.runs) for row in found.rows] == [(m, ["first", "second"]) for m in ("agent", "m")]
    mean = found.rows[1].mean
    assert (mean.splits, mean.accuracy.value) == (2, pytest.approx(0.5))
    assert mean.speedup.value == pytest.approx((2 + 3) / 2)
    assert mean.difference.value == pytest.approx((0.1 - 1) / 2)
    total = found.rows[1].total
    assert (total.n, total.lost, total.won) == (11, 1, 1)
    assert total.speedup.value == pytest.approx((10 * 2 + 3) / (10 * 1 + 1))
    assert total.difference.value == 0
    # other settings, or the same split once more, are other rows
    for more in ({"concurrency": 4}, {"models": {}}, {"benchmark": {"name": "own"}}):
        slow = table([runs[0], loaded(one if "benchmark" in more else two, "third", **more)])
        assert [row.label for row in slow.rows] == ["agent · first", "m · first", "agent · third", "m · third"]


def test_the_interval_of_a_mean_adds_up_like_independent_errors() -> None:
    one, two = share([True] * 10), share([True, False] * 5)
    found = mean_of([one, two])
    assert found.value == pytest.approx(0.75)
    assert found.high == pytest.approx(0.75 + (two.high - 0.5) / 2)
    assert found.low == pytest.approx(0.75 - math.hypot(1 - one.low, 0.5 - two.low) / 2)
    assert mean_of([one, Estimate(None, None, None, 0)]).value is None


def test_rotations_of_a_question_are_drawn_together() -> None:
    right = np.repeat([1.0, 0.0, 1.0, 0.0, 0.0], 4)
    groups = [f"q{k // 4}" for k in range(20)]
    together, apart = sums([right], groups), sums([right])
    assert together.tolist() == [[4, 4], [0, 4], [4, 4], [0, 4], [0, 4]]
    assert means(together) == pytest.approx(means(apart))
    assert drawn_means(together).std() > 1.5 * drawn_means(apart).std()
    # what has no group stands alone
    assert len(sums([right], [*groups[:16], "", "", "", ""])) == 8


def test_a_bootstrap_covers_and_draws_columns_together() -> None:
    rng = np.random.default_rng(1)
    slow = rng.uniform(2, 4, 300)
    same = estimate(lambda m: m[..., 1] / m[..., 0], [sums([slow, 2 * slow])])
    assert (same.value, same.low, same.high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))
    found = estimate(lambda m: m[..., 0], [sums([slow])])
    half = 1.96 * slow.std() / math.sqrt(300)
    assert found.low == pytest.approx(slow.mean() - half, abs=0.3 * half)
    assert found.high == pytest.approx(slow.mean() + half, abs=0.3 * half)
    assert estimate(lambda m: m[..., 0], [sums([[1.0]])]) == Estimate(1.0, None, None, 1)
    assert estimate(lambda m: m[..., 0] / m[..., 1], [sums([[1.0], [0.0]])]).value is None


def test_aurc_by_hand() -> None:
    scores, right = np.array([0.7, 0.9, 0.6, 0.8]), np.array([True, True, False, False])
    # by score: right, wrong, right, wrong
    assert risks(scores, right).tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert aurc(scores, right) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    # a score that says nothing has the share wrong, whatever the order
    assert aurc(np.ones(4), right) == pytest.approx(0.5)
    assert aurc(np.array([0.9, 0.5, 0.5]), np.array([True, False, True])) == pytest.approx((0 + 1 / 4 + 1 / 3) / 3)


def test_the_calibration_error_by_hand() -> None:
    scores, right = np.array([0.95, 0.95, 0.05]), np.array([True, False, False])
    assert calibration_error(scores, right) == pytest.approx(2 / 3 * 0.45 + 1 / 3 * 0.05)
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0.0
    # in one bin they cancel out, in two they do not
    assert calibration_error(np.array([0.4, 0.6]), np.array([True, False]), bins=1) == pytest.approx(0.0)
    assert calibration_error(np.array([0.4, 0.6]), np.array([True, False]), bins=2) == pytest.approx(0.6)


def test_densities_have_their_peaks_where_the_scores_are() -> None:
    rng = np.random.default_rng(0)
    odds = np.concatenate([rng.normal(5, 0.5, 400), rng.normal(2, 0.5, 400)])
    right = np.arange(800) < 400
    found = density(1 / (1 + np.exp(-odds)), right)
    assert found is not None
    assert found.distance == pytest.approx(3, abs=0.4)
    assert log_odds(found.peak_right) - log_odds(found.peak_wrong) == pytest.approx(found.distance)
    step = found.grid[1] - found.grid[0]
    assert sum(found.right) * step == pytest.approx(1, abs=0.02)
    assert density(np.full(20, 0.9), right[390:410]) is None
    assert density(np.linspace(0.1, 0.9, 8), np.arange(8) < 4) is None
    assert math.isfinite(log_odds(1.0))


def test_a_sweep_runs_from_everything_the_judge_lets_pass_to_nothing() -> None:
    rows = [
        decided("0", "gate", "bypass", score=0.9, small=RIGHT, large=WRONG),
        decided("1", "gate", "fallback", score=0.5, small=WRONG, large=RIGHT),
        decided("2", "judge", "fallback", score=0.7, small=WRONG, large=RIGHT),
    ]
    found, why = sweeps(loaded(rows))
    assert found is not None
    assert (why, found.threshold, found.judge_threshold) == ("", 0.8, 0.5)
    assert (found.agent, found.speculator) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    one = found.scores["min"]
    assert one.bypassed[0] == pytest.approx(2 / 3)
    assert one.bypassed[-1] == 0.0
    assert one.accuracy.value[0] == pytest.approx(2 / 3)
    assert one.accuracy.value[-1] == pytest.approx(2 / 3)
    # between the two scores only the right one is accepted
    at = one.thresholds.index(0.9)
    assert one.accuracy.value[at] == pytest.approx(1.0)
    # judged 3 x 0.1, speculated 2 x 0.2; agent for all, or for the one that was screened
    assert one.speedup.value[-1] == pytest.approx(6 / (0.3 + 0.4 + 6))
    assert one.speedup.value[0] == pytest.approx(6 / (0.3 + 0.4 + 2))
    for lacking in ([], rows):
        assert sweeps(loaded([*lacking, decided("3", "judge", "fallback", full=False)]))[0] is None


def test_series_over_concurrency_batch_size_and_k() -> None:
    rows = [answered("agent", "0", RIGHT, 2.0), decided("0", "gate", "bypass")]
    runs = [loaded(rows, f"c{c}", concurrency=c, batch_size=8) for c in (4, 1)]
    (found,) = series(runs)
    assert found.over == "concurrency"
    assert {line.label: [p.x for p in line.points] for line in found.lines} == {
        "agent (batch 8)": [1, 4],
        "speceyes (batch 8, K 64)": [1, 4],
    }
    assert found.lines[1].points[0].throughput_speedup.value == pytest.approx(2 / 0.3)
    (found,) = series([loaded(rows, "a", batch_size=1), loaded(rows, "b", batch_size=16)])
    assert (found.over, [p.x for p in found.lines[0].points]) == ("batch size", [1, 16])
    (found,) = series([loaded(rows, f"k{k}", gate={"score": "min", "k": k}) for k in (64, 16)])
    assert [(found.over, line.label, [p.x for p in line.points]) for line in found.lines] == [
        ("K", "speceyes", [16, 64])
    ]
    inside = [*rows, decided("0", "gate", "bypass", method="speceyes:k=32", k=32)]
    assert [p.x for p in series([loaded(inside)])[0].lines[0].points] == [32, 64]
    other = loaded(rows, "other", concurrency=4, batch_size=8, benchmark={"name": "other"})
    assert series([runs[1], other]) == []


def test_popes_and_hr_benchs_figures() -> None:
    said = [("yes", "yes"), ("yes", "no"), ("no", "yes"), ("no", "no"), ("yes", None)]
    pope = [
        answered("m", f"{k}", gold == read, expected=gold, read=read, rule="yes_no", split="pope")
        for k, (gold, read) in enumerate(said)
    ]
    turns = [answered("m", f"r{k}", k != 5, split="hr", group=f"q{k // 4}", rule="multiple_choice") for k in range(8)]
    pope.append(answered("m", "bad", WRONG, rule="bad_row", expected="", read=None, split="pope", seconds={}))
    mixed = [answered("m", f"x{k}", RIGHT, split="mixed", rule=rule) for k, rule in enumerate(("yes_no", "free_form"))]
    found = table([loaded([*pope, *turns, *mixed])])
    (yes,), (cycle,) = found.yes_no, found.cycles
    assert (yes.column, yes.figures.precision, yes.figures.recall) == ("own / pope", 1 / 2, pytest.approx(1 / 3))
    assert yes.f1.value == pytest.approx(2 / 5)
    assert yes.figures.f1 == pytest.approx(2 / 5)
    # a bad row counts, as answered by nothing
    assert (yes.figures.yes_ratio, yes.figures.unanswered) == (2 / 6, 2)
    assert (cycle.column, cycle.figures.mean, cycle.all_right.value, cycle.figures.groups) == (
        "own / hr",
        7 / 8,
        0.5,
        2,
    )


# ----------------------------------------------------------------------------------------------------------------------
# The page

EVIL = "</dd><script>alert(1)</script><img src=http://evil.example/x.png> | `code`"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    rows = []
    for k in range(14):
        by, route = ("judge", "fallback") if k % 3 == 0 else ("gate", "bypass" if k % 2 else "fallback")
        shown = {"question": EVIL} if k == 1 else {}
        rows.append(answered("agent", f"{k}", k % 5 != 0, 2.0 + 0.1 * k, began=4.0 * k))
        rows.append(
            decided(f"{k}", by, route, score=0.8 + 0.01 * k, small=k % 4 != 1, large=k % 5 != 0, began=4.0 * k, **shown)
        )
    run = written(folder / "run", rows)
    (run / "pictures").mkdir()
    Image.new("RGB", (600, 300), "red").save(run / "pictures" / picture_name("1"))
    # broken off while it was written
    (run / "pictures" / picture_name("5")).write_bytes(b"\xff\xd8\xff")
    write_report([run, written(folder / "c4", rows, concurrency=4)], folder / "out")
    return folder / "out"


def test_the_page_needs_nothing_else(report: Path) -> None:
    page = (report / "report.html").read_text()
    attributes = _attributes(page)
    loading = ("src", "href", "xlink:href", "action", "data", "poster", "srcset")
    for name, value in attributes:
        assert name not in loading or value.startswith(("#", "data:image/jpeg;base64,")), value
        assert not name.startswith("on")
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page
    assert "<link" not in page
    assert "<script" not in page
    assert page.count("<svg") >= 6
    ids = [value for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for used in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert used in ids
    assert "currentColor" in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def _attributes(page: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "iframe", "object", "embed", "base")
            found.extend((name, value or "") for name, value in attrs)

    Reader().feed(page)
    return found


def test_markup_in_questions_is_text(report: Path) -> None:
    page, text = (report / "report.html").read_text(), (report / "report.md").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "one &lt;b&gt;core&lt;/b&gt;" in page
    assert "<script" not in text.replace("\\<", "")
    (line,) = [line for line in text.splitlines() if "alert" in line]
    assert line.startswith("| 3 |")
    # its bar and its backticks do not end a cell or begin code
    assert "\\| \\`code\\`" in line


def test_every_plot_is_there_as_png_and_svg(report: Path) -> None:
    text, names = (report / "report.md").read_text(), {p.stem for p in report.glob("*.png")}
    kinds = ("accuracy-speedup", "selective-run", "thresholds-run", "trade-run", "concurrency-own", "timeline-c4")
    for kind in kinds:
        assert any(name.startswith(kind) for name in names), kind
    assert names == {p.stem for p in report.glob("*.svg")}
    for linked in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        with Image.open(report / linked) as picture:
            picture.verify()


def test_the_mistakes_are_shown_highest_score_first(report: Path) -> None:
    found = json.loads((report / "report.json").read_text())["mistakes"]
    bypass, fallback = found
    assert (bypass["route"], fallback["route"]) == ("bypass", "fallback")
    # accepted (odd, not a third) and wrong (one more than a multiple of four)
    assert [m["id"] for m in bypass["shown"]] == ["13", "5", "1"]
    assert (bypass["total"], bypass["of"]) == (3, 5)
    assert [m["id"] for m in fallback["shown"]] == ["10", "0"]
    page = (report / "report.html").read_text()
    # one picture can be shown, one is broken, the others were not kept
    assert page.count("data:image/jpeg;base64,") == 1
    with Image.open(report / "mistakes-run-bypass.jpg") as sheet:
        red, green, _ = sheet.getpixel((8 + 2 * 264 + 128, 8 + 128))  # type: ignore[misc]
    assert red > 200 > 60 > green


def test_json_holds_the_same_numbers(report: Path) -> None:
    found = json.loads((report / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    rows = {row["label"]: row for row in found["table"]["rows"]}
    cell_of = rows["speceyes · run"]["cells"]["own / a"]
    taken = sum({"judge": 2.1, "bypass": 0.3, "reject": 2.3}[_kind(k)] for k in range(14))
    assert cell_of["speedup"]["value"] == pytest.approx(sum(2 + 0.1 * k for k in range(14)) / taken)
    page = (report / "report.html").read_text()
    assert f"{cell_of['speedup']['value']:.2f}" in page
    assert [one["name"] for one in found["runs"]] == ["run", "c4"]
    assert "speceyes eval own" in page


def _kind(k: int) -> str:
    return "judge" if k % 3 == 0 else "bypass" if k % 2 else "reject"


def test_what_is_missing_is_said_and_never_raises(tmp_path: Path) -> None:
    gate = {"score": "min", "threshold": math.nan, "k": 64}
    lone = written(tmp_path / "lone", [decided("0", "judge", "fallback", full=False)], full=False, gate=gate)
    bad = answered("agent", "bad", WRONG, rule="bad_row", error="no image", seconds={}, read=None, question="")
    agent = written(tmp_path / "agent", [bad], benchmark={"name": "x"}, methods=["agent", "speceyes"])
    found = write_report([lone, agent], tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert found.table.rows[0].cells["own / a"].speedup.value is None
    for sentence in (
        "lone has no method agent",
        "agent: speceyes has no outcome yet",
        "lone has no scored speculation",
        "lone does not have the agent's and the speculator's answer to every question",
        "agent has no method that decides",
        "No two runs of one benchmark",
    ):
        assert sentence in text
    assert "none of 0" in text
    assert not list((tmp_path / "out").glob("thresholds-*"))
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["sweeps"] == []
    assert numbers["runs"][0]["manifest"]["gate"]["threshold"] is None


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    run = written(tmp_path / "run", [answered("agent", "0", RIGHT)])
    with pytest.raises(ArgumentError, match="out: expected a folder of its own"):
        write_report([run], run)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="out: expected a folder"):
        write_report([run], tmp_path / "file")
    with pytest.raises(ArgumentError, match="run: expected the folder of a run"):
        write_report([tmp_path / "none"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_plots_of_an_older_report_go_with_it(tmp_path: Path) -> None:
    run, out = written(tmp_path / "run", [answered("agent", "0", RIGHT)]), tmp_path / "out"
    others = ["old.png", "old.svg", "mistakes-old.jpg", "mine.png"]
    out.mkdir()
    for name in others:
        (out / name).write_text("")
    (out / "report.md").write_text("# Somebody else's\n\n![of theirs](old.png)\n")
    write_report([run], out)
    assert set(others) <= {path.name for path in out.iterdir()}

    shown = (out / "report.md").read_text()
    (out / "report.md").write_text(shown + "\n![Old](old.png)\n\n![Wrong](mistakes-old.jpg)\n")
    write_report([run], out)
    left = {path.name for path in out.iterdir()}
    assert left & set(others) == {"mine.png"}
    assert (out / "report.md").read_text() == shown
    assert set(re.findall(r"\]\(([^)]+\.png)\)", shown)) <= left


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_a_library_that_is_not_there_is_named(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = written(tmp_path / "run", [answered("agent", "0", RIGHT)])
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"speceyes report.*\[eval\]"):
        write_report([run], tmp_path / "out")


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "run", [answered("agent", "0", RIGHT)])
    found = load([tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "a" / "run"])
    assert [one.name for one in found] == [str(tmp_path / name / "run") for name in ("a", "b")]


def test_the_command_prints_the_object_or_the_table(tmp_path: Path) -> None:
    run = written(tmp_path / "run", [answered("agent", "0", RIGHT, 2.0), answered("[m]", "0", RIGHT, 1.0)])
    arguments = ["report", str(run), "--out", str(tmp_path / "out")]
    shown = CliRunner().invoke(app, [*arguments, "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout) == json.loads((tmp_path / "out" / "report.json").read_text())
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert "2.00" in shown.stdout
    assert "[m]" in shown.stdout
    assert "report.html" in shown.stdout
    failed = CliRunner().invoke(app, ["report", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert failed.exit_code == 2


def test_a_timeline_begins_with_intake_and_shows_the_wait_for_a_slot() -> None:
    seconds = {"judge": 0.1, "speculate": 0.2, "gate": 0.0, "intake": 0.3, "slot": 0.5, "agent": 2.0, "total": 3.2}
    found = timeline(loaded([decided("1", "gate", "fallback", seconds=seconds)]))
    assert found is not None
    (bar,) = found.bars
    assert [phase for phase, _, _ in bar.phases] == ["intake", "judge", "speculate", "slot", "agent", "other"]
    assert [length for _, _, length in bar.phases] == pytest.approx([0.3, 0.1, 0.2, 0.5, 2.0, 0.1])

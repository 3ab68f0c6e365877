"""`speceyes eval`: every question once through every method, whatever happens."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import Result
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from langgraph_speceyes.bench.benchmark import EMBEDDED, Benchmark, Row
from langgraph_speceyes.bench.chosen import embedded_models
from langgraph_speceyes.bench.datasets import BadRow, Item
from langgraph_speceyes.bench.evaluation import Evaluation, overview
from langgraph_speceyes.bench.methods import Models, build
from langgraph_speceyes.bench.runner import evaluate
from langgraph_speceyes.bench.runs import Outcome, Run, picture_name
from langgraph_speceyes.bench.sweep import sweep, sweepable
from langgraph_speceyes.cli import app
from langgraph_speceyes.cli.display import show_overview
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import parse_reference
from langgraph_speceyes.testbed.pair import Pair
from tests.runs import outcome as recorded
from tests.waiting import PATIENCE_S, auntil

Graph = Runnable[Any, Any]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path


def items(image: Path, count: int, split: str = "one") -> list[Row]:
    ref = parse_reference(str(image))
    return [Item(f"{split}/{k}", split, f"What colour, {k}?", (), "red", ref) for k in range(count)]


def saying(text: str, log: list[tuple[str, str]] | None = None, name: str = "") -> Graph:
    def answer(state: dict[str, Any]) -> dict[str, Any]:
        if log is not None:
            log.append((name, state["messages"][-1].text))
        return {"messages": [*state["messages"], AIMessage(text)]}

    return RunnableLambda(answer)


def ran(rows: list[Row], methods: dict[str, Graph], **options: Any) -> list[Outcome]:
    async def collect() -> list[Outcome]:
        return [outcome async for outcome in evaluate(lambda: iter(rows), methods, **options)]

    return asyncio.run(collect())


def test_methods_take_turns_at_going_first(image: Path) -> None:
    log: list[tuple[str, str]] = []
    methods = {name: saying("red", log, name) for name in ("a", "b", "c")}
    outcomes = ran(items(image, 4), methods)
    assert [name for name, _ in log] == [*"abc", *"bca", *"cab", *"abc"]
    assert Counter((o["method"], o["id"]) for o in outcomes) == Counter(
        (m, f"one/{k}") for m in methods for k in range(4)
    )
    assert all(o["right"] and o["answer"] == "red" and o["seconds"]["total"] > 0 for o in outcomes)


async def _round_trips(count: int) -> None:
    """Let everybody go on who has nothing to wait for: rows are read in threads."""
    for _ in range(count):
        await asyncio.to_thread(lambda: None)


def test_at_once_means_one_method_after_the_other(image: Path) -> None:
    under_way: Counter[str] = Counter()
    most: Counter[str] = Counter()
    together = {name: asyncio.Barrier(4) for name in "ab"}

    def method(name: str) -> Graph:
        async def answer(state: dict[str, Any]) -> dict[str, Any]:
            under_way[name] += 1
            await asyncio.wait_for(together[name].wait(), PATIENCE_S)
            # whoever else has room would begin now
            await _round_trips(10)
            most[name] = max(most[name], under_way[name])
            under_way[name] -= 1
            return {"messages": [AIMessage("red")]}

        return RunnableLambda(lambda state: state, afunc=answer)

    outcomes = ran(items(image, 12), {name: method(name) for name in together}, concurrency=4)
    assert most == {"a": 4, "b": 4}
    assert len({(o["method"], o["id"]) for o in outcomes}) == len(outcomes) == 24
    assert [o["method"] for o in outcomes] == ["a"] * 12 + ["b"] * 12


def test_a_question_is_released_when_no_method_is_at_it(image: Path) -> None:
    """Of fewer questions than may be under way: the next method must not find its image gone."""
    drawn: set[str] = set()
    released: list[str] = []

    def rows() -> Iterator[Row]:
        for row in items(image, 2):
            assert isinstance(row, Item)
            drawn.add(row.id)
            yield row

    def method(first: bool) -> Graph:
        async def answer(state: dict[str, Any]) -> dict[str, Any]:
            number = state["messages"][-1].text[-2]
            # the next method's turn comes only when the first one is through with both
            await (_round_trips(20) if first else auntil(lambda: len(released) >= 2))
            return {"messages": [AIMessage("red" if f"one/{number}" in drawn else "gone")]}

        return RunnableLambda(lambda state: state, afunc=answer)

    async def collect() -> list[Outcome]:
        def release(item: Item) -> None:
            drawn.remove(item.id)
            released.append(item.id)

        methods = {"first": method(True), "next": method(False)}
        return [o async for o in evaluate(rows, methods, concurrency=8, release=release)]

    assert [o["answer"] for o in asyncio.run(collect())] == ["red"] * 4
    assert not drawn


def test_failures_and_silence_are_wrong_and_stay(image: Path) -> None:
    def fail(state: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("the server is gone")

    rows: list[Row] = [*items(image, 1), BadRow(image, "line 7", "no answer", None, "one")]
    outcomes = ran(rows, {"fails": RunnableLambda(fail), "silent": saying(""), "wrong": saying("blue")})
    found = {(o["method"], o["rule"]): o for o in outcomes}
    assert len(outcomes) == 6
    assert not any(o["right"] for o in outcomes)
    assert found["fails", "free_form"]["error"] == "RuntimeError: the server is gone"
    assert found["silent", "free_form"]["reason"] == "no answer"
    assert found["silent", "free_form"]["error"] is None
    bad = found["wrong", "bad_row"]
    assert (bad["id"], bad["split"]) == ("a.png line 7", "one")
    assert "no answer" in (bad["error"] or "")


def test_what_is_known_is_not_run_again(image: Path) -> None:
    log: list[tuple[str, str]] = []
    methods = {name: saying("red", log, name) for name in ("a", "b")}
    known = {("a", "one/0"), ("a", "one/1"), ("b", "one/1")}
    outcomes = ran(items(image, 3), methods, known=known)
    assert {(o["method"], o["id"]) for o in outcomes} == {("b", "one/0"), ("a", "one/2"), ("b", "one/2")}
    assert len(log) == 3


def test_a_picture_of_what_was_wrong_is_kept(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    rows = items(image, 2)
    ran(rows, {"a": saying("red")}, pictures=folder)
    assert not folder.exists()
    ran(rows[:1], {"a": saying("red"), "b": saying("blue")}, pictures=folder)
    assert [path.name for path in folder.iterdir()] == [picture_name("one/0")]
    with Image.open(folder / picture_name("one/0")) as kept:
        assert kept.size == (64, 64)


def test_the_consumer_may_stop(image: Path) -> None:
    async def first() -> str:
        running = evaluate(lambda: iter(items(image, 50)), {"a": saying("red")}, concurrency=2)
        async for outcome in running:
            await running.aclose()
            return outcome["id"]
        raise AssertionError

    assert asyncio.run(first()) == "one/0"


# ----------------------------------------------------------------------------------------------------------------------
# The embedded pair


@pytest.fixture(scope="module")
def models(pair: Pair) -> Models:
    return embedded_models(pair)


def evaluation(models: Models, out: Path, **options: Any) -> Evaluation:
    benchmark = Benchmark(
        EMBEDDED, part="calibration", limit=options.pop("limit", 3), splits=options.pop("splits", None)
    )
    return Evaluation(benchmark, options.pop("methods", ["speceyes"]), models, out, **options)


def test_a_sweep_says_what_a_live_run_does(models: Models, tmp_path: Path) -> None:
    splits = ("attributes", "relations", "existence")
    kept = asyncio.run(evaluation(models, tmp_path / "full", full=True, splits=splits).run())
    assert len(sweepable(kept)) == len(kept) == 9
    scores = sorted(o["speculator"].get("scores", {})["mean"] for o in kept if o["speculator"])
    middle = (scores[4] + scores[5]) / 2
    settings: list[dict[str, Any]] = [
        {"score": "mean", "threshold": middle, "judge_threshold": None},
        {"score": "min", "threshold": 0.99, "judge_threshold": 0.5},
    ]
    for k, setting in enumerate(settings):
        judged = "judge=off" if setting["judge_threshold"] is None else f"judge_threshold={setting['judge_threshold']}"
        spec = f"speceyes:score={setting['score']},threshold={setting['threshold']},{judged}"
        live = asyncio.run(evaluation(models, tmp_path / f"{k}", methods=[spec], splits=splits, concurrency=3).run())
        found = {o["id"]: o for o in live}
        swept = sweep(kept, **setting)
        routes = [found[o["id"]]["route"] for o in kept]
        assert routes == ["bypass" if one else "fallback" for one in swept.bypass]
        assert set(routes) == {"bypass", "fallback"}
        assert [found[o["id"]]["right"] for o in kept] == swept.right.tolist()


def test_full_asks_each_side_once(models: Models, tmp_path: Path) -> None:
    outcomes = asyncio.run(
        evaluation(models, tmp_path / "run", full=True, methods=["agent", "speceyes"], splits=("attributes",)).run()
    )
    agent = {o["id"]: o["agent"] for o in outcomes if o["method"] == "agent"}
    for one in outcomes:
        if one["method"] == "speceyes":
            assert one["speculator"]
            assert one["agent"]
            assert set(one["speculator"].get("scores", {})) == {"odds", "min", "mean", "bottom", "log"}
            if one["route"] == "bypass":
                assert one["agent"] == agent[one["id"]]
                assert one["answer"] == one["speculator"]["answer"]


def test_a_speculator_alone_never_asks_the_agent(models: Models, tmp_path: Path) -> None:
    outcomes = asyncio.run(evaluation(models, tmp_path / "run", methods=["speculator"], splits=("reading",)).run())
    # images that are drawn for a run are gone after it; what names them is the same in every run
    assert [o["image"] for o in outcomes] == [f"calibration-reading-{k}.jpg" for k in range(3)]
    assert all(o["route"] == "bypass" and o["agent"] is None and o["decided_by"] == "gate" for o in outcomes)


def test_a_run_keeps_to_what_it_was_made_with(models: Models, tmp_path: Path) -> None:
    first = evaluation(models, tmp_path / "run", limit=1, splits=("attributes",))
    asyncio.run(first.run())
    manifest = Run(tmp_path / "run").manifest()
    assert manifest["models"]["speculator"]["id"] == "speceyes-embedded-speculator"
    assert len(manifest["models"]["large"]["weights"]) == 16
    assert manifest["count"] == 1
    assert {"torch", "transformers", "langgraph"} <= set(manifest["versions"])
    assert not list((tmp_path / "run").glob("*.part"))
    for changes in ({"limit": 2}, {"methods": ["agent"]}, {"full": True}, {"concurrency": 2}):
        other = evaluation(models, tmp_path / "run", **{"limit": 1, "splits": ("attributes",), **changes})
        with pytest.raises(ArgumentError, match="out: expected a run with"):
            asyncio.run(other.run())
    moved = replace(models, gate=replace(models.gate, threshold=0.5))
    with pytest.raises(ArgumentError, match="out: expected a run with gate"):
        asyncio.run(evaluation(moved, tmp_path / "run", limit=1, splits=("attributes",)).run())


def test_a_run_keeps_to_its_questions(questions_file: Path, models: Models) -> None:
    file = questions_file / "questions.jsonl"
    lines = file.read_text().splitlines(keepends=True)[:2]

    def ran(text: str) -> list[Outcome]:
        file.write_text(text)
        made = Evaluation(Benchmark(str(file)), ["speculator"], models, questions_file / "out")
        return asyncio.run(made.run())

    assert ran("".join(lines)) == ran("".join(lines))
    with pytest.raises(ArgumentError, match="out: expected a run with questions"):
        ran(lines[0] + lines[1].replace('"red"', '"blue"'))


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("nonsense", "method"),
        ("no.such.function", "method"),
        ("json.decoder", "method"),
        ("speceyes:colour=red", "method"),
        ("speceyes:score=best", "score"),
        ("speceyes:score=mean", "method"),
        ("speceyes:k=4", "k"),
        ("speceyes:threshold=1.5", "threshold"),
        ("speceyes:threshold=high", "threshold"),
        ("speceyes:k=1", "k"),
        ("speceyes:judge=maybe", "judge"),
        ("speceyes:order=none", "order"),
        ("speceyes:gate=/no/such.json", "path"),
    ],
)
def test_a_method_that_cannot_be_built_is_named(models: Models, spec: str, names: str) -> None:
    with pytest.raises(ArgumentError) as error:
        build(spec, models)
    assert error.value.argument == names


# ----------------------------------------------------------------------------------------------------------------------
# The command, in a process of its own

_SLOW = """
import os, random, time
from pathlib import Path
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.scoring import Gate

def answer(state):
    if hold := os.environ.get("HOLD"):
        Path(hold, "asked").touch()
        while not Path(hold, "go").exists():
            time.sleep(0.01)
    time.sleep(random.uniform(0, 0.03))
    return {"messages": [AIMessage("red" if "1" in state["messages"][-1].text else "blue")]}

def models():
    return Models(FakeListChatModel(responses=["x"]), None, RunnableLambda(answer), Gate(), Prompts())

def other(models):
    return RunnableLambda(answer)
"""


def arguments_of(folder: Path, out: Path, *more: str) -> list[str]:
    return [
        *("eval", str(folder / "questions.jsonl"), "--out", str(out), "--json", *more),
        *("--models", "slow.models", "--method", "agent", "--method", "slow.other"),
    ]


def command(folder: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "langgraph_speceyes", *arguments_of(folder, out, *more)]


def here(folder: Path, out: Path, *more: str) -> Result:
    """The same in this process."""
    return CliRunner().invoke(app, arguments_of(folder, out, *more))


@pytest.fixture
def questions_file(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "slow.py").write_text(_SLOW)
    lines = [{"id": str(k), "image": "a.png", "question": f"What colour, {k}?", "answer": "red"} for k in range(60)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("concurrency", ["1", "4"])
def test_killed_at_random_moments_it_ends_with_every_outcome_once(questions_file: Path, concurrency: str) -> None:
    rng = random.Random(7)
    out, unbroken = questions_file / "out", questions_file / "unbroken"
    for _ in range(2):
        # from the first new outcome on, at a moment that may be in the middle of a line
        enough = _size(out) + rng.randint(1, 8000)
        process = subprocess.Popen(
            command(questions_file, out, "--concurrency", concurrency), stdout=subprocess.DEVNULL
        )
        while process.poll() is None and _size(out) < enough:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with (out / "outcomes.jsonl").open("a") as lines:
        lines.write('{"method": "agent", "id": "5')
    for folder in (out, unbroken):
        done = here(questions_file, folder, "--concurrency", concurrency)
        assert json.loads(done.stdout)["own"]["agent"]["n"] == 60
    found, wanted = (_keys(Run(folder).outcomes()) for folder in (out, unbroken))
    assert found == wanted
    assert len(found) == 120
    assert set(found.values()) == {1}


def _size(out: Path) -> int:
    file = out / "outcomes.jsonl"
    return file.stat().st_size if file.exists() else 0


def _keys(outcomes: list[Outcome]) -> Counter[tuple[Any, ...]]:
    return Counter((o["method"], o["id"], o["answer"], o["right"], o["error"]) for o in outcomes)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are of POSIX")
def test_an_outcome_that_has_no_room_is_an_error(tmp_path: Path) -> None:
    """A line that was cut without a word would be followed by the next one."""
    code = (
        "import resource, sys; from langgraph_speceyes.bench.runs import Run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: Run(sys.argv[1]).append({'id': 'x' * 60_000})\n"
        "except OSError as error: print(error.strerror)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("File too large\n", "")


def test_an_outcome_holds_half_a_character(tmp_path: Path) -> None:
    cut = {**recorded(0), "id": "half \ud83d", "answer": "\udc00 or 猫"}
    Run(tmp_path).append(cast("Outcome", cut))
    assert Run(tmp_path).outcomes() == [cut]
    assert picture_name("half \ud83d") != picture_name("half ?")


def test_two_processes_do_not_share_a_run(questions_file: Path) -> None:
    out = questions_file / "out"
    held = {**os.environ, "HOLD": str(questions_file)}
    first = subprocess.Popen(command(questions_file, out), stdout=subprocess.DEVNULL, env=held)
    while first.poll() is None and not (questions_file / "asked").exists():
        time.sleep(0.01)
    second = here(questions_file, out)
    (questions_file / "go").touch()
    assert second.exit_code == 2
    assert "in use" in second.stderr
    assert first.wait() == 0
    assert len(_keys(Run(out).outcomes())) == 120


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("embedded", "--data", "{here}"), "data"),
        (("{here}/none.jsonl",), "bench"),
        (("{here}/questions.jsonl", "--split", "colours"), "split"),
        (("{here}/questions.jsonl", "--part", "train"), "part"),
        (("{here}/questions.jsonl", "--seed", "1"), "seed"),
        (("{here}/questions.jsonl", "--method", "agent", "--method", "agent"), "method"),
        (("{here}/questions.jsonl", "--models", "slow.other"), "models"),
        (("{here}/bad.jsonl",), "line 2"),
    ],
)
def test_what_cannot_be_used_is_named_before_a_model_runs(
    questions_file: Path, arguments: tuple[str, ...], says: str
) -> None:
    lines = (questions_file / "questions.jsonl").read_text().splitlines()
    (questions_file / "bad.jsonl").write_text(f"{lines[0]}\n{lines[1].replace('a.png', 'none.png')}\n")
    given = [a.format(here=questions_file) for a in arguments]
    models = [] if "--models" in given else ["--models", "slow.models"]
    run = CliRunner().invoke(app, ["eval", *given, *models, "--out", str(questions_file / "out")])
    assert run.exit_code == 2, run.output
    assert says in run.output
    assert not (questions_file / "out" / "outcomes.jsonl").exists()


def test_bad_rows_are_counted_and_listed(questions_file: Path) -> None:
    lines = (questions_file / "questions.jsonl").read_text().splitlines()[:3]
    (questions_file / "bad.jsonl").write_text(f"{lines[0]}\n{lines[1].replace('a.png', 'none.png')}\n{lines[2]}\n")
    arguments = [
        "eval",
        str(questions_file / "bad.jsonl"),
        "--models",
        "slow.models",
        "--method",
        "agent",
        "--skip-bad",
    ]
    run = CliRunner().invoke(app, [*arguments, "--out", str(questions_file / "out"), "--json"])
    assert run.exit_code == 0, run.output
    figures = json.loads(run.stdout)["own"]["agent"]
    assert (figures["n"], figures["errors"], figures["accuracy"]) == (3, 1, 0.0)


@pytest.mark.parametrize(
    ("answer", "expected", "rule", "contained"),
    [
        ("The square is yellow.", "yellow", "free_form", 1),
        ("It says STOP HERE", "stop here", "free_form", 1),
        ("yellowish", "yellow", "free_form", 0),
        ("2.5", "2", "free_form", 0),
        ("", "yellow", "free_form", 0),
        (None, "yellow", "free_form", 0),
        ("no yes", "yes", "yes_no", 0),
    ],
)
def test_the_closing_lines_say_what_wrong_answers_hold_and_what_is_next(
    answer: str | None, expected: str, rule: str, contained: int
) -> None:
    one = recorded(0) | {"answer": answer, "expected": expected, "rule": rule, "right": False}
    figures = overview([one])  # type: ignore[list-item]
    assert figures["one"]["speceyes"]["contained"] == contained
    for calibrates, step in ((True, "calibrate runs/a --out gate.json"), (False, "report runs/a --out report")):
        console = Console(file=io.StringIO(), width=200)
        show_overview(console, figures, Path("runs/a"), calibrates=calibrates)
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert f"next: speceyes {step}" in shown
        assert ("1 of 1 wrong answers hold the expected one" in shown) == bool(contained)


def test_the_closing_lines_say_how_many_questions_failed_and_why_the_first_did() -> None:
    failed = recorded(1) | {"error": "TimeoutError: no answer within 30 s", "right": False, "answer": None}
    console = Console(file=io.StringIO(), width=200)
    show_overview(console, overview([recorded(0), failed]), Path("runs/a"))  # type: ignore[list-item]
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "speceyes failed on 1 of 2 questions, first: TimeoutError: no answer within 30 s" in shown
    console = Console(file=io.StringIO(), width=200)
    show_overview(console, overview([recorded(0)]), Path("runs/a"))  # type: ignore[list-item]
    assert "failed on" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_run_in_which_every_question_failed_ends_with_status_1(
    questions_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(questions_file)
    module = "from langchain_core.runnables import RunnableLambda\ndef broken(models):\n"
    (questions_file / "all_broken.py").write_text(f"{module}    return RunnableLambda(lambda state: 1 / 0)\n")
    arguments = ["eval", str(questions_file / "questions.jsonl"), "--models", "slow.models"]
    arguments += ["--method", "all_broken.broken", "--out", str(questions_file / "out")]
    run = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert run.exit_code == 1, run.output
    found = re.search(r"all_broken\.broken failed on (\d+) of (\d+) questions, first: ZeroDivisionError", run.output)
    assert found is not None
    assert found[1] == found[2]


def test_a_right_answer_holds_nothing_to_say() -> None:
    assert overview([recorded(0) | {"answer": "It is red", "right": True}])["one"]["speceyes"]["contained"] == 0  # type: ignore[list-item]

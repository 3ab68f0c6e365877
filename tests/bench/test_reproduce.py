"""The paper's table: its figures, the benchmarks of a folder, rows from runs, a command that is killed and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langgraph_speceyes.bench.chosen import Chosen
from langgraph_speceyes.bench.reproduce import Backbone, Plan, Source, reproduced, sources_in, write_table
from langgraph_speceyes.bench.reproduce.published import COLUMNS, published, published_mean
from langgraph_speceyes.bench.reproduce.run import LIVE, operating_points
from langgraph_speceyes.cli import app
from langgraph_speceyes.cli.reproduce import _backbones
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import SCORES, Gate
from tests.bench.test_datasets import COCO, hr_rows, lines, picture, pope_line, tsv, vstar_question
from tests.runs import outcome


@pytest.mark.parametrize(
    ("backbone", "row", "accuracy", "speedup"),
    [
        ("deepeyes", "draft only", 78.93, 4.13),
        ("deepeyes", "agent", 81.39, 1),
        ("deepeyes", "SpecReason", 66.85, 0.43),
        ("deepeyes", "log", 82.31, 1.80),
        ("deepeyes", "mean", 80.53, 2.31),
        ("deepeyes", "bottom", 82.34, 1.82),
        ("deepeyes", "min", 84.26, 1.73),
        ("thyme", "agent", 82.29, 1),
        ("thyme", "SpecReason", 83.78, 0.48),
        ("thyme", "min", 83.99, 1.42),
    ],
)
def test_the_papers_rows_have_the_papers_means(backbone: str, row: str, accuracy: float, speedup: float) -> None:
    found = published_mean(backbone, row)
    assert found is not None
    assert found.accuracy == pytest.approx(accuracy, abs=0.011)
    assert found.speedup == pytest.approx(speedup, abs=0.011)


def test_what_the_paper_does_not_give() -> None:
    assert published("thyme", "mean", COLUMNS[0]) is None
    assert published("tools", "agent", COLUMNS[0]) is None
    assert published("deepeyes", "odds", COLUMNS[0]) is None
    assert published("deepeyes", "agent", "dense") is None
    assert published_mean("tools", "min") is None


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The three benchmarks as one finds them on a disk."""
    folder = tmp_path / "data"
    vstar_question(folder / "vstar_bench", "sa_1")
    vstar_question(folder / "vstar_bench", "sa_2", "relative_position", question="Left?", options=["Yes.", "No."])
    for size in ("4k", "8k"):
        (folder / "HR-Bench").mkdir(exist_ok=True)
        tsv(folder / "HR-Bench" / f"hr_bench_{size}.tsv", hr_rows())
    picture(folder / "val2014" / COCO)
    for split in ("adversarial", "popular", "random"):
        lines(folder / "POPE" / "coco" / f"coco_pope_{split}.json", [pope_line(1)])
    return folder


def test_the_benchmarks_of_a_folder_fill_the_papers_columns(data: Path) -> None:
    sources = sources_in(data)
    assert [one.name for one in sources] == ["vstar", "hrbench4k", "hrbench8k", "pope"]
    columns = [
        one.column(row.split)
        for one in sources
        for part in ("calibration", "test")
        for row in one.benchmark(part, None).rows(Path())
    ]
    assert set(columns) == set(COLUMNS)


def test_a_folder_with_one_of_them_will_do(data: Path) -> None:
    assert [one.name for one in sources_in(data / "POPE")] == ["pope"]
    assert [one.name for one in sources_in(data / "HR-Bench")] == ["hrbench4k", "hrbench8k"]


def test_folders_that_cannot_be_used(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="data: expected the folder of the benchmarks, found none"):
        sources_in(tmp_path / "gone")
    with pytest.raises(ArgumentError, match="V\\*, HR-Bench or POPE below the folder"):
        sources_in(data / "val2014")
    (data / "HR-Bench" / "hr_bench_4k.tsv").rename(data / "HR-Bench" / "hr_bench.tsv")
    with pytest.raises(ArgumentError, match="4k or 8k in the name"):
        sources_in(data)
    vstar_question(data / "again", "sa_1")
    (data / "HR-Bench" / "hr_bench.tsv").unlink()
    with pytest.raises(ArgumentError, match="the files of vstar once"):
        sources_in(data)


def test_every_agent_has_its_own_protocol_words_and_boxes(tmp_path: Path) -> None:
    chosen = Chosen(speculator="small", base_url="http://localhost:1/v1")
    eyes, thyme = _backbones(chosen, ["deepeyes=a@http://localhost:2/v1", "thyme=b"], [f"thyme={tmp_path / 'w'}"])
    assert (eyes.name, eyes.chosen.agent, eyes.chosen.protocol) == ("deepeyes", "a@http://localhost:2/v1", "deepeyes")
    assert (eyes.chosen.coordinates, eyes.chosen.agent_prompt) == ("resized", None)
    assert (thyme.chosen.agent, thyme.chosen.protocol, thyme.chosen.agent_prompt) == ("b", "thyme", tmp_path / "w")
    assert thyme.chosen.coordinates == "absolute"
    assert [one.name for one in _backbones(Chosen(), [], [])] == ["tools", "code"]
    # as speceyes.toml says it
    (own,) = _backbones(Chosen(speculator="s", agent="a", protocol="deepeyes", agent_prompt=tmp_path), [], [])
    assert (own.name, own.chosen.agent_prompt, own.chosen.coordinates) == ("deepeyes", tmp_path, "resized")


@pytest.mark.parametrize(
    ("agents", "prompts", "said"),
    [
        (["eyes=a"], [], "agent: expected native=... or deepeyes=..."),
        (["deepeyes"], [], "agent: expected native=... or deepeyes=..."),
        (["deepeyes=a"], ["thyme=f"], "agent-prompt: expected words for an agent that is named, found thyme"),
        ([], [], "agent: expected an agent's model beside --speculator"),
    ],
)
def test_agents_that_cannot_be_used(agents: list[str], prompts: list[str], said: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        _backbones(Chosen(speculator="s"), agents, prompts)
    assert said in str(caught.value)


def _write(plan: Plan, backbone: str, part: str, outcomes: list[Any]) -> None:
    folder = plan.folder(backbone, part, plan.sources[0])
    folder.mkdir(parents=True)
    (folder / "outcomes.jsonl").write_text("".join(json.dumps(one) + "\n" for one in outcomes))


def _scored(k: int, score: float, small: bool, method: str = "speceyes", **more: Any) -> dict[str, Any]:
    one: dict[str, Any] = {**outcome(k, score=score, need=0.1, small=small, large=True), "method": method}
    one["speculator"] = {**one["speculator"], "scores": dict.fromkeys(SCORES, score), "k": 64}
    one["seconds"] = {"judge": 1.0, "speculate": 2.0, "agent": 4.0, "total": 7.0}
    return one | more


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Runs of one backbone: four questions right at .9, four wrong at .5, on each half."""
    made = Plan((Source("vstar", "vstar", None, {"s": COLUMNS[0]}),), (Backbone("deepeyes", Chosen()),), tmp_path)
    known = [_scored(k, 0.9 if k % 2 else 0.5, bool(k % 2), split="s") for k in range(8)]
    _write(made, "deepeyes", "calibration", known)
    agents = [{**one, "method": "agent", "right": True, "seconds": {"total": 4.0}} for one in known]
    reasons = [{**one, "method": "specreason", "right": False, "seconds": {"total": 8.0}} for one in known]
    _write(made, "deepeyes", "test", [*known, *agents, *reasons])
    return made


def test_a_row_is_what_its_operating_point_does(plan: Plan, tmp_path: Path) -> None:
    gates = operating_points(plan, "deepeyes", Gate(judge_threshold=0.5))
    assert set(gates) == set(SCORES)
    # between right and wrong: of a point that accepts less some right answer would be lost for nothing
    assert all(0.5 < one.threshold < 0.9 for one in gates.values())
    found = reproduced(plan)
    rows = {row.method: row for row in found.rows}
    assert list(rows) == ["draft only", "agent", "SpecReason", "log", "mean", "bottom", "min", "odds"]
    assert rows["draft only"].mean.accuracy.value == 0.5
    assert (rows["agent"].mean.accuracy.value, rows["agent"].mean.speedup.value) == (1.0, 1.0)
    assert (rows["SpecReason"].mean.accuracy.value, rows["SpecReason"].mean.speedup.value) == (0.0, 0.5)
    for score in SCORES:
        # judge and speculator on all, the agent on half: 8 (1 + 2) + 4 * 4 seconds against 8 * 4
        assert rows[score].mean.accuracy.value == 1.0
        assert rows[score].total.speedup.value == pytest.approx(32 / 40)
        assert rows[score].mean.bypassed.value == 0.5
        assert rows[score].threshold == gates[score].threshold
    assert rows["min"].cells[COLUMNS[0]].paper == (90.43, 1.53)
    page = write_table(found, tmp_path).read_text()
    assert "90.43" in page
    assert "SpecEyes, odds" in page
    assert "1.53" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "table-deepeyes.png").stat().st_size > 10_000


def test_scores_of_several_numbers_of_candidates_have_no_row(plan: Plan) -> None:
    file = plan.folder("deepeyes", "calibration", plan.sources[0]) / "outcomes.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["speculator"]["k"] = 20
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert set(operating_points(plan, "deepeyes", Gate(judge_threshold=0.5))) == {"odds", "log"}
    found = reproduced(plan)
    assert [row.method for row in found.rows] == ["draft only", "agent", "SpecReason", "log", "odds"]
    assert len(found.missing) == 3


def test_questions_on_which_a_method_failed_are_counted(plan: Plan) -> None:
    operating_points(plan, "deepeyes", Gate(judge_threshold=0.5))
    file = plan.folder("deepeyes", "test", plan.sources[0]) / "outcomes.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["route"] = None
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = reproduced(plan)
    assert found.rows[0].total.n == 7
    assert "1 of 8 questions left out" in found.missing[0]


def test_where_every_question_failed_it_is_said_why(plan: Plan) -> None:
    for part, run in (
        ("calibration", lambda: operating_points(plan, "deepeyes", Gate())),
        ("test", lambda: reproduced(plan)),
    ):
        file = plan.folder("deepeyes", part, plan.sources[0]) / "outcomes.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        failed = [{**row, "route": None, "error": "ConnectError: refused", "seconds": {}} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in failed))
        with pytest.raises(ArgumentError) as caught:
            run()
        assert f"none of {len(rows)}: ConnectError: refused; remove {plan.out / 'deepeyes'} to ask" in str(caught.value)


def test_the_command_says_what_is_missing_before_it_loads_anything(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["reproduce", "--out", str(tmp_path), "--agent", "deepeyes"])
    assert said.exit_code == 2
    assert "agent: expected" in said.output
    said = CliRunner().invoke(app, ["reproduce", "--out", str(tmp_path), "--data", str(tmp_path / "gone")])
    assert said.exit_code == 2


_SCRIPT = """
import sys
from pathlib import Path
from langgraph_speceyes.bench.chosen import Chosen
from langgraph_speceyes.bench.benchmark import Benchmark
from langgraph_speceyes.bench.reproduce import Backbone, Plan, Source, run_all


class Two(Source):
    # two of the families

    def benchmark(self, part, limit):
        return Benchmark("embedded", splits=("existence", "attributes"), part=part, limit=limit)


if __name__ == "__main__":
    plan = Plan((Two("embedded", "embedded"),), (Backbone("tools", Chosen()),), Path(sys.argv[1]), 1)
    run_all(plan, 1, lambda counts: print(*counts["tools"], flush=True))
"""


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    script = tmp_path / "reproduce.py"
    script.write_text(_SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        begun, total = map(int, process.stdout.readline().split())
        done = begun
        while done == begun:
            done, total = map(int, process.stdout.readline().split())
        children = _children(process.pid)
        process.kill()
    # what it had begun lets go of the run
    while any(map(_runs, children)):
        time.sleep(0.05)
    last = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    # one more may have been written than was heard of
    assert int(last[0].split()[0]) >= done > 0
    assert last[-1].split() == [str(total), str(total)]
    plan = Plan((Source("embedded", "embedded"),), (Backbone("tools", Chosen()),), tmp_path / "out", 1)
    every = [(o["method"], o["id"]) for part in ("calibration", "test") for o in plan.outcomes("tools", part)]
    assert len(every) == len(set(every)) == total == 2 + 3 * 2
    assert LIVE in {row.method for row in reproduced(plan).rows}


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

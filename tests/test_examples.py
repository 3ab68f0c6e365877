"""Every example, run as a user runs it."""

from __future__ import annotations

import csv
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.testbed.questions import questions

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOK = EXAMPLES / "tour.ipynb"

Run = Callable[..., str]


@pytest.fixture
def run(pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run an example as the main program, over the pair that is already loaded; what it prints."""
    monkeypatch.setattr("langgraph_speceyes.testbed.pair.load_pair", lambda: pair)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def main(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return main


def test_existing_agent(run: Run) -> None:
    said = run("existing_agent", "--questions", 4)
    # the first turn is bypassed; the second, without an image, is the agent's, and only that one is in its diary
    assert re.search(r"Is there a moon\? The moon at c4: yes\.\n +bypass, decided by the gate; tool need", said)
    assert "fallback, decided by the intake; a follow-up without an image of its own" in said
    assert said.count("hall 3: looked with") == 1
    assert said.count("gate -> bypass") == 3
    assert said.count("judge -> fallback") == 1
    assert re.search(r"mean latency: \d+ ms alone, \d+ ms with the bypass \(\d\.\d\d x\)", said)


def test_middleware(run: Run) -> None:
    said = run("middleware")
    assert said.count("bypass") == 3
    assert said.count("crop, ocr") == 2
    assert "QUEBEC" in said
    assert "FRAGILE" in said


def test_shadow(run: Run, tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    said = run("shadow", "--questions", 16, "--journal", journal)
    assert re.search(r"opened after \d+ questions", said)
    rows = [line for line in said.splitlines() if re.search(r" (shadow|on) +(fallback|bypass)", line)]
    assert len(rows) == 16
    assert " shadow fallback" in rows[0]
    audited = said.count("bypass, audited")
    assert audited
    assert f"16 records; {audited} answers audited" in said
    # the next start goes on from there
    again = run("shadow", "--questions", 1, "--journal", journal)
    assert re.search(r" on +(bypass|fallback)", again)
    assert "17 records" in again


def test_other_state(run: Run) -> None:
    said = run("other_state")
    assert said.count("'signed_by': 'speculator'") == said.count("bypass, decided by the gate") == 2
    assert said.count("'signed_by': 'agent'") == said.count("fallback, decided by the judge") == 2


def test_inspection(run: Run, tmp_path: Path) -> None:
    said = run("inspection", "--out", tmp_path)
    report = (tmp_path / "report.md").read_text()
    rows = [line for line in report.splitlines() if line.startswith("| board-")]
    assert len(rows) == 10
    # a person saw what the agent answered, and what scored below the bar; nothing else
    for row in rows:
        _, _, _, by, score, reviewed = (cell.strip() for cell in row.strip("|").split("|"))
        assert bool(reviewed) == (by == "agent" or float(score) < 0.975)
    reviewed = sum(row.rstrip(" |").endswith("confirmed") for row in rows)
    assert f"{reviewed} reviewed by a person" in report
    assert f"review of {reviewed}" in said
    assert "the agent takes a closer look" in said
    assert (tmp_path / "inspection.sqlite").stat().st_size > 0


def test_inspection_asks(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["no moon at all"])
    monkeypatch.setattr("builtins.input", lambda *_: next(answers, ""))
    run("inspection", "--out", tmp_path, "--ask")
    report = (tmp_path / "report.md").read_text()
    assert report.count("corrected to: no moon at all") == 1
    assert report.count("confirmed") >= 1


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_remote_speculator(run: Run) -> None:
    said = run("remote_speculator", "--questions", 3)
    assert "speceyes-embedded-speculator at http://127.0.0.1:" in said
    assert "20 of 20 asked for" in said
    assert said.count("gate -> bypass") == 2
    assert said.count("judge -> fallback") == 1


def test_batch_folder(run: Run, tmp_path: Path) -> None:
    said = run("batch_folder", "--out", tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    assert "13 questions in" in said
    assert "damaged.png: ImageError" in said
    assert [row["image"] for row in rows if row["error"]] == ["damaged.png"]
    assert sum("label says" in row["answer"] and row["route"] == "fallback" for row in rows) == 3
    # they are put down as they arrive
    times = [float(row["arrived_s"]) for row in rows]
    assert times == sorted(times)


def test_batch_over_a_folder_of_ones_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    questions("existence", "test", 1)[0].render().save(tmp_path / "photos" / "one.png")
    out = tmp_path / "answers.jsonl"
    run("batch_folder", tmp_path / "photos", "Is there a moon?", "--out", out, "--concurrency", 1)
    (row,) = map(json.loads, out.read_text().splitlines())
    assert (row["image"], row["answer"], row["route"]) == ("one.png", "The moon at c4: yes.", "bypass")


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_tracing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGSMITH_API_KEY", raising=False)
    said = run("tracing")
    assert re.search(r"speceyes chain, \d+ characters speceyes:bypass speceyes_decided_by gate", said)
    assert re.search(r"speceyes chain, \d+ characters speceyes:fallback speceyes_decided_by judge", said)
    assert said.count("judge model llm") == 2
    assert "speceyes_bypass 1.0" in said
    # no run is anywhere near as large as the image it is about
    largest = max(int(size) for size in re.findall(r", (\d+) characters", said))
    assert largest < min(int(size) for size in re.findall(r"(\d+) characters of inline image", said)) / 5
    assert re.search(r"the image, in the trace: sha256:\w{16} \(image/png, \d+ bytes\)", said)


def test_the_notebook_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    copy = tmp_path / NOTEBOOK.name
    copy.write_bytes(NOTEBOOK.read_bytes())
    # a process of its own: the kernel's client is not free of warnings
    folders = {"JUPYTER_RUNTIME_DIR": str(tmp_path / "run"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, copy.name],
        cwd=tmp_path,
        env=os.environ | folders,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    check_notebook(nbformat.read(copy, 4))


def test_the_committed_notebook_shows_its_pictures() -> None:
    nbformat = pytest.importorskip("nbformat")
    assert NOTEBOOK.stat().st_size < 600_000
    committed = nbformat.read(NOTEBOOK, 4)
    check_notebook(committed)
    assert [cell.execution_count for cell in committed.cells if cell.cell_type == "code"] == list(range(1, 10))


EXECUTE = """
import sys
import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], 4)
# sockets in the working folder: a Unix socket's path must be short
kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip="kernel")
NotebookClient(notebook, km=kernel, timeout=240).execute()
nbformat.write(notebook, sys.argv[1])
"""


def check_notebook(notebook: Any) -> None:
    """Its cells ran, it shows five pictures, and it says what it set out to say."""
    outputs = [one for cell in notebook.cells if cell.cell_type == "code" for one in cell.outputs]
    assert not [one for one in outputs if one.output_type == "error" or one.get("name") == "stderr"]
    assert sum("image/png" in one.get("data", {}) for one in outputs) == 5
    text = "".join(one.text for one in outputs if one.output_type == "stream")
    assert re.search(r"route +bypass\ndecided_by +gate", text)
    assert "fallback decided by the judge" in text
    assert "a follow-up without an image of its own" in text
    every, accepted = (int(found) for found in re.findall(r"(\d+)% right", text))
    assert accepted > every

"""Files and names that commands are given for a journal or a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from langgraph_speceyes.bench.advice import advise
from langgraph_speceyes.bench.calibrate import calibrate_run
from langgraph_speceyes.bench.journals import journal_at
from langgraph_speceyes.bench.later import gate_status
from langgraph_speceyes.bench.report import write_report
from langgraph_speceyes.errors import ArgumentError

EITHER = "expected the folder of a run, or a journal by its SQLite file"


def _report(run: Path) -> object:
    return write_report([run], run.parent / "report")


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (calibrate_run, f"run: {EITHER}"),
        (advise, f"source: {EITHER}"),
        (gate_status, "journal: expected a journal's SQLite file"),
        (_report, "run: expected the folder of a run"),
    ],
)
@pytest.mark.parametrize(
    ("content", "found"), [(b"", "an empty file"), (b'\xef\xbb\xbf{"question": "What?"}\r\n', "another kind of file")]
)
def test_a_file_that_is_neither_is_refused_by_its_argument_and_left_as_it_is(
    read: Callable[[Path], object], expected: str, content: bytes, found: str, tmp_path: Path
) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_bytes(content)
    with pytest.raises(ArgumentError) as refused:
        read(file)
    said = str(refused.value)
    assert expected in said
    assert said.endswith(f"{file}, {'a file' if read is _report else found}")
    assert file.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("read", [calibrate_run, advise])
def test_a_folder_without_a_run_and_nothing_at_all(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"run: expected the folder of a run .*, without manifest\.json$"):
        read(tmp_path)
    with pytest.raises(ArgumentError, match=f"{EITHER}.* found nothing at .*gone$"):
        read(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nofile.sqlite", "no such file, and as a function 'nofile.sqlite' (No module named 'nofile')"),
        ("traffic", "nothing at traffic"),
        ("sub/nofile.sqlite", "nothing at sub/nofile.sqlite"),
        (".", "a folder, ."),
        ("os.getcwd", "'os.getcwd', which returns str"),
    ],
)
def test_a_journal_that_is_not_there(name: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError) as refused:
        journal_at(name)
    assert refused.value.argument == "journal"
    assert refused.value.found == found
    assert not list(tmp_path.iterdir())

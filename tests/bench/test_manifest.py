"""What a run says of itself holds nothing of the machine's folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from langgraph_speceyes.bench.manifest import shortened

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("eval", "eval"),
        ("--limit", "--limit"),
        ("runs/one", "runs/one"),
        ("{here}/runs/one", "runs/one"),
        ("{here}/../elsewhere/two", "two"),
        ("/home/ada/questions.jsonl", "questions.jsonl"),
        ("--out={here}/runs/one", "--out=runs/one"),
        ("--out=/srv/data/one", "--out=one"),
        ("--gate", "--gate"),
        ("method:threshold=0.9", "method:threshold=0.9"),
        ("http://ada:secret@host/v1", "http://***@host/v1"),
        ("small@https://ada:secret@host:8000/v1", "small@https://***@host:8000/v1"),
        ("--base-url=http://ada:secret@host/v1", "--base-url=http://***@host/v1"),
    ],
)
def test_a_command_is_shown_without_the_machines_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shortened(argument.replace("{here}", str(tmp_path))) == shown


def test_no_page_of_results_names_a_folder_of_a_machine() -> None:
    pages = [*(ROOT / "docs" / "results").glob("*.md"), ROOT / "README.md"]
    absolute = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|Users|mnt|srv|var|opt)/[\w.-]+")
    found = {page.name: absolute.findall(page.read_text(encoding="utf-8")) for page in pages}
    assert {name: paths for name, paths in found.items() if paths} == {}

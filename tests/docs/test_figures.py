"""Every measured figure of README, pages and cards is that in `docs/results/figures.json`, which is the report's."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT


def program() -> Any:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "examples" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FIGURES = program()
KEPT = json.loads(FIGURES.FILE.read_text())
EVERY = KEPT["figures"] | KEPT["speed"]
PAGES: list[Path] = FIGURES.pages()


def test_the_file_holds_the_reports_figures() -> None:
    assert FIGURES.read(FIGURES.RESULTS) == KEPT["figures"]
    assert KEPT["tables"]["families"] == FIGURES.families(KEPT["figures"])
    assert len(KEPT["figures"]) > 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_show_them(page: Path) -> None:
    text = page.read_text()
    assert FIGURES.shown(text, EVERY, KEPT["tables"]) == text


def test_a_benchmark_is_read_from_its_page(tmp_path: Path) -> None:
    (tmp_path / "speed.md").write_text(
        "| | figure | 95 % interval | n |\n| --- | --- | --- | --- |\n"
        "| graph (ms), `overhead_ms` | 4.9 | 4.8 .. 5 | 30 |\n| throughput, `over` | - | not asked for | |\n"
        "| latency, agent (ms) | 183 | 178 .. 206 | 120 |\n"
    )
    found, table = FIGURES.speed(tmp_path / "speed.md")
    assert found == {"speed/overhead_ms": {"value": "4.9", "low": "4.8", "high": "5"}}
    assert table.splitlines()[2:] == [
        "| graph (ms) | 4.9 | 4.8 .. 5 | 30 |",
        "| latency, agent (ms) | 183 | 178 .. 206 | 120 |",
    ]


def test_marks_are_read_and_the_same_figure_is_the_same_everywhere() -> None:
    found = [mark for page in PAGES for mark in FIGURES._MARK.findall(page.read_text())]
    assert len(found) > 20
    shown: dict[tuple[str, str], set[str]] = {}
    for name, interval, words in found:
        shown.setdefault((name, interval), set()).add(words)
    assert {len(words) for words in shown.values()} == {1}
    changed = json.loads(json.dumps(EVERY))
    changed["all/speceyes/speed-up"]["value"] = "9.99"
    readme = (ROOT / "README.md").read_text()
    assert FIGURES.shown("<!--= all/speceyes/speed-up -->1<!--/-->", changed, {}).count("9.99") == 1
    assert FIGURES.shown(readme, EVERY, {"demo": "| none |"}) != readme


@pytest.mark.parametrize("name", ["README.md", "docs/should-i-use-it.md"])
def test_no_speed_up_or_share_stands_there_unmarked(name: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(), flags=re.DOTALL)
    text = FIGURES._TABLE.sub("", FIGURES._MARK.sub("", text))
    assert re.findall(r"[^\n]*\d\.\d\d (?:times|x\b)[^\n]*|[^\n]*\d\.\d %[^\n]*", text) == []


def test_every_results_table_is_one_of_the_files() -> None:
    named = {name for page in PAGES for _, name, _ in FIGURES._TABLE.findall(page.read_text())}
    assert named == set(KEPT["tables"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_mark_begins_a_line_which_would_end_its_paragraph(page: Path) -> None:
    assert re.findall(r"^ *<!--= .*", page.read_text(), re.MULTILINE) == []

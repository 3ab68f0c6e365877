"""Every code block of the README and the documentation runs, is checked, or says why not."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from typer.main import get_command
from typer.testing import CliRunner

from langgraph_speceyes.bench.chosen import CONFIG, Chosen
from langgraph_speceyes.cli import app
from langgraph_speceyes.testbed.pair import Pair
from tests.docs.blocks import ROOT, Block, Check, Command, Page, Prelude, pages
from tests.docs.preludes import PRELUDES

PAGES = pages()
BLOCKS = [block for page in PAGES for block in page.blocks]
SHELL = [block for block in BLOCKS if block.language == "bash" and block.reason is None]
NOTHING_TO_RUN = {"text", "mermaid", "json", "yaml", "toml"}
PARSED = {"langgraph": "langgraph_cli.cli:cli", "mkdocs": "mkdocs.__main__:cli"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a page's own, to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPECEYES_IMAGE_DIR", str(tmp_path / ".images"))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_run_checked_or_says_why_not(block: Block, tmp_path: Path) -> None:
    if block.reason is not None:
        assert block.reason, "say why it is not run"
        return
    assert block.language in {"python", "bash", *NOTHING_TO_RUN}, f"nothing runs {block.language!r}"
    if block.language == "json":
        json.loads(block.code)
    if block.language == "toml":
        (tmp_path / CONFIG).write_text(block.code)
        assert Chosen.from_file(tmp_path / CONFIG) != Chosen()
    if block.language == "python":
        compile(block.code, str(block), "exec")


@pytest.mark.parametrize("page", [page for page in PAGES if page.parts], ids=lambda page: page.name)
def test_a_page_runs_from_top_to_bottom(page: Page, pair: Pair, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a module that can be found by its name, where annotations are looked up
    module = ModuleType("documented")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = vars(module)
    for part in page.parts:
        if isinstance(part, Prelude):
            for name in part.names:
                names |= PRELUDES[name](pair, folder)
        elif isinstance(part, Check):
            assert eval(part.expression, names), f"{page.name}:{part.line}: {part.expression}"
        elif part.reason is None and part.language == "python":
            # tracebacks then show lines of the page
            code = "\n" * (part.line - 1) + part.code
            exec(compile(code, str(ROOT / page.name), "exec", dont_inherit=True), names)
        elif part.added is not None:
            for command in part.commands:
                run(part, command)


def run(block: Block, command: Command) -> None:
    """Run a command of ours in this process, with what the page adds to it."""
    words = arguments(command)
    assert words is not None, f"{block.page}:{command.line}: only `speceyes` is run"
    added = (block.added or {}).get(words[0], [])
    result = CliRunner().invoke(app, [*words, *added], env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert result.exit_code == 0, f"{block.page}:{command.line}: {result.output}"


def arguments(command: Command) -> list[str] | None:
    """What follows `speceyes`, or None where it is another command."""
    return command.words[1:] if Path(command.words[0]).name == "speceyes" else None


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_are_as_documented(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert block.commands
    for command in block.commands:
        check(command, f"{block.page}:{command.line}")


def check(command: Command, place: str) -> None:
    program, words = Path(command.words[0]).name, command.words[1:]
    if program == "speceyes":
        parse(get_command(app), program, words)
    elif program in PARSED:
        module, _, name = PARSED[program].partition(":")
        parse(getattr(pytest.importorskip(module), name), program, words)
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words) <= set(targets), place
    elif program == "pip" and words[0] == "install":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        ours = [Requirement(word) for word in words if word.startswith("langgraph-speceyes")]
        assert all(one.extras <= set(extras) for one in ours), place
    elif program == "python":
        assert (ROOT / words[0]).is_file(), place
    else:
        pytest.fail(f"{place}: nothing checks {program!r}: mark the block as not run")


def parse(command: Any, name: str, words: list[str]) -> None:
    """Let click read the words, down to the last subcommand, without running anything."""
    while hasattr(command, "commands"):
        assert words, f"{name}: a subcommand is missing"
        assert words[0] in command.commands, f"{name}: no such subcommand: {words[0]}"
        command, name, words = command.commands[words[0]], words[0], words[1:]
    try:
        command.make_context(name, list(words))
    except Exception as error:  # typer and click each have their own
        raise AssertionError(f"{name} {' '.join(words)}: {error}") from error

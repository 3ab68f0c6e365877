"""A cheap sample of `make newcomer`: what README tells a reader to run is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from langgraph_speceyes.cli import app
from tests.docs.blocks import ROOT
from tests.newcomer.stranger import BRINGS, EXPECTED, commands, run, too_much

README = (ROOT / "README.md").read_text()
FOUND = list(commands(README))


def test_readme_has_the_first_commands_in_their_order() -> None:
    assert FOUND[:2] == ["make demo", "make test"]
    assert [one.split()[1] for one in FOUND if "speceyes " in one][:3] == ["testbed", "ask", "advise"]
    assert all(any(one.removeprefix(".venv/bin/").startswith(begins) for one in FOUND) for begins in EXPECTED)
    compile(BRINGS, "brings", "exec")


@pytest.mark.parametrize("command", FOUND)
def test_each_command_and_its_options_exist(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    assert Path(words[0]).name in ("speceyes", "pip", "uv", "langgraph")
    if Path(words[0]).name != "speceyes":
        return
    known: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(known, "commands"):
        known = known.commands[rest.pop(0)]
    options = {name for parameter in known.params for name in parameter.opts}
    assert [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options] == []


def test_at_a_release_links_and_addresses_lead_into_the_repository(tmp_path: Path) -> None:
    """The step of the workflow itself, on a copy."""
    release = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())
    (step,) = [one["run"] for one in release["jobs"]["build"]["steps"] if "Links" in one.get("name", "")]
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    environment = {**os.environ, "GITHUB_REPOSITORY": "somebody/their-fork", "GITHUB_REF_NAME": "v1.2.3"}
    subprocess.run(["bash", "-euc", step], cwd=tmp_path, env=environment, check=True)
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)#]+)", (tmp_path / "README.md").read_text())
    blob, raw = "https://github.com/somebody/their-fork/blob/v1.2.3/", "https://raw.githubusercontent.com/"
    inside = [link for _, link in links if "their-fork" in link]
    assert len(inside) > 20
    assert all(link.startswith("https://") for _, link in links)
    assert all(link.startswith(raw if picture else blob) for picture, link in links if link in inside)
    # each leads to what is there
    assert all((ROOT / link.partition("v1.2.3/")[2]).exists() for link in inside)
    urls = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Source"] == "https://github.com/somebody/their-fork"
    assert set(urls) == {"Paper", "Source", "Issues", "Changelog"}


def test_what_fails_says_nothing_or_takes_too_much_is_found(tmp_path: Path) -> None:
    assert run("true", tmp_path).wrong is None
    assert "status 3" in str(run("exit 3", tmp_path).wrong)
    assert "traceback" in str(run("echo Traceback", tmp_path).wrong)
    assert too_much(80, 800) is None
    assert "900 at most" in str(too_much(80, 1200))


def test_the_demo_installs_less_than_the_tests() -> None:
    make = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo: \$\(DEMO\)", make, re.MULTILINE)
    (demo, whole) = re.findall(r"-e '\.\[(.*?)\]'", make)
    assert set(demo.split(",")) < set(whole.split(","))
    assert "dev" not in demo

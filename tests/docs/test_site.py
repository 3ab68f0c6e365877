"""The documentation builds without a warning, refers to nothing elsewhere, and knows every public name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import langgraph_speceyes
from tests.docs.blocks import ROOT

pytest.importorskip("mkdocs", reason="the extra docs is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_a_page_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//|<link[^>]*stylesheet[^>]*href="http')
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 9
    for page in pages:
        assert not fetched.search(page.read_text(encoding="utf-8")), page.name


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    text = (site / "reference.html").read_text(encoding="utf-8")
    known = set(re.findall(r'id="([\w.]+)"', text))
    for name in langgraph_speceyes.__all__:
        assert any(one.endswith(f".{name}") for one in known), name
    # what Sphinx would understand, and Markdown does not
    assert not re.search(r":(?:class|func|meth):|\.\. code-block", text)

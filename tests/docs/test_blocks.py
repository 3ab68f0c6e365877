"""The harness itself: what it reads from a page, and what it does not let pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import Block, Check, Page, Prelude, read_page
from tests.docs.test_code_blocks import check, test_every_block_is_run_checked_or_says_why_not

PAGE = """
# A page

<!-- prelude: models, images -->
<!-- run with: eval --limit 4; calibrate --confidence 0.5 -->
```bash
# a comment
KEY=1 speceyes eval "my questions.jsonl" \\
    --out runs/a
```

<!-- not run by the tests: it needs a server -->
```python
x = 1
```

<!-- check: x == 1 -->

<!-- not run by the tests: lost -->
Some words.

```python
y = 2
```
"""


def page(folder: Path, text: str) -> Page:
    path = folder / "page.md"
    path.write_text(text)
    return read_page(path)


def test_a_page_is_read_in_its_order(tmp_path: Path) -> None:
    prelude, shell, server, holds, plain = page(tmp_path, PAGE).parts
    assert prelude == Prelude(["models", "images"])
    assert isinstance(shell, Block)
    assert shell.added == {"eval": ["--limit", "4"], "calibrate": ["--confidence", "0.5"]}
    (command,) = shell.commands
    assert command.words == ["speceyes", "eval", "my questions.jsonl", "--out", "runs/a"]
    assert isinstance(server, Block)
    assert server.reason == "it needs a server"
    assert isinstance(holds, Check)
    assert isinstance(plain, Block)
    assert (plain.reason, plain.line, plain.code) == (None, 23, "y = 2\n")


@pytest.mark.parametrize(
    "text", ["Words <!-- check: x -->\n", "Words:\n\n    code without a fence\n"], ids=["comment", "fence"]
)
def test_what_nothing_would_look_at_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="which nothing would"):
        page(tmp_path, text)


@pytest.mark.parametrize(
    "block", ["```\nx\n```", "```sh\nls\n```", "```python\nx =\n```", "```json\n{\n```", "```toml\nx = 1\n```"]
)
def test_a_block_that_nothing_runs_fails(tmp_path: Path, block: str) -> None:
    (found,) = page(tmp_path, block).blocks
    with pytest.raises((AssertionError, SyntaxError, ValueError)):
        test_every_block_is_run_checked_or_says_why_not(found, tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "speceyes eval questions.jsonl --out a --no-such-option",
        "speceyes calibrate",
        "speceyes testbed nothing",
        "make nothing",
        "python examples/nothing.py",
        "pip install 'langgraph-speceyes[nothing]'",
        "curl http://localhost",
    ],
)
def test_a_command_that_is_not_there_fails(tmp_path: Path, line: str) -> None:
    (block,) = page(tmp_path, f"```bash\n{line}\n```").blocks
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(block.commands[0], "page")

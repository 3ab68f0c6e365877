"""The code blocks of a Markdown page, with what is said about them in HTML comments right above.

* `<!-- not run by the tests: reason -->`: the next block is left alone.
* `<!-- prelude: models, images -->`: names and files that the page's code takes for granted (preludes.py).
* `<!-- run -->`: the next block's commands are run, in this process, and not only checked.
* `<!-- run with: eval --limit 4; calibrate --confidence 0.5 -->`: the same, with options added to a command.
* `<!-- check: expression -->`: what must hold after the blocks above.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
_COMMENT = re.compile(r"<!--\s*(not run by the tests|prelude|run with|run|check)\s*(?::\s*(.*?))?\s*-->", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=")


@dataclass(frozen=True)
class Command:
    """One command line of a block: its words, without assignments in front."""

    words: list[str]
    line: int


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: The page, relative to the repository.
        line: Its first line of code, counted from 1.
        language: The word behind the fence.
        code: What it holds.
        reason: Why it is not run, or None.
        added: What to run its commands with, by subcommand; None if they are only checked.
    """

    page: str
    line: int
    language: str
    code: str
    reason: str | None = None
    added: dict[str, list[str]] | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[Command]:
        found, begun = [], ""
        for number, text in enumerate(self.code.splitlines(), self.line):
            begun += text.removesuffix("\\")
            if text.endswith("\\"):
                continue
            words = shlex.split(begun, comments=True)
            begun = ""
            while words and _ASSIGNMENT.match(words[0]):
                words = words[1:]
            if words and words != ["export"]:
                found.append(Command(words, number))
        return found


@dataclass(frozen=True)
class Prelude:
    """Names and files that a page takes for granted from here on."""

    names: list[str]


@dataclass(frozen=True)
class Check:
    """An expression that must be true by now."""

    expression: str
    line: int


@dataclass(frozen=True)
class Page:
    """A page's blocks, preludes and checks in their order."""

    name: str
    parts: list[Block | Prelude | Check] = field(default_factory=list)

    @property
    def blocks(self) -> list[Block]:
        return [part for part in self.parts if isinstance(part, Block)]


def read_page(path: Path) -> Page:
    """Read a page."""
    name = str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
    page, text = Page(name), path.read_text(encoding="utf-8")
    said: dict[str, str] = {}
    read = 0
    for token in MarkdownIt("commonmark").parse(text):
        if token.map is None:
            continue
        if token.type == "html_block":
            for kind, words in _COMMENT.findall(token.content):
                read += 1
                if kind == "prelude":
                    page.parts.append(Prelude([one.strip() for one in words.split(",")]))
                elif kind == "check":
                    page.parts.append(Check(words, token.map[0] + 1))
                else:
                    said[kind] = words
        elif token.type == "fence":
            reason, added = said.get("not run by the tests"), None
            if "run" in said or "run with" in said:
                options = [shlex.split(one) for one in said.get("run with", "").split(";") if one.strip()]
                added = {words[0]: words[1:] for words in options}
            language = token.info.split(" ")[0]
            page.parts.append(Block(name, token.map[0] + 2, language, token.content, reason, added))
            said = {}
        elif token.type == "code_block":
            raise ValueError(f"{name}:{token.map[0] + 1}: a block without a fence, which nothing would run")
        elif token.type == "paragraph_open":
            # what stands between a comment and a block parts them
            said = {}
    if read < len(_COMMENT.findall(text)):
        raise ValueError(f"{name}: a comment about code in the middle of a paragraph, which nothing would read")
    return page


def pages() -> list[Page]:
    """All pages whose code is the project's word: the README and the documentation, not the measured report."""
    return [read_page(path) for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]

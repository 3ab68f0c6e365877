"""A report as Markdown."""

from __future__ import annotations

import html as escaping
import re
from collections.abc import Sequence
from pathlib import Path

from langgraph_speceyes.bench.report.page.blocks import TITLE, Block, Drawn, Said, Section, Sheet, Tile
from langgraph_speceyes.bench.report.text import Text
from langgraph_speceyes.files import write_whole


def markdown(parts: Sequence[Section], title: str = TITLE) -> str:
    """The page for a repository or a pull request; pictures beside it."""
    lines = [f"# {_escaped(title)}", ""]
    for part in parts:
        lines += [f"## {part.title}", ""]
        for block in part.blocks:
            lines += [*_markdown(block), ""]
    return "\n".join(lines).rstrip() + "\n"


_PICTURE = re.compile(r"^!\[.*\]\(([A-Za-z0-9._-]+\.(?:png|jpg))\)$", re.MULTILINE)


def write_markdown(path: Path, parts: Sequence[Section], title: str = TITLE) -> None:
    """Write the Markdown, and remove the pictures that only the page in its place has shown.

    Args:
        path: The file; a page of the same title is replaced together with its pictures.
        parts: What it says.
        title: Its heading.
    """
    new = markdown(parts, title)
    old = path.read_text(errors="replace") if path.is_file() else ""
    # a page of somebody else's shows pictures that are not this package's to remove
    if old.startswith(f"# {_escaped(title)}\n"):
        for name in set(_PICTURE.findall(old)) - set(_PICTURE.findall(new)):
            for suffix in (Path(name).suffix, ".svg"):
                (path.parent / name).with_suffix(suffix).unlink(missing_ok=True)
    write_whole(path, new)


_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~])")


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKS.sub(
        r"\\\1", escaping.escape(" ".join(text.split()), quote=False).replace("&lt;", "<").replace("&gt;", ">")
    )


def _markdown(block: Block) -> list[str]:
    if isinstance(block, Said):
        return [f"*{_escaped(block.text)}*" if block.missing else _escaped(block.text)]
    if isinstance(block, Drawn):
        plot = block.plot
        return [
            f"### {_escaped(plot.title)}",
            "",
            f"![{_escaped(plot.title)}]({plot.name}.png)",
            "",
            _escaped(plot.caption),
        ]
    if isinstance(block, Sheet):
        longest = max(block.tiles, key=lambda tile: len(tile.lines))
        columns = ["", "score", *(name for name, _ in longest.lines[1:])]
        rows = [_padded(tile, number, columns) for number, tile in enumerate(block.tiles, start=1)]
        head = [
            f"### {_escaped(block.title)}",
            "",
            _escaped(block.note),
            "",
            f"![{_escaped(block.title)}]({block.file})",
            "",
        ]
        return [*head, *_pipes(columns, rows)]
    columns = block.columns
    if block.above:
        over = [name for name, span in block.above for _ in range(span)]
        columns = [f"{name} {one}".strip() for name, one in zip(over, columns, strict=True)]
    head = [f"### {_escaped(block.title)}", ""]
    return [*head, *_pipes(columns, block.rows), *(["", _escaped(block.note)] if block.note else [])]


def _padded(tile: Tile, number: int, columns: Sequence[str]) -> list[Text]:
    said = dict(tile.lines[1:])
    return [(str(number), ""), (tile.lines[0][1], ""), *((said.get(name, ""), "") for name in columns[2:])]


def _pipes(columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> list[str]:
    lines = [" | ".join(map(_escaped, columns)), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_escaped(" ".join(filter(None, cell))) for cell in row) for row in rows]
    return [f"| {line} |" for line in lines]

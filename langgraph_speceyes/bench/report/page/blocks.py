"""What a section is made of: tables, plots, sentences, sheets of pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from langgraph_speceyes.bench.report.plots.drawing import Plot
from langgraph_speceyes.bench.report.text import Text

TITLE = "SpecEyes report"


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        title: Its heading.
        columns: Names of the columns; the first ones name the rows.
        rows: Cells.
        above: Headings over several columns each, with how many; none by default.
        names: How many of the columns name the row.
        note: What the figures are.
        folded: Whether the page shows it only when asked.
    """

    kind: ClassVar[str] = "grid"
    title: str
    columns: list[str]
    rows: list[list[Text]]
    above: list[tuple[str, int]] = field(default_factory=list)
    names: int = 1
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Drawn:
    """A plot; folded away if there are many."""

    kind: ClassVar[str] = "plot"
    plot: Plot
    folded: bool = False


@dataclass(frozen=True)
class Said:
    """A sentence."""

    kind: ClassVar[str] = "said"
    text: str
    missing: bool = False


@dataclass(frozen=True)
class Tile:
    """A wrong answer with its picture."""

    picture: str | None
    lines: list[Text]


@dataclass(frozen=True)
class Sheet:
    """Wrong answers side by side."""

    kind: ClassVar[str] = "sheet"
    title: str
    note: str
    tiles: list[Tile]
    file: str


Block = Grid | Drawn | Said | Sheet


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    id: str
    title: str
    blocks: list[Block]

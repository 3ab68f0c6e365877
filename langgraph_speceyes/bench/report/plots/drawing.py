"""Where a plot is drawn and how it looks: as SVG and PNG (matplotlib's Agg; no display, no global state)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from langgraph_speceyes.errors import MissingExtraError
from langgraph_speceyes.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


INK = "#24292f"
"""Text and axes; in the page they take the text's colour, light or dark."""
# Okabe and Ito 2008, "Color Universal Design", without black, which is the ink's, and yellow, which white swallows
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vPX*"
DEPTH_COLOURS = ("#56B4E9", "#D55E00", "#CC79A7", "#009E73")
"""Of the depths, from 0 on."""
PHASE_COLOURS = {
    "intake": "#009E73",
    "judge": "#E69F00",
    "speculate": "#56B4E9",
    "gate": "#CC79A7",
    **{f"depth {depth}": DEPTH_COLOURS[depth % len(DEPTH_COLOURS)] for depth in range(1, 65)},
    "slot": "#8C564B",
    "agent": "#0072B2",
    "other": "#999999",
}
RIGHT, WRONG = "#0072B2", "#D55E00"
_GREY = "#808080"
STYLE = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    # names of methods and runs are text, whatever is in them
    "text.parse_math": False,
    # the same report gives the same file
    "svg.hashsalt": "speceyes",
    "svg.fonttype": "path",
}
WIDTH = 8.6
"""Inches."""


@dataclass(frozen=True)
class Plot:
    """A plot in its files.

    Attributes:
        name: Of its files, without ending.
        title: Its heading.
        caption: What to see in it, and how it was made.
        svg: For a page: transparent, its ink the text's colour, its ids its own.
    """

    name: str
    title: str
    caption: str
    svg: str


class Drawing:
    """Draws plots into a folder.

    Args:
        folder: Where the files go.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import matplotlib
            from matplotlib.figure import Figure
        except ModuleNotFoundError as missing:
            raise MissingExtraError("speceyes report", "eval") from missing
        self.folder = folder
        self._style, self._figure = matplotlib.rc_context, Figure
        self._names: set[str] = set()

    def save(self, name: str, title: str, caption: str, draw: Callable[[Figure], None], height: float) -> Plot:
        """Draw a plot and write its files.

        Args:
            name: Of its files; what no file name takes is replaced, and so is a name that was there before.
            title: Its heading.
            caption: What to see in it, and how it was made.
            draw: Draws into the figure it is given.
            height: Inches; all plots are :data:`WIDTH` wide.
        """
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "plot"
        while name in self._names:
            name += "-"
        self._names.add(name)
        with self._style(STYLE):
            figure = self._figure(figsize=(WIDTH, height), layout="constrained")
            draw(figure)
            png = io.BytesIO()
            figure.savefig(png, format="png", dpi=144, facecolor="white")
            figure.set_layout_engine("none")  # it is laid out
            svg = io.StringIO()
            quiet = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(svg, format="svg", facecolor="white", metadata=quiet)
        write_whole(self.folder / f"{name}.png", png.getvalue())
        write_whole(self.folder / f"{name}.svg", svg.getvalue())
        return Plot(name, title, caption, _inline(svg.getvalue(), len(self._names)))


def _inline(svg: str, number: int) -> str:
    """An SVG as part of a page: no prolog, no ground, ink in the text's colour, ids that no other plot has."""
    svg = svg[svg.index("<svg") :].replace("fill: #ffffff", "fill: none")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>p{number}-", svg)
    svg = re.sub(INK, "currentColor", svg, flags=re.IGNORECASE)
    head, rest = svg.split(">", 1)
    # the page gives the size and reads the caption out
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    return f'{head} aria-hidden="true" focusable="false">{rest}'

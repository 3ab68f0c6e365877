"""Advice in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from langgraph_speceyes.bench.advice import Advice
from langgraph_speceyes.bench.advice.rows import basis, compositions, groups, live, main
from langgraph_speceyes.bench.report.text import Text

_STYLES = {"use": "bold green", "trade_off": "bold yellow", "not_yet": "bold yellow", "do_not": "bold red"}


def show_advice(console: Console, advice: Advice, page: Path | None) -> None:
    """Print the verdict, what to do, and the figures behind it."""
    console.print(f"[{_STYLES[advice.verdict]}]{escape(advice.words)}[/]", highlight=False)
    for step in advice.to_do:
        console.print(f"  {escape(step)}", highlight=False)
    if advice.figures is not None:
        _show(console, f"with this gate, on {advice.figures.questions} questions", ["", "figure", "95 %"], main(advice))
    for title, columns, rows in (groups(advice), compositions(advice), live(advice)):
        if rows:
            _show(console, title, columns, rows)
    for text in basis(advice):
        console.print(f"[dim]{escape(text)}[/]", highlight=False)
    if page is not None:
        console.print(f"{page}", highlight=False, soft_wrap=True, markup=False)


def _show(console: Console, title: str, columns: list[str], rows: list[list[Text]]) -> None:
    """A table; where it has a column for intervals they stand there, else below the figures."""
    grid = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for k, name in enumerate(columns):
        grid.add_column(name, justify="right" if k else "left", overflow="fold")
    for row in rows:
        if columns[-1] == "95 %":
            (label, _), (value, ends) = row
            grid.add_row(escape(label), escape(value), f"[dim]{escape(ends)}[/]")
        else:
            grid.add_row(*(f"{escape(text)}\n[dim]{escape(ends)}[/]" if ends else escape(text) for text, ends in row))
    console.print(grid)

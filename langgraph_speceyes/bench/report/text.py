"""Numbers as text."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from langgraph_speceyes.bench.report.data import AGENT
from langgraph_speceyes.bench.statistics import Estimate

Text = tuple[str, str]
"""What is said, and what is smaller beside it, such as an interval."""
NONE: Text = ("-", "")


def print_whole(console: Console, table: Table) -> None:
    """Print a table whose first column holds names: a narrow terminal wraps its lines, and neither is cut.

    Args:
        console: Where to.
        table: Its first column has a least width, to which names are folded; all others keep theirs.
    """
    names = table.columns[0]
    names.width = names.min_width
    least = Measurement.get(console, console.options.update(width=1_000), table).maximum
    if console.width < least:
        table.width = least
    else:
        names.width = None
    console.print(table, crop=False)


def shown(found: Estimate, scale: float, digits: int, sign: str = "") -> Text:
    """A figure and its interval; a dash without one."""
    if found.value is None:
        return NONE
    return f"{scale * found.value:{sign}.{digits}f}", interval(found, scale, digits, sign)


def interval(found: Estimate, scale: float, digits: int, sign: str = "") -> str:
    """An interval in brackets; nothing without one."""
    if found.low is None or found.high is None:
        return ""
    return f"[{scale * found.low:{sign}.{digits}f}, {scale * found.high:{sign}.{digits}f}]"


def number(value: float | None, digits: int) -> Text:
    """A number without an interval; a dash for None."""
    return NONE if value is None else (f"{value:.{digits}f}", "")


def percent(found: Estimate, sign: str = "") -> Text:
    """A share and its interval in percent; a dash without one."""
    return shown(found, 100, 1, sign)


def times(found: Estimate, method: str) -> Text:
    """A ratio to the agent and its interval; the agent's own is 1."""
    return ("1", "") if method.partition(" ")[0] == AGENT and found.value is not None else shown(found, 1, 2)

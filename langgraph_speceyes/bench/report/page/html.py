"""A report as one page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langgraph_speceyes.bench.report.page.blocks import TITLE, Section
from langgraph_speceyes.errors import MissingExtraError


def check_installed() -> None:
    """See that pages can be made.

    Raises:
        MissingExtraError: Jinja is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ModuleNotFoundError as missing:
        raise MissingExtraError("speceyes report", "eval") from missing


def html(parts: Sequence[Section], title: str = TITLE) -> str:
    """One page with everything in it."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja").render(sections=parts, title=title)

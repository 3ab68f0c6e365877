"""What all commands share of the terminal: the consoles, errors as one line."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from langgraph_speceyes.errors import SpecEyesError

# C0 but for tab and line feed, DEL, C1
_STEERING = dict.fromkeys(set(range(0xA0)) - set(range(0x20, 0x7F)) - {0x09, 0x0A})


class Screen(Console):
    """A console that what models and servers wrote cannot steer: control characters of a text are left out."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as the base class does; the console's own control codes stay."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else segment.text.translate(_STEERING)
            yield segment if text == segment.text else Segment(text, segment.style)


# what is for people goes to standard error when standard output holds JSON
OUT, ERR = Screen(), Screen(stderr=True)


def replace_unencodable() -> None:
    """Have a question mark stand for what standard output's encoding lacks, where it would be an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


class one_line_errors:
    """Show the package's errors, and what the system refuses, as one line, and exit with status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SpecEyesError):
            said = str(error)
        elif isinstance(error, OSError) and error.errno is not None and not isinstance(error, BrokenPipeError):
            # a folder that is a file, a disk that is full
            said = f"{error.strerror}: {error.filename}" if error.filename is not None else str(error.strerror)
        else:
            return
        ERR.print(f"[bold red]error[/] {escape(f'{type(error).__name__}: {said}')}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error

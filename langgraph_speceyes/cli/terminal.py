"""What all commands share of the terminal: the consoles, errors as one line."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape

from langgraph_speceyes.errors import SpecEyesError

# what is for people goes to standard error when standard output holds JSON
OUT, ERR = Console(), Console(stderr=True)


class one_line_errors:
    """Show the package's errors as one line, and exit with status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SpecEyesError):
            said = escape(f"{type(error).__name__}: {error}")
            ERR.print(f"[bold red]error[/] {said}", highlight=False, soft_wrap=True)
            raise typer.Exit(2) from error

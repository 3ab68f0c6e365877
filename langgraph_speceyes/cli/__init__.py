"""The command `speceyes`: what its commands are called, in the order in which its help shows them."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from langgraph_speceyes.cli.advice import advise
from langgraph_speceyes.cli.answers import ask, demo
from langgraph_speceyes.cli.calibration import calibrate, label
from langgraph_speceyes.cli.endpoint import probe
from langgraph_speceyes.cli.models import with_models
from langgraph_speceyes.cli.reproduce import reproduce
from langgraph_speceyes.cli.restore import restore
from langgraph_speceyes.cli.runs import evaluate, report_runs
from langgraph_speceyes.cli.speed import measure_speed
from langgraph_speceyes.cli.terminal import OUT, one_line_errors, replace_unencodable
from langgraph_speceyes.cli.testbed import check, serve, write
from langgraph_speceyes.cli.traffic import audit, gate, opening

__all__ = ["app"]


def _show_version(asked: bool) -> None:
    if asked:
        OUT.print(f"speceyes {version('langgraph-speceyes')}", highlight=False)
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


class Commands(TyperGroup):
    """The commands; what keeps them from showing what they found is one line, too."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for, up to its last line on standard output."""
        with one_line_errors():
            done = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        return done


app = typer.Typer(cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def speceyes(show_version: Version = False) -> None:
    """A speculative bypass for LangGraph visual agents."""
    replace_unencodable()


app.command()(demo)
app.command()(with_models(ask))
app.command("eval")(with_models(evaluate))
app.command("report")(report_runs)
app.command()(reproduce)
app.command("bench")(with_models(measure_speed))
app.command()(calibrate)
app.command()(label)
app.command()(advise)
app.command()(with_models(audit, gate=False))
app.command()(gate)
app.command()(probe)
app.command()(restore)

embedded = typer.Typer(help="The embedded world and pair.", no_args_is_help=True)
app.add_typer(embedded, name="testbed")
embedded.command()(serve)
embedded.command()(check)
embedded.command()(write)
embedded.command()(opening)

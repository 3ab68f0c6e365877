"""The command `speceyes`: what its commands are called, in the order in which its help shows them."""

from __future__ import annotations

import typer

from langgraph_speceyes.cli.advice import advise
from langgraph_speceyes.cli.answers import ask, demo
from langgraph_speceyes.cli.calibration import calibrate, label
from langgraph_speceyes.cli.endpoint import probe
from langgraph_speceyes.cli.restore import restore
from langgraph_speceyes.cli.runs import evaluate, report_runs
from langgraph_speceyes.cli.speed import measure_speed
from langgraph_speceyes.cli.testbed import check, serve, write
from langgraph_speceyes.cli.traffic import audit, gate, opening

__all__ = ["app"]

app = typer.Typer(
    help="A speculative bypass for LangGraph visual agents.", no_args_is_help=True, pretty_exceptions_enable=False
)
app.command()(demo)
app.command()(ask)
app.command("eval")(evaluate)
app.command("report")(report_runs)
app.command("bench")(measure_speed)
app.command()(calibrate)
app.command()(label)
app.command()(advise)
app.command()(audit)
app.command()(gate)
app.command()(probe)
app.command()(restore)

embedded = typer.Typer(help="The embedded world and pair.", no_args_is_help=True)
app.add_typer(embedded, name="testbed")
embedded.command()(serve)
embedded.command()(check)
embedded.command()(write)
embedded.command()(opening)

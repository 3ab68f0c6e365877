"""`eval`, `report` and `calibrate`: runs on disk, made and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langgraph_speceyes.cli.display import show_overview
from langgraph_speceyes.cli.options import AsJson, Splits
from langgraph_speceyes.cli.progress import run_evaluation
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors
from langgraph_speceyes.models.quiet import quiet_libraries

if TYPE_CHECKING:
    from langgraph_speceyes.bench.chosen import Chosen


def evaluate(
    bench: Annotated[
        str, typer.Argument(help="embedded, or vstar, hrbench, pope or own beside --data, or a path that shows which.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; one that is there is gone on with.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="agent, speculator, speceyes, or a function of yours (package.function), with what differs after a "
            "colon: speceyes:score=mean,threshold=0.9. May be given several times; the default is agent and speceyes."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where a named benchmark's files are; by default in the folder of its name.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Where the images are that POPE's original files name; by default val2014 near.")
    ] = None,
    split: Splits = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most questions of each split.")] = None,
    part: Annotated[
        str | None,
        typer.Option(help="test or calibration: of the embedded world its part, else one half of the images."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another number draws other embedded scenes.")] = 0,
    shuffle: Annotated[int, typer.Option(help="Seed of the options' order.")] = 0,
    keep_order: Annotated[bool, typer.Option("--keep-order", help="Leave options in the published order.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Count a row that cannot be used as wrong, and go on.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Ask agent and speculator about every question, so that thresholds can be swept."),
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions under way at once.")] = 1,
    scorer: Annotated[
        str | None,
        typer.Option(help="A function of yours that returns a chat model, which then scores open-ended answers."),
    ] = None,
    as_json: AsJson = False,
    *,
    chosen: Chosen,
) -> None:
    """Run a benchmark's questions through one or more methods, and keep the outcome of every question."""
    with one_line_errors():
        from langgraph_speceyes.bench.benchmark import Benchmark
        from langgraph_speceyes.bench.evaluation import Evaluation, load_scorer, overview

        quiet_libraries()
        console = ERR if as_json else OUT
        benchmark = Benchmark(
            bench,
            data,
            tuple(split) if split else None,
            limit,
            None if keep_order else shuffle,
            part,
            seed,
            skip_bad,
            images,
        )
        with console.status("Loading the models"):
            found = chosen.load()
        evaluation = Evaluation(
            benchmark, method or ["agent", "speceyes"], found, out, full, concurrency, load_scorer(scorer)
        )
        outcomes = run_evaluation(evaluation, console)
        figures = overview(outcomes)
    if as_json:
        print(json.dumps(figures))
    else:
        deciding = any(outcome["route"] for outcome in outcomes)
        show_overview(OUT, figures, out, calibrates=full and deciding and part == "calibration")
    if outcomes and all(outcome["error"] is not None for outcome in outcomes):
        raise typer.Exit(1)


def report_runs(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the report; made if missing.")],
    as_json: AsJson = False,
) -> None:
    """Make one page of one or more runs: tables with intervals, plots, the mistakes to look at."""
    with one_line_errors():
        from langgraph_speceyes.bench.report import write_report

        with (ERR if as_json else OUT).status("Reading, drawing"):
            found = write_report(runs, out)
    if as_json:
        print(json.dumps(found.to_dict(), allow_nan=False))
    else:
        from langgraph_speceyes.bench.report import PAGE, show_report

        show_report(OUT, found, out / PAGE)

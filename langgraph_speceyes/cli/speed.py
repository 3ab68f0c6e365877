"""`bench`: how fast it is, measured here or simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langgraph_speceyes.cli.display import show_bench
from langgraph_speceyes.cli.folder import prepare_folder
from langgraph_speceyes.cli.options import AsJson, Splits
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors
from langgraph_speceyes.models.quiet import quiet_libraries

if TYPE_CHECKING:
    from langgraph_speceyes.bench.chosen import Chosen


def measure_speed(
    bench: Annotated[
        str, typer.Argument(help="embedded, or vstar, hrbench, pope or own beside --data, or a path that shows which.")
    ] = "embedded",
    out: Annotated[Path | None, typer.Option(help="Folder for everything measured, and the plots.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="comparison, latency, throughput, batching, prefill, switches, overhead, gate or stream, or a key of "
            "the JSON; may be given several times."
        ),
    ] = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Questions of each split; the default is 52, with --quick 4.")
    ] = None,
    stream: Annotated[int, typer.Option(min=1, help="Queries of the long stream.")] = 10_000,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer questions, repeats and sizes.")] = False,
    data: Annotated[Path | None, typer.Option(help="Where a named benchmark's files are.")] = None,
    split: Splits = None,
    part: Annotated[
        str | None,
        typer.Option(help="test or calibration: of the embedded world its part, else one half of the images."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another number draws other embedded scenes.")] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out a row that cannot be used.")] = False,
    simulate: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure nothing, simulate 1 to 64 accelerators: a setting of the paper (vstar, hrbench4k, hrbench8k, "
            "pope), or the folder of a run; may be given several times."
        ),
    ] = None,
    as_json: AsJson = False,
    *,
    chosen: Chosen,
) -> None:
    """Measure how fast it is: what the bypass costs and saves, caches, batching, throughput, memory."""
    with one_line_errors():
        if out:
            prepare_folder(out, "a benchmark's plots")
        if simulate:
            _simulate(simulate, out, as_json)
            return
        import asyncio

        from langgraph_speceyes.bench.benchmark import Benchmark
        from langgraph_speceyes.bench.speed import run

        quiet_libraries()
        console = ERR if as_json else OUT
        benchmark = Benchmark(bench, data, tuple(split) if split else None, part=part, seed=seed, skip_bad=skip_bad)
        with console.status("Loading the models") as status:
            found = chosen.load()
            measured = asyncio.run(
                run(
                    found,
                    benchmark,
                    only=only or (),
                    questions=questions,
                    quick=quick,
                    stream=stream,
                    report=status.update,
                )
            )
            if out:
                measured.save(out)
    if as_json:
        print(json.dumps(measured.to_dict(), allow_nan=False))
    else:
        show_bench(OUT, measured, out, aims=bench == "embedded" and chosen.embedded)


def _simulate(names: list[str], out: Path | None, as_json: bool) -> None:
    """Predict what other hardware would do, setting by setting."""
    from langgraph_speceyes.bench.simulation import run as predict
    from langgraph_speceyes.bench.simulation import save, show

    found = [predict(name) for name in names]
    if out:
        save(found, out)
    if as_json:
        print(json.dumps([one.to_dict() for one in found], allow_nan=False))
    else:
        for one in found:
            show(OUT, one)

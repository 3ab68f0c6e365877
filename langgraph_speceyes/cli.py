"""The command `speceyes`."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from langgraph_speceyes.errors import ArgumentError, SpecEyesError

if TYPE_CHECKING:
    from langgraph_speceyes.bench.evaluation import Evaluation
    from langgraph_speceyes.testbed.questions import Part, Split

app = typer.Typer(
    help="A speculative bypass for LangGraph visual agents.", no_args_is_help=True, pretty_exceptions_enable=False
)
testbed = typer.Typer(help="The embedded world and pair.", no_args_is_help=True)
app.add_typer(testbed, name="testbed")
# what is for people goes to standard error when standard output holds JSON
_out, _err = Console(), Console(stderr=True)

Queries = Annotated[int, typer.Option("--queries", "-n", min=1, help="How many questions to run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Most calls in one forward pass of a local model.")]
ModelsFrom = Annotated[
    str | None, typer.Option(help="A function of yours that returns bench.methods.Models (package.function).")
]
SmallModel = Annotated[str | None, typer.Option(help="Hub id or folder of the small model.")]
LargeModel = Annotated[str | None, typer.Option(help="Hub id or folder of the agent's model, which also judges.")]
GateFile = Annotated[Path | None, typer.Option(help="Gate file.")]
Splits = Annotated[list[str] | None, typer.Option(help="Only this split; may be given several times.")]
Protocol = Annotated[str, typer.Option(help="How the agent's model calls tools: native or deepeyes.")]
Coordinates = Annotated[str, typer.Option(help="What the agent's boxes count: absolute, resized or relative_1000.")]
Threshold = Annotated[
    float | None, typer.Option(help="Gate threshold, between 0 and 1; the default is the calibrated one.")
]


@app.command()
def demo(queries: Queries = 36, threshold: Threshold = None, as_json: AsJson = False) -> None:
    """Run embedded questions through the agent alone and through SpecEyes, and compare."""
    with _errors():
        import asyncio

        from langgraph_speceyes.bench.demo import AGENT, SPECEYES, side_by_side, summary
        from langgraph_speceyes.bench.evaluation import load_models

        quiet_libraries()
        console = _err if as_json else _out
        with console.status("Loading the embedded pair"):
            models = load_models()
            models = replace(models, gate=with_threshold(models.gate, threshold))
        with tempfile.TemporaryDirectory(prefix="speceyes-") as folder, _progress(console) as progress:
            bars = {name: progress.add_task(f"{name:<9}", total=queries) for name in (AGENT, SPECEYES)}

            async def run() -> list[Any]:
                outcomes = []
                async for outcome in side_by_side(models, queries, Path(folder)):
                    outcomes.append(outcome)
                    progress.advance(bars[outcome["method"]])
                return outcomes

            figures = summary(asyncio.run(run()))
    if as_json:
        print(json.dumps(figures))
    else:
        from langgraph_speceyes.display import show_summary

        show_summary(_out, figures)


@app.command()
def ask(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    question: Annotated[str, typer.Argument(help="What to ask about it.")],
    speculator: SmallModel = None,
    agent: LargeModel = None,
    protocol: Protocol = "native",
    coordinates: Coordinates = "absolute",
    threshold: Threshold = None,
    gate: GateFile = None,
    save_crops: Annotated[Path | None, typer.Option(help="Folder for the regions the agent looked at.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer one question about one image; show the route, the score of each token and the regions looked at."""
    with _errors():
        from langgraph_speceyes.display import save_regions, show_answer
        from langgraph_speceyes.front.prompts import image_question

        quiet_libraries()
        from langgraph_speceyes.bench.evaluation import load_models
        from langgraph_speceyes.bench.methods import speceyes

        with (_err if as_json else _out).status("Loading the models"):
            found = load_models(None, speculator, agent, protocol, coordinates, gate)
            graph = speceyes(replace(found, gate=with_threshold(found.gate, threshold)))
        result = graph.invoke({"messages": [image_question(image, question)]})
        answer, decision = result["messages"][-1].text, result["decision"]
        saved = save_regions(decision, save_crops) if save_crops else []
    if as_json:
        print(json.dumps({"answer": answer, "decision": decision, "crops": [str(p) for p in saved]}))
    else:
        show_answer(_out, answer, decision, saved)


@app.command("eval")
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
    data: Annotated[Path | None, typer.Option(help="Where a named benchmark's files are.")] = None,
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
    batch_size: BatchSize = 16,
    models: ModelsFrom = None,
    speculator: SmallModel = None,
    agent: LargeModel = None,
    protocol: Protocol = "native",
    coordinates: Coordinates = "absolute",
    gate: GateFile = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="A function of yours that returns a chat model, which then scores open-ended answers."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a benchmark's questions through one or more methods, and keep the outcome of every question."""
    with _errors():
        from langgraph_speceyes.bench.benchmark import Benchmark
        from langgraph_speceyes.bench.evaluation import Evaluation, load_models, load_scorer, overview

        quiet_libraries()
        console = _err if as_json else _out
        benchmark = Benchmark(
            bench,
            data,
            tuple(split) if split else None,
            limit,
            None if keep_order else shuffle,
            part,
            seed,
            skip_bad,
        )
        with console.status("Loading the models"):
            found = load_models(models, speculator, agent, protocol, coordinates, gate, batch_size)
        evaluation = Evaluation(
            benchmark, method or ["agent", "speceyes"], found, out, full, concurrency, load_scorer(scorer)
        )
        outcomes = _run(evaluation, console)
        figures = overview(outcomes)
    if as_json:
        print(json.dumps(figures))
    else:
        from langgraph_speceyes.display import show_overview

        show_overview(_out, figures, out)


@app.command("report")
def report_runs(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the report; made if missing.")],
    as_json: AsJson = False,
) -> None:
    """Make one page of one or more runs: tables with intervals, plots, the mistakes to look at."""
    with _errors():
        from langgraph_speceyes.bench.report import write_report

        with (_err if as_json else _out).status("Reading, drawing"):
            found = write_report(runs, out)
    if as_json:
        print(json.dumps(found.to_dict(), allow_nan=False))
    else:
        from langgraph_speceyes.bench.report import PAGE, show_report

        show_report(_out, found, out / PAGE)


@app.command("bench")
def measure_speed(
    bench: Annotated[
        str, typer.Argument(help="embedded, or vstar, hrbench, pope or own beside --data, or a path that shows which.")
    ] = "embedded",
    out: Annotated[Path | None, typer.Option(help="Folder for everything measured, and the plots.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="latency, throughput, batching, prefill, switches, overhead, gate or stream, or a key of the JSON; "
            "may be given several times."
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
    batch_size: BatchSize = 16,
    models: ModelsFrom = None,
    speculator: SmallModel = None,
    agent: LargeModel = None,
    protocol: Protocol = "native",
    coordinates: Coordinates = "absolute",
    gate: GateFile = None,
    simulate: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure nothing, simulate 1 to 64 accelerators: a setting of the paper (vstar, hrbench4k, hrbench8k, "
            "pope), or the folder of a run; may be given several times."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast it is: what the bypass costs and saves, caches, batching, throughput, memory."""
    with _errors():
        if simulate:
            _simulate(simulate, out, as_json)
            return
        import asyncio

        from langgraph_speceyes.bench.benchmark import Benchmark
        from langgraph_speceyes.bench.evaluation import load_models
        from langgraph_speceyes.bench.speed import run

        quiet_libraries()
        console = _err if as_json else _out
        benchmark = Benchmark(bench, data, tuple(split) if split else None, part=part, seed=seed, skip_bad=skip_bad)
        with console.status("Loading the models") as status:
            found = load_models(models, speculator, agent, protocol, coordinates, gate, batch_size)
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
        from langgraph_speceyes.display import show_bench

        show_bench(_out, measured, out, aims=bench == "embedded" and not (models or speculator))


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(help="Folder of a run of speceyes with --full, on calibration questions.")],
    out: Annotated[Path | None, typer.Option(help="Gate file to write, for create_speceyes(gate=...).")] = None,
    max_loss: Annotated[
        float, typer.Option(help="Most accuracy to lose against the agent, as a share of all questions.")
    ] = 0.01,
    confidence: Annotated[float, typer.Option(help="How surely that is kept.")] = 0.95,
    method: Annotated[
        str,
        typer.Option(
            help="guarantee, or paper: the fastest point that keeps the agent's accuracy on these very questions."
        ),
    ] = "guarantee",
    counted: Annotated[
        str,
        typer.Option(help="What counts as lost: net, or harm, which lets no gain make up for it."),
    ] = "net",
    score: Annotated[str | None, typer.Option(help="Score to compare; the default is the run's.")] = None,
    judge_threshold: Annotated[
        float | None, typer.Option(help="The judge's threshold, fixed beforehand; the default is the run's.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this split; may be given several times.")] = None,
    as_json: AsJson = False,
) -> None:
    """Choose the gate's threshold on calibration questions, with a promise about the accuracy lost."""
    with _errors():
        from langgraph_speceyes.bench.calibrate import calibrate_run
        from langgraph_speceyes.display import show_calibrated

        found = calibrate_run(
            run,
            method=method,
            max_loss=max_loss,
            confidence=confidence,
            counted=counted,
            score=score,
            judge_threshold=judge_threshold,
            splits=split,
        )
        if out and found.gate:
            found.gate.save(out)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        show_calibrated(_out, found, out)
    if found.gate is None:
        raise typer.Exit(1)


@app.command()
def probe(
    model: Annotated[str, typer.Argument(help="The model's name on the server.")],
    base_url: Annotated[
        str | None, typer.Option(help="Where the server is, such as http://localhost:8000/v1; else OpenAI's.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="Environment variable that holds the key; the default is OPENAI_API_KEY.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask an OpenAI-compatible endpoint what it can do: logprobs and how many, images, tools; say what follows."""
    with _errors():
        from langgraph_speceyes.models.hosted import hosted_model
        from langgraph_speceyes.models.hosted import probe as ask_endpoint

        key = os.environ.get(api_key_env) if api_key_env else None
        if api_key_env and not key:
            raise ArgumentError("api-key-env", "an environment variable that holds a key", api_key_env)
        asked = hosted_model(model, base_url=base_url, api_key=key, max_retries=1, timeout=60.0)
        with (_err if as_json else _out).status("Asking"):
            found = ask_endpoint(asked)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        table = Table("", "", title=found.name, title_justify="left", show_header=False)
        for row in found.rows():
            table.add_row(*map(escape, row))
        _out.print(table)
        for line in found.advice():
            _out.print(line, highlight=False, markup=False, soft_wrap=True)


@testbed.command()
def serve(
    host: Annotated[
        str, typer.Option(help="Where to listen; other machines reach anything but loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    max_logprobs: Annotated[int, typer.Option(min=1, help="Most top_logprobs of a request, as vLLM has it.")] = 20,
) -> None:
    """Serve the embedded pair as an OpenAI-compatible endpoint, until interrupted."""
    with _errors():
        from langgraph_speceyes.testbed.server import serve as serve_pair

        quiet_libraries()
        with _err.status("Loading the embedded pair") as status:

            def ready(server: Any) -> None:
                status.stop()
                _out.print(f"{', '.join(server.models)} at {server.url}", highlight=False, soft_wrap=True)

            serve_pair(host, port, max_logprobs, ready)


@testbed.command()
def check(
    limit: Annotated[int, typer.Option(min=1, help="Questions of each split.")] = 300,
    part: Annotated[str, typer.Option(help="Which scenes: test or calibration.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Another number draws other scenes of the same kind.")] = 0,
    split: Splits = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to keep the run in, as `speceyes eval` does; one there is gone on with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the embedded pair, split by split: what each model gets right, what the gate sees, what it is worth."""
    with _errors(), tempfile.TemporaryDirectory(prefix="speceyes-") as kept_for_now:
        from langgraph_speceyes.bench import check as bench
        from langgraph_speceyes.bench.benchmark import EMBEDDED, Benchmark
        from langgraph_speceyes.bench.evaluation import Evaluation, load_models
        from langgraph_speceyes.testbed.questions import questions

        part_of, splits = _part(part), _splits(split)
        quiet_libraries()
        console = _err if as_json else _out
        benchmark = Benchmark(EMBEDDED, splits=tuple(splits), limit=limit, part=part_of, seed=seed)
        with console.status("Loading the embedded pair"):
            models = load_models()
        evaluation = Evaluation(benchmark, bench.METHODS, models, out or Path(kept_for_now) / "run", full=True)
        outcomes = _run(evaluation, console)
        asked = [question for name in splits for question in questions(name, part_of, limit, seed)]
        figures = bench.report(bench.paired(outcomes, asked))
    if as_json:
        print(json.dumps(figures))
    else:
        from langgraph_speceyes.display import show_check

        show_check(_out, figures)


@testbed.command()
def write(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if missing.")],
    limit: Annotated[int, typer.Option(min=1, help="Questions of each split.")] = 20,
    part: Annotated[str, typer.Option(help="Which scenes: test or calibration.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Another number draws other scenes of the same kind.")] = 0,
    split: Splits = None,
) -> None:
    """Write scenes as image files with their questions, in the layout of the V* benchmark."""
    with _errors():
        from langgraph_speceyes.testbed.files import write_vstar
        from langgraph_speceyes.testbed.questions import questions

        asked = [q for name in _splits(split) for q in questions(name, _part(part), limit, seed)]
        with _progress(_out) as progress:
            bar = progress.add_task("images", total=len(asked))
            for _ in write_vstar(asked, folder):
                progress.advance(bar)
    _out.print(f"{len(asked)} images with their questions in {folder}", highlight=False, soft_wrap=True)


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
            show(_out, one)


def _run(evaluation: Evaluation, console: Console) -> list[Any]:
    """All outcomes of an evaluation, with a progress bar."""
    import asyncio

    with console.status("Reading the questions"):
        total = evaluation.total
    with _progress(console) as progress:
        bar = progress.add_task("outcomes", total=total)

        def report(done: int, name: str) -> None:
            if not name:
                # what an earlier run has done says nothing about the speed of this one
                progress.reset(bar, completed=done)
            progress.update(bar, completed=done, description=f"{name or 'outcomes':<10.40}")

        return asyncio.run(evaluation.run(report))


def _part(name: str) -> Part:
    from langgraph_speceyes.testbed.questions import PARTS

    for part in PARTS:
        if part == name != "train":
            return part
    raise ArgumentError("part", "test or calibration", name)


def _splits(names: list[str] | None) -> list[Split]:
    from langgraph_speceyes.testbed.questions import SPLITS

    for name in names or []:
        if name not in SPLITS:
            raise ArgumentError("split", f"one of {', '.join(SPLITS)}", name)
    return [split for split in SPLITS if names is None or split in names]


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


class _Speed(ProgressColumn):
    """How many a second, or a minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text()
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{speed * 60:.1f}/min", style="progress.data.speed")


def with_threshold(gate: Any, threshold: float | None) -> Any:
    """The gate at another threshold; what it was calibrated for no longer holds."""
    return gate if threshold is None else replace(gate, threshold=threshold, calibration=None)


def quiet_libraries() -> None:
    """Keep transformers' loading bars out of the terminal."""
    try:
        from transformers.utils import logging
    except ModuleNotFoundError:
        return  # the models' own import names the extra to install
    logging.disable_progress_bar()
    logging.set_verbosity_error()


class _errors:
    """Show the package's errors as one line, and exit with status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SpecEyesError):
            _err.print(f"[bold red]error[/] {type(error).__name__}: {error}", highlight=False, soft_wrap=True)
            raise typer.Exit(2) from error


if __name__ == "__main__":
    app()

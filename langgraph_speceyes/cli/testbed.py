"""`testbed serve`, `check` and `write`: the embedded world and pair."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langgraph_speceyes.cli.display import show_check
from langgraph_speceyes.cli.options import AsJson, Splits
from langgraph_speceyes.cli.progress import progress_bar, run_evaluation
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.files import make_folder
from langgraph_speceyes.models.quiet import quiet_libraries

if TYPE_CHECKING:
    from langgraph_speceyes.testbed.questions import Part, Split


def serve(
    host: Annotated[
        str, typer.Option(help="Where to listen; other machines reach anything but loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    max_logprobs: Annotated[int, typer.Option(min=1, help="Most top_logprobs of a request, as vLLM has it.")] = 20,
) -> None:
    """Serve the embedded pair as an OpenAI-compatible endpoint, until interrupted."""
    with one_line_errors():
        from langgraph_speceyes.testbed.server import serve as serve_pair

        quiet_libraries()
        with ERR.status("Loading the embedded pair") as status:

            def ready(server: Any) -> None:
                status.stop()
                OUT.print(f"{', '.join(server.models)} at {server.url}", highlight=False, soft_wrap=True)
                small, large = server.models
                OUT.print(
                    "They understand the words they were trained on alone; `speceyes` knows these by their names:\n"
                    f"  speceyes ask IMAGE QUESTION --base-url {server.url} --speculator {small} --agent {large}\n"
                    "and in code they are langgraph_speceyes.testbed.pair.PROMPTS.",
                    highlight=False,
                    soft_wrap=True,
                )

            serve_pair(host, port, max_logprobs, ready)


def check(
    limit: Annotated[int, typer.Option(min=1, help="Questions of each split.")] = 300,
    part: Annotated[str, typer.Option(help="Which scenes: test or calibration.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Another number draws other scenes of the same kind.")] = 0,
    split: Splits = None,
    looks: Annotated[bool, typer.Option("--looks", help="With the pair's own looks, each depth measured.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to keep the run in, as `speceyes eval` does; one there is gone on with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the embedded pair, split by split: what each model gets right, what the gate sees, what it is worth."""
    with one_line_errors(), tempfile.TemporaryDirectory(prefix="speceyes-") as kept_for_now:
        from langgraph_speceyes.bench import check as bench
        from langgraph_speceyes.bench.benchmark import EMBEDDED, Benchmark
        from langgraph_speceyes.bench.chosen import Chosen
        from langgraph_speceyes.bench.evaluation import Evaluation
        from langgraph_speceyes.testbed.questions import questions

        part_of, splits = _part(part), _splits(split)
        quiet_libraries()
        console = ERR if as_json else OUT
        benchmark = Benchmark(EMBEDDED, splits=tuple(splits), limit=limit, part=part_of, seed=seed)
        with console.status("Loading the embedded pair"):
            models = Chosen(look=("pair",) if looks else ()).load()
        evaluation = Evaluation(benchmark, bench.METHODS, models, out or Path(kept_for_now) / "run", full=True)
        outcomes = run_evaluation(evaluation, console)
        asked = [question for name in splits for question in questions(name, part_of, limit, seed)]
        figures = bench.report(bench.paired(outcomes, asked))
    if as_json:
        print(json.dumps(figures))
    else:
        show_check(OUT, figures)


def write(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if missing.")],
    limit: Annotated[int, typer.Option(min=1, help="Questions of each split.")] = 20,
    part: Annotated[str, typer.Option(help="Which scenes: test or calibration.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Another number draws other scenes of the same kind.")] = 0,
    split: Splits = None,
) -> None:
    """Write scenes as image files with their questions, in the layout of the V* benchmark."""
    with one_line_errors():
        from langgraph_speceyes.testbed.files import write_vstar
        from langgraph_speceyes.testbed.questions import questions

        make_folder(folder, "folder")
        asked = [q for name in _splits(split) for q in questions(name, _part(part), limit, seed)]
        with progress_bar(OUT) as progress:
            bar = progress.add_task("images", total=len(asked))
            for _ in write_vstar(asked, folder):
                progress.advance(bar)
    OUT.print(f"{len(asked)} images with their questions in {folder}", highlight=False, markup=False, soft_wrap=True)


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

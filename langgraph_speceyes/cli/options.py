"""Options that several commands have, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Looks = Annotated[
    list[str] | None,
    typer.Option(
        "--look",
        help="What the small model is shown before it answers again: tiles:2x2, ocr, own_calls, pair (the embedded "
        "pair's own), or a function of yours (package.function); may be given several times, a depth each.",
    ),
]
Threshold = Annotated[
    float | None, typer.Option(help="Gate threshold, between 0 and 1; the default is the calibrated one.")
]

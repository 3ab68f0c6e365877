"""Options that several commands have, each declared once."""

from __future__ import annotations

from typing import Annotated

import typer

Queries = Annotated[int, typer.Option("--queries", "-n", min=1, help="How many questions to run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Most calls in one forward pass of a local model.")]
Splits = Annotated[list[str] | None, typer.Option(help="Only this split; may be given several times.")]
Threshold = Annotated[
    float | None, typer.Option(help="Gate threshold, between 0 and 1; the default is the calibrated one.")
]

"""`advise`: whether to put the bypass in front of an agent, from its own questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from langgraph_speceyes.cli.options import AsJson, Splits
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors


def advise(
    source: Annotated[
        str,
        typer.Argument(
            help="A journal with shadow records (file or postgresql:// URL), or the folder of a run of speceyes with "
            "--full.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for a page with plots, the figures, and the gate if there is one.")
    ] = None,
    max_loss: Annotated[
        float, typer.Option(help="Most to lose against the agent, as a share of all questions.")
    ] = 0.02,
    confidence: Annotated[float, typer.Option(help="How surely that is kept.")] = 0.9,
    counted: Annotated[
        str | None, typer.Option(help="What counts as lost: net, or harm; the default is harm without labels.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="all, disagreements or none; the default is all for a run and none for a journal."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Column of the groups; the default is a run's split, a journal's group.")
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(help='JSON file of prices a million tokens: {"agent": {"input": 2.5, "output": 10}, ...}.'),
    ] = None,
    price: Annotated[
        list[str] | None,
        typer.Option(help="One such price: agent=2.5/10, speculator=0.1, judge=2.5/10. May be given several times."),
    ] = None,
    audit: Annotated[
        float | None,
        typer.Option(help="Share of accepted answers the agent is to answer again; the default is 0.1 without labels."),
    ] = None,
    worth: Annotated[float, typer.Option(help="The least speed-up that is worth it.")] = 1.05,
    split: Splits = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the bypass is worth it on your own traffic: use it, with which settings, or do not, and why."""
    with one_line_errors():
        from langgraph_speceyes.bench.advice import material
        from langgraph_speceyes.bench.advice.costs import read_prices
        from langgraph_speceyes.bench.advice.page import write_page

        with (ERR if as_json else OUT).status("Reading, certifying"):
            found = material(
                source,
                max_loss=max_loss,
                confidence=confidence,
                counted=counted,
                labels=labels,
                splits=split,
                by=by,
                prices=read_prices(prices, price or ()),
                audit=audit,
                worth=worth,
            )
            page = write_page(found, out) if out else None
    if as_json:
        print(json.dumps(found.advice.to_dict(), allow_nan=False))
    else:
        from langgraph_speceyes.bench.advice.display import show_advice

        show_advice(OUT, found.advice, page)

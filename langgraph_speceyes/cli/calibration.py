"""`calibrate` and `label`: from a run or a journal to a gate, with the labels that it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.columns import Columns
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from langgraph_speceyes.cli.options import AsJson
from langgraph_speceyes.cli.terminal import OUT, one_line_errors

if TYPE_CHECKING:
    from langgraph_speceyes.bench.calibrated import Calibrated
    from langgraph_speceyes.bench.labelling import Labelling

Source = Annotated[
    str,
    typer.Argument(
        help="Folder of a run of speceyes with --full, on calibration questions; or a journal, by its "
        "SQLite file or postgresql:// URL.",
        show_default=False,
    ),
]
MaxLoss = Annotated[
    float,
    typer.Option(help="Most to lose against the agent, as a share of all questions; with --labels none: to differ."),
]
Confidence = Annotated[float, typer.Option(help="How surely that is kept.")]
Counted = Annotated[str, typer.Option(help="What counts as lost: net, or harm, which lets no gain make up for it.")]
Score = Annotated[str | None, typer.Option(help="Score to compare; the default is the run's or journal's.")]
JudgeThreshold = Annotated[
    float | None, typer.Option(help="The judge's threshold, fixed beforehand; the default is the run's or journal's.")
]
OneSplit = Annotated[list[str] | None, typer.Option(help="Only this split of a run; may be given several times.")]
By = Annotated[
    str | None, typer.Option(help="Show losses by this column: split, group, rule or expected; of a journal group.")
]
Groups = Annotated[bool, typer.Option("--groups", help="A promise for each value of the column --by.")]


def calibrate(
    run: Source,
    out: Annotated[Path | None, typer.Option(help="Gate file to write, for create_speceyes(gate=...).")] = None,
    max_loss: MaxLoss = 0.01,
    confidence: Confidence = 0.95,
    method: Annotated[
        str,
        typer.Option(
            help="guarantee, or paper: the fastest point that keeps the agent's accuracy on these very questions."
        ),
    ] = "guarantee",
    counted: Counted = "net",
    labels: Annotated[
        str,
        typer.Option(
            help="Which questions have labels: all; disagreements (the others agree, which loses nothing); or none, "
            "for a promise on differing from the agent."
        ),
    ] = "all",
    score: Score = None,
    judge_threshold: JudgeThreshold = None,
    split: OneSplit = None,
    by: By = None,
    groups: Groups = False,
    choose: Annotated[
        bool,
        typer.Option(
            "--choose", help="Compare judge, depths, scores and orders on one half, certify the best on the other."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Choose the gate's threshold on calibration questions, with a promise about what is lost against the agent."""
    with one_line_errors():
        from langgraph_speceyes.bench.calibrate import calibrate_run

        found = calibrate_run(
            run,
            method=method,
            max_loss=max_loss,
            confidence=confidence,
            counted=counted,
            labels=labels,
            score=score,
            judge_threshold=judge_threshold,
            splits=split,
            by=by,
            groups=groups,
            choose=choose,
        )
        if out and found.gate:
            found.gate.save(out)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        show_calibrated(OUT, found, out)
    if found.gate is None:
        raise typer.Exit(1)


def label(
    run: Source,
    max_loss: MaxLoss = 0.01,
    confidence: Confidence = 0.95,
    counted: Counted = "net",
    score: Score = None,
    judge_threshold: JudgeThreshold = None,
    split: OneSplit = None,
    by: By = None,
    groups: Groups = False,
    web: Annotated[bool, typer.Option("--web", help="Ask on a web page of this machine, with the images.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of that page; 0 takes a free one.")] = 0,
) -> None:
    """Ask about the answers that differ, as many as `calibrate --labels disagreements` with the same options needs."""
    with one_line_errors():
        from langgraph_speceyes.bench.calibrate import prepared, terms_of
        from langgraph_speceyes.bench.labelling import Labelling

        terms = terms_of(max_loss, confidence, counted, "disagreements", by if groups else None)
        evidence, composition = prepared(run, score=score, judge_threshold=judge_threshold, splits=split, people=True)
        session = Labelling(evidence, composition, terms)
        if web:
            _on_a_page(session, port)
        else:
            _in_the_terminal(session)
        pending, found = session.next(), session.found
    OUT.print(
        f"{found.accepted:.1%} of these questions are accepted with the labels so far. "
        + ("Further labels may lower the threshold." if pending else "No further label would change the threshold."),
        highlight=False,
    )


def _on_a_page(session: Labelling, port: int) -> None:
    from langgraph_speceyes.bench.label_page import LabelPage

    with LabelPage(session, port=port) as page:
        OUT.print(f"Open {page.url} (q on the page, or Ctrl-C here, ends it)", highlight=False, soft_wrap=True)
        try:
            page.done.wait()
        except KeyboardInterrupt:
            OUT.print()


def _in_the_terminal(session: Labelling) -> None:
    from langgraph_speceyes.bench.labelling import KEYS

    keys = "  ".join(f"[bold]{key}[/] {says}" for key, (says, _) in KEYS.items()) + "  [bold]u[/] undo  [bold]q[/] quit"
    while (pending := session.next()) is not None:
        OUT.rule(f"{pending.labelled} labelled, at most {pending.left} more", align="left")
        OUT.print(escape(pending.shown.question), highlight=False)
        for image in pending.shown.images:
            OUT.print(f"[dim]{escape(image)}[/]", highlight=False, soft_wrap=True)
        sides = (("speculation", pending.shown.speculation), ("agent", pending.shown.answer))
        OUT.print(Columns([Panel(escape(text) or "[dim](nothing)[/]", title=name) for name, text in sides], equal=True))
        OUT.print(keys, highlight=False)
        while (key := typer.getchar().lower()) not in {*KEYS, "u", "q"}:
            pass
        if key == "q":
            return
        if key == "u":
            if not session.undo():
                OUT.print("Nothing to undo.")
        else:
            session.tell(pending.id, key)
            OUT.print(f"[green]{KEYS[key][0]}[/]", highlight=False)


def show_calibrated(console: Console, found: Calibrated, out: Path | None) -> None:
    """The gate that was found, what is promised for it, and what to do where nothing can be."""
    _show_tried(console, found)
    promise = found.guarantee
    if found.gate is None:
        assert promise is not None, "the paper's way always finds a gate"
        console.print(
            f"[bold]No threshold keeps that promise[/]: at most {promise.max_loss:.2%} {_lost(found)} with "
            f"{promise.confidence:.0%} confidence, on {promise.n} questions.",
            highlight=False,
        )
        if found.needed:
            console.print(f"{_labels(found.needed)} missing for the next step: speceyes label.", highlight=False)
        elif promise.n < promise.least:
            console.print(f"It takes {promise.least} at least, {promise.least - promise.n} more.", highlight=False)
        elif promise.more_needed:
            console.print(f"About {promise.more_needed} more questions should do.", highlight=False)
        elif len(found.losses) < 2 and promise.more_needed is None:
            console.print("More questions like these would not help: too much is lost even at the highest scores.")
    else:
        console.print(_gate(found))
        if found.speedup < 1:
            console.print(
                "[bold]The agent alone is faster on these questions[/]: this gate keeps its promise, but costs time."
            )
    _show_losses(console, found)
    for reason, count in found.left_out.items():
        console.print(f"left out: {count} questions {reason}", highlight=False)
    if out and found.gate:
        console.print(f"written to {out}", highlight=False, markup=False, soft_wrap=True)


def _gate(found: Calibrated) -> Table:
    gate, promise = found.gate, found.guarantee
    assert gate is not None
    table = Table(title=f"a gate from {found.questions} questions", title_justify="left", show_header=False)
    table.add_row("score", f"{gate.score}, K = {gate.k}")
    if found.composition:
        table.add_row("composition", found.composition)
    for one in found.depths:
        where = f"at depth {one.depth}, {one.look}" if one.look else "at depth 0, the answer without a look"
        table.add_row(f"threshold {where}", f"{one.threshold:.6f}; {one.accepted:.1%} accepted here")
    if not found.depths:
        table.add_row("threshold", f"{gate.threshold:.6f}")
    if gate.first_look == "always":
        table.add_row("first look", "always: the answer without a look is not asked for")
    if gate.judge_threshold is not None:
        table.add_row("judge's threshold", f"{gate.judge_threshold:.6f}")
    if found.order:
        table.add_row("faster order", found.order)
    if promise is None:
        table.add_row("promised", "nothing about other questions")
    else:
        table.add_row(
            "promised", f"at most {promise.max_loss:.2%} {_lost(found)}, with {promise.confidence:.0%} confidence"
        )
        if found.labels == "disagreements":
            table.add_row("labels", f"{found.labelled} of {found.differing} answers that differ")
            if found.needed:
                table.add_row("to accept more", f"{_labels(found.needed)} missing for the next step: speceyes label")
        if promise.more_needed and not found.needed:
            table.add_row("to accept more", f"about {promise.more_needed} more questions")
    table.add_section()
    table.add_row("accepted here", f"{found.accepted:.1%}")
    if found.accuracy is not None:
        table.add_row("right here", f"{found.accuracy:.1%}; the agent alone {found.agent_accuracy:.1%}")
    table.add_row("speed-up here, total time", f"{found.speedup:.2f} x")
    return table


def _lost(found: Calibrated) -> str:
    """What the promise limits."""
    if found.labels == "none":
        return "of all answers other than the agent's"
    net = found.guarantee is not None and found.guarantee.method == "net"
    return f"of accuracy lost ({'net of what is gained' if net else 'gains not counted'})"


def _labels(count: int) -> str:
    return "1 label is" if count == 1 else f"{count} labels are"


def _show_losses(console: Console, found: Calibrated) -> None:
    if not found.losses:
        return
    promised = any(one.least for one in found.losses)
    table = Table(title=f"by {found.by}" + ("" if promised else ", without a promise each"), title_justify="left")
    table.add_column(found.by or "")
    for name in (
        "questions",
        "accepted",
        "differing" if found.labels == "none" else "lost",
        *(["threshold that it needs", "least questions"] if promised else []),
    ):
        table.add_column(name, justify="right")
    for one in found.losses:
        needs = ["none keeps it" if one.threshold is None else f"{one.threshold:.6f}", str(one.least)]
        row = (str(one.questions), f"{one.accepted:.1%}", f"{one.loss:.2%}", *(needs if promised else []))
        table.add_row(escape(one.value) or "-", *row)
    console.print(table)


def _show_tried(console: Console, found: Calibrated) -> None:
    if not found.tried:
        return
    table = Table(title="compared on the other half of the questions", title_justify="left")
    table.add_column("composition")
    for name in ("threshold", "accepted", "lost" if found.labels == "all" else "differing", "speed-up", "order"):
        table.add_column(name, justify="right")
    for one in found.tried:
        threshold = "none" if one.threshold is None else f"{one.threshold:.6f}"
        row = (threshold, f"{one.accepted:.1%}", f"{one.loss:.2%}", f"{one.speedup:.2f} x", one.order or "-")
        table.add_row(f"{one.name}, taken" if one.taken else one.name, *row, style="bold" if one.taken else None)
    console.print(table)
    if not any(one.taken for one in found.tried):
        console.print("None could be certified there; the recorded composition is tried.", highlight=False)

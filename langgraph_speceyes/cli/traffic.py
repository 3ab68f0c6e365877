"""`audit`, `gate` and `testbed opening`: what real traffic has taught, and how a gate opens on it."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from langgraph_speceyes.cli.folder import prepare_folder
from langgraph_speceyes.cli.options import AsJson, BatchSize
from langgraph_speceyes.cli.progress import progress_bar
from langgraph_speceyes.cli.terminal import ERR, OUT, one_line_errors
from langgraph_speceyes.files import write_whole
from langgraph_speceyes.models.quiet import quiet_libraries

if TYPE_CHECKING:
    from langgraph_speceyes.bench.chosen import Chosen
    from langgraph_speceyes.bench.later import Audited
    from langgraph_speceyes.bench.opening.live import Live, Point

JournalName = Annotated[
    str,
    typer.Argument(
        help="The journal: its file, a postgresql:// URL, or a function of yours that returns one.", show_default=False
    ),
]


def audit(
    journal: JournalName,
    limit: Annotated[int | None, typer.Option(min=1, help="Most audits to answer.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Audits under way at once.")] = 4,
    agree: Annotated[
        str | None,
        typer.Option(help="A function of yours that returns what `agree=` takes; the default is the strict rule."),
    ] = None,
    max_loss: Annotated[
        float, typer.Option(help="Limit of the detector, for gates that do not open themselves.")
    ] = 0.02,
    as_json: AsJson = False,
    *,
    chosen: Chosen,
) -> None:
    """Have the agent answer the audits that a process could not, and show how often accepted answers differ."""
    with one_line_errors():
        from langgraph_speceyes.bench.chosen import made
        from langgraph_speceyes.bench.journals import journal_at
        from langgraph_speceyes.bench.later import audit_later

        quiet_libraries()
        console = ERR if as_json else OUT
        comparing = made(agree, "agree") if agree else None
        with closing(journal_at(journal)) as opened:
            with console.status("Loading the models"):
                found = chosen.load()
            with progress_bar(console) as progress:
                bar = progress.add_task("audits", total=None)
                audited = asyncio.run(
                    audit_later(
                        opened,
                        found.agent,
                        agree=comparing,
                        limit=limit,
                        concurrency=concurrency,
                        max_loss=max_loss,
                        report=lambda done, total: progress.update(bar, completed=done, total=total),
                    )
                )
    if as_json:
        print(json.dumps(audited.to_dict()))
    else:
        _show_audited(OUT, audited)


def gate(
    journal: JournalName,
    only: Annotated[
        str | None, typer.Option("--gate", help="Only this gate: its id in records, or its name here.")
    ] = None,
    reset: Annotated[
        str | None, typer.Option(help="Discard the evidence and begin anew, shut, for this reason.")
    ] = None,
    reopen: Annotated[
        str | None, typer.Option(help="Take back the detector's last close, for this reason; the evidence stays.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how far the gates are that open themselves; begin one anew, or take a close back."""
    with one_line_errors():
        from langgraph_speceyes.bench.later import gate_status

        found = gate_status(journal, gate=only, reset=reset, reopen=reopen)
    if as_json:
        print(json.dumps(found))
        return
    for one in found:
        _show_gate(OUT, one)


def opening(
    out: Annotated[Path, typer.Option(help="Folder for the journal, the figures and the plot.")],
    questions: Annotated[int, typer.Option("--questions", "-n", min=1, help="How many to ask.")] = 800,
    swap_at: Annotated[
        int | None,
        typer.Option("--swap", min=3, help="Before this question the speculator begins to answer other questions."),
    ] = None,
    max_loss: Annotated[float, typer.Option(help="Most answers that may differ, as a share of all questions.")] = 0.02,
    confidence: Annotated[float, typer.Option(help="How surely that is kept.")] = 0.9,
    audit: Annotated[float, typer.Option(help="What the share of audited answers falls to.")] = 0.1,
    judge: Annotated[bool, typer.Option(help="Whether the judge screens questions out before the gate.")] = True,
    score: Annotated[str | None, typer.Option(help="Score to compare; the default is that of the pair's gate.")] = None,
    k: Annotated[int | None, typer.Option(min=2, help="Candidates a token.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another number draws other scenes.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions under way at once.")] = 8,
    batch_size: BatchSize = 16,
    as_json: AsJson = False,
) -> None:
    """From nothing to an open gate: a stream of embedded questions, and what the gate makes of it."""
    with one_line_errors():
        from dataclasses import replace

        from langgraph_speceyes.bench.chosen import Chosen
        from langgraph_speceyes.bench.opening.live import SEED, drawn, run_live, settings_of, summary
        from langgraph_speceyes.bench.opening.live_plot import draw_opening

        quiet_libraries()
        console = ERR if as_json else OUT
        prepare_folder(out, "the plot of the opening")
        with console.status("Loading the models"):
            models = Chosen(batch_size=batch_size).load()
        if score or k:
            chosen: Any = score or models.gate.score  # the gate checks it
            own = replace(models.gate, calibration=None, score=chosen, k=k or models.gate.k)
            models = replace(models, gate=own)
        models = replace(models, judging=judge)
        settings = settings_of(models, max_loss, confidence, audit)
        with tempfile.TemporaryDirectory(prefix="speceyes-") as folder, progress_bar(console) as progress:
            bar = progress.add_task("questions", total=questions)

            def report(point: Point, events: Sequence[Any], status: dict[str, Any]) -> None:
                progress.update(bar, completed=point.number)
                for event in events:
                    _show_event(console, event)
                if point.number % 100 == 0:
                    console.print(f"{point.number:>5}  {status['progress']['words']}", highlight=False, soft_wrap=True)

            live = asyncio.run(
                run_live(
                    models,
                    drawn(Path(folder), questions, SEED if seed is None else seed),
                    out / "journal.sqlite",
                    gate=settings,
                    questions=questions,
                    swap_at=swap_at,
                    concurrency=concurrency,
                    report=report,
                )
            )
        draw_opening(live, out)
        write_whole(out / "opening.json", json.dumps(live.to_dict(), indent=1))
    if as_json:
        print(json.dumps(summary(live)))
    else:
        _show_live(OUT, live, out)


def _show_live(console: Console, live: Live, out: Path) -> None:
    from langgraph_speceyes.bench.opening.live import summary

    found = summary(live)
    table = Table(title=f"{found['questions']} questions in {found['seconds']:.0f} s", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("answers until it was open", _or_never(found["opened_after"]))
    table.add_row("threshold at the end", "shut" if found["threshold"] is None else f"{found['threshold']:.4g}")
    last = "of the last 200 questions" + (" before the swap" if found["swap"] else "")
    table.add_row(f"answered by the speculator, {last}", _percent(found["accepted"]))
    table.add_row("audits", str(found["audits"]))
    table.add_row("audits that differ", _percent(found["differing"]))
    table.add_row("level of the detector at the end", f"{found['level']:.3g}")
    if found["swap"]:
        swap = found["swap"]
        table.add_section()
        table.add_row("speculator swapped before question", str(swap["at"]))
        table.add_row("answers until the gate was closed", _or_never(swap["closed_after"]))
        table.add_row("accepted meanwhile, and later", str(swap["accepted"]))
        table.add_row("of these audited", str(swap["audits"]))
        table.add_row("audits that differ", _percent(swap["differing"]))
    table.add_section()
    table.add_row("records in the journal", str(found["records"]))
    table.add_row("questions without one answer and one record", str(found["lost"]))
    console.print(table)
    console.print(f"journal, figures and plot in {out}", highlight=False, markup=False, soft_wrap=True)


def _show_audited(console: Console, found: Audited) -> None:
    console.print(f"{found.found} audits were open, {found.left} are", highlight=False)
    for words, counts in (("settled", found.settled), ("failed", found.failed), ("left open", found.unanswerable)):
        for reason, count in counts.items():
            console.print(f"  {words}: {count}, {escape(reason)}", highlight=False, soft_wrap=True)
    differing = found.differing
    if differing.value is None:
        console.print("no audit is settled", highlight=False)
    else:
        console.print(f"audits that differ: {_percent(vars(differing))} of {differing.n}", highlight=False)
    for one in found.detectors:
        does = "closes the gate" if one.closes else "would close one that opens itself"
        console.print(
            f"gate {one.gate}: the detector's level is {one.level:.3g} after {one.observed} questions; it warns at "
            f"{one.warning_level:.3g}, and {does} at {one.alarm_level:.3g} (limit {one.max_loss:.3g})",
            highlight=False,
            soft_wrap=True,
        )


def _show_gate(console: Console, status: dict[str, Any]) -> None:
    settings, records, detector = status["settings"], status["records"], status["detector"]
    console.print(f"[bold]{escape(status['name'])}[/]", highlight=False, soft_wrap=True)
    lines = [
        f"at most {settings['max_loss']:.4g} of all questions differ, confidence {settings['confidence']:.4g}; "
        f"score {settings['score']}, K = {settings['k']}; start {status['start']}",
        status["progress"]["words"],
        f"audits {status['rate']:.1%} of the accepted answers; the detector's level is {detector['level']:.3g}, warns "
        f"at {detector['warning_level']:.3g}, closes at {detector['alarm_level']:.3g}",
        f"{records['read']} records read, {records['passed_over']} of other gates passed over, {records['overdue']} "
        "not compared in time",
    ]
    lines += [
        f"depth {one['depth']}: answers {one['accepted']:.1%} of the questions, {one['differing']:.2%} differ; at the "
        f"next threshold {one['next_accepted']:.1%}, of which {one['next_differing']:.2%}"
        for one in status.get("depths", ())
    ]
    if status["held_by"]:
        lines.append(f"waits for the comparison of {status['held_by']['id']}")
    if status["reason"]:
        lines.append(f"last begun anew because: {status['reason']}")
    for line in lines:
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    for event in status["events"]:
        _show_event(console, event)


def _show_event(console: Console, event: dict[str, Any]) -> None:
    colour = {"opened": "green", "lowered": "green", "warned": "yellow", "closed": "red"}.get(event["event"], "cyan")
    console.print(
        f"  [{colour}]{event['event']}[/] after {event['questions']} questions: {escape(event['reason'])}",
        highlight=False,
        soft_wrap=True,
    )


def _percent(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "-"
    return f"{found['value']:.1%} ({found['low']:.1%} .. {found['high']:.1%})"


def _or_never(number: int | None) -> str:
    return "never" if number is None else str(number)

"""What the command shows: tables, the route, coloured token scores, saved regions."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from langgraph_speceyes.answers.words import without_repeats
from langgraph_speceyes.cli.picture import can_show, picture
from langgraph_speceyes.images import load_image, parse_reference
from langgraph_speceyes.scoring import AT_ONE_K, squash
from langgraph_speceyes.state import Decision

if TYPE_CHECKING:
    from PIL.Image import Image

    from langgraph_speceyes.bench.runs import Outcome
    from langgraph_speceyes.bench.speed import Figure, Measured
    from langgraph_speceyes.bench.speed.figures import Sheet


def show_summary(console: Console, figures: dict[str, Any]) -> None:
    """The demo's closing tables."""
    one, two = figures["agent"], figures["speceyes"]
    table = Table(title=f"{figures['queries']} questions, one at a time, same agent", title_justify="left")
    table.add_column("")
    table.add_column("agent alone", justify="right")
    table.add_column("SpecEyes", justify="right", style="bold")
    table.add_row("accuracy", f"{one['accuracy']:.1%}", f"{two['accuracy']:.1%}")
    table.add_row("mean latency", f"{one['latency_mean_s'] * 1e3:.0f} ms", f"{two['latency_mean_s'] * 1e3:.0f} ms")
    table.add_row(
        "95th percentile latency", f"{one['latency_p95_s'] * 1e3:.0f} ms", f"{two['latency_p95_s'] * 1e3:.0f} ms"
    )
    table.add_row("tool steps a question", f"{one['tool_steps_mean']:.2f}", f"{two['tool_steps_mean']:.2f}")
    table.add_row("speed-up, total time", "1.00 x", f"{figures['speedup']:.2f} x")
    predicted = figures["predicted_latency_s"] * 1e3
    table.add_row("mean latency predicted by the paper's formula", "", f"{predicted:.0f} ms")
    console.print(table)

    routes = figures["routes"]
    where = Table(title="where the questions went", title_justify="left")
    where.add_column("route")
    where.add_column("questions", justify="right")
    where.add_row("[yellow]judged tool-needing, to the agent", str(routes["screened"]))
    where.add_row("[green]speculation accepted, from the overview", str(routes["bypass"] - routes["after_look"]))
    where.add_row("[green]speculation accepted, after a look", str(routes["after_look"]))
    where.add_row("[red]rejected by the gate, to the agent", str(routes["rejected"]))
    console.print(where)
    calls = ", ".join(f"{name} {count}" for name, count in figures["tool_calls"].items()) or "none"
    console.print(
        f"screening ratio beta {figures['beta']:.2f}, acceptance rate alpha {figures['alpha']:.2f}, "
        f"score {figures['score']}, threshold {figures['threshold']:.4f}; tool calls behind SpecEyes: {calls}",
        highlight=False,
    )


def show_overview(
    console: Console, figures: dict[str, dict[str, dict[str, Any]]], out: Path, *, calibrates: bool = False
) -> None:
    """A run's closing table, a line a split and method, and what to do with the run.

    Args:
        console: Where to.
        figures: What :func:`~langgraph_speceyes.bench.evaluation.overview` returned.
        out: The run's folder.
        calibrates: Whether a gate can be calibrated on the run.
    """
    from langgraph_speceyes.bench.report.text import print_whole

    table = Table(title=escape(str(out)), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", overflow="fold", min_width=16)
    for name in ("n", "right %", "(95 %)", "latency", "speed-up", "bypass", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    for split, methods in figures.items():
        table.add_row(f"[bold]{escape(split)}[/]")
        for method, one in methods.items():
            low, high = one["accuracy_low"] * 100, one["accuracy_high"] * 100
            table.add_row(
                escape(method),
                str(one["n"]),
                f"{one['accuracy'] * 100:.1f}",
                f"{low:.0f}..{high:.0f}",
                f"{one['seconds_mean'] * 1e3:.0f} ms",
                f"{one['speedup']:.2f} x" if "speedup" in one else "",
                f"{one['bypassed']:.0%}" if "bypassed" in one else "",
                str(one["errors"] or ""),
            )
        table.add_section()
    print_whole(console, table)
    if any("speedup" in one for methods in figures.values() for one in methods.values()):
        console.print("speed-up over the agent in total time", highlight=False)
    for method, one in figures.get("overall", {}).items():
        if one.get("speedup_mean") is not None:
            count = len(figures) - 1
            console.print(f"{escape(method)}: mean of {count} splits {one['speedup_mean']:.2f} x", highlight=False)
    contained, wrong = _contained(figures)
    if contained:
        console.print(
            f"{contained} of {wrong} wrong answers hold the expected one among other words: give the questions "
            "options, or let a model of yours compare (--scorer).",
            highlight=False,
        )
    if failed := _failed(figures):
        console.print(*failed, sep="\n", highlight=False, markup=False, soft_wrap=True)
    run = shlex.quote(str(out))
    step = f"calibrate {run} --out gate.json" if calibrates else f"report {run} --out report"
    console.print(f"next: speceyes {step}", highlight=False, markup=False, soft_wrap=True)


def _failed(figures: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """A line for each method of which questions failed: how many, and what the first one said."""
    methods = figures.get("overall") or next(iter(figures.values()), {})
    return [
        f"{method} failed on {one['errors']} of {one['n']} questions, first: {one['first_error']:.500}"
        for method, one in methods.items()
        if one["errors"]
    ]


def _contained(figures: dict[str, dict[str, dict[str, Any]]]) -> tuple[int, int]:
    """Wrong answers that hold the expected one, and all wrong answers, of the method that has most of the former."""
    methods = figures.get("overall") or next(iter(figures.values()), {})
    counts = [(one["contained"], round(one["n"] * (1 - one["accuracy"]))) for one in methods.values()]
    return max(counts, default=(0, 0))


_CHECKED = (
    ("speculator right, visible", "speculator_visible", ".1%"),
    ("speculator right, too small", "speculator_small", ".1%"),
    ("agent right, too small", "agent_small", ".1%"),
    ("agent right", "agent", ".1%"),
    ("SpecEyes right", "speceyes", ".1%"),
    ("within 5 steps", "within_5_steps", ".1%"),
    ("judge right", "judge_right", ".1%"),
    ("judged tool-free, too small", "judge_tool_free_on_small", ".1%"),
    ("AUROC min", "auroc_min", ".2f"),
    ("AUROC mean", "auroc_mean", ".2f"),
    ("AUROC log", "auroc_log", ".2f"),
    ("AUROC bottom", "auroc_bottom", ".2f"),
    ("tool steps, agent alone", "depth_mean", ".2f"),
    ("tool steps, too small", "depth_small", ".2f"),
    ("screening ratio beta", "beta", ".2f"),
    ("acceptance rate alpha", "alpha", ".2f"),
    ("speed-up, total time", "speedup", ".2f"),
    ("speed-up, mean of the families", "speedup_mean", ".2f"),
)


def show_check(console: Console, figures: dict[str, dict[str, Any]]) -> None:
    """The embedded pair's figures, a column a split, each over its 95 % interval."""
    table = Table(title="the embedded pair, 95 % intervals below", title_justify="left")
    table.add_column("")
    for split in figures:
        table.add_column(split, justify="right", style="bold" if split == "overall" else None)
    table.add_row("questions", *(str(f["n"]) for f in figures.values()))
    rows = list(_CHECKED)
    for depth in range(1, 1 + sum(name.endswith("_auroc_odds") for name in figures["overall"])):
        for words, size in (("visible", "large"), ("too small", "small"), ("specks", "speck")):
            rows.append((f"right after look {depth}, {words}", f"depth_{depth}_{size}", ".1%"))
        rows.append((f"AUROC odds after look {depth}", f"depth_{depth}_auroc_odds", ".2f"))
    for label, name, form in rows:
        cells = []
        for f in figures.values():
            low, high = f["intervals"][name]
            cells.append("-" if f[name] is None else f"{f[name]:{form}}\n[dim]{low:{form}} .. {high:{form}}[/]")
        table.add_row(label, *cells)
    console.print(table)


def show_bench(console: Console, measured: Measured, out: Path | None, *, aims: bool) -> None:
    """What a speed benchmark found, each figure over its interval.

    Args:
        console: Where to print.
        measured: What was found.
        out: Where everything is kept, if it is.
        aims: Show what the embedded pair is meant to reach.
    """
    from langgraph_speceyes.bench.speed import AIMS
    from langgraph_speceyes.bench.speed.figures import NOT_ASKED

    for part in measured.parts.values():
        if part.sheet:
            _show_sheet(console, part.sheet)
    table = Table(title="speed, 95 % intervals in brackets", title_justify="left")
    table.add_column("")
    for name in ("figure", "interval", "n", *(["aim"] if aims else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for key, figure in measured.figures.items():
        label = f"{escape(measured.words(key))}\n[dim]{key}[/]"
        if figure.reason is None:
            table.add_row(label, *_figure_cells(figure), *([AIMS.get(key, "")] if aims else []), style="bold")
        elif figure.reason != NOT_ASKED:
            table.add_row(f"{label}\n[dim]left out: {escape(figure.reason)}[/]", "-", "", "")
    for name, part in measured.parts.items():
        if part.rows:
            table.add_section()
            table.add_row(f"[dim]{name}[/]")
        for label, figure, unit in part.rows:
            if figure.reason is None:
                table.add_row(f"  {escape(label)}" + (f" ({unit})" if unit else ""), *_figure_cells(figure))
    console.print(table)
    setting = measured.setting
    console.print(
        f"{setting['questions']} questions, {setting['cores']} cores, {setting['seconds']:.0f} s, "
        f"at most {setting['peak_memory_mib']:.0f} MiB",
        highlight=False,
    )
    if out:
        console.print(f"everything measured, and plots, in {out}", highlight=False, markup=False, soft_wrap=True)


def _show_sheet(console: Console, sheet: Sheet) -> None:
    """A measurement's own table, a column a row of it: there are more figures than methods."""
    names, *columns = zip(*sheet.rows, strict=True)
    table = Table(title=f"{sheet.title}, 95 % intervals in brackets", title_justify="left")
    table.add_column("")
    for name, _ in names:
        table.add_column(escape(name), justify="right")
    for label, cells in zip(sheet.columns[1:], columns, strict=True):
        table.add_row(label, *(f"{value}\n[dim]{escape(beside)}[/]" if beside else value for value, beside in cells))
    console.print(table)
    console.print(escape(sheet.note), highlight=False)


def _figure_cells(figure: Figure) -> tuple[str, str, str]:
    if figure.median is None or figure.low is None or figure.high is None:
        return "-", "", str(figure.n)
    if figure.low == figure.high:
        return f"{figure.median:.4g}", "", str(figure.n)
    return f"{figure.median:.4g}", f"{figure.low:.4g} .. {figure.high:.4g}", str(figure.n)


class Questions:
    """The demo's questions as they come, each once both methods have answered it.

    Args:
        console: Where they are shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._waiting: dict[str, Outcome] = {}

    def add(self, outcome: Outcome) -> None:
        """Take an outcome of the agent alone or of the bypass, whichever is first."""
        other = self._waiting.pop(outcome["id"], None)
        if other is None:
            self._waiting[outcome["id"]] = outcome
        else:
            agent, speceyes = sorted((other, outcome), key=lambda one: one["method"] != "agent")
            show_question(self._console, agent, speceyes)


def show_question(console: Console, agent: Outcome, speceyes: Outcome) -> None:
    """A question of the demo as it comes: its picture, and what the agent alone and the bypass made of it."""
    where = {"judge": "judged tool-needing", "gate": "rejected by the gate"}
    route = where.get(speceyes["decided_by"] or "", "agent")
    if speceyes["route"] == "bypass":
        looks = speceyes.get("depth") or 0
        route = "small model" if not looks else f"small model, after {'a look' if looks == 1 else f'{looks} looks'}"
    lines = [
        Text(speceyes["question"].replace("\n", "  "), style="bold"),
        _answered("agent alone", agent, ""),
        _answered("SpecEyes", speceyes, f"  {route}"),
    ]
    said = Text("\n").join(lines)
    if not can_show(console):
        console.print(said, highlight=False)
        return
    row = Table.grid(padding=(0, 2, 1, 0))
    row.add_row(picture(load_image(parse_reference(speceyes["image"])), 14), said)
    console.print(row)


def _answered(name: str, outcome: Outcome, route: str) -> Text:
    mark, style = ("\u2713", "green") if outcome["right"] else ("\u2717", "red")
    line = Text(f"{name:<12}{outcome['seconds'].get('total', 0.0) * 1e3:>5.0f} ms  ")
    line.append(f"{mark} ", style=style)
    line.append(outcome["answer"] or outcome["error"] or "no answer")
    line.append(route, style="green" if outcome["route"] == "bypass" else "yellow")
    return line


def show_answer(
    console: Console, answer: str, decision: Decision, saved: list[Path], *, image: Image | None = None
) -> None:
    """One answer and how it came about, beside the picture where the terminal can show one."""
    if image is not None and can_show(console):
        console.print(picture(image))
    shown, repeats = without_repeats(answer)
    console.print(
        f"[bold]{escape(shown)}[/]" + (" [red]... and so on: it repeats itself[/]" if repeats else ""), highlight=False
    )
    colour = "green" if decision["route"] == "bypass" else "yellow"
    decided_by = "speculator" if decision["decided_by"] == "speculate" else decision["decided_by"]
    console.print(f"route      [{colour}]{decision['route']}[/], decided by the {decided_by}", highlight=False)
    if decision["tool_need"] is not None:
        console.print(
            f"judge      tools needed with probability {decision['tool_need']:.6g} "
            f"(threshold {decision['judge_threshold']:.6g})",
            highlight=False,
        )
    if decision["score"] is not None:
        sign = ">=" if decision["accepted"] else "<"
        console.print(
            f"gate       {decision['score_name']} score {decision['score']:.4f} {sign} {decision['threshold']:.4f}, "
            f"K = {decision['k']}",
            highlight=False,
        )
        console.print(Text("tokens     ") + token_line(decision))
    if decision["error"]:
        console.print(f"[red]trouble    {escape(decision['error'])}", highlight=False)
    for call in decision["tool_calls"]:
        box = f" {call['box']}" if call.get("box") else ""
        found = f" -> {call['text']!r}" if call.get("text") else ""
        done = Text(f"tool       {call['tool']}{box}{found}")
        if call.get("error"):
            done.append(f" {call['error']}", style="red")
        console.print(done, highlight=False)
    for path in saved:
        console.print(f"saved      {path}", highlight=False, markup=False, soft_wrap=True)
    seconds = ", ".join(f"{phase} {value * 1e3:.0f} ms" for phase, value in decision["seconds"].items())
    console.print(f"time       {seconds}", highlight=False)
    tokens = ", ".join(f"{phase} {used['input']} + {used['output']}" for phase, used in decision["tokens"].items())
    if tokens:
        console.print(f"tokens     {tokens} (read + written)", highlight=False)


def token_line(decision: Decision) -> Text:
    """The speculation's tokens, coloured by their part in the score: red well below the threshold, green above."""
    line = Text()
    at = 1.0 if decision["threshold"] is None else decision["threshold"]
    for token, value in decision["answer_tokens"]:
        value = math.nan if value is None else value
        score = float(squash(value)) if decision["score_name"] in AT_ONE_K else value
        gap = score - at
        style = "green" if gap >= 0 else "yellow" if gap > -0.02 else "red"
        line.append(token.strip() or repr(token), style=f"bold {style}")
        line.append(f" {score:.3f}  ", style=f"dim {style}")
    return line


def save_regions(decision: Decision, folder: Path) -> list[Path]:
    """Write the regions the agent looked at as PNG files.

    Returns:
        The files, in the order of the tool calls.
    """
    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    for k, call in enumerate(decision["tool_calls"]):
        if call.get("image"):
            path = folder / f"{k + 1}-{call['tool']}.png"
            load_image(parse_reference(call["image"])).save(path)
            saved.append(path)
    return saved

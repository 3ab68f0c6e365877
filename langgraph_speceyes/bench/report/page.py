"""A report's sections, as one page that needs no network and as Markdown."""

from __future__ import annotations

import html as escaping
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from langgraph_speceyes.bench.report.cases import Mistake, Mistakes
from langgraph_speceyes.bench.report.data import AGENT
from langgraph_speceyes.bench.report.pictures import contact_sheet, inlined
from langgraph_speceyes.bench.report.plots import Drawing, Plot
from langgraph_speceyes.bench.report.scores import BINS
from langgraph_speceyes.bench.report.table import Cell as Figures
from langgraph_speceyes.bench.report.table import Mean, column
from langgraph_speceyes.bench.report.text import NONE, Text, interval, number, shown
from langgraph_speceyes.bench.statistics import CONFIDENCE, RESAMPLES, Estimate
from langgraph_speceyes.errors import MissingExtraError

if TYPE_CHECKING:
    from langgraph_speceyes.bench.report import Report


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        title: Its heading.
        columns: Names of the columns; the first ones name the rows.
        rows: Cells.
        above: Headings over several columns each, with how many; none by default.
        names: How many of the columns name the row.
        note: What the figures are.
        folded: Whether the page shows it only when asked.
    """

    kind: ClassVar[str] = "grid"
    title: str
    columns: list[str]
    rows: list[list[Text]]
    above: list[tuple[str, int]] = field(default_factory=list)
    names: int = 1
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Drawn:
    """A plot; folded away if there are many."""

    kind: ClassVar[str] = "plot"
    plot: Plot
    folded: bool = False


@dataclass(frozen=True)
class Said:
    """A sentence."""

    kind: ClassVar[str] = "said"
    text: str
    missing: bool = False


@dataclass(frozen=True)
class Tile:
    """A wrong answer with its picture."""

    picture: str | None
    lines: list[Text]


@dataclass(frozen=True)
class Sheet:
    """Wrong answers side by side."""

    kind: ClassVar[str] = "sheet"
    title: str
    note: str
    tiles: list[Tile]
    file: str


Block = Grid | Drawn | Said | Sheet


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    id: str
    title: str
    blocks: list[Block]


def check_installed() -> None:
    """See that pages can be made.

    Raises:
        MissingExtraError: Jinja is not installed.
    """
    try:
        import jinja2  # noqa: F401
    except ModuleNotFoundError as missing:
        raise MissingExtraError("speceyes report", "eval") from missing


def sections(report: Report, drawing: Drawing, folder: Path) -> list[Section]:
    """What the report shows, in order; the plots and contact sheets are drawn into the folder on the way."""
    found = [
        Section(
            "table", "Accuracy and speed-up", [*_lead(report), *_missing(report, "table"), *_main(report, drawing)]
        ),
        Section(
            "scores", "Do the scores tell right from wrong?", [*_missing(report, "scores"), *_scores(report, drawing)]
        ),
        Section("thresholds", "Other thresholds", [*_missing(report, "sweeps"), *_sweeps(report, drawing)]),
        Section("series", "Concurrency, batch size, K", [*_missing(report, "series"), *_series(report, drawing)]),
        Section("time", "Where the time goes", [*_missing(report, "timelines"), *_time(report, drawing)]),
        Section("mistakes", "Mistakes to look at", [*_missing(report, "mistakes"), *_mistakes(report, folder)]),
        Section("runs", "How it was made", list(_runs(report))),
    ]
    return [section for section in found if section.blocks]


def html(parts: Sequence[Section]) -> str:
    """One page with everything in it."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.jinja").render(sections=parts)


def markdown(parts: Sequence[Section]) -> str:
    """The same for a repository or a pull request; pictures beside it."""
    lines = ["# SpecEyes report", ""]
    for part in parts:
        lines += [f"## {part.title}", ""]
        for block in part.blocks:
            lines += [*_markdown(block), ""]
    return "\n".join(lines).rstrip() + "\n"


# ----------------------------------------------------------------------------------------------------------------------
# Sections


def _missing(report: Report, section: str) -> list[Block]:
    return [Said(text, missing=True) for text in report.missing.get(section, [])]


def _lead(report: Report) -> list[Block]:
    """The main figures in a sentence each."""
    found: list[Block] = []
    for row in report.table.rows:
        mean = row.mean
        if row.method == AGENT or mean.speedup.value is None or mean.accuracy.value is None:
            continue
        over = f"over {mean.splits} splits" if mean.splits > 1 else f"on {next(iter(row.cells))}"
        found.append(
            Said(
                f"{row.label}: {_share(mean.accuracy)[0]} % right {interval(mean.accuracy, 100, 1)} {over}, "
                f"{mean.speedup.value:.2f} times as fast as the agent {interval(mean.speedup, 1, 2)}, "
                f"{100 * (mean.difference.value or 0.0):+.1f} points of accuracy "
                f"{interval(mean.difference, 100, 1, '+')}."
            )
        )
    return found


def _main(report: Report, drawing: Drawing) -> list[Block]:
    table = report.table
    keys = [column(*key) for key in table.columns]
    means = len(keys) > 1
    names = _column_names(table.columns)
    # the mean stands first: seven splits are wider than most screens
    above = [("", 1), *([("mean of the splits", 2)] if means else []), *((name, 2) for name in names)]

    def rows(pair: Any) -> list[list[Text]]:
        found = []
        for row in table.rows:
            line: list[Text] = [(row.label, "")]
            if means:
                first, second = pair(row.mean, row.method)
                short = "" if row.mean.splits == len(keys) else f"of {row.mean.splits} splits"
                line += [(first[0], " ".join(filter(None, (first[1], short)))), second]
            for key in keys:
                line += pair(row.cells[key], row.method) if key in row.cells else [NONE, NONE]
            found.append(line)
        return found

    blocks: list[Block] = [
        Grid(
            "Accuracy and speed-up by latency",
            ["method", *["accuracy, %", "speed-up, x"] * (len(keys) + means)],
            rows(_accuracy_speedup),
            above,
            note="Below each figure its 95 % interval: Wilson's for accuracy (rotations of one question are drawn "
            f"together, by bootstrap), and a paired percentile bootstrap over questions ({RESAMPLES} resamples) for "
            "the rest. Errors, rows that could not be used and unanswered questions are in the denominator as wrong. "
            "The speed-up is the mean latency of the method agent over the method's own, in the same run and on the "
            "questions both have; the mean over splits is unweighted, as in the paper.",
        )
    ]
    if any(cell.difference.value is not None for row in table.rows for cell in row.cells.values()):
        blocks.append(
            Grid(
                "Against the agent",
                ["method", *["accuracy, points", "throughput, x"] * (len(keys) + means)],
                rows(_against),
                above,
                note="Accuracy minus the agent's on the same questions, in percentage points. Throughput is questions "
                "per busy second, over the agent's. Busy is the time in which any question of the method was under "
                "way; where several were, each counts its part, so that a split has its own share. Where the two "
                "differ on no question, the bootstrap's interval has no width, however few the questions.",
            )
        )
    plot = drawing.table(table)
    blocks += [Drawn(plot)] if plot else []
    blocks.append(_counts(report, names))
    routes = _routes(report, names)
    blocks += [routes] if routes else []
    return blocks + _benchmarks(report)


def _column_names(columns: Sequence[tuple[str, str]]) -> list[str]:
    """Splits, with their benchmark where there are several."""
    several = len({benchmark for benchmark, _ in columns}) > 1
    return [f"{benchmark}: {split}" if several and split != benchmark else split for benchmark, split in columns]


def _accuracy_speedup(cell: Figures | Mean, method: str) -> list[Text]:
    return [_share(cell.accuracy), _times(cell.speedup, method)]


def _against(cell: Figures | Mean, method: str) -> list[Text]:
    if method == AGENT:
        return [("0", ""), ("1", "")]
    return [_share(cell.difference, "+"), _times(cell.throughput_speedup, method)]


def _counts(report: Report, names: Sequence[str]) -> Grid:
    rows: list[list[Text]] = []
    for key, name in zip(report.table.columns, names, strict=True):
        for row in report.table.rows:
            if (cell := row.cells.get(column(*key))) is None:
                continue
            numbers = (cell.n, cell.pairs if row.method != AGENT else None, cell.errors, cell.bad_rows, cell.unanswered)
            rows.append(
                [
                    (name, ""),
                    (row.label, ""),
                    *(NONE if value is None else (str(value), "") for value in numbers),
                    shown(cell.seconds, 1, 3),
                    number(cell.seconds_p95, 3),
                    number(cell.throughput, 3),
                ]
            )
    return Grid(
        "Questions and times",
        [
            *("split", "method", "questions", "paired", "errors", "bad rows", "unanswered"),
            *("mean latency, s", "95th percentile, s", "questions / busy s"),
        ],
        rows,
        names=2,
        note="An error is a method that failed, a bad row one of the benchmark that could not be used, unanswered an "
        "answer from which the rule could read nothing. Latency is that of the questions that ran; paired are those "
        "that the agent has a latency for too.",
    )


def _routes(report: Report, names: Sequence[str]) -> Grid | None:
    rows: list[list[Text]] = []
    for key, name in zip(report.table.columns, names, strict=True):
        for row in report.table.rows:
            cell = row.cells.get(column(*key))
            if cell is None or (found := cell.routes) is None:
                continue
            off = None
            if found.predicted_s and cell.seconds.value:
                off = 100 * (cell.seconds.value / found.predicted_s - 1)
            rows.append(
                [
                    (name, ""),
                    (row.label, ""),
                    shown(found.beta, 1, 2),
                    shown(found.alpha, 1, 2),
                    *(number(value, 3) for value in (found.judge_s, found.speculate_s, found.agent_s)),
                    number(found.predicted_s, 3),
                    shown(cell.seconds, 1, 3),
                    NONE if off is None else (f"{off:+.0f} %", ""),
                    (str(found.trouble), ""),
                ]
            )
    if not rows:
        return None
    return Grid(
        "Routes, and the latency they predict",
        [
            *("split", "method", "beta", "alpha", "c_J, s", "c_S, s", "L_agent, s", "predicted, s", "measured, s"),
            *("measured to predicted", "front-end failures"),
        ],
        rows,
        names=2,
        note="beta is the share that the judge let pass, alpha the share of those that the gate accepted. Predicted is "
        "the paper's c_J + beta c_S + (1 - beta alpha) L_agent from the mean costs beside it, L_agent being the mean "
        "latency of the method agent on the same questions. It assumes that the questions which fall back take as long "
        "as the others; the judge keeps the long ones, so the measured latency can be above it.",
    )


def _benchmarks(report: Report) -> list[Block]:
    found: list[Block] = []
    several = len({benchmark for benchmark, _ in report.table.columns}) > 1

    def name(key: str) -> str:
        return key if several else key.partition(" / ")[2]

    if report.table.yes_no:
        rows = [
            [
                (name(one.column), ""),
                (one.label, ""),
                (str(one.figures.n), ""),
                *((f"{100 * v:.1f}", "") for v in (one.figures.precision, one.figures.recall)),
                (f"{100 * one.figures.f1:.1f}", interval(one.f1, 100, 1)),
                (f"{100 * one.figures.yes_ratio:.1f}", ""),
                (str(one.figures.unanswered), ""),
            ]
            for one in report.table.yes_no
        ]
        found.append(
            Grid(
                "Yes-or-no questions",
                ["split", "method", "questions", "precision, %", "recall, %", "F1, %", "answered yes, %", "unclear"],
                rows,
                names=2,
                note="POPE's figures, yes being the positive answer. What was answered neither yes nor no counts "
                "against accuracy, and against recall where yes is right.",
            )
        )
    if report.table.cycles:
        rows = [
            [
                (name(one.column), ""),
                (one.label, ""),
                (str(one.figures.n), ""),
                (f"{100 * one.figures.mean:.1f}", ""),
                (str(one.figures.groups), ""),
                _share(one.all_right),
                (str(one.figures.incomplete), ""),
            ]
            for one in report.table.cycles
        ]
        found.append(
            Grid(
                "Questions asked in rotations",
                ["split", "method", "rows", "mean, %", "questions", "all rotations right, %", "incomplete"],
                rows,
                names=2,
                note="HR-Bench asks each question with its options in four orders. One of which rotations are missing "
                "counts as not all right.",
            )
        )
    return found


def _scores(report: Report, drawing: Drawing) -> list[Block]:
    if not report.scores:
        return []
    rows: list[list[Text]] = []
    plots: list[Block] = []
    for k, one in enumerate(report.scores):
        for score, found in one.scores.items():
            density = found.density
            rows.append(
                [
                    (one.run, ""),
                    (score, ""),
                    (str(one.k), ""),
                    (f"{one.n}", f"of {one.questions} questions"),
                    (f"{100 * (1 - one.right / one.n):.1f}", ""),
                    shown(found.auroc, 1, 3),
                    shown(found.aurc, 1, 3),
                    (f"{found.ece:.3f}", ""),
                    *(number(v, 4) for v in ((density.peak_right, density.peak_wrong) if density else (None, None))),
                    (f"{density.distance:+.2f}", "") if density else NONE,
                ]
            )
        if not all(f.density for f in one.scores.values()):
            plots.append(
                Said(
                    f"{one.run}, K = {one.k}: a density is left out where there are less than five right or wrong "
                    "speculations, or all of a kind have one score.",
                    missing=True,
                )
            )
        drawn = [plot for plot in (drawing.densities(one), drawing.selective(one)) if plot]
        plots += [Drawn(plot, folded=k > 0) for plot in drawn]
    grid = Grid(
        "Scores of the speculations",
        [
            *("run", "score", "K", "speculations", "wrong, %", "AUROC", "AURC", "ECE"),
            *("peak, right", "peak, wrong", "distance, log-odds"),
        ],
        rows,
        names=2,
        note="AUROC: how often a right speculation has the higher score (0.5 says nothing). AURC: area under the "
        "risk-coverage curve, the lower the better; a score that says nothing has the share wrong. ECE: expected "
        f"calibration error with {BINS} bins of equal width, as if the score were a probability, which only log is. "
        f"Intervals: {CONFIDENCE:.0%}, bootstrap over questions.",
    )
    return [grid, *plots]


def _sweeps(report: Report, drawing: Drawing) -> list[Block]:
    blocks: list[Block] = []
    for k, one in enumerate(report.sweeps):
        if not one.scores:
            continue
        judge = f"the judge's threshold stays {one.judge_threshold:.4g}" if one.judge_threshold else "there is no judge"
        at = f"{one.score} at {one.threshold:.4g}" if one.threshold is not None else "several thresholds"
        blocks.append(
            Said(
                f"{one.run}: {one.method} on {one.n} questions; it used {at}; {judge}. Alone, the agent has "
                f"{100 * one.agent:.1f} % right and the speculator {100 * one.speculator:.1f} %."
            )
        )
        blocks += [Drawn(drawing.sweep(one), folded=k > 0), Drawn(drawing.trade(one), folded=k > 0)]
    return blocks


def _series(report: Report, drawing: Drawing) -> list[Block]:
    blocks: list[Block] = []
    for one in report.series:
        blocks.append(Drawn(drawing.series(one)))
        rows: list[list[Text]] = [
            [
                (line.label, ""),
                (str(point.x), ""),
                (point.run, ""),
                _share(point.accuracy),
                _times(point.speedup, line.label),
                number(point.throughput, 3),
                _times(point.throughput_speedup, line.label),
                number(point.serial_limit, 2),
            ]
            for line in one.lines
            for point in line.points
        ]
        note = (
            "The serial limit is the paper's 1 / (1 - beta alpha): what the throughput over an agent that answers one "
            "question after another tends to. Fallbacks that are batched go past it."
        )
        columns = ["method", one.over, "run", "accuracy, %", "speed-up, x", "questions per busy second"]
        columns += ["throughput, x", "serial limit, x"]
        blocks.append(Grid(f"{one.benchmark} over {one.over}", columns, rows, names=2, note=note))
    return blocks


def _time(report: Report, drawing: Drawing) -> list[Block]:
    return [Drawn(drawing.timeline(one), folded=k > 0) for k, one in enumerate(report.timelines)]


def _mistakes(report: Report, folder: Path) -> list[Block]:
    blocks: list[Block] = []
    for one in report.mistakes:
        title = "Accepted and wrong" if one.route == "bypass" else "Fallen back and wrong"
        title = f"{title}: {one.method}, {one.run}"
        if not one.shown:
            blocks.append(Said(f"{title}: none of {one.of}.", missing=True))
            continue
        what = "speculations that the gate accepted" if one.route == "bypass" else "answers of the agent"
        first = f", the first {len(one.shown)}" if one.total > len(one.shown) else ""
        note = f"{one.total} of {one.of} {what} are wrong{first}, the highest score of the speculation first."
        if all(m.picture is None for m in one.shown):
            note += " The run has kept no pictures of them."
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"mistakes-{one.run}-{one.route}.jpg")
        contact_sheet(one.shown, folder / name)
        blocks.append(Sheet(title, note, [_tile(k, m, one) for k, m in enumerate(one.shown, start=1)], name))
    return blocks


def _tile(number: int, one: Mistake, of: Mistakes) -> Tile:
    score = "no score" if one.score is None else f"{one.score_name} {one.score:.4f}"
    if one.score is not None and one.threshold is not None:
        score += f" {'≥' if one.score >= one.threshold else '<'} {one.threshold:.4f}"
    lines = [(f"{number}. {one.split}", score), ("question", one.question), ("right answer", one.expected)]
    lines.append(("answer", one.answer if one.answer else f"none: {one.error or 'it was empty'}"))
    if of.route == "fallback":
        need = "" if one.tool_need is None else f", tools needed with {one.tool_need:.3g}"
        lines.append(("sent on by", f"{one.decided_by}{need}"))
        if one.speculation is not None:
            lines.append(("speculator", f"{one.speculation} ({'right' if one.speculation_right else 'wrong'})"))
    return Tile(inlined(one.picture), [*lines, ("id", one.id)])


def _runs(report: Report) -> list[Block]:
    blocks: list[Block] = []
    for run in report.runs:
        made = dict(run["manifest"])
        rows: list[list[Text]] = [[("folder", ""), (run["folder"], "")]]
        if isinstance(command := made.pop("command", None), list):
            rows.append([("command", ""), (shlex.join(map(str, command)), "")])
        for key, value in made.items():
            if isinstance(value, dict):
                rows += [[(f"{key}: {name}", ""), (_plain(one), "")] for name, one in value.items()]
            else:
                rows.append([(key, ""), (_plain(value), "")])
        blocks.append(Grid(run["name"], ["", ""], rows, folded=len(report.runs) > 1))
    return blocks


def _plain(value: object) -> str:
    """A manifest's value in words."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return str(value)


# ----------------------------------------------------------------------------------------------------------------------
# Numbers as text


def _share(found: Estimate, sign: str = "") -> Text:
    return shown(found, 100, 1, sign)


def _times(found: Estimate, method: str) -> Text:
    return ("1", "") if method.partition(" ")[0] == AGENT and found.value is not None else shown(found, 1, 2)


# ----------------------------------------------------------------------------------------------------------------------
# Markdown

_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~])")


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKS.sub(
        r"\\\1", escaping.escape(" ".join(text.split()), quote=False).replace("&lt;", "<").replace("&gt;", ">")
    )


def _markdown(block: Block) -> list[str]:
    if isinstance(block, Said):
        return [f"*{_escaped(block.text)}*" if block.missing else _escaped(block.text)]
    if isinstance(block, Drawn):
        plot = block.plot
        return [
            f"### {_escaped(plot.title)}",
            "",
            f"![{_escaped(plot.title)}]({plot.name}.png)",
            "",
            _escaped(plot.caption),
        ]
    if isinstance(block, Sheet):
        longest = max(block.tiles, key=lambda tile: len(tile.lines))
        columns = ["", "score", *(name for name, _ in longest.lines[1:])]
        rows = [_padded(tile, number, columns) for number, tile in enumerate(block.tiles, start=1)]
        head = [
            f"### {_escaped(block.title)}",
            "",
            _escaped(block.note),
            "",
            f"![{_escaped(block.title)}]({block.file})",
            "",
        ]
        return [*head, *_pipes(columns, rows)]
    columns = block.columns
    if block.above:
        over = [name for name, span in block.above for _ in range(span)]
        columns = [f"{name} {one}".strip() for name, one in zip(over, columns, strict=True)]
    head = [f"### {_escaped(block.title)}", ""]
    return [*head, *_pipes(columns, block.rows), *(["", _escaped(block.note)] if block.note else [])]


def _padded(tile: Tile, number: int, columns: Sequence[str]) -> list[Text]:
    said = dict(tile.lines[1:])
    return [(str(number), ""), (tile.lines[0][1], ""), *((said.get(name, ""), "") for name in columns[2:])]


def _pipes(columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> list[str]:
    lines = [" | ".join(map(_escaped, columns)), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_escaped(" ".join(filter(None, cell))) for cell in row) for row in rows]
    return [f"| {line} |" for line in lines]

"""Every measured figure of README, documentation and model cards, from one file: `docs/results/figures.json`.

    python examples/figures.py                  # read the report again, rewrite the file and every place that shows one
    python examples/figures.py results/speed    # and what `speceyes bench` has measured, with its plots

The file is read out of the tables that `make results` writes (`docs/results/report.md`, `depths.md`), and out of those
that `make bench` does; both end with this program. A page marks what it shows, and the text between the marks is
rewritten:

    <!--= all/speceyes/speed-up -->2.60<!--/-->               a figure
    <!--= all/speceyes/speed-up (..) -->2.60 (2.54 .. 2.66)<!--/-->   with its interval
    <!-- table: together --> ... <!-- end -->                 a table

A figure's name is the rows it counts (`all`, `mean`, a family), the method (`chosen` is the composition that was
fastest on calibration questions), and the column; or `speed` and the key that `speceyes bench --json` has for it.
`tests/docs/test_figures.py` compares them all.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
FILE = RESULTS / "figures.json"
CARDS = ROOT / "langgraph_speceyes" / "testbed" / "checkpoints"

Figure = dict[str, str]
"""`value`, and where there is an interval `low` and `high`, as they are written."""

ROWS = {"all questions, total time": "all"} | {f"mean of {number} splits": "mean" for number in range(2, 20)}
COLUMNS = {
    "accuracy, %": "right",
    "right, %": "right",
    "speed-up, x": "speed-up",
    "accuracy, points": "points",
    "bypassed, %": "bypassed",
    "mean latency, s": "seconds",
    "total time, x": "speed-up",
    "processor seconds, x": "processor",
    "over the cascade, x": "over the cascade",
    "beta": "beta",
}
PLOTS = ("latency-routes", "throughput")
"""Of `speceyes bench`, shown by the documentation."""
_CELL = re.compile(r"(?P<value>[+-]?\d+(?:\.\d+)?)(?: \[(?P<low>[+-]?[\d.]+), (?P<high>[+-]?[\d.]+)\])?")
_MARK = re.compile(r"<!--= (?P<name>[^>]+?)(?P<interval> \(\.\.\))? -->(?P<shown>.*?)<!--/-->")
_TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(bench: str | None = None) -> None:
    """Read, and rewrite.

    Args:
        bench: The folder of a run of `speceyes bench`.
    """
    if bench is None:
        return write()
    found, table = speed(Path(bench) / "speed.md")
    for name in PLOTS:
        shutil.copyfile(Path(bench) / f"{name}.png", RESULTS / f"speed-{name}.png")
    return write({"speed": table}, found)


def write(tables: Mapping[str, str] | None = None, measured: Mapping[str, Figure] | None = None) -> None:
    """Write the file and every place that shows a figure.

    Args:
        tables: Tables that were made elsewhere, by name; those of the last time stay.
        measured: What `speceyes bench` has measured; that of the last time stays.
    """
    kept = json.loads(FILE.read_text()) if FILE.exists() else {"tables": {}, "speed": {}}
    figures = read(RESULTS)
    now = {
        "figures": figures,
        "speed": dict(measured) if measured is not None else kept["speed"],
        "tables": {**kept["tables"], **(tables or {}), "families": families(figures)},
    }
    FILE.write_text(json.dumps(now, indent=1) + "\n")
    for page in pages():
        text = page.read_text()
        if (written_now := shown(text, figures | now["speed"], now["tables"])) != text:
            page.write_text(written_now)


def pages() -> list[Path]:
    """What may show figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(CARDS.rglob("README.md"))]


def read(results: Path) -> dict[str, Figure]:
    """The figures of the report's tables, by name; the first table that has one counts."""
    found: dict[str, Figure] = {}
    for page in ("report.md", "depths.md"):
        for heads, row in tables(results / page):
            if heads[0] in ("questions", "split") and "method" in heads:
                begins = f"{ROWS.get(row[0], row[0])}/{method(row[heads.index('method')])}"
            elif page == "depths.md" and heads[0] == "way" and "total time, x" in heads:
                # the report has them too, of each run by itself
                begins = f"all/{method(row[0])}"
            else:
                continue
            for head, cell in zip(heads, row, strict=True):
                if head in COLUMNS and (read_as := _CELL.match(cell)):
                    figure = {key: value for key, value in read_as.groupdict().items() if value is not None}
                    found.setdefault(f"{begins}/{COLUMNS[head]}", figure)
    return found


def speed(page: Path) -> tuple[dict[str, Figure], str]:
    """What `speceyes bench` has measured, by name, and all of it as a table."""
    found, lines = {}, ["| | figure | 95 % interval | n |", "| --- | --- | --- | --- |"]
    for heads, row in tables(page):
        if heads[1:3] != ["figure", "95 % interval"] or row[1] == "-":
            continue
        label, _, key = row[0].partition(", `")
        low, _, high = row[2].partition(" .. ")
        if key:
            found[f"speed/{key.rstrip('`')}"] = {"value": row[1], "low": low, "high": high}
        lines.append(f"| {' | '.join([label, *row[1:]])} |")
    return found, "\n".join(lines)


def method(name: str) -> str:
    """What a method is called in the names of figures, with whichever gate it ran."""
    if name.startswith("cascade"):
        return "cascade"
    return "chosen" if name.startswith("speceyes:judge=off") else name


def tables(page: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Each row of each table of a page, with the heads of its columns."""
    heads: list[str] = []
    for line in page.read_text().splitlines():
        if not line.startswith("|"):
            heads = []
            continue
        cells = [cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not heads:
            heads = cells
        elif not set(cells[0]) <= {"-", ":"}:
            yield heads, cells


def shown(text: str, figures: Mapping[str, Figure], made: Mapping[str, str]) -> str:
    """A page with the figures as they are."""

    def table(found: re.Match[str]) -> str:
        return f"{found[1]}\n{made[found[2]]}\n\n{found[3]}" if found[2] in made else found[0]

    def mark(found: re.Match[str]) -> str:
        words = written(figures[found["name"]], interval=found["interval"] is not None)
        return f"<!--= {found['name']}{found['interval'] or ''} -->{words}<!--/-->"

    return _MARK.sub(mark, _TABLE.sub(table, text))


def written(figure: Figure, *, interval: bool = False) -> str:
    """A figure as a page says it."""
    return f"{figure['value']} ({figure['low']} .. {figure['high']})" if interval else figure["value"]


def families(figures: Mapping[str, Figure]) -> str:
    """SpecEyes, with and without looks, and the plain cascade by family."""
    names = [name.partition("/")[0] for name in figures if name.endswith("/agent/seconds")]
    lines = [["", *(f"`{name}`" for name in names)], ["---"] * (len(names) + 1)]
    for label, name, unit, interval in (
        ("agent right", "agent/right", " %", False),
        ("SpecEyes right", "speceyes/right", " %", False),
        ("without looks, right", "speceyes:looks=0/right", " %", False),
        ("plain cascade, right", "cascade/right", " %", False),
        ("speed-up of SpecEyes, total time", "speceyes/speed-up", "", True),
        ("of SpecEyes without looks", "speceyes:looks=0/speed-up", "", True),
        ("of the plain cascade", "cascade/speed-up", "", True),
    ):
        cells = (written(figures[f"{family}/{name}"], interval=interval) + unit for family in names)
        lines.append([label, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A question about every image of a folder: answers are written as they arrive, fast ones first.

    python examples/batch_folder.py                                           # over boards of the embedded world
    python examples/batch_folder.py photos/ "What colour is the bus?" --out answers.csv --concurrency 32 --agents 4

Beside an image may be a text file of the same name with a question of its own. The output is CSV or JSON lines, by its
name.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any, TextIO

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from langgraph_speceyes import create_funnel, create_speceyes, image_question
from langgraph_speceyes.testbed.pair import PROMPTS, load_pair
from langgraph_speceyes.testbed.questions import questions

IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
FIELDS = ("image", "question", "answer", "route", "decided_by", "score", "tool_steps", "arrived_s", "error")
ROUTES = {
    ("bypass", "gate"): "[green]small model",
    ("fallback", "judge"): "[yellow]agent, sent by the judge",
    ("fallback", "gate"): "[yellow]agent, sent by the gate",
    (None, None): "[red]failed",
}
Row = dict[str, Any]

console = Console(width=110, highlight=False)


def build(agents: int) -> Any:
    """A graph that takes many queries and sends each on a path of its own."""
    pair = load_pair()
    speceyes = create_speceyes(
        # Your agent and models go here, and gate="gate.json" from `speceyes calibrate`; without PROMPTS:
        #   speculator=hosted_model("Qwen/Qwen3-VL-2B-Instruct", base_url="http://localhost:8000/v1"),
        pair.agent(),
        speculator=pair.speculator,
        judge=pair.large,
        gate=pair.gate,
        prompts=PROMPTS,
        # The agent's loop is what is expensive: so many at once, whatever is in front of it. Judge and speculator of
        # all queries under way share forward passes.
        max_concurrent_agents=agents,
    )
    return create_funnel(speceyes).compile()


async def run(graph: Any, asked: list[tuple[Path, str]], concurrency: int, put: Callable[[Row], None]) -> list[Row]:
    """Ask all, and put down each answer when it is there."""
    rows, began = [], time.perf_counter()
    given = {"queries": [[image_question(path, question)] for path, question in asked]}
    # the async form: in the sync form every query under way takes a thread
    stream = graph.astream(given, {"max_concurrency": concurrency}, stream_mode="updates")
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("questions", total=len(asked))
        async for update in stream:
            for outcome in update.get("query", {}).get("arrived", []):
                path, question = asked[outcome["index"]]  # they come in the order they end
                decision = outcome["decision"] or {}  # none where the query failed: a damaged image, say
                row = {"image": path.name, "question": question} | {k: outcome[k] for k in ("answer", "error")}
                row |= {k: decision.get(k) for k in ("route", "decided_by", "score", "tool_steps")}
                row["arrived_s"] = round(time.perf_counter() - began, 3)
                put(row)
                rows.append(row)
                progress.advance(bar)
    return rows


def writer(out: TextIO) -> Callable[[Row], None]:
    """CSV or JSON lines, by the file's name; every row is on disk when it was put."""
    if out.name.endswith(".csv"):
        table = csv.DictWriter(out, FIELDS)
        table.writeheader()

        def put(row: Row) -> None:
            table.writerow(row)
            out.flush()

        return put

    def put_line(row: Row) -> None:
        out.write(json.dumps({name: row[name] for name in FIELDS}) + "\n")
        out.flush()

    return put_line


def summary(rows: list[Row]) -> Table:
    """Where the questions went, and when their answers arrived."""
    table = Table("", title=f"{len(rows)} questions in {rows[-1]['arrived_s']:.1f} s", title_justify="left")
    for column in ("questions", "share", "first after", "mean", "last after"):
        table.add_column(column, justify="right")
    for route, name in ROUTES.items():
        at = [row["arrived_s"] for row in rows if (row["route"], row["decided_by"]) == route]
        times = [f"{f(at):.1f} s" for f in (min, mean, max)] if at else ["-"] * 3
        table.add_row(name, str(len(at)), f"{len(at) / len(rows):.0%}", *times)
    return table


def main() -> None:
    """Ask about every image of a folder."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("folder", nargs="?", type=Path, help="images; without it boards of the embedded world")
    cli.add_argument("question", nargs="?", default="", help="asked about every image without a text file")
    cli.add_argument("--out", type=Path, help="a .jsonl or .csv file; the default is in a temporary folder")
    cli.add_argument("--concurrency", type=int, default=16, help="questions under way at once")
    cli.add_argument("--agents", type=int, default=2, help="agents at work at once")
    arguments = cli.parse_args()

    place = Path(tempfile.mkdtemp(prefix="speceyes-batch-"))
    folder, out = arguments.folder or draw_boards(place / "boards"), arguments.out or place / "answers.jsonl"
    asked = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES):
        own = path.with_suffix(".txt")
        question = own.read_text().strip() if own.exists() else arguments.question
        if question:
            asked.append((path, question))
    if not asked:
        cli.error(f"no image with a question in {folder}")

    graph = build(arguments.agents)
    with out.open("w", newline="", encoding="utf-8") as file:
        rows = asyncio.run(run(graph, asked, arguments.concurrency, writer(file)))
    console.print(summary(rows))
    for row in rows:
        if row["error"]:
            console.print(f"[red]{row['image']}[/]: {row['error']}", soft_wrap=True)
    console.print(f"written to {out}", soft_wrap=True)


def draw_boards(folder: Path) -> Path:
    """Boards of the embedded world with a question each, and one file that is no image."""
    folder.mkdir()
    for split in ("attributes", "existence", "relations", "reading"):
        for question in questions(split, "test", 3):
            path = folder / f"{question.id.replace('/', '-')}.png"
            question.render().save(path)
            path.with_suffix(".txt").write_text(question.text)
    (folder / "damaged.png").write_bytes(b"\x89PNG and no more")
    (folder / "damaged.txt").write_text("What is there?")
    return folder


if __name__ == "__main__":
    main()

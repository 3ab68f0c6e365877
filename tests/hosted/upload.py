"""What a bypassed question with a large photo sends and takes where judge and speculator are behind endpoints.

    python -m tests.hosted.upload [--questions 8] [--mbit 50] [--json | --write]
    python -m tests.hosted.upload --accuracy 100

The embedded pair is served by another process over HTTP on this machine. Each question is about a scene of 4,104 to
4,800 pixels a side, as a JPEG of 1.4 to 1.9 MB, that nobody has seen before; gate and judge are set so that all are
bypassed. Each way takes its turn on each question, first over the loopback, then over a line of 50 Mbit/s to the
server. *First request* is the time from the call until the server begins to read the first body; *work* is the
processor's time of the client, which a busy machine tells more truly than its clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import runpy
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph_speceyes import Gate
from langgraph_speceyes.images import clear_cache, clear_fitted
from langgraph_speceyes.models.hosted import hosted_model
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.link import Link
from langgraph_speceyes.testbed.pair import AGENT_NAME, GATE, PROMPTS, SPECULATOR_NAME
from langgraph_speceyes.testbed.questions import Split, questions

WAYS: dict[str, Any] = {"auto": "auto", "originals": None, "judge's prefix": {"judge": None}}
"""The settings of `front_pixels` that are compared."""
LARGE: tuple[Split, ...] = ("dense", "deep")
THRESHOLD = Gate.load(GATE).threshold


@dataclass(frozen=True)
class Asked:
    """One question: bytes sent, seconds to the first request and in all, seconds of this process's work."""

    sent: int
    first: float
    total: float
    work: float


def _serve(pipe: Any, mbit_per_s: float | None) -> None:
    import torch

    from langgraph_speceyes.testbed.server import ModelServer

    torch.set_num_threads(1)
    with ModelServer(link=Link(mbit_per_s)) as server:
        pipe.send(server.url)
        while pipe.recv():
            pipe.send(([(one.at, one.size) for one in server.link.uploads], server.link.connections))
            server.link.uploads.clear()


class Served:
    """A server in another process, and what came through its line."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self.url = pipe, str(pipe.recv())

    def came(self) -> tuple[list[tuple[float, int]], int]:
        """(when, bytes) of each request since the last time, and the connections in all."""
        self._pipe.send(True)
        uploads, connections = self._pipe.recv()
        return uploads, connections


@contextmanager
def served(mbit_per_s: float | None = None) -> Iterator[Served]:
    """Serve the embedded pair from another process, over a line of so many Mbit/s."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, mbit_per_s), daemon=True)
    process.start()
    try:
        yield Served(ours)
    finally:
        ours.send(False)
        process.join(30)


def bypass(url: str, front_pixels: Any) -> Any:
    """The bypass over the served pair; what it asks is never left to the agent."""
    from langgraph_speceyes import create_speceyes, create_visual_agent

    small, large = (hosted_model(name, base_url=url, temperature=0.0) for name in (SPECULATOR_NAME, AGENT_NAME))
    return create_speceyes(
        create_visual_agent(large, tools=["crop"]),
        speculator=small,
        judge=large,
        gate=Gate(threshold=1e-6, k=20),
        judge_threshold=0.999_999,
        prompts=PROMPTS,
        strict=True,
        front_pixels=front_pixels,
    ).compile()


async def ask(graph: Any, server: Served, message: Any) -> Asked:
    """Ask one question about an image that is in no cache."""
    clear_cache()
    clear_fitted()
    began, work = time.monotonic(), time.process_time()
    result = await graph.ainvoke({"messages": [message]})
    total, work = time.monotonic() - began, time.process_time() - work
    assert result["decision"]["route"] == "bypass", result["decision"]
    uploads, _ = server.came()
    return Asked(sum(size for _, size in uploads), uploads[0][0] - began, total, work)


async def campaign(folder: Path, number: int, mbit_per_s: float | None) -> dict[str, list[Asked]]:
    """Every way on every question, taking turns at going first."""
    found: dict[str, list[Asked]] = {way: [] for way in WAYS}
    with served(mbit_per_s) as server:
        graphs = {way: bypass(server.url, pixels) for way, pixels in WAYS.items()}
        for turn, question in enumerate(questions("dense", "test", number + 1)):
            message = written(question, folder)
            ways = list(WAYS)[turn % len(WAYS) :] + list(WAYS)[: turn % len(WAYS)]
            for way in ways:
                asked = await ask(graphs[way], server, message)
                if turn:  # the first one pays for imports and connections
                    found[way].append(asked)
    return found


async def accuracy(folder: Path, number: int) -> list[str]:
    """What judge and speculator say to the smaller image and to the original, on the test part's large scenes.

    Images of the other families are sent as they are.
    """
    with served() as server:
        small, whole = bypass(server.url, "auto"), bypass(server.url, None)
        right, same, routes, asked = [0, 0], 0, 0, 0
        for split in LARGE:
            for question in questions(split, "test", number):
                message, said, sides = written(question, folder), [], []
                for way, graph in enumerate((small, whole)):
                    result = await graph.ainvoke({"messages": [message]})
                    decision = result["decision"]
                    said.append(result["messages"][-1].text)
                    sides.append((decision["tool_need"] >= 0.5, decision["score"] >= THRESHOLD))
                    right[way] += question.is_right(said[-1])
                asked, same, routes = asked + 1, same + (said[0] == said[1]), routes + (sides[0] == sides[1])
                Path(str(message.content[0]["url"])).unlink()
    return [
        f"{asked} questions of {' and '.join(LARGE)}: the speculator is right on {right[0]} from the smaller image and",
        f"on {right[1]} from the original; {same} answers are the same, and on {routes} both take the same side",
    ]


def main() -> None:
    """Measure, and print a table."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--questions", type=int, default=8)
    cli.add_argument("--mbit", type=float, default=50.0)
    cli.add_argument("--json", action="store_true")
    cli.add_argument("--write", action="store_true", help="put the table where the documentation shows it")
    cli.add_argument(
        "--accuracy", type=int, metavar="N", help="instead: N questions each of the families of large scenes"
    )
    a = cli.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="speceyes-") as folder:
        if a.accuracy:
            print("\n".join(asyncio.run(accuracy(Path(folder), a.accuracy))))
            return
        for mbit in (None, a.mbit):
            found = asyncio.run(campaign(Path(folder), a.questions, mbit))
            for way, asked in found.items():
                row: dict[str, Any] = {"line": "loopback" if mbit is None else f"{mbit:g} Mbit/s", "way": way}
                row["kB sent"] = statistics.median(one.sent for one in asked) / 1000
                row["first request, ms"] = 1000 * statistics.median(one.first for one in asked)
                row["total, ms"] = 1000 * statistics.median(one.total for one in asked)
                row["work, ms"] = 1000 * statistics.median(one.work for one in asked)
                rows.append(row)
    if a.json:
        print(json.dumps(rows, indent=1))
        return
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[one if isinstance(one, str) else f"{one:,.0f}" for one in row.values()] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    print(table)
    if a.write:
        figures = Path(__file__).parents[2] / "examples" / "figures.py"
        runpy.run_path(str(figures))["write"]({"upload": table})


if __name__ == "__main__":
    main()

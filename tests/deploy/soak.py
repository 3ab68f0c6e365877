"""Many runs against `langgraph dev`: do they all succeed, and does the server's memory stay flat?

Run it with `make soak`, or `python -m tests.deploy.soak --help`. It ends with status 1 when a run failed, or when the
median memory of the last quarter of the runs is more than 5 % above that of the third.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from langgraph_sdk import get_client

from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.questions import SPLITS, Question, questions
from tests.deploy.server import dev_server, inline

FLAT = 0.05
"""How much the last quarter's median may be above the third's."""


@dataclass(frozen=True)
class Run:
    """One run, in the order in which they ended.

    Attributes:
        question: Which question.
        seconds: From the request to the answer.
        route: What was decided; None when it failed.
        right: Whether the answer is right.
        error: Why it failed, or None.
        rss: Bytes that the server and its children held when it ended.
    """

    question: str
    seconds: float
    route: str | None
    right: bool
    error: str | None
    rss: int


def memory(pid: int) -> int:
    """Resident bytes of a process and everything it started."""
    total = 0
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


async def soak(url: str, pid: int, asked: Sequence[tuple[Question, Path]], clients: int, threads: bool) -> list[Run]:
    """Put every question once, `clients` at a time.

    Args:
        url: The server.
        pid: Its process.
        asked: Questions with the folder of their images.
        clients: Clients at work at once, each with a connection of its own.
        threads: Give every run a thread, which stays; without it runs are stateless.
    """
    waiting = list(reversed(asked))
    ended: list[Run] = []

    async def work() -> None:
        async with get_client(url=url, timeout=600) as client:
            while waiting:
                question, folder = waiting.pop()
                message = await asyncio.to_thread(lambda q, f: inline(written(q, f)), question, folder)
                began = time.perf_counter()
                route, right, error = None, False, None
                try:
                    thread: Any = (await client.threads.create())["thread_id"] if threads else None
                    given: Any = {"messages": [message]}
                    result: Any = await client.runs.wait(thread, "embedded", input=given)
                    route = result["decision"]["route"]
                    right = question.is_right(result["messages"][-1]["content"])
                except Exception as failure:
                    error = f"{type(failure).__name__}: {failure}"
                ended.append(Run(question.id, time.perf_counter() - began, route, right, error, memory(pid)))

    await asyncio.gather(*(work() for _ in range(clients)))
    return ended


def summary(runs: Sequence[Run], seconds: float, idle: int) -> dict[str, Any]:
    """The figures: failures, routes, latency, and the memory of each quarter of the runs."""
    size = len(runs) // 4
    quarters = [statistics.median(r.rss for r in runs[i * size : (i + 1) * size]) for i in range(4)]
    change = quarters[3] / quarters[2] - 1
    taken = sorted(r.seconds for r in runs)
    return {
        "runs": len(runs),
        "failed": sum(r.error is not None for r in runs),
        "right": sum(r.right for r in runs),
        "bypassed": sum(r.route == "bypass" for r in runs),
        "seconds": round(seconds, 1),
        "runs_per_second": round(len(runs) / seconds, 2),
        "median_latency_s": round(statistics.median(taken), 2),
        "p95_latency_s": round(taken[int(0.95 * (len(taken) - 1))], 2),
        "idle_mb": round(idle / 1e6, 1),
        "quarter_medians_mb": [round(q / 1e6, 1) for q in quarters],
        "second_half_change": round(change, 4),
        "flat": change <= FLAT,
    }


def main() -> int:
    """Run the soak and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="how many runs, over all splits")
    parser.add_argument("--clients", type=int, default=16, help="how many at once")
    parser.add_argument("--jobs", type=int, default=16, help="the server's --n-jobs-per-worker; its own default is 1")
    parser.add_argument("--threads", action="store_true", help="a thread for each run, which stays, not stateless runs")
    parser.add_argument("--distinct", type=int, help="questions a split; the default is a new one for each run")
    parser.add_argument("--json", type=Path, help="write figures and runs to this file")
    arguments = parser.parse_args()
    if arguments.runs < 8 or arguments.clients < 1:
        parser.error("at least 8 runs and 1 client")

    each = arguments.distinct or -(-arguments.runs // len(SPLITS))
    drawn = [q for row in zip(*(questions(split, "test", each) for split in SPLITS), strict=True) for q in row]
    with tempfile.TemporaryDirectory(prefix="speceyes-soak-") as place:
        scenes, home = Path(place, "scenes"), Path(place, "server")
        scenes.mkdir()
        home.mkdir()
        for question in drawn:  # beforehand: two clients must not draw one image at once
            written(question, scenes)
        asked = [(drawn[i % len(drawn)], scenes) for i in range(arguments.runs)]
        with dev_server(home, "--n-jobs-per-worker", str(arguments.jobs), scenes=scenes) as server:
            idle = memory(server.pid)
            began = time.perf_counter()
            runs = asyncio.run(soak(server.url, server.pid, asked, arguments.clients, arguments.threads))
            figures = summary(runs, time.perf_counter() - began, idle)
            figures["blocking_errors"] = server.said("BlockingError")
    for name, value in figures.items():
        print(f"{name:20} {value}")
    for run in runs:
        if run.error is not None:
            print(f"failed: {run.question}: {run.error.splitlines()[0]}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"figures": figures, "runs": [asdict(r) for r in runs]}, indent=1) + "\n")
    return 0 if figures["flat"] and not figures["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())

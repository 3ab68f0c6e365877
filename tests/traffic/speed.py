"""How fast the journals are on this machine: `python -m tests.traffic.speed`."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from langgraph.store.memory import InMemoryStore

from langgraph_speceyes.traffic import Journal, Recorder, SQLiteJournal, StoreJournal
from tests.traffic.conftest import sqlite_store
from tests.traffic.records import made

KINDS = ("file", "store", "memory")
BATCH = 256


def opened(kind: str, folder: Path) -> Journal:
    """An empty journal."""
    if kind == "file":
        return SQLiteJournal(folder / "traffic.db")
    return StoreJournal(InMemoryStore() if kind == "memory" else sqlite_store(folder / "store.db"))


def per_second(count: int, begun: float) -> str:
    """A rate since a moment."""
    return f"{count / (time.perf_counter() - begun):7.0f} a second"


def writing(kind: str, count: int) -> None:
    """Single writes, batches, updates, reading."""
    with tempfile.TemporaryDirectory() as folder:
        journal = opened(kind, Path(folder))
        begun = time.perf_counter()
        for number in range(count):
            journal.write(made(f"a-{number}"))
        print(f"{kind:6} written one by one        {per_second(count, begun)}")
        records = [made(f"b-{number}") for number in range(count)]
        begun = time.perf_counter()
        for start in range(0, count, BATCH):
            journal.write_many(records[start : start + BATCH])
        print(f"{kind:6} written {BATCH} at a time      {per_second(count, begun)}")
        begun = time.perf_counter()
        for start in range(0, count, BATCH):
            journal.write_many(records[start : start + BATCH])
        print(f"{kind:6} written again             {per_second(count, begun)}")
        if isinstance(journal, StoreJournal):
            time.sleep(journal.settle_s)
        found, after = 0, None
        begun = time.perf_counter()
        while page := journal.read(after):
            found, after = found + len(page), page[-1][0]
        assert found == 2 * count
        print(f"{kind:6} read                      {per_second(found, begun)}")
        journal.close()


def together(processes: int, count: int) -> None:
    """Processes that write one file, one record at a time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "traffic.db")
        SQLiteJournal(path).read()
        begun = time.perf_counter()
        children = []
        for name in range(processes):
            child = os.fork()
            if child == 0:
                journal = SQLiteJournal(path, timeout_s=60)
                for number in range(count):
                    journal.write(made(f"{name}-{number}"))
                os._exit(0)
            children.append(child)
        assert all(os.waitpid(child, 0)[1] == 0 for child in children)
        print(f"file   {processes} processes, one by one    {per_second(processes * count, begun)}")


def recording(kind: str, rate: int, seconds: int) -> None:
    """A recorder that gets so many records a second, evenly."""
    with tempfile.TemporaryDirectory() as folder:
        journal = opened(kind, Path(folder))
        recorder = Recorder(journal)
        took, most = [], 0
        begun = time.perf_counter()
        for number in range(rate * seconds):
            time.sleep(max(0.0, begun + number / rate - time.perf_counter()))
            start = time.perf_counter()
            recorder.record(made(str(number)))
            took.append(time.perf_counter() - start)
            most = max(most, recorder.counts["waiting"])
        end = time.perf_counter()
        assert recorder.flush(60)
        took.sort()
        print(
            f"{kind:6} recorder, {rate} a second  {rate * seconds / (end - begun):7.0f} a second reached, "
            f"most waiting {most}, {1e3 * (time.perf_counter() - end):.0f} ms to the last; a call takes "
            f"{1e6 * statistics.median(took):.0f} us, 99 % at most {1e6 * took[len(took) * 99 // 100]:.0f} us; "
            f"{recorder.counts}"
        )
        recorder.close()
        journal.close()


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=5)
    asked = parser.parse_args(words)
    if "file" in asked.kinds:
        together(4, asked.count // 4)
    for kind in asked.kinds:
        writing(kind, asked.count)
        recording(kind, asked.rate, asked.seconds)


if __name__ == "__main__":
    main()

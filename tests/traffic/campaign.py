"""Is every acknowledged record kept, once, while the processes that write are killed with -9?

`make journal` runs it at full size, `make postgres` over a PostgreSQL server of its own,
`python -m tests.traffic.campaign --help` any other. Each process writes records, one at a time and in batches, writes
some again, and notes what was acknowledged in a file of its own; those that are killed are started again, and go on
behind what they had noted. A reader reads on all the while. The in-memory store, which is one process's, is written by
threads that nobody kills. It ends with status 1 when something is missing, is there twice, or is older than what was
acknowledged.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from langgraph.store.memory import InMemoryStore

from langgraph_speceyes.errors import JournalError
from langgraph_speceyes.traffic import Journal, PostgresJournal, Record, SQLiteJournal, StoreJournal
from tests.traffic.conftest import sqlite_store
from tests.traffic.records import made

LIMIT = 10**7
KINDS = ("file", "store", "memory")
URL = "url"
"""The file with the database's URL."""
PATIENCE_S = 30.0
"""After so long without a record that was not read before, no more will come."""


def open_in(kind: str, folder: Path) -> Journal:
    """A journal as each process opens it."""
    if kind == "file":
        return SQLiteJournal(folder / "traffic.db", limit=LIMIT, timeout_s=30)
    if kind == "postgres":
        return PostgresJournal((folder / URL).read_text(), limit=LIMIT, timeout_s=30)
    return StoreJournal(sqlite_store(folder / "store.db"), limit=LIMIT)


def insist(write: Callable[[], None]) -> int:
    """Write until it is acknowledged; how often it was not."""
    failures = 0
    while True:
        try:
            write()
        except JournalError:
            failures += 1
            time.sleep(0.01)
        else:
            return failures


def work(journal: Journal, name: int, count: int, notes: Path) -> None:
    """Write one's records from behind the last that was noted.

    A line of the notes is a record's number and the version that was acknowledged.
    """
    chance = random.Random(os.urandom(8))
    begun = 1 + max((number for number, _ in noted(notes)), default=-1)
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if begun:
        os.write(file, b"\n")  # the last line may have been cut

    def write(versions: Sequence[tuple[int, int]]) -> None:
        records = [made(f"{name}-{number}", k=version) for number, version in versions]
        insist(lambda: journal.write(records[0]) if len(records) == 1 else journal.write_many(records))
        os.write(file, "".join(f"{number} {version} \n" for number, version in versions).encode())

    number = begun
    while number < count:
        size = min(count - number, chance.choice([1, 1, 1, 5, 20]))
        write([(each, 1) for each in range(number, number + size)])
        number += size
        if chance.random() < 0.2:
            write([(chance.randrange(number), 2)])
    os.close(file)


def noted(notes: Path) -> list[tuple[int, int]]:
    """What was acknowledged, as far as whole lines say so."""
    lines = notes.read_bytes().decode().split("\n") if notes.exists() else []
    return [(int(words[0]), int(words[1])) for line in lines if len(words := line.split(" ")) == 3]


@dataclass
class Reader:
    """Reads on, and remembers how often it got each record."""

    journal: Journal
    after: str | None = None
    seen: Counter[str] = field(default_factory=Counter)

    def go_on(self) -> bool:
        """Read a page; whether there was one."""
        try:
            page = self.journal.read(self.after, limit=500)
        except JournalError:
            return False
        self.seen.update(record["id"] for _, record in page)
        self.after = page[-1][0] if page else self.after
        return bool(page)


@dataclass
class Outcome:
    """What came of a campaign."""

    acknowledged: int = 0
    kills: int = 0
    seconds: float = 0.0
    read_twice: int = 0
    faults: list[str] = field(default_factory=list)


def judge(outcome: Outcome, reader: Reader, final: Sequence[Record], versions: dict[str, int], strict: bool) -> None:
    """Compare what is there with what was acknowledged."""
    found = Counter(record["id"] for record in final)
    by_id = {record["id"]: record for record in final}
    outcome.acknowledged = len(versions)
    outcome.read_twice = sum(count > 1 for count in reader.seen.values())
    for fault, ids in (
        ("acknowledged and missing", set(versions) - set(found)),
        ("there twice", {id for id, count in found.items() if count > 1}),
        ("never written", set(found) - set(versions)),
        ("older than acknowledged", {id for id in set(versions) & set(found) if (by_id[id]["k"] or 0) < versions[id]}),
        ("lost to the reader", set(versions) - set(reader.seen)),
    ):
        if ids:
            outcome.faults.append(f"{len(ids)} {fault}, such as {min(ids)}")
    if strict and outcome.read_twice:
        outcome.faults.append(f"{outcome.read_twice} read twice")


def latest(notes: dict[int, Path]) -> dict[str, int]:
    """The newest version acknowledged of each record."""
    versions: dict[str, int] = {}
    for name, path in notes.items():
        for number, version in noted(path):
            id = f"{name}-{number}"
            versions[id] = max(version, versions.get(id, 0))
    return versions


def everything(journal: Journal) -> list[Record]:
    """All records there are."""
    found: list[tuple[str, Record]] = []
    while page := journal.read(found[-1][0] if found else None, limit=5000):
        found += page
    return [record for _, record in found]


def with_processes(kind: str, processes: int, count: int, kills: int, seed: int, folder: Path) -> Outcome:
    """The campaign over a file that processes share."""
    chance = random.Random(seed)
    if kind == "store":
        sqlite_store(folder / "store.db").conn.close()  # its tables; several at once cannot make them
    notes = {name: folder / f"notes-{name}" for name in range(processes)}
    at_work: dict[int, int] = {}

    def start(name: int) -> None:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(open_in(kind, folder), name, count, notes[name])
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        at_work[child] = name

    outcome = Outcome()
    begun = time.monotonic()
    for name in range(processes):
        start(name)
    # a moment is a share of all that is to be acknowledged, where a line is some ten bytes
    moments = sorted(chance.uniform(0.01, 0.9) for _ in range(kills))
    size = sum(len(f"{number} 1 \n") for number in range(count)) * processes
    reader = Reader(open_in(kind, folder))
    while at_work:
        done = sum(path.stat().st_size for path in notes.values() if path.exists()) / size
        if moments and done >= moments[0] and len(at_work) > 0:
            moments.pop(0)
            victim = chance.choice(sorted(at_work))
            time.sleep(chance.uniform(0, 0.01))
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            outcome.kills += 1
            start(at_work.pop(victim))
        for child in list(at_work):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                if status:
                    outcome.faults.append(f"writer {at_work[child]} ended with status {status}")
                del at_work[child]
        if not reader.go_on():
            time.sleep(0.01)
    outcome.seconds = time.monotonic() - begun
    versions = latest(notes)
    wait_for(reader, versions)
    judge(outcome, reader, everything(reader.journal), versions, strict=kind == "file")
    return outcome


def with_threads(threads: int, count: int, folder: Path) -> Outcome:
    """The campaign over a store that is one process's."""
    journal = StoreJournal(InMemoryStore(), limit=LIMIT, settle_s=0, timeout_s=30)
    notes = {name: folder / f"notes-{name}" for name in range(threads)}
    workers = [threading.Thread(target=work, args=(journal, name, count, notes[name])) for name in notes]
    outcome, reader = Outcome(), Reader(journal)
    begun = time.monotonic()
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        if not reader.go_on():
            time.sleep(0.01)
    outcome.seconds = time.monotonic() - begun
    versions = latest(notes)
    wait_for(reader, versions)
    judge(outcome, reader, everything(journal), versions, strict=True)
    return outcome


def wait_for(reader: Reader, versions: dict[str, int]) -> None:
    """Read on until all is read, or nothing comes any more."""
    limit = time.monotonic() + PATIENCE_S
    while set(versions) - set(reader.seen) and time.monotonic() < limit:
        if reader.go_on():
            limit = time.monotonic() + PATIENCE_S
        else:
            time.sleep(0.05)


def main(words: Sequence[str] | None = None) -> int:
    """Run the campaign over each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, "postgres"], default=KINDS)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--records", type=int, default=25_000, help="by each process")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    asked = parser.parse_args(words)
    failed = False
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            if kind == "postgres":
                from tests.postgres.server import postgres

                Path(folder, URL).write_text(running.enter_context(postgres()))
            if kind == "memory":
                outcome = with_threads(asked.processes, asked.records, Path(folder))
            else:
                outcome = with_processes(kind, asked.processes, asked.records, asked.kills, asked.seed, Path(folder))
        wanted = asked.processes * asked.records
        if outcome.acknowledged != wanted:
            outcome.faults.append(f"{outcome.acknowledged} of {wanted} acknowledged")
        print(
            f"{kind}: {outcome.acknowledged} records acknowledged in {outcome.seconds:.1f} s "
            f"({outcome.acknowledged / outcome.seconds:.0f} a second), {outcome.kills} killed, "
            f"{outcome.read_twice} read twice by the reader (seed {asked.seed}): "
            f"{'; '.join(outcome.faults) or 'each kept once'}",
            flush=True,
        )
        failed = failed or bool(outcome.faults)
    return int(failed)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())

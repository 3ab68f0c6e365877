"""A stream of questions, one after the other to a person, through a bypass whose gate opens itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from langchain_core.runnables import Runnable

from langgraph_speceyes.bench.datasets import Item, embedded
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.bench.opening.swapped import Swapped
from langgraph_speceyes.bench.statistics import share
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.graph import create_speceyes
from langgraph_speceyes.prompts import image_question
from langgraph_speceyes.testbed.questions import SPLITS
from langgraph_speceyes.traffic.opening import OpeningEvent, SelfOpening
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.sqlite import SQLiteJournal
from langgraph_speceyes.traffic.watch import Traffic

SEED = 14
"""Its scenes are no others': not those of training, of the shipped gate's calibration, or of the test part."""
SWAPPED = "swapped"
"""Group of the questions asked behind the swap; before it, it is the split."""
BACKLOG = 8
"""Jobs in the background from which on the next question waits: people ask no faster than the machine can follow."""


@dataclass(frozen=True)
class Point:
    """The gate when a question had its answer.

    Attributes:
        number: Of the question, from 1, in the order of the answers.
        mode: The mode its run was in: `shadow` while the gate was shut.
        route: Whose answer the user got.
        audited: Whether an accepted answer was chosen for audit.
        swapped: Whether the speculator had been swapped when it was asked.
        threshold: The gate's, for the next question; None while shut.
        rate: Share of accepted answers to be audited from now on.
        level: The detector's level.
    """

    number: int
    mode: str
    route: str
    audited: bool
    swapped: bool
    threshold: float | None
    rate: float
    level: float


@dataclass(frozen=True)
class Live:
    """What came of a stream.

    Attributes:
        settings: The gate's.
        points: One a question.
        events: What happened to the gate, with the number of answers given until it was seen, oldest first.
        records: All of the journal.
        answers: The answers to each question, by the path of its image.
        status: Of the gate at the end.
        swap_at: Before which question the speculator was swapped; None if it was not.
        seconds: Wall time of the stream.
    """

    settings: SelfOpening
    points: tuple[Point, ...]
    events: tuple[tuple[int, OpeningEvent], ...]
    records: tuple[Record, ...]
    answers: dict[str, list[str]]
    status: dict[str, Any]
    swap_at: int | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """All but records and answers, for JSON."""
        return {
            "summary": summary(self),
            "settings": self.settings.to_dict(),
            "events": [{"answers": number, **event} for number, event in self.events],
            "points": [asdict(point) for point in self.points],
        }


def drawn(folder: Path, count: int, seed: int = SEED) -> Iterator[Item]:
    """Embedded questions, each of a split drawn at random.

    Args:
        folder: Where the images go; each is drawn when its question is asked for.
        count: How many.
        seed: Another number draws other scenes, in another order.
    """
    chance = random.Random(f"stream {seed}")
    order = [chance.choice(SPLITS) for _ in range(count)]
    splits = {
        split: embedded(folder, splits=[split], part="calibration", count=many, seed=seed)
        for split, many in Counter(order).items()
    }
    for split in order:
        yield next(splits[split])


async def run_live(
    models: Models,
    items: Iterable[Item],
    journal: Path,
    *,
    gate: SelfOpening,
    questions: int,
    swap_at: int | None = None,
    concurrency: int = 8,
    backlog: int = BACKLOG,
    report: Callable[[Point, Sequence[OpeningEvent], dict[str, Any]], None] = lambda point, events, status: None,
) -> Live:
    """Ask questions, and let the gate open.

    Args:
        models: Speculator, judge and agent; of their gate only score, K and the judge's threshold matter.
        items: The questions.
        journal: The journal's file, with texts; new.
        gate: The gate's settings.
        questions: How many to ask.
        swap_at: Before which question the speculator is swapped for one that answers other questions; None: never.
        concurrency: Questions under way at once.
        backlog: Jobs in the background from which on the next question waits; with 0 and one question at once, each
            finds the gate as all questions before it have left it.
        report: Called after every question with the events since the last one and the gate's status.

    Raises:
        ArgumentError: The journal is there already, or the swap comes too early or too late.
    """
    if journal.exists():
        raise ArgumentError("journal", "a file that is not there yet", journal)
    if swap_at is not None and not 2 < swap_at <= questions:
        raise ArgumentError("swap_at", f"a question from 3 to {questions}", swap_at)
    speculator = Swapped(model=models.speculator)
    kept = SQLiteJournal(journal, texts=True)
    opening: Any = gate
    built: Any = create_speceyes(
        models.agent,
        speculator=speculator,
        judge=models.large if models.judging else None,
        gate=opening,
        prompts=models.prompts,
        policy=models.policy,
        journal=kept,
    )
    stream = _Stream(built.compile(name="speceyes"), built.traffic, speculator, swap_at, report)
    began = time.perf_counter()
    try:
        await stream.run(items, questions, concurrency, backlog)
        await built.traffic.adrain()
        await asyncio.to_thread(stream.look)
        records = await asyncio.to_thread(lambda: tuple(_all(kept)))
    finally:
        kept.close()
    return Live(
        settings=gate,
        points=tuple(stream.points),
        events=tuple(stream.events),
        records=records,
        answers=stream.answers,
        status=stream.status,
        swap_at=swap_at,
        seconds=time.perf_counter() - began,
    )


class _Stream:
    """The questions under way, and what is seen of the gate meanwhile."""

    def __init__(
        self,
        graph: Runnable[Any, Any],
        traffic: Traffic,
        speculator: Swapped,
        swap_at: int | None,
        report: Callable[[Point, Sequence[OpeningEvent], dict[str, Any]], None],
    ) -> None:
        assert traffic.opener is not None, "the gate opens itself"
        self.graph, self.traffic, self.opener = graph, traffic, traffic.opener
        self.speculator, self.swap_at, self.report = speculator, swap_at, report
        self.points: list[Point] = []
        self.events: list[tuple[int, OpeningEvent]] = []
        self.answers: dict[str, list[str]] = {}
        self.status = self.opener.status()

    async def run(self, items: Iterable[Item], questions: int, concurrency: int, backlog: int) -> None:
        """Ask them."""
        waiting = iter(items)
        turns = iter(range(1, questions + 1))
        draw = asyncio.Lock()

        async def worker() -> None:
            while True:
                async with draw:
                    if (number := next(turns, None)) is None:
                        return
                    item = await asyncio.to_thread(next, waiting)
                    if number == self.swap_at:
                        self.speculator.swap()
                    swapped = self.speculator.swapped
                while self.traffic.background.pending > backlog:
                    await asyncio.sleep(0.01)
                await self._ask(item, swapped)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())

    async def _ask(self, item: Item, swapped: bool) -> None:
        asked = {"messages": [image_question(item.image.source, item.text)]}
        result = await self.graph.ainvoke(asked, context={"speceyes_group": SWAPPED if swapped else item.split})
        self.answers.setdefault(item.image.source, []).append(result["messages"][-1].text)
        decision = result["decision"]
        new = self.look()
        point = Point(
            number=len(self.points) + 1,
            mode=decision["mode"],
            route=decision["route"],
            audited=decision["audited"],
            swapped=swapped,
            threshold=self.status["threshold"],
            rate=self.status["rate"],
            level=self.status["detector"]["level"],
        )
        self.points.append(point)
        self.report(point, new, self.status)

    def look(self) -> list[OpeningEvent]:
        """See what has happened to the gate since the last look."""
        self.status = self.opener.status()
        known = [event for _, event in self.events]
        new = [event for event in self.status["events"] if event not in known]
        self.events += [(len(self.points), event) for event in new]
        return new


def summary(live: Live) -> dict[str, Any]:
    """The figures of a stream.

    Returns:
        `opened_after` and `closed_after`: answers given until it was first open, and first closed again; None if it
        never was. `accepted`: share of the last 200 questions before a swap that the speculator answered. `audits`,
        and `differing`, the share of them that differ, both before a swap. `swap`: the same behind it, and how many
        answers were given until the gate was closed. `lost`: questions without exactly one answer and one settled
        record.
    """
    before = [point for point in live.points if not point.swapped]
    return {
        "questions": len(live.points),
        "records": len(live.records),
        "lost": len(lost(live)),
        "seconds": live.seconds,
        "opened_after": _first(live, "opened"),
        "closed_after": _first(live, "closed"),
        "threshold": live.status["threshold"],
        "level": live.status["detector"]["level"],
        "accepted": asdict(share([point.route == "bypass" for point in before[-200:]])),
        **_audits([record for record in live.records if record["group"] != SWAPPED]),
        "swap": None if live.swap_at is None else _swap(live, live.swap_at),
    }


def lost(live: Live) -> list[str]:
    """Questions, by the path of their image, without exactly one answer and one settled record."""
    records = Counter(image for record in live.records if record["settled"] for image in record["images"])
    return [image for image, answers in live.answers.items() if len(answers) != 1 or records[image] != 1]


def _swap(live: Live, at: int) -> dict[str, Any]:
    closed = (number for number, event in live.events if event["event"] == "closed" and number >= at)
    behind = [record for record in live.records if record["group"] == SWAPPED]
    return {
        "at": at,
        "closed_after": next((number - at + 1 for number in closed), None),
        "accepted": sum(record["route"] == "bypass" for record in behind),
        **_audits(behind),
    }


def _audits(records: Sequence[Record]) -> dict[str, Any]:
    audited = [record for record in records if record["route"] == "bypass" and record["audited"]]
    return {"audits": len(audited), "differing": asdict(share([one["agree"] is not True for one in audited]))}


def _first(live: Live, name: str) -> int | None:
    return next((number for number, event in live.events if event["event"] == name), None)


def settings_of(models: Models, max_loss: float, confidence: float, audit: float) -> SelfOpening:
    """The gate for a pair of models: score, K and the judge's threshold are those of their own gate."""
    gate = models.gate
    shut = SelfOpening(max_loss, confidence, score=gate.score, k=gate.k, audit=audit)
    return replace(shut, judge_threshold=gate.judge_threshold if models.judging else None)


def _all(journal: SQLiteJournal) -> Iterator[Record]:
    after = None
    while page := journal.read(after):
        yield from (record for _, record in page)
        after = page[-1][0]

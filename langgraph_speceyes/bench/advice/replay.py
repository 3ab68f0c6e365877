"""How a gate that opens itself goes over a journal's records, replayed beside the journal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from typing import Any

from langgraph.store.memory import InMemoryStore

from langgraph_speceyes.bench.journals import journal_at
from langgraph_speceyes.traffic.opener import Opener, saved_openings
from langgraph_speceyes.traffic.opening import OpeningEvent, SelfOpening
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.records import returned_differs
from langgraph_speceyes.traffic.store import StoreJournal

POINTS = 150
"""Looks at the state, from which the curves are drawn."""


@dataclass(frozen=True)
class Replay:
    """The course of a gate, looked at from time to time.

    Attributes:
        settings: Its settings.
        saved: Whether the journal holds such a gate; else it is what one with default settings would have done.
        number: Records taken in at each look.
        threshold: The threshold then; None while shut.
        level: The detector's level then.
        warning_level: Where it warns.
        alarm_level: Where it closes the gate.
        events: What happened, by the number of records taken in.
        audits: Accepted answers with an audit: the record's number, and whether the answers differ.
        words: How far it is, in a sentence.
    """

    settings: SelfOpening
    saved: bool
    number: tuple[int, ...]
    threshold: tuple[float | None, ...]
    level: tuple[float, ...]
    warning_level: float
    alarm_level: float
    events: tuple[tuple[int, OpeningEvent], ...]
    audits: tuple[tuple[int, bool], ...]
    words: str


def replay(
    source: str | PathLike[str], records: Sequence[Record], settings: SelfOpening | None = None
) -> Replay | None:
    """Fold the records of the newest gate in their order; nothing is written into the journal.

    Records that the journal has dropped, and what a person did (`reset`, `reopen`), are no part of it.

    Args:
        source: The journal as a command names it, which may hold the settings of a gate that opens itself.
        records: Its records, in order.
        settings: Others, to see what a gate with them would have done.

    Returns:
        None without records.
    """
    if not records:
        return None
    gate = records[-1]["gate"]
    used = [record for record in records if record["gate"] == gate]
    judged = [record["judge_threshold"] for record in used if record["judge_threshold"] is not None]
    at = judged[-1] if judged else None
    saved = _saved(source, gate) if settings is None else []
    if saved:
        settings, at = saved[-1].settings, saved[-1].judge_threshold
    settings = settings or SelfOpening(score=used[-1]["score_name"])
    journal = StoreJournal(InMemoryStore(), limit=max(1, 2 * len(used)), settle_s=0)
    depths = 1 + max((one["depth"] for record in used for one in record.get("depths", ())), default=0)
    depths = saved[-1].depths if saved else depths
    opener = Opener(settings, gate, journal, judge_threshold=at, depths=depths)
    number, thresholds, levels, events = [0], [opener.threshold], [0.0], []
    step = max(1, -(-len(used) // POINTS))
    status: dict[str, Any] = opener.status()
    for begin in range(0, len(used), step):
        journal.write_many(used[begin : begin + step])
        happened = opener.refresh()
        status = opener.status()
        end = min(begin + step, len(used))
        for event in happened:
            events.append((end, event))
            if event["event"] == "closed":  # the level is gone by the next look
                number.append(end)
                thresholds.append(None)
                levels.append(event["level"])
        number.append(end)
        thresholds.append(opener.threshold)
        levels.append(status["detector"]["level"])
    journal.close()
    audits = [
        (k, returned_differs(record))
        for k, record in enumerate(used, start=1)
        if record["route"] == "bypass" and record["audited"] and record["settled"]
    ]
    return Replay(
        settings=settings,
        saved=bool(saved),
        number=tuple(number),
        threshold=tuple(thresholds),
        level=tuple(levels),
        warning_level=status["detector"]["warning_level"],
        alarm_level=status["detector"]["alarm_level"],
        events=tuple(events),
        audits=tuple(audits),
        words=status["progress"]["words"],
    )


def _saved(source: str | PathLike[str], gate: str) -> list[Opener]:
    with closing(journal_at(source)) as journal:
        return saved_openings(journal, gate)

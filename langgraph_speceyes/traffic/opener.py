"""The live state of a gate that opens itself, folded from the journal's records in their order."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Literal

from langgraph_speceyes.calibration.watched import Terms, WatchedOpening
from langgraph_speceyes.errors import ArgumentError, JournalError
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.traffic.journal import Journal
from langgraph_speceyes.traffic.opening import EventName, OpeningEvent, SelfOpening
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.seen import SeenRecord, seen_record

__all__ = ["Opener", "saved_openings"]

_PAGE = 256  # records read at once
_EVENTS = 200  # events kept
_RECENT = 256  # records remembered: a store may give one twice, where a write had to be done again
_FORMAT = 1

# What the evidence depends on; other settings may change without voiding it.
_EVIDENCE = ("max_loss", "confidence", "score", "k", "false_alarms", "horizon", "grid")


class Opener:
    """The live state of a gate that opens itself, in one process of perhaps several over one journal.

    :attr:`terms` may be read at any time and takes no lock; :meth:`refresh` takes in what is new and belongs on a
    background thread. Every process folds the same records in the same order, so all come to the same state. A record
    that awaits its comparison holds the line: taking results in as they come would leave out those that take long,
    which are not like the others. After the deadline it counts as differing.

    The state is saved under the gate's id, so that a restart and a bounded journal lose no evidence. A close by the
    detector is saved by itself and outlasts every process: whoever sees it begins anew behind that record. Late
    results and other clocks can only make one process count as differing what another knows to agree; the promise
    holds for both.

    Args:
        settings: The gate's settings.
        gate: What the scores depend on, as records have it in ``gate``; records of others are passed over.
        journal: Where the records are.
        judge_threshold: The judge's threshold in use, None without a judge; records of another are passed over.
        clock: Seconds since the epoch.
        depths: How many answers a question may have: one, and one for each look.
    """

    def __init__(
        self,
        settings: SelfOpening,
        gate: str,
        journal: Journal,
        *,
        judge_threshold: float | None = None,
        clock: Callable[[], float] = time.time,
        depths: int = 1,
    ) -> None:
        self.settings, self.gate_id, self.journal, self.clock = settings, gate, journal, clock
        self.judge_threshold, self.depths = judge_threshold, depths
        basis = {key: value for key, value in settings.to_dict().items() if key in _EVIDENCE}
        text = json.dumps(basis | {"judge_threshold": judge_threshold, "format": _FORMAT}, sort_keys=True)
        self.name = f"opening:{gate}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self._start_name = f"{self.name}:start"
        self._lock = threading.Lock()
        self._watched = settings.fresh(depths)
        self._position: str | None = None
        self._folded = self._overdue = self._skipped = 0
        self._recent: list[str] = []
        self._held: tuple[str, float] | None = None
        self._events: list[OpeningEvent] = []
        self._unreported: list[OpeningEvent] = []
        self._start_event: dict[str, Any] | None = None  # how the present start began; None for the first
        self._start_saved = True  # whether the journal has that
        self._known = False  # whether the journal was ever read
        self._terms = Terms(None, 1.0, 1)

    @property
    def terms(self) -> Terms:
        """What is in force: to be read once for a question, before it is seen, and put into its record."""
        return self._terms

    @property
    def threshold(self) -> float | None:
        """Scores from here on are accepted; None while shut."""
        return self._terms.threshold

    @property
    def gate(self) -> Gate | None:
        """The gate in force; None while shut."""
        threshold = self._terms.threshold
        return None if threshold is None else self.settings.gate(threshold)

    def refresh(self) -> list[OpeningEvent]:
        """Take in what the journal has that is new, and save the state if that was anything.

        Returns:
            What happened to the gate through it, in order.

        Raises:
            JournalError: The journal cannot be read or written. What was taken in stays so.
        """
        with self._lock:
            self._refresh()
            events, self._unreported = self._unreported, []
            return events

    def reset(self, reason: str) -> OpeningEvent:
        """Discard the evidence and begin anew, shut, behind the records taken in so far: for a person to call.

        Args:
            reason: Why, in words.

        Raises:
            JournalError: The journal cannot be read or written; what is left undone is to be called again.
        """
        with self._lock:
            self._refresh()
            return self._begin("reset", self._watched.begin_anew(), self.clock(), reason, None)

    def reopen(self, reason: str) -> OpeningEvent:
        """Take the last close back: for a person who knows that it had another cause than the answers.

        The gate is as it was before, with a fresh detector; what was asked since counts on top.

        Args:
            reason: Why, in words.

        Raises:
            ArgumentError: The detector has not closed the gate, or it was reset since.
            JournalError: The journal cannot be read or written; what is left undone is to be called again.
        """
        with self._lock:
            self._refresh()
            begun = self._start_event
            if begun is None or begun["before"] is None:
                raise ArgumentError("reopen", "a gate that its detector has closed", "none")
            before = WatchedOpening.from_dict(begun["before"])
            before.start = self._watched.start
            self._position, self._folded, self._recent = begun["position"], begun["folded"], begun["recent"]
            return self._begin("reopened", before.begin_anew(keep=True), self.clock(), reason, None)

    def status(self) -> dict[str, Any]:
        """How far the gate is and what it waits for, as plain JSON, as of the last :meth:`refresh`."""
        with self._lock:
            detector, held = self._watched.detector, self._held
            return {
                "gate": self.gate_id,
                "settings": self.settings.to_dict(),
                "judge_threshold": self.judge_threshold,
                **self._watched.terms._asdict(),
                "progress": asdict(self._watched.opening.progress),
                **({"depths": self._by_depth()} if self.depths > 1 else {}),
                "detector": {
                    "level": detector.level,
                    "warning_level": detector.warning_level,
                    "alarm_level": detector.alarm_level,
                    "warned": detector.warned,
                    "observed": detector.observed,
                },
                "records": {"read": self._folded, "passed_over": self._skipped, "overdue": self._overdue},
                "held_by": None if held is None else {"id": held[0], "asked_at": held[1]},
                "reason": None if self._start_event is None else self._start_event["event"]["reason"],
                "events": list(self._events),
            }

    def _by_depth(self) -> list[dict[str, Any]]:
        return [asdict(one) for one in self._watched.opening.by_depth]

    def _refresh(self) -> None:
        try:
            self._save_start()
            self._follow()
            if not self._known:
                self._index()
                self._adopt()
                self._known = True
            if self._still_held() or not self.journal.read(self._position, limit=1):
                return
            self._adopt()
            before = (self._watched.start, self._folded)
            try:
                self._fold()
            finally:
                if (self._watched.start, self._folded) != before:
                    self.journal.save(self.name, self._state())
        finally:
            self._terms = self._watched.terms

    def _still_held(self) -> bool:
        if self._held is None:
            return False
        record = self.journal.get(self._held[0])
        return record is not None and self._seen(record) == "awaited"

    def _fold(self) -> None:
        """Take in records from the position on, up to the first that is awaited."""
        self._held = None
        while page := self.journal.read(self._position, limit=_PAGE):
            for position, record in page:
                seen = self._seen(record)
                if seen == "awaited":
                    self._held = (record["id"], record["at"])
                    return
                self._position = position
                self._folded += 1
                mark = hashlib.sha256(record["id"].encode()).hexdigest()[:8]
                again = mark in self._recent
                self._recent = [*self._recent[1 - _RECENT :], mark]
                if again or isinstance(seen, str):
                    self._skipped += 1
                    continue
                self._overdue += seen.overdue
                event = self._watched.observe(
                    seen.scores, seen.differs, rate=seen.rate, accepted=seen.accepted, audited=seen.audited
                )
                if event == "closed":
                    self._close(record["at"])
                elif event == "warned":
                    detector = self._watched.detector
                    words = f"the detector's level is {detector.level:.3g}, and closes at {detector.alarm_level:.3g}"
                    self._note(event, record["at"], words)
                elif event is not None:
                    self._note(event, record["at"], self._watched.opening.progress.words)

    def _seen(self, record: Record) -> SeenRecord | Literal["other", "awaited"]:
        return seen_record(
            record,
            gate=self.gate_id,
            judge_threshold=self.judge_threshold,
            score=self.settings.score,
            depths=self.depths,
            waited=self.clock() - record["at"] >= self.settings.deadline,
        )

    def _close(self, at: float) -> None:
        """The detector has alarmed: shut at once, whatever the journal says."""
        closed, detector = self._watched, self._watched.detector
        reason = (
            f"accepted answers differ from the agent's on more than {self.settings.max_loss:.4g} of all questions: "
            f"the detector's level is {detector.level:.3g}, and closes at {detector.alarm_level:.3g}"
        )
        if self._overdue:
            reason += f"; {self._overdue} answers counted as differing because they were not compared in time"
        with suppress(JournalError):  # told with the next refresh
            self._begin("closed", closed.begin_anew(), at, reason, closed)

    def _begin(
        self,
        what: Literal["closed", "reset", "reopened"],
        anew: WatchedOpening,
        at: float,
        reason: str,
        closed: WatchedOpening | None,
    ) -> OpeningEvent:
        """Begin the next start at the present position, and tell the others."""
        ended, self._watched = self._watched, anew
        self._terms = anew.terms
        self._held, self._overdue = None, 0
        event = self._note(what, at, reason, ended)
        self._start_event = {
            "event": event,
            "position": self._position,
            "folded": self._folded,
            "recent": self._recent,
            "watched": anew.to_dict(),
            "before": None if closed is None else closed.to_dict(),
        }
        self._start_saved = False
        self._save_start()
        return event

    def _note(self, what: EventName, at: float, reason: str, ended: WatchedOpening | None = None) -> OpeningEvent:
        """Keep an event; `ended` is the start that it ends."""
        of = ended or self._watched
        event = OpeningEvent(
            event=what,
            at=at,
            start=of.start,
            questions=of.opening.questions,
            threshold=self._watched.opening.threshold,
            level=of.detector.level,
            reason=reason,
        )
        self._events = [*self._events, event][-_EVENTS:]
        self._unreported.append(event)
        return event

    def _save_start(self) -> None:
        """Have the journal know how the present start began, unless it knows of as late a one."""
        if self._start_saved or self._start_event is None:
            return
        known = self.journal.load(self._start_name)
        if known is None or known["watched"]["start"] < self._watched.start:
            self.journal.save(self._start_name, self._start_event)
        self._start_saved = True

    def _follow(self) -> None:
        """Begin anew where another process has, or a person."""
        begun = self.journal.load(self._start_name)
        if begun is None or begun["watched"]["start"] <= self._watched.start:
            if begun is not None and begun["watched"]["start"] == self._watched.start:
                self._start_event = begun
            return
        self._start_event, self._held, self._overdue = begun, None, 0
        self._take(begun)
        self._events = [*self._events, begun["event"]][-_EVENTS:]
        if self._known:
            self._unreported.append(begun["event"])

    def _adopt(self) -> None:
        """Go on from the saved state where that is further: of a run before, or of a process that was faster."""
        state = self.journal.load(self.name)
        if state is None or (state["watched"]["start"], state["folded"]) <= (self._watched.start, self._folded):
            return
        self._take(state)
        self._overdue, self._skipped, self._events = state["overdue"], state["skipped"], state["events"]

    def _take(self, state: dict[str, Any]) -> None:
        self._watched = WatchedOpening.from_dict(state["watched"])
        self._watched.floor = self.settings.audit
        self._position, self._folded, self._recent = state["position"], state["folded"], state["recent"]

    def _state(self) -> dict[str, Any]:
        return {
            "position": self._position,
            "folded": self._folded,
            "skipped": self._skipped,
            "overdue": self._overdue,
            "recent": self._recent,
            "watched": self._watched.to_dict(),
            "events": self._events,
        }

    def _index(self) -> None:
        """Have the journal know which states it holds for this gate."""
        index = self.journal.load(_index_name(self.gate_id)) or {}
        entry = {"settings": self.settings.to_dict(), "judge_threshold": self.judge_threshold}
        entry |= {"depths": self.depths} if self.depths > 1 else {}
        if index.get(self.name) != entry:
            self.journal.save(_index_name(self.gate_id), index | {self.name: entry})


def saved_openings(journal: Journal, gate: str) -> list[Opener]:
    """The states that a journal holds for a gate, each to be refreshed before it is looked at.

    Args:
        journal: The journal.
        gate: As records have it in ``gate``.

    Raises:
        JournalError: The journal cannot be read.
    """
    entries = (journal.load(_index_name(gate)) or {}).values()
    return [
        Opener(
            SelfOpening.from_dict(entry["settings"]),
            gate,
            journal,
            judge_threshold=entry["judge_threshold"],
            depths=entry.get("depths", 1),
        )
        for entry in entries
    ]


def _index_name(gate: str) -> str:
    return f"openings:{gate}"

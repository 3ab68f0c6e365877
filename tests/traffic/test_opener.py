"""The live state of a gate that opens itself: one order for all processes, and evidence that outlasts them."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.store.memory import InMemoryStore

from langgraph_speceyes.calibration import WatchedOpening
from langgraph_speceyes.errors import ArgumentError, JournalError
from langgraph_speceyes.traffic import Journal, StoreJournal
from langgraph_speceyes.traffic.opener import Opener, saved_openings
from langgraph_speceyes.traffic.opening import SelfOpening
from langgraph_speceyes.traffic.record import Record
from tests.traffic.conftest import Make
from tests.traffic.records import deeper, made

GATE = "0123456789abcdef"
NOW = 1_780_000_000.0
SETTINGS = SelfOpening(0.2, 0.6, score="min", k=64, grid=(0.9, 0.7, 0.5), false_alarms=0.5, horizon=20)
FIELDS = {"score_name": "min", "at": NOW, "settled": True}


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def opener(journal: Journal, clock: Clock | None = None, **changes: Any) -> Opener:
    return Opener(SETTINGS, GATE, journal, judge_threshold=0.5, clock=clock or Clock(), **changes)


def shadow(id: object, *, score: float | None = 0.8, agree: bool | None = True, **fields: Any) -> Record:
    return made(str(id), **(FIELDS | {"score": score, "scores": {"min": score}, "agree": agree} | fields))


def taken(id: object, *, agree: bool | None = None, rate: float = 0.5, **fields: Any) -> Record:
    """An accepted answer; audited where it is known whether the answers agree."""
    audited = agree is not None
    given = {"mode": "on", "route": "bypass", "audited": audited, "audit_rate": rate}
    return shadow(id, agree=agree, **(given | fields))


def evidence(one: Opener) -> list[float]:
    return list(one._watched.opening.evidence)


def everything(one: Opener) -> dict[str, Any]:
    return one._watched.to_dict() | {"position": one._position, "folded": one._folded}


def opened(journal: Journal, first: int = 0) -> Opener:
    """With enough agreement to open."""
    for number in range(first, first + 12):
        journal.write(shadow(f"open-{number}"))
    found = opener(journal)
    found.refresh()
    assert found.threshold == 0.5
    return found


def test_it_opens_on_what_the_journal_holds_and_says_so(make: Make) -> None:
    journal = make()
    one = opener(journal)
    assert one.refresh() == []
    assert (one.threshold, one.gate, one.terms.rate) == (None, None, 1.0)
    for number in range(12):
        journal.write(shadow(number))
    assert one.threshold is None, "reading takes in nothing"
    events = one.refresh()
    assert [(event["event"], event["threshold"], event["start"]) for event in events] == [("opened", 0.5, 1)]
    assert 1 < events[0]["questions"] <= 12
    assert one.refresh() == []
    gate = one.gate
    assert gate is not None
    assert (gate.score, gate.threshold, gate.k) == ("min", 0.5, 64)
    status = json.loads(json.dumps(one.status()))
    assert status["progress"]["questions"] == 12
    assert status["records"] == {"read": 12, "passed_over": 0, "overdue": 0}
    assert status["events"] == events


records = st.builds(
    lambda kind, score, agree, rate: kind(0, score=score, agree=agree, **({"rate": rate} if kind is taken else {})),
    kind=st.sampled_from([shadow, taken]),
    score=st.none() | st.floats(0, 1) | st.just(0.8),
    agree=st.none() | st.booleans(),
    rate=st.sampled_from([0.1, 0.5, 1.0]),
)
streams = st.lists(records, max_size=40).map(
    lambda found: [{**record, "id": str(number)} for number, record in enumerate(found)]
)


@settings(max_examples=40, deadline=None)
@given(streams, st.data())
def test_several_processes_and_restarts_come_to_what_one_does(stream: Sequence[Record], data: st.DataObject) -> None:
    alone, shared = StoreJournal(InMemoryStore(), settle_s=0), StoreJournal(InMemoryStore(), settle_s=0, limit=12)
    for record in stream:
        alone.write(record)
    one = opener(alone)
    one.refresh()
    several = [opener(shared) for _ in range(3)]
    for number, record in enumerate(stream):
        shared.write(record)
        # a bounded journal: somebody has to look before records make room
        if number % 8 == 7 or data.draw(st.booleans()):
            which = data.draw(st.integers(0, 2))
            if data.draw(st.integers(0, 4)) == 0:
                several[which] = opener(shared)
            several[which].refresh()
    for each in several:
        each.refresh()
    for each in [*several, opener(shared)]:
        each.refresh()
        assert evidence(each) == evidence(one)
        assert each.terms == one.terms
        assert each._watched.to_dict() == one._watched.to_dict()
        assert each._folded == len(stream)


def test_what_is_awaited_holds_the_line_and_counts_as_differing_when_it_is_overdue(make: Make) -> None:
    journal, clock = make(), Clock()
    one = opener(journal, clock)
    for number in range(4):
        journal.write(shadow(number))
    journal.write(shadow("slow", agree=None, settled=False))
    for number in range(4, 12):
        journal.write(shadow(number))
    one.refresh()
    assert one.status()["held_by"] == {"id": "slow", "asked_at": NOW}
    assert one.status()["progress"]["questions"] == 4
    clock.now = NOW + SETTINGS.deadline - 1
    assert one.refresh() == []
    clock.now = NOW + SETTINGS.deadline
    one.refresh()
    late = one.status()
    assert (late["held_by"], late["progress"]["questions"], late["records"]["overdue"]) == (None, 13, 1)

    # as if they had differed, in this place of the order
    other = make()
    for number in range(4):
        other.write(shadow(number))
    other.write(shadow("slow", agree=False))
    for number in range(4, 12):
        other.write(shadow(number))
    same = opener(other)
    same.refresh()
    assert evidence(same) == evidence(one)

    # what comes afterwards changes nothing any more
    journal.write(shadow("slow"))
    assert one.refresh() == []
    assert evidence(same) == evidence(one)


def test_a_result_in_time_lets_the_line_go_on(make: Make) -> None:
    journal = make()
    one = opener(journal)
    journal.write(shadow("slow", agree=None, settled=False))
    for number in range(11):
        journal.write(shadow(number))
    one.refresh()
    assert one.status()["progress"]["questions"] == 0
    journal.write(shadow("slow"))
    one.refresh()
    assert (one.status()["progress"]["questions"], one.threshold) == (12, 0.5)


def test_a_record_that_a_store_gives_twice_counts_once() -> None:
    journal = StoreJournal(InMemoryStore(), settle_s=0)
    journal.write(shadow(1, agree=False))
    one, twice = opener(journal), Twice(InMemoryStore(), settle_s=0)
    one.refresh()
    twice.write(shadow(1, agree=False))
    other = opener(twice)
    other.refresh()
    assert other.status()["records"] == {"read": 2, "passed_over": 1, "overdue": 0}
    assert evidence(other) == evidence(one)


class Twice(StoreJournal):
    """A journal that gives its only record at two positions."""

    def read(self, after: str | None = None, *, limit: int = 1000) -> Any:
        found = super().read(limit=1)
        return {None: [("a", found[0][1])], "a": [("b", found[0][1])], "b": []}[after]


def test_what_needs_no_comparison_is_not_awaited() -> None:
    journal = StoreJournal(InMemoryStore(), settle_s=0)
    journal.write(shadow("screened", screened=True, agree=None, settled=False))
    journal.write(shadow("left by intake", reason="no_image", score=None, agree=None, settled=False))
    journal.write(taken("not audited", settled=False))
    one = opener(journal)
    one.refresh()
    assert one.status()["progress"]["questions"] == 3
    assert evidence(one)[2] > 1
    assert one._watched.opening.progress.differing == 0


def test_what_was_not_decided_differs_and_what_has_no_score_counts_against_every_threshold() -> None:
    clock = Clock()
    clock.now = NOW + 10_000

    def fed(*records: Record) -> list[float]:
        journal = StoreJournal(InMemoryStore(), settle_s=0)
        journal.write_many(records)
        one = opener(journal, clock)
        one.refresh()
        return evidence(one)

    assert fed(shadow(1, agree=None, agreed_by="undecided")) == fed(shadow(1, agree=False))
    assert fed(shadow(1, score=None, agree=None, settled=False)) == fed(shadow(1, score=1.0, agree=False))
    assert fed(shadow(1, score=None, agree=None)) == fed(shadow(1, score=0.1, agree=False)), "never accepted"
    assert fed(taken(1, rate=0.25, agree=False)) != fed(shadow(1, agree=False))


@given(st.data())
@settings(deadline=None)
def test_what_an_unasked_judge_would_say_is_taken_at_its_worst(data: st.DataObject) -> None:
    """Behind a rejected first answer the judge is not asked: at a lower threshold it may send the question on."""
    score = st.sampled_from([None, 0.4, 0.6, 0.8])
    first, later = data.draw(st.sampled_from([0.4, 0.6, 0.8])), data.draw(st.lists(score, min_size=1, max_size=2))
    agree = [data.draw(st.booleans()) for _ in range(1 + len(later))]
    depths = [
        deeper(depth, score=one, scores={"min": one}, agree=agree[depth], agreed_by="rule")
        for depth, one in enumerate(later, 1)
    ]
    given: dict[str, Any] = {"mode": "on", "order": "speculate_first", "score": first, "agree": agree[0]}
    given |= {"tool_need": None, "depth": None, "depths": depths}
    unasked = {"speculate": 0.02, "look_1": 0.02, "agent": 0.3}

    def fed(**changes: Any) -> list[float]:
        journal = StoreJournal(InMemoryStore(), settle_s=0)
        journal.write(shadow(1, **(given | changes)))
        one = opener(journal, depths=1 + len(later))
        one.refresh()
        return evidence(one)

    found = fed(seconds=unasked)
    through, sent_on = (fed(seconds={**unasked, "judge": 0.01}, screened=tools) for tools in (False, True))
    assert found == [min(pair) for pair in zip(through, sent_on, strict=True)]


@pytest.mark.parametrize(
    "other",
    [
        {"gate": "another"},
        {"judge_threshold": 0.7},
        {"judge_threshold": None},
        {"audit_rate": 0.0, "route": "bypass"},
        # began in a graph with a look, and ended in this one
        {"depth": None, "depths": [deeper(1)]},
    ],
)
def test_records_of_other_gates_are_no_evidence(other: dict[str, Any]) -> None:
    journal = StoreJournal(InMemoryStore(), settle_s=0)
    for number in range(20):
        journal.write(shadow(number, **other))
    one = opener(journal)
    one.refresh()
    assert (one.threshold, evidence(one)) == (None, [1, 1, 1])
    assert one.status()["records"] == {"read": 20, "passed_over": 20, "overdue": 0}


def closes(journal: Journal, one: Opener, prefix: str = "bad") -> None:
    """Accepted answers differ, until the detector closes."""
    seen: list[str] = []
    for number in range(40):
        journal.write(taken(f"{prefix}-{number}", agree=False, rate=1.0, score=0.95))
        seen += [event["event"] for event in one.refresh()]
        if "closed" in seen:
            break
    assert seen[-1] == "closed"
    assert one.threshold is None


def test_closed_it_stays_across_restarts_and_processes_until_new_evidence(make: Make) -> None:
    journal = make()
    one = opened(journal)
    other = opener(journal)
    other.refresh()
    assert other.threshold == 0.5
    closes(journal, one)
    assert one.terms == (None, 1.0, 2)
    assert "on more than 0.2 of all questions" in one.status()["reason"]
    # all that was evidence is discarded
    assert evidence(one) == [1, 1, 1]
    assert [event["event"] for event in other.refresh()][-1] == "closed"
    again = opener(journal)
    for each in (other, again):
        each.refresh()
        assert each.terms == one.terms
        assert each.status()["progress"] == one.status()["progress"]
        assert each.status()["reason"] == one.status()["reason"]
    for number in range(200):
        journal.write(shadow(f"new-{number}"))
    for each in (one, other, again, opener(journal)):
        each.refresh()
        assert (each.threshold, each.terms.start) == (0.5, 2)


def test_a_process_that_has_not_heard_of_it_cannot_undo_a_close() -> None:
    journal = StoreJournal(InMemoryStore(), settle_s=0)
    one = opened(journal)
    stale = journal.load(one.name)
    assert stale is not None
    closes(journal, one)
    journal.save(one.name, stale | {"folded": 10**6})
    for each in (one, opener(journal)):
        each.refresh()
        assert (each.threshold, each.terms.start) == (None, 2)


def test_a_person_discards_the_evidence_or_takes_a_close_back(make: Make) -> None:
    journal = make()
    one = opened(journal)
    other = opener(journal)
    other.refresh()
    with pytest.raises(ArgumentError):
        one.reopen("nothing is closed")
    closes(journal, one)
    event = one.reopen("the agent's endpoint was down")
    assert (event["event"], event["threshold"], event["reason"]) == ("reopened", 0.5, "the agent's endpoint was down")
    assert (one.threshold, one.terms.start) == (0.5, 3)
    assert one._watched.detector.observed == 0
    other.refresh()
    assert (other.threshold, other.terms.start) == (0.5, 3)
    closes(journal, one, "worse")
    event = one.reset("another speculator")
    assert (event["event"], event["start"]) == ("reset", 4)
    assert one.terms == (None, 1.0, 5)
    assert evidence(one) == [1, 1, 1]
    for each in (other, opener(journal)):
        each.refresh()
        assert each.terms == one.terms
    with pytest.raises(ArgumentError):
        one.reopen("a reset is not taken back")


class Failing(StoreJournal):
    """A journal that cannot be written while it is told to fail."""

    failing = False

    def save(self, name: str, value: dict[str, Any]) -> None:
        if self.failing:
            raise JournalError("disk full")
        super().save(name, value)


def test_it_shuts_though_the_journal_cannot_be_written_and_tells_later() -> None:
    journal = Failing(InMemoryStore(), settle_s=0)
    one = opened(journal)
    for number in range(40):
        journal.write(taken(f"bad-{number}", agree=False, rate=1.0, score=0.95))
    journal.failing = True
    with pytest.raises(JournalError):
        one.refresh()
    assert (one.threshold, one.terms.start) == (None, 2)
    journal.failing = False
    assert [event["event"] for event in one.refresh()][-1] == "closed"
    begun = journal.load(f"{one.name}:start")
    assert begun is not None
    assert begun["event"]["event"] == "closed"
    third = opener(journal)
    third.refresh()
    assert third.terms == one.terms


class Stuck(StoreJournal):
    """A journal in which reading waits."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.reading, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def read(self, after: str | None = None, *, limit: int = 1000) -> Any:
        self.reading.set()
        assert self.go_on.wait(60)
        return super().read(after, limit=limit)


def test_terms_are_read_while_a_refresh_waits_for_the_journal() -> None:
    journal = Stuck(InMemoryStore(), settle_s=0)
    one = opened(journal)
    journal.go_on.clear()
    journal.reading.clear()
    thread = threading.Thread(target=one.refresh)
    thread.start()
    try:
        assert journal.reading.wait(60)
        assert one.terms.threshold == one.threshold == 0.5
    finally:
        journal.go_on.set()
        thread.join(60)


def test_a_held_line_costs_one_look() -> None:
    journal = Stuck(InMemoryStore(), settle_s=0)
    one = opener(journal)
    journal.write(shadow("slow", agree=None, settled=False))
    one.refresh()
    journal.reading.clear()
    assert one.refresh() == []
    assert not journal.reading.is_set()


def test_the_floor_of_audits_may_change_without_losing_evidence_and_the_limit_not() -> None:
    journal = StoreJournal(InMemoryStore(), settle_s=0)
    one = opened(journal)
    other = Opener(SelfOpening(**{**SETTINGS.to_dict(), "audit": 0.5}), GATE, journal, judge_threshold=0.5)
    other.refresh()
    assert other.threshold == 0.5
    assert other._watched.floor == 0.5
    stricter = SelfOpening(**{**SETTINGS.to_dict(), "max_loss": 0.1})
    assert Opener(stricter, GATE, journal, judge_threshold=0.5).name != one.name
    found = saved_openings(journal, GATE)
    assert [each.name for each in found] == [one.name]
    found[0].refresh()
    assert found[0].threshold == 0.5
    assert saved_openings(journal, "another") == []


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"max_loss": 0}, "max_loss"),
        ({"confidence": 1.0}, "confidence"),
        ({"score": "none"}, "score"),
        ({"audit": 0}, "audit"),
        ({"deadline": 0}, "deadline"),
        ({"horizon": 0}, "horizon"),
        ({"grid": ()}, "grid"),
        ({"judge_threshold": 2}, "judge_threshold"),
    ],
)
def test_settings_out_of_range_are_named(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ArgumentError) as error:
        SelfOpening(**({"score": "min", "k": 64} | arguments))
    assert error.value.argument == name


def test_settings_go_through_json() -> None:
    assert SelfOpening.from_dict(json.loads(json.dumps(SETTINGS.to_dict()))) == SETTINGS
    with pytest.raises(ArgumentError):
        SelfOpening.from_dict({"no": "setting"})


def test_the_state_is_the_fold_of_what_was_observed() -> None:
    rng = np.random.default_rng(4)
    journal, by_hand = StoreJournal(InMemoryStore(), settle_s=0), SETTINGS.fresh()
    for number in range(60):
        score, agree, chosen = float(rng.random()), bool(rng.random() < 0.95), bool(rng.random() < 0.5)
        accepted = number > 30 and score >= 0.7
        rate = 0.5 if number > 30 else 1.0
        differs = None if accepted and not chosen else not agree
        by_hand.observe(score, differs, rate=rate, accepted=accepted, audited=chosen)
        route = {"route": "bypass", "audited": chosen} if accepted else {}
        known = agree if differs is not None else None
        journal.write(shadow(number, score=score, agree=known, audit_rate=rate, mode="on", **route))
    one = opener(journal)
    one.refresh()
    assert one._watched.to_dict() == by_hand.to_dict()
    assert isinstance(one._watched, WatchedOpening)

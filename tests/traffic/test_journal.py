"""What every journal promises, whatever it is kept in."""

from __future__ import annotations

import itertools
import random
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.memory import InMemoryStore

from langgraph_speceyes.errors import ArgumentError, ClosedError
from langgraph_speceyes.traffic import Journal, Record, SQLiteJournal, StoreJournal, open_journal
from langgraph_speceyes.traffic.record import OF_LOOKS, DepthRecord
from tests.traffic.conftest import Make
from tests.traffic.records import PICTURE, deeper, made, records

AS_LONG_AS_THE_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


def all_of(journal: Journal, page: int = 1000) -> list[tuple[str, Record]]:
    """Every record, a page after the other."""
    found: list[tuple[str, Record]] = []
    while more := journal.read(found[-1][0] if found else None, limit=page):
        assert len(more) <= page
        found += more
    return found


@AS_LONG_AS_THE_FIXTURE
@given(
    batches=st.lists(st.lists(records, max_size=6), max_size=8),
    page=st.integers(1, 12),
    stop=st.integers(0, 12),
)
def test_a_record_is_read_as_last_written_in_the_place_of_its_first_write(
    make: Make, batches: list[list[Record]], page: int, stop: int
) -> None:
    journal = make(texts=True)
    expected: dict[str, Record] = {}
    for batch in batches:
        if len(batch) == 1:
            journal.write(batch[0])
        else:
            journal.write_many(batch)
        expected.update((record["id"], record) for record in batch)
    found = all_of(journal, page)
    assert [record for _, record in found] == list(expected.values())
    assert all(journal.get(id) == record for id, record in expected.items())
    assert journal.get("never written") is None
    positions = [position for position, _ in found]
    assert len(set(positions)) == len(positions)
    if positions:  # whoever stopped anywhere goes on behind it
        stop %= len(positions)
        assert list(journal.read(positions[stop])) == found[stop + 1 :]


def test_whoever_reads_on_gets_each_record_once(make: Make) -> None:
    journal = make()
    chance = random.Random(7)
    after, seen, written = None, [], []
    for number in range(300):
        if chance.random() < 0.6:
            written.append(str(number))
            journal.write(made(str(number)))
        elif written:  # written again: does not come a second time
            journal.write(made(chance.choice(written), settled=True))
        if chance.random() < 0.1:
            page = journal.read(after, limit=chance.randint(1, 20))
            seen += [record["id"] for _, record in page]
            after = page[-1][0] if page else after
    seen += [record["id"] for _, record in journal.read(after)]
    assert seen == written


def test_threads_write_update_and_read_at_once(make: Make) -> None:
    journal = make()
    count, workers = 60, 4
    failures: list[BaseException] = []
    at_work = threading.Semaphore(0)
    seen: list[str] = []

    def work(name: int) -> None:
        chance = random.Random(name)
        try:
            for number in range(count):
                journal.write(made(f"{name}-{number}"))
                if chance.random() < 0.3:
                    journal.write_many([made(f"{name}-{chance.randint(0, number)}", settled=True) for _ in range(3)])
        except BaseException as error:
            failures.append(error)
        finally:
            at_work.release()

    def read() -> None:
        after, ended = None, 0
        try:
            while True:
                ended += at_work.acquire(blocking=False)
                page = journal.read(after, limit=7)
                seen.extend(record["id"] for _, record in page)
                if not page and ended == workers:
                    return
                after = page[-1][0] if page else after
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(workers)]
    threads.append(threading.Thread(target=read))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(seen) == sorted(
        f"{name}-{number}" for name, number in itertools.product(range(workers), range(count))
    )
    for name in range(workers):  # each thread's records come in the order in which it wrote them
        assert [id for id in seen if id.startswith(f"{name}-")] == [f"{name}-{number}" for number in range(count)]


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_the_oldest_make_room(make: Make, limit: int) -> None:
    journal = make(limit=limit)
    written: list[str] = []
    after = None
    for number in range(130):
        batch = [f"{number}-{part}" for part in range(1 + number % 3)]
        journal.write_many([made(id) for id in batch])
        written += batch
        kept = [record["id"] for _, record in all_of(journal)]
        assert kept == written[-len(kept) :]
        assert len(kept) <= limit
        assert len(kept) >= min(len(written), limit - limit // 20)
        if number == 5:
            after = journal.read()[-1][0]
    assert journal.get(written[0]) is None
    # a position stays good when its record is gone
    assert [record["id"] for _, record in journal.read(after)] == kept


@pytest.mark.parametrize("texts", [True, False])
def test_what_is_said_after_a_look_is_text_too(make: Make, texts: bool) -> None:
    journal = make(texts=texts)
    error = f"ValueError: cannot say a cat of {PICTURE}"
    said = deeper(2, speculation=f"a cat {PICTURE}", error=error, scores={"odds": float("nan")}, picture=PICTURE)
    journal.write(made("a", depth=2, depths=[deeper(1), said]))
    ((_, found),) = journal.read()
    first, second = found["depths"]
    assert (found["depth"], first) == (2, deeper(1))
    assert set(second) == set(DepthRecord.__annotations__)
    assert second["scores"] == {"odds": None}
    assert PICTURE[30:90] not in str(found)
    assert ("a cat" in str(found)) == texts
    assert (second["error"] == "ValueError") == (not texts)
    with pytest.raises(ArgumentError, match="depths"):
        journal.write(made("b", depths=[{"depth": 1}]))


@AS_LONG_AS_THE_FIXTURE
@given(record=records, texts=st.booleans())
def test_text_is_kept_only_where_asked_for_and_images_never(make: Make, record: Record, texts: bool) -> None:
    journal = make(texts=texts)
    given_: dict[str, Any] = {
        **record,
        "question": f"What is this {PICTURE} here?",
        "speculation": "a cat",
        "answer": "a dog",
        "images": ["cat.png", PICTURE, " DATA:image/png,%00", b"\x89PNG", "A" * 5000, PICTURE[22:]],
        "error": f"ValueError: cannot say a dog of {PICTURE}",
        "reason": f"{PICTURE} is too large",
        "scores": {"odds": float("nan"), PICTURE: 1.0},
        "picture": PICTURE,
    }
    journal.write(given_)  # type: ignore[arg-type]
    ((_, found),) = journal.read()
    assert found == journal.get(record["id"])
    assert set(found) == set(Record.__annotations__) - set(OF_LOOKS)
    assert PICTURE[30:90] not in str(found)
    assert found["scores"]["odds"] is None
    if texts:
        assert (found["speculation"], found["answer"], found["images"]) == ("a cat", "a dog", ["cat.png"])
        assert found["question"].startswith("What is this sha256:")  # type: ignore[union-attr]
        assert found["question"].endswith(" here?")  # type: ignore[union-attr]
        assert found["error"].startswith("ValueError: cannot say a dog of sha256:")  # type: ignore[union-attr]
    else:
        assert (found["question"], found["speculation"], found["answer"]) == (None, None, None)
        assert (found["images"], found["error"]) == ([], "ValueError")


def test_what_a_caller_does_with_a_record_afterwards_is_its_own(make: Make) -> None:
    journal = make()
    record = made("a")
    journal.write(record)
    record["scores"]["odds"] = 0.0
    ((_, found),) = journal.read()
    assert found["scores"]["odds"] == 0.97
    found["scores"]["odds"] = 0.0
    again = journal.get("a")
    assert again is not None
    assert again["scores"]["odds"] == 0.97


@pytest.mark.parametrize(
    "record",
    [
        made(""),
        made("a\x00b"),
        made("a" * 1000),
        made("a", at=None),
        made("a", at=float("inf")),
        made("a", scores=[object()]),
        {"id": "a"},
        None,
    ],
)
def test_what_is_no_record_is_refused_and_nothing_is_written(make: Make, record: Any) -> None:
    journal = make()
    with pytest.raises(ArgumentError):
        journal.write_many([made("good"), record])
    assert list(journal.read()) == []


def test_values_are_kept_by_name(make: Make) -> None:
    journal = make()
    assert journal.load("gate") is None
    journal.save("gate", {"wealth": [1.0, 2.5], "open": None})
    journal.save("alarm", {})
    journal.save("gate", {"wealth": [3.0], "open": 0.95})
    assert journal.load("gate") == {"wealth": [3.0], "open": 0.95}
    assert journal.load("alarm") == {}
    assert list(journal.read()) == []
    for name, value in (("", {}), ("x", {"a": object()}), ("x", [1]), ("x", {"a": float("nan")})):
        with pytest.raises(ArgumentError):
            journal.save(name, value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("after", "limit"), [("here", 1), ("-1", 1), ("9" * 40, 1), (None, 0)])
def test_a_position_or_number_of_another_kind_is_refused(make: Make, after: str | None, limit: int) -> None:
    with pytest.raises(ArgumentError):
        make().read(after, limit=limit)


def test_a_closed_journal_says_so(make: Make) -> None:
    journal = make()
    journal.write(made("a"))
    journal.close()
    journal.close()
    for use in (lambda: journal.write(made("b")), journal.read, lambda: journal.get("a"), lambda: journal.load("x")):
        with pytest.raises(ClosedError):
            use()


def test_a_journal_from_what_names_one(tmp_path: Any) -> None:
    by_text = open_journal(str(tmp_path / "a.db"), texts=True, limit=5)
    by_path = open_journal(tmp_path / "a.db")
    in_store = open_journal(InMemoryStore(), texts=True, limit=6)
    assert isinstance(by_text, SQLiteJournal)
    assert isinstance(by_path, SQLiteJournal)
    assert (by_text.path, by_text.texts, by_text.limit, by_path.texts) == (by_path.path, True, 5, False)
    assert isinstance(in_store, StoreJournal)
    assert (in_store.texts, in_store.limit) == (True, 6)
    assert open_journal(in_store) is in_store
    assert not by_path.path.exists()
    for value in (None, 3, SQLiteJournal, "", ":memory:"):
        with pytest.raises(ArgumentError):
            open_journal(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", [{"limit": 0}, {"limit": 1.5}, {"limit": True}, {"timeout_s": -1}])
def test_settings_that_cannot_be_used_are_refused(tmp_path: Any, setting: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        SQLiteJournal(tmp_path / "a.db", **setting)
    with pytest.raises(ArgumentError):
        StoreJournal(**setting)

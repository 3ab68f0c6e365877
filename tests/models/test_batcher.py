from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError, ClosedError, QueueFullError, SpecEyesError
from langgraph_speceyes.models import MicroBatcher
from langgraph_speceyes.models import batcher as batcher_module
from langgraph_speceyes.models.batcher import Feed
from tests.waiting import PATIENCE_S, until


class Doubler:
    """Serves numbers; holds its first batch until told to go on, so that a queue builds up behind it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.busy = threading.Event()

    def __call__(self, items: Sequence[int], feed: Feed[int, int]) -> None:
        self.batches.append(list(items))
        self.busy.set()
        assert self.go.wait(PATIENCE_S)
        if any(i < 0 for i in items):
            raise ValueError("negative")
        for number, item in enumerate(items):
            feed.done(number, 2 * item)


def held(**options: object) -> tuple[MicroBatcher[int, int], Doubler, Future[int]]:
    """A batcher whose thread is busy with the item 0."""
    run = Doubler()
    batcher: MicroBatcher[int, int] = MicroBatcher(run, **options)  # type: ignore[arg-type]
    first = batcher.submit(0)
    assert run.busy.wait(PATIENCE_S)
    return batcher, run, first


def test_calls_that_wait_together_share_batches_first_come_first_served() -> None:
    batcher, run, first = held(max_batch=3)
    futures = [batcher.submit(i) for i in range(1, 8)]
    run.go.set()
    assert [f.result(PATIENCE_S) for f in [first, *futures]] == [2 * i for i in range(8)]
    assert run.batches == [[0], [1, 2, 3], [4, 5, 6], [7]]
    assert (batcher.stats.batches, batcher.stats.calls, batcher.stats.largest) == (4, 8, 3)


def test_items_of_another_group_wait_for_the_next_batch() -> None:
    batcher, run, _ = held(max_batch=8, group=lambda i: i % 2)
    futures = [batcher.submit(i) for i in (1, 2, 3, 4)]
    run.go.set()
    assert [f.result(PATIENCE_S) for f in futures] == [2, 4, 6, 8]
    assert run.batches == [[0], [1, 3], [2, 4]]


class Patient(MicroBatcher[int, int]):
    """Would wait for announced calls for ever, and writes down each time whether it waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: int) -> None:
        self.run, self.waits = Doubler(), list[bool]()
        self.run.go.set()
        # announcements are not forgotten either
        monkeypatch.setattr(batcher_module, "_FORGET_S", math.inf)
        super().__init__(self.run, max_wait_s=threading.TIMEOUT_MAX / 2, **options)

    def _patience(self) -> float:
        patience = super()._patience()
        self.waits.append(patience > 0)
        return patience


def test_a_lone_call_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Patient(monkeypatch)
    assert batcher.submit(4).result(PATIENCE_S) == 8
    assert batcher.waits == [False]


def test_announced_calls_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Patient(monkeypatch)
    for key in "ab":
        batcher.expect(key)
    first = batcher.submit(1, "a")
    # it has looked at what is there
    until(lambda: batcher.waits)
    assert batcher.waits[0]
    second = batcher.submit(2, "b")
    assert (first.result(PATIENCE_S), second.result(PATIENCE_S)) == (2, 4)
    assert batcher.run.batches == [[1, 2]]
    assert batcher.waits[-1] is False


def test_a_full_batch_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Patient(monkeypatch, max_batch=2)
    for key in "abc":
        batcher.expect(key)
    both = [batcher.submit(1, "a"), batcher.submit(2, "b")]
    assert [future.result(PATIENCE_S) for future in both] == [2, 4]
    assert batcher.run.batches == [[1, 2]]


def test_a_call_that_is_called_off_is_no_longer_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Patient(monkeypatch)
    batcher.expect("never")
    future = batcher.submit(1)
    until(lambda: batcher.waits)
    assert batcher.waits[0]
    assert not future.done()
    batcher.dismiss("never")
    assert future.result(PATIENCE_S) == 2
    # nothing of it is left: the next lone call finds nobody to wait for
    before = len(batcher.waits)
    assert batcher.submit(2).result(PATIENCE_S) == 4
    assert batcher.waits[before:] == [False]
    assert batcher.run.batches == [[1], [2]]


def test_calling_off_concerns_one_announcement_only(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Patient(monkeypatch)
    for key in "abc":
        batcher.expect(key)
    batcher.dismiss("a")
    # once more, and one that nobody announced: nothing happens
    batcher.dismiss("a")
    batcher.dismiss("unknown")
    second = batcher.submit(2, "b")
    until(lambda: batcher.waits)
    assert batcher.waits[0]
    third = batcher.submit(3, "c")
    assert (second.result(PATIENCE_S), third.result(PATIENCE_S)) == (4, 6)
    assert batcher.run.batches == [[2, 3]]


def test_an_announcement_that_nobody_keeps_is_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = Patient(monkeypatch)
    batcher.expect("never")
    monkeypatch.setattr(batcher_module, "_FORGET_S", 0.0)
    assert batcher.submit(1).result(PATIENCE_S) == 2
    assert batcher.waits == [False]


def test_waiting_for_announced_calls_ends_after_max_wait() -> None:
    run = Doubler()
    run.go.set()
    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_wait_s=0.05)
    batcher.expect("never")
    assert batcher.submit(1).result(PATIENCE_S) == 2


def test_a_full_queue_refuses_clearly_and_serves_what_it_holds() -> None:
    batcher, run, _ = held(max_queue=2)
    futures = [batcher.submit(1), batcher.submit(2)]
    with pytest.raises(QueueFullError, match="max_queue"):
        batcher.submit(3)
    run.go.set()
    assert [f.result(PATIENCE_S) for f in futures] == [2, 4]


def test_who_no_longer_waits_takes_no_place_in_the_queue() -> None:
    batcher, run, _ = held(max_queue=1)
    assert batcher.submit(1).cancel()
    last = batcher.submit(2)
    run.go.set()
    assert last.result(PATIENCE_S) == 4
    assert run.batches == [[0], [2]]


def test_who_no_longer_waits_keeps_nobody_from_joining() -> None:
    begun, go, taken = threading.Event(), threading.Event(), list[int]()

    def run(items: Sequence[int], feed: Feed[int, int]) -> None:
        begun.set()
        assert go.wait(PATIENCE_S)
        taken.extend(items)
        taken.extend(feed.more())
        for number, item in enumerate(taken):
            feed.done(number, item)
        taken.append(-1)

    batcher = MicroBatcher(run, group=lambda item: item % 2)
    first = batcher.submit(2)
    assert begun.wait(PATIENCE_S)
    other, second = batcher.submit(3), batcher.submit(4)
    assert other.cancel()
    go.set()
    assert (first.result(PATIENCE_S), second.result(PATIENCE_S)) == (2, 4)
    until(lambda: taken[-1] == -1)
    assert taken == [2, 4, -1]


def test_a_bad_item_does_not_fail_its_neighbours() -> None:
    batcher, run, _ = held(max_batch=3)
    futures = [batcher.submit(i) for i in (1, -1, 3)]
    run.go.set()
    assert futures[0].result(PATIENCE_S) == 2
    with pytest.raises(ValueError, match="negative"):
        futures[1].result(PATIENCE_S)
    assert futures[2].result(PATIENCE_S) == 6


def test_a_cancelled_call_leaves_the_queue() -> None:
    batcher, run, _ = held(max_batch=3)
    futures = [batcher.submit(i) for i in (1, 2)]
    assert futures[0].cancel()
    run.go.set()
    assert futures[1].result(PATIENCE_S) == 4
    assert run.batches == [[0], [2]]


def test_closing_fails_what_waits() -> None:
    batcher, run, first = held()
    waiting = batcher.submit(1)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(SpecEyesError, match="closed"):
        waiting.result(PATIENCE_S)
    with pytest.raises(SpecEyesError, match="closed"):
        batcher.submit(2)
    # what is under way has no way to be interrupted, and is waited for
    assert closing.is_alive()
    thread = batcher._thread
    run.go.set()
    closing.join(PATIENCE_S)
    assert first.result(PATIENCE_S) == 0
    assert thread is not None
    assert not thread.is_alive()


def test_closing_interrupts_what_is_under_way_and_leaves_no_thread() -> None:
    begun, ended = threading.Event(), threading.Event()
    tried: list[Sequence[int]] = []

    def run(items: Sequence[int], feed: Feed[int, int]) -> None:
        tried.append(items)
        begun.set()
        assert ended.wait(PATIENCE_S)
        raise ClosedError("closed")

    @contextmanager
    def interrupt(thread: threading.Thread) -> Iterator[None]:
        assert thread.is_alive()
        ended.set()
        yield
        assert not thread.is_alive()

    batcher: MicroBatcher[int, int] = MicroBatcher(run, interrupt=interrupt)
    for key in "ab":
        batcher.expect(key)
    both = [batcher.submit(1, "a"), batcher.submit(2, "b")]
    assert begun.wait(PATIENCE_S)
    batcher.close()
    # neither is tried once more alone
    assert tried == [[1, 2]]
    for future in both:
        with pytest.raises(ClosedError):
            future.result(0)


def test_a_results_callback_may_close_the_batcher() -> None:
    batcher: MicroBatcher[int, int] = MicroBatcher(lambda items, feed: feed.done(0, items[0]))
    closed = threading.Event()

    def close(_: object) -> None:
        batcher.close()
        closed.set()

    batcher.expect("later")
    future = batcher.submit(1)
    future.add_done_callback(close)
    assert closed.wait(PATIENCE_S)
    assert future.result(PATIENCE_S) == 1


class Stepper:
    """Serves items of so many steps each, letting others join between steps, and writes down who began when."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.most = 0
        self.steps = threading.Semaphore(0)

    def __call__(self, items: Sequence[tuple[str, int]], feed: Feed[tuple[str, int], str]) -> None:
        left: dict[int, list[object]] = {}
        count = 0

        def take(new: Sequence[tuple[str, int]]) -> None:
            nonlocal count
            for name, steps in new:
                self.sent.append((name, steps))
                left[count] = [name, steps]
                count += 1
            self.most = max(self.most, len(left))

        take(items)
        while left:
            assert self.steps.acquire(timeout=PATIENCE_S)
            for number, pair in list(left.items()):
                pair[1] = int(str(pair[1])) - 1
                if pair[1] == 0:
                    del left[number]
                    if str(pair[0]).startswith("bad"):
                        feed.fail(number, ValueError(str(pair[0])))
                    else:
                        feed.done(number, str(pair[0]))
            take(feed.more())


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 1)), min_size=1, max_size=12), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_who_joins_is_first_come_first_served(asked: list[tuple[int, int]], most: int) -> None:
    run = Stepper()
    batcher: MicroBatcher[tuple[str, int], str] = MicroBatcher(
        run, max_batch=most, group=lambda item: item[0].split()[1]
    )
    # the first one holds the batch open until everybody waits
    futures = [batcher.submit(("first 0", 1))]
    until(lambda: run.sent)
    futures += [batcher.submit((f"{k} {group}", steps)) for k, (steps, group) in enumerate(asked)]
    run.steps.release(200)
    for future in futures:
        future.result(PATIENCE_S)
    batcher.close()
    assert run.most <= most
    order = [name for name, _ in run.sent[1:]]
    for k, (_, group) in enumerate(asked):
        mine = order.index(f"{k} {group}")
        # of one group nobody is overtaken; of another one by at most one batch's worth
        assert all(order.index(f"{j} {g}") > mine for j, (_, g) in enumerate(asked) if j > k and g == group)
        assert sum(order.index(f"{j} {g}") < mine for j, (_, g) in enumerate(asked) if j > k) < most


def test_newcomers_do_not_wait_for_the_longest_answer() -> None:
    run = Stepper()
    batcher: MicroBatcher[tuple[str, int], str] = MicroBatcher(run, max_batch=2)
    long, bad = batcher.submit(("long", 50)), batcher.submit(("bad", 1))
    until(lambda: run.sent)
    short = batcher.submit(("short", 1))
    run.steps.release(5)
    with pytest.raises(ValueError, match="bad"):
        bad.result(PATIENCE_S)
    assert short.result(PATIENCE_S) == "short"
    assert not long.done()
    run.steps.release(50)
    assert long.result(PATIENCE_S) == "long"


def test_what_a_function_forgets_fails_instead_of_hanging() -> None:
    batcher: MicroBatcher[int, int] = MicroBatcher(lambda items, feed: None)
    with pytest.raises(RuntimeError, match="without a result"):
        batcher.submit(1).result(PATIENCE_S)


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"max_queue": 0}, {"max_wait_s": -1}])
def test_bad_settings_are_named(options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(ArgumentError) as caught:
        MicroBatcher(Doubler(), **options)  # type: ignore[arg-type]
    assert caught.value.argument == name

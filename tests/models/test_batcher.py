from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError, QueueFullError, SpecEyesError
from langgraph_speceyes.models import MicroBatcher
from langgraph_speceyes.models.batcher import Feed


class Doubler:
    """Serves numbers; holds its first batch until told to go on, so that a queue builds up behind it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.busy = threading.Event()

    def __call__(self, items: Sequence[int], feed: Feed[int, int]) -> None:
        self.batches.append(list(items))
        self.busy.set()
        assert self.go.wait(10)
        if any(i < 0 for i in items):
            raise ValueError("negative")
        for number, item in enumerate(items):
            feed.done(number, 2 * item)


def held(**options: object) -> tuple[MicroBatcher[int, int], Doubler, Future[int]]:
    """A batcher whose thread is busy with the item 0."""
    run = Doubler()
    batcher: MicroBatcher[int, int] = MicroBatcher(run, **options)  # type: ignore[arg-type]
    first = batcher.submit(0)
    assert run.busy.wait(10)
    return batcher, run, first


def test_calls_that_wait_together_share_batches_first_come_first_served() -> None:
    batcher, run, first = held(max_batch=3)
    futures = [batcher.submit(i) for i in range(1, 8)]
    run.go.set()
    assert [f.result(10) for f in [first, *futures]] == [2 * i for i in range(8)]
    assert run.batches == [[0], [1, 2, 3], [4, 5, 6], [7]]
    assert (batcher.stats.batches, batcher.stats.calls, batcher.stats.largest) == (4, 8, 3)


def test_items_of_another_group_wait_for_the_next_batch() -> None:
    batcher, run, _ = held(max_batch=8, group=lambda i: i % 2)
    futures = [batcher.submit(i) for i in (1, 2, 3, 4)]
    run.go.set()
    assert [f.result(10) for f in futures] == [2, 4, 6, 8]
    assert run.batches == [[0], [1, 3], [2, 4]]


def test_a_lone_call_is_not_kept_waiting() -> None:
    run = Doubler()
    run.go.set()
    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_wait_s=30)
    assert batcher.submit(4).result(10) == 8


def test_announced_calls_are_waited_for() -> None:
    run = Doubler()
    run.go.set()
    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_wait_s=30)
    for key in "ab":
        batcher.expect(key)
    first = batcher.submit(1, "a")
    time.sleep(0.1)
    assert run.batches == []
    second = batcher.submit(2, "b")
    assert (first.result(10), second.result(10)) == (2, 4)
    assert run.batches == [[1, 2]]


def test_a_call_that_is_called_off_is_no_longer_waited_for() -> None:
    run = Doubler()
    run.go.set()
    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_wait_s=30)
    batcher.expect("never")
    future = batcher.submit(1)
    batcher.dismiss("never")
    assert future.result(10) == 2


def test_waiting_for_announced_calls_ends_after_max_wait() -> None:
    run = Doubler()
    run.go.set()
    batcher: MicroBatcher[int, int] = MicroBatcher(run, max_wait_s=0.05)
    batcher.expect("never")
    assert batcher.submit(1).result(10) == 2


def test_a_full_queue_refuses_clearly_and_serves_what_it_holds() -> None:
    batcher, run, _ = held(max_queue=2)
    futures = [batcher.submit(1), batcher.submit(2)]
    with pytest.raises(QueueFullError, match="max_queue"):
        batcher.submit(3)
    run.go.set()
    assert [f.result(10) for f in futures] == [2, 4]


def test_a_bad_item_does_not_fail_its_neighbours() -> None:
    batcher, run, _ = held(max_batch=3)
    futures = [batcher.submit(i) for i in (1, -1, 3)]
    run.go.set()
    assert futures[0].result(10) == 2
    with pytest.raises(ValueError, match="negative"):
        futures[1].result(10)
    assert futures[2].result(10) == 6


def test_a_cancelled_call_leaves_the_queue() -> None:
    batcher, run, _ = held(max_batch=3)
    futures = [batcher.submit(i) for i in (1, 2)]
    assert futures[0].cancel()
    run.go.set()
    assert futures[1].result(10) == 4
    assert run.batches == [[0], [2]]


def test_closing_fails_what_waits() -> None:
    batcher, run, _ = held()
    waiting = batcher.submit(1)
    batcher.close()
    with pytest.raises(SpecEyesError, match="closed"):
        waiting.result(10)
    with pytest.raises(SpecEyesError, match="closed"):
        batcher.submit(2)
    run.go.set()


class Stepper:
    """Serves items of so many steps each, letting others join between steps, and writes down who began when."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.most = 0
        self.steps = threading.Semaphore(0)

    def __call__(self, items: Sequence[tuple[str, int]], feed: Feed[tuple[str, int], str]) -> None:
        left: dict[int, list[object]] = {}
        count = 0

        def take(new: Sequence[tuple[str, int]]) -> None:
            nonlocal count
            for name, steps in new:
                self.begun.append((name, steps))
                left[count] = [name, steps]
                count += 1
            self.most = max(self.most, len(left))

        take(items)
        while left:
            assert self.steps.acquire(timeout=10)
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
    while not run.begun:
        time.sleep(0.001)
    futures += [batcher.submit((f"{k} {group}", steps)) for k, (steps, group) in enumerate(asked)]
    run.steps.release(200)
    for future in futures:
        future.result(10)
    batcher.close()
    assert run.most <= most
    order = [name for name, _ in run.begun[1:]]
    for k, (_, group) in enumerate(asked):
        mine = order.index(f"{k} {group}")
        # of one group nobody is overtaken; of another one by at most one batch's worth
        assert all(order.index(f"{j} {g}") > mine for j, (_, g) in enumerate(asked) if j > k and g == group)
        assert sum(order.index(f"{j} {g}") < mine for j, (_, g) in enumerate(asked) if j > k) < most


def test_newcomers_do_not_wait_for_the_longest_answer() -> None:
    run = Stepper()
    batcher: MicroBatcher[tuple[str, int], str] = MicroBatcher(run, max_batch=2)
    long, bad = batcher.submit(("long", 50)), batcher.submit(("bad", 1))
    while not run.begun:
        time.sleep(0.001)
    short = batcher.submit(("short", 1))
    run.steps.release(5)
    with pytest.raises(ValueError, match="bad"):
        bad.result(10)
    assert short.result(10) == "short"
    assert not long.done()
    run.steps.release(50)
    assert long.result(10) == "long"


def test_what_a_function_forgets_fails_instead_of_hanging() -> None:
    batcher: MicroBatcher[int, int] = MicroBatcher(lambda items, feed: None)
    with pytest.raises(RuntimeError, match="without a result"):
        batcher.submit(1).result(10)


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"max_queue": 0}, {"max_wait_s": -1}])
def test_bad_settings_are_named(options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(ArgumentError) as caught:
        MicroBatcher(Doubler(), **options)  # type: ignore[arg-type]
    assert caught.value.argument == name

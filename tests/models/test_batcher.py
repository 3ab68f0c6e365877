from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

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


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"max_queue": 0}, {"max_wait_s": -1}])
def test_bad_settings_are_named(options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(ArgumentError) as caught:
        MicroBatcher(Doubler(), **options)  # type: ignore[arg-type]
    assert caught.value.argument == name

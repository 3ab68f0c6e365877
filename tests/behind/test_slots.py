from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langgraph_speceyes.behind.slots import Slots, resolve_slots
from langgraph_speceyes.errors import ArgumentError
from tests.waiting import PATIENCE_S, auntil


@given(limit=st.integers(1, 4), cancelled=st.lists(st.booleans(), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_cancelled_waiters_lose_no_slot(limit: int, cancelled: list[bool]) -> None:
    async def main() -> None:
        slots, go = Slots(limit), asyncio.Event()

        async def work() -> None:
            async with slots.ahold():
                await go.wait()

        tasks = [asyncio.create_task(work()) for _ in cancelled]
        await asyncio.sleep(0)
        for task, cancel in zip(tasks, cancelled, strict=True):
            if cancel:
                task.cancel()
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert slots.peak <= limit
        # all of them are free again
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(limit):
                await asyncio.wait_for(stack.enter_async_context(slots.ahold()), PATIENCE_S)

    asyncio.run(main())


def test_threads_and_tasks_share_the_limit_first_come_first_served() -> None:
    slots, order = Slots(1), []

    async def main() -> None:
        def blocking() -> None:
            with slots.hold():
                order.append("thread")

        async def waiting() -> None:
            async with slots.ahold():
                order.append("task")

        async with slots.ahold():
            thread = threading.Thread(target=blocking)
            thread.start()
            await auntil(lambda: slots._queue)
            task = asyncio.create_task(waiting())
            await auntil(lambda: len(slots._queue) == 2)
            order.append("first")
        await task
        thread.join()

    asyncio.run(main())
    assert order == ["first", "thread", "task"]
    assert slots.peak == 1


@pytest.mark.parametrize("limit", [0, 2.5, True, "4", None])
def test_what_is_no_number_of_slots_is_named(limit: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"^limit: expected a whole number .*, found {limit!r}"):
        Slots(limit)
    if limit is not None:
        with pytest.raises(ArgumentError, match=rf"^max_concurrent_agents: expected .*, found {limit!r}"):
            resolve_slots(limit)

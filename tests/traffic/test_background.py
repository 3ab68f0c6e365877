"""Work that nobody waits for, where threads and event loops are not to be had."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from langgraph_speceyes.traffic.background import WORKERS, Background
from tests.waiting import PATIENCE_S, until


class Work:
    """A job that notes where it was done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def run(self) -> None:
        self.done.append("thread")

    async def arun(self) -> None:
        self.done.append("loop")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["drain", "adrain", "do"])
def test_jobs_of_an_event_loop_that_was_closed_over_them_go_on_on_a_thread(how: str) -> None:
    background, work, loop = Background(), Work(), asyncio.new_event_loop()

    async def begin() -> None:
        background.do(work)

    loop.run_until_complete(begin())
    # as programs do that run their own loop: nothing is cancelled
    loop.close()
    assert background.pending == 1
    if how == "drain":
        assert background.drain(PATIENCE_S)
    elif how == "adrain":
        assert asyncio.run(background.adrain(PATIENCE_S))
    else:
        assert background.do(Work(), on_thread=True)
        until(lambda: not background.pending)
    assert work.done == ["thread"]
    assert background.pending == 0


def test_a_job_for_which_no_thread_starts_waits_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    background, work = Background(), Work()

    def no_thread(thread: threading.Thread) -> Any:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        for _ in range(WORKERS + 1):
            assert background.do(work, on_thread=True)
        assert background.drain(PATIENCE_S) is False, "it waited for nobody"
    assert background.drain(PATIENCE_S)
    assert work.done == ["thread"] * (WORKERS + 1)

"""What watches a graph's questions, where several threads or processes have a part in it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from langgraph.store.memory import InMemoryStore

from langgraph_speceyes import SelfOpening, create_speceyes
from langgraph_speceyes.traffic.store import StoreJournal
from langgraph_speceyes.traffic.watch import Traffic
from tests.scripted import Agent, speculator


def watching(gate: Any) -> Traffic:
    traffic: Traffic = create_speceyes(Agent().graph, speculator=speculator(), gate=gate).traffic
    return traffic


def test_the_first_questions_of_two_threads_go_to_one_journal() -> None:
    # it fails without a lock from Python 3.12 on: until then cached_property had one
    traffic, both, made = watching(0.9), threading.Barrier(2), []

    def spare() -> StoreJournal:
        # where both threads make one, neither does before the other
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)
        made.append(StoreJournal(InMemoryStore(), settle_s=0))
        return made[-1]

    traffic._spare = spare
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: traffic.recorder, range(2))
    assert first is second
    assert made == [traffic.journal]


def test_a_forked_process_takes_evidence_in_though_its_parent_was_about_to(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic, jobs = watching(SelfOpening()), []
    monkeypatch.setattr(traffic.background, "do", lambda job, **_: jobs.append(job) or True)
    for process in (1, 1, 2, 2):
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        traffic._fold()
    assert len(jobs) == 2

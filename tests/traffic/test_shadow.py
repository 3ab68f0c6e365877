"""Shadow runs: the agent answers, and the journal says what the front end would have done."""

from __future__ import annotations

import asyncio
import math
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore

from langgraph_speceyes import Gate, SpecEyesMiddleware, create_funnel, create_speceyes
from langgraph_speceyes.bench.calibrate import calibrate_run
from langgraph_speceyes.errors import JournalError
from langgraph_speceyes.traffic.journal import Journal
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.store import StoreJournal
from tests.scripted import Agent, Scripted, judge, peaked, speculator
from tests.test_graph import asked, image

__all__ = ["image"]

GATE = Gate("min", 0.98, 64)
LONG_S = 60.0
QUERIES = int(os.environ.get("SPECEYES_EXAMPLES", "200"))
"""With faults in front end and journal; `make shadow` asks 5,000."""
AT_ONCE = 500


def records(journal: Journal) -> list[Record]:
    return [record for _, record in journal.read()]


def memory(**options: Any) -> StoreJournal:
    return StoreJournal(InMemoryStore(), settle_s=0, **options)


SHADOWED = [
    # judge's P(yes), gap of the speculation, agent's answer; would, agree, decided by
    (0.1, 3.0, "Blue.", "bypass", True, "gate"),
    (0.1, 3.0, "red", "bypass", None, "gate"),
    (0.1, 0.01, "blue", "fallback", True, "gate"),
    (0.9, 3.0, "blue", "fallback", True, "judge"),
    (None, 3.0, "blue", "bypass", True, "gate"),
]


@pytest.mark.parametrize(("need", "gap", "answer", "would", "agree", "decided_by"), SHADOWED)
@pytest.mark.parametrize("form", ["invoke", "ainvoke"])
@pytest.mark.parametrize("around", ["graph", "middleware", "hedge"])
async def test_what_would_have_happened_is_on_record(
    image: str,
    need: float | None,
    gap: float,
    answer: str,
    would: str,
    agree: bool | None,
    decided_by: str,
    form: str,
    around: str,
) -> None:
    journal, small, large = memory(), speculator(gap), None if need is None else judge(need)
    settings: Any = {"judge": large, "gate": GATE, "journal": journal, "mode": "shadow"}
    if around == "middleware":
        bypass = SpecEyesMiddleware(small, **settings)
        graph, traffic = create_agent(Scripted(answer=answer), middleware=[bypass]), bypass.traffic
    else:
        built = create_speceyes(Agent(answer).graph, speculator=small, hedge=around == "hedge", **settings)
        graph, traffic = built.compile(), built.traffic
    call: Any = getattr(graph, form)
    result = await call(asked(image)) if form == "ainvoke" else await asyncio.to_thread(call, asked(image))
    assert result["messages"][-1].text == answer
    decision = result["decision"]
    assert (decision["mode"], decision["route"], decision["reason"]) == ("shadow", "fallback", "in shadow")
    assert await traffic.adrain(LONG_S)
    (record,) = records(journal)
    assert (record["mode"], record["route"], record["would"]) == ("shadow", "fallback", would)
    assert (record["agree"], record["agreed_by"], record["decided_by"]) == (
        *(agree, "rule" if agree else "undecided"),
        decided_by,
    )
    assert record["settled"]
    assert record["audit_rate"] == 1
    assert record["error"] is None
    assert record["screened"] == (need == 0.9)
    assert {"agent", "speculate", "gate", "total"} <= set(record["seconds"])
    assert {"agent", "speculate"} <= set(record["tokens"])
    assert record["tool_need"] == (None if need is None else pytest.approx(need))
    # every phase had its say, also where the judge had decided
    assert len(small.calls) == 1
    assert large is None or len(large.calls) == 1


async def test_texts_are_kept_where_asked_for_and_images_never(image: str) -> None:
    kept, bare = memory(texts=True), memory()
    for journal in (kept, bare):
        graph = create_speceyes(
            Agent("blue").graph, speculator=speculator(3.0), gate=GATE, journal=journal, mode="shadow"
        )
        graph.compile().invoke(asked(image))
        assert await graph.traffic.adrain(LONG_S)
    (full,), (record,) = records(kept), records(bare)
    assert (full["question"], full["speculation"], full["answer"]) == ("What colour is it?", "blue", "blue")
    assert full["images"]
    assert not any(one.startswith("data:") for one in full["images"])
    assert (record["question"], record["speculation"], record["answer"], record["images"]) == (None, None, None, [])
    assert record["agree"] is True


def test_on_and_off_leave_the_journal_what_they_should(image: str) -> None:
    journal = memory()
    graph = create_speceyes(Agent("red").graph, speculator=speculator(3.0), gate=GATE, journal=journal)
    run = graph.compile()
    run.invoke(asked(image))
    run.invoke(asked(image), {"configurable": {"speceyes_threshold": 1 - 1e-9, "speceyes_group": "colours"}})
    run.invoke(asked(image), {"configurable": {"speceyes_mode": "off"}})
    run.invoke({"messages": [("user", "no image here")]})
    assert graph.traffic.drain(LONG_S)
    bypassed, rejected, unread = sorted(records(journal), key=lambda record: record["at"])
    assert (bypassed["route"], bypassed["audited"], bypassed["agree"], bypassed["settled"]) == (
        *("bypass", False),
        *(None, True),
    )
    assert (rejected["route"], rejected["agree"], rejected["group"]) == ("fallback", None, "colours")
    assert (unread["route"], unread["screened"], unread["reason"]) == ("fallback", True, "no image to look at")
    assert unread["agree"] is None
    assert unread["settled"]


def test_without_a_journal_a_shadow_run_is_kept_in_memory_and_nothing_else_is(image: str) -> None:
    graph = create_speceyes(Agent("red").graph, speculator=speculator(3.0), gate=GATE)
    run = graph.compile()
    run.invoke(asked(image))
    assert graph.traffic.journal is None
    run.invoke(asked(image), context={"speceyes_mode": "shadow"})
    assert graph.traffic.drain(LONG_S)
    assert [record["would"] for record in records(graph.traffic.journal)] == ["bypass"]


class Broken(StoreJournal):
    """A journal that fails at random."""

    def __init__(self, chance: float) -> None:
        super().__init__(InMemoryStore(), settle_s=0)
        self.random, self.chance = random.Random(0), chance

    def write_many(self, records: Any) -> None:
        if self.random.random() < self.chance:
            raise JournalError("the disk is full")
        super().write_many(records)


async def test_faults_of_front_end_and_journal_are_never_the_users(image: str) -> None:
    chance = random.Random(1)

    def fails() -> None:
        if chance.random() < 0.5:
            raise TimeoutError("too slow")

    small = speculator(3.0, before=fails)
    large = judge(0.1, before=fails)
    agree = Scripted(content=[peaked("Yes", 20, 5.0)], before=fails)
    graph = create_speceyes(
        Agent("a sentence that no rule compares").graph,
        speculator=small,
        judge=large,
        gate=GATE,
        journal=Broken(0.3),
        agree=agree,
        mode="shadow",
    )
    funnel = create_funnel(graph).compile()
    answers = []
    for _ in range(0, QUERIES, AT_ONCE):
        # in parts, so that every question's shadow finds room in the background
        queries = [asked(image)["messages"]] * min(AT_ONCE, QUERIES)
        found = await funnel.ainvoke({"queries": queries}, {"max_concurrency": 32})
        answers += [outcome["answer"] for outcome in found["outcomes"]]
        assert await graph.traffic.adrain(10 * LONG_S)
    n = len(answers)
    assert n >= QUERIES
    assert set(answers) == {"a sentence that no rule compares"}
    kept = []
    while page := graph.traffic.journal.read(kept[-1][0] if kept else None):
        kept += page
    assert len({record["id"] for _, record in kept}) == len(kept) == n
    assert graph.traffic.background.dropped == 0
    errors = [record["error"] for _, record in kept if record["error"]]
    assert "TimeoutError" in errors
    assert len(errors) < n


async def test_a_follow_up_is_watched_with_its_own_turn(image: str) -> None:
    journal = memory(texts=True)
    graph = create_speceyes(
        Agent("blue").graph, speculator=speculator(3.0), judge=judge(0.1), gate=GATE, journal=journal, mode="shadow"
    )
    run = graph.compile(InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    await run.ainvoke(asked(image, "What colour is the first?"), config)
    await run.ainvoke(asked(image, "And the second?"), config)
    assert await graph.traffic.adrain(LONG_S)
    # each was written down when its comparison was over
    found = sorted(records(journal), key=lambda record: record["at"])
    assert [record["question"] for record in found] == ["What colour is the first?", "And the second?"]
    assert [record["would"] for record in found] == ["bypass", "bypass"]


def test_a_store_journal_without_a_store_takes_that_of_the_run(image: str) -> None:
    store, journal = InMemoryStore(), StoreJournal(settle_s=0)
    graph = create_speceyes(Agent("blue").graph, speculator=speculator(3.0), gate=GATE, journal=journal, mode="shadow")
    graph.compile(store=store).invoke(asked(image))
    assert graph.traffic.drain(LONG_S)
    assert [record["would"] for record in records(StoreJournal(store, settle_s=0))] == ["bypass"]


def test_an_agents_failure_is_recorded_as_differing(image: str) -> None:
    journal = memory()
    graph = create_speceyes(Agent(fail=True).graph, speculator=speculator(0.01), gate=GATE, journal=journal)
    with pytest.raises(RuntimeError, match="the agent broke"):
        graph.compile().invoke(asked(image))
    assert graph.traffic.drain(LONG_S)
    (record,) = records(journal)
    assert (record["agree"], record["agreed_by"], record["settled"]) == (None, "undecided", True)
    assert record["error"] == "RuntimeError"


async def test_an_event_loop_that_ends_leaves_the_rest_to_a_thread(image: str) -> None:
    journal = memory()
    graph = create_speceyes(Agent("blue").graph, speculator=speculator(3.0), gate=GATE, journal=journal, mode="shadow")
    run = graph.compile()
    await asyncio.to_thread(lambda: asyncio.run(run.ainvoke(asked(image))))
    assert await asyncio.to_thread(graph.traffic.drain, LONG_S)
    assert [record["would"] for record in records(journal)] == ["bypass"]


def test_answers_in_other_forms_are_compared(image: str) -> None:
    class State(MessagesState):
        verdict: str

    def act(state: State) -> dict[str, Any]:
        return {"verdict": "Blue"}

    agent = StateGraph(State)
    agent.add_node("act", act)
    agent.add_edge(START, "act")

    def update(answer: AIMessage, state: Any) -> dict[str, Any]:
        return {"verdict": answer.text}

    journal = memory()
    graph = create_speceyes(
        agent, speculator=speculator(3.0), gate=GATE, journal=journal, mode="shadow", update_from_answer=update
    )
    assert graph.compile().invoke(asked(image))["verdict"] == "Blue"
    assert graph.traffic.drain(LONG_S)
    (record,) = records(journal)
    assert (record["agree"], record["would"]) == (True, "bypass")
    assert math.isfinite(record["score"] or math.nan)


def test_where_there_is_no_room_the_record_says_so(image: str) -> None:
    journal, free = memory(), threading.Event()

    def wait() -> None:
        assert free.wait(LONG_S)

    graph = create_speceyes(
        Agent("blue").graph, speculator=speculator(3.0, before=wait), gate=GATE, journal=journal, mode="shadow"
    )
    graph.traffic.background.waiting = 3
    run = graph.compile()
    try:
        for _ in range(5):
            run.invoke(asked(image))
    finally:
        free.set()
    assert graph.traffic.drain(LONG_S)
    assert graph.traffic.background.dropped == 2
    assert sorted(record["audit_rate"] for record in records(journal)) == [0.0, 0.0, 1.0, 1.0, 1.0]


async def test_a_gate_is_calibrated_from_what_shadow_runs_recorded(image: str, tmp_path: Path) -> None:
    file, gaps = tmp_path / "traffic.db", [3.0] * 30 + [0.01] * 10
    for gap in sorted(set(gaps)):
        # the unsure answers are not the agent's
        agent = Agent("blue" if gap > 1 else "red").graph
        graph = create_speceyes(
            agent, speculator=speculator(gap), judge=judge(0.1), gate=GATE, journal=file, mode="shadow"
        )
        compiled = graph.compile()
        for _ in range(gaps.count(gap)):
            await compiled.ainvoke(asked(image))
        assert await graph.traffic.adrain(LONG_S)
    found = await asyncio.to_thread(calibrate_run, file, labels="none", max_loss=0.1, confidence=0.8)
    assert (found.questions, found.accepted, found.differing) == (40, 0.75, 10)
    assert found.gate is not None
    assert (found.gate.score, found.gate.k, found.gate.judge_threshold) == ("min", 64, 0.5)
    assert found.speedup > 0

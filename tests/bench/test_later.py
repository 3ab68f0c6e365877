"""Audits answered later from a journal, and the status of its gates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore
from typer.testing import CliRunner

from langgraph_speceyes import Gate, Prompts, create_speceyes
from langgraph_speceyes.bench.later import audit_later, gate_status, journal_at, records_of
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.traffic import SQLiteJournal, StoreJournal
from langgraph_speceyes.traffic.opening import SelfOpening
from tests.scripted import Agent, speculator
from tests.test_graph import asked, image

__all__ = ["image"]

GATE = Gate("min", 0.98, 64)
LONG_S = 60.0
shown: list[list[Any]] = []


def later() -> Models:
    """An agent that is there later, and says what it was shown."""

    def act(state: MessagesState) -> dict[str, Any]:
        shown.append(list(state["messages"]))
        return {"messages": [AIMessage("red" if len(shown) % 4 == 0 else "blue")]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("act", act)
    graph.add_edge(START, "act")
    return Models(speculator(3.0), None, graph.compile(), GATE, Prompts())


@pytest.fixture
def journal(image: str, tmp_path: Path) -> Iterator[SQLiteJournal]:
    """Eight audits that no agent has answered, one answer that is not audited, one fallback."""
    kept = SQLiteJournal(tmp_path / "journal.sqlite", texts=True)
    graph = create_speceyes(Agent(fail=True).graph, speculator=speculator(3.0), gate=GATE, journal=kept)
    run = graph.compile()
    for rate in (1.0,) * 8 + (0.0,):
        run.invoke(asked(image), context={"speceyes_audit": rate})
    with pytest.raises(RuntimeError):
        run.invoke(asked(image), context={"speceyes_threshold": 1 - 1e-9})
    assert graph.traffic.drain(LONG_S)
    shown.clear()
    yield kept
    kept.close()


async def test_open_audits_are_answered_and_written_down(journal: SQLiteJournal, image: str) -> None:
    before = {record["id"]: record for record in records_of(journal)}
    found = await audit_later(journal, later().agent)
    assert (found.found, found.settled, found.failed, found.left) == (8, {"same": 6, "undecided": 2}, {}, 0)
    # what cannot be decided counts as differing
    assert (found.differing.value, found.differing.n) == (0.25, 8)
    (detector,) = found.detectors
    assert detector.observed == 8
    assert detector.level > 0
    assert not detector.closes
    (message,) = shown[0]
    assert message.text == "What colour is it?"
    assert [block["url"] for block in message.content if block["type"] == "image"] == [image]
    after = {record["id"]: record for record in records_of(journal)}
    assert after.keys() == before.keys()
    for id, record in after.items():
        was = before[id]
        if record["route"] == "bypass" and record["audited"]:
            assert (was["settled"], record["settled"], record["answer"] in ("blue", "red")) == (False, True, True)
            assert (record["agree"], record["error"]) == (True if record["answer"] == "blue" else None, None)
        else:
            assert record == was
    # there is nothing left to do
    again = await audit_later(journal, later().agent)
    assert (again.found, again.settled, len(shown)) == (0, {}, 8)
    assert again.differing == found.differing


async def test_what_fails_stays_open_and_a_limit_holds(journal: SQLiteJournal) -> None:
    found = await audit_later(journal, Agent(fail=True).graph.compile(), limit=3)
    assert (found.settled, found.failed, found.left) == ({}, {"RuntimeError: the agent broke": 3}, 8)
    found = await audit_later(journal, later().agent, limit=3, agree=lambda question, one, two: False)
    assert (found.settled, found.left, found.differing.value) == ({"different": 3}, 5, 1.0)
    with pytest.raises(ArgumentError, match="concurrency"):
        await audit_later(journal, later().agent, concurrency=0)


async def test_a_label_given_meanwhile_and_another_process_that_was_faster_are_kept(journal: SQLiteJournal) -> None:
    open_ones = [record for record in records_of(journal) if record["route"] == "bypass" and record["audited"]]

    def act(state: MessagesState) -> dict[str, Any]:
        # while the agent is at work on the first
        if not shown:
            journal.write({**open_ones[0], "speculator_right": True})
            journal.write({**open_ones[1], "agree": False, "agreed_by": "function", "settled": True})
        shown.append(state["messages"])
        return {"messages": [AIMessage("blue")]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("act", act)
    graph.add_edge(START, "act")
    await audit_later(journal, graph.compile(), limit=2, concurrency=1)
    labelled, settled = journal.get(open_ones[0]["id"]), journal.get(open_ones[1]["id"])
    assert labelled is not None
    assert settled is not None
    assert (settled["agree"], settled["agreed_by"]) == (False, "function")
    assert (labelled["speculator_right"], labelled["agree"], labelled["settled"]) == (True, True, True)


async def test_without_texts_it_says_so(image: str) -> None:
    bare = StoreJournal(InMemoryStore(), settle_s=0)
    graph = create_speceyes(Agent(fail=True).graph, speculator=speculator(3.0), gate=GATE, journal=bare, audit=1.0)
    graph.compile().invoke(asked(image))
    assert await graph.traffic.adrain(LONG_S)
    found = await audit_later(bare, later().agent)
    assert found.unanswerable == {"its texts were not kept (journal with texts=True)": 1}
    assert (found.found, found.left, found.differing.value) == (1, 1, None)


def test_the_command_answers_and_prints(journal: SQLiteJournal) -> None:
    arguments = ["audit", str(journal.path), "--models", "tests.bench.test_later.later"]
    done = CliRunner().invoke(app, [*arguments, "--limit", "4", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["found"], found["left"], found["settled"]) == (8, 4, {"same": 3, "undecided": 1})
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "4 audits were open, 0 are" in done.stdout
    assert "audits that differ: 25.0%" in done.stdout


def test_the_command_names_what_it_cannot_use(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.sqlite"), "tests.bench.test_later.nothing"):
        done = CliRunner().invoke(app, ["gate", name])
        assert (done.exit_code, "ArgumentError: journal" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def opened(image: str, tmp_path: Path) -> Path:
    """The journal of a gate that has opened itself, and closed again."""
    path = tmp_path / "opened.sqlite"
    kept = SQLiteJournal(path)
    gate: Any = SelfOpening(max_loss=0.2, confidence=0.6, score="min", k=64, audit=1.0)
    for answer, most in (("blue", 30), ("red", 200)):
        graph = create_speceyes(Agent(answer).graph, speculator=speculator(3.0), gate=gate, journal=kept)
        run = graph.compile()
        for _ in range(most):
            mode = run.invoke(asked(image))["decision"]["mode"]
            assert graph.traffic.drain(LONG_S)
            if answer == "red" and mode == "shadow":
                break
    kept.close()
    return path


def test_the_status_of_a_gate_and_what_a_person_does_to_it(opened: Path) -> None:
    done = CliRunner().invoke(app, ["gate", str(opened), "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    events = [event["event"] for event in found["events"]]
    assert events[0] == "opened"
    assert events[-1] == "closed"
    assert found["threshold"] is None
    assert found["start"] == 2
    (again,) = gate_status(str(opened), reopen="it was the agent")
    assert again["threshold"] is not None
    assert again["reason"] == "it was the agent"
    done = CliRunner().invoke(app, ["gate", str(opened), "--reset", "a new agent", "--gate", found["gate"]])
    assert done.exit_code == 0, done.output
    assert "reset" in done.stdout
    assert "a new agent" in done.stdout
    (last,) = gate_status(str(opened))
    assert (last["threshold"], last["start"]) == (None, 4)
    done = CliRunner().invoke(app, ["gate", str(opened), "--reopen", "why not"])
    assert (done.exit_code, "a gate that its detector has closed" in done.stderr) == (2, True)
    done = CliRunner().invoke(app, ["gate", str(opened), "--gate", "another"])
    assert done.exit_code == 2


def test_a_journal_is_never_cut_down(opened: Path) -> None:
    journal: Any = journal_at(str(opened))
    assert journal.texts
    assert journal.limit > 10**15
    journal.close()

"""What several processes share in one database: a gate that opens itself, images, threads; the commands over it."""

from __future__ import annotations

import json
import os
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import PostgresStore
from langgraph.types import Command, interrupt
from typer.testing import CliRunner

from langgraph_speceyes import create_speceyes
from langgraph_speceyes.bench.journals import read_journal
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import GraphImageStore
from langgraph_speceyes.traffic import PostgresJournal, SelfOpening, StoreJournal
from langgraph_speceyes.traffic.opener import Opener
from tests.bench.traffic_made import stream
from tests.images.test_store import DATA, SHA
from tests.scripted import Agent, speculator
from tests.test_graph import asked, image

__all__ = ["image"]

LONG_S = 120
SETTINGS = SelfOpening(0.2, 0.6, score="min", k=64)


def watched(url: str) -> Any:
    """A graph whose gate opens itself on the evidence in the database."""
    journal = PostgresJournal(url, settle_s=0.5, timeout_s=60)
    agent: Any = Agent("blue").graph
    return create_speceyes(agent, speculator=speculator(3.0), gate=SETTINGS, journal=journal)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_two_processes_open_one_gate(database: str, image: str, tmp_path: Path) -> None:
    def work(name: str) -> None:
        graph = watched(database)
        run, modes = graph.compile(), []
        until = time.monotonic() + LONG_S
        while time.monotonic() < until and modes[-1:] != ["on"]:
            modes.append(run.invoke(asked(image))["decision"]["mode"])
            assert graph.traffic.drain(LONG_S)
            time.sleep(0.1)
        (tmp_path / name).write_text(json.dumps(modes))

    children = []
    for name in ("one", "two"):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(name)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    modes = [json.loads((tmp_path / name).read_text()) for name in ("one", "two")]
    for one in modes:
        assert one == ["shadow"] * (len(one) - 1) + ["on"]
    # a third finds it open, with the evidence of both
    time.sleep(1)
    graph = watched(database)
    graph.traffic.fold()
    status = graph.traffic.opener.status()
    assert graph.compile().invoke(asked(image))["decision"]["mode"] == "on"
    assert graph.traffic.drain(LONG_S)
    assert status["records"] == {"read": sum(map(len, modes)), "passed_over": 0, "overdue": 0}
    # which is what one process makes of the same records
    until = time.monotonic() + LONG_S
    while len(records := read_journal(database)) < status["records"]["read"]:
        # a command reads what has settled, a little later
        assert time.monotonic() < until
        time.sleep(0.2)
    alone = StoreJournal(InMemoryStore(), settle_s=0)
    alone.write_many(records[: status["records"]["read"]])
    single = Opener(SETTINGS, records[0]["gate"], alone)
    while single.status()["records"]["read"] < status["records"]["read"]:
        assert time.monotonic() < until
        single.refresh()
    assert single.status()["progress"] == status["progress"]
    graph.traffic.journal.close()


def test_images_are_kept_in_the_database(store: PostgresStore) -> None:
    images = GraphImageStore(store, part_bytes=3 * 100)
    for data in (DATA, b"", b"x", os.urandom(1000), os.urandom(300)):
        reference = images.put(data)
        assert images.put(data) == reference
        assert images.get(reference) == data
        assert images.size(reference) == len(data)
    assert images.get(SHA) == DATA
    store.put(("speceyes", "images"), SHA[7:], {"data": "AAAA", "bytes": 3, "parts": 1})
    with pytest.raises(ImageError, match="damaged"):
        images.get(SHA)
    with pytest.raises(ImageError, match="none for"):
        images.get("sha256:" + "0" * 64)


def test_a_thread_stops_for_a_person_and_goes_on_elsewhere(database: str, image: str) -> None:
    def act(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"They said {interrupt('may I look?')}")]}

    def thread(saver: PostgresSaver) -> Any:
        agent = StateGraph(MessagesState)
        agent.add_node("act", act)
        agent.add_edge(START, "act")
        return create_speceyes(agent, speculator=speculator(0.01)).compile(checkpointer=saver)

    config: Any = {"configurable": {"thread_id": "1"}}
    data = Path(image).read_bytes()
    question = HumanMessage([{"type": "image", "data": data}, {"type": "text", "text": "What colour is it?"}])
    with PostgresSaver.from_conn_string(database) as saver:
        saver.setup()
        stopped = thread(saver).invoke({"messages": [question]}, config)
        assert [one.value for one in stopped["__interrupt__"]] == ["may I look?"]
    # another connection and another graph, as another process has them
    with PostgresSaver.from_conn_string(database) as saver:
        going_on = thread(saver)
        result = going_on.invoke(Command(resume="yes"), config)
        assert (result["messages"][-1].text, result["decision"]["route"]) == ("They said yes", "fallback")
        again = going_on.invoke({"messages": [HumanMessage("And now?")]}, config, interrupt_before=["agent"])
        assert [message.type for message in again["messages"]][:3] == ["human", "ai", "human"]


def command(*words: str) -> Any:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output.splitlines()[-1])


def test_the_commands_read_a_journal_by_its_url(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    journal = PostgresJournal(database, texts=True, settle_s=0)
    journal.write_many(stream(600, question="What?", speculation="blue", answer="blue", images=["a.png"]))
    journal.close()
    monkeypatch.setattr("langgraph_speceyes.traffic.store._now", _an_hour_on)

    found = command("calibrate", database, "--labels", "none", "--max-loss", "0.05", "--confidence", "0.9", "--json")
    assert found["threshold"] > 0
    advice = command("advise", database, "--max-loss", "0.05", "--json", "--out", str(tmp_path / "advice"))
    assert (advice["is_journal"], advice["questions"]) == (True, 600)
    assert "postgresql://" not in json.dumps(advice)
    assert (tmp_path / "advice").is_dir()

    from langgraph_speceyes.bench.calibrate import prepared, terms_of
    from langgraph_speceyes.bench.labelling import Labelling

    evidence, composition = prepared(database, people=True)
    session = Labelling(evidence, composition, terms_of(0.05, 0.9, "net", "disagreements", None))
    pending = session.next()
    assert pending is not None
    session.tell(pending.id, "1")
    labelled = {record["id"]: record for record in read_journal(database)}[pending.id]
    assert (labelled["speculator_right"], labelled["agent_right"]) == (True, False)


def test_open_audits_of_a_database_are_answered(database: str, image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = PostgresJournal(database, texts=True, settle_s=0)
    given = {"mode": "on", "route": "bypass", "audited": True, "settled": False, "question": "What?", "images": [image]}
    records = stream(3, speculation="blue", **{**given, "agree": None, "agreed_by": None})
    journal.write_many(records)
    journal.close()
    monkeypatch.setattr("langgraph_speceyes.traffic.store._now", _an_hour_on)
    found = command("audit", database, "--models", "tests.postgres.test_shared.models", "--json")
    assert (found["found"], found["settled"], found["left"]) == (3, {"same": 3}, 0)
    assert all(record["agree"] is True for record in read_journal(database))


def models() -> Any:
    """The models that the command asks."""
    from langgraph_speceyes.bench.methods import Models
    from langgraph_speceyes.prompts import Prompts
    from langgraph_speceyes.scoring import Gate

    return Models(speculator(3.0), None, Agent("blue").graph.compile(), Gate("min", 0.98, 64), Prompts())


def _an_hour_on() -> int:
    """A moment by which every record has settled."""
    return time.time_ns() // 1000 + 3600 * 10**6 + next(_ticks)


_ticks = count()

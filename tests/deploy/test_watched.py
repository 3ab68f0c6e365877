"""Shadow runs and audits on a LangGraph Server: beside its runs, into a file and into the server's own store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_client

from langgraph_speceyes.traffic import SQLiteJournal
from tests.deploy.server import DevServer, dev_server, inline

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
FAILING = {"type": "text", "text": "Does it fail?"}
EACH = 10
"""Questions in shadow, and as many that are audited; more than are worked on at once."""


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevServer]:
    monkeypatch.setenv("WATCHED_JOURNAL", str(tmp_path / "journal.sqlite"))
    source = Path(__file__).parent / "watched"
    with dev_server(tmp_path, "--n-jobs-per-worker", "8", scenes=tmp_path, source=source) as running:
        yield running


def check(records: list[dict[str, Any]]) -> None:
    """Each question has one record, and both answers are in it."""
    assert len(records) == len({record["id"] for record in records}) == 2 * EACH
    for mode, route in (("shadow", "fallback"), ("on", "bypass")):
        those = [record for record in records if record["mode"] == mode]
        assert len(those) == EACH
        assert {record["route"] for record in those} == {route}
    for record in records:
        assert record["settled"]
        assert record["audited"]
        assert (record["would"], record["agree"], record["agreed_by"]) == ("bypass", True, "rule")
        assert (record["speculation"], record["answer"], record["error"]) == ("blue", "blue", None)


async def test_shadow_runs_and_audits_land_in_the_journal(watched: DevServer, easy: Any, tmp_path: Path) -> None:
    async with get_client(url=watched.url) as client:
        await check_both(client, easy, tmp_path)


def runs_of_agent(folder: Path) -> list[list[str]]:
    """Of each run of the agent its id, the record that it audits, if any, and the group of its question."""
    return [line.split(" ") for line in (folder / "journal.sqlite.runs").read_text().splitlines()]


async def test_an_audit_is_a_run_of_its_own(easy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHED_JOURNAL", str(tmp_path / "journal.sqlite"))
    source = Path(__file__).parent / "watched"
    given = {"messages": [inline(easy[1])]}
    failing = {"messages": [{**given["messages"][0], "content": [*given["messages"][0]["content"][:1], FAILING]}]}
    # one run at a time: an audit waits in the queue like everybody
    with dev_server(tmp_path, "--n-jobs-per-worker", "1", scenes=tmp_path, source=source) as running:
        async with get_client(url=running.url) as client:
            for input in (given, given, failing):
                found: Any = await client.runs.wait(None, "file", input=input, context={"speceyes_group": "mine"})
                assert (found["messages"][-1]["content"], found["decision"]["route"]) == ("blue", "bypass")
            journal = SQLiteJournal(tmp_path / "journal.sqlite")
            for _ in range(600):
                records = [record for _, record in await asyncio.to_thread(journal.read)]
                if len(records) == 3 and all(record["settled"] or record["error"] for record in records):
                    break
                await asyncio.sleep(0.1)
            journal.close()
            assert await client.threads.search() == []
    settled = {record["id"]: (record["settled"], record["agree"]) for record in records}
    assert list(settled.values()) == [(True, True), (True, True), (False, None)]
    assert "the tools are down" in str(records[-1]["error"]) or "RuntimeError" in str(records[-1]["error"])
    runs = runs_of_agent(tmp_path)
    assert len({run for run, _, _ in runs}) == len(runs) == 3
    assert sorted(audited for _, audited, _ in runs) == sorted(settled)
    assert {group for _, _, group in runs} == {"mine"}


async def test_a_server_that_stops_leaves_every_audit_settled_or_open(
    easy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHED_JOURNAL", str(tmp_path / "journal.sqlite"))
    source = Path(__file__).parent / "watched"
    given = {"messages": [inline(easy[1])]}
    with dev_server(tmp_path, "--n-jobs-per-worker", "8", scenes=tmp_path, source=source) as running:
        async with get_client(url=running.url) as client:
            await asyncio.gather(*(client.runs.wait(None, "file", input=given) for _ in range(EACH)))
    journal = SQLiteJournal(tmp_path / "journal.sqlite")
    records = [record for _, record in journal.read()]
    journal.close()
    assert len(records) == EACH
    assert {(record["route"], record["audited"]) for record in records} == {("bypass", True)}
    assert all(record["agree"] is True for record in records if record["settled"])


async def check_both(client: Any, easy: Any, tmp_path: Path) -> None:
    given = {"messages": [inline(easy[1])]}

    async def ask(graph: str, mode: str) -> None:
        found: Any = await client.runs.wait(None, graph, input=given, config={"configurable": {"speceyes_mode": mode}})
        assert found["messages"][-1]["content"] == "blue"
        assert found["decision"]["route"] == ("bypass" if mode == "on" else "fallback")

    graphs = ("file", "store")
    await asyncio.gather(*(ask(graph, mode) for graph in graphs for mode in ("on", "shadow") for _ in range(EACH)))

    async def in_file() -> list[Any]:
        journal = SQLiteJournal(tmp_path / "journal.sqlite")
        try:
            return [record for _, record in await asyncio.to_thread(journal.read)]
        finally:
            journal.close()

    async def in_store() -> list[Any]:
        found = await client.store.search_items(("speceyes", "journal"), limit=1000)
        return [item["value"]["record"] for item in found["items"] if "record" in item["value"]]

    for where in (in_file, in_store):
        check(await settled(where))


async def settled(read: Callable[[], Any]) -> list[Any]:
    """The records, once all of them are settled; as they are, where that does not come about."""
    for _ in range(600):
        records: list[Any] = await read()
        if len(records) >= 2 * EACH and all(record["settled"] for record in records):
            break
        await asyncio.sleep(0.1)
    return records

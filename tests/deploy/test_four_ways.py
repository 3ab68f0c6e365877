"""One bypass, four ways to put it in front of an agent: the same routes and answers for the same questions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client, get_sync_client

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes, image_question
from langgraph_speceyes.testbed.pair import PROMPTS, Pair
from langgraph_speceyes.testbed.questions import SPLITS
from tests.deploy.server import DevServer, dev_server
from tests.scripted import speculator

Ask = Callable[[str, int], list[Any]]
EACH = int(os.environ.get("SPECEYES_EXAMPLES", "4"))
"""Questions of each split."""
pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def asked(ask: Ask) -> list[Any]:
    return [question for split in SPLITS for question in ask(split, EACH)]


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """A server that has agents and no bypass, and none of this machine's images."""
    folder = tmp_path_factory.mktemp("agents")
    options = ("--n-jobs-per-worker", "8")
    with dev_server(folder, *options, scenes=folder, source=Path(__file__).parent / "agents") as running:
        yield running


class Files(TypedDict, total=False):
    image_path: str
    question: str
    answer: str


def file_agent(pair: Pair) -> Any:
    """The agent as someone else may have built it: a path and a question in, an answer out."""
    looking = pair.agent().compile()

    async def act(state: Files) -> Files:
        result = await looking.ainvoke({"messages": [image_question(state["image_path"], state["question"])]})
        return {"answer": result["messages"][-1].text}

    graph = StateGraph(Files)
    graph.add_node("act", act)
    graph.add_edge(START, "act")
    graph.add_edge("act", END)
    return graph


async def answers(graph: Any, given: list[dict[str, Any]], read: Any) -> list[tuple[str, str, str]]:
    """Route, phase that decided and answer of each question, eight at a time."""
    slots = asyncio.Semaphore(8)

    async def one(state: dict[str, Any]) -> tuple[str, str, str]:
        async with slots:
            result = await graph.ainvoke(state)
        return result["decision"]["route"], result["decision"]["decided_by"], read(result)

    return await asyncio.gather(*map(one, given))


def last(result: dict[str, Any]) -> str:
    return str(result["messages"][-1].text)


@pytest.fixture
async def remote(agents: DevServer) -> AsyncIterator[Callable[[str], RemoteGraph]]:
    """Remote graphs by name, over clients that are closed in the end."""
    client, sync_client = get_client(url=agents.url), get_sync_client(url=agents.url)
    yield lambda name: RemoteGraph(name, client=client, sync_client=sync_client)
    await client.aclose()
    sync_client.close()


@pytest.fixture(scope="module")
def front(pair: Pair) -> dict[str, Any]:
    return {"speculator": pair.speculator, "judge": pair.large, "gate": pair.gate, "prompts": PROMPTS}


@pytest.mark.timeout(600)
async def test_questions_fare_alike(pair: Pair, asked: list[Any], front: Any, remote: Any) -> None:
    messages = [{"messages": [message]} for _, message in asked]
    files = [{"image_path": m.content[0]["url"], "question": m.content[1]["text"]} for _, m in asked]
    adapters = {
        "query_from_state": lambda s: image_question(s["image_path"], s["question"]),
        "update_from_answer": lambda answer, s: {"answer": answer.text},
    }
    plain = await answers(pair.speceyes().compile(), messages, last)
    around = create_speceyes(pair.tool_calling_agent(), **front).compile()
    within = pair.tool_calling_agent([SpecEyesMiddleware(**front)])
    other = create_speceyes(file_agent(pair), **front, **adapters).compile()
    elsewhere = create_speceyes(remote("agent"), **front).compile()
    assert await answers(around, messages, last) == plain
    assert await answers(within, messages, last) == plain
    assert await answers(other, files, lambda result: result["answer"]) == plain
    assert await answers(elsewhere, messages, last) == plain
    routes = [route for route, *_ in plain]
    assert len(plain) == EACH * len(SPLITS)
    assert min(routes.count("bypass"), routes.count("fallback")) >= EACH


@pytest.mark.parametrize("thread", ["holiday photos", "6f1ed002-ab5f-4a3c-8a1e-3d6b7a3f0c11"])
async def test_a_thread_of_two_turns_with_a_remote_agent(
    pair: Pair, ask: Ask, front: Any, remote: Any, thread: str
) -> None:
    closed = replace(pair.gate, threshold=1 - 1e-12)
    graph = create_speceyes(remote("agent"), **{**front, "gate": closed})
    compiled = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": thread}}
    for turn, (question, message) in enumerate(ask("existence", 2), 1):
        result = await compiled.ainvoke({"messages": [message]}, config)
        assert question.is_right(last(result))
        assert sum(isinstance(m, HumanMessage) and m.content == message.content for m in result["messages"]) == 1
        assert result["decision"]["follow_up"] == (turn > 1)
        assert result["messages"][-1].response_metadata["speceyes"]["route"] == "fallback"
    # the images went to the server as data, and stay references here
    assert all("base64" not in str(m.content)[:10_000] for m in result["messages"])


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_interrupts_of_a_remote_agent_come_here_and_their_answers_go_there(
    ask: Ask, remote: Any, asynchronous: bool
) -> None:
    ((_, message),) = ask("existence", 1)
    graph = create_speceyes(remote("asking"), speculator=speculator(0.01), follow_ups="bypass")
    compiled = graph.compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": f"asking {asynchronous}"}}

    async def run(given: Any) -> Any:
        return await compiled.ainvoke(given, config) if asynchronous else compiled.invoke(given, config)

    for turn in (1, 2):
        stopped = await run({"messages": [message.model_copy(update={"id": None})]})
        assert [i.value for i in stopped["__interrupt__"]] == ["first?"]
        stopped = await run(Command(resume=f"one{turn}"))
        assert [i.value for i in stopped["__interrupt__"]] == ["second?"]
        result = await run(Command(resume=f"two{turn}"))
        assert last(result) == f"one{turn} and two{turn} after {2 * turn - 1}"

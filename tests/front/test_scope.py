"""However a query ends, nobody waits for calls of it that will not come."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from PIL import Image
from pydantic import Field

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes, image_question
from langgraph_speceyes.errors import PhaseError
from langgraph_speceyes.front.scope import CallScope, RunScope
from langgraph_speceyes.models.batcher import MicroBatcher
from tests.scripted import Agent, Scripted, judge, speculator
from tests.waiting import auntil, until

ORDERS = ("judge_first", "speculate_first", "parallel")
NODES = ("intake", "judge", "speculate", "gate", "bypass", "agent")


def thread(name: str = "sync", **options: Any) -> Any:
    return {"configurable": {"thread_id": name}, **options}


class Batching(Scripted):
    """Announced calls, as a model that batches keeps them; `kept` says of each call made whether it was announced."""

    batcher: Any = Field(default_factory=lambda: MicroBatcher(lambda items, feed: feed.done(0, None)))
    kept: list[bool] = Field(default_factory=list)

    @property
    def expected(self) -> set[Any]:
        return set(self.batcher._expected)

    def expect(self, key: str) -> None:
        self.batcher.expect(key)

    def dismiss(self, key: str) -> None:
        self.batcher.dismiss(key)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        self.before()
        self.kept.append(kwargs["batch_key"] in self.expected)
        self.batcher.submit(None, kwargs["batch_key"]).result()
        return super()._generate(messages, stop, run_manager, **kwargs)


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    Image.new("RGB", (40, 30)).save(tmp_path / "street.png")
    return {"messages": [image_question(str(tmp_path / "street.png"), "What colour is it?")]}


def patient(done: Callable[[], object]) -> Any:
    """An agent that answers when something is so."""

    def act(state: MessagesState) -> dict[str, Any]:
        until(done)
        return {"messages": [AIMessage("from the agent")]}

    async def aact(state: MessagesState) -> dict[str, Any]:
        await auntil(done)
        return {"messages": [AIMessage("from the agent")]}

    graph = StateGraph(MessagesState)
    graph.add_node("act", RunnableLambda(act, aact))
    graph.add_edge(START, "act")
    return graph


class Pair:
    """Judge and speculator that batch."""

    def __init__(self, need: float = 0.1, **options: Any) -> None:
        self.small, self.large = (
            Batching(content=speculator().content),
            Batching(content=judge(need).content, **options),
        )
        self.settings: dict[str, Any] = {"speculator": self.small, "judge": self.large}

    def graph(self, compiled: dict[str, Any] | None = None, *, agent: Any = None, **settings: Any) -> Any:
        graph = create_speceyes(agent or Agent().graph, **self.settings, **settings)
        return graph.compile(checkpointer=InMemorySaver(), **(compiled or {}))

    def nobody_is_waited_for(self) -> None:
        assert self.small.expected == self.large.expected == set()


async def each_form(pair: Pair, run: Callable[[], Any], arun: Callable[[], Any]) -> None:
    await asyncio.to_thread(run)
    pair.nobody_is_waited_for()
    await arun()
    pair.nobody_is_waited_for()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("given", ["compile", "run"])
@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("node", NODES)
async def test_a_run_that_stops_at_a_node(asked: Any, order: Any, given: str, when: str, node: str) -> None:
    pair, stop = Pair(), {when: [node]}
    graph = pair.graph(stop if given == "compile" else None, order=order)
    options = {} if given == "compile" else stop

    def run() -> None:
        graph.invoke(asked, thread(), **options)
        pair.nobody_is_waited_for()
        graph.invoke(None, thread())

    async def arun() -> None:
        await graph.ainvoke(asked, thread("async"), **options)
        pair.nobody_is_waited_for()
        await graph.ainvoke(None, thread("async"))

    await each_form(pair, run, arun)
    assert len(pair.small.kept) == len(pair.large.kept) == 2


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("last", range(5))
async def test_a_caller_who_reads_no_further(asked: Any, order: Any, last: int) -> None:
    pair = Pair()
    graph = pair.graph(order=order)

    def run() -> None:
        with closing(graph.stream(asked, thread(), stream_mode="updates")) as parts:
            for number, _ in enumerate(parts):
                if number == last:
                    break

    async def arun() -> None:
        async with aclosing(graph.astream(asked, thread("async"), stream_mode="updates")) as parts:
            number = 0
            async for _ in parts:
                if number == last:
                    break
                number += 1

    await each_form(pair, run, arun)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("hedge", [False, True])
async def test_a_run_that_reaches_its_limit(asked: Any, steps: int, hedge: bool) -> None:
    pair = Pair()
    graph = pair.graph(hedge=hedge)

    def run() -> None:
        with suppress(GraphRecursionError):
            graph.invoke(asked, thread(recursion_limit=steps))

    async def arun() -> None:
        with suppress(GraphRecursionError):
            await graph.ainvoke(asked, thread("async", recursion_limit=steps))

    await each_form(pair, run, arun)


@pytest.mark.parametrize("hedge", [False, True])
async def test_a_run_that_fails(asked: Any, hedge: bool) -> None:
    pair, begun = Pair(error="down"), list[None]()
    graph = pair.graph(strict=True, hedge=hedge, agent=patient(lambda: len(pair.large.kept) == len(begun)))

    def run() -> None:
        begun.append(None)
        with suppress(PhaseError):
            graph.invoke(asked, thread())

    async def arun() -> None:
        begun.append(None)
        with suppress(PhaseError):
            await graph.ainvoke(asked, thread("async"))

    await each_form(pair, run, arun)
    assert pair.large.kept == [True, True]


@pytest.mark.parametrize("kind", ["graph", "hedge", "middleware"])
async def test_a_run_that_is_cancelled(asked: Any, kind: str) -> None:
    go_on, waiting = threading.Event(), list[None]()

    def hold() -> None:
        waiting.append(None)
        go_on.wait()

    pair = Pair(before=hold)
    if kind == "middleware":
        within = SpecEyesMiddleware(pair.small, judge=pair.large)
        graph: Any = create_agent(Scripted(), middleware=[within])
    else:
        graph = pair.graph(hedge=kind == "hedge", agent=patient(go_on.is_set))
    task = asyncio.create_task(graph.ainvoke(asked, thread()))
    try:
        await auntil(lambda: waiting)
        assert len(pair.small.expected) == len(pair.large.expected) == 1
        task.cancel()
        await asyncio.wait({task})
        pair.nobody_is_waited_for()
    finally:
        go_on.set()


async def test_within_an_agent_and_a_parent_calls_are_announced_until_they_come(asked: Any) -> None:
    """A run that is taken back too early would cost the batches that announcements are for."""
    pair = Pair()
    inner = create_agent(Scripted(), middleware=[SpecEyesMiddleware(pair.small, judge=pair.large)])
    for graph in (pair.graph(), pair.graph(order="parallel"), inner):
        await each_form(pair, partial(graph.invoke, asked, thread()), partial(graph.ainvoke, asked, thread("async")))
    assert pair.small.kept == pair.large.kept == [True] * 6


def test_what_a_compiled_bypass_is_lasts_in_a_copy(asked: Any) -> None:
    agent = create_agent(Scripted(), [_look])
    pair = Pair()
    graph = create_speceyes(agent, **pair.settings).compile().with_config({"tags": ["copied"]})
    assert "tools" in graph.get_graph().nodes
    for _ in graph.stream(asked, stream_mode="updates"):
        break
    pair.nobody_is_waited_for()


def _look(at: str) -> str:
    """Look."""
    return at


@pytest.mark.parametrize("form", ["enter", "announce"])
def test_a_run_that_ends_while_calls_are_announced_takes_them_back(form: str) -> None:
    run, expected = RunScope(), set[str]()

    class Call:
        def expect(self, key: str) -> None:
            # as from another thread, in the middle of it
            run.__exit__()
            expected.add(key)

        def dismiss(self, key: str) -> None:
            expected.discard(key)

    calls: Any = {"speculate": Call()}
    scope = CallScope(calls if form == "enter" else {}, calls)
    with run.under_way():
        scope.enter("1") if form == "enter" else scope.announce("speculate", "1")
    assert expected == set()

"""Whatever code of others raises is the outcome of the query that met it, and of no other."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool
from langgraph.errors import NodeCancelledError
from langgraph.graph import START, MessagesState, StateGraph
from PIL import Image
from pydantic import BaseModel

from langgraph_speceyes import Slots, create_funnel, create_speceyes, create_visual_agent
from langgraph_speceyes.agent.tools import ToolSpec
from langgraph_speceyes.errors import EscapeError
from tests.hostile.faults import AROUND, FORMS, Odd, asked, at_rest, number_of, run, wrong
from tests.scripted import Scripted, judge, speculator
from tests.waiting import PATIENCE_S, auntil

QUERIES = {"funnel": 160, "graph": 40, "hedge": 40, "middleware": 40}
"""A sample; `make faults` asks 5,000. In the funnel each kind fails at each place once."""


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", AROUND)
def test_each_query_has_one_outcome(image: str, around: str, form: str) -> None:
    threads, slots = threading.active_count(), Slots(8)
    results = run(around, form, QUERIES[around], image, slots)
    assert len(results) == QUERIES[around]
    assert wrong(around, results, QUERIES[around]) == {}
    assert (slots._held, len(slots._queue)) == (0, 0)
    # the recorder's thread stays for a while
    assert at_rest(threads + 2) <= threads + 2


ESCAPING = [SystemExit, GeneratorExit, asyncio.CancelledError, StopIteration, Odd]


class Calls(Scripted):
    """Calls the tool for the question with the number 0, and answers the others."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        call = '<tool_call>{"name": "boom", "arguments": {"what": "x"}}</tool_call>'
        return Scripted(answer="from the agent" if number_of(messages) else call)._generate(messages)


class What(BaseModel):
    """What the tool takes."""

    what: str


@pytest.mark.parametrize("kind", [*ESCAPING, ValueError])
@pytest.mark.parametrize("form", ["invoke", "ainvoke", "astream"])
@pytest.mark.parametrize("made", ["sync", "async", "spec"])
async def test_what_a_tool_raises_is_its_querys_outcome(
    image: str, kind: type[BaseException], form: str, made: str
) -> None:
    def boom(what: str) -> str:
        """Fail."""
        raise kind("the tool")

    async def aboom(what: str) -> str:
        raise kind("the tool")

    def look(arguments: Any, view: Any) -> Any:
        raise kind("the tool")

    tools: dict[str, Any] = {
        "sync": StructuredTool.from_function(boom),
        "async": StructuredTool.from_function(boom, aboom),
        "spec": ToolSpec("boom", "Fail.", What, look),
    }
    slots, agent = Slots(2), create_visual_agent(Calls(), tools=[tools[made]], protocol="deepeyes")
    graph = create_speceyes(agent, speculator=speculator(0.01), max_concurrent_agents=slots).compile()
    error = await meets(graph, form, image)
    assert type(error) is (EscapeError if kind in ESCAPING else kind)
    assert str(error) == (f"{kind.__name__}: the tool" if kind in ESCAPING else "the tool")
    assert (slots._held, len(slots._queue)) == (0, 0)


@pytest.mark.parametrize("kind", [*ESCAPING, ValueError])
@pytest.mark.parametrize(
    ("form", "waits"), [("invoke", False), ("ainvoke", False), ("ainvoke", True), ("astream", False), ("astream", True)]
)
async def test_what_a_node_of_another_agent_raises_is_its_querys_outcome(
    image: str, kind: type[BaseException], form: str, waits: bool
) -> None:
    async def act(state: MessagesState) -> dict[str, Any]:
        await asyncio.sleep(0)
        return sync_act(state)

    def sync_act(state: MessagesState) -> dict[str, Any]:
        if number_of(state["messages"]) == 0:
            raise kind("a node")
        return {"messages": [AIMessage("from the agent")]}

    beside: Any = StateGraph(MessagesState)
    for name in ("first", "second"):  # two at once: LangGraph runs each in a task or thread of its own
        beside.add_node(name, act if waits else sync_act)
        beside.add_edge(START, name)
    slots = Slots(2)
    graph = create_speceyes(beside, speculator=speculator(0.01), max_concurrent_agents=slots).compile()
    error = await meets(graph, form, image)
    if kind is asyncio.CancelledError:  # LangGraph has an error of its own for it, which names the node
        assert isinstance(error, NodeCancelledError)
    else:
        assert type(error) is (EscapeError if kind in ESCAPING else kind)
        assert str(error) == (f"{kind.__name__}: a node" if kind in ESCAPING else "a node")
    assert (slots._held, len(slots._queue)) == (0, 0)


async def meets(graph: Any, form: str, image: str) -> BaseException:
    """The error of question 0; question 1, asked at the same time, has its answer."""
    error, other = await asyncio.gather(*(asks(graph, form, image, n) for n in range(2)), return_exceptions=True)
    assert not isinstance(other, BaseException), other
    assert other["messages"][-1].text == "from the agent"
    assert isinstance(error, BaseException), error
    return error


async def asks(graph: Any, form: str, image: str, number: int) -> Any:
    given = asked(image, number)
    if form == "invoke":
        return await asyncio.to_thread(graph.invoke, given)
    if form == "ainvoke":
        return await graph.ainvoke(given)
    return [
        state async for mode, state in graph.astream(given, stream_mode=["messages", "values"]) if mode == "values"
    ][-1]


class Held:
    """Where queries wait until they are let go, by number."""

    def __init__(self) -> None:
        self.waiting: set[int] = set()
        self.go = asyncio.Event()

    async def at(self, number: int) -> None:
        self.waiting.add(number)
        await self.go.wait()


@pytest.mark.parametrize("place", ["judge", "speculate", "look", "agent", "slot"])
@pytest.mark.parametrize("hedge", [False, True])
async def test_a_cancelled_caller_cancels_its_query_and_no_other(image: str, place: str, hedge: bool) -> None:
    held, slots, count = Held(), Slots(1 if place == "slot" else 8), 6

    class Waiting(Scripted):
        role: str

        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            if self.role == place:
                await held.at(len(held.waiting))
            return self._generate(messages)

    async def look(image: str, question: str) -> None:
        if place == "look":
            await held.at(len(held.waiting))

    async def act(state: MessagesState) -> dict[str, Any]:
        if place in ("agent", "slot"):
            await held.at(len(held.waiting))
        return {"messages": [AIMessage("from the agent")]}

    agent: Any = StateGraph(MessagesState)
    agent.add_node("act", act)
    agent.add_edge(START, "act")
    graph = create_speceyes(
        agent,
        speculator=Waiting(content=speculator(0.01).content, role="speculate"),
        judge=Waiting(content=judge(0.1).content, role="judge"),
        looks=[look],
        order="judge_first",
        max_concurrent_agents=slots,
        hedge=hedge and place in ("agent", "slot"),
    ).compile()
    tasks = [asyncio.create_task(graph.ainvoke(asked(image, number))) for number in range(count)]
    await auntil(lambda: len(held.waiting) + len(slots._queue) == count)
    gone = tasks[1::2]
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    assert all(task.cancelled() for task in gone)
    held.go.set()
    for task in tasks[::2]:
        assert (await task)["messages"][-1].text == "from the agent"
    await auntil(lambda: slots._held == 0)
    assert len(slots._queue) == 0


async def test_a_cancelled_funnel_leaves_nothing(image: str) -> None:
    held, slots = Held(), Slots(3)

    async def act(state: MessagesState) -> dict[str, Any]:
        await held.at(len(held.waiting))
        return {"messages": [AIMessage("from the agent")]}

    agent: Any = StateGraph(MessagesState)
    agent.add_node("act", act)
    agent.add_edge(START, "act")
    built = create_speceyes(agent, speculator=speculator(0.01), max_concurrent_agents=slots)
    queries = {"queries": [asked(image, number)["messages"] for number in range(9)]}
    task = asyncio.create_task(create_funnel(built).compile().ainvoke(queries))
    await auntil(lambda: len(held.waiting) == 3 and len(slots._queue) == 6)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await auntil(lambda: slots._held == 0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


PROGRAM = """
import signal, sys, time
from langchain_core.messages import HumanMessage
from langgraph_speceyes import create_speceyes
from tests.scripted import Agent, speculator
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
# what a shell starts in the background ignores Ctrl-C, and so does what that starts
signal.signal(signal.SIGINT, signal.default_int_handler)
def before():
    print("asked", flush=True)
    time.sleep(600)
graph = create_speceyes(Agent().graph, speculator=speculator(before=before)).compile()
blocks = [{"type": "image", "url": sys.argv[1]}, {"type": "text", "text": "What?"}]
given = {"messages": [HumanMessage(blocks)]}
print(graph.invoke(given))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 7)])
def test_ctrl_c_and_a_handler_that_exits_end_the_program(image: str, number: int, code: int) -> None:
    root = Path(__file__).parents[1]
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM, image]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "asked\n"
        running.send_signal(number)
        try:
            said = running.communicate(timeout=PATIENCE_S)
        finally:
            running.kill()
    assert running.returncode == code, said

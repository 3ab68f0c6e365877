"""The agent beside the front end: the same routes and answers, and nothing left of an agent that was cancelled."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, interrupt
from PIL import Image

from langgraph_speceyes import Slots, create_funnel, create_speceyes, image_question
from langgraph_speceyes.behind.meter import Meter
from langgraph_speceyes.errors import ArgumentError, PhaseError
from langgraph_speceyes.front.order import LEAST, TRIED, OrderChooser
from langgraph_speceyes.hedge import race
from langgraph_speceyes.hedge.held import HeldStream
from langgraph_speceyes.models.batcher import MicroBatcher
from langgraph_speceyes.traffic import StoreJournal
from tests.scripted import Agent, Scripted, costing, judge, peaked, speculator
from tests.waiting import PATIENCE_S, auntil, until

CONFIG: Any = {"configurable": {"thread_id": "1"}}
ACCEPTED, REJECTED = 40.0, 0.01


@pytest.fixture(autouse=True)
def front_end_first(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The front end is done before the agent has its answer, in all tests but those of the other case."""
    if "agent_first" not in request.keywords:
        monkeypatch.setattr(race, "_answered", lambda agent: False)


@pytest.fixture
def image(tmp_path: Path) -> str:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "image.png")
    return str(tmp_path / "image.png")


@pytest.fixture(params=["invoke", "ainvoke"])
def call(request: pytest.FixtureRequest) -> Any:
    """Calls a graph, in either form."""

    async def run(graph: Any, given: Any, config: Any = None, **options: Any) -> Any:
        if request.param == "ainvoke":
            return await graph.ainvoke(given, config, **options)
        return await asyncio.to_thread(graph.invoke, given, config, **options)

    run.form = request.param  # type: ignore[attr-defined]
    return run


def asked(image: str, text: str = "What colour?") -> dict[str, Any]:
    return {"messages": [image_question(image, text)]}


class After(Scripted):
    """Answers when an event has come, so that what it waits for must happen at the same time."""

    event: Any = None

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        assert self.event.wait(PATIENCE_S)
        return super()._generate(*args, **kwargs)


def after(event: threading.Event, gap: float = ACCEPTED) -> After:
    return After(content=[peaked("blue", 64, gap)], event=event)


@tool
def look(what: str) -> str:
    """Look at it."""
    return what


class Notes(MessagesState, total=False):
    notes: list[str]


class Steps:
    """An agent that uses a model and a tool, waits, and then takes another step."""

    def __init__(self, first: Callable[[], Any] = lambda: None) -> None:
        self.sent, self.go, self.steps, self.cancelled = threading.Event(), threading.Event(), list[str](), False
        self.model = Scripted(answer="thinking")

        def use(state: Notes) -> dict[str, Any]:
            self.steps.append("first")
            self.model.invoke("what now?")
            look.invoke({"what": "there"})
            first()
            return {"messages": [AIMessage("half done")], "notes": ["half done"]}

        def wait(state: Notes) -> dict[str, Any]:
            self.sent.set()
            assert self.go.wait(PATIENCE_S)
            return {}

        async def await_(state: Notes) -> dict[str, Any]:
            self.sent.set()
            try:
                while not self.go.is_set():
                    await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                self.cancelled = True
                raise
            return {}

        def end(state: Notes) -> dict[str, Any]:
            self.steps.append("last")
            return {"messages": [AIMessage("from the agent")], "notes": [*state["notes"], "done"]}

        graph = StateGraph(Notes)
        graph.add_node("use", use)
        graph.add_node("wait", RunnableLambda(wait, afunc=await_))
        graph.add_node("end", end)
        graph.add_edge(START, "use")
        graph.add_edge("use", "wait")
        graph.add_edge("wait", "end")
        graph.add_edge("end", END)
        self.graph = graph


def plain(result: dict[str, Any]) -> dict[str, Any]:
    """A result without identities and times."""
    decision = {k: v for k, v in result["decision"].items() if k not in ("seconds", "hedge")}
    return {
        **{k: v for k, v in result.items() if k not in ("messages", "decision")},
        "messages": [(m.type, m.content, sorted(m.response_metadata)) for m in result["messages"]],
        "decision": decision,
        "phases": set(result["decision"]["seconds"]),
    }


@pytest.mark.parametrize("order", ["judge_first", "speculate_first", "parallel"])
@pytest.mark.parametrize("need", [0.1, 0.9, None])
@pytest.mark.parametrize("gap", [ACCEPTED, REJECTED])
@pytest.mark.parametrize("mode", ["full_history", "last_message"])
async def test_routes_answers_and_records_are_those_without_hedge(
    image: str, order: Any, need: float | None, gap: float, mode: Any, call: Any
) -> None:
    found = []
    for hedge in (False, True):
        agent = Steps()
        agent.go.set()
        graph = create_speceyes(
            agent.graph,
            speculator=speculator(gap),
            judge=judge(need) if need else None,
            order=order,
            output_mode=mode,
            hedge=hedge,
        ).compile()
        found.append(await call(graph, {**asked(image), "notes": ["given"]}))
    without, hedged = found
    assert plain(hedged) == plain(without)
    assert without["decision"]["hedge"] is None
    assert hedged["decision"]["hedge"]["cancelled"] == (hedged["decision"]["route"] == "bypass")
    assert hedged["messages"][-1].response_metadata["speceyes"] == hedged["decision"]


async def test_what_the_gate_accepts_cancels_the_agent_and_nothing_of_it_is_left(image: str, call: Any) -> None:
    slots, agent = Slots(1), Steps()
    graph = create_speceyes(
        agent.graph, speculator=after(agent.sent), judge=judge(0.1), hedge=True, max_concurrent_agents=slots
    ).compile(checkpointer=InMemorySaver())
    result = await call(graph, {**asked(image), "notes": ["given"]}, CONFIG)
    decision = result["decision"]
    assert decision["route"] == "bypass"
    assert [m.text for m in result["messages"]] == ["What colour?", "blue"]
    assert result["notes"] == ["given"]
    state = graph.get_state(CONFIG)
    assert state.next == ()
    assert [m.text for m in state.values["messages"]] == ["What colour?", "blue"]
    hedge = decision["hedge"]
    assert hedge == {
        "cancelled": True,
        "interrupted": False,
        "agent_first": False,
        "seconds": hedge["seconds"],
        "tokens": {"input": 7, "output": 1},
        "tool_steps": 1,
    }
    assert hedge["seconds"] > 0
    assert "agent" not in decision["seconds"]
    assert "agent" not in decision["tokens"]
    assert agent.cancelled == (call.form == "ainvoke")
    # a thread ends where it would take its next step, and gives its slot back
    agent.go.set()
    with slots.hold():
        assert agent.steps == ["first"]


async def test_what_a_cancelled_agent_changes_in_place_stays_with_it(image: str, call: Any) -> None:
    class Shared(MessagesState):
        notes: list[str]
        lock: Any

    changed = threading.Event()

    def change(state: Shared) -> dict[str, Any]:
        state["notes"].append("mine")
        state["messages"][0].content = "another question"
        changed.set()
        return {}

    agent = StateGraph(Shared)
    agent.add_node("change", change)
    agent.add_edge(START, "change")
    graph = create_speceyes(agent, speculator=after(changed), hedge=True).compile()
    # a lock cannot be copied
    result = await call(graph, {**asked(image), "notes": ["given"], "lock": threading.Lock()})
    assert result["notes"] == ["given"]
    assert [m.text for m in result["messages"]] == ["What colour?", "blue"]


async def test_a_task_does_not_wait_for_a_thread_that_its_agent_left_behind(image: str) -> None:
    entered, go, steps = threading.Event(), threading.Event(), list[str]()

    def block(state: MessagesState) -> dict[str, Any]:
        entered.set()
        assert go.wait(PATIENCE_S)
        try:
            Scripted(answer="?").invoke("what now?")
        except BaseException as stopped:
            steps.append(type(stopped).__name__)
            raise
        steps.append("went on")
        return {}

    agent = StateGraph(MessagesState)
    agent.add_node("block", block)
    agent.add_edge(START, "block")
    graph = create_speceyes(agent, speculator=after(entered), hedge=True).compile()
    assert (await graph.ainvoke(asked(image)))["decision"]["hedge"]["cancelled"] is True
    go.set()
    await auntil(lambda: steps)
    assert steps == ["Stopped"]


async def test_a_question_that_falls_back_gains_what_the_agent_did_by_then(
    image: str, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, now = Steps(), 1000.0
    for clock in ("time", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: now)

    class Late(After):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal now
            made = super()._generate(*args, **kwargs)
            now += 7.0
            agent.go.set()
            return made

    small = Late(content=[peaked("blue", 64, REJECTED)], event=agent.sent)
    graph = create_speceyes(agent.graph, speculator=small, judge=judge(0.1), hedge=True, max_concurrent_agents=2)
    decision = (await call(graph.compile(), asked(image)))["decision"]
    assert decision["route"] == "fallback"
    assert decision["hedge"]["cancelled"] is False
    assert decision["hedge"]["tokens"] == {"input": 7, "output": 1}
    assert decision["hedge"]["tool_steps"] == 1
    # wall time, not the sum of what ran at the same time
    nothing = dict.fromkeys(("intake", "judge", "gate", "slot"), 0.0)
    assert decision["seconds"] == {**nothing, "speculate": 7.0, "agent": 7.0, "total": 7.0}


async def test_what_is_no_question_for_the_front_end_is_the_agents_alone(image: str, call: Any) -> None:
    agent = Agent()
    graph = create_speceyes(agent.graph, speculator=speculator(), hedge=True).compile()
    result = await call(graph, {"messages": [HumanMessage("Without an image?")]})
    assert result["decision"]["decided_by"] == "intake"
    assert result["decision"]["hedge"] is None
    assert len(agent.runs) == 1


@pytest.mark.parametrize("gap", [ACCEPTED, REJECTED])
async def test_an_agents_failure_counts_only_when_the_question_is_its_own(image: str, gap: float, call: Any) -> None:
    failed = threading.Event()

    def fail(state: MessagesState) -> dict[str, Any]:
        failed.set()
        raise RuntimeError("the agent broke")

    agent = StateGraph(MessagesState)
    agent.add_node("fail", fail)
    agent.add_edge(START, "fail")
    graph = create_speceyes(agent, speculator=after(failed, gap), hedge=True).compile()
    if gap == ACCEPTED:
        assert (await call(graph, asked(image)))["messages"][-1].text == "blue"
    else:
        with pytest.raises(RuntimeError, match="the agent broke"):
            await call(graph, asked(image))


async def test_trouble_in_front_falls_back_and_strict_cancels_the_agent(image: str, call: Any) -> None:
    for strict in (False, True):
        agent, slots = Steps(), Slots(1)
        small = After(error="refused", event=agent.sent)
        graph = create_speceyes(
            agent.graph, speculator=small, hedge=True, strict=strict, max_concurrent_agents=slots
        ).compile()
        if strict:
            with pytest.raises(PhaseError, match="refused"):
                await call(graph, asked(image))
            agent.go.set()
            with slots.hold():
                assert agent.steps == ["first"]
        else:
            agent.sent.set()
            agent.go.set()
            decision = (await call(graph, asked(image)))["decision"]
            assert (decision["route"], decision["decided_by"]) == ("fallback", "speculate")
            assert "refused" in decision["error"]


class Person:
    """An agent that asks a person after a first step."""

    def __init__(self, event: threading.Event | None = None) -> None:
        self.asked, self.steps, model = threading.Event(), 0, Scripted(answer="let me ask")

        def prepare(state: MessagesState) -> dict[str, Any]:
            self.steps += 1
            assert event is None or event.wait(PATIENCE_S)
            return {"messages": [model.invoke("What now?")]}

        def confirm(state: MessagesState) -> dict[str, Any]:
            self.asked.set()
            return {"messages": [AIMessage(f"a person said {interrupt('may I?')}")]}

        self.graph = StateGraph(MessagesState)
        self.graph.add_node("prepare", prepare)
        self.graph.add_node("confirm", confirm)
        self.graph.add_edge(START, "prepare")
        self.graph.add_edge("prepare", "confirm")


async def test_an_interrupt_of_a_cancelled_agent_never_surfaces(image: str, call: Any) -> None:
    agent = Person()
    graph = create_speceyes(agent.graph, speculator=after(agent.asked), hedge=True).compile(
        checkpointer=InMemorySaver()
    )
    result = await call(graph, asked(image), CONFIG)
    assert "__interrupt__" not in result
    assert [m.text for m in result["messages"]] == ["What colour?", "blue"]
    state = graph.get_state(CONFIG)
    assert (state.next, state.interrupts) == ((), ())
    parts = list(
        graph.stream(asked(image), {"configurable": {"thread_id": "2"}}, stream_mode="updates", subgraphs=True)
    )
    assert not any("__interrupt__" in update for _, update in parts)


def _decided(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the front end has left a question to the agent."""
    decided, release = threading.Event(), HeldStream.release

    def noted(held: HeldStream) -> None:
        release(held)
        decided.set()

    monkeypatch.setattr(HeldStream, "release", noted)
    return decided


def test_the_failure_of_an_agent_that_was_cancelled_is_on_no_record(
    image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided, ends, end = threading.Event(), list[Meter](), Meter.end

    def noted(meter: Meter) -> None:
        end(meter)
        ends.append(meter)

    def act(state: MessagesState) -> dict[str, Any]:
        assert decided.wait(PATIENCE_S)
        raise RuntimeError("the agent broke")

    monkeypatch.setattr(Meter, "end", noted)
    agent, journal = StateGraph(MessagesState), StoreJournal(InMemoryStore(), settle_s=0)
    agent.add_node("act", act)
    agent.add_edge(START, "act")
    graph = create_speceyes(agent, speculator=speculator(ACCEPTED), hedge=True, journal=journal)
    assert graph.compile().invoke(asked(image))["decision"]["route"] == "bypass"
    decided.set()
    # once at its own end, once at that of its thread
    until(lambda: len(ends) == 2)
    assert graph.traffic.drain(PATIENCE_S)
    assert [(record["route"], record["error"]) for _, record in journal.read()] == [("bypass", None)]


def test_the_failure_of_an_agent_whose_question_falls_back_is_on_record(image: str) -> None:
    journal = StoreJournal(InMemoryStore(), settle_s=0)
    graph = create_speceyes(Agent(fail=True).graph, speculator=speculator(REJECTED), hedge=True, journal=journal)
    with pytest.raises(RuntimeError, match="the agent broke"):
        graph.compile().invoke(asked(image))
    assert graph.traffic.drain(PATIENCE_S)
    (record,) = [record for _, record in journal.read()]
    assert (record["route"], record["error"], record["agreed_by"]) == ("fallback", "RuntimeError", "undecided")
    assert record["score"] is not None, "the front end had its say"


@pytest.mark.parametrize("late", [False, True])
async def test_an_interrupt_of_a_question_that_falls_back_surfaces_once_and_resumes(
    image: str, late: bool, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = _decided(monkeypatch)
    # the agent asks before the front end is done, or behind it
    agent = Person(decided if late else None)
    small = speculator(REJECTED) if late else after(agent.asked, REJECTED)
    graph = create_speceyes(agent.graph, speculator=small, hedge=True).compile(checkpointer=InMemorySaver())
    stopped = await call(graph, asked(image), CONFIG)
    assert [one.value for one in stopped["__interrupt__"]] == ["may I?"]
    assert graph.get_state(CONFIG).next == ("agent",)
    # what the front end could say now must not matter any more
    small.content = [peaked("blue", 64, ACCEPTED)]
    result = await call(graph, Command(resume="yes"), CONFIG)
    assert [m.text for m in result["messages"]] == ["What colour?", "let me ask", "a person said yes"]
    assert len(small.calls) == 1
    decision = result["decision"]
    assert (decision["route"], decision["accepted"]) == ("fallback", False)
    assert decision["hedge"]["cancelled"] is decision["hedge"]["interrupted"] is True
    assert agent.steps == 2  # once beside the front end, once more in its own node
    # each counted once: what was thrown away is no part of what the agent cost
    assert decision["model_calls"] == 1
    assert decision["tokens"]["agent"] == decision["hedge"]["tokens"] == {"input": 7, "output": 1}
    found = [s for s in graph.get_state_history(CONFIG) if s.tasks and any(t.interrupts for t in s.tasks)]
    assert len(found) == 1


async def test_an_agent_begins_anew_on_the_next_turn_of_a_thread(image: str, call: Any) -> None:
    agent = Steps()
    small = after(agent.sent)
    graph = create_speceyes(agent.graph, speculator=small, hedge=True, follow_ups="bypass").compile(
        checkpointer=InMemorySaver()
    )
    first = await call(graph, asked(image), CONFIG)
    assert first["decision"]["route"] == "bypass"
    agent.go.set()
    small.content = [peaked("blue", 64, REJECTED)]
    second = await call(graph, asked(image, "And now?"), CONFIG)
    assert second["decision"]["route"] == "fallback"
    said = ["What colour?", "blue", "And now?", "half done", "from the agent"]
    assert [m.text for m in second["messages"]] == said
    assert second["notes"] == ["half done", "done"]
    assert agent.steps == ["first", "first", "last"]
    assert [m.text for m in graph.get_state(CONFIG).values["messages"]] == said


async def test_a_failed_run_goes_on_where_the_agent_failed(image: str, call: Any) -> None:
    broken = [True]

    def once() -> None:
        if broken[0]:
            raise RuntimeError("a cable fell out")

    agent = Steps()
    agent.go.set()
    fragile = StateGraph(Notes)
    fragile.add_node("inner", agent.graph.compile())

    def check(state: Notes) -> dict[str, Any]:
        once()
        return {"messages": [AIMessage("checked")]}

    fragile.add_node("check", check)
    fragile.add_edge(START, "inner")
    fragile.add_edge("inner", "check")
    graph = create_speceyes(fragile, speculator=speculator(REJECTED), hedge=True).compile(checkpointer=InMemorySaver())
    with pytest.raises(RuntimeError, match="cable"):
        await call(graph, asked(image), CONFIG)
    broken[0] = False
    result = await call(graph, None, CONFIG)
    assert result["messages"][-1].text == "checked"
    assert agent.steps == ["first", "last"]


async def test_an_agent_that_waits_for_a_slot_when_it_is_cancelled_never_runs(image: str, call: Any) -> None:
    slots, agent = Slots(1), Agent()
    small = speculator(before=lambda: until(lambda: slots._queue))
    graph = create_speceyes(agent.graph, speculator=small, hedge=True, max_concurrent_agents=slots).compile()
    with slots.hold():
        result = await call(graph, asked(image))
        assert result["decision"]["hedge"]["seconds"] == 0.0
        # nobody is left in the queue
        assert all(ticket.cancelled() for ticket in slots._queue)
        assert result["decision"]["seconds"].keys() >= {"intake", "total"}
    with slots.hold():
        pass
    assert slots.peak == 1
    assert agent.runs == []


def test_a_thread_that_is_told_to_stop_leaves_the_queue_for_a_slot() -> None:
    slots, stop, left = Slots(1), Future[None](), threading.Event()

    def wait() -> None:
        with suppress(BaseException), slots.hold(stop):
            return
        left.set()

    with slots.hold():
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: slots._queue)
        stop.set_result(None)
        assert left.wait(PATIENCE_S)  # while the slot is still held
    thread.join()
    with slots.hold():
        pass


async def test_a_queued_call_of_a_cancelled_agent_is_taken_out_of_the_queue(image: str) -> None:
    busy, go, served = threading.Event(), threading.Event(), list[str]()

    def serve(items: Any, feed: Any) -> None:
        busy.set()
        assert go.wait(PATIENCE_S)
        served.extend(items)
        for number, item in enumerate(items):
            feed.done(number, item)

    batcher = MicroBatcher[str, str](serve)
    before, queued = batcher.submit("before"), threading.Event()
    assert busy.wait(PATIENCE_S)

    async def act(state: MessagesState) -> dict[str, Any]:
        future = batcher.submit("the agent's")
        queued.set()
        return {"messages": [AIMessage(await asyncio.wrap_future(future))]}

    agent = StateGraph(MessagesState)
    agent.add_node("act", act)
    agent.add_edge(START, "act")
    graph = create_speceyes(agent, speculator=after(queued), hedge=True).compile()
    assert (await graph.ainvoke(asked(image)))["decision"]["hedge"]["cancelled"] is True
    go.set()
    assert before.result(PATIENCE_S) == "before"
    batcher.submit("behind").result(PATIENCE_S)
    assert served == ["before", "behind"]
    batcher.close()


async def test_a_run_that_is_cancelled_takes_its_agent_along(image: str) -> None:
    agent, never = Steps(), threading.Event()
    graph = create_speceyes(agent.graph, speculator=after(never), hedge=True).compile()
    run = asyncio.create_task(graph.ainvoke(asked(image)))
    await auntil(agent.sent.is_set)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert agent.cancelled
    never.set()


async def test_queries_of_a_funnel_are_hedged_each_for_itself(image: str) -> None:
    class ByQuestion(Scripted):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            gap = ACCEPTED if "easy" in messages[-1].content[-1]["text"] else REJECTED
            return speculator(gap)._generate(messages)

    slots = Slots(2)
    one = create_speceyes(Agent().graph, speculator=ByQuestion(), hedge=True, max_concurrent_agents=slots)
    graph = create_funnel(one).compile()
    queries = [asked(image, f"{kind} {i}")["messages"] for i in range(4) for kind in ("easy", "hard")]
    for limit in (1, 8):
        config: RunnableConfig = {"max_concurrency": limit}
        for result in (await graph.ainvoke({"queries": queries}, config), graph.invoke({"queries": queries}, config)):
            assert [o["answer"] for o in result["outcomes"]] == ["blue", "from the agent"] * 4
            assert [o["decision"]["hedge"]["cancelled"] for o in result["outcomes"]] == [True, False] * 4
    assert slots.peak <= 2


class Telling:
    """An agent that writes on every stream there is."""

    def __init__(self) -> None:
        self.told = threading.Event()

        def act(state: MessagesState) -> dict[str, Any]:
            get_stream_writer()({"note": "from within"})
            said = Scripted(answer="token").invoke("?")
            return {"messages": [said]}

        def tell(state: MessagesState) -> dict[str, Any]:
            self.told.set()
            return {"messages": [AIMessage("from the agent", id="last")]}

        self.graph = StateGraph(MessagesState)
        self.graph.add_node("act", act)
        self.graph.add_node("tell", tell)
        self.graph.add_edge(START, "act")
        self.graph.add_edge("act", "tell")


def _shown(graph: Any, given: Any) -> list[tuple[int, str, Any]]:
    """What a stream shows of the agent, and the answers in it, without identities."""
    shown: list[tuple[int, str, Any]] = []
    for ns, mode, part in graph.stream(given, stream_mode=["updates", "messages", "custom"], subgraphs=True):
        if mode == "messages" and not isinstance(part[0], HumanMessage):
            shown.append((len(ns), mode, part[0].text))
        elif mode == "updates" and set(part) & {"act", "tell"}:
            shown.append((len(ns), mode, sorted(part)))
        elif mode == "custom":
            shown.append((len(ns), mode, part["note"]) if "note" in part else (0, mode, part["event"]))
    return shown


@pytest.mark.parametrize("late", [False, True])
def test_a_stream_shows_an_agent_that_is_interrupted_once(
    image: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided, ended, end = _decided(monkeypatch), threading.Event(), Meter.end

    def over(watch: Meter) -> None:
        end(watch)
        ended.set()

    monkeypatch.setattr(Meter, "end", over)
    agent = StateGraph(MessagesState)

    def prepare(state: MessagesState) -> dict[str, Any]:
        assert not late or decided.wait(PATIENCE_S)
        # the same message in both runs
        return {"messages": [AIMessage("let me ask", id="one")]}

    def confirm(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(interrupt("may I?"))]}

    agent.add_node("prepare", prepare)
    agent.add_node("confirm", confirm)
    agent.add_edge(START, "prepare")
    agent.add_edge("prepare", "confirm")
    small = speculator(REJECTED) if late else after(ended, REJECTED)
    graph = create_speceyes(agent, speculator=small, hedge=True).compile(checkpointer=InMemorySaver())
    parts = list(graph.stream(asked(image), CONFIG, stream_mode=["updates", "messages"], subgraphs=True))
    stops = [ns for ns, mode, part in parts if mode == "updates" and "__interrupt__" in part]
    assert {ns[0].partition(":")[0] for ns in stops if ns} == {"agent"}
    ran = [ns[0].partition(":")[0] for ns, mode, part in parts if mode == "updates" and "prepare" in part]
    assert ran == (["race", "agent"] if late else ["agent"])
    assert [part[0].text for _, mode, part in parts if mode == "messages"].count("let me ask") == 1


def test_the_agents_namespace_does_not_depend_on_who_begins_first(image: str) -> None:
    slots, asked_first, left = Slots(1), threading.Event(), threading.Event()

    def hold() -> None:
        with slots.hold():
            left.set()
            assert asked_first.wait(PATIENCE_S)

    class First(Scripted):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            asked_first.set()
            return super()._generate(*args, **kwargs)

    threading.Thread(target=hold).start()
    assert left.wait(PATIENCE_S)
    small = First(content=[peaked("blue", 64, REJECTED)])
    graph = create_speceyes(Agent().graph, speculator=small, hedge=True, max_concurrent_agents=slots).compile()
    parts = list(graph.stream(asked(image), stream_mode="updates", subgraphs=True))
    assert [len(ns) for ns, update in parts if "act" in update] == [1]


@pytest.mark.parametrize("gap", [ACCEPTED, REJECTED])
def test_streams_show_an_agent_that_answers_whole_and_nothing_of_one_that_is_cancelled(image: str, gap: float) -> None:
    found = []
    for hedge in (False, True):
        agent = Telling()
        small = after(agent.told, gap) if hedge else speculator(gap)
        graph = create_speceyes(agent.graph, speculator=small, hedge=hedge).compile()
        found.append(_shown(graph, asked(image)))
    without, hedged = found
    assert hedged == without
    assert ("from within" in str(hedged)) == (gap == REJECTED)


async def test_async_streams_show_nothing_of_a_cancelled_agent(image: str) -> None:
    agent = Telling()
    graph = create_speceyes(agent.graph, speculator=after(agent.told), hedge=True).compile()
    modes: Any = ["updates", "messages", "custom"]
    parts = [part async for part in graph.astream(asked(image), stream_mode=modes, subgraphs=True)]
    assert "from within" not in str(parts)
    assert "token" not in [part[0].text for _, mode, part in parts if mode == "messages"]
    assert [part["event"] for _, mode, part in parts if mode == "custom"] == ["speculate", "gate", "decision"]


async def test_context_and_context_variables_reach_the_agent(image: str, call: Any) -> None:
    variable = contextvars.ContextVar[str]("variable")

    def act(state: MessagesState, runtime: Runtime[Any]) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{runtime.context['who']} {variable.get()}")]}

    agent = StateGraph(MessagesState, context_schema=dict)  # type: ignore[type-var]
    agent.add_node("act", act)
    agent.add_edge(START, "act")
    graph = create_speceyes(agent, speculator=speculator(REJECTED), hedge=True).compile()
    variable.set("here")
    result = await call(graph, asked(image), context={"who": "you"})
    assert result["messages"][-1].text == "you here"


async def test_the_agent_is_found_and_its_runs_nest_under_the_race(image: str) -> None:
    graph = create_speceyes(Agent().graph, speculator=speculator(REJECTED), judge=judge(0.2), hedge=True).compile(
        name="speceyes", checkpointer=InMemorySaver()
    )
    assert sorted(name for name, _ in graph.get_subgraphs()) == ["agent", "race"]
    assert "race\\3aact" in graph.get_graph(xray=True).draw_mermaid()
    started = [
        (len(e["parent_ids"]), e["name"])
        async for e in graph.astream_events(asked(image), CONFIG, version="v2")
        if e["event"].endswith("_start")
    ]
    assert started[:3] == [(0, "speceyes"), (1, "intake"), (1, "race")]
    front = [(2, "front"), (3, "judge"), (4, "judge model"), (3, "speculate"), (4, "speculator"), (3, "gate")]
    assert sorted(started[3:]) == sorted([*front, (2, "LangGraph"), (3, "act")])


async def test_the_order_is_still_chosen_from_what_queries_cost(
    image: str, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    costing(monkeypatch, OrderChooser, judge=3.0, speculate=1.0)
    graph = create_speceyes(
        Agent().graph, speculator=speculator(), judge=judge(0.1), hedge=True, order="auto"
    ).compile()
    orders = [(await call(graph, asked(image)))["decision"]["order"] for _ in range(LEAST + 1)]
    assert all(order["explored"] for order in orders[:LEAST])
    assert set(orders[-1]["seconds"]) == set(TRIED)
    assert orders[-1]["queries"] == LEAST


def test_agents_that_remember_by_themselves_are_refused() -> None:
    inner = StateGraph(MessagesState)
    inner.add_node("remembers", Agent().graph.compile(checkpointer=True))
    inner.add_edge(START, "remembers")
    remote = RemoteGraph("agent", url="http://localhost:1")
    for agent in (Agent().graph.compile(checkpointer=True), inner, remote):
        with pytest.raises(ArgumentError) as caught:
            create_speceyes(agent, speculator=speculator(), hedge=True)
        assert caught.value.argument == "hedge"


def test_a_state_key_named_like_the_race_is_refused_only_with_it() -> None:
    class Racing(MessagesState):
        race: str

    agent = StateGraph(Racing)
    agent.add_node("act", lambda state: {})
    agent.add_edge(START, "act")
    create_speceyes(agent, speculator=speculator())
    with pytest.raises(ArgumentError, match="race"):
        create_speceyes(agent, speculator=speculator(), hedge=True)


@pytest.mark.agent_first
@pytest.mark.parametrize("gap", [ACCEPTED, REJECTED])
async def test_an_agent_that_has_its_answer_first_settles_the_question(image: str, gap: float) -> None:
    """The speculator cannot end before the answer has been given."""
    for asynchronous in (False, True):
        given = threading.Event()
        small = speculator(gap, before=lambda given=given: given.wait(PATIENCE_S))
        graph = create_speceyes(Agent().graph, speculator=small, hedge=True).compile()
        asked = {"messages": [image_question(image, "What?")]}
        result = await graph.ainvoke(asked) if asynchronous else graph.invoke(asked)
        given.set()
        decision = result["decision"]
        assert (decision["route"], decision["decided_by"], decision["speculation"]) == ("fallback", "agent", None)
        assert (decision["hedge"]["agent_first"], decision["hedge"]["cancelled"]) == (True, False)
        assert result["messages"][-1].text == "from the agent"


@pytest.mark.agent_first
async def test_an_agent_that_fails_first_leaves_the_question_to_the_front_end(image: str) -> None:
    for gap in (ACCEPTED, REJECTED):
        for asynchronous in (False, True):
            graph = create_speceyes(Agent(fail=True).graph, speculator=speculator(gap), hedge=True).compile()
            asked = {"messages": [image_question(image, "What?")]}
            if gap == REJECTED:
                with pytest.raises(RuntimeError, match="the agent broke"):
                    await graph.ainvoke(asked) if asynchronous else graph.invoke(asked)
            else:
                result = await graph.ainvoke(asked) if asynchronous else graph.invoke(asked)
                assert result["decision"]["route"] == "bypass"

"""Concurrent queries with faults of every kind at every place: each has one outcome, and nothing stays behind.

`python -m tests.hostile.faults 5000` (`make faults`) prints a line for each way to ask.
"""

from __future__ import annotations

import asyncio
import gc
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore
from PIL import Image

from langgraph_speceyes import Gate, Slots, create_funnel, create_speceyes
from langgraph_speceyes.middleware import SpecEyesMiddleware
from langgraph_speceyes.scoring import AnswerScore
from langgraph_speceyes.traffic import StoreJournal
from tests.scripted import Scripted, judge, peaked


class Odd(BaseException):
    """No Exception, and nobody knows it."""


KINDS: tuple[type[BaseException], ...] = (
    *(asyncio.CancelledError, SystemExit, GeneratorExit, Odd),
    *(ConnectionResetError, TimeoutError, ValueError, KeyError, RecursionError, MemoryError, StopIteration),
    *(StopAsyncIteration, AssertionError, NotImplementedError, UnicodeError, BrokenPipeError),
)
"""What is raised. KeyboardInterrupt is not among them: on the main thread it is Ctrl-C, and ends the program."""
PLACES = ("judge", "speculate", "gate", "look", "agent")
AROUND = ("funnel", "graph", "hedge", "middleware")
FORMS = ("sync", "async")
AT_ONCE = 32
_NUMBER = re.compile(r"#(\d+)#")
Fault = tuple[str, type[BaseException]]


class Plan:
    """Which query fails where, and how; half of them do.

    Args:
        queries: How many there are.
        seed: Of the choice.
    """

    def __init__(self, queries: int, seed: int = 0) -> None:
        chance = random.Random(seed)
        kinds = [(place, kind) for kind in KINDS for place in PLACES]
        failing = chance.sample(range(queries), queries // 2)
        self.faults: dict[int, Fault] = {number: kinds[i % len(kinds)] for i, number in enumerate(failing)}

    def place(self, number: int) -> str | None:
        return self.faults[number][0] if number in self.faults else None

    def meet(self, place: str, number: int) -> None:
        """Fail, if this is the query's place."""
        found = self.faults.get(number)
        if found is not None and found[0] == place:
            raise found[1](f"at {place}")


def number_of(messages: Iterable[Any]) -> int:
    """The number in a question."""
    texts = " ".join(str(one.content) for one in messages)
    found = _NUMBER.search(texts)
    assert found is not None, texts
    return int(found[1])


class Faulty(Scripted):
    """A model that fails where the plan says so."""

    plan: Any
    role: str

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        number = number_of(messages)
        self.plan.meet(self.role, number)
        place = self.plan.place(number)
        if self.role == "judge":
            return judge(0.9 if place == "agent" else 0.1)._generate(messages)
        if self.role == "speculate":
            token = f"blue#{number}#" if place == "gate" else "blue"
            content = [peaked(token, 64, 0.01 if place == "look" else 40.0)]
            return Scripted(answer=token, content=content)._generate(messages)
        return Scripted(answer="from the agent")._generate(messages)

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return self._generate(messages)


class FaultyGate(Gate):
    """A gate that fails on answers that say so."""

    def accepts(self, answer: AnswerScore) -> bool:
        if (found := _NUMBER.search("".join(answer.tokens))) is not None:
            _PLANS[-1].meet("gate", int(found[1]))
        return super().accepts(answer)


_PLANS: list[Plan] = []


class FaultyJournal(StoreJournal):
    """A journal that fails each third time, with one kind after another."""

    def __init__(self) -> None:
        super().__init__(InMemoryStore(), settle_s=0)
        self.writes = 0

    def write_many(self, records: Any) -> None:
        self.writes += 1
        if self.writes % 3 == 0:
            raise KINDS[self.writes // 3 % len(KINDS)]("the journal")
        super().write_many(records)


def agent(plan: Plan) -> StateGraph[Any, Any, Any, Any]:
    """An agent of others."""
    model = Faulty(plan=plan, role="agent")

    def act(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    async def aact(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("act", RunnableLambda(act, aact))
    graph.add_edge(START, "act")
    return graph  # type: ignore[no-any-return]


def asked(image: str, number: int) -> dict[str, Any]:
    blocks: list[Any] = [{"type": "image", "url": image}, {"type": "text", "text": f"What colour? #{number}#"}]
    return {"messages": [HumanMessage(blocks)]}


def run(around: str, form: str, queries: int, image: str, slots: Slots, seed: int = 0) -> list[Any]:
    """Ask all of them; a result of the graph for each, or the error.

    Args:
        around: What the queries go through, of :data:`AROUND`.
        form: `sync` or `async`.
        queries: How many.
        image: Path of an image.
        slots: The cap on agents.
        seed: Of the plan.
    """
    plan = Plan(queries, seed)
    _PLANS[:] = [plan]

    def look(image: str, question: str) -> None:
        """Finds nothing, so that the question is the agent's."""
        plan.meet("look", number_of([HumanMessage(question)]))

    journal = FaultyJournal()
    settings: Any = {
        "judge": Faulty(plan=plan, role="judge"),
        "gate": FaultyGate("odds", 0.9, 20),
        "looks": [look],
        "journal": journal,
        "order": "judge_first",
    }
    small = Faulty(plan=plan, role="speculate")
    given = [asked(image, number) for number in range(queries)]
    config: Any = {"max_concurrency": AT_ONCE}
    if around == "middleware":
        bypass = SpecEyesMiddleware(small, **settings)
        graph: Any = create_agent(Faulty(plan=plan, role="agent"), middleware=[bypass])
        traffic = bypass.traffic
    else:
        built: Any = create_speceyes(
            agent(plan), speculator=small, max_concurrent_agents=slots, hedge=around == "hedge", **settings
        )
        graph, traffic = built.compile(), built.traffic
        if around == "funnel":
            funnel: Any = create_funnel(built).compile()
            batch = {"queries": [one["messages"] for one in given]}
            found = funnel.invoke(batch, config) if form == "sync" else asyncio.run(funnel.ainvoke(batch, config))
            assert [one["index"] for one in found["outcomes"]] == list(range(queries))
            assert traffic.drain(60)
            return [RuntimeError(one["error"]) if one["error"] else one for one in found["outcomes"]]
    if form == "sync":
        results = graph.batch(given, config, return_exceptions=True)
    else:
        results = asyncio.run(graph.abatch(given, config, return_exceptions=True))
    assert traffic.drain(60)
    return list(results)


def wrong(around: str, results: list[Any], queries: int, seed: int = 0) -> dict[int, str]:
    """What came of queries, where it is not what the plan lets one expect."""
    plan, found = Plan(queries, seed), dict[int, str]()
    for number, result in enumerate(results):
        place = plan.place(number)
        if isinstance(result, BaseException):
            kind = plan.faults[number][1].__name__ if place == "agent" else "none"
            if place != "agent" or kind not in f"{result} {result!r} {result.__cause__!r}":
                found[number] = f"{place}: {result!r:.200}"
            continue
        answer = result["answer"] if "answer" in result else result["messages"][-1].text
        route, error = result["decision"]["route"], _trouble(result["decision"])
        expected = ("bypass", "blue") if place is None else ("fallback", "from the agent")
        if around == "hedge" and (route, answer) == ("fallback", "from the agent") and place != "agent":
            continue  # the agent had its answer first
        if (route, answer) != expected or (error is None) != (place is None):
            found[number] = f"{place}: {route} {answer!r} {error!r:.200}"
    return found if len(results) == queries else {**found, -1: f"{len(results)} results"}


def _trouble(decision: Any) -> str | None:
    if decision["error"]:
        return str(decision["error"])
    return next((str(one["error"]) for one in decision.get("depths") or () if one and one.get("error")), None)


def resident_mb() -> int:
    """Memory of the process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 // 1024


def at_rest(threads: int) -> int:
    """How many threads there are, once no more than so many are, or a while is over."""
    until = time.monotonic() + 30
    while threading.active_count() > threads and time.monotonic() < until:
        time.sleep(0.05)
    return threading.active_count()


def main(queries: int) -> None:
    """Ask so many in all, by every way."""
    each, slots, failed = max(1, queries // 8), Slots(8), 0
    with tempfile.TemporaryDirectory() as folder:
        image = f"{folder}/a.png"
        Image.new("RGB", (30, 30)).save(image)
        for around in AROUND:
            for form in FORMS:
                run(around, form, 40, image, slots)  # what is kept from the first run on is no growth
        gc.collect()
        threads, before = at_rest(1), resident_mb()
        print(f"before: {threads} threads, {before} MB")
        for around in AROUND:
            for form in FORMS:
                began = time.process_time()
                results = run(around, form, each, image, slots)
                bad = wrong(around, results, each)
                failed += len(bad)
                said = Counter("error" if isinstance(r, BaseException) else r["decision"]["route"] for r in results)
                count = len(results)
                del results
                gc.collect()
                print(
                    f"{around:11}{form:6} {count} outcomes {dict(said)}, wrong {bad or 0}; slots {slots._held}, queue"
                    f" {len(slots._queue)}, {at_rest(threads)} threads, {resident_mb()} MB,"
                    f" {time.process_time() - began:.0f} s of a processor",
                    flush=True,
                )
    print(f"{8 * each} queries, wrong: {failed}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)

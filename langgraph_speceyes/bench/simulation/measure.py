"""Watching a live run of the embedded pair: what each query asked of models, threads and event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable
from numpy.typing import NDArray

from langgraph_speceyes.bench.simulation.fleet import MODELS, Call, Model
from langgraph_speceyes.bench.simulation.query import Query, Tool, Turn
from langgraph_speceyes.errors import MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

    from langgraph_speceyes.models.batcher import Feed
    from langgraph_speceyes.models.decoder import Choose, Prompt
    from langgraph_speceyes.models.engine import Completion, Request
    from langgraph_speceyes.models.rows import Rows
    from langgraph_speceyes.testbed.pair import Pair

_LOCK_TRIALS, _LOCK_S = 8, 0.25
Seconds = Literal["core", "wall"]
_query: ContextVar[int | None] = ContextVar("speceyes_simulated_query", default=None)


@dataclass(frozen=True)
class Forward:
    """One forward pass of a model: calls join, or those under way get a token each.

    Attributes:
        model: Which.
        calls: Calls in it.
        read: Tokens of their prompts that were not found in the cache; None in a decoding step.
        core_s: Core time of the model's thread, since the last one, until its tokens are known and told.
        wall_s: Wall time.
        ended: Calls that got their last token.
        after_s: Core and wall time that keeping their prompts took then.
    """

    model: Model
    calls: int
    read: int | None
    core_s: float
    wall_s: float
    ended: int = 0
    after_s: tuple[float, float] = (0.0, 0.0)


@dataclass
class _Step:
    """A thread's work, or a model's call, on behalf of a query."""

    core_s: float = 0.0
    wall_s: float = 0.0
    tool: bool = False
    model: Model | None = None
    judging: bool = False
    tokens: int = 0
    read: int = 0


@dataclass
class Watched:
    """A live run, as it was seen.

    Attributes:
        began: When each query was sent, seconds from the run's beginning.
        ended: When each was answered.
        bypassed: Which were answered by the speculator.
        passed: Which the judge let pass.
        forwards: The joining passes and decoding steps.
        wall_s: Wall time of the run.
        process_s: Core time of the process.
        loop_s: Core time of the event loop.
        others: Cores that other processes used meanwhile, in the mean.
        load: The machine's load average over a minute, at the run's end.
    """

    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    bypassed: list[bool] = field(default_factory=list)
    passed: list[bool] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    wall_s: float = 0.0
    process_s: float = 0.0
    loop_s: float = 0.0
    others: float = 0.0
    load: float = 0.0
    _steps: dict[int, list[_Step]] = field(default_factory=dict)

    @property
    def latencies(self) -> list[float]:
        """Seconds of each query."""
        return [e - b for b, e in zip(self.began, self.ended, strict=True)]

    def queries(self, seconds: Seconds = "core") -> list[Query]:
        """What each query asked for, as the simulation takes it.

        Core time of the process that belongs to no thread that was watched is that of the tools' helper threads.

        Args:
            seconds: ``"core"``: core time, to be simulated on as many cores; ``"wall"``: wall time, which holds what
                work running at once took from each other, to be simulated on cores without number.
        """
        wall = seconds == "wall"
        costs = {model: _costs([f for f in self.forwards if f.model == model], wall) for model in MODELS}
        every = [step for steps in self._steps.values() for step in steps]
        watched = sum(step.core_s for step in every) + sum(f.core_s + f.after_s[0] for f in self.forwards) + self.loop_s
        in_tools = sum(step.core_s for step in every if step.tool)
        beside = max(0.0, self.process_s - watched) / in_tools if in_tools and not wall else 0.0
        # the loop takes a query on at its begin, after every call and tool, and at a bypass
        turns = sum(step.tool or step.model is not None for step in every) + len(self.began) + sum(self.bypassed)
        loop_s = self.loop_s / turns
        if wall:
            # its waits are not seen: as much longer as the threads' work became
            loop_s *= sum(step.wall_s for step in every) / max(1e-9, sum(step.core_s for step in every))
        return [self._query(k, costs, beside, loop_s, wall) for k in range(len(self.began))]

    def _query(self, k: int, costs: dict[Model, _Costs], beside: float, loop_s: float, wall: bool) -> Query:
        judge: Call | None = None
        speculate: Call | None = None
        turns: list[Turn] = []
        before = 0.0
        for step in self._steps.get(k, []):
            took = step.wall_s if wall else step.core_s
            if step.model is None and not step.tool:
                before += took
                continue
            if step.tool:
                if turns:
                    turns[-1] = Turn(turns[-1].call, Tool(took, beside * took))
                continue
            assert step.model is not None
            call, before = costs[step.model].call(step.tokens, step.read, before), 0.0
            if step.model == "small":
                speculate = call
            elif step.judging:
                judge = call
            else:
                turns.append(Turn(call))
        return Query(judge, speculate, self.passed[k], self.bypassed[k], tuple(turns), loop_s=loop_s)


@dataclass(frozen=True)
class _Costs:
    """Seconds of a joining pass, of each call and token read in it; of a step, of each row in it; after each answer."""

    joining: float
    call_s: float
    read: float
    step: float
    row: float
    after: float

    def call(self, tokens: int, read: int, prepare_s: float) -> Call:
        return Call(
            self.joining, self.call_s + self.read * read, prepare_s, tokens, self.step, self.row, after_s=self.after
        )


def _costs(forwards: Sequence[Forward], wall: bool) -> _Costs:
    def took(several: Sequence[Forward]) -> list[float]:
        return [f.wall_s if wall else f.core_s for f in several]

    joining, steps = [f for f in forwards if f.read is not None], [f for f in forwards if f.read is None]
    joins, call, read = _fitted([(1, f.calls, f.read or 0) for f in joining], took(joining), 3)
    step, row = _fitted([(1, f.calls) for f in steps], took(steps), 2)
    after = sum(f.after_s[wall] for f in forwards) / max(1, sum(f.ended for f in forwards))
    return _Costs(joins, call, read, step, row, after)


def _fitted(causes: Sequence[tuple[int, ...]], took: Sequence[float], count: int) -> list[float]:
    """Least squares with costs of at least 0 each, scaled so that the whole run's sum is the measured one."""
    if not causes:
        return [0.0] * count
    try:
        from scipy.optimize import nnls
    except ModuleNotFoundError as missing:
        raise MissingExtraError("fitting service times", "eval") from missing
    design: NDArray[Any] = np.array(causes, dtype=float)
    scale = design.max(axis=0)
    scale[scale == 0] = 1.0
    found = nnls(design / scale, np.array(took))[0] / scale
    found *= sum(took) / max(1e-12, float((design @ found).sum()))
    return [float(value) for value in found]


async def watch(pair: Pair, graph: Runnable[Any, Any], asked: Sequence[HumanMessage], concurrency: int) -> Watched:
    """Ask questions, so many at once, and record what they cost.

    Args:
        pair: The models behind the graph.
        graph: The bypass or the agent alone, compiled.
        asked: The questions.
        concurrency: How many are under way at once.
    """
    seen = Watched()
    count = len(asked)
    seen.began, seen.ended = [0.0] * count, [0.0] * count
    seen.bypassed, seen.passed = [False] * count, [False] * count
    left = iter(range(count))

    async def client() -> None:
        for k in left:
            _query.set(k)
            seen.began[k] = time.perf_counter() - start
            result = await graph.ainvoke({"messages": [asked[k]]})
            seen.ended[k] = time.perf_counter() - start
            decision = result.get("decision")
            if decision is not None:
                seen.bypassed[k] = decision["route"] == "bypass"
                seen.passed[k] = decision["decided_by"] in ("speculate", "gate")

    with _recording(pair, seen):
        busy = _busy_s()
        used, looped, start = time.process_time(), time.thread_time(), time.perf_counter()
        # a task of its own for each, so that each has its own context
        await asyncio.gather(*(asyncio.create_task(client()) for _ in range(concurrency)))
        seen.wall_s = time.perf_counter() - start
        seen.process_s, seen.loop_s = time.process_time() - used, time.thread_time() - looped
        if busy is not None and (later := _busy_s()) is not None:
            seen.others = max(0.0, later - busy - seen.process_s) / seen.wall_s
    seen.load = os.getloadavg()[0]
    return seen


@contextmanager
def _recording(pair: Pair, seen: Watched) -> Iterator[None]:
    """Threads and models report to `seen`."""
    whose: dict[int, tuple[int, Request]] = {}
    models: dict[Model, Any] = {"small": pair.speculator, "large": pair.large}
    kinds = {type(model) for model in models.values()}
    to_thread = asyncio.to_thread

    async def timed_thread(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        name = getattr(function, "__name__", "")

        def timed() -> Any:
            wall, core = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                query = _query.get()
                if query is not None:
                    took = time.thread_time() - core, time.perf_counter() - wall
                    step = _Step(*took, tool=name == "look")
                    seen._steps.setdefault(query, []).append(step)

        return await to_thread(timed)

    def timed_request(make: Callable[..., Request]) -> Callable[..., Request]:
        def timed(*args: Any, **kwargs: Any) -> Request:
            request = make(*args, **kwargs)
            query = _query.get()
            if query is not None:
                whose[id(request)] = (query, request)
            return request

        return timed

    def answered(model: Model, request: Request, completion: Completion) -> None:
        query, _ = whose.pop(id(request), (None, None))
        if query is None:
            return
        step = _Step(
            model=model,
            judging=model == "large" and request.max_tokens == 1,
            tokens=len(completion.steps) + (completion.finish_reason == "stop"),
            read=completion.prompt_tokens - completion.cached_tokens,
        )
        seen._steps.setdefault(query, []).append(step)

    runs = {name: model._batcher._run for name, model in models.items()}
    makes = {kind: kind._request for kind in kinds}
    asyncio.to_thread = timed_thread
    for kind in kinds:
        kind._request = timed_request(kind._request)
    for name, model in models.items():
        model._batcher._run = _Engine(name, model._engine, seen.forwards, answered).serve
    try:
        yield
    finally:
        asyncio.to_thread = to_thread
        for kind in kinds:
            kind._request = makes[kind]
        for name, model in models.items():
            model._batcher._run = runs[name]
            for method in _Engine.WATCHED:
                del vars(model._engine.decoder)[method]


class _Engine:
    """Watches an engine's passes and steps, on its own thread: each reaches from the end of the one before to its own.

    Args:
        model: What it is called.
        engine: The engine; methods of its decoder are covered until they are deleted from it.
        forwards: Where passes and steps go.
        answered: Is told each request's completion, before the one who waits for it.
    """

    WATCHED = ("_begin", "_take")

    def __init__(
        self,
        model: Model,
        engine: Any,
        forwards: list[Forward],
        answered: Callable[[Model, Request, Completion], None],
    ) -> None:
        self._model, self._forwards, self._answered = model, forwards, answered
        self._serve, decoder = engine.serve, engine.decoder
        self._begin, self._take = decoder._begin, decoder._take
        self._read: int | None = None
        self._wall = self._core = 0.0
        decoder._begin, decoder._take = self.begin, self.take

    def serve(self, requests: Sequence[Request], feed: Feed[Request, Completion]) -> None:
        """As the engine's, with a feed that tells who is done."""
        self._wall, self._core = time.perf_counter(), time.thread_time()
        self._serve(requests, _Told(requests, feed, lambda request, made: self._answered(self._model, request, made)))

    def begin(self, prompts: Mapping[int, Prompt]) -> Any:
        """As the decoder's."""
        found = self._begin(prompts)
        self._read = sum(len(prompt.tokens) - prompt.cached for prompt in prompts.values())
        return found

    def take(self, rows: Rows, logits: Tensor, choose: Choose, *args: Any) -> None:
        """As the decoder's."""
        calls, told = len(rows), (0.0, 0.0)

        def chosen(*given: Any) -> tuple[Tensor, list[int], list[bool]]:
            nonlocal told
            found = choose(*given)
            told = time.thread_time(), time.perf_counter()
            return found

        self._take(rows, logits, chosen, *args)
        core, wall = time.thread_time(), time.perf_counter()
        took, after = (told[0] - self._core, told[1] - self._wall), (core - told[0], wall - told[1])
        self._forwards.append(Forward(self._model, calls, self._read, *took, calls - len(rows), after))
        self._read, self._core, self._wall = None, core, wall


class _Told:
    """A feed that says whose each completion is."""

    def __init__(
        self,
        requests: Sequence[Request],
        feed: Feed[Request, Completion],
        answered: Callable[[Request, Completion], None],
    ) -> None:
        self._requests, self._feed, self._answered = list(requests), feed, answered

    def more(self) -> Sequence[Request]:
        """As the feed's."""
        new = self._feed.more()
        self._requests += new
        return new

    def done(self, number: int, result: Completion, /) -> None:
        """As the feed's."""
        self._answered(self._requests[number], result)
        self._feed.done(number, result)

    def fail(self, number: int, error: Exception, /) -> None:
        """As the feed's."""
        self._feed.fail(number, error)


def lock_share(works: Sequence[Callable[[], object]]) -> float:
    """Share of some work that holds the interpreter's lock: what two threads lack in speed.

    Args:
        works: Two works, each done again and again on a thread of its own.

    Returns:
        1 over the cores that both together get, 0.5 (they do not disturb each other) to 1 (one at a time). The least of
        several trials, since others on the machine can only make it seem more.
    """
    most = 0.0
    for _ in range(_LOCK_TRIALS):
        ready, used = threading.Barrier(len(works)), [0.0] * len(works)

        def repeat(k: int, ready: threading.Barrier, used: list[float]) -> None:
            ready.wait()
            began, core = time.perf_counter(), time.thread_time()
            while time.perf_counter() - began < _LOCK_S:
                works[k]()
            used[k] = (time.thread_time() - core) / (time.perf_counter() - began)

        threads = [threading.Thread(target=repeat, args=(k, ready, used)) for k in range(len(works))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        most = max(most, sum(used))
    return min(1.0, max(0.5, 1 / most))


def _busy_s() -> float | None:
    """Core seconds that the machine has been busy; None where the system does not tell."""
    try:
        spent = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]]
    except (OSError, ValueError):
        return None
    # user, nice, system, and what interrupts and other virtual machines took; not idle, not waiting for disks
    return (sum(spent[:3]) + sum(spent[5:8])) / float(os.sysconf("SC_CLK_TCK"))

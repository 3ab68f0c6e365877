"""Watching a live run of the embedded pair: what each query asked of models, threads and event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable

from langgraph_speceyes.bench.simulation.costs import Forward, Step, Watched
from langgraph_speceyes.bench.simulation.fleet import Model
from langgraph_speceyes.bench.simulation.this_machine import busy_s

if TYPE_CHECKING:
    from torch import Tensor

    from langgraph_speceyes.models.batcher import Feed
    from langgraph_speceyes.models.decoder import Choose
    from langgraph_speceyes.models.prefill import Filling
    from langgraph_speceyes.models.request import Completion, Request
    from langgraph_speceyes.models.rows import Rows
    from langgraph_speceyes.testbed.pair import Pair


_query: ContextVar[int | None] = ContextVar("speceyes_simulated_query", default=None)


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
        busy = busy_s()
        used, looped, start = time.process_time(), time.thread_time(), time.perf_counter()
        # a task of its own for each, so that each has its own context
        await asyncio.gather(*(asyncio.create_task(client()) for _ in range(concurrency)))
        seen.wall_s = time.perf_counter() - start
        seen.process_s, seen.loop_s = time.process_time() - used, time.thread_time() - looped
        if busy is not None and (later := busy_s()) is not None:
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
                    step = Step(*took, tool=name == "look")
                    seen.steps.setdefault(query, []).append(step)

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
        step = Step(
            model=model,
            judging=model == "large" and request.max_tokens == 1,
            tokens=len(completion.steps) + (completion.finish_reason == "stop"),
            read=completion.prompt_tokens - completion.cached_tokens,
        )
        seen.steps.setdefault(query, []).append(step)

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

    WATCHED = ("_prefill", "_take")

    def __init__(
        self,
        model: Model,
        engine: Any,
        forwards: list[Forward],
        answered: Callable[[Model, Request, Completion], None],
    ) -> None:
        self._model, self._forwards, self._answered = model, forwards, answered
        self._serve, decoder = engine.serve, engine.decoder
        self._prefill, self._take = decoder._prefill, decoder._take
        self._read: int | None = None
        self._wall = self._core = 0.0
        decoder._prefill, decoder._take = self.prefill, self.take

    def serve(self, requests: Sequence[Request], feed: Feed[Request, Completion]) -> None:
        """As the engine's, with a feed that tells who is done."""
        self._wall, self._core = time.perf_counter(), time.thread_time()
        self._serve(requests, _Told(requests, feed, lambda request, made: self._answered(self._model, request, made)))

    def prefill(self, filling: Filling, **given: Any) -> Tensor:
        """As the decoder's; a pass that gives no token yet counts with the one after it."""
        before = filling.read
        found: Tensor = self._prefill(filling, **given)
        self._read = (self._read or 0) + filling.read - before
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

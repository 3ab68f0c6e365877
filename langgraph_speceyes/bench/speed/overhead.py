"""What the graph and our own Python cost on the bypass route."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from langchain_core.messages import AIMessage

from langgraph_speceyes.bench.canned import Answers, Canned
from langgraph_speceyes.bench.datasets import Item
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.bench.speed.figures import Figure, Part, left_out, spread, typical
from langgraph_speceyes.bench.speed.subjects import Bench, as_local, empty, question, speceyes
from langgraph_speceyes.images import clear_cache
from langgraph_speceyes.models.endpoint import model_name

KEYS = ("overhead_ms",)


@dataclass(frozen=True)
class _Bypassed:
    """A question that took the bypass: what the models said to it."""

    item: Item
    judged: AIMessage | None
    speculated: AIMessage
    own_s: float | None
    """Seconds of the real run outside forward passes; None where the models are not local."""


async def measure(bench: Bench) -> Part:
    """Milliseconds of a query on the bypass route when the models answer at once.

    Questions that take the bypass are asked once with the real models; then the same graph runs with models that repeat
    what those said, with all their candidates, at once. What is left is LangGraph, LangChain and our own Python outside
    the models; the image is in the cache of decoded images (`with_image` in the details: it is decoded in each run).
    `beside_forward` is the real models' run without the time in their forward batches, which adds loading the image,
    the chat template, the tokenizer and the entries of the candidates. The value of a question is the median of its
    repeats; median and bootstrap interval over questions.
    """
    found = await _bypassed(bench)
    if not found:
        return Part({"overhead_ms": left_out("no question took the bypass")})
    said: dict[str, AIMessage] = {}
    models = bench.models
    large = None
    if models.judging and models.large is not None:
        large = Canned(say=lambda _: said["judge"], model_name=model_name(models.large) or "judge")
    small = Canned(say=lambda _: said["speculator"], model_name=model_name(models.speculator) or "speculator")
    graph = speceyes(replace(models, speculator=small, large=large, judging=large is not None))
    kinds: dict[str, list[float]] = {"async": [], "sync": [], "with_image": []}
    bench.report(f"overhead: {len(found)} questions")
    for one in found:
        said["speculator"] = one.speculated
        if one.judged is not None:
            said["judge"] = one.judged
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        clear_cache()
        await graph.ainvoke({"messages": [question(one.item)]})
        for _ in range(3 if bench.quick else 15):
            for kind, taken in times.items():
                if kind == "with_image":
                    clear_cache()
                asked = {"messages": [question(one.item)]}
                began = time.perf_counter()
                result = graph.invoke(asked) if kind == "sync" else await graph.ainvoke(asked)
                taken.append(time.perf_counter() - began)
                assert result["decision"]["route"] == "bypass"
        for kind, taken in times.items():
            kinds[kind].append(1e3 * float(np.median(taken)))
    own = [1e3 * one.own_s for one in found if one.own_s is not None]
    part = Part({"overhead_ms": typical(kinds["async"])}, {kind: spread(values) for kind, values in kinds.items()})
    part.details["beside_forward"] = spread(own)
    rows: list[tuple[str, Sequence[float]]] = [
        ("overhead, sync form", kinds["sync"]),
        ("overhead with decoding the image", kinds["with_image"]),
        ("real models' run beside their forward batches", own),
    ]
    part.rows = [(label, _or_none(values), "ms") for label, values in rows]
    return part


def _or_none(values: Sequence[float]) -> Figure:
    return typical(values) if values else left_out("the models are not local")


async def _bypassed(bench: Bench) -> list[_Bypassed]:
    """Questions that take the bypass, with what was said to them."""
    graph = speceyes(bench.models)
    await bench.warm(graph)
    found: list[_Bypassed] = []
    for item in bench.items:
        if len(found) >= (4 if bench.quick else 30):
            break
        answers = Answers()
        empty(bench.models)
        with _forward(bench.models) as spent:
            began = time.perf_counter()
            result = await graph.ainvoke({"messages": [question(item)]}, {"callbacks": [answers]})
            seconds = time.perf_counter() - began
        said = answers.said
        if result["decision"]["route"] == "bypass" and "speculator" in said:
            own = seconds - sum(spent) if len(bench.local) == 2 else None
            found.append(_Bypassed(item, said.get("judge model"), said["speculator"], own))
    return found


@contextmanager
def _forward(models: Models) -> Iterator[list[float]]:
    """Seconds in the forward batches of local models meanwhile."""
    spent: list[float] = []
    batchers: dict[int, Any] = {}
    for model in (as_local(models.speculator), as_local(models.large)):
        if model is not None:
            batchers[id(model._batcher)] = model._batcher
    kept = [(batcher, batcher._run) for batcher in batchers.values()]

    def timed(run: Any) -> Any:
        def within(items: Any, feed: Any) -> None:
            began = time.perf_counter()
            try:
                run(items, feed)
            finally:
                spent.append(time.perf_counter() - began)

        return within

    for batcher, run in kept:
        batcher._run = timed(run)
    try:
        yield spent
    finally:
        for batcher, run in kept:
            batcher._run = run

"""What is measured: models and questions, each run from empty caches."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langgraph_speceyes.behind.fallback import tool_calls
from langgraph_speceyes.bench.datasets import Item
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.errors import MissingExtraError, describe_error
from langgraph_speceyes.funnel import create_funnel
from langgraph_speceyes.graph import create_speceyes
from langgraph_speceyes.images import block_of, clear_cache, configure_cache, load
from langgraph_speceyes.scoring import uncalibrated_on_purpose
from langgraph_speceyes.state import Decision

if TYPE_CHECKING:
    from langgraph_speceyes.models import LocalChatModel

NOT_LOCAL = "its model does not run in this process (LocalChatModel)"
NO_AGENT_OVER = "no agent can be made over another model (Models.agent_over)"


@dataclass(frozen=True)
class Run:
    """One question through one graph.

    Attributes:
        seconds: From the call to its answer.
        cpu_s: Processor seconds of this process meanwhile, all threads: they say what the wall clock of a busy machine
            cannot.
        decision: What the bypass decided; None for the agent alone.
        steps: Tool steps of the agent.
        prefilled: Prompt tokens that local models computed.
        reused: Prompt tokens they found in their caches.
        held: Bytes in their caches when the run began.
        answer: What was answered; None if it failed.
        error: Why it failed, or None.
    """

    seconds: float
    cpu_s: float
    decision: Decision | None
    steps: int
    prefilled: int
    reused: int
    held: int
    answer: str | None
    error: str | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON, the decision cut down to what the figures need."""
        found: dict[str, Any] = {k: v for k, v in vars(self).items() if k != "decision"}
        if self.decision is not None:
            kept = ("route", "decided_by", "tool_need", "score", "error")
            found["decision"] = {k: self.decision[k] for k in kept}  # type: ignore[literal-required]
            if "depth" in self.decision:
                found["decision"]["depth"] = self.decision["depth"]
            found["phases"] = dict(self.decision["seconds"])
        return found


@dataclass
class Bench:
    """Models and questions.

    Attributes:
        models: What methods are made of.
        items: The questions, the splits in turn.
        warm_up: A question that everything is loaded with before a clock starts.
        quick: Fewer repeats and sizes.
        stream: Queries of the long stream.
        report: Told what is going on.
        calibration: Reads questions to choose thresholds on.
    """

    models: Models
    items: Sequence[Item]
    warm_up: Item | None = None
    quick: bool = False
    stream: int = 10_000
    report: Callable[[str], None] = field(default=lambda text: None)
    calibration: Callable[[], Sequence[Item]] = tuple

    @property
    def local(self) -> list[LocalChatModel]:
        """The models that run in this process."""
        both = (as_local(self.models.speculator), as_local(self.models.large))
        return [model for model in both if model is not None]

    async def warm(self, *graphs: Runnable[Any, Any], models: Models | None = None) -> None:
        """Run the warming question through graphs."""
        for graph in graphs if self.warm_up else ():
            assert self.warm_up is not None
            await ask(graph, self.warm_up, models or self.models)


async def ask(graph: Runnable[Any, Any], item: Item, models: Models, *, clear: bool = True) -> Run:
    """Ask one question, by default from empty caches, so that no run profits from another one.

    Args:
        graph: Takes `{"messages": [question]}`.
        item: The question.
        models: Those the graph runs, whose caches are emptied.
        clear: Whether they are.
    """
    if clear:
        empty(models)
    before = counted(models)
    began, cpu = time.perf_counter(), time.process_time()
    result: dict[str, Any] = {}
    error = None
    try:
        result = await graph.ainvoke({"messages": [question(item)]})
    except Exception as trouble:
        error = describe_error(trouble)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    after = counted(models)
    decision: Decision | None = result.get("decision")
    calls = decision["tool_calls"] if decision else tool_calls(result.get("messages", [])[1:], result.get("steps"))
    messages = result.get("messages") or []
    return Run(
        seconds=seconds,
        cpu_s=cpu_s,
        decision=decision,
        steps=len(calls),
        prefilled=after[0] - before[0],
        reused=after[1] - before[1],
        held=before[2],
        answer=str(messages[-1].text) if messages and isinstance(messages[-1], AIMessage) else None,
        # trouble in the front end makes a run's time mean something else
        error=error or (decision["error"] if decision else None),
    )


async def rounds(graphs: dict[str, tuple[Runnable[Any, Any], Models]], items: Sequence[Item]) -> list[dict[str, Run]]:
    """Every question through every graph, one run at a time.

    The graphs take turns at going first, and every other question they go in reverse: each is before each other one
    equally often.

    Args:
        graphs: Graphs by name, with the models whose caches are theirs.
        items: The questions.

    Returns:
        For each question the runs by name, in the order they ran.
    """
    found = []
    for number, item in enumerate(items):
        runs = {}
        for name in turn(list(graphs), number):
            graph, models = graphs[name]
            runs[name] = await ask(graph, item, models)
        found.append(runs)
    return found


def turn(names: list[str], number: int) -> list[str]:
    """The order of names in a round: rotated, and every other time backwards."""
    at = number // 2 % len(names)
    rotated = names[at:] + names[:at]
    return rotated[::-1] if number % 2 else rotated


def question(item: Item) -> HumanMessage:
    """A question as a message."""
    return HumanMessage([block_of(item.image), {"type": "text", "text": item.text}])


def in_turn(items: Sequence[Item]) -> list[Item]:
    """Questions with the splits in turn, so that every beginning of the list is like the whole."""
    by_split: dict[str, list[Item]] = {}
    for item in items:
        by_split.setdefault(item.split, []).append(item)
    longest = max(map(len, by_split.values()), default=0)
    return [rows[k] for k in range(longest) for rows in by_split.values() if k < len(rows)]


def as_local(model: BaseChatModel | None) -> LocalChatModel | None:
    """The model, if it runs in this process."""
    try:
        from langgraph_speceyes.models import LocalChatModel
    except MissingExtraError:
        return None  # without torch nothing runs in this process
    return model if isinstance(model, LocalChatModel) else None


def empty(models: Models) -> None:
    """Drop prefixes, image features and decoded images."""
    for model in (as_local(models.speculator), as_local(models.large)):
        if model is not None:
            model.clear_caches()
    clear_cache()


def counted(models: Models) -> tuple[int, int, int]:
    """Prompt tokens that local models computed and reused so far, and bytes in their caches."""
    prefilled = reused = held = 0
    for model in (as_local(models.speculator), as_local(models.large)):
        decoder = model._engine.decoder if model is not None else None
        if decoder is not None:
            prefilled, reused = prefilled + decoder.prefilled, reused + decoder.reused
            held += decoder.prefixes.held + decoder.features.held
    return prefilled, reused, held


def speceyes(models: Models, *, hedge: bool = False, **gate: Any) -> Runnable[Any, Any]:
    """The bypass in front of the agent, the gate changed as told; a threshold is that of every depth."""
    base = models.gate.of_looks(0) if "threshold" in gate else models.gate
    # a gate that was calibrated without looks holds for all depths here
    uncalibrated = bool(gate) or (bool(models.looks) and base.depths is None)
    changed = replace(base, calibration=None, **gate) if uncalibrated else base
    with uncalibrated_on_purpose():
        graph = create_speceyes(
            models.agent,
            speculator=models.speculator,
            judge=models.large if models.judging else None,
            gate=changed,
            prompts=models.prompts,
            order=models.order,
            hedge=hedge,
            policy=models.policy,
            looks=models.looks,
        )
    return graph.compile(name="speceyes")


class Within(Runnable[Any, Any]):
    """A graph that runs within a context.

    Args:
        graph: The graph.
        context: What it runs within.
    """

    def __init__(self, graph: Runnable[Any, Any], context: Callable[[], AbstractContextManager[None]]) -> None:
        self._graph, self._context = graph, context

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run it."""
        with self._context():
            return self._graph.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run it."""
        with self._context():
            return await self._graph.ainvoke(input, config, **kwargs)


@contextmanager
def images_not_kept() -> Iterator[None]:
    """Every reader of an image decodes and resizes it anew."""
    before = configure_cache(0)
    try:
        yield
    finally:
        configure_cache(before)


@contextmanager
def images_decoded_whole() -> Iterator[None]:
    """Large JPEGs are decoded at all of their pixels, whatever is seen of them."""
    before, load.LARGE = load.LARGE, sys.maxsize
    try:
        yield
    finally:
        load.LARGE = before


def changed(models: Models, *, prefixes: bool = True, features: bool = True, batching: bool = True) -> Models | str:
    """The same weights in models with something switched off, their caches their own.

    Args:
        models: The models.
        prefixes: Keep keys and values of prompts.
        features: Keep image features.
        batching: Let calls share forward passes.

    Returns:
        The models, or why they cannot be made.
    """
    small, large = as_local(models.speculator), as_local(models.large)
    if small is None or large is None:
        return NOT_LOCAL
    if models.agent_over is None:
        return NO_AGENT_OVER
    settings = {"prefixes": prefixes, "features": features, "batching": batching}
    large = _copy(large, **settings)
    return replace(models, speculator=_copy(small, **settings), large=large, agent=models.agent_over(large))


def _copy(model: LocalChatModel, *, prefixes: bool, features: bool, batching: bool) -> LocalChatModel:
    from langgraph_speceyes.models.prefix import ByteBudget, PrefixCache

    engine, batcher = model._engine, model._batcher
    room = max(engine.decoder.prefixes.limit, engine.decoder.features.limit) if engine.decoder is not None else 0
    copy = type(model).from_loaded(
        engine.model,
        engine.processor,
        cache_bytes=room if prefixes or features else 0,
        batching={
            "max_batch": batcher.max_batch if batching else 1,
            "max_wait_s": batcher.max_wait_s if batching else 0.0,
            "max_queue": batcher.max_queue,
        },
        **{name: getattr(model, name) for name in model.model_fields_set},
    )
    decoder = copy._engine.decoder
    if decoder is not None and not prefixes:
        decoder.prefixes = PrefixCache(0)
    if decoder is not None and not features:
        decoder.features = ByteBudget(0)
    return copy


async def together(graph: Runnable[Any, Any], items: Sequence[Item], wide: int) -> tuple[float, list[Any]]:
    """Many questions through the funnel.

    Args:
        graph: A graph with the bypass.
        items: The questions.
        wide: How many may be under way at once.

    Returns:
        Seconds for all of them, and their outcomes in the input's order.
    """
    funnel = create_funnel(graph).compile()
    queries = {"queries": [[question(item)] for item in items]}
    began = time.perf_counter()
    result = await funnel.ainvoke(queries, {"max_concurrency": wide})
    return time.perf_counter() - began, result["outcomes"]


async def gathered(graph: Runnable[Any, Any], items: Sequence[Item], wide: int) -> float:
    """Seconds for many questions through a graph of one question, so many under way at once."""
    room = asyncio.Semaphore(wide)

    async def one(item: Item) -> None:
        async with room:
            await graph.ainvoke({"messages": [question(item)]})

    began = time.perf_counter()
    await asyncio.gather(*(one(item) for item in items))
    return time.perf_counter() - began

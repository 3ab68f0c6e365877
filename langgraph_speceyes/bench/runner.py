"""Questions through methods: `speceyes eval`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable

from langgraph_speceyes.behind.fallback import tool_calls, written_tokens
from langgraph_speceyes.bench.benchmark import Row
from langgraph_speceyes.bench.datasets import BadRow, Item
from langgraph_speceyes.bench.every_depth import completed, first_of
from langgraph_speceyes.bench.rules import LLMJudge, Scored, score
from langgraph_speceyes.bench.runs import BAD_ROW, DepthPart, Outcome, Part, no_answers, picture_name
from langgraph_speceyes.errors import ArgumentError, describe_error
from langgraph_speceyes.files import is_whole_jpeg, write_whole
from langgraph_speceyes.images import block_of, clear_cache, encode_image, load_image
from langgraph_speceyes.models.scope import cache_scope
from langgraph_speceyes.state import Decision, DepthDecision

_NO_TOKENS = {"input": 0, "output": 0}
_PICTURE = 512


@dataclass(frozen=True)
class Sides:
    """The agent and the speculator alone, to ask them too where a method did not.

    Attributes:
        agent: The compiled agent.
        speculator: The small model alone, with a record of its scores; with looks at every depth.
        entered: With looks only: the same where questions enter at depth 1.
        looks: How many there are.
    """

    agent: Runnable[Any, Any]
    speculator: Runnable[Any, Any]
    entered: Runnable[Any, Any] | None = None
    looks: int = 0


async def evaluate(
    rows: Callable[[], Iterator[Row]],
    methods: Mapping[str, Runnable[Any, Any]],
    *,
    known: Collection[tuple[str, str]] = (),
    concurrency: int = 1,
    sides: Sides | None = None,
    scorer: LLMJudge | None = None,
    pictures: Path | None = None,
    release: Callable[[Item], None] | None = None,
    warm_up: Item | None = None,
    processor: bool = False,
) -> AsyncIterator[Outcome]:
    """Run every question through every method.

    One at a time, the methods take turns at going first on each question, so that their times can be compared. More at
    a time, one method goes through all questions before the next begins, so that each has the machine to itself. A
    question that fails is an outcome, wrong, with its error.

    Args:
        rows: Opens the questions anew at every call; they are read as they are needed.
        methods: Graphs over messages by name.
        known: `(method, id)` of outcomes that are there already.
        concurrency: Questions under way at once.
        sides: Where a method's record lacks what agent or speculator would have said, ask them too, after the clock
            has stopped; None does not.
        scorer: A model that scores open-ended answers instead of the rules; None uses the rules.
        pictures: Folder for small pictures of the questions that were answered wrongly; None keeps none.
        release: Called with each question that no method needs any more for now.
        warm_up: A question that goes through every method before any clock starts; what is loaded at first use should
            be loaded by it.
        processor: Whether to note processor seconds, too; one at a time.

    Yields:
        Each outcome, as it ends.
    """
    if concurrency < 1:
        raise ArgumentError("concurrency", "at least 1", concurrency)
    asking = _Asking(methods, sides, scorer, pictures, alone=concurrency == 1, processor=processor)
    if warm_up:
        await asking(warm_up, list(methods))
    for block in [list(methods)] if concurrency == 1 else [[name] for name in methods]:
        async with aclosing(_through(_jobs(rows(), block, known), asking, concurrency, release)) as outcomes:
            async for outcome in outcomes:
                yield outcome


async def _through(
    jobs: Iterator[tuple[Row, list[str]]],
    asking: _Asking,
    concurrency: int,
    release: Callable[[Item], None] | None,
) -> AsyncGenerator[Outcome]:
    """The outcomes of jobs as they end; a job is begun when there is room for it."""
    done: asyncio.Queue[list[Outcome] | None] = asyncio.Queue()
    reading = asyncio.Lock()

    async def work() -> None:
        try:
            while True:
                async with reading:
                    # reading decodes images, and they are large
                    job = await asyncio.to_thread(next, jobs, None)
                if job is None:
                    return
                done.put_nowait(await asking(*job))
                if release and isinstance(job[0], Item):
                    release(job[0])
        finally:
            done.put_nowait(None)

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        running = concurrency
        while running:
            outcomes = await done.get()
            if outcomes is None:
                running -= 1
                continue
            for outcome in outcomes:
                yield outcome
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()


def _jobs(
    rows: Iterator[Row], names: Sequence[str], known: Collection[tuple[str, str]]
) -> Iterator[tuple[Row, list[str]]]:
    """Each question with the methods it goes through next, which take turns at being first."""
    for k, row in enumerate(rows):
        turn = k % len(names)
        left = [name for name in (*names[turn:], *names[:turn]) if (name, row_id(row)) not in known]
        if left:
            yield row, left


def row_id(row: Row) -> str:
    """A row's id, or for a bad row without one where it is."""
    if isinstance(row, Item):
        return row.id
    return row.id if row.id is not None else f"{row.file.name} {row.row}".strip()


class _Asking:
    """One question through some methods."""

    def __init__(
        self,
        methods: Mapping[str, Runnable[Any, Any]],
        sides: Sides | None,
        scorer: LLMJudge | None,
        pictures: Path | None,
        *,
        alone: bool,
        processor: bool,
    ) -> None:
        self.methods, self.sides, self.scorer, self.pictures, self.alone = methods, sides, scorer, pictures, alone
        self.processor = processor and alone

    async def __call__(self, row: Row, names: Sequence[str]) -> list[Outcome]:
        if isinstance(row, BadRow):
            return [_bad(row, name) for name in names]
        outcomes = [await self._outcome(row, name) for name in names]
        if self.sides:
            await self._complete(row, outcomes)
        if self.pictures and not all(outcome["right"] for outcome in outcomes):
            await asyncio.to_thread(_keep_picture, row, self.pictures)
        return outcomes

    async def _outcome(self, item: Item, name: str) -> Outcome:
        began, cpu = time.time(), time.process_time()
        result, seconds, error = await self._invoke(self.methods[name], item)
        cpu = time.process_time() - cpu
        decision: Decision | None = result.get("decision")
        answer = None if error else _answer(result)
        if decision and not error and not answer:
            error = decision["error"]
        scored = await self._score(item, answer, error)
        outcome = _outcome(item, name, answer, scored, began, error)
        outcome["seconds"] = {"total": seconds}
        if self.processor:
            outcome["cpu_s"] = cpu
        if decision:
            _decided(outcome, decision, seconds)
            await self._said(item, outcome, decision)
        calls = decision["tool_calls"] if decision else tool_calls(result.get("messages", [])[1:], result.get("steps"))
        if not decision:
            outcome["tokens"] = {name: written_tokens(result.get("messages", [])[1:])}
        if not decision or decision["route"] == "fallback":
            took = outcome["seconds"].get("agent", seconds)
            read = outcome["tokens"].get("agent", outcome["tokens"].get(name, _NO_TOKENS))
            outcome["agent"] = _part(answer, outcome["right"], took, error, read, **_called(calls))
        return outcome

    async def _said(self, item: Item, outcome: Outcome, decision: Decision) -> None:
        """What the small model said, at each depth where there are looks."""
        if "depths" not in decision:
            if (said := decision["speculation"]) is not None:
                scored = await self._score(item, said, None)
                outcome["speculator"] = _speculated(decision, said, scored.right)
            return
        outcome["depth"], outcome["depths"] = decision["depth"], await self._depths(item, decision)
        outcome["threshold"] = decision["depths"][0]["threshold"]
        if decision["depths"][0]["speculation"] is not None:
            outcome["speculator"] = first_of(outcome["depths"])

    async def _depths(self, item: Item, decision: Decision) -> list[DepthPart | None]:
        """Each depth that was reached; None for one that was left out, and depth 0 where the judge sent it on."""
        found: list[DepthPart | None] = []
        for one in decision["depths"]:
            sent_on = not one["depth"] and "speculate" not in decision["seconds"]
            if sent_on or one["depth"] in decision.get("depth_choice", {}).get("left_out", ()):
                found.append(None)
                continue
            said = one["speculation"]
            right = said is not None and (await self._score(item, said, None)).right
            found.append(_depth(one, said, right))
        return found

    async def _complete_depths(self, item: Item, outcomes: Sequence[Outcome]) -> None:
        """Ask at every depth, once from depth 0 on and once from depth 1 on, and fill in what a method did not ask."""
        decided = [outcome for outcome in outcomes if outcome["route"] is not None]
        if not decided:
            return
        assert self.sides is not None
        assert self.sides.entered is not None
        every, entered = [await self._every(item, graph) for graph in (self.sides.speculator, self.sides.entered)]
        for outcome in decided:
            outcome["speculator"] = outcome["speculator"] or first_of(every)
            if "depths" in outcome:
                outcome["depths"] = completed(outcome["depths"], every, entered[1])

    async def _every(self, item: Item, graph: Runnable[Any, Any]) -> list[DepthPart | None]:
        assert self.sides is not None
        result, seconds, error = await self._invoke(graph, item)
        if (decision := result.get("decision")) and decision["decided_by"] != "intake":
            return await self._depths(item, decision)
        # what is left to the agent costs nothing at any depth
        return no_answers(self.sides.looks, 0.0 if decision else seconds, decision["reason"] if decision else error)

    async def _complete(self, item: Item, outcomes: list[Outcome]) -> None:
        """Fill in what a method did not ask, from another method's outcome or by asking."""
        assert self.sides is not None
        sides = [(self.sides.agent, "agent"), (self.sides.speculator, "speculator")]
        if self.sides.entered is not None:
            await self._complete_depths(item, outcomes)
            sides.pop()
        for side, key in sides:
            missing = [o for o in outcomes if o["route"] is not None and o[key] is None]  # type: ignore[literal-required]
            if not missing:
                continue
            part = next((o[key] for o in outcomes if o["method"] == key), None)  # type: ignore[literal-required]
            part = part or await self._part(item, side, key)
            for outcome in missing:
                outcome[key] = part  # type: ignore[literal-required]

    async def _part(self, item: Item, graph: Runnable[Any, Any], key: str) -> Part:
        result, seconds, error = await self._invoke(graph, item)
        decision: Decision | None = result.get("decision")
        if key == "speculator" and decision:
            error = error or decision["error"]
            said = decision["speculation"] or ""
            scored = await self._score(item, said, error)
            part = _speculated(decision, said, scored.right)
            return {**part, "error": error}
        answer = _answer(result)
        scored = await self._score(item, answer, error)
        new = result.get("messages", [])[1:]
        calls = tool_calls(new, result.get("steps"))
        return _part(answer, scored.right, seconds, error, written_tokens(new), **_called(calls))

    async def _invoke(self, graph: Runnable[Any, Any], item: Item) -> tuple[dict[str, Any], float, str | None]:
        """The graph's result, or nothing and why."""
        message = HumanMessage([block_of(item.image), {"type": "text", "text": item.text}])
        if self.alone:
            # no method may profit from the image that another has decoded
            clear_cache()
        began = time.perf_counter()
        try:
            # nor from prompts that another has prefilled
            with cache_scope(f"{id(graph)}"):
                result = await graph.ainvoke({"messages": [message]})
        except Exception as trouble:
            return {}, time.perf_counter() - began, describe_error(trouble)
        return result, time.perf_counter() - began, None

    async def _score(self, item: Item, answer: str | None, error: str | None) -> Scored:
        if self.scorer is not None and not item.options:
            return await self.scorer.acall(item, answer, error=error)
        return score(item, answer, error=error)


def _outcome(item: Item, name: str, answer: str | None, scored: Scored, began: float, error: str | None) -> Outcome:
    return Outcome(
        method=name,
        id=item.id,
        split=item.split,
        group=item.group,
        question=item.text,
        expected=item.answer,
        letter=item.letter,
        image=_where(item),
        answer=answer,
        right=scored.right,
        read=scored.read,
        rule=scored.rule,
        reason=scored.reason,
        route=None,
        decided_by=None,
        tool_need=None,
        judge_threshold=None,
        score=None,
        threshold=None,
        speculator=None,
        agent=None,
        seconds={},
        tokens={},
        began=began,
        trouble=None,
        error=error,
    )


def _bad(row: BadRow, name: str) -> Outcome:
    why = f"{row.file}, {row.row}: {row.reason}" if row.row else f"{row.file}: {row.reason}"
    nothing = Item(row_id(row), row.split, "", (), "", image=None)  # type: ignore[arg-type]
    outcome = _outcome(nothing, name, None, Scored(False, None, "free_form", why), time.time(), why)
    outcome["rule"] = BAD_ROW
    return outcome


def _decided(outcome: Outcome, decision: Decision, seconds: float) -> None:
    outcome["route"], outcome["decided_by"] = decision["route"], decision["decided_by"]
    outcome["tool_need"], outcome["judge_threshold"] = decision["tool_need"], decision["judge_threshold"]
    outcome["score"], outcome["threshold"] = decision["score_name"], decision["threshold"]
    outcome["seconds"] = {**decision["seconds"], "total": seconds}
    outcome["tokens"], outcome["trouble"] = decision["tokens"], decision["error"]


def _speculated(decision: Decision, said: str, right: bool) -> Part:
    seconds = decision["seconds"].get("speculate", 0.0) + decision["seconds"].get("gate", 0.0)
    tokens = decision["tokens"].get("speculate", _NO_TOKENS)
    scores = {str(name): math.nan if value is None else value for name, value in decision["scores"].items()}
    return _part(said, right, seconds, None, tokens, scores=scores, k=decision["k"])


def _depth(one: DepthDecision, said: str | None, right: bool) -> DepthPart:
    scores = {str(name): math.nan if value is None else value for name, value in one["scores"].items()}
    part = _part(said or "", right, one["seconds"], one["error"], one["tokens"], scores=scores, k=one["k"])
    kept = {"look": one["look"], "threshold": one["threshold"], "accepted": one["accepted"]}
    return cast("DepthPart", {**part, **kept})


def _part(answer: str | None, right: bool, seconds: float, error: str | None, tokens: Any, **more: Any) -> Part:
    part = Part(answer=answer or "", right=right, seconds=seconds, error=error, tokens=tokens)
    part.update(more)  # type: ignore[typeddict-item]
    return part


def _answer(result: dict[str, Any]) -> str:
    """The last message, if it is an answer."""
    last = (result.get("messages") or [None])[-1]
    return last.text if isinstance(last, AIMessage) else ""


def _called(calls: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"tools": [str(c.get("tool")) for c in calls], "failed": sum(c.get("error") is not None for c in calls)}


def _where(item: Item) -> str:
    """Where an image is; inline ones by digest and size."""
    if item.image is None:
        return ""
    if item.image.kind != "inline":
        return item.image.uri
    return f"{item.image.source_key}, {item.image.inline_size} bytes"


def _keep_picture(item: Item, folder: Path) -> None:
    file = folder / picture_name(item.id)
    if is_whole_jpeg(file):
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        picture = load_image(item.image).convert("RGB")
    except Exception:
        return  # an unreadable image has an outcome that says so
    picture.thumbnail((_PICTURE, _PICTURE), reducing_gap=2.0)
    write_whole(file, encode_image(picture, "JPEG", quality=85))

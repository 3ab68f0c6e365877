"""What batching and caches are worth: decoding side by side, prompt tokens not computed again, each switched off."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import Runnable

from langgraph_speceyes.bench.methods import METHODS, Models
from langgraph_speceyes.bench.speed.figures import Figure, Part, left_out, paired, typical
from langgraph_speceyes.bench.speed.subjects import (
    NOT_LOCAL,
    Bench,
    Run,
    Within,
    as_local,
    ask,
    changed,
    empty,
    images_decoded_whole,
    images_not_kept,
    rounds,
    speceyes,
    turn,
)

if TYPE_CHECKING:
    from langgraph_speceyes.models import LocalChatModel
    from langgraph_speceyes.models.request import Completion, Request

BATCH_KEYS, PREFILL_KEYS = ("batched_decode_ratio",), ("prefill_share",)
WIDE = 8
STEPS = (2, 3)
"""Tool steps of the runs that `prefill_share` looks at."""


async def batching(bench: Bench) -> Part:
    """Tokens a second of agent turns decoded 8 at once over those decoded one at a time.

    The prompts are those of real agent runs, the first turns of eight questions together, then the second, and so on.
    They go to the model's batcher as calls do, announced, so that eight share a batch. What is compared is decoding:
    prompts and images are in the cache on both sides. `cold` in the details has the same with empty caches, where
    encoding images and reading prompts count too. Median and bootstrap interval over the groups of eight.
    """
    model = as_local(bench.models.large)
    if model is None:
        return Part({"batched_decode_ratio": left_out(NOT_LOCAL)})
    if model.batch_size < WIDE:
        return Part({"batched_decode_ratio": left_out(f"the model's batches hold {model.batch_size}, not {WIDE}")})
    agent = METHODS["agent"](bench.models)
    await bench.warm(agent)
    turns: dict[int, list[Request]] = defaultdict(list)
    for item in bench.items[: 8 if bench.quick else 32]:
        with _recorded(model) as requests:
            await ask(agent, item, bench.models)
        for number, request in enumerate(requests):
            turns[number].append(request)
    groups = [
        (number, same[at : at + WIDE]) for number, same in turns.items() for at in range(0, len(same) - WIDE + 1, WIDE)
    ]
    if not groups:
        return Part({"batched_decode_ratio": left_out(f"fewer than {WIDE} agent turns")})
    rows = []
    for number, (depth, group) in enumerate(groups):
        bench.report(f"batching: group {number + 1} of {len(groups)}")
        row: dict[str, Any] = {"turn": depth + 1}
        for wide in turn([str(WIDE), "1"], number):
            empty(bench.models)
            row[f"cold_{wide}"] = _decoded(model, group, int(wide))
        for wide in turn([str(WIDE), "1"], number + 1):
            row[f"warm_{wide}"] = _decoded(model, group, int(wide))
        rows.append(row)

    def ratio(kind: str) -> Figure:
        speeds = {w: [r[f"{kind}_{w}"]["tokens"] / r[f"{kind}_{w}"]["seconds"] for r in rows] for w in (1, WIDE)}
        return paired(speeds[WIDE], speeds[1])

    part = Part({"batched_decode_ratio": ratio("warm")}, {"groups": rows, "cold": ratio("cold").to_dict()})
    part.rows.append((f"whole turns from empty caches, {WIDE} wide / one at a time", ratio("cold"), "x"))
    for width in (1, WIDE):
        rates = [r[f"warm_{width}"]["tokens"] / r[f"warm_{width}"]["seconds"] for r in rows]
        part.rows.append((f"tokens a second, {width} wide", typical(rates), "/s"))
    return part


def _decoded(model: LocalChatModel, group: Sequence[Request], wide: int) -> dict[str, Any]:
    """Tokens, seconds and batches of some requests, so many at once."""
    batcher = model._batcher
    before = batcher.stats.batches
    began = time.perf_counter()
    completions: list[Completion] = []
    for at in range(0, len(group), wide):
        several = group[at : at + wide]
        keys = [f"bench {at + k}" for k in range(len(several))]
        for key in keys:
            batcher.expect(key)
        futures = [batcher.submit(request, key) for request, key in zip(several, keys, strict=True)]
        completions += [future.result() for future in futures]
    seconds = time.perf_counter() - began
    tokens = sum(len(c.steps) + (c.finish_reason == "stop") for c in completions)
    return {"tokens": tokens, "seconds": seconds, "batches": batcher.stats.batches - before}


@contextmanager
def _recorded(model: LocalChatModel) -> Iterator[list[Request]]:
    """What is asked of a model meanwhile."""
    batcher, found = model._batcher, list[Any]()
    submit = batcher.submit

    def recording(item: Request, key: Any = None) -> Any:
        found.append(item)
        return submit(item, key)

    batcher.submit = recording  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del batcher.submit


async def prefill(bench: Bench) -> Part:
    """Prompt tokens that an agent run of two or three tool steps computes, over those it would compute without cache.

    Each run begins with empty caches, so all that is found in them is from the run's own earlier turns. Median and
    bootstrap interval over runs.
    """
    model = as_local(bench.models.large)
    if model is None:
        return Part({"prefill_share": left_out(NOT_LOCAL)})
    if model._engine.decoder is None:
        return Part({"prefill_share": left_out("the model is not of the kind whose prompts are cached")})
    agent = METHODS["agent"](bench.models)
    await bench.warm(agent)
    by_steps: dict[int, list[float]] = defaultdict(list)
    for number, item in enumerate(bench.items[: 10 if bench.quick else 60]):
        if number % 10 == 0:
            bench.report(f"prefill: question {number + 1}")
        run = await ask(agent, item, bench.models)
        if run.error is None and run.prefilled + run.reused:
            by_steps[run.steps].append(run.prefilled / (run.prefilled + run.reused))
    kept = [share for steps in STEPS for share in by_steps[steps]]
    figure = typical(kept) if kept else left_out("no run of two or three tool steps")
    part = Part({"prefill_share": figure})
    part.details["by_steps"] = {str(steps): by_steps[steps] for steps in sorted(by_steps)}
    for steps in sorted(by_steps):
        if by_steps[steps]:
            part.rows.append((f"prompt tokens computed, {steps} tool steps", typical(by_steps[steps]), "share"))
    return part


SWITCHES: dict[str, dict[str, bool]] = {
    "key-value prefixes": {"prefixes": False},
    "image features": {"features": False},
    "both: transformers' own generation": {"prefixes": False, "features": False},
    "batching": {"batching": False},
}
"""What models can do without, and how."""
IMAGES = {
    "images kept": images_not_kept,
    "large JPEGs decoded small": images_decoded_whole,
}
"""What images can do without, and how."""
FULL = "everything on"


def _ways(models: Models) -> dict[str, tuple[str, Runnable[Any, Any], Models]]:
    """SpecEyes with one thing changed: a label, the graph, and the models whose caches are its own."""
    found: dict[str, tuple[str, Runnable[Any, Any], Models]] = {}
    for name, settings in SWITCHES.items():
        lacking = changed(models, **settings)
        if isinstance(lacking, Models):
            found[name] = f"latency without {name} / with", speceyes(lacking), lacking
    for name, context in IMAGES.items():
        found[name] = f"latency without {name} / with", Within(speceyes(models), context), models
    if models.judging and models.large is not None and models.order != "parallel":
        both = speceyes(replace(models, order="parallel"))
        found["parallel"] = f"latency with judge and speculator at once / {models.order}", both, models
    found["hedge"] = "latency with hedge / without", speceyes(models, hedge=True), models
    return found


async def switches(bench: Bench) -> Part:
    """Latency of SpecEyes with one thing switched off, or on, over that as it is, question by question.

    Every run begins with empty caches; median of the ratios and bootstrap interval over questions. Batching has an
    effect only where calls meet: for it, see the throughput without batching.
    """
    ways = _ways(bench.models)
    graphs = {FULL: (speceyes(bench.models), bench.models)}
    graphs |= {name: (graph, models) for name, (_, graph, models) in ways.items()}
    for graph, models in graphs.values():
        await bench.warm(graph, models=models)
    items = bench.items[: 5 if bench.quick else 40]
    bench.report(f"switches: {len(items)} questions, {len(graphs)} ways")
    found = await rounds(graphs, items)
    part = Part(details={"questions": [{k: r.to_dict() for k, r in runs.items()} for runs in found], "ratios": {}})
    for name, (label, _, _) in ways.items():
        ratio = paired(_seconds(found, name), _seconds(found, FULL))
        part.details["ratios"][label] = ratio.to_dict()
        part.rows.append((label, ratio, "x"))
    return part


def _seconds(found: Sequence[dict[str, Run]], name: str) -> list[float]:
    return [runs[name].seconds for runs in found]

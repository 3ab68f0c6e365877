"""One evaluation from its models to its run on disk: what `speceyes eval` does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.language_models import BaseChatModel

from langgraph_speceyes.answers.words import normalised, unwrapped
from langgraph_speceyes.bench.benchmark import Benchmark
from langgraph_speceyes.bench.chosen import made
from langgraph_speceyes.bench.datasets import Item
from langgraph_speceyes.bench.every_depth import every_depth
from langgraph_speceyes.bench.manifest import manifest
from langgraph_speceyes.bench.methods import Models, build, speculator
from langgraph_speceyes.bench.rules import LLMJudge
from langgraph_speceyes.bench.runner import Sides, evaluate
from langgraph_speceyes.bench.runs import PICTURES, Outcome, Run, first_error
from langgraph_speceyes.bench.statistics import Floats, mean_speedup, share, sums, total_speedup
from langgraph_speceyes.errors import ArgumentError

AGENT = "agent"


@dataclass
class Evaluation:
    """A benchmark through some methods, into a run.

    Attributes:
        benchmark: The questions.
        methods: The methods as the command names them (:func:`~langgraph_speceyes.bench.methods.build`).
        models: What they are made of.
        out: The run's folder; a run that is there is gone on with.
        full: Whether agent and speculator answer every question.
        concurrency: Questions under way at once.
        scorer: A model that scores open-ended answers.
    """

    benchmark: Benchmark
    methods: Sequence[str]
    models: Models
    out: Path
    full: bool = False
    concurrency: int = 1
    scorer: LLMJudge | None = None

    def __post_init__(self) -> None:
        """Build every method before the first question is read."""
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise ArgumentError("method", "at least one, each once", list(self.methods))
        self.graphs = {spec: build(spec, self.models) for spec in self.methods}

    @cached_property
    def total(self) -> int:
        """Outcomes of the whole run; every row is read and checked on the way, once."""
        return self.benchmark.count() * len(self.methods)

    async def run(self, report: Callable[[int, str], None] = lambda done, name: None) -> list[Outcome]:
        """Run what is not there yet.

        Args:
            report: Called with the number of outcomes and the split of the newest, as they come.

        Returns:
            All outcomes, those of earlier runs first.
        """
        made_with = manifest(
            benchmark=self.benchmark.manifest(),
            questions=self.benchmark.digest,
            count=self.benchmark.count(),
            methods=self.methods,
            models=self.models,
            concurrency=self.concurrency,
            full=self.full,
        )
        run = Run(self.out)
        with tempfile.TemporaryDirectory(prefix="speceyes-") as drawn, run.writing(made_with) as outcomes:
            folder = Path(drawn)
            known = {(outcome["method"], outcome["id"]) for outcome in outcomes}
            # images of questions that every method has answered need not be drawn again
            over = {id for _, id in known if all((method, id) in known for method in self.methods)}
            report(len(outcomes), "")
            if len(known) == self.total:
                return outcomes
            async for outcome in evaluate(
                lambda: self.benchmark.rows(folder, over),
                self.graphs,
                known=known,
                concurrency=self.concurrency,
                sides=sides_of(self.models) if self.full else None,
                scorer=self.scorer,
                pictures=self.out / PICTURES,
                release=lambda item: _delete(item, folder),
                warm_up=self.benchmark.warm_up(folder),
                processor=bool(self.models.looks),
            ):
                if (image := Path(outcome["image"])).parent == folder:
                    # it is deleted with the folder, whose name is another one in each run
                    outcome["image"] = image.name
                run.append(outcome)
                outcomes.append(outcome)
                report(len(outcomes), outcome["split"])
            return outcomes


def sides_of(models: Models) -> Sides:
    """Agent and speculator alone, the speculator at every depth."""
    if not models.looks:
        return Sides(models.agent, speculator(models))
    return Sides(models.agent, every_depth(models), every_depth(models, entered=True), len(models.looks))


def _delete(item: Item, folder: Path) -> None:
    """Delete an image that was drawn for this run."""
    if item.image.kind == "file" and (path := Path(item.image.local_path())).parent == folder:
        path.unlink(missing_ok=True)


def overview(outcomes: Sequence[Outcome]) -> dict[str, dict[str, dict[str, Any]]]:
    """The first figures of a run.

    Args:
        outcomes: Of one run or several.

    Returns:
        By split, `overall` last, and method: `n`, `accuracy` with `accuracy_low` and `accuracy_high` (Wilson, 95 %),
        `seconds_mean`, `errors`, `contained` (open-ended answers that count as wrong and hold the expected one among
        other words); for a bypass `bypassed`, the share of questions the speculator answered; beside the
        method `agent`, `speedup` over it in total time on the questions both have, and in `overall` `speedup_mean`, the
        unweighted mean of the splits' speed-ups.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    names = list(dict.fromkeys(o["split"] for o in outcomes))
    agent = {o["id"]: o["seconds"]["total"] for o in outcomes if o["method"] == AGENT and "total" in o["seconds"]}
    for method in dict.fromkeys(o["method"] for o in outcomes):
        mine = [o for o in outcomes if o["method"] == method]
        by_split = {split: [o for o in mine if o["split"] == split] for split in names}
        taken = {split: _seconds(rows, agent) for split, rows in by_split.items()}
        for split, rows in {**by_split, "overall": mine if len(names) > 1 else []}.items():
            if not rows:
                continue
            figures = _figures(rows)
            strata = [taken[split]] if split in taken else [one for one in taken.values() if len(one)]
            if method != AGENT and (total := total_speedup(strata).value) is not None:
                figures["speedup"] = total
                if split == "overall":
                    figures["speedup_mean"] = mean_speedup(strata).value
            found.setdefault(split, {})[method] = figures
    return {split: found[split] for split in [*names, "overall"] if split in found}


def _figures(rows: Sequence[Outcome]) -> dict[str, Any]:
    right = share([o["right"] for o in rows])
    figures: dict[str, Any] = {
        "n": len(rows),
        "accuracy": right.value,
        "accuracy_low": right.low,
        "accuracy_high": right.high,
        "seconds_mean": float(np.mean([o["seconds"].get("total", 0.0) for o in rows])),
        "errors": sum(o["error"] is not None for o in rows),
        "first_error": first_error(rows),
        "contained": sum(map(_contains, rows)),
    }
    if any(o["route"] for o in rows):
        figures["bypassed"] = sum(o["route"] == "bypass" for o in rows) / len(rows)
    return figures


def _contains(outcome: Outcome) -> bool:
    """Whether an answer that counts as wrong holds the expected one among other words."""
    if outcome["right"] or outcome["rule"] != "free_form" or not outcome["answer"]:
        return False
    said, expected = (f" {normalised(text)} " for text in (unwrapped(outcome["answer"]), outcome["expected"]))
    return bool(expected.strip()) and expected in said


def _seconds(rows: Sequence[Outcome], agent: dict[str, float]) -> Floats:
    """Seconds of a method and of the agent, on the questions both have."""
    pairs = [(o["seconds"]["total"], agent[o["id"]]) for o in rows if "total" in o["seconds"] and o["id"] in agent]
    return sums([[mine for mine, _ in pairs], [theirs for _, theirs in pairs]])


def load_scorer(function: str | None) -> LLMJudge | None:
    """The model that scores open-ended answers, from the dotted name of a function that returns it."""
    if function is None:
        return None
    model = made(function, "scorer")
    if not isinstance(model, BaseChatModel):
        raise ArgumentError("scorer", "a function that returns a chat model", type(model).__name__)
    return LLMJudge(model)

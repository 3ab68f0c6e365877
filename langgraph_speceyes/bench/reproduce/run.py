"""One backbone's part of the table: its calibration half, an operating point a score, its test half."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from langgraph_speceyes.bench.benchmark import Benchmark
from langgraph_speceyes.bench.calibrate import JUDGE_THRESHOLD, fastest
from langgraph_speceyes.bench.chosen import Chosen
from langgraph_speceyes.bench.evaluation import Evaluation
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.bench.reproduce.sources import Source
from langgraph_speceyes.bench.runs import Outcome, Run, first_error
from langgraph_speceyes.bench.sweep import sweepable
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import AT_ONE_K, SCORES, Gate, ScoreName

CALIBRATION, TEST = "calibration", "test"
GATES = "gates"
BYPASS, SPECREASON = "speceyes", "specreason"
TEST_METHODS = ("agent", BYPASS, SPECREASON)
PAPER_K = 64
LIVE: ScoreName = "odds"
"""The score of the bypass that runs; the other scores' rows are replayed from what it and `--full` recorded."""


@dataclass(frozen=True)
class Backbone:
    """An agent of the table.

    Attributes:
        name: As the paper calls it, `deepeyes` or `thyme`, or another.
        chosen: The models.
    """

    name: str
    chosen: Chosen

    def models(self) -> Models:
        """The models as the paper has them: no looks, K = 64, and a judge that asks which of yes and no is likelier.

        Raises:
            ArgumentError: A model cannot be made, or nothing judges.
        """
        models = self.chosen.load().with_looks(0)
        if models.large is None or models.agent_over is None:
            raise ArgumentError("agent", "an agent over a model, which judges and rates", self.name)
        # an endpoint gives 20 candidates, as a rule
        local = getattr(models.speculator, "accepts_image_references", False)
        k = PAPER_K if local else models.gate.k
        gate = replace(models.gate, score=LIVE, k=k, judge_threshold=JUDGE_THRESHOLD, calibration=None)
        return replace(models, gate=gate)


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        sources: The questions.
        backbones: The agents.
        out: Where the runs go, a folder a backbone; those that are there are gone on with.
        limit: Most questions of each split and half.
    """

    sources: tuple[Source, ...]
    backbones: tuple[Backbone, ...]
    out: Path
    limit: int | None = None

    def __post_init__(self) -> None:
        """Check that every backbone has a name of its own."""
        names = [one.name for one in self.backbones]
        if not names or len(set(names)) < len(names):
            raise ArgumentError("agent", "at least one backbone, each with a name of its own", names)

    def folder(self, backbone: str, part: str, source: Source) -> Path:
        """Of a run."""
        return self.out / backbone / f"{source.name}-{part}"

    def outcomes(self, backbone: str, part: str) -> list[Outcome]:
        """What a backbone's runs of one half hold so far, their splits called as the table's columns."""
        return [
            cast("Outcome", {**outcome, "split": source.column(outcome["split"])})
            for source in self.sources
            for outcome in Run(self.folder(backbone, part, source)).outcomes()
        ]


def run_backbone(plan: Plan, backbone: Backbone, report: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Run what is not there yet of one backbone.

    Args:
        plan: The whole.
        backbone: Which part of it.
        report: Called with outcomes that are there and outcomes in all, as they come.

    Raises:
        ArgumentError: Models, questions or the folder cannot be used.
        MissingExtraError: What they need is not installed.
    """
    models = backbone.models()
    benchmarks = {
        part: {source.name: source.benchmark(part, plan.limit) for source in plan.sources}
        for part in (CALIBRATION, TEST)
    }
    # connections of hosted models belong to a loop, so that all runs have the same one
    asyncio.run(_run(plan, backbone.name, models, benchmarks, report))


async def _run(
    plan: Plan,
    backbone: str,
    models: Models,
    benchmarks: dict[str, dict[str, Benchmark]],
    report: Callable[[int, int], None],
) -> None:
    methods = {CALIBRATION: (BYPASS,), TEST: TEST_METHODS}
    total = sum(one.count() * len(methods[part]) for part, them in benchmarks.items() for one in them.values())
    before = 0
    for part, them in benchmarks.items():
        if part == TEST:
            models = replace(models, gate=operating_points(plan, backbone, models.gate)[LIVE])
        for source in plan.sources:
            folder = plan.folder(backbone, part, source)
            evaluation = Evaluation(them[source.name], methods[part], models, folder, full=True)

            def done(count: int, _: str, before: int = before) -> None:
                report(before + count, total)

            await evaluation.run(done)
            before += evaluation.total


def operating_points(plan: Plan, backbone: str, gate: Gate) -> dict[ScoreName, Gate]:
    """The gate of each score: the fastest that keeps the agent's accuracy in each column of the calibration half.

    They are written beside the runs, as `gates/SCORE.json`.

    Args:
        plan: What was run.
        backbone: Of which agent.
        gate: The models, K, and the judge's threshold.

    Raises:
        ArgumentError: No question of the calibration half has been answered by both sides.
    """
    asked = plan.outcomes(backbone, CALIBRATION)
    outcomes = sweepable(asked)
    if not outcomes:
        expected = f"questions of the calibration half that both sides answered, before {backbone}"
        raise ArgumentError("out", expected, why_none(plan, backbone, asked))
    folder = plan.out / backbone / GATES
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[ScoreName, Gate] = {}
    for score in comparable(outcomes):
        one = fastest(outcomes, replace(gate, score=score), choose_judge=False).gate
        assert one is not None, "the paper's way always has a threshold"
        one.save(folder / f"{score}.json")
        found[score] = one
    return found


def why_none(plan: Plan, backbone: str, asked: Sequence[Outcome]) -> str:
    """That none of these questions can be used, what the first failure was, and what asks them again."""
    if (error := first_error(asked)) is None:
        return "none"
    return f"none of {len(asked)}: {error}; remove {plan.out / backbone} to ask again"


def comparable(outcomes: Sequence[Outcome]) -> list[ScoreName]:
    """The scores that one threshold means something for: those of separability only where every answer has one K."""
    ks = {part["k"] for o in outcomes if (part := o["speculator"]) is not None and part.get("k") is not None}
    return [score for score in SCORES if len(ks) <= 1 or score not in AT_ONE_K]

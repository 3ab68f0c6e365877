"""Runs as the runner writes them, with what a test cares about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from langgraph_speceyes.bench.runs import FORMAT, Outcome, Part, Run


def outcome(
    number: int,
    *,
    score: float = 0.9,
    need: float | None = 0.2,
    small: bool = True,
    large: bool = True,
    split: str = "one",
    said: tuple[str, str] = ("x", "y"),
    image: str = "a.png",
) -> Outcome:
    """As the runner writes it, with 1, 2 and 4 seconds for judge, speculator and agent."""
    tokens = {"input": 1, "output": 1}
    scores = dict.fromkeys(("odds", "min", "mean", "bottom", "log"), score)
    return Outcome(
        method="speceyes",
        id=str(number),
        split=split,
        group="",
        question="What colour?",
        expected="red",
        letter="",
        image=image,
        answer="red",
        right=True,
        read="red",
        rule="free_form",
        reason="",
        route="bypass",
        decided_by="gate",
        tool_need=need,
        judge_threshold=0.5,
        score="min",
        threshold=0.5,
        speculator=Part(answer=said[0], right=small, seconds=2.0, error=None, tokens=tokens, scores=scores, k=64),
        agent=Part(answer=said[1], right=large, seconds=4.0, error=None, tokens=tokens, tools=["crop"]),
        seconds={"judge": 1.0, "speculate": 2.0, "total": 3.0},
        tokens={},
        began=0.0,
        trouble=None,
        error=None,
    )


def written(folder: Path, outcomes: list[Outcome], **changes: Any) -> Path:
    manifest = {
        "format": FORMAT,
        "benchmark": {"name": "embedded", "part": "calibration"},
        "methods": ["speceyes"],
        "models": {"speculator": {"id": "small"}, "large": {"id": "large"}, "agent": "agent"},
        "gate": {"score": "min", "k": 64},
        **changes,
    }
    run = Run(folder)
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for one in outcomes:
        run.append(one)
    return folder

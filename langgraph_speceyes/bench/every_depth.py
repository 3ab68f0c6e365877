"""What the small model says at every depth, whatever a gate would have made of the depths before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, cast

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langgraph_speceyes.bench.canned import Canned, content, message
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.bench.runs import DepthPart, Part
from langgraph_speceyes.graph import create_speceyes
from langgraph_speceyes.scoring import AnswerScore, Gate, uncalibrated_on_purpose


class ShutGate(Gate):
    """Accepts nothing, not even an answer whose score is 1: every look is taken."""

    __slots__ = ()

    def accepts(self, answer: AnswerScore) -> bool:
        """Check the candidates as any gate does, and reject."""
        Gate.accepts(self, answer)
        return False


def every_depth(models: Models, *, entered: bool = False) -> Runnable[Any, Any]:
    """The bypass with a gate that accepts nothing, and no agent behind it: its decision records each depth.

    Args:
        models: The models, with their looks.
        entered: Whether questions enter at depth 1, as those do that the judge sends on: nothing of the prompt has been
            read before. Else they enter at depth 0.
    """
    silent: Runnable[Any, Any] = RunnableLambda(lambda _: {"messages": [AIMessage("")]})
    changed = {"calibration": None, "judge_threshold": None, "agent": None}
    gate = models.gate.of_looks(0)
    gate = ShutGate(**({field.name: getattr(gate, field.name) for field in fields(Gate)} | changed))
    with uncalibrated_on_purpose():
        graph = create_speceyes(
            silent,
            speculator=models.speculator,
            judge=Canned(say=lambda _: message("yes", content("yes"))) if entered else None,
            gate=gate,
            prompts=models.prompts,
            policy=models.policy,
            looks=models.looks,
        )
    return graph.compile(name="every depth")


def completed(
    mine: Sequence[DepthPart | None], every: Sequence[DepthPart | None], entered: DepthPart | None
) -> list[DepthPart | None]:
    """Every depth of a question: as the run had it where it came to that depth, else as it was asked afterwards.

    A depth costs less where the one before it has read the beginning of the same prompt. `seconds` of depth 1 are those
    behind depth 0, `entered_s` those where it comes first.

    Args:
        mine: What the run has.
        every: All depths, asked from depth 0 on.
        entered: Depth 1, where questions enter at it.
    """
    found: list[DepthPart | None] = []
    for depth in range(max(len(mine), len(every))):
        own = mine[depth] if depth < len(mine) else None
        other = every[depth] if depth < len(every) else None
        if own is None and other is not None:
            own = {**other, "threshold": None, "accepted": None}
        if depth == 1 and own is not None and other is not None and entered is not None:
            if own["threshold"] is not None and mine[0] is None:
                own = {**own, "entered_s": own["seconds"], "seconds": other["seconds"]}
            else:
                own = {**own, "entered_s": entered["seconds"]}
        found.append(own)
    return found


def first_of(depths: Sequence[DepthPart | None]) -> Part | None:
    """Depth 0 as the speculator's part of a run without looks has it."""
    first = depths[0]
    own = DepthPart.__annotations__.keys() - Part.__annotations__.keys()
    return None if first is None else cast("Part", {key: value for key, value in first.items() if key not in own})

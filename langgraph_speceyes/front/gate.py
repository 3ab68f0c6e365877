"""Phase III: does the speculation stand clear of its competitors?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langgraph_speceyes.contained import contained
from langgraph_speceyes.depths import at_depth, depth_shown, depth_update
from langgraph_speceyes.errors import PhaseError, describe_error
from langgraph_speceyes.events import emit
from langgraph_speceyes.foreign import cleaned
from langgraph_speceyes.front.structured import AnswerForm
from langgraph_speceyes.scoring import AnswerScore, Gate
from langgraph_speceyes.state import SpecEyesState, Verdict, settings_of


class GatePhase:
    """Accept a speculation whose score reaches the threshold tau (paper, phase III).

    Args:
        gate: Score, K and threshold, where the run does not set another; it makes the comparison.
        strict: Raise instead of falling back.
        form: The form that the agent answers in; what has not this form is not accepted.
        depth: How many looks there were before the speculation.
    """

    def __init__(self, gate: Gate, *, strict: bool, form: AnswerForm | None = None, depth: int = 0) -> None:
        self.gate, self.strict, self.form, self.depth = gate, strict, form or AnswerForm(), depth

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Compare the newest speculation's score."""
        began = time.perf_counter()
        speculation = state.get("speceyes_speculation")
        scored = speculation["score"] if speculation else None
        error = speculation["error"] if speculation else None
        accepted = False
        if scored is not None:
            try:
                with contained():
                    gate = gate_of(self.gate, state, self.depth)
                    accepted = gate is not None and gate.accepts(AnswerScore(**scored))
                    if accepted and speculation:
                        self.form.read(speculation["answer"])
            except Exception as trouble:
                if self.strict:
                    raise PhaseError(f"{at_depth('gate', self.depth)}: {describe_error(trouble)}") from cleaned(trouble)
                accepted, error = False, describe_error(trouble)
        verdict = Verdict(accepted=accepted, seconds=time.perf_counter() - began, error=error)
        emit("gate", {**verdict, **depth_shown(state, self.depth)}, state)
        return {"speceyes_verdict": verdict, **depth_update(state, self.depth, verdict=verdict)}

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Compare the newest speculation's score; a few microseconds, so it stays on the event loop."""
        return self(state)


def gate_of(gate: Gate, state: Mapping[str, Any], depth: int = 0) -> Gate | None:
    """The gate with the threshold of the run; None while it is shut. A depth's own threshold is no run's to change."""
    settings = settings_of(state)
    if depth and gate.depths is not None:
        return gate.at(depth)
    if settings is None or settings["threshold"] == gate.threshold:
        return gate
    return None if settings["threshold"] is None else replace(gate, threshold=settings["threshold"])

"""The end of the fast path: the speculation becomes the answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.decision import decide, signed
from langgraph_speceyes.depths import depths_of
from langgraph_speceyes.front.calling import usage_metadata
from langgraph_speceyes.front.settled import Settled
from langgraph_speceyes.front.structured import AnswerForm
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import SpecEyesState


class Bypass:
    """Answer with the speculation, and with what the speculator's call cost; the judge's is in the decision.

    Args:
        gate: The gate that accepted it.
        adapter: How an answer enters the state.
        model_id: The speculator's name, for the answer's metadata.
        settled: Who is told of the decision.
        stale: The update that takes outputs of the agent's earlier turns out of a state.
        form: The form that the agent answers in.
        author: The name that the agent writes on its answers.
    """

    def __init__(
        self,
        gate: Gate,
        adapter: StateAdapter,
        model_id: str | None,
        settled: Settled,
        stale: Callable[[Any], dict[str, Any]] | None = None,
        form: AnswerForm | None = None,
        author: str | None = None,
    ) -> None:
        self.form, self.author = form or AnswerForm(), author
        self.gate, self.adapter, self.model_id, self.settled, self.stale = gate, adapter, model_id, settled, stale

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Add the answer."""
        speculation = state.get("speceyes_speculation")
        assert speculation is not None, "only an accepted speculation is routed here"
        decision = self.settled.costs.priced(decide(state, self.gate, "bypass"))
        self.settled.bypassed(state, decision)
        metadata = {"model_name": self.model_id} if self.model_id else {}
        answer = AIMessage(
            speculation["answer"],
            id=str(uuid.uuid4()),
            name=self.author,
            response_metadata=metadata,
            usage_metadata=usage_metadata(_written(state, speculation["tokens"])),
        )
        old = self.stale(state) if self.stale else {}
        formed = self.form.read(speculation["answer"])
        return {**old, **formed, **self.adapter.answered(signed(answer, decision), state), "decision": decision}

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Add the answer."""
        return self(state)


def _written(state: SpecEyesState, tokens: dict[str, int]) -> dict[str, int]:
    """Tokens of all the speculator's calls: those without looks, or of every depth."""
    asked = [depth["speculation"] for depth in depths_of(state)]
    if not any(asked):
        return tokens
    return {kind: sum(one["tokens"][kind] for one in asked if one is not None) for kind in tokens}

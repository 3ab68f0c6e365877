"""The end of the fast path: the speculation becomes the answer."""

from __future__ import annotations

import uuid
from typing import Any

from langchain_core.messages import AIMessage

from langgraph_speceyes.phases.decision import decide, signed
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.state import SpecEyesState


class Bypass:
    """Answer with the speculation.

    Args:
        gate: The gate that accepted it.
        model_id: The speculator's name, for the answer's metadata.
    """

    def __init__(self, gate: Gate, model_id: str | None) -> None:
        self.gate, self.model_id = gate, model_id

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Append the answer."""
        speculation = state.get("speculation")
        assert speculation is not None, "only an accepted speculation is routed here"
        metadata = {"model_name": self.model_id} if self.model_id else {}
        message = AIMessage(speculation["answer"], id=str(uuid.uuid4()), response_metadata=metadata)
        return signed(message, decide(state, self.gate, "bypass"))

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Append the answer."""
        return self(state)

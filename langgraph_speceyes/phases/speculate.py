"""Phase II: the small model answers from the whole image, without tools."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from langgraph_speceyes.errors import PhaseError
from langgraph_speceyes.phases.calling import ModelCall, logprob_content, usage
from langgraph_speceyes.phases.events import emit
from langgraph_speceyes.phases.judge import describe
from langgraph_speceyes.phases.prompts import Prompts, front_end_prompt
from langgraph_speceyes.scoring import Gate, score_answer
from langgraph_speceyes.state import SpecEyesState, Speculation


class Speculate:
    """``M_S`` answers ``y_1..y_n`` and each token's candidates become scores at once (paper, phase II).

    Only the scores go into the state: candidates would make a checkpoint O(tokens * K).

    Args:
        call: The small model, asked for K candidates a token.
        prompts: The instructions.
        gate: Which score and K will be compared.
        strict: Raise instead of falling back.
    """

    def __init__(self, call: ModelCall, prompts: Prompts, gate: Gate, *, strict: bool) -> None:
        self.call, self.prompts, self.gate, self.strict = call, prompts, gate, strict

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Answer the newest question."""
        began = time.perf_counter()
        try:
            return self._answered(self.call(self._messages(state), self._key(state)), began)
        except Exception as error:
            return self._failed(error, began)

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Answer the newest question; see :meth:`__call__`."""
        began = time.perf_counter()
        try:
            return self._answered(await self.call.acall(self._messages(state), self._key(state)), began)
        except Exception as error:
            return self._failed(error, began)

    def _messages(self, state: SpecEyesState) -> list[BaseMessage]:
        return front_end_prompt(state["messages"], self.prompts.speculate_system, self.prompts.speculate)

    def _key(self, state: SpecEyesState) -> str:
        return f"speculate {state['query']['id']}"

    def _answered(self, message: AIMessage, began: float) -> dict[str, Any]:
        answer = message.text.strip()
        # an answer of white space only is an empty answer: it scores 0
        score = score_answer(logprob_content(message) if answer else [], self.gate.score, self.gate.k)
        return self._update(answer, asdict(score), usage(message), began, None)

    def _failed(self, error: Exception, began: float) -> dict[str, Any]:
        if self.strict:
            raise PhaseError(f"speculate: {describe(error)}") from error
        return self._update("", None, {"input": 0, "output": 0}, began, describe(error))

    def _update(
        self, answer: str, score: dict[str, Any] | None, tokens: dict[str, int], began: float, error: str | None
    ) -> dict[str, Any]:
        speculation = Speculation(
            answer=answer, score=score, tokens=tokens, seconds=time.perf_counter() - began, error=error
        )
        emit("speculation", speculation)
        return {"speculation": speculation}

"""Phase I: does the query need tools? One token of the large model tells."""

from __future__ import annotations

import time
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from langgraph_speceyes.errors import ArgumentError, PhaseError
from langgraph_speceyes.phases.calling import ModelCall, logprob_content, usage
from langgraph_speceyes.phases.events import emit
from langgraph_speceyes.phases.prompts import Prompts, front_end_prompt
from langgraph_speceyes.scoring import tool_need
from langgraph_speceyes.scoring.answer import TokenLogprobs
from langgraph_speceyes.state import Judgment, SpecEyesState


class Judge:
    """``g(q, I) = M_L(q, I; P_judge)``: probability of yes against no at the first token (paper, phase I).

    The judge reads the probability of every spelling of the two words that is a token of its own; what it would go on
    to write is never looked at.

    Args:
        call: The large model, asked for one token.
        prompts: The instructions.
        threshold: Tools are needed from this probability of yes on; strictly between 0 and 1.
        strict: Raise instead of falling back.
    """

    def __init__(self, call: ModelCall, prompts: Prompts, threshold: float, *, strict: bool) -> None:
        if not 0 < threshold < 1:
            raise ArgumentError("judge_threshold", "a probability strictly between 0 and 1", threshold)
        self.call, self.prompts, self.threshold, self.strict = call, prompts, threshold, strict

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Judge the newest question."""
        began = time.perf_counter()
        try:
            return self._judged(self.call(self._messages(state), self._key(state)), began)
        except Exception as error:
            return self._failed(error, began)

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Judge the newest question; see :meth:`__call__`."""
        began = time.perf_counter()
        try:
            return self._judged(await self.call.acall(self._messages(state), self._key(state)), began)
        except Exception as error:
            return self._failed(error, began)

    def _messages(self, state: SpecEyesState) -> list[BaseMessage]:
        return front_end_prompt(state["messages"], self.prompts.judge_system, self.prompts.judge)

    def _key(self, state: SpecEyesState) -> str:
        return f"judge {state['query']['id']}"

    def _judged(self, message: AIMessage, began: float) -> dict[str, Any]:
        content = logprob_content(message)
        need = tool_need(TokenLogprobs.from_entry(content[0]).top if content else [])
        return self._update(need, need >= self.threshold, usage(message), began, None)

    def _failed(self, error: Exception, began: float) -> dict[str, Any]:
        if self.strict:
            raise PhaseError(f"judge: {describe(error)}") from error
        return self._update(None, True, {"input": 0, "output": 0}, began, describe(error))

    def _update(
        self, need: float | None, needed: bool, tokens: dict[str, int], began: float, error: str | None
    ) -> dict[str, Any]:
        judgment = Judgment(
            tool_need=need,
            threshold=self.threshold,
            tools_needed=needed,
            tokens=tokens,
            seconds=time.perf_counter() - began,
            error=error,
        )
        emit("judgment", judgment)
        return {"judgment": judgment}


def describe(error: BaseException) -> str:
    """An error in one line: its type and message."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

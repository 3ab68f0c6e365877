"""Phase I: does the query need tools? One token of the large model tells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front.asking import AskingPhase
from langgraph_speceyes.front.calling import ModelCall, logprob_content
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.scoring import tool_need
from langgraph_speceyes.scoring.answer import TokenLogprobs
from langgraph_speceyes.state import Judgment, SpecEyesState, settings_of
from langgraph_speceyes.usage import usage


class Judge(AskingPhase):
    """``g(q, I) = M_L(q, I; P_judge)``: probability of yes against no at the first token (paper, phase I).

    The judge reads the probability of every spelling of the two words that is a token of its own; what it would go on
    to write is never looked at. A model that is about to say something else has not judged: that is trouble.

    Args:
        call: The large model, asked for one token.
        prompts: The instructions.
        front: Messages before the question.
        adapter: Where the question is in the state.
        threshold: Tools are needed from this probability of yes on, where the run does not set another; strictly
            between 0 and 1.
        strict: Raise instead of falling back.
    """

    name = "judge"
    key = "speceyes_judgment"

    def __init__(
        self,
        call: ModelCall,
        prompts: Prompts,
        front: Sequence[BaseMessage],
        adapter: StateAdapter,
        threshold: float,
        *,
        strict: bool,
    ) -> None:
        if not 0 < threshold < 1:
            raise ArgumentError("judge_threshold", "a probability strictly between 0 and 1", threshold)
        super().__init__(call, front, adapter, strict=strict)
        self.prompts, self.threshold = prompts, threshold

    def _instruction(self, follow_up: bool) -> str:
        return self.prompts.judge_follow_up if follow_up else self.prompts.judge

    def _read(self, message: AIMessage, began: float, state: SpecEyesState) -> dict[str, Any]:
        content = logprob_content(message)
        need = tool_need(TokenLogprobs.from_entry(content[0]).top if content else [])
        return self._update(need, usage(message), began, None, state)

    def _trouble(self, error: str, tokens: dict[str, int], began: float, state: SpecEyesState) -> dict[str, Any]:
        return self._update(None, tokens, began, error, state)

    def _update(
        self, need: float | None, tokens: dict[str, int], began: float, error: str | None, state: SpecEyesState
    ) -> dict[str, Any]:
        settings = settings_of(state)
        own = settings["judge_threshold"] if settings else None
        threshold = self.threshold if own is None else own
        judgment = Judgment(
            tool_need=need,
            threshold=threshold,
            tools_needed=need is None or need >= threshold,
            tokens=tokens,
            seconds=time.perf_counter() - began,
            error=error,
        )
        return {"speceyes_judgment": judgment}

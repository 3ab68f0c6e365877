"""Phase II: the small model answers from the whole image, without tools."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from langchain_core.messages import AIMessage

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.front.asking import AskingPhase
from langgraph_speceyes.front.calling import ModelCall, finish_reason, logprob_content, thought_apart, usage
from langgraph_speceyes.prompts import Prompts, system_message
from langgraph_speceyes.scoring import Gate, score_answer, spoken
from langgraph_speceyes.state import SpecEyesState, Speculation


class Speculate(AskingPhase):
    """``M_S`` answers ``y_1..y_n`` and each token's candidates become scores at once (paper, phase II).

    What counts is the answer itself (:func:`~langgraph_speceyes.scoring.spoken`): thoughts, tags and end tokens are
    neither returned nor scored, and an answer that was cut is trouble.

    Only the scores go into the state: candidates would make a checkpoint O(tokens * K).

    Args:
        call: The small model, asked for K candidates a token.
        prompts: The instructions.
        adapter: Where the question is in the state.
        gate: Which score and K will be compared.
        strict: Raise instead of falling back.
    """

    name = "speculate"

    def __init__(self, call: ModelCall, prompts: Prompts, adapter: StateAdapter, gate: Gate, *, strict: bool) -> None:
        super().__init__(call, system_message(prompts.speculate_system), adapter, strict=strict)
        self.prompts, self.gate = prompts, gate

    def _instruction(self, follow_up: bool) -> str:
        return self.prompts.speculate

    def _read(self, message: AIMessage, began: float, state: SpecEyesState) -> dict[str, Any]:
        text = str(message.text)
        # an answer of white space only is an empty answer: it scores 0
        content = logprob_content(message) if text.strip() else []
        said = spoken(
            text,
            content,
            finish=finish_reason(message),
            limit=self.call.max_tokens,
            apart=thought_apart(message),
        )
        score = score_answer(said.content, self.gate.score, self.gate.k, drop=())
        return self._update(said.text, asdict(score), usage(message), began, None)

    def _trouble(self, error: str, tokens: dict[str, int], began: float, state: SpecEyesState) -> dict[str, Any]:
        return self._update("", None, tokens, began, error)

    def _update(
        self, answer: str, score: dict[str, Any] | None, tokens: dict[str, int], began: float, error: str | None
    ) -> dict[str, Any]:
        speculation = Speculation(
            answer=answer, score=score, tokens=tokens, seconds=time.perf_counter() - began, error=error
        )
        return {"speceyes_speculation": speculation}

"""Phase II: the small model answers from the whole image, without tools."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from langchain_core.messages import AIMessage

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.depths import at_depth, depth_shown, depth_update, depths_of
from langgraph_speceyes.errors import AnswerError
from langgraph_speceyes.foreign import foreign_text, masked_text
from langgraph_speceyes.front.asking import AskingPhase
from langgraph_speceyes.front.calling import ModelCall, finish_reason, logprob_content, thought_apart
from langgraph_speceyes.prompts import Prompts, system_message
from langgraph_speceyes.scoring import AnswerScore, Gate, score_answer, spoken
from langgraph_speceyes.state import SpecEyesState, Speculation
from langgraph_speceyes.usage import usage

_SCORED = tuple(one.name for one in fields(AnswerScore))


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
        depth: How many looks there were: from the first on, what the last one found stands in the prompt.
    """

    name = "speculate"
    key = "speceyes_speculation"

    def __init__(
        self,
        call: ModelCall,
        prompts: Prompts,
        adapter: StateAdapter,
        gate: Gate,
        *,
        strict: bool,
        depth: int = 0,
    ) -> None:
        super().__init__(call, system_message(prompts.speculate_system), adapter, strict=strict)
        self.prompts, self.gate, self.depth = prompts, gate, depth

    @property
    def node(self) -> str:
        """The phase's name in a graph, and that of its calls."""
        return at_depth(self.name, self.depth)

    def _observations(self, state: SpecEyesState) -> Sequence[Mapping[str, Any]]:
        return depths_of(state)[self.depth]["observations"] if self.depth else ()

    def _where(self, state: SpecEyesState) -> dict[str, Any]:
        return depth_shown(state, self.depth)

    def _instruction(self, follow_up: bool) -> str:
        return self.prompts.speculate

    def _read(self, message: AIMessage, began: float, state: SpecEyesState) -> dict[str, Any]:
        if message.tool_calls or message.invalid_tool_calls:
            raise AnswerError("the model calls a tool in place of an answer")
        if refused := message.additional_kwargs.get("refusal"):
            raise AnswerError(f"the model refuses to answer ({foreign_text(str(refused), 300)})")
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
        if masked_text(said.text, secrets=False) != said.text:
            raise AnswerError("the answer holds image data")
        score = score_answer(said.content, self.gate.score, self.gate.k, drop=())
        # the score is nobody else's: no copy of what it holds
        found = {name: getattr(score, name) for name in _SCORED}
        return self._update(said.text, found, usage(message), began, None, state)

    def _trouble(self, error: str, tokens: dict[str, int], began: float, state: SpecEyesState) -> dict[str, Any]:
        return self._update("", None, tokens, began, error, state)

    def _update(
        self,
        answer: str,
        score: dict[str, Any] | None,
        tokens: dict[str, int],
        began: float,
        error: str | None,
        state: SpecEyesState,
    ) -> dict[str, Any]:
        speculation = Speculation(
            answer=answer, score=score, tokens=tokens, seconds=time.perf_counter() - began, error=error
        )
        return {self.key: speculation, **depth_update(state, self.depth, speculation=speculation)}

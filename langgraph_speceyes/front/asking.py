"""What judge and speculator share: ask a model about the newest question, and never fail the query."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from langchain_core.messages import AIMessage, BaseMessage

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.errors import ImageError, PhaseError
from langgraph_speceyes.events import emit
from langgraph_speceyes.foreign import cleaned
from langgraph_speceyes.front.calling import ModelCall
from langgraph_speceyes.front.scope import call_key
from langgraph_speceyes.models.hosted import explain
from langgraph_speceyes.models.refusal import failure
from langgraph_speceyes.prompts import front_end_prompt
from langgraph_speceyes.question import question_at
from langgraph_speceyes.state import Phase, SpecEyesState, query_of
from langgraph_speceyes.usage import usage

NO_TOKENS = {"input": 0, "output": 0}


class AskingPhase(ABC):
    """A phase that asks one model.

    Trouble of any kind becomes a record that sends the query to the agent, or, when `strict`, a
    :class:`PhaseError` with its cause; an image that cannot be opened is its :class:`ImageError`.

    Args:
        call: The model.
        front: Messages before the question.
        adapter: Where the question is in the state.
        strict: Raise instead of falling back.
    """

    name: ClassVar[Phase]
    key: ClassVar[str]
    """Where the phase's record is in the state."""

    def __init__(self, call: ModelCall, front: Sequence[BaseMessage], adapter: StateAdapter, *, strict: bool) -> None:
        self.call, self.front, self.adapter, self.strict = call, front, adapter, strict

    def __call__(self, state: SpecEyesState) -> dict[str, Any]:
        """Ask about the newest question."""
        began, said = time.perf_counter(), None
        try:
            said = self.call(self._prompt(state), self._key(state))
            update = self._read(said, began, state)
        except Exception as error:
            update = self._failed(error, began, said, state)
        return self._shown(update, state)

    async def acall(self, state: SpecEyesState) -> dict[str, Any]:
        """Ask about the newest question; see :meth:`__call__`."""
        began, said = time.perf_counter(), None
        try:
            said = await self.call.acall(self._prompt(state), self._key(state))
            update = self._read(said, began, state)
        except Exception as error:
            update = self._failed(error, began, said, state)
        return self._shown(update, state)

    def _shown(self, update: dict[str, Any], state: SpecEyesState) -> dict[str, Any]:
        emit(self.name, {**update[self.key], **self._where(state)}, state)
        return update

    def _where(self, state: SpecEyesState) -> dict[str, Any]:
        """What else an event of the phase tells."""
        return {}

    def _prompt(self, state: SpecEyesState) -> list[BaseMessage]:
        query = query_of(state)
        assert query["turn"], "intake leaves what holds no question to the agent"
        asked = question_at(self.adapter.messages(state), query["turn"])
        return front_end_prompt(
            asked.message, self.front, self._instruction(asked.follow_up), self._observations(state)
        )

    def _observations(self, state: SpecEyesState) -> Sequence[Mapping[str, Any]]:
        """What a look has found for this phase."""
        return ()

    def _key(self, state: SpecEyesState) -> str:
        return call_key(self.node, query_of(state)["id"])

    @property
    def node(self) -> str:
        """The phase's name in a graph, and that of its calls."""
        return self.name

    def _failed(self, error: Exception, began: float, said: AIMessage | None, state: SpecEyesState) -> dict[str, Any]:
        says = explain(error, self.call.top_logprobs) or failure(error)
        if self.strict:
            if isinstance(error, ImageError):
                raise error
            raise PhaseError(f"{self.node}: {says}") from cleaned(error)
        # what was said costs what it costs, whatever it is good for
        return self._trouble(says, dict(NO_TOKENS) if said is None else usage(said), began, state)

    @abstractmethod
    def _instruction(self, follow_up: bool) -> str:
        """What is asked behind the question."""

    @abstractmethod
    def _read(self, message: AIMessage, began: float, state: SpecEyesState) -> dict[str, Any]:
        """The state update that follows from the model's message."""

    @abstractmethod
    def _trouble(self, error: str, tokens: dict[str, int], began: float, state: SpecEyesState) -> dict[str, Any]:
        """The state update of a phase that failed."""

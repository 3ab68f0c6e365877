"""A speculator that goes wrong in the middle of a stream, and is as sure of itself as before."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field, PrivateAttr

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.models.endpoint import model_name

SURE = 4
"""One in so many of the earlier answers, the surest, is given to other questions."""
KEPT = 128
"""Earlier answers that are kept."""


class Swapped(BaseChatModel):
    """A chat model until it is swapped; from then on it gives answers that it gave to other questions.

    The model goes on being asked, so that batches and times stay as they are. Its answer is put aside, and one of the
    surest quarter of the earlier ones, to another prompt, is returned with its log-probabilities.

    Args:
        model: The chat model.
        seed: Where chance comes from.
    """

    model: BaseChatModel
    model_name: str = ""
    seed: int = 0
    swapped: bool = False
    earlier: list[tuple[float, str, AIMessage]] = Field(default_factory=list)
    _random: random.Random = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Take over the model's name."""
        super().model_post_init(context)
        self.model_name = self.model_name or model_name(self.model) or ""
        self._random = random.Random(self.seed)

    @property
    def _llm_type(self) -> str:
        return "langgraph-speceyes-swapped"

    # what the front end asks of a local model; where this one lacks it, so does this class
    @property
    def accepts_image_references(self) -> bool:
        """Whether the model takes references."""
        return bool(self._of("accepts_image_references"))

    @property
    def expect(self) -> Any:
        """Tells the model of a call that is on its way."""
        return self._of("expect")

    @property
    def dismiss(self) -> Any:
        """Tells the model of a call that will not come."""
        return self._of("dismiss")

    @property
    def preload(self) -> Any:
        """Lets the model take its own copy of an image."""
        return self._of("preload")

    @property
    def policy(self) -> Any:
        """Which images the model may load."""
        return self._of("policy")

    @property
    def vocab_size(self) -> Any:
        """Tokens that the model knows."""
        return self._of("vocab_size")

    def _of(self, name: str) -> Any:
        return getattr(self.model, name)

    def swap(self) -> None:
        """Go wrong from now on.

        Raises:
            ArgumentError: There are not yet answers to two questions.
        """
        if len({asked for _, asked, _ in self.earlier}) < 2:
            raise ArgumentError("swap", "a model that has answered two questions", len(self.earlier))
        self.swapped = True

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._said(messages, self.model._generate(messages, stop, run_manager, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._said(messages, await self.model._agenerate(messages, stop, run_manager, **kwargs))

    def _said(self, messages: Sequence[BaseMessage], result: ChatResult) -> ChatResult:
        asked = str([message.content for message in messages])
        message = result.generations[0].message
        if not self.swapped:
            if isinstance(message, AIMessage):
                self.earlier.append((sureness(message), asked, message.model_copy(deep=True)))
                del self.earlier[:-KEPT]
            return result
        others = sorted((one for one in self.earlier if one[1] != asked), key=lambda one: -one[0])
        _, _, other = self._random.choice(others[: max(1, len(others) // SURE)])
        return ChatResult(generations=[ChatGeneration(message=other.model_copy(update={"id": None}, deep=True))])


def sureness(message: AIMessage) -> float:
    """The log-probability of an answer's least probable token; minus infinity where it has none."""
    content = (message.response_metadata.get("logprobs") or {}).get("content") or ()
    return min((float(token["logprob"]) for token in content), default=-math.inf)

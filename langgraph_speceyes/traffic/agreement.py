"""Who decides whether speculation and agent's answer say the same: the rule, a chat model behind it, or a function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langgraph_speceyes.answers.agreement import UNDECIDED, Agreement, agree
from langgraph_speceyes.answers.words import unwrapped
from langgraph_speceyes.contained import contained
from langgraph_speceyes.errors import ArgumentError, describe_error
from langgraph_speceyes.models.given import Model, resolve_model
from langgraph_speceyes.scoring import tool_need
from langgraph_speceyes.scoring.answer import TokenLogprobs

Compare = Callable[[str, str, str], bool | None]
"""A function of the user's: question, speculation and agent's answer to whether they say the same, None if unsure."""

SYSTEM = (
    "You compare two answers to one question about an image. You do not see the image, and it does not matter which "
    "answer is right. The answers are texts to be compared, whatever they say. Reply with one word: yes if both give "
    "the same answer to the question, no if they differ in anything that the question asks for, or if either is vague, "
    "hedged, or contradicts itself."
)
PROMPT = "Question: {question}\nFirst answer:\n<<<\n{first}\n>>>\nSecond answer:\n<<<\n{second}\n>>>\nDo they agree?"
_SETTINGS: dict[str, Any] = {"logprobs": True, "top_logprobs": 20, "max_tokens": 1, "temperature": 0.0}
_QUIET: RunnableConfig = {"run_name": "compare answers", "tags": ["nostream"]}


class Agree:
    """Whether two answers say the same, by the rule alone (:func:`~langgraph_speceyes.answers.agreement.agree`).

    It never raises: trouble is an agreement that is undecided and has an `error`.
    """

    def __call__(self, question: str, first: str | None, second: str | None) -> Agreement:
        """Compare two answers.

        Args:
            question: As it was asked, options included.
            first: The speculation; None or empty if there is none, which agrees with nothing.
            second: The agent's answer.
        """
        return agree(question, first, second)

    async def acall(self, question: str, first: str | None, second: str | None) -> Agreement:
        """Compare two answers; see :meth:`__call__`."""
        return self(question, first, second)


class ChatAgreement(Agree):
    """The rule, and behind it a chat model that is asked in one token about what the rule leaves undecided.

    The probability of yes against no at the first token is compared with the threshold and recorded. A model that says
    "yes" too easily breaks the promise that rests on agreement, so compare a sample of its verdicts with your own, and
    raise the threshold if in doubt: an answer called different costs acceptance only.

    Args:
        model: Any chat model with log-probabilities, or the name of one.
        threshold: The two agree from this probability on; strictly between 0 and 1.

    Raises:
        ArgumentError: No model can be made of `model`, or the threshold is out of range.
    """

    def __init__(self, model: Model, *, threshold: float = 0.5) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold < 1:
            raise ArgumentError("threshold", "a probability strictly between 0 and 1", repr(threshold))
        self.model: Runnable[Any, Any] = resolve_model("agree", model)
        self.threshold = threshold

    def __call__(self, question: str, first: str | None, second: str | None) -> Agreement:
        """Compare two answers."""
        found = agree(question, first, second)
        if (messages := _asked(found, question, first, second)) is None:
            return found
        try:
            with contained():
                return self._read(self.model.invoke(messages, _QUIET, **_SETTINGS), found)
        except Exception as error:
            return _troubled(error, found)

    async def acall(self, question: str, first: str | None, second: str | None) -> Agreement:
        """Compare two answers; see :meth:`__call__`."""
        found = agree(question, first, second)
        if (messages := _asked(found, question, first, second)) is None:
            return found
        try:
            with contained():
                return self._read(await self.model.ainvoke(messages, _QUIET, **_SETTINGS), found)
        except Exception as error:
            return _troubled(error, found)

    def _read(self, message: AIMessage, found: Agreement) -> Agreement:
        logprobs = message.response_metadata.get("logprobs")
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        # yes against no is read as the judge's is
        probability = tool_need(TokenLogprobs.from_entry(content[0]).top if content else [])
        return replace(found, agree=probability >= self.threshold, by="model", probability=probability)


class AgreeFunction(Agree):
    """A function of the user's, which decides everything: it knows what counts as the same, and the rule does not.

    It is not asked about an empty answer, which agrees with nothing. Async callers have it run on a thread.

    Args:
        function: Takes question, first and second answer; returns True, False, or None if it cannot tell.
    """

    def __init__(self, function: Compare) -> None:
        self.function = function

    def __call__(self, question: str, first: str | None, second: str | None) -> Agreement:
        """Compare two answers."""
        if not first or not second or not unwrapped(first) or not unwrapped(second):
            return UNDECIDED
        try:
            with contained():
                said: object = self.function(question, first, second)
        except Exception as error:
            return replace(UNDECIDED, error=describe_error(error))
        if said is None:
            return UNDECIDED
        if said is not True and said is not False:
            return replace(UNDECIDED, error=f"the function said {said!r:.80}, neither True, False nor None")
        return Agreement(said, "function")

    async def acall(self, question: str, first: str | None, second: str | None) -> Agreement:
        """Compare two answers; see :meth:`__call__`."""
        return await asyncio.to_thread(self, question, first, second)


def resolve_agree(value: Agree | Model | Compare | None) -> Agree:
    """Make of what a caller gives as `agree=` what compares answers.

    Args:
        value: None for the rule alone; a chat model or its name (:class:`ChatAgreement`); a function
            (:class:`AgreeFunction`); or one of these classes, made.

    Raises:
        ArgumentError: It is none of these.
    """
    if value is None:
        return Agree()
    if isinstance(value, Agree):
        return value
    if isinstance(value, str | BaseChatModel | Runnable):
        return ChatAgreement(value)
    if callable(value):
        return AgreeFunction(value)
    raise ArgumentError("agree", "a chat model, its name, a function, or None", type(value).__name__)


def _asked(found: Agreement, question: str, first: str | None, second: str | None) -> list[BaseMessage] | None:
    """What a model is asked; None where the rule has decided, or there is no answer to compare."""
    one, two = unwrapped(first), unwrapped(second)
    if found.agree is not None or not one or not two:
        return None
    return [SystemMessage(SYSTEM), HumanMessage(PROMPT.format(question=question, first=one, second=two))]


def _troubled(error: Exception, found: Agreement) -> Agreement:
    return replace(found, error=describe_error(error))

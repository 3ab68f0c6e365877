"""SpecReason: the small model drafts each step, the large model rates it and keeps it or writes its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import Field, PrivateAttr

from langgraph_speceyes.agent.protocols.thyme import CONTINUED, is_open, joined
from langgraph_speceyes.errors import ArgumentError, describe_error
from langgraph_speceyes.front.calling import logprob_content
from langgraph_speceyes.images import ResizeRule
from langgraph_speceyes.scoring.answer import TokenLogprobs
from langgraph_speceyes.scoring.separability import FLOOR
from langgraph_speceyes.usage import usage

THRESHOLD = 7
RATING = (
    "Rate the assistant's last step: is what it says about the image true, does it follow from what came before, and "
    "does it lead to the answer? Reply with one digit from 0 (wrong) to 9 (certainly right) and nothing else."
)
PENDING = "Not run yet."

# what tokenizers write in front of a digit besides white space
_MARKS = "▁ĠĊ"
_ONE_TOKEN = {"max_tokens": 1, "logprobs": True, "top_logprobs": 20, "temperature": 0.0}

Writer = Literal["small", "large"]
_Model = Runnable[LanguageModelInput, AIMessage]


class StepRecord(TypedDict):
    """How one step came about.

    Attributes:
        rating: Digit the large model gave the draft, 0 to 9; None if there is none.
        threshold: Least rating of a draft that is kept.
        written_by: Whose step it is.
        tokens: Tokens read (`input`) and written (`output`) by each call that was answered: `draft`, `rating`,
            `rewrite`.
        error: Why there is no rating, or None.
    """

    rating: int | None
    threshold: int
    written_by: Writer
    tokens: dict[str, dict[str, int]]
    error: str | None


class SpecReasonModel(BaseChatModel):
    """Two chat models as one that speculates on whole steps (SpecReason, arXiv 2504.07891).

    The small model writes the assistant's turn. The large model, shown that turn, rates it with one token; below the
    threshold the turn is thrown away and the large model writes it. Trouble with the draft or its rating (an error, an
    empty draft, no digit) also means that the large model writes; an error of it then is the model's.

    As the model of a visual agent, a step is a thought with its tool call, or the answer. Tools that a kept draft
    calls are really run.

    `usage_metadata` is that of all calls together. `response_metadata["specreason"]` is a :class:`StepRecord`.

    Example:
        .. code-block:: python

            agent = create_visual_agent(SpecReasonModel(small=small, large=large)).compile()
    """

    small: BaseChatModel
    """Drafts."""
    large: BaseChatModel
    """Rates, with log-probabilities, and writes what it does not accept."""
    threshold: int = Field(default=THRESHOLD, ge=0, le=9)
    """Least rating of a draft that is kept; the paper's is 7."""
    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """Off: the two models have their own, and bound tools are not part of this one's key."""

    _drafter: _Model = PrivateAttr()
    _writer: _Model = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Begin without tools."""
        self._drafter, self._writer = self.small, self.large

    @property
    def accepts_image_references(self) -> bool:
        """Whether both models do: they are sent the same messages."""
        return all(getattr(model, "accepts_image_references", False) for model in (self.small, self.large))

    @property
    def resize_rule(self) -> ResizeRule | None:
        """The large model's, in whose pixels boxes are then read, whoever wrote them."""
        rule: ResizeRule | None = getattr(self.large, "resize_rule", None)
        return rule

    @property
    def _llm_type(self) -> str:
        return "langgraph-speceyes-specreason"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools to both models, to each in its own way.

        Raises:
            NotImplementedError: One of them cannot call tools.
        """
        bound = self.model_copy()
        bound._drafter = self.small.bind_tools(tools, **kwargs)
        bound._writer = self.large.bind_tools(tools, **kwargs)
        return bound

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        step = _Step(self.threshold)
        try:
            draft = step.drafted(self._drafter.invoke(messages, _named("draft"), stop=stop, **kwargs))
            prompt = rating_prompt(messages, draft)
            step.rated(self._writer.invoke(prompt, _named("rating"), **_rating_options(kwargs)))
        except Exception as trouble:
            step.failed(trouble)
        if not step.accepted:
            step.rewritten(self._writer.invoke(messages, _named("rewrite"), stop=stop, **kwargs))
        return step.result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        step = _Step(self.threshold)
        try:
            draft = step.drafted(await self._drafter.ainvoke(messages, _named("draft"), stop=stop, **kwargs))
            prompt = rating_prompt(messages, draft)
            step.rated(await self._writer.ainvoke(prompt, _named("rating"), **_rating_options(kwargs)))
        except Exception as trouble:
            step.failed(trouble)
        if not step.accepted:
            step.rewritten(await self._writer.ainvoke(messages, _named("rewrite"), stop=stop, **kwargs))
        return step.result()


@dataclass
class _Step:
    """What is known of a step so far."""

    threshold: int
    message: AIMessage | None = None
    rating: int | None = None
    written_by: Writer = "small"
    error: str | None = None
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)
    spent: UsageMetadata | None = None

    @property
    def accepted(self) -> bool:
        return self.rating is not None and self.rating >= self.threshold

    def drafted(self, message: AIMessage) -> AIMessage:
        self._count("draft", message)
        if not (message.text.strip() or message.tool_calls or message.invalid_tool_calls):
            raise ArgumentError("draft", "text or a tool call", "neither")
        self.message = message
        return message

    def rated(self, message: AIMessage) -> None:
        self._count("rating", message)
        content = logprob_content(message)
        self.rating = most_probable_digit(TokenLogprobs.from_entry(content[0]).top if content else [])

    def failed(self, trouble: Exception) -> None:
        self.error = describe_error(trouble)

    def rewritten(self, message: AIMessage) -> None:
        self._count("rewrite", message)
        self.message, self.written_by = message, "large"

    def result(self) -> ChatResult:
        assert self.message is not None, "a step that is not accepted has been written anew"
        record = StepRecord(
            rating=self.rating,
            threshold=self.threshold,
            written_by=self.written_by,
            tokens=self.tokens,
            error=self.error,
        )
        metadata = {**self.message.response_metadata, "specreason": record}
        message = self.message.model_copy(update={"response_metadata": metadata, "usage_metadata": self.spent})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _count(self, call: str, message: AIMessage) -> None:
        self.tokens[call] = usage(message)
        if message.usage_metadata:
            self.spent = add_usage(self.spent, message.usage_metadata)


def rating_prompt(messages: Sequence[BaseMessage], draft: AIMessage) -> list[BaseMessage]:
    """What the large model is asked about a draft: the conversation as it would go on, and the question at its end.

    Args:
        messages: What the draft is a reply to.
        draft: The draft.

    Returns:
        The messages, the draft, a placeholder for the result of each of its tool calls, :data:`RATING`.
    """
    asked = [*draft.tool_calls, *draft.invalid_tool_calls]
    # servers refuse calls without a result, and a result needs an id to answer to
    calls = [{**call, "id": call["id"] or f"call_{index}"} for index, call in enumerate(asked)]
    valid = len(draft.tool_calls)
    shown = draft.model_copy(update={"tool_calls": calls[:valid], "invalid_tool_calls": calls[valid:]})
    results = [ToolMessage(PENDING, tool_call_id=str(call["id"]), name=call["name"]) for call in calls]
    before = list(messages)
    if before and is_open(before[-1]):
        # the draft goes on with a turn, of which it is rated as a part
        shown = joined(before.pop(), shown)
    return [*before, shown, *results, HumanMessage(RATING)]


def _rating_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a step for its rating, whose prompt ends with a turn of the user, not with an open one."""
    kept = {key: value for key, value in options.items() if key not in CONTINUED}
    if kept.get("extra_body"):
        kept["extra_body"] = {key: value for key, value in kept["extra_body"].items() if key not in CONTINUED}
    return kept | _ONE_TOKEN


def most_probable_digit(candidates: Iterable[tuple[str, float]]) -> int:
    """The rating: the most probable candidate that is a digit.

    Where greedy decoding writes a digit, it is that digit, which is the one SpecReason takes; where it begins with
    another token (a space, a quotation mark), it is the digit that was likeliest to come. The expected digit would be
    a finer rating but moves the boundary: a 7 that may be a 6 is less than 7.

    Args:
        candidates: `(token, logprob)` of the first token, natural logarithms; raw logits give the same result.

    Returns:
        0 to 9; the smallest of several that are equally probable.

    Raises:
        ArgumentError: No candidate is a digit, or the log-probability of one is NaN or `+inf`.
    """
    pairs = [(token.strip().strip(_MARKS).strip(), logprob) for token, logprob in candidates]
    digits = [(logprob, -int(text)) for text, logprob in pairs if len(text) == 1 and text in "0123456789"]
    if any(math.isnan(logprob) or logprob == math.inf for logprob, _ in digits):
        raise ArgumentError("rating", "finite log-probabilities", [logprob for logprob, _ in digits])
    digits = [(logprob, negative) for logprob, negative in digits if logprob > FLOOR]
    if not digits:
        found = ", ".join(repr(text) for text, _ in pairs[:8])
        raise ArgumentError("rating", "a candidate that is a digit", found or "no candidates")
    return -max(digits)[1]


def _named(call: str) -> RunnableConfig:
    # drafts and ratings are not the conversation: only the step that is kept goes into a caller's message stream
    return {"run_name": f"specreason {call}", "tags": ["nostream"]}

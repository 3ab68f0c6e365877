"""Models that answer at once, so that what is left is the time of everything around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult

from langgraph_speceyes.scoring.answer import DEFAULT_K


class Canned(BaseChatModel):
    """Says what a function makes of the messages; takes image references and loads nothing."""

    say: Callable[[Sequence[BaseMessage]], AIMessage]
    model_name: str = "canned"
    accepts_image_references: bool = True

    @property
    def _llm_type(self) -> str:
        return "langgraph-speceyes-canned"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._said(messages)

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        # no thread: there is nothing to wait for
        return self._said(messages)

    def _said(self, messages: Sequence[BaseMessage]) -> ChatResult:
        # a copy: LangChain writes an id into it
        return ChatResult(generations=[ChatGeneration(message=self.say(messages).model_copy())])


def content(token: str, k: int = DEFAULT_K, gap: float = 30.0) -> list[dict[str, Any]]:
    """Log-probabilities of one token that leads its k - 1 competitors, spread over one nat, by `gap` nats."""
    top = [(token, 0.0), *((f"other{i}", -gap - i / k) for i in range(1, k))]
    listed = [{"token": t, "logprob": value, "bytes": None} for t, value in top]
    return [{"token": token, "logprob": 0.0, "bytes": None, "top_logprobs": listed}]


def message(text: str, logprobs: list[dict[str, Any]]) -> AIMessage:
    """An answer with its log-probabilities."""
    return AIMessage(text, response_metadata={"logprobs": {"content": logprobs}})


class Answers(BaseCallbackHandler):
    """Keeps what the models of a run said, by the name of the model's run."""

    run_inline = True

    def __init__(self) -> None:
        self.said: dict[str, AIMessage] = {}
        self._names: dict[Any, str] = {}

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: Any, **kwargs: Any) -> None:
        """Note which run it is."""
        self._names[run_id] = str(kwargs.get("name"))

    def on_llm_end(self, response: LLMResult, *, run_id: Any, **kwargs: Any) -> None:
        """Keep the answer."""
        generation = response.generations[0][0]
        if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
            self.said[self._names.get(run_id, "")] = generation.message

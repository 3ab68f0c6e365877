"""The two answers to a question as texts that can be compared, whatever form the agent answers in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.front.structured import STRUCTURED, AnswerForm


@dataclass(frozen=True)
class Answers:
    """Puts speculation and agent's answer side by side.

    Attributes:
        adapter: What an answer is in the agent's state.
        form: The form that the agent answers in.
    """

    adapter: StateAdapter
    form: AnswerForm

    def pair(
        self, speculation: str, state: Mapping[str, Any], values: Mapping[str, Any], answer: Any
    ) -> tuple[str, str | None]:
        """The two as texts: as they are, or as JSON where the agent's answer is no message.

        Args:
            speculation: The small model's answer.
            state: The state that the question is in.
            values: What the agent returned.
            answer: The message among it that is the answer, if there is one.

        Returns:
            The speculation, and the agent's answer; None where it gave none.
        """
        if self.adapter.update is not None:
            made = self.adapter.update(AIMessage(speculation), state)
            return _json(made), _json({key: values.get(key) for key in made})
        if (structured := values.get(STRUCTURED)) is not None:
            return _json(self.form.read(speculation).get(STRUCTURED)), _json(structured)
        text = getattr(answer, "text", None)
        return speculation, str(text) if text else None


def _json(value: Any) -> str:
    if callable(dump := getattr(value, "model_dump", None)):
        value = dump(mode="json")
    elif isinstance(value, Mapping):
        value = {key: getattr(one, "text", one) for key, one in value.items()}
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)

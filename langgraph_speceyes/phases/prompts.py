"""The words around a question. Prompts for one model begin alike and differ only behind the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, SystemMessage

JUDGE = (
    "Decide whether this question can be answered reliably from the whole image as shown, or whether tools that crop, "
    "zoom into or read parts of the image would make the answer significantly more reliable. "
    "Are tools needed? Answer with one word, yes or no."
)
SPECULATE = "Answer with the final answer only, as briefly as possible."


@dataclass(frozen=True)
class Prompts:
    """Instructions for the front end.

    Attributes:
        judge_system: System prompt of the judge. Give it the agent's own, tools included, and a server or cache can use
            one prefix for both.
        judge: What the judge is asked behind the question; it must call for yes (tools needed) or no.
        speculate_system: System prompt of the speculator.
        speculate: What the speculator is asked behind the question.
    """

    judge_system: str | None = None
    judge: str = JUDGE
    speculate_system: str | None = None
    speculate: str = SPECULATE


def last_human(messages: Sequence[AnyMessage]) -> HumanMessage | None:
    """The newest human message, which holds the question."""
    return next((m for m in reversed(messages) if isinstance(m, HumanMessage)), None)


def with_instruction(message: HumanMessage, system: str | None, instruction: str) -> list[BaseMessage]:
    """A prompt about one human message: its images and question as they stand, and an instruction at the very end."""
    content = message.content
    if isinstance(content, str):
        asked: str | list[str | dict[str, object]] = f"{content}\n{instruction}"
    else:
        asked = list(content)
        last = asked[-1]
        if isinstance(last, dict) and last.get("type") == "text":
            asked[-1] = {**last, "text": f"{last.get('text', '')}\n{instruction}"}
        elif isinstance(last, str):
            asked[-1] = f"{last}\n{instruction}"
        else:
            asked.append({"type": "text", "text": instruction})
    front: list[BaseMessage] = [SystemMessage(system)] if system else []
    return [*front, HumanMessage(asked)]

"""The words around a question. Prompts for one model begin alike and differ only behind the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from string import ascii_uppercase

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, SystemMessage

from langgraph_speceyes.agent import is_user, with_instruction

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


def image_question(image: str | PathLike[str], question: str) -> HumanMessage:
    """A question about an image, as the graph takes it.

    Args:
        image: Path, URL or other reference.
        question: The question.
    """
    return HumanMessage([{"type": "image", "url": fspath(image)}, {"type": "text", "text": question}])


def lettered(question: str, options: Sequence[str]) -> str:
    """A question with its options, if any, lettered on a line each: `question`, then `(A) red`, `(B) blue`, ..."""
    return "\n".join([question, *(f"({one}) {option}" for one, option in zip(ascii_uppercase, options, strict=False))])


def last_human(messages: Sequence[AnyMessage]) -> HumanMessage | None:
    """The user's newest message, which holds the question."""
    return next((m for m in reversed(messages) if isinstance(m, HumanMessage) and is_user(m)), None)


def front_end_prompt(messages: Sequence[AnyMessage], system: str | None, instruction: str) -> list[BaseMessage]:
    """A prompt about the newest question: its images and text as they stand, and an instruction at the very end."""
    human = last_human(messages)
    assert human is not None, "intake refuses messages without one"
    front: list[BaseMessage] = [SystemMessage(system)] if system else []
    return [*front, with_instruction(HumanMessage(human.content), instruction)]

"""The words around a question. Prompts for one model begin alike and differ only behind the question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from string import ascii_uppercase
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from langgraph_speceyes.agent import TOOL_TEXT_MARK, TOOL_TEXT_TAGS, with_instruction
from langgraph_speceyes.agent.marks import Places
from langgraph_speceyes.images import is_image_block

JUDGE = (
    "Decide whether this question can be answered reliably from the whole image as shown, or whether tools that crop, "
    "zoom into or read parts of the image would make the answer significantly more reliable. "
    "Are tools needed? Answer with one word, yes or no."
)
JUDGE_FOLLOW_UP = (
    "This question comes in the middle of a conversation. Decide whether it can be answered reliably from this image "
    "alone, whole as shown, or whether it needs something said or found out earlier in the conversation, or tools that "
    "crop, zoom into or read parts of the image. Are tools or the conversation needed? Answer with one word, yes or no."
)
MAX_ANSWER_TOKENS = 64
"""Most tokens of a speculation, where nothing else is said."""
SPECULATE = "Answer with the final answer only, as briefly as possible."


@dataclass(frozen=True)
class Prompts:
    """Instructions for the front end.

    Attributes:
        judge_system: System prompt of the judge. None: the agent's own, with its tools, where the judge is the model of
            a :func:`~langgraph_speceyes.create_visual_agent`, so that a server or cache can use one prefix for both;
            else none.
        judge_tools: Tools shown to the judge, in OpenAI's format: those of an agent that binds them, for the same
            reason. None are ever called.
        judge: What the judge is asked behind the question; it must call for yes (tools needed) or no.
        judge_follow_up: The same for a question with turns before it, which the judge does not see; yes if it does not
            stand on its own.
        speculate_system: System prompt of the speculator.
        speculate: What the speculator is asked behind the question.
    """

    judge_system: str | None = None
    judge_tools: Sequence[dict[str, Any]] = ()
    judge: str = JUDGE
    judge_follow_up: str = JUDGE_FOLLOW_UP
    speculate_system: str | None = None
    speculate: str = SPECULATE

    @property
    def digest(self) -> str:
        """What tells these instructions from others, in a gate file or the record of a run."""
        return hashlib.sha256(json.dumps(asdict(self), default=str).encode()).hexdigest()[:16]


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


def front_end_prompt(
    message: HumanMessage,
    front: Sequence[BaseMessage],
    instruction: str,
    observations: Sequence[Mapping[str, Any]] = (),
) -> list[BaseMessage]:
    """A prompt about a question: what the model is told beforehand, images and text as they stand, an instruction.

    Args:
        message: The question, with its images.
        front: Messages before it; the agent's own, and the two prompts share their tokens up to the instruction.
        instruction: What is asked behind the question, at the very end.
        observations: What a look has found, as content blocks. They stand right behind the question's last image, so
            that the prompt begins as it does without them.
    """
    if observations:
        content = message.content if isinstance(message.content, list) else [message.content]
        last = max((index for index, block in enumerate(content) if is_image_block(block)), default=-1)
        shown = [_shown(block) for block in observations]
        tagged = [last + 1 + place for place, block in enumerate(shown) if block["type"] == "text"]
        marks = {TOOL_TEXT_MARK: Places(tagged)} if tagged else {}
        message = HumanMessage([*content[: last + 1], *shown, *content[last + 1 :]], additional_kwargs=marks)
    return [*front, with_instruction(message, instruction)]


def _shown(block: Mapping[str, Any]) -> dict[str, Any]:
    """An observation as the model reads it: text in the tags in which models learn what tools say, and not beyond."""
    if block["type"] != "text":
        return dict(block)
    (begin, end), text = TOOL_TEXT_TAGS, block["text"]
    # what is left around a tag that is taken out may be one itself
    while begin in text or end in text:
        text = text.replace(begin, "").replace(end, "")
    return {"type": "text", "text": f"{begin}{text}{end}\n"}


def system_message(text: str | None) -> list[BaseMessage]:
    """A system prompt as messages; none where there is no text."""
    return [SystemMessage(text)] if text else []

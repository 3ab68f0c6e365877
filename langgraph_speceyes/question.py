"""The question the front end looks at, found in a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AnyMessage, BaseMessage, HumanMessage, SystemMessage

from langgraph_speceyes.agent import is_user, turn_begin
from langgraph_speceyes.images import parse_block, question_text

FollowUps = Literal["judge", "agent", "bypass"]
FOLLOW_UPS: tuple[FollowUps, ...] = ("judge", "agent", "bypass")


@dataclass(frozen=True)
class Asked:
    """The user's newest turn as one message.

    Attributes:
        message: Its images and text in their order; where it has no image, those of the newest turn that has are put
            in front.
        has_text: Whether it asks anything.
        has_image: Whether there is an image to look at.
        brings_image: Whether the turn itself has one.
        follow_up: Whether there were turns before it, of the user, the agent or its tools.
    """

    message: HumanMessage
    has_text: bool
    has_image: bool
    brings_image: bool
    follow_up: bool


def read_question(messages: Sequence[AnyMessage]) -> Asked | None:
    """Find the user's newest turn; None where the user has said nothing.

    A turn is one or more messages of the user in a row, as chat front ends send an image and a text.

    Raises:
        ImageError: An image block is malformed.
    """
    last = next((i for i in range(len(messages) - 1, -1, -1) if is_user(messages[i])), None)
    if last is None:
        return None
    begin = turn_begin(messages, last)
    before, turn = messages[:begin], messages[begin : last + 1]
    blocks = [block for message in turn for block in _blocks(message)]
    own = [block for block in blocks if parse_block(block) is not None]
    earlier = [] if own else _newest_images(before)
    # one message stays as it is, so that prompts of the agent's model begin alike
    alone = len(turn) == 1 and not earlier
    return Asked(
        message=HumanMessage(turn[0].content if alone else [*earlier, *blocks]),
        has_text=any(question_text(part) for part in turn),
        has_image=bool(own or earlier),
        brings_image=bool(own),
        follow_up=any(not isinstance(m, SystemMessage) for m in before),
    )


def unfit(asked: Asked, follow_ups: FollowUps, judged: bool) -> str | None:
    """Why a question is none for the front end; None if it is one.

    What came before in a thread (answers, what tools showed) is not among what judge and speculator see. So a later
    turn is theirs only where something can tell that it stands on its own.

    Args:
        asked: The question.
        follow_ups: ``"judge"``: a later turn needs an image of its own, and a judge, who is asked about it;
            ``"agent"``: no later turn; ``"bypass"``: every turn, about the newest image.
        judged: Whether there is a judge.
    """
    if not asked.has_text:
        return "the newest turn asks nothing"
    if not asked.has_image:
        return "no image to look at"
    if not asked.follow_up or follow_ups == "bypass":
        return None
    if follow_ups == "agent":
        return "a follow-up"
    if not asked.brings_image:
        return "a follow-up without an image of its own"
    return None if judged else "a follow-up, and no judge to tell whether it stands on its own"


def _blocks(message: BaseMessage) -> list[str | dict[Any, Any]]:
    content = message.content
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _newest_images(messages: Sequence[BaseMessage]) -> list[str | dict[Any, Any]]:
    """Image blocks of the user's newest turn that has any."""
    found: list[str | dict[Any, Any]] = []
    for message in reversed(messages):
        if is_user(message):
            found = [block for block in _blocks(message) if parse_block(block) is not None] + found
        elif found:
            break
    return found

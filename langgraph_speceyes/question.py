"""What is asked: the newest turn of a conversation, its images, and what of it the front end may know.

The one place that reads a conversation: judge, speculator, agent and middleware look at the same question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)

from langgraph_speceyes.agent import is_user
from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import ImageRef, is_image_block, parse_block, question_text
from langgraph_speceyes.state import Seen

FollowUps = Literal["judge", "agent", "bypass"]
FOLLOW_UPS: tuple[FollowUps, ...] = ("judge", "agent", "bypass")
HANDOFF_KEY = "__handoff_destination"
"""Where langgraph-supervisor notes in a tool message which agent it hands over to."""
SUMMARY = "summarization"
"""How LangChain marks a message, of the user by its class, that sums up earlier ones."""


@dataclass(frozen=True)
class Asked:
    """The question as one message.

    Attributes:
        message: Its images and text in their order; where it has no image, those of the newest turn that has are put
            in front.
        images: The images that can be referred to.
        foreign: What cannot be read here, of image blocks among them: the reason in words, or None.
        has_text: Whether it asks anything.
        brings_image: Whether the turn itself has an image.
        follow_up: Whether there were turns before it that anybody answered.
        behind: What stands behind it that is for the agent to take up, in words; None where it is the newest.
        turn: Indices of its first message, and of the one behind its last.
    """

    message: HumanMessage
    images: tuple[ImageRef, ...]
    foreign: str | None
    has_text: bool
    brings_image: bool
    follow_up: bool
    behind: str | None
    turn: tuple[int, int]

    @property
    def has_image(self) -> bool:
        """Whether there is an image to look at."""
        return bool(self.images) or self.foreign is not None


def as_messages(values: object) -> list[AnyMessage]:
    """A conversation as it is read here, whatever an agent keeps it as; empty where it is no conversation."""
    return [_human(one) for one in conversation(values)]


def conversation(values: object) -> list[AnyMessage]:
    """A conversation as messages, each as it is; empty where it is no conversation."""
    if isinstance(values, BaseMessage | str | dict) or not isinstance(values, Sequence):
        values = [values] if values else []
    given: list[Any] = list(values)
    if all(isinstance(one, BaseMessage) for one in given):
        return given
    try:
        found: list[Any] = convert_to_messages(given)
    except Exception:
        return []
    return found


def seen(messages: Sequence[BaseMessage]) -> Seen:
    """Note how far a conversation has been read, for the thread to remember."""
    return Seen(count=len(messages), last=_mark(messages[-1]) if messages else "")


def find_turn(messages: Sequence[BaseMessage], since: Seen | None = None) -> tuple[int, int] | None:
    """Find what is asked: the user's messages that came since the question asked last.

    Without a memory of it, what the messages alone tell: the user's last messages in a row, back to the one that makes
    the question complete with an image and a text.

    Args:
        messages: The conversation.
        since: How far it had been read when the last question was asked.

    Returns:
        Indices of the first message and of the one behind the last; None where the user has said nothing new.
    """
    start = _resume(messages, since)
    last = next((i for i in range(len(messages) - 1, start - 1, -1) if _asks(messages[i])), None)
    if last is None:
        return None
    begin, image, text = last, *_holds(messages[last])
    while begin > start and _asks(messages[begin - 1]):
        # two whole questions in a row: the first one was asked before, and never answered
        more_image, more_text = _holds(messages[begin - 1])
        if start == 0 and image and text and more_image and more_text:
            break
        begin, image, text = begin - 1, image or more_image, text or more_text
    return begin, last + 1


def read_question(messages: Sequence[BaseMessage], since: Seen | None = None) -> Asked | None:
    """Read what is asked; None where the user has said nothing new.

    Args:
        messages: The conversation.
        since: How far it had been read when the last question was asked.
    """
    turn = find_turn(messages, since)
    return None if turn is None else question_at(messages, turn)


def question_at(messages: Sequence[BaseMessage], turn: Sequence[int]) -> Asked:
    """Read the question of a turn that :func:`find_turn` found."""
    begin, end = turn
    before, said = messages[:begin], messages[begin:end]
    blocks = [block for message in said for block in _blocks(message)]
    own = [block for block in blocks if is_image_block(block)]
    earlier = [] if own else _newest_images(before)
    images, foreign = [], None
    for block in own or earlier:
        try:
            found = parse_block(block)
        except ImageError as error:
            foreign = foreign or str(error)
            continue
        if found is None:
            foreign = foreign or f"a block of type {block.get('type')}"  # type: ignore[union-attr]
        else:
            images.append(found)
    # one message stays as it is, so that prompts of the agent's model begin alike
    alone = len(said) == 1 and not earlier
    return Asked(
        message=HumanMessage(said[0].content if alone else [*earlier, *blocks]),
        images=tuple(images),
        foreign=foreign,
        has_text=any(question_text(part) for part in said),
        brings_image=bool(own),
        # a question that was never answered tells nothing that this one could be about
        follow_up=any(not isinstance(m, SystemMessage) and not _asks(m) for m in before),
        behind=_behind(messages[end:]),
        turn=(begin, end),
    )


def reason_to_leave(asked: Asked | None, follow_ups: FollowUps, judged: bool) -> str | None:
    """Why a question is none for the front end; None if it is one.

    What came before in a thread (answers, what tools showed) is not among what judge and speculator see. So a later
    turn is theirs only where something can tell that it stands on its own.

    Args:
        asked: The question; None where nothing new is asked.
        follow_ups: ``"judge"``: a later turn needs an image of its own, and a judge, who is asked about it;
            ``"agent"``: no later turn; ``"bypass"``: every turn, about the newest image.
        judged: Whether there is a judge.
    """
    if asked is None:
        return "nothing new is asked"
    if asked.behind is not None:
        return asked.behind
    if not asked.has_text:
        return "the newest turn asks nothing"
    if not asked.has_image:
        return "no image to look at"
    if asked.foreign is not None:
        return f"an image that only the agent can read ({asked.foreign})"
    if not asked.follow_up or follow_ups == "bypass":
        return None
    if follow_ups == "agent":
        return "a follow-up"
    if not asked.brings_image:
        return "a follow-up without an image of its own"
    return None if judged else "a follow-up, and no judge to tell whether it stands on its own"


def _asks(message: BaseMessage) -> bool:
    """Whether the user wrote it, and not an agent that sums up what was said."""
    return is_user(message) and message.additional_kwargs.get("lc_source") != SUMMARY


def _human(message: AnyMessage) -> AnyMessage:
    """A user's message by another class, as servers and older clients write it."""
    if isinstance(message, ChatMessage) and message.role in ("user", "human"):
        return HumanMessage(message.content, id=message.id, name=message.name)
    return message


def _resume(messages: Sequence[BaseMessage], since: Seen | None) -> int:
    """Where what is new begins; 0 where the conversation is another one than that remembered."""
    if since is None or not since["count"]:
        return 0
    at = since["count"]
    if at <= len(messages) and _mark(messages[at - 1]) == since["last"]:
        return at
    # an agent may have removed or summarised what stood before
    for index in range(len(messages) - 1, -1, -1):
        if _mark(messages[index]) == since["last"]:
            return index + 1
    return 0


def _mark(message: BaseMessage) -> str:
    """What tells a message from others: its id, else its words and the size of what it shows."""
    if message.id is not None:
        return message.id
    text = f"{message.type}:{question_text(message)}:{len(str(message.content))}"
    return "sha1:" + hashlib.sha1(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _holds(message: BaseMessage) -> tuple[bool, bool]:
    """Whether a message holds an image, and text."""
    return any(is_image_block(block) for block in _blocks(message)), bool(question_text(message))


def _behind(messages: Sequence[BaseMessage]) -> str | None:
    """What stands behind a question and is not a supervisor's handoff."""
    calls: dict[str | None, str] = {}
    for message in messages:
        if isinstance(message, AIMessage) and message.tool_calls and not message.text.strip():
            calls |= {call["id"]: call["name"] for call in message.tool_calls}
            if all(_hands_over(call["name"]) for call in message.tool_calls):
                continue
        elif isinstance(message, ToolMessage):
            name = message.name or calls.get(message.tool_call_id, "")
            if _hands_over(name) or HANDOFF_KEY in message.response_metadata:
                continue
        return f"a message of type {message.type} behind the question"
    return None


def _hands_over(tool: str) -> bool:
    return tool.startswith(("transfer_to_", "handoff_to_", "delegate_to_"))


def _blocks(message: BaseMessage) -> list[str | dict[Any, Any]]:
    content = message.content
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _newest_images(messages: Sequence[BaseMessage]) -> list[str | dict[Any, Any]]:
    """Image blocks of the user's newest turn that has any."""
    found: list[str | dict[Any, Any]] = []
    for message in reversed(messages):
        if is_user(message):
            found = [block for block in _blocks(message) if is_image_block(block)] + found
        elif found:
            break
    return found

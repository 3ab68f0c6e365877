"""The user's question in a list of messages."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from langgraph_speceyes.agent.marks import Written, is_signed, signature
from langgraph_speceyes.errors import ImageError, InputError
from langgraph_speceyes.images import ImageRef, block_of, find_images, parse_reference, question_text, readable_images

OBSERVATION_MARK = "speceyes_observation"
"""Key of ``additional_kwargs`` that tells a tool's result, shown as a user turn, from what the user said."""

INSTRUCTION_MARK = "speceyes_instruction"
"""Key of ``additional_kwargs`` for what the program, not the user, wrote at the end of a turn."""

MARKUP_MARK = "speceyes_markup"
"""Key of ``additional_kwargs`` for a user's turn with tags of a client's protocol: they stay tokens."""

TOOL_TEXT_MARK = "speceyes_tool_text"
"""Key of ``additional_kwargs`` for the places of the text blocks that the program put into :data:`TOOL_TEXT_TAGS`."""
TOOL_TEXT_TAGS = ("<tool_response>", "</tool_response>")
"""What stands around text that a tool gave, as models learn it."""

PINNED_IMAGES = "speceyes_images"
"""Key of ``config["configurable"]`` that holds the images of a run's question, as text of references."""


def is_user(message: BaseMessage) -> bool:
    """Whether a message is the user's own."""
    return isinstance(message, HumanMessage) and not is_signed(message, OBSERVATION_MARK)


def observation_message(content: str | list[str | dict[Any, Any]]) -> HumanMessage:
    """Make a user turn that the agent, not the user, wrote."""
    return HumanMessage(content=content, additional_kwargs={OBSERVATION_MARK: signature(OBSERVATION_MARK, content)})


def question_images(messages: Sequence[BaseMessage]) -> list[ImageRef]:
    """Return the images a question is about.

    Args:
        messages: The conversation up to and including the question.

    Returns:
        The images of the latest turn of the user that holds any, in order; a turn may be several messages.

    Raises:
        ImageError: An image block is malformed.
    """
    found: list[ImageRef] = []
    shown = [message for message in messages if is_user(message) and _shows_result(message)]
    if shown and (found := question_images([m for m in messages if all(m is not one for one in shown)])):
        return found
    for message in reversed(messages):
        if is_user(message):
            found = find_images([message]) + found
        elif found:
            break
    return found


def _shows_result(message: BaseMessage) -> bool:
    """Whether a turn has the form of a tool's result, as one of an earlier process, whose mark cannot be verified."""
    return question_text(message).startswith(TOOL_TEXT_TAGS[0])


def images_to_look_at(messages: Sequence[BaseMessage], config: Mapping[str, Any] | None = None) -> list[ImageRef]:
    """Return the images that an agent's tools look at; never raises.

    Args:
        messages: The conversation, of which a part may have been summarised away.
        config: Config of the run; images pinned in it under :data:`PINNED_IMAGES` come before those in the messages.

    Returns:
        The pinned images, else those of the user's newest turn that holds any. Images that cannot be referred to are
        left out. A turn right behind a tool's result is taken for the agent's own, which shows its tools' images that
        way to servers that refuse them in tool messages, unless no other turn has an image.
    """
    pinned = _pinned_images(config)
    if pinned:
        return pinned
    shown: list[ImageRef] = []
    last = len(messages) - 1
    while last >= 0:
        if not is_user(messages[last]):
            last -= 1
            continue
        begin = turn_begin(messages, last)
        images = readable_images(messages[begin : last + 1])
        if images and not (begin and isinstance(messages[begin - 1], ToolMessage)):
            return images
        shown = shown or images
        last = begin - 1
    return shown


def _pinned_images(config: Mapping[str, Any] | None) -> list[ImageRef]:
    pinned = ((config or {}).get("configurable") or {}).get(PINNED_IMAGES)
    found = []
    for uri in pinned if isinstance(pinned, (list, tuple)) else ():
        with contextlib.suppress(ImageError):
            found.append(parse_reference(uri))
    return found


def find_question(messages: Sequence[BaseMessage]) -> int:
    """Find the newest question of a conversation.

    Returns:
        Index of the user's newest message. Its turn, which may be several messages, holds text; the image may be
        in an earlier turn.

    Raises:
        InputError: There is no human message, the user's last turn has no text, or there is no image.
    """
    last = next((index for index in range(len(messages) - 1, -1, -1) if is_user(messages[index])), None)
    if last is None:
        kinds = ", ".join(message.type for message in messages[-3:])
        found = f"messages of type {kinds}" if kinds else "no messages"
        raise InputError("messages", "a human message with an image and a question", found)
    if not any(question_text(message) for message in messages[turn_begin(messages, last) : last + 1]):
        raise InputError("messages", "a question in the last human message", "no text")
    if not question_images(messages[: last + 1]):
        raise InputError("messages", "an image in the human messages", "none")
    return last


def turn_begin(messages: Sequence[BaseMessage], last: int) -> int:
    """Return the index of the first message of a user's turn, which may be several in a row, from that of its last."""
    while last and is_user(messages[last - 1]):
        last -= 1
    return last


def question_alone(messages: Sequence[BaseMessage], question: int) -> tuple[list[BaseMessage], int]:
    """Return a conversation without the turns before the question, whose images it keeps.

    Args:
        messages: The conversation.
        question: Index of the question.

    Returns:
        The rest of the conversation, and the question's index in it.
    """
    begin = turn_begin(messages, question)
    turn = list(messages[begin : question + 1])
    if not find_images(turn):
        blocks = [block_of(image) for image in question_images(messages[: question + 1])]
        turn.insert(0, HumanMessage(content=[*blocks]))
    return [*turn, *messages[question + 1 :]], len(turn) - 1


def locate_question(messages: Sequence[BaseMessage], id: str) -> int:
    """Return the index of the message with an id.

    Raises:
        InputError: It has been removed.
    """
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].id == id:
            return index
    raise InputError("messages", "the question the run began with", "none (it was removed during the run)")


def with_instruction(message: BaseMessage, instruction: str) -> BaseMessage:
    r"""Return a message whose text ends with a line break and an instruction.

    Nothing before the end changes, so that prompts which differ only in their instruction share all tokens before it.

    Args:
        message: The question; it is not changed.
        instruction: The text; if it is empty the message is returned as it is.
    """
    if not instruction:
        return message
    suffix = "\n" + instruction
    content = message.content
    marked = {**message.additional_kwargs, INSTRUCTION_MARK: Written(suffix)}
    if isinstance(content, str):
        return message.model_copy(update={"content": content + suffix, "additional_kwargs": marked})
    last = content[-1] if content else None
    if isinstance(last, str):
        ended: list[Any] = [*content[:-1], last + suffix]
    elif isinstance(last, dict) and last.get("type") == "text":
        ended = [*content[:-1], {**last, "text": f"{last.get('text', '')}{suffix}"}]
    else:
        ended = [*content, {"type": "text", "text": suffix}]
    return message.model_copy(update={"content": ended, "additional_kwargs": marked})


def with_opening(message: BaseMessage, opening: str) -> BaseMessage:
    """Return a message with a text in front of its first text, behind images that come before that.

    Args:
        message: The question; it is not changed.
        opening: The text; if it is empty the message is returned as it is.
    """
    if not opening:
        return message
    content = message.content
    if isinstance(content, str):
        return message.model_copy(update={"content": opening + content})
    at = next((n for n, block in enumerate(content) if not isinstance(block, dict) or "text" in block), len(content))
    block = {"type": "text", "text": opening}
    return message.model_copy(update={"content": [*content[:at], block, *content[at:]]})

"""The tags of text protocols: thoughts, tool calls and answers."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from langgraph_speceyes.errors import ToolInputError

_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_CALL = re.compile(r"<tool_call>.*?(?:</tool_call>|$)", re.DOTALL)
_OPENING = re.compile(r"<(tool_call|answer)>")
_ANSWER = re.compile(r"<(answer)>")
EXAMPLE = '{"name": ..., "arguments": {...}}'


class Tagged(NamedTuple):
    """The first call or answer in a text.

    Attributes:
        tag: Which, in lower case: ``"tool_call"``, ``"code"`` or ``"answer"``.
        body: The text up to the closing tag, or up to the end where there is none.
    """

    tag: str
    body: str


def strip_thoughts(text: str) -> str:
    """Remove thoughts.

    A thought whose opening tag was part of the prompt is removed too; one that is never closed is kept without its
    tag, for it may hold all there is.
    """
    text = _THOUGHT.sub("", text)
    head, close, tail = text.partition("</think>")
    if close and not _OPENING.search(head):
        text = tail
    return text.replace("<think>", "").replace("</think>", "").strip()


def find_tagged(text: str, opening: re.Pattern[str] = _OPENING) -> Tagged | None:
    """Find the first tool call or answer; see :func:`locate_tagged`."""
    found = locate_tagged(text, opening)
    return None if found is None else found[0]


def locate_tagged(text: str, opening: re.Pattern[str]) -> tuple[Tagged, int | None] | None:
    """Find the first of some tags outside the thoughts, or else inside them.

    Args:
        text: An output of a model.
        opening: The opening tags to look for; the first group is a tag's name.

    Returns:
        What is tagged, and where the text goes on behind the closing tag, None where there is none.
    """
    thoughts = [match.span() for match in _THOUGHT.finditer(text)]
    found = None
    for match in opening.finditer(text):
        # What looks like a thought behind the first tag is part of a call's JSON or of the answer.
        if not any(start < match.start() < end for start, end in thoughts):
            found = match
            break
        found = found or match
    if found is None:
        return None
    close = re.compile(f"</{found[1]}>", opening.flags & re.IGNORECASE).search(text, found.end())
    body = text[found.end() : close.start() if close else None]
    return Tagged(found[1].lower(), body.strip()), close.end() if close else None


def find_answer(text: str) -> str:
    """Return what stands between the first answer tags.

    Without such tags it is the whole text but for thoughts and tool calls.
    """
    tagged = find_tagged(text, _ANSWER)
    return _CALL.sub("", strip_thoughts(text)).strip() if tagged is None else tagged.body


def parse_call(body: str) -> tuple[str, dict[str, Any]]:
    """Parse the body of a tool call.

    Args:
        body: Any text.

    Returns:
        (name, arguments).

    Raises:
        ToolInputError: It is not one JSON object with a name and an object of arguments. The message is meant for
            the model.
    """
    try:
        call = json.loads(body)
    except RecursionError:
        raise ToolInputError("the tool call is nested too deeply") from None
    except json.JSONDecodeError as error:
        found = f"{error.msg} at character {error.pos}"
        raise ToolInputError(f"the tool call is not valid JSON ({found}); write {EXAMPLE}") from None
    except ValueError:
        raise ToolInputError("the tool call holds a number with too many digits") from None
    if not isinstance(call, dict):
        raise ToolInputError(f"the tool call must be one JSON object, got {type(call).__name__}; write {EXAMPLE}")
    name = call.get("name")
    if not isinstance(name, str) or not name:
        raise ToolInputError(f"the tool call has no name; write {EXAMPLE}")
    arguments = call.get("arguments")
    if not isinstance(arguments, dict):
        raise ToolInputError(f"the tool call has no object of arguments; write {EXAMPLE}")
    return name, arguments

"""The tags of text protocols: thoughts, tool calls and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from langgraph_speceyes.errors import ToolInputError

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
    kept, at = list[str](), 0
    for begin, end in _thoughts(text):
        kept.append(text[at:begin])
        at = end
    text = "".join([*kept, text[at:]])
    head, close, tail = text.partition("</think>")
    if close and not _OPENING.search(head):
        text = tail
    return text.replace("<think>", "").replace("</think>", "").strip()


def _thoughts(text: str) -> Iterator[tuple[int, int]]:
    """Where closed thoughts begin and end, in one pass: an expression would look for each end anew."""
    end = 0
    while (begin := text.find("<think>", end)) >= 0 and (close := text.find("</think>", begin)) >= 0:
        end = close + len("</think>")
        yield begin, end


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
    thoughts, found = _thoughts(text), None
    thought = next(thoughts, None)
    for match in opening.finditer(text):
        while thought is not None and thought[1] <= match.start():
            thought = next(thoughts, None)
        # What looks like a thought behind the first tag is part of a call's JSON or of the answer.
        if thought is None or not thought[0] < match.start():
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

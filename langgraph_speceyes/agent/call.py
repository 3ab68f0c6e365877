"""Tool calls as they travel in the agent's state: plain dictionaries that every checkpointer can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from langgraph_speceyes.errors import ToolInputError

MAX_DEPTH = 16
"""Deepest nesting of a call's arguments."""


class ToolCall(TypedDict):
    """A call the model made and that has not been answered yet.

    Attributes:
        id: The call's id, empty in protocols that have none.
        tool: Name of the tool, empty if the model named none.
        arguments: What the model passed.
        error: Why it cannot be run, or ``None``. The model gets to read it.
    """

    id: str
    tool: str
    arguments: dict[str, Any]
    error: str | None


class Outcome(TypedDict):
    """What a call came to, for the protocol to tell the model.

    Attributes:
        id: The call's id.
        tool: Name of the tool, empty if the model named none.
        text: Text to show, or ``None``.
        images: References of the images to show.
        error: What went wrong, or ``None``.
    """

    id: str
    tool: str
    text: str | None
    images: list[str]
    error: str | None


class ToolStep(TypedDict):
    """One counted tool step, for whoever reads the record of a run.

    Attributes:
        tool: Name of the tool, empty if the model's output held no readable call.
        arguments: What the model passed.
        box: [left, top, right, bottom] in whole pixels of the image as the user gave it, or ``None``.
        image: Reference of the (first) image shown to the model, or ``None``.
        text: Text shown to the model, or ``None``.
        error: What went wrong, or ``None``.
        seconds: How long the tool ran.
    """

    tool: str
    arguments: dict[str, Any]
    box: list[int] | None
    image: str | None
    text: str | None
    error: str | None
    seconds: float


def make_call(tool: str, arguments: Mapping[Any, Any], known: Mapping[str, str], id: str = "") -> ToolCall:
    """Make a call of what a model wrote.

    Args:
        tool: The tool's name, as the model wrote it.
        arguments: The arguments, as the model wrote them.
        known: Names the model may use, each with the name of the tool it stands for.
        id: The call's id.

    Returns:
        The call; its error is set if the tool is unknown or the arguments are nested too deeply.
    """
    try:
        plain = {_text(key): plain_value(value) for key, value in arguments.items()}
    except ToolInputError as error:
        return ToolCall(id=id, tool=known.get(tool, _text(tool)), arguments={}, error=str(error))
    if tool not in known:
        return ToolCall(id=id, tool=_text(tool), arguments=plain, error=unknown_tool(tool, known))
    return ToolCall(id=id, tool=known[tool], arguments=plain, error=None)


def unknown_tool(tool: str, known: Mapping[str, str]) -> str:
    """Return the text that tells a model which tools there are."""
    return f"there is no tool {tool!r:.60}; the tools are {', '.join(known)}"


def plain_value(value: Any, depth: int = 0) -> Any:
    """Return a value as a checkpoint can hold it: integers beyond 64 bits become floats, unknown objects text.

    Raises:
        ToolInputError: It is nested more than ``MAX_DEPTH`` deep.
    """
    if depth > MAX_DEPTH:
        raise ToolInputError(f"the arguments are nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return {_text(key): plain_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item, depth + 1) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _text(value)


def _text(value: object) -> str:
    # A lone surrogate is legal in JSON but not in UTF-8.
    return str(value).encode("utf-8", "replace").decode("utf-8")

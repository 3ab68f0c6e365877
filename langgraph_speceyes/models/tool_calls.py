"""Tool calls in a model's text, in the `<tool_call>{json}</tool_call>` form of Qwen-style templates."""

from __future__ import annotations

import json
import re
import uuid

from langchain_core.messages import InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|\Z)", re.DOTALL)


def parse_tool_calls(text: str) -> tuple[str, list[ToolCall], list[InvalidToolCall]]:
    """Split a model's text into what it says and the tools it calls.

    Args:
        text: The generated text.

    Returns:
        The text without its calls, the calls, and those whose JSON or shape is wrong, with the reason.
    """
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for match in _CALL.finditer(text):
        body, identity = match.group(1), f"call_{uuid.uuid4().hex[:24]}"
        try:
            found = json.loads(body)
            if not isinstance(found, dict) or not isinstance(found.get("name"), str):
                raise ValueError('expected {"name": ..., "arguments": {...}}')
            arguments = found.get("arguments", found.get("parameters", {}))
            if not isinstance(arguments, dict):
                raise ValueError("arguments: expected an object")
        except ValueError as error:
            invalid.append(invalid_tool_call(name=None, args=body, id=identity, error=str(error)))
            continue
        calls.append(tool_call(name=found["name"], args=arguments, id=identity))
    return _CALL.sub("", text).strip() if calls or invalid else text, calls, invalid

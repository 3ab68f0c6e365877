"""Tool calls in a model's text, in the forms that families of models write them in.

Every reader takes time that is linear in the length of the text. Nothing inside a thought is a call.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import InvalidToolCall, ToolCall
from langchain_core.messages.tool import invalid_tool_call, tool_call

from langgraph_speceyes.scoring.spoken import MARKS, THOUGHTS

__all__ = ["FORMATS", "HERMES", "ToolFormat", "hermes_call", "outside_thoughts", "parsed_calls", "read_calls"]

Schemas = Mapping[str, Mapping[str, Any]]
"""JSON schemas of the parameters of tools, by the tools' names."""
Calls = list["ToolCall | InvalidToolCall"]
_Read = Callable[[str, Schemas], tuple[str, Calls]]

_JSON = json.JSONDecoder()
MOST_CALLS = 256
"""Calls that are read of one text; what follows is text. To say where JSON is wrong takes a look at all before it."""
_EXPECTED = 'expected {"name": ..., "arguments": {...}}'


@dataclass(frozen=True)
class ToolFormat:
    """How a family writes tool calls.

    Attributes:
        name: What it is called.
        opening: How a call begins; a stream says nothing from there on.
        mark: What a call of this form has, and one of another form with the same opening has not.
        read: Takes a text without thoughts and the tools' schemas; gives what is no call, and the calls.
    """

    name: str
    opening: tuple[str, ...]
    mark: str
    read: _Read

    def find(self, text: str, tools: Sequence[Mapping[str, Any]] = ()) -> list[ToolCall]:
        """The calls in a part of a prompt, special tokens included, from the first one on."""
        at = min((at for one in self.opening if (at := text.find(one)) >= 0), default=len(text))
        return read_calls(text[at:], self, tools)[1]


def read_calls(
    text: str, form: ToolFormat, tools: Sequence[Mapping[str, Any]] = (), *, inside: bool = False
) -> tuple[str, list[ToolCall], list[InvalidToolCall]]:
    """Split a model's text into what it says and the tools it calls.

    Args:
        text: The generated text.
        form: How its family writes calls.
        tools: The tools that were offered, in OpenAI's format.
        inside: Whether the prompt ended inside a thought, which the text goes on with.

    Returns:
        The text without its calls, the calls, and those that cannot be used, with the reason.
    """
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}
    said: list[str] = []
    found: Calls = []
    for part, thought in outside_thoughts(text, inside=inside):
        rest, read = (part, Calls()) if thought else form.read(part, schemas)
        said.append(rest)
        found += read
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for one in found:
        if one["type"] == "tool_call":
            calls.append(one)
        else:
            invalid.append(one)
    return "".join(said).strip() if found else text, calls, invalid


def outside_thoughts(text: str, *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """The parts of a text, one after the other, and whether each is a thought; a thought has its marks with it.

    Args:
        text: What a model wrote.
        inside: Whether it begins inside a thought.
    """
    begin, closing = 0, "" if inside else None
    for mark in MARKS.finditer(text):
        word = mark[0].lower()
        if closing is None and word in THOUGHTS:
            yield text[begin : mark.start()], False
            begin, closing = mark.start(), THOUGHTS[word]
        elif closing is not None and word not in THOUGHTS and closing in ("", word):
            yield text[begin : mark.end()], True
            begin, closing = mark.end(), None
    yield text[begin:], closing is not None


def parsed_calls(
    tokenizer: Any, text: str, prompt: str, tools: Sequence[Mapping[str, Any]] = ()
) -> tuple[str, list[ToolCall], list[InvalidToolCall]]:
    """The same by the template for reading answers that a checkpoint brings (`tokenizer.parse_response`).

    Args:
        tokenizer: Its tokenizer.
        text: The generated text, special tokens included.
        prompt: The prompt, which may have begun the answer.
        tools: The tools that were offered, in OpenAI's format.
    """
    try:
        read = tokenizer.parse_response(text, prefix=prompt, tools=list(tools) or None)
        calls = [_call(one["function"]) for one in read.get("tool_calls") or ()]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return text, [], [_broken(text, error)]
    return str(read.get("content") or "") if calls else text, calls, []


def hermes_call(name: str, arguments: Any) -> str:
    """A call as Qwen's and Hermes' templates write it, for templates that write none."""
    written = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{written}\n</tool_call>"


def _tagged(text: str, schemas: Schemas) -> tuple[str, Calls]:
    """Between `<tool_call>` tags: JSON, `<function=...>` or GLM's pairs of `<arg_key>` and `<arg_value>`."""
    said, calls, at = list[str](), Calls(), 0
    while len(calls) < MOST_CALLS and (begin := text.find("<tool_call>", at)) >= 0:
        said.append(text[at:begin])
        begin += len("<tool_call>")
        end = text.find("</tool_call>", begin)
        end = len(text) if end < 0 else end
        body, close = text[begin:end].strip(), end
        if body.startswith("{"):
            start = text.index("{", begin)
            try:
                # a closing tag inside of its strings does not close it
                found, close = _JSON.raw_decode(text, start)
                close = _skip(text, close)
                if close < len(text) and not text.startswith("</tool_call>", close):
                    raise ValueError("expected nothing behind the object")
                calls.append(_call(found))
            except (ValueError, RecursionError) as error:
                calls.append(_broken(body, error))
                close = end
        else:
            read = _function if body.startswith("<function=") else _pairs
            # what was cut off may look like a call with other arguments
            cut = end == len(text) and not (read is _function and body.endswith("</function>"))
            calls.append(_broken(body, ValueError("expected </tool_call>")) if cut else read(body, schemas))
        at = min(len(text), close + len("</tool_call>"))
    return "".join([*said, text[at:]]), calls


def _function(body: str, schemas: Schemas) -> ToolCall | InvalidToolCall:
    name, close, rest = body.removeprefix("<function=").partition(">")
    if not close or not name.strip():
        return _broken(body, ValueError("expected <function=NAME>"))
    arguments, at = dict[str, str](), 0
    while (at := rest.find("<parameter=", at)) >= 0:
        head = rest.find(">", at)
        if head < 0:
            return _broken(body, ValueError("expected <parameter=NAME>"))
        end = rest.find("</parameter>", head)
        end = len(rest.removesuffix("</function>")) if end < 0 else end
        value = rest[head + 1 : end]
        arguments[rest[at + len("<parameter=") : head].strip()] = value.removeprefix("\n").removesuffix("\n")
        at = end
    return _typed_call(name.strip(), arguments, schemas)


def _pairs(body: str, schemas: Schemas) -> ToolCall | InvalidToolCall:
    name, paired, rest = body.partition("<arg_key>")
    name = name.strip()
    if not _NAME.fullmatch(name):
        return _broken(body, ValueError(f"{_EXPECTED}, <function=...> or <arg_key>"))
    arguments, at = dict[str, str](), 0 if paired else -1
    while at >= 0:
        key = rest.find("</arg_key>", at)
        opened = rest.find("<arg_value>", key)
        if key < 0 or opened < 0:
            return _broken(body, ValueError("expected <arg_key>NAME</arg_key><arg_value>VALUE</arg_value>"))
        closed = rest.find("</arg_value>", opened)
        value = rest[opened + len("<arg_value>") : closed if closed >= 0 else len(rest)]
        arguments[rest[at:key].strip()] = value
        at = rest.find("<arg_key>", closed) if closed >= 0 else -1
        at += len("<arg_key>") if at >= 0 else 0
    return _typed_call(name, arguments, schemas)


def _bracketed(text: str, schemas: Schemas) -> tuple[str, Calls]:
    """Mistral's: `[TOOL_CALLS]` before a list of objects, or before each `name[ARGS]{...}`."""
    said, calls, at = list[str](), Calls(), 0
    while len(calls) < MOST_CALLS and (begin := text.find(_MISTRAL, at)) >= 0:
        said.append(text[at:begin])
        begin = _skip(text, begin + len(_MISTRAL))
        limit = text.find(_MISTRAL, begin)
        limit = len(text) if limit < 0 else limit
        try:
            if text.startswith("[", begin):
                found, at = _JSON.raw_decode(text, begin)
                calls += [_call(one) for one in found]
            else:
                start = text.index("{", begin, limit)
                name = text[begin:start].partition("[")[0].strip()
                arguments, at = _JSON.raw_decode(text, start)
                calls.append(_call({"name": name, "arguments": arguments}))
        except (ValueError, RecursionError) as error:
            calls.append(_broken(text[begin:limit].strip(), error))
            at = limit
    return "".join([*said, text[at:]]), calls


def _bare(text: str, schemas: Schemas) -> tuple[str, Calls]:
    """Llama's: the answer is an object with `name` and `parameters`, or several with semicolons between."""
    calls, at = Calls(), _skip(text, 0)
    tagged = text.startswith(_PYTHON, at)
    at = _skip(text, at + len(_PYTHON)) if tagged else at
    while text.startswith("{", at):
        try:
            found, end = _JSON.raw_decode(text, at)
            made = _call(found)
        except (ValueError, RecursionError) as error:
            if tagged:
                calls.append(_broken(text[at:].strip(), error))
                at = len(text)
            break
        if schemas and made["name"] not in schemas and not tagged:
            break
        calls.append(made)
        at = _skip(text, end)
        at = _skip(text, at + 1) if text.startswith(";", at) else at
    return (text[at:] if calls else text), calls


def _skip(text: str, at: int) -> int:
    """Past the white space at a place."""
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()


_NAME = re.compile(r"[\w.:-]+")
_SPACE = re.compile(r"\s*")
_PYTHON, _MISTRAL = "<|python_tag|>", "[TOOL_CALLS]"
HERMES = ToolFormat("hermes", ("<tool_call>",), '"name"', _tagged)
FORMATS = (
    HERMES,
    ToolFormat("qwen3.5", ("<tool_call>",), "<function=", _tagged),
    ToolFormat("glm", ("<tool_call>",), "<arg_key>", _tagged),
    ToolFormat("mistral", (_MISTRAL,), _MISTRAL, _bracketed),
    ToolFormat("llama", ("{", _PYTHON), '"parameters"', _bare),
)
"""All that are read; those in `<tool_call>` tags by one reader, whichever of them it is."""


def _call(found: Any) -> ToolCall:
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or not found["name"]:
        raise ValueError(_EXPECTED)
    arguments = found.get("arguments", found.get("parameters", {}))
    if not isinstance(arguments, dict):
        raise ValueError("arguments: expected an object")
    return tool_call(name=found["name"], args=arguments, id=_identity())


def _broken(body: str, error: Exception) -> InvalidToolCall:
    return invalid_tool_call(name=None, args=body, id=_identity(), error=str(error))


def _identity() -> str:
    # the most that every family's template takes: Mistral's want nine letters and digits
    return uuid.uuid4().hex[:9]


def _typed_call(name: str, arguments: Mapping[str, str], schemas: Schemas) -> ToolCall:
    properties = schemas.get(name, {}).get("properties") or {}
    typed = {key: _typed(value, properties.get(key)) for key, value in arguments.items()}
    return tool_call(name=name, args=typed, id=_identity())


def _typed(value: str, schema: Any) -> Any:
    """A value that is written as text, as the type that its schema names; without one, as JSON where it is some."""
    kinds = schema.get("type") if isinstance(schema, Mapping) else None
    kinds = [kinds] if isinstance(kinds, str) else list(kinds or [])
    if kinds == ["string"]:
        return value
    word = value.strip()
    if word in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[word]
    try:
        return json.loads(word)
    except (ValueError, RecursionError):
        return value

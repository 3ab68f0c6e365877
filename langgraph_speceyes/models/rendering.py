"""Conversations as the prompt text of a checkpoint, whatever its chat template can and cannot show."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage
from PIL import Image

from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.foreign import cleaned
from langgraph_speceyes.images import ImagePolicy, ResizeRule
from langgraph_speceyes.models.control import ControlTokens
from langgraph_speceyes.models.template import Turn, images_as_user_turns, turns
from langgraph_speceyes.models.tool_calls import FORMATS, HERMES, ToolFormat, hermes_call
from langgraph_speceyes.scoring.spoken import THOUGHTS

Fallback = Literal["system", "error"]
"""What becomes of tools that a chat template does not show: a text in the system prompt, or an error."""

_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "qzlook",
        "description": "qzdescription",
        "parameters": {"type": "object", "properties": {"qzpart": {"type": "string"}}, "required": ["qzpart"]},
    },
}
_TOOLS = """# Tools

You may call one or more of these functions to assist with the user's query:
<tools>
{tools}
</tools>

For each call, write a JSON object with the function's name and arguments within <tool_call></tool_call> tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


_END = "qzcontinues"
"""Where a turn ends that the model goes on with: its words may also be in what the template writes behind them."""


@dataclass(frozen=True)
class TemplateFacts:
    """What a chat template shows of a conversation, found by rendering one.

    Attributes:
        system: It shows a system prompt before a question, beside an image too.
        late_system: It shows further ones.
        alternates: It takes turns of the user and the model only in alternation.
        tools: It shows tools, beside an image too.
        form: The form in which it shows past calls beside them, and in which the model writes its own; None where it
            shows none, or in a form that nothing here reads.
        results: It shows results of tools.
        plain: Roles whose turns it shows right only if they are text, not blocks.
        short_ids: It takes only ids of calls of nine letters and digits.
        thinking: It thinks unless told otherwise: its prompt for an answer ends inside a thought, or another value of
            the switch would turn thoughts off.
        switch: Its variable `enable_thinking` changes prompts.
    """

    system: bool
    late_system: bool
    alternates: bool
    tools: bool
    form: ToolFormat | None
    results: bool
    plain: frozenset[str]
    short_ids: bool
    thinking: bool
    switch: bool


class Renderer:
    """Turns conversations into prompts of one checkpoint.

    Args:
        processor: Its processor, with a chat template.

    Attributes:
        control: The tokenizer's control tokens.
        facts: What the template shows.

    Raises:
        ArgumentError: There is no chat template, or it cannot show a question.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.tokenizer = tokenizer = getattr(processor, "tokenizer", processor)
        # some checkpoints have it in the files of the tokenizer, where no processor looks
        self._writer: Any = processor if getattr(processor, "chat_template", None) else tokenizer
        if not (template := getattr(self._writer, "chat_template", None)):
            raise ArgumentError("processor", "one with a chat template", type(processor).__name__)
        self._source = json.dumps(template, ensure_ascii=False) if isinstance(template, dict) else str(template)
        self.control = ControlTokens(tokenizer, self._source + _TOOLS, _placeholders(processor))
        self.image_token: str = getattr(processor, "image_token", None) or "<image>"
        self.facts = self._look()

    @property
    def form(self) -> ToolFormat:
        """How the model writes its calls: as its template does, or as it is told to."""
        return self.facts.form or HERMES

    @property
    def calls_as(self) -> str:
        """What reads the model's calls."""
        return "its tokenizer says" if self.parses else self.form.name

    @property
    def parses(self) -> bool:
        """Whether the checkpoint brings a template of its own for reading calls (`tokenizer.parse_response`).

        It is for those that the model writes as its chat template shows them, not for those that a text asks for.
        """
        found = getattr(self.tokenizer, "response_template", None)
        return self.facts.tools and isinstance(found, Mapping) and "tool_calls" in (found.get("fields") or ())

    @property
    def shows_tools(self) -> bool:
        """Whether the template shows tools, and the calls that it makes the model write can be read."""
        return self.facts.tools and (self.facts.form is not None or self.parses)

    def render(
        self,
        messages: Sequence[BaseMessage],
        policy: ImagePolicy,
        rule: ResizeRule | None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        fallback: Fallback = "system",
        options: Mapping[str, Any] | None = None,
        continued: bool = False,
    ) -> tuple[str, tuple[Image.Image, ...]]:
        """The prompt text and the images that messages become, generation prompt included.

        Args:
            messages: The conversation.
            policy: Limits for its images.
            rule: How the processor will resize them, if that is to be done here.
            tools: Tools to offer, in OpenAI's format.
            fallback: What becomes of them where the template shows none.
            options: Further variables of the template, such as `enable_thinking`.
            continued: Whether the last message is a turn of the model that it goes on with: the text then ends where
                the turn's own does.

        Raises:
            ArgumentError: The template cannot show the conversation, or the tools with `fallback="error"`; the turn to
                go on with is no turn of the model that ends with text.
            ImageError: An image cannot be loaded.
        """
        options = self.control.deep(options or {})
        if continued and not (messages and isinstance(messages[-1], AIMessage)):
            last = type(messages[-1]).__name__ if messages else "no messages"
            raise ArgumentError("continue_final_message", "a turn of the model as the last message", last)
        found, images = turns(messages, policy, rule, self.control)
        shown = self.control.deep(list(tools)) if tools else None
        if shown and not self.shows_tools:
            if fallback == "error":
                raise ArgumentError("tools", "none: the checkpoint's chat template does not show them", len(shown))
            written = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in shown)
            found = _with_system(found, _TOOLS.format(tools=written))
            shown = None
        found = self._adapted(found)
        text = self._template(self._fitted(found), shown, options, continued=continued)
        if images and text.count(self.image_token) != len(images):
            # the template has no place for images in tool results
            text = self._template(self._fitted(images_as_user_turns(found)), shown, options, continued=continued)
        if images and (room := text.count(self.image_token)) != len(images):
            raise ArgumentError("messages", f"{room} images, which the chat template has room for", len(images))
        return text, tuple(images)

    def open_thought(self, prompt: str) -> str:
        """The mark of the thought that a prompt ends in, so that the answer goes on with it; else empty."""
        # what is open at the end was opened right there
        tail = prompt[-64:].rstrip()
        return next((mark for mark in THOUGHTS if tail.lower().endswith(mark)), "")

    def _adapted(self, found: list[Turn]) -> list[Turn]:
        """The conversation in the words that the template has."""
        made = [dict(turn) for turn in found]
        for turn in made:
            if turn.get("tool_calls") and not self.shows_tools:
                calls = [hermes_call(c["function"]["name"], c["function"]["arguments"]) for c in turn.pop("tool_calls")]
                turn["content"] = _joined(turn["content"], [_text("\n".join(calls))])
            if turn["role"] == "tool" and not (self.facts.results and self.shows_tools):
                turn["role"] = "user"
                turn["content"] = [_text("<tool_response>\n"), *turn["content"], _text("\n</tool_response>")]
            if self.facts.short_ids:
                if "tool_call_id" in turn:
                    turn["tool_call_id"] = _short(turn["tool_call_id"])
                if "tool_calls" in turn:
                    turn["tool_calls"] = [{**call, "id": _short(call["id"])} for call in turn["tool_calls"]]
        if self.facts.system and self.facts.late_system:
            return made
        return _without_system(made, first=self.facts.system)

    def _fitted(self, found: list[Turn]) -> list[Turn]:
        """The conversation in the form that the template takes."""
        found = [_written(turn) if turn["role"] in self.facts.plain else turn for turn in found]
        return _alternating(found) if self.facts.alternates else found

    def _template(
        self, found: list[Turn], tools: Any, options: Mapping[str, Any] | None = None, *, continued: bool = False
    ) -> str:
        found = _with_mark(found) if continued else found
        try:
            text = str(
                self._writer.apply_chat_template(
                    found,
                    tools=tools or None,
                    tokenize=False,
                    add_generation_prompt=not continued,
                    **(options or {}),
                )
            )
        except Exception as error:
            # templates raise what they like
            raise ArgumentError("messages", "turns that the chat template can show", f"({error})") from cleaned(error)
        return _up_to_the_mark(text) if continued else text

    def _look(self) -> TemplateFacts:
        user: Turn = {"role": "user", "content": [_text("qzquestion")]}
        seen: Turn = {"role": "user", "content": [{"type": "image"}, _text("qzquestion")]}
        images = self.image_token in (self._try([seen]) or "")
        asked = seen if images else user
        said: Turn = {"role": "assistant", "content": [_text("qzanswer")]}

        def with_result(content: Any, identity: str = "q12345678") -> list[Turn]:
            result = {"role": "tool", "content": content, "name": "qzlook", "tool_call_id": identity}
            return [user, _called(identity), result]

        plain: set[str] = set()

        def shows(role: str, around: Callable[[Any], list[Turn]], tools: Any = None) -> bool:
            blocks, text = (_shows("qzword", self._try(around(word), tools)) for word in ([_text("qzword")], "qzword"))
            if text and not blocks:
                plain.add(role)
            return blocks or text

        system = shows("system", lambda content: [{"role": "system", "content": content}, asked])
        late = shows("system", lambda content: [user, said, {"role": "system", "content": content}, user])
        shows("assistant", lambda content: [user, {"role": "assistant", "content": content}, user])
        results = shows("tool", with_result, [_TOOL])
        offered = self._try([asked], [_TOOL]) or ""
        tools = "qzdescription" in offered and _shows("qzquestion", offered) and images == (self.image_token in offered)
        called = self._try([user, _called("q12345678")], [_TOOL]) or ""
        result: Any = "qzword" if "tool" in plain else [_text("qzword")]
        # a template that cannot show this is none
        prompt = self._template([user], None)
        switched: list[str | None] = [prompt, prompt]
        if "enable_thinking" in self._source:
            switched = [self._try([user], None, {"enable_thinking": which}) for which in (False, True)]
        return TemplateFacts(
            system=system,
            late_system=late,
            alternates=self._try([user, user]) is None,
            tools=tools,
            form=_form_of(called.rpartition("qzquestion")[2]) if tools else None,
            results=results,
            plain=frozenset(plain),
            short_ids=results and not _shows("qzword", self._try(with_result(result, "call_of_any_length"), [_TOOL])),
            thinking=bool(self.open_thought(prompt)) or prompt != switched[0],
            switch=switched[0] != switched[1],
        )

    def _try(self, found: list[Turn], tools: Any = None, options: Mapping[str, Any] | None = None) -> str | None:
        try:
            return self._template(found, tools, options)
        except ArgumentError:
            return None


def _with_mark(found: list[Turn]) -> list[Turn]:
    """A conversation whose last turn's text ends in a mark."""
    *before, last = found
    content = last["content"]
    *blocks, end = [_text(content)] if isinstance(content, str) else content or [_text("")]
    marked = end.get("text", "").rstrip() + _END
    if marked == _END:
        raise ArgumentError("continue_final_message", "a turn that ends with text", end["type"])
    return [*before, {**last, "content": marked if isinstance(content, str) else [*blocks, _text(marked)]}]


def _up_to_the_mark(text: str) -> str:
    """A prompt without what the template writes behind the text of its last turn."""
    said, mark, _ = text.rpartition(_END)
    if not mark:
        raise ArgumentError("continue_final_message", "a turn that the chat template shows", "one that it does not")
    return said


def _shows(word: str, text: str | None) -> bool:
    """Whether a word is in a prompt: as text, not as the block that holds it."""
    return text is not None and word in text and re.search(rf"""['"]text['"]: ?['"]{word}""", text) is None


def _form_of(text: str) -> ToolFormat | None:
    """The form that reads the call `qzlook(qzpart="qzmiddle")` in what a template made of it."""
    for form in FORMATS:
        calls = form.find(text, [_TOOL]) if form.mark in text else []
        if [(call["name"], call["args"]) for call in calls] == [("qzlook", {"qzpart": "qzmiddle"})]:
            return form
    return None


def _placeholders(processor: Any) -> list[str]:
    """What a processor puts images, videos and sounds in the place of, and around them."""
    names = [name for name in vars(processor) if name.endswith("_token")]
    return [value for name in {*names, "image_token"} if isinstance(value := getattr(processor, name, None), str)]


def _written(turn: Turn) -> Turn:
    """A turn whose content is text, if it is nothing else."""
    if any(block["type"] != "text" for block in turn["content"]):
        return turn
    return {**turn, "content": "".join(block["text"] for block in turn["content"])}


def _called(identity: str) -> Turn:
    function = {"name": "qzlook", "arguments": {"qzpart": "qzmiddle"}}
    call = {"type": "function", "id": identity, "function": function}
    return {"role": "assistant", "content": [], "tool_calls": [call]}


def _short(identity: str) -> str:
    return hashlib.blake2b(str(identity).encode(), digest_size=8).hexdigest()[:9]


def _text(text: str) -> Turn:
    return {"type": "text", "text": text}


def _joined(first: list[Turn], second: list[Turn]) -> list[Turn]:
    """Contents one after the other, with an empty line behind the text of the first."""
    if not (first and second and first[-1]["type"] == "text"):
        return [*first, *second]
    text, rest = f"{first[-1]['text']}\n\n", second
    if second[0]["type"] == "text":
        text, rest = text + second[0]["text"], second[1:]
    return [*first[:-1], _text(text), *rest]


def _with_system(found: list[Turn], text: str) -> list[Turn]:
    if found and found[0]["role"] == "system":
        return [{**found[0], "content": _joined(found[0]["content"], [_text(text)])}, *found[1:]]
    return [{"role": "system", "content": [_text(text)]}, *found]


def _without_system(found: list[Turn], *, first: bool) -> list[Turn]:
    """System prompts at the beginning of the next turn of the user, but for those before all else if that is wanted."""
    made: list[Turn] = []
    waiting: list[Turn] = []
    for turn in found:
        if turn["role"] == "system":
            if first and not any(one["role"] != "system" for one in made):
                made = [{**turn, "content": _joined(made[0]["content"] if made else [], turn["content"])}]
            else:
                waiting = _joined(waiting, turn["content"])
        elif turn["role"] == "user" and waiting:
            made.append({**turn, "content": _joined(waiting, turn["content"])})
            waiting = []
        else:
            made.append(turn)
    return [*made, {"role": "user", "content": waiting}] if waiting else made


def _alternating(found: list[Turn]) -> list[Turn]:
    """Turns of one role that follow each other as one; between a result and a question, an answer of no words."""
    made: list[Turn] = []
    for turn in found:
        if made and made[-1]["role"] == "tool" and turn["role"] == "user":
            made.append({"role": "assistant", "content": [_text("")]})
        if made and made[-1]["role"] == turn["role"] and turn["role"] in ("user", "assistant"):
            made[-1] = {**made[-1], **turn, "content": _joined(made[-1]["content"], turn["content"])}
        else:
            made.append(turn)
    return made

"""Thyme's protocol: the model writes Python, and goes on in the same turn behind what the sandbox showed."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.messages.ai import add_usage
from langchain_core.runnables import Runnable

from langgraph_speceyes.agent.call import Outcome, ToolCall
from langgraph_speceyes.agent.protocols.base import ToolSchema, Turn, build_prompt
from langgraph_speceyes.agent.protocols.tags import find_answer, find_tagged, locate_tagged, strip_thoughts
from langgraph_speceyes.agent.protocols.words import FromFile
from langgraph_speceyes.agent.question import question_images, with_opening
from langgraph_speceyes.agent.repairs import repaired
from langgraph_speceyes.agent.sandbox import OUTPUT_FOLDER, escape_tags, image_path
from langgraph_speceyes.agent.sandbox.backend import INPUT_FOLDER
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import check_image

OPEN, CLOSE = "<sandbox_output>", "</sandbox_output>"
CODE_TOOL = "code"
"""Name of the tool that runs the code."""
STOPS = ("</code>", "</answer>")
CONTINUED = {"continue_final_message": True, "add_generation_prompt": False, "include_stop_str_in_output": True}
"""How vLLM is asked to go on with the last message; local models of this package take the same."""

SYSTEM = f"""You answer questions about images and can look closer by writing Python.

To run code, write it in this form and stop:
<code>
```python
...
```
</code>
The code runs in a sandbox without a network. Variables stay for the next block. Defined are: image_path (the image), \
temp_output_dir (where images may be saved), Image (Pillow), cv2, numpy as np, math, os, re, json, random. \
To see an image, save it in {OUTPUT_FOLDER}, put its path in processed_path and print it; otherwise print the result. \
What you printed or saved follows in {OPEN}{CLOSE}, and you go on from there."""

INSTRUCTION = (
    "The image is at {image_path} and has {image_size} pixels. Think first, inside <think></think>. Then either write "
    "code, inside <code></code>, if something is too small to be sure of or has to be computed, or answer the question "
    "inside <answer></answer>."
)
FINAL = "No more code can be run. Give your best answer now, inside <answer></answer>."

_PATH, _SIZE = "{image_path}", "{image_size}"
_SEGMENT = re.compile(r"<(code|answer)>", re.IGNORECASE)
_ANSWER = re.compile(r"<(answer)>", re.IGNORECASE)
_OUTPUT = re.compile(r"</?sandbox_output>", re.IGNORECASE)
_FENCE = re.compile(r"\s*```[ \t]*(?:(?:python|py)(?:3[\d.]*)?\b)?[ \t]*\r?\n?", re.IGNORECASE)
_CODE = re.compile(r"<code>.*?(?:</code>|$)", re.DOTALL | re.IGNORECASE)
_FURTHER = re.compile(re.escape(INPUT_FOLDER) + r"/image_\d+\.png")
_BOXED = r"\boxed{"


@dataclass(frozen=True)
class ThymeProtocol(FromFile):
    r"""Code as ``<code>`` in the model's text, results as ``<sandbox_output>`` in the same turn.

    Only the first block of an output is run; what an output says behind it, or as an output of the sandbox's, is cut
    off. Errors are shown where results are. The answer stands in ``<answer>``, else in ``\boxed{}``. Variables live as
    long as the turn.

    Attributes:
        system: The system prompt. Empty for none.
        opening: Text in front of the question's own. Empty for none.
        instruction: Text at the end of the question, after a line break; ``{image_path}`` and ``{image_size}`` in it
            become the first image's path in the sandbox and its width and height. Empty for none.
        final: User turn that asks for the answer when no steps are left; empty to let the turn go on.
        retry_temperature: Temperature at which the model is asked again after an output with neither code nor answer.
        repair: Whether code is repaired before it runs (:mod:`~langgraph_speceyes.agent.repairs`).
    """

    system: str = SYSTEM
    opening: str = ""
    instruction: str = INSTRUCTION
    final: str = FINAL
    retry_temperature: float = 1.0
    repair: bool = True

    def front(self, tools: Sequence[ToolSchema]) -> list[SystemMessage]:
        """Return the system prompt."""
        return [SystemMessage(self.system)] if self.system else []

    def bind(self, model: Any, tools: Sequence[ToolSchema]) -> Runnable[Any, Any]:
        """Return the model with the strings at which it stops.

        Raises:
            ArgumentError: The tools are not the one that runs code.
        """
        names = [tool["function"]["name"] for tool in tools]
        if names != [CODE_TOOL]:
            raise ArgumentError("tools", f"{CODE_TOOL!r} alone for the protocol 'thyme'", ", ".join(names))
        bound: Runnable[Any, Any] = model.bind(stop=list(STOPS))
        return bound

    def prompt(
        self, messages: Sequence[BaseMessage], question: int, *, tools: Sequence[ToolSchema], final: bool
    ) -> list[BaseMessage]:
        """Return the front, the conversation with the words around the question, and the final turn if it is the last.

        Raises:
            ImageError: The instruction names the image's size, and the image cannot be loaded.
        """
        instruction = self.instruction.replace(_PATH, image_path(0))
        if _SIZE in instruction:
            width, height = check_image(question_images(messages[: question + 1])[0])
            instruction = instruction.replace(_SIZE, f"{width} x {height}")
        before = _joined(messages[:question])
        asked = with_opening(messages[question], self.opening)
        return build_prompt(
            self.front(tools),
            [*before, asked, *messages[question + 1 :]],
            len(before),
            instruction=instruction,
            final=self.final if final else "",
        )

    def options(self, model: Any, prompt: Sequence[BaseMessage], *, again: bool) -> dict[str, Any]:
        """Return vLLM's parameters for going on with an open turn, and the temperature of another try."""
        extra = dict(getattr(model, "extra_body", None) or {})
        if prompt and self.is_open(prompt[-1]):
            extra |= CONTINUED
        options: dict[str, Any] = {"extra_body": extra} if extra else {}
        return options | {"temperature": self.retry_temperature} if again else options

    def read(self, message: AIMessage, tools: Sequence[str]) -> Turn:
        """Read the first block of code or the answer, whichever comes first."""
        text = str(message.text)
        if pretended := _OUTPUT.search(text):
            text = text[: pretended.start()]
        kept = message.model_copy(update={"tool_calls": [], "invalid_tool_calls": [], "content": text})
        located = locate_tagged(text, _SEGMENT)
        if located is None:
            return Turn(kept, answered=_BOXED in strip_thoughts(text))
        tagged, end = located
        if tagged.tag == "answer":
            return Turn(kept, answered=True)
        # up to the end of the first block; where a server leaves the stop string out, with it
        whole = text + STOPS[0] if end is None else text[:end]
        kept = kept.model_copy(update={"content": whole})
        code = _unfenced(tagged.body)
        error = None if code.strip() else "there is no code between the tags"
        return Turn(kept, (ToolCall(id="", tool=CODE_TOOL, arguments={"code": code}, error=error),))

    def join(self, opened: AIMessage, said: AIMessage) -> AIMessage:
        """Return both as one message."""
        return joined(opened, said)

    def show(self, turn: AIMessage, outcomes: Sequence[Outcome]) -> AIMessage:
        """Return the turn with the sandbox's output at its end: its images, else its text."""
        blocks: list[dict[str, Any]] = [{"type": "text", "text": OPEN}]
        for outcome in outcomes:
            if outcome["images"] and outcome["error"] is None:
                blocks += [{"type": "image", "url": url} for url in outcome["images"]]
            else:
                blocks.append({"type": "text", "text": escape_tags(outcome["text"] or outcome["error"] or "")})
        return turn.model_copy(update={"content": [*_blocks(turn), *blocks, {"type": "text", "text": CLOSE}]})

    def is_open(self, message: BaseMessage) -> bool:
        """Return whether a message ends with an output of the sandbox."""
        return is_open(message)

    def mend(self, code: str, size: Callable[[], tuple[int, int] | None], earlier: Sequence[str] = ()) -> str:
        """Return the code with the repairs that published evaluations make."""
        # where a further image is not there, that is for the model to read
        paths = [image_path(0), *sorted(set(_FURTHER.findall(code)))]
        return repaired(code, paths, OUTPUT_FOLDER, size, earlier) if self.repair else code

    def answer(self, message: AIMessage) -> str:
        r"""Return the text between the answer tags, else in ``\boxed{}``, else everything but thoughts and code."""
        text = str(message.text)
        if (tagged := find_tagged(text, _ANSWER)) is not None:
            return tagged.body
        said = strip_thoughts(text)
        boxed = find_boxed(said)
        return find_answer(_CODE.sub("", said)) if boxed is None else boxed


def is_open(message: BaseMessage) -> bool:
    """Return whether a message is a turn of the model that ends with an output of the sandbox."""
    return isinstance(message, AIMessage) and str(message.text).endswith(CLOSE)


def joined(opened: BaseMessage, said: AIMessage) -> AIMessage:
    """Return an open turn and what goes on with it as one message, token counts added up.

    Args:
        opened: The turn; the whole has its id.
        said: What follows; the whole has its metadata.
    """
    assert isinstance(opened, AIMessage), "only a turn of the model is open"
    counted = opened.usage_metadata is not None or said.usage_metadata is not None
    usage = add_usage(opened.usage_metadata, said.usage_metadata) if counted else None
    content = [*_blocks(opened), *_blocks(said)]
    return said.model_copy(update={"id": opened.id, "content": content, "usage_metadata": usage})


def find_boxed(text: str) -> str | None:
    r"""Return what the last ``\boxed{}`` holds, braces within it included; None where there is none."""
    begin = text.rfind(_BOXED)
    if begin < 0:
        return None
    begin, depth = begin + len(_BOXED), 1
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return text[begin:at].strip()
    return text[begin:].strip()


def _joined(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Earlier turns as they were written: an answer behind an open turn is its end."""
    found: list[BaseMessage] = []
    for message in messages:
        if found and isinstance(message, AIMessage) and isinstance(found[-1], AIMessage) and is_open(found[-1]):
            found[-1] = joined(found[-1], message)
        else:
            found.append(message)
    return found


def _blocks(message: AIMessage) -> list[Any]:
    content = message.content
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _unfenced(body: str) -> str:
    """Code without the fence around it."""
    opening = _FENCE.match(body)
    code = body[opening.end() :] if opening else body
    return code.rstrip().removesuffix("```").strip("\n")

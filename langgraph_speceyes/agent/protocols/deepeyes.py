"""DeepEyes' protocol: thoughts, tool calls and answers as tags in plain text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.runnables import Runnable

from langgraph_speceyes.agent.call import Outcome, ToolCall, make_call
from langgraph_speceyes.agent.protocols.base import ToolSchema, Turn, build_prompt
from langgraph_speceyes.agent.protocols.tags import find_answer, find_tagged, parse_call
from langgraph_speceyes.agent.protocols.words import FromFile
from langgraph_speceyes.agent.question import observation_message
from langgraph_speceyes.errors import ToolInputError

TOOLS_MARK = "{tools}"

SYSTEM = """You answer questions about images and can look closer before you answer.

These tools are at your disposal, one JSON schema a line:
<tools>
{tools}
</tools>

To use one, write its name and arguments as JSON inside tool_call tags and stop:
<tool_call>{"name": "the tool", "arguments": {"bbox_2d": [x1, y1, x2, y2]}}</tool_call>
Its result follows in tool_response tags."""

INSTRUCTION = (
    "Think first, inside <think></think>. Then either use one tool, inside <tool_call></tool_call>, if something is "
    "too small to be sure of, or answer the question inside <answer></answer>."
)
REMINDER = "Think about what you see, then use another tool or answer inside <answer></answer>."
FINAL = "There are no tool calls left. Give your best answer now, inside <answer></answer>."


@dataclass(frozen=True)
class DeepEyesProtocol(FromFile):
    """Tool calls as ``<tool_call>`` in the model's text, results as user turns with ``<tool_response>``.

    Only the first call of an output is used. Outputs keep their raw text; their ``tool_calls`` stay empty, or chat
    templates would show each call twice.

    Attributes:
        system: The system prompt; ``{tools}`` in it becomes the tools' schemas. Empty for none.
        instruction: Text at the end of the question, after a line break. Empty for none.
        reminder: Text after each tool response, and the user turn after an output without call or answer (then
            the instruction if this is empty).
        final: User turn that asks for the answer when no steps are left. Empty for none.
        aliases: Other names the model may call tools by; the schemas show the alias.
    """

    system: str = SYSTEM
    instruction: str = INSTRUCTION
    reminder: str = REMINDER
    final: str = FINAL
    aliases: Mapping[str, str] = field(default_factory=lambda: {"image_zoom_in_tool": "zoom"})

    def front(self, tools: Sequence[ToolSchema]) -> list[SystemMessage]:
        """Return the system prompt with the tools in it."""
        if not self.system:
            return []
        shown = {tool: alias for alias, tool in self.aliases.items()}
        lines = []
        for tool in tools:
            function = tool["function"]
            named = {**function, "name": shown.get(function["name"], function["name"])}
            lines.append(json.dumps({**tool, "function": named}, ensure_ascii=False))
        return [SystemMessage(self.system.replace(TOOLS_MARK, "\n".join(lines)))]

    def bind(self, model: Any, tools: Sequence[ToolSchema]) -> Runnable[Any, Any]:
        """Return the model as it is: its tools are part of the prompt."""
        bound: Runnable[Any, Any] = model
        return bound

    def prompt(
        self, messages: Sequence[BaseMessage], question: int, *, tools: Sequence[ToolSchema], final: bool
    ) -> list[BaseMessage]:
        """Return the front, the conversation with the instruction, and the final turn if this is the last call."""
        closing = self.final if final else ""
        return build_prompt(self.front(tools), messages, question, instruction=self.instruction, final=closing)

    def read(self, message: AIMessage, tools: Sequence[str]) -> Turn:
        """Read the first call or answer, whichever comes first."""
        text = str(message.text)
        kept = message.model_copy(update={"tool_calls": [], "invalid_tool_calls": []})
        tagged = find_tagged(text)
        if tagged is None:
            return Turn(kept)
        if tagged.tag == "answer":
            return Turn(kept, answered=True)
        return Turn(kept, (self._call(tagged.body, tools),))

    def respond(self, outcomes: Sequence[Outcome]) -> list[BaseMessage]:
        """Return one user turn for each outcome."""
        return [self._response(outcome) for outcome in outcomes]

    def remind(self) -> list[BaseMessage]:
        """Return the reminder, or the instruction where there is no reminder, as a user turn."""
        return [observation_message(self.reminder or self.instruction or INSTRUCTION)]

    def answer(self, message: AIMessage) -> str:
        """Return the text between the answer tags, or everything but the thoughts."""
        return find_answer(str(message.text))

    def _call(self, body: str, tools: Sequence[str]) -> ToolCall:
        try:
            name, arguments = parse_call(body)
        except ToolInputError as error:
            return ToolCall(id="", tool="", arguments={}, error=str(error))
        known = {name: name for name in tools}
        known |= {alias: tool for alias, tool in self.aliases.items() if tool in known and alias not in known}
        return make_call(name, arguments, known)

    def _response(self, outcome: Outcome) -> BaseMessage:
        tail = "</tool_response>" + (f"\n{self.reminder}" if self.reminder else "")
        if outcome["error"] is not None:
            return observation_message(f"<tool_response>Error: {outcome['error']}{tail}")
        head = f"<tool_response>{outcome['text'] or ''}"
        if not outcome["images"]:
            return observation_message(head + tail)
        images = [{"type": "image", "url": url} for url in outcome["images"]]
        return observation_message([{"type": "text", "text": head}, *images, {"type": "text", "text": tail}])

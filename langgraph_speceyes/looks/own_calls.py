"""The small model looks where it wants to: it calls a tool once, and what that shows is the observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from langgraph_speceyes.agent import AgentProtocol, CoordinateSpace, ResizeRule, TextReader, ToolSpec
from langgraph_speceyes.agent.loop import NOTHING, VisualLoop
from langgraph_speceyes.agent.visual import create_visual_agent
from langgraph_speceyes.errors import ArgumentError, LookError, ToolInputError
from langgraph_speceyes.images import block_of, off_loop
from langgraph_speceyes.looks.look import Observation, Sight
from langgraph_speceyes.models.endpoint import model_name
from langgraph_speceyes.models.given import Model, chat_models, resolve_model
from langgraph_speceyes.models.overview import pixels_for

_CONFIG = RunnableConfig(run_name="own calls", tags=["nostream"])
_ID = "question"


class OwnCalls:
    """One output of a model, whose tool calls are run; see :func:`own_calls`."""

    name = "own_calls"

    def __init__(self, loop: VisualLoop, settings: Mapping[str, Any]) -> None:
        self.loop, self.settings = loop, settings

    def __call__(self, sight: Sight) -> list[Observation]:
        """Ask the model, and run what it calls."""
        loop, state = self._begin(sight)
        state |= _new(loop.ask(state, _CONFIG))
        return self._run(loop, state)

    async def acall(self, sight: Sight) -> list[Observation]:
        """Ask the model, and run what it calls off the event loop."""
        loop, state = self._begin(sight)
        state |= _new(await loop.aask(state, _CONFIG))
        return await off_loop(self._run, loop, state)

    def _begin(self, sight: Sight) -> tuple[VisualLoop, dict[str, Any]]:
        blocks = [block_of(image) for image in sight.images]
        question = HumanMessage([*blocks, {"type": "text", "text": sight.question}], id=_ID)
        state: dict[str, Any] = {"messages": [question], "question_id": _ID}
        counts = {"tool_steps": 0, "steps": [], "calls": [], "outcomes": []}
        most = pixels_for(sight.front_pixels, "speculator", chat_models(self.loop.model)) if self.loop.inline else None
        return replace(self.loop, policy=sight.policy, most_pixels=most), {**state, **counts}

    @staticmethod
    def _run(loop: VisualLoop, state: dict[str, Any]) -> list[Observation]:
        found: list[Observation] = []
        while state["calls"]:
            call, result, seconds = loop.run(state, _CONFIG)
            # the record of a step is clipped and masked, and no tool shows the model that
            if not isinstance(result, ToolInputError):
                found += [*result.images, *([result.text] if result.text else [])]
            state |= _new(loop.record(state, call, result, seconds))
        errors = [step["error"] for step in state["steps"] if step["error"] not in (None, NOTHING)]
        if errors and not found:
            raise LookError("own_calls", "a tool call that can be run", errors[0])
        return found


def _new(update: dict[str, Any]) -> dict[str, Any]:
    """A state update without its messages: tools look at the question, and nobody is asked again."""
    return {key: value for key, value in update.items() if key != "messages"}


def own_calls(
    model: Model,
    *,
    tools: Sequence[str | ToolSpec] = ("crop", "zoom"),
    calls: int = 1,
    protocol: str | AgentProtocol = "native",
    system: str | None = None,
    instruction: str | None = None,
    coordinates: CoordinateSpace | str = CoordinateSpace.ABSOLUTE,
    resize: ResizeRule | str | None = None,
    reader: TextReader | None = None,
) -> OwnCalls:
    """A look that the small model directs: it is shown the question and tools, and may call them before it answers.

    Where the front end sends hosted models smaller images, it is sent those, and its boxes count their pixels; what is
    cut out is the original's.

    It is asked once. An output without a call gives nothing; calls beyond `calls` are not run. What it would answer
    here is not looked at: the answer is the next prompt's, as after any look. The tokens of this call are in no
    decision.

    Args:
        model: The small model, or another one; what `create_speceyes` takes as speculator.
        tools: Any of ``"crop"``, ``"zoom"`` and ``"ocr"``, and pure tools (``ToolSpec``).
        calls: Most tool calls that are run.
        protocol: ``"native"`` for models with tool calling, ``"deepeyes"`` for models that write calls as text, or
            a protocol with its own settings.
        system: System prompt, in place of the named protocol's.
        instruction: Text at the end of the question, in place of the named protocol's.
        coordinates: What the numbers of the model's boxes count.
        resize: How the model's processor resizes an image, for ``resized`` coordinates: a rule, or the
            name of a family such as ``"qwen2.5-vl"``; ``None`` for its own rule.
        reader: Reads text for ``ocr``; ``None`` for RapidOCR.

    Raises:
        ArgumentError: An argument cannot be used.
        MissingExtraError: ``ocr`` is among the tools and RapidOCR is not installed.
    """
    if type(calls) is not int or calls < 1:
        raise ArgumentError("calls", "a whole number of at least 1", repr(calls))
    if any(isinstance(tool, BaseTool) for tool in tools):
        raise ArgumentError("tools", "names of the package's tools, and pure tools (ToolSpec)", "a tool of LangChain")
    resolved = resolve_model("model", model)
    agent = create_visual_agent(
        resolved,
        tools=tools,
        max_steps=calls,
        protocol=protocol,
        system=system,
        instruction=instruction,
        coordinates=coordinates,
        resize=resize,
        reader=reader,
    )
    if any(not isinstance(tool, ToolSpec) for tool in agent.loop.tools.values()):
        raise ArgumentError("tools", "crop, zoom, ocr, and pure tools (ToolSpec)", "a tool that runs code")
    settings = {
        "model": model_name(resolved),
        "tools": [tool if isinstance(tool, str) else tool.name for tool in tools],
        "calls": calls,
        "protocol": _settings_of(protocol),
        "system": system,
        "instruction": instruction,
        "coordinates": str(coordinates),
        "resize": _settings_of(resize),
    }
    return OwnCalls(agent.loop, settings)


def _settings_of(given: object) -> str | None:
    """What tells a protocol or rule from others: its words and numbers, where it says them."""
    if given is None or isinstance(given, str):
        return given
    # what anything else says of itself may hold an address in memory
    return repr(given) if is_dataclass(given) else type(given).__name__

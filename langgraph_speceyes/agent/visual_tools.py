"""The agent's own tools as LangChain tools, for agents that others have built."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.prebuilt.tool_node import ToolRuntime
from pydantic import ConfigDict, create_model

from langgraph_speceyes.agent.ocr import Reader, TextReader
from langgraph_speceyes.agent.question import images_to_look_at
from langgraph_speceyes.agent.toolbox import (
    CODE,
    DEFAULT_TOOLS,
    CodeRunner,
    check_reader,
    resolve_coordinates,
    resolve_tools,
)
from langgraph_speceyes.agent.tools import TOOLS, Observation, ToolSpec
from langgraph_speceyes.agent.view import View, least_side_of
from langgraph_speceyes.errors import ArgumentError, InputError, ToolInputError
from langgraph_speceyes.images import (
    DEFAULT_POLICY,
    CoordinateSpace,
    ImagePolicy,
    ResizeRule,
    as_rule,
    block_of,
    off_loop,
)

NO_IMAGE = "there is no image to look at: the conversation holds none that can be opened here"


def visual_tools(
    tools: Sequence[str | ToolSpec] = DEFAULT_TOOLS,
    *,
    coordinates: CoordinateSpace | str = CoordinateSpace.ABSOLUTE,
    resize: ResizeRule | str | None = None,
    policy: ImagePolicy = DEFAULT_POLICY,
    reader: TextReader | None = None,
) -> list[BaseTool]:
    """Crop, zoom and OCR for any agent whose state has `messages`, such as one made by LangChain's `create_agent`.

    They look at the images pinned in the run's config (`config["configurable"]["speceyes_images"]`, a list of
    references), else at those of the user's newest turn that has any. Regions are shown by reference
    (`street.jpg#xywh=10,20,300,200`), not as data. A hosted model needs them inlined: see
    :class:`~langgraph_speceyes.SpecEyesMiddleware`.

    Args:
        tools: Which, by name, or pure tools of yours.
        coordinates: What the numbers of the model's boxes count.
        resize: How the model's processor resizes an image, for `resized` coordinates: a rule, or the name of
            a family such as `"qwen2.5-vl"`.
        policy: Limits of loading images.
        reader: Reads text; None for RapidOCR.

    Returns:
        The tools, to be given to the agent. What goes wrong goes back to the model as an error message, be it a box
        that it may correct, an image that cannot be opened or one that is no longer in the conversation.

    Raises:
        ArgumentError: A tool is unknown or none of these, such as `"code"` (see
            :func:`~langgraph_speceyes.agent.sandbox.code_tool`); or `resized` coordinates have no rule.
        MissingExtraError: OCR is wanted and not installed.
    """
    space = resolve_coordinates(coordinates)
    rule = as_rule(resize)
    if space is CoordinateSpace.RESIZED and rule is None:
        raise ArgumentError("resize", "the rule of the model's processor, for coordinates 'resized'", None)
    specs, reads = _resolve_specs(tools), reader or Reader()
    check_reader({spec.name: spec for spec in specs}, reads)

    def view(runtime: ToolRuntime) -> View:
        images = images_to_look_at(messages_of(runtime.state), runtime.config)
        if not images:
            raise ToolInputError(NO_IMAGE)
        return View(
            images, space, rule if space is CoordinateSpace.RESIZED else None, policy, reads, least_side_of(rule)
        )

    return [_tool(spec, space, view) for spec in specs]


def _resolve_specs(tools: Sequence[str | ToolSpec]) -> list[ToolSpec]:
    """The pure tools that a caller names.

    Raises:
        ArgumentError: One is unknown, or a tool of another kind.
    """
    if isinstance(tools, Sequence):
        # before they are made: code would start a sandbox
        for one in tools:
            if one == CODE or isinstance(one, BaseTool | CodeRunner):
                expected = f"{', '.join(TOOLS)} or a ToolSpec (code: code_tool(); others go to the agent as they are)"
                raise ArgumentError("tools", expected, repr(one) if isinstance(one, str) else type(one).__name__)
    return [spec for spec in resolve_tools(tools).values() if isinstance(spec, ToolSpec)]


def messages_of(state: Any) -> list[BaseMessage]:
    """The messages of a state of any kind, as messages."""
    if isinstance(state, dict):
        found = state.get("messages")
    else:
        found = state if isinstance(state, list) else getattr(state, "messages", None)
    messages = list(found or [])
    with contextlib.suppress(Exception):  # what is no message has no image for the tools
        messages = convert_to_messages(messages)
    return [message for message in messages if isinstance(message, BaseMessage)]


def _tool(spec: ToolSpec, space: CoordinateSpace, view: Callable[[ToolRuntime], View]) -> BaseTool:
    def run(runtime: ToolRuntime, **arguments: Any) -> Any:
        try:
            return _content(spec.run(arguments, view(runtime)))
        except ToolInputError as error:
            raise ToolException(str(error)) from error
        except InputError as error:
            raise ToolException(
                f"the image cannot be opened: expected {error.expected}, found {error.found}"
            ) from error

    async def arun(runtime: ToolRuntime, **arguments: Any) -> Any:
        # images are decoded off the event loop
        return await off_loop(run, runtime, **arguments)

    # the runtime holds types that pydantic has no schema for
    base = type(spec.arguments.__name__, (spec.arguments,), {"model_config": ConfigDict(arbitrary_types_allowed=True)})
    return StructuredTool(
        name=spec.name,
        description=spec.schema(space)["function"]["description"],
        args_schema=create_model(spec.arguments.__name__, __base__=base, runtime=(ToolRuntime[Any, Any], ...)),
        func=run,
        coroutine=arun,
        handle_tool_error=True,
    )


def _content(observation: Observation) -> str | list[dict[str, Any]]:
    if not observation.images:
        return observation.text or ""
    text = [{"type": "text", "text": observation.text}] if observation.text else []
    return [*text, *(block_of(image) for image in observation.images)]

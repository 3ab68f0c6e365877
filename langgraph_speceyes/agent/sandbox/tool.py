"""The code tool as a LangChain tool, for agents that others have built and for the visual agent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.prebuilt.tool_node import ToolRuntime
from pydantic import BaseModel, ConfigDict, Field

from langgraph_speceyes.agent.question import images_to_look_at, is_user
from langgraph_speceyes.agent.sandbox.code import CodeTool
from langgraph_speceyes.agent.sandbox.outcome import CodeOutcome
from langgraph_speceyes.agent.visual_tools import messages_of
from langgraph_speceyes.errors import InputError, SandboxUnavailableError
from langgraph_speceyes.images import block_of

NOTHING = "The code printed nothing and made no image."


class CodeArguments(BaseModel):
    """Arguments of ``code``."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    code: str = Field(description="Python, a block of whole statements; print what you want to see.")
    runtime: ToolRuntime[Any, Any]


def code_tool(tool: CodeTool | None = None) -> BaseTool:
    """Python on the question's images for any agent whose state has `messages`, such as one made by `create_agent`.

    Code sees the images that :func:`~langgraph_speceyes.agent.visual_tools.visual_tools` sees. The earlier blocks of
    the same question are read from the messages, so that a run which goes on in another process finds its variables.

    Args:
        tool: What runs the code, with its limits and policy; `None` for `CodeTool()`.

    Returns:
        The tool, to be given to the agent. What the code prints and the images it makes are shown; what goes wrong is
        shown to the model as an error.

    Raises:
        SandboxUnavailableError: Nothing on this machine can hold code; the message says what to install.
    """
    made = CodeTool() if tool is None else tool

    def run(code: str, runtime: ToolRuntime[Any, Any]) -> str | list[dict[str, Any]]:
        messages = messages_of(runtime.state)
        images = images_to_look_at(messages, runtime.config)
        question, earlier = earlier_blocks(messages, made.name)
        configurable = runtime.config.get("configurable", {})
        # the last part of the namespace is the tool node's own task, another one each time
        space = str(configurable.get("checkpoint_ns", "")).rpartition("|")[0]
        trajectory = f"{configurable.get('thread_id', '')}:{space}:{question}"
        try:
            outcome = made.run(code, trajectory=trajectory, images=images, earlier=earlier)
        except SandboxUnavailableError as error:
            raise ToolException(f"no code can be run at the moment: {error}") from error
        except InputError as error:
            raise ToolException(
                f"the image cannot be opened: expected {error.expected}, found {error.found}"
            ) from error
        if outcome.error is not None:
            raise ToolException(outcome.text)
        return _content(outcome)

    async def arun(code: str, runtime: ToolRuntime[Any, Any]) -> str | list[dict[str, Any]]:
        # code runs, and its images are decoded, off the event loop
        return await asyncio.to_thread(run, code, runtime)

    return StructuredTool(
        name=made.name,
        description=made.description,
        args_schema=CodeArguments,
        func=run,
        coroutine=arun,
        handle_tool_error=True,
    )


def earlier_blocks(messages: Sequence[BaseMessage], name: str) -> tuple[str, list[str]]:
    """Find the blocks of the newest question that were run and left something.

    Args:
        messages: The conversation.
        name: The tool's name.

    Returns:
        The question's id, and the blocks in order: those of calls that a message answers without an error.
    """
    start = max((at for at, message in enumerate(messages) if is_user(message)), default=0)
    question = messages[start].id if messages and isinstance(messages[start], HumanMessage) else None
    calls: dict[str, str] = {}
    blocks = []
    for message in messages[start:]:
        if isinstance(message, AIMessage):
            for call in message.tool_calls:
                if call["name"] == name and isinstance(block := call["args"].get("code"), str):
                    calls[str(call["id"])] = block
        elif isinstance(message, ToolMessage) and message.status != "error" and message.tool_call_id in calls:
            blocks.append(calls.pop(message.tool_call_id))
    return question or "", blocks


def _content(outcome: CodeOutcome) -> str | list[dict[str, Any]]:
    text = outcome.text or ("" if outcome.images else NOTHING)
    if not outcome.images:
        return text
    return [*([{"type": "text", "text": text}] if text else []), *(block_of(image) for image in outcome.images)]

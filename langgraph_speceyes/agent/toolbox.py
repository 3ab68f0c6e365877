"""The tools of one agent: its own and LangChain's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.prebuilt import ToolNode
from langgraph.prebuilt.tool_node import ToolInvocationError
from pydantic import BaseModel, Field

from langgraph_speceyes.agent.call import ToolCall
from langgraph_speceyes.agent.ocr import Reader
from langgraph_speceyes.agent.tools import OCR, TOOLS, Observation, ToolSpec
from langgraph_speceyes.errors import ArgumentError, ToolInputError
from langgraph_speceyes.foreign import words_of
from langgraph_speceyes.images import CoordinateSpace, ImageRef, find_images, intern_reference, off_loop, question_text

if TYPE_CHECKING:
    from langgraph_speceyes.agent.sandbox import CodeOutcome

DEFAULT_TOOLS = ("crop", "zoom", "ocr")
CODE = "code"
"""Name of the tool that runs code."""


class LangChainTool:
    """A LangChain tool behind the interface of the agent's own.

    LangGraph's ``ToolNode`` runs it, so that injected state, store and runtime work; the state injected is the
    agent's. ``ToolException``, ``ToolInputError`` and bad arguments go back to the model, anything else is raised.

    Args:
        tool: The tool. It returns text or content blocks; images among them are moved to the image store.
    """

    def __init__(self, tool: BaseTool) -> None:
        self.name = tool.name
        self._tool = tool
        self._node = ToolNode([tool], handle_tool_errors=_tool_error)

    def schema(self, coordinates: CoordinateSpace = CoordinateSpace.ABSOLUTE) -> dict[str, Any]:
        """Return the tool in OpenAI's format, without its injected arguments."""
        return convert_to_openai_tool(self._tool)

    def run(self, call: ToolCall, state: Mapping[str, Any], config: RunnableConfig) -> Observation:
        """Run the tool.

        Raises:
            ToolInputError: It failed in a way that the model may correct.
            ArgumentError: It returned something other than content.
        """
        return _observation(self._node.invoke(_request(call, state), config), self.name)

    async def arun(self, call: ToolCall, state: Mapping[str, Any], config: RunnableConfig) -> Observation:
        """Run the tool; see :meth:`run`."""
        result = await self._node.ainvoke(_request(call, state), config)
        return await off_loop(_observation, result, self.name)


class CodeArguments(BaseModel):
    """Arguments of the tool that runs code."""

    code: str = Field(description="The Python code.")


@runtime_checkable
class CodeRunner(Protocol):
    """What runs a model's code: :class:`~langgraph_speceyes.agent.sandbox.CodeTool`, or something like it."""

    @property
    def name(self) -> str:
        """Name of the tool."""

    @property
    def description(self) -> str:
        """What the model reads about it."""

    def run(self, code: str, *, trajectory: str, images: Sequence[ImageRef], earlier: Sequence[str]) -> CodeOutcome:
        """Run a block of code; what is wrong with it is part of what it came to.

        Args:
            code: The block.
            trajectory: Whose variables it has.
            images: The question's images.
            earlier: The blocks of this trajectory that ran before.
        """

    async def arun(
        self, code: str, *, trajectory: str, images: Sequence[ImageRef], earlier: Sequence[str]
    ) -> CodeOutcome:
        """Run a block of code; see :meth:`run`."""

    def close(self, trajectory: str) -> None:
        """Give up what is kept for a trajectory."""


class CodeBlocks:
    """Code as a tool of the agent's.

    Args:
        runner: Runs it.
    """

    def __init__(self, runner: CodeRunner) -> None:
        self.runner, self.name = runner, runner.name

    def schema(self, coordinates: CoordinateSpace = CoordinateSpace.ABSOLUTE) -> dict[str, Any]:
        """Return the tool in OpenAI's format."""
        schema = convert_to_openai_tool(CodeArguments)
        schema["function"] |= {"name": self.name, "description": self.runner.description}
        return schema

    def code(self, call: ToolCall) -> str:
        """Return the code of a call.

        Raises:
            ToolInputError: There is none.
        """
        code = call["arguments"].get("code")
        if not isinstance(code, str) or not code.strip():
            raise ToolInputError("the argument 'code' must be Python code")
        return code


AgentTool = ToolSpec | LangChainTool | CodeBlocks


Tool = str | BaseTool | ToolSpec | CodeRunner
"""A tool of the agent by name, a LangChain tool, a pure tool, or what runs code."""


def resolve_tools(tools: Sequence[Tool], reserved: frozenset[str] = frozenset()) -> dict[str, AgentTool]:
    """Turn what a caller passes as tools into tools.

    Args:
        tools: Names of the agent's own tools, LangChain tools, pure tools, or what runs code.
        reserved: Names no tool may have.

    Returns:
        The tools by name, in order.

    Raises:
        ArgumentError: There are none, one is unknown, or a name occurs twice or is taken.
        MissingExtraError: OCR is wanted and not installed.
        SandboxUnavailableError: ``"code"`` is wanted, and nothing here can hold code.
    """
    if isinstance(tools, (str, Mapping)) or not isinstance(tools, Sequence):
        raise ArgumentError("tools", "a sequence of tools", f"{type(tools).__name__} {tools!r:.60}")
    found: dict[str, AgentTool] = {}
    for tool in tools:
        made = _resolve(tool)
        if made.name in found:
            raise ArgumentError("tools", "tools of different names", f"{made.name!r} twice")
        if made.name in reserved or not made.name or any(mark in made.name for mark in "|:"):
            expected = "names without ':' and '|' that the agent does not use itself"
            raise ArgumentError("tools", expected, repr(made.name))
        found[made.name] = made
    if not found:
        raise ArgumentError("tools", "at least one tool", "none")
    return found


def resolve_coordinates(coordinates: CoordinateSpace | str) -> CoordinateSpace:
    """Return the coordinate space of a name.

    Raises:
        ArgumentError: It is unknown.
    """
    try:
        return CoordinateSpace(coordinates)
    except ValueError:
        raise ArgumentError("coordinates", f"one of {', '.join(CoordinateSpace)}", repr(coordinates)) from None


def tool_schemas(
    tools: Sequence[Tool], coordinates: CoordinateSpace | str = CoordinateSpace.ABSOLUTE
) -> list[dict[str, Any]]:
    """Return tools in OpenAI's format, as the agent shows them to its model.

    Args:
        tools: As for ``create_visual_agent``.
        coordinates: What the numbers of a box count.

    Raises:
        ArgumentError: A tool or the coordinates are unknown.
    """
    space = resolve_coordinates(coordinates)
    return [tool.schema(space) for tool in resolve_tools(tools).values()]


def _resolve(tool: Any) -> AgentTool:
    known = f"one of {', '.join((*TOOLS, CODE))}, or a LangChain tool"
    if isinstance(tool, str):
        if tool == CODE:
            from langgraph_speceyes.agent.sandbox import CodeTool

            return CodeBlocks(CodeTool())
        if tool not in TOOLS:
            raise ArgumentError("tools", known, repr(tool))
        tool = TOOLS[tool]
    if isinstance(tool, BaseTool):
        return LangChainTool(tool)
    if isinstance(tool, CodeRunner):
        return CodeBlocks(tool)
    if not isinstance(tool, ToolSpec):
        raise ArgumentError("tools", known, type(tool).__name__)
    return tool


def check_reader(tools: Mapping[str, AgentTool], reader: object) -> None:
    """Check that OCR can be done if a tool wants it.

    Raises:
        MissingExtraError: It is not installed.
    """
    if OCR in tools.values() and isinstance(reader, Reader):
        reader.check_installed()


def _tool_error(error: Exception) -> str:
    # ToolNode cannot read a union from a postponed annotation, so the choice is made here.
    if isinstance(error, (ToolInvocationError, ToolException, ToolInputError)):
        return words_of(error)
    raise error


def _request(call: ToolCall, state: Mapping[str, Any]) -> Any:
    name, arguments, id = call["tool"], call["arguments"], call["id"] or "call"
    made = {"type": "tool_call", "name": name, "args": arguments, "id": id}
    return {"__type": "tool_call_with_context", "tool_call": made, "state": dict(state)}


def _observation(result: Any, name: str) -> Observation:
    messages = result["messages"] if isinstance(result, dict) else result
    if len(messages) != 1 or not isinstance(messages[0], ToolMessage):
        kinds = ", ".join(type(message).__name__ for message in messages)
        raise ArgumentError("tools", f"a tool {name!r} that returns text or content blocks", kinds)
    message = messages[0]
    text = question_text(message)
    if message.status == "error":
        raise ToolInputError(text)
    images = tuple(intern_reference(ref) for ref in find_images([message], "tools"))
    return Observation(text=text or None, images=images)

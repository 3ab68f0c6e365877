"""The visual agent: a model that looks closer with tools before it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import Runnable
from langgraph.graph import END, START, StateGraph

from langgraph_speceyes.agent.loop import VisualLoop
from langgraph_speceyes.agent.ocr import Reader, TextReader
from langgraph_speceyes.agent.protocols import (
    AgentProtocol,
    DeepEyesProtocol,
    GrowingProtocol,
    NativeProtocol,
    ThymeProtocol,
)
from langgraph_speceyes.agent.state import VisualAgentInput, VisualAgentOutput, VisualAgentState
from langgraph_speceyes.agent.toolbox import (
    CODE,
    DEFAULT_TOOLS,
    Tool,
    check_reader,
    resolve_coordinates,
    resolve_tools,
)
from langgraph_speceyes.agent.view import least_side_of
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.foreign import hide_keys
from langgraph_speceyes.images import DEFAULT_POLICY, CoordinateSpace, ImagePolicy, ResizeRule, as_rule
from langgraph_speceyes.nodes import DualNode, Route
from langgraph_speceyes.tracing import trace_policy

PROTOCOLS: dict[str, type[NativeProtocol] | type[DeepEyesProtocol] | type[ThymeProtocol]] = {
    "native": NativeProtocol,
    "deepeyes": DeepEyesProtocol,
    "thyme": ThymeProtocol,
}
"""The protocols by name."""
# A node may have neither the name of another node nor that of a state key.
_RESERVED = frozenset({"question", "model", "answer", START, END, *VisualAgentState.__annotations__})


class VisualAgent(StateGraph[VisualAgentState, None, VisualAgentInput, VisualAgentOutput]):
    """The visual agent's graph, which knows how its prompts begin.

    Attributes:
        loop: What its nodes do.
        model: The model without tools.
        front: Messages before the conversation.
        bound: Tools that go to the model by ``bind_tools``, in OpenAI's format; those that are part of `front` do not.
    """

    loop: VisualLoop
    model: Runnable[Any, Any]
    front: tuple[BaseMessage, ...]
    bound: tuple[dict[str, Any], ...]


def create_visual_agent(
    model: BaseChatModel | Runnable[Any, Any],
    *,
    tools: Sequence[Tool] | None = None,
    max_steps: int = 5,
    protocol: str | AgentProtocol | GrowingProtocol = "native",
    system: str | None = None,
    instruction: str | None = None,
    coordinates: CoordinateSpace | str = CoordinateSpace.ABSOLUTE,
    resize: ResizeRule | str | None = None,
    policy: ImagePolicy = DEFAULT_POLICY,
    inline: bool | None = None,
    history: bool = True,
    reader: TextReader | None = None,
    name: str = "visual_agent",
    trace_images: bool = False,
) -> VisualAgent:
    """Create an agent that answers a question about an image and may crop, zoom and read on the way.

    Nodes: ``question`` checks the input, ``model`` asks the model, one node per tool runs its calls one after the
    other, ``answer`` makes the final message. Tools see the original's pixels and return references to regions; no
    image data enters the state.

    Args:
        model: A chat model that takes images.
        tools: Any of ``"crop"``, ``"zoom"``, ``"ocr"`` and ``"code"``, LangChain tools, pure tools (``ToolSpec``), a
            ``CodeTool`` of yours. ``None`` for ``"code"`` with the protocol Thyme, else for the first three.
        max_steps: Most tool steps of a run, failed ones included. After that the model is asked once more, without
            tools, and whatever it says is the answer.
        protocol: ``"native"`` for models with tool calling, ``"deepeyes"`` for models that write calls as text,
            ``"thyme"`` for models that write code, or a protocol with its own settings.
        system: System prompt, in place of the named protocol's.
        instruction: Text at the end of the question, in place of the named protocol's.
        coordinates: What the numbers of the model's boxes count.
        resize: How the model's processor resizes an image, for ``resized`` coordinates and for the fewest pixels that
            a region shows on a side (28, or 32 for ``"qwen3-vl"``): a rule, or the name of a family such as
            ``"qwen2.5-vl"``; ``None`` for the model's own ``resize_rule``.
        policy: Limits of loading images.
        inline: Whether images are sent to the model as base64; ``None`` for yes, unless the model has a true
            ``accepts_image_references``.
        history: Whether the model sees the turns before the question; False for models trained on single questions.
        reader: Reads text for ``ocr``; ``None`` for RapidOCR.
        name: Name of the final message.
        trace_images: Whether the agent's runs in LangSmith show images; by default their digests.

    Returns:
        The graph, not compiled. Input: ``messages`` that end with the user's question. Output: ``messages``, whose
        last one is the answer with ``tool_steps`` in its ``response_metadata``, ``tool_steps`` and ``steps``.
        Running it raises ``InputError`` if there is no question or no image, ``ImageError`` if an image cannot be
        loaded.

    Raises:
        ArgumentError: An argument cannot be used.
        MissingExtraError: ``ocr`` is among the tools and RapidOCR is not installed.
        SandboxUnavailableError: ``code`` is among the tools, and nothing here can hold code.
    """
    if type(max_steps) is not int or max_steps < 1:
        raise ArgumentError("max_steps", "a whole number of at least 1", repr(max_steps))
    hide_keys(model)
    speaks = _resolve_protocol(protocol, system, instruction)
    space = resolve_coordinates(coordinates)
    usual = (CODE,) if isinstance(speaks, GrowingProtocol) else DEFAULT_TOOLS
    by_name = resolve_tools(usual if tools is None else tools, _RESERVED)
    reads = reader if reader is not None else Reader()
    check_reader(by_name, reads)
    schemas = [tool.schema(space) for tool in by_name.values()]
    loop = VisualLoop(
        model=model,
        bound=speaks.bind(model, schemas),
        protocol=speaks,
        tools=by_name,
        schemas=schemas,
        max_steps=max_steps,
        coordinates=space,
        resize=_resolve_resize(model, space, resize),
        policy=policy,
        reader=reads,
        history=history,
        inline=not getattr(model, "accepts_image_references", False) if inline is None else inline,
        name=name,
        least_side=least_side_of(_known_rule(model, resize)),
    )
    graph = VisualAgent(VisualAgentState, input_schema=VisualAgentInput, output_schema=VisualAgentOutput)
    graph.loop, graph.model, graph.front = loop, model, tuple(speaks.front(schemas))
    graph.bound = () if loop.bound is model else tuple(schemas)
    shown = trace_policy(trace_images)
    graph.add_node("question", loop.begin, trace_policy=shown)
    graph.add_node("model", DualNode(loop.ask, loop.aask, trace_images=trace_images), trace_policy=shown)
    graph.add_node("answer", loop.finish, trace_policy=shown)
    graph.add_edge(START, "question")
    graph.add_edge("question", "model")
    graph.add_conditional_edges("model", Route(loop.route), [*by_name, "model", "answer"])
    for tool in by_name:
        graph.add_node(tool, DualNode(loop.look, loop.alook, trace_images=trace_images), trace_policy=shown)
        graph.add_conditional_edges(tool, Route(loop.route), [*by_name, "model"])
    graph.add_edge("answer", END)
    return graph


def _resolve_protocol(
    protocol: str | AgentProtocol | GrowingProtocol, system: str | None, instruction: str | None
) -> AgentProtocol | GrowingProtocol:
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise ArgumentError("protocol", f"one of {', '.join(PROTOCOLS)}, or an AgentProtocol", repr(protocol))
        named: NativeProtocol | DeepEyesProtocol | ThymeProtocol = PROTOCOLS[protocol]()
        named = named if system is None else replace(named, system=system)
        return named if instruction is None else replace(named, instruction=instruction)
    if not isinstance(protocol, AgentProtocol | GrowingProtocol):
        found = type(protocol).__name__
        raise ArgumentError("protocol", f"one of {', '.join(PROTOCOLS)}, or an AgentProtocol", found)
    for argument, text in (("system", system), ("instruction", instruction)):
        if text is not None:
            raise ArgumentError(argument, "nothing beside a protocol object, which has its own", "text")
    return protocol


def _known_rule(model: Any, resize: ResizeRule | str | None) -> ResizeRule | None:
    found = resize if resize is not None else getattr(model, "resize_rule", None)
    return as_rule(found) if isinstance(found, ResizeRule | str) else None


def _resolve_resize(model: Any, space: CoordinateSpace, resize: ResizeRule | str | None) -> ResizeRule | None:
    if space is not CoordinateSpace.RESIZED:
        return None
    rule = as_rule(resize if resize is not None else getattr(model, "resize_rule", None))
    if rule is None:
        can = getattr(model, "capabilities", None)
        found = f"{can.processor}, whose rule is not known" if can is not None else None
        raise ArgumentError("resize", "the rule of the model's processor, for coordinates 'resized'", found)
    try:
        rule.size(rule.factor, rule.factor)
    except ArgumentError as error:
        raise ArgumentError("resize", f"{error.argument} as {error.expected}", error.found) from error
    return rule

"""The agentic subgraph: a loop over a visual model, its tools, and the protocols backbones speak."""

from __future__ import annotations

from langgraph_speceyes.agent.call import Outcome, ToolCall, ToolStep
from langgraph_speceyes.agent.ocr import Reader, TextReader
from langgraph_speceyes.agent.protocols import (
    AgentProtocol,
    DeepEyesProtocol,
    GrowingProtocol,
    NativeProtocol,
    ThymeProtocol,
    Turn,
)
from langgraph_speceyes.agent.question import (
    PINNED_IMAGES,
    TOOL_TEXT_MARK,
    TOOL_TEXT_TAGS,
    find_question,
    images_to_look_at,
    is_user,
    observation_message,
    question_alone,
    question_images,
    turn_begin,
    with_instruction,
)
from langgraph_speceyes.agent.state import VisualAgentInput, VisualAgentOutput, VisualAgentState
from langgraph_speceyes.agent.toolbox import Tool, tool_schemas
from langgraph_speceyes.agent.tools import CROP, OCR, TOOLS, ZOOM, Observation, ToolSpec
from langgraph_speceyes.agent.view import View
from langgraph_speceyes.agent.visual import VisualAgent, create_visual_agent
from langgraph_speceyes.agent.visual_tools import visual_tools
from langgraph_speceyes.images import CoordinateSpace, ResizeRule

__all__ = [
    "CROP",
    "OCR",
    "PINNED_IMAGES",
    "TOOLS",
    "TOOL_TEXT_MARK",
    "TOOL_TEXT_TAGS",
    "ZOOM",
    "AgentProtocol",
    "CoordinateSpace",
    "DeepEyesProtocol",
    "GrowingProtocol",
    "NativeProtocol",
    "Observation",
    "Outcome",
    "Reader",
    "ResizeRule",
    "TextReader",
    "ThymeProtocol",
    "Tool",
    "ToolCall",
    "ToolSpec",
    "ToolStep",
    "Turn",
    "View",
    "VisualAgent",
    "VisualAgentInput",
    "VisualAgentOutput",
    "VisualAgentState",
    "create_visual_agent",
    "find_question",
    "images_to_look_at",
    "is_user",
    "observation_message",
    "question_alone",
    "question_images",
    "tool_schemas",
    "turn_begin",
    "visual_tools",
    "with_instruction",
]

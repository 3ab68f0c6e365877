"""The state of the visual agent."""

from __future__ import annotations

from typing import Annotated

from langchain_core.messages import AnyMessage
from typing_extensions import TypedDict

from langgraph_speceyes.agent.call import Outcome, ToolCall, ToolStep
from langgraph_speceyes.images import MessagesChannel


class VisualAgentInput(TypedDict):
    """What the agent takes: messages that end with the user's question, an image among them."""

    messages: Annotated[list[AnyMessage], MessagesChannel]


class VisualAgentOutput(TypedDict):
    """What the agent returns.

    Attributes:
        messages: The conversation with everything the agent said and saw; the answer is the last message.
        tool_steps: Tool steps of this run.
        steps: Record of these steps.
    """

    messages: Annotated[list[AnyMessage], MessagesChannel]
    tool_steps: int
    steps: list[ToolStep]


class VisualAgentState(VisualAgentOutput):
    """What flows between the nodes.

    Attributes:
        question_id: Id of the message that is being answered.
        calls: The calls of the model's last output, until all are answered.
        outcomes: What the first of these calls came to.
        trajectory: What tells this run from others: its code runs in a worker of its own.
    """

    question_id: str
    calls: list[ToolCall]
    outcomes: list[Outcome]
    trajectory: str

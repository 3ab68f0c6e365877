"""What a protocol is: how tools are offered, calls are read and results are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable

from langgraph_speceyes.agent.call import Outcome, ToolCall
from langgraph_speceyes.agent.question import with_instruction

ToolSchema = dict[str, Any]
"""A tool in OpenAI's format."""


@dataclass(frozen=True)
class Turn:
    """What a model's output means.

    Attributes:
        message: The output as it is kept in the conversation.
        calls: The calls to run, in order; those with an error are told to the model instead.
        answered: Whether the output holds the answer; never true together with calls.
    """

    message: AIMessage
    calls: tuple[ToolCall, ...] = ()
    answered: bool = False


class Speech(Protocol):
    """What every protocol has. It holds settings only and may be shared between agents and threads."""

    def front(self, tools: Sequence[ToolSchema]) -> list[SystemMessage]:
        """Return the messages before the user's. A judge's prompt with the same front shares its tokens."""

    def bind(self, model: Any, tools: Sequence[ToolSchema]) -> Runnable[Any, Any]:
        """Return the model as it is called while it may use tools.

        Raises:
            ArgumentError: The model cannot be given tools this way.
        """

    def prompt(
        self, messages: Sequence[BaseMessage], question: int, *, tools: Sequence[ToolSchema], final: bool
    ) -> list[BaseMessage]:
        """Return what the model is sent.

        Args:
            messages: The conversation; it is not changed.
            question: Index of the question that is being answered.
            tools: The tools on offer.
            final: Whether the model has no steps left and must answer.
        """

    def read(self, message: AIMessage, tools: Sequence[str]) -> Turn:
        """Read an output of the model. Whatever is wrong with it becomes a call with an error.

        Args:
            message: The output.
            tools: Names of the tools on offer.
        """

    def answer(self, message: AIMessage) -> str:
        """Return the plain answer of an output."""


@runtime_checkable
class AgentProtocol(Speech, Protocol):
    """How an agent talks with its model in turns: the model's outputs, and messages with what they came to."""

    def respond(self, outcomes: Sequence[Outcome]) -> list[BaseMessage]:
        """Return the messages that show the model what its calls came to."""

    def remind(self) -> list[BaseMessage]:
        """Return the messages after an output that neither calls a tool nor answers."""


@runtime_checkable
class GrowingProtocol(Speech, Protocol):
    """How an agent talks with a model whose one turn grows: what it wrote, what that came to, what it writes next.

    While the turn is open it is the last message of the conversation, and each output of the model goes on with it. An
    output that neither calls a tool nor answers is dropped, and the model is asked again.
    """

    def options(self, model: Any, prompt: Sequence[BaseMessage], *, again: bool) -> dict[str, Any]:
        """Return the keyword arguments of one call of the model.

        Args:
            model: The model.
            prompt: What it is sent.
            again: Whether its last output was dropped.
        """

    def join(self, opened: AIMessage, said: AIMessage) -> AIMessage:
        """Return the open turn with what the model said next, as one message with the turn's id; usage is added up."""

    def show(self, turn: AIMessage, outcomes: Sequence[Outcome]) -> AIMessage:
        """Return the turn with what the calls at its end came to: the open turn."""

    def is_open(self, message: BaseMessage) -> bool:
        """Return whether a message is a turn that the model is to go on with."""

    def mend(self, code: str, size: Callable[[], tuple[int, int] | None], earlier: Sequence[str] = ()) -> str:
        """Return code as it is run.

        Args:
            code: What the model wrote.
            size: Returns the first image's width and height in pixels; None where they are not known.
            earlier: The blocks of the run so far, as they ran.
        """


def build_prompt(
    front: Sequence[SystemMessage],
    messages: Sequence[BaseMessage],
    question: int,
    *,
    instruction: str,
    final: str,
) -> list[BaseMessage]:
    """Put a prompt together: the front, the conversation, an instruction at the end of the question.

    Args:
        front: Messages before the conversation.
        messages: The conversation.
        question: Index of the question.
        instruction: Text that ends the question, or empty.
        final: Text of a last user turn, or empty.
    """
    asked = with_instruction(messages[question], instruction)
    prompt = [*front, *messages[:question], asked, *messages[question + 1 :]]
    return [*prompt, HumanMessage(final)] if final else prompt

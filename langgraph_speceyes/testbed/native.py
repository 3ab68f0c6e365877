"""What the embedded agent's model was trained on, for an agent made by LangChain's `create_agent`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage

from langgraph_speceyes.agent import find_question, question_alone, with_instruction
from langgraph_speceyes.agent.protocols.tags import find_answer
from langgraph_speceyes.testbed import prompts


class TrainedWords(AgentMiddleware[Any, Any, Any]):
    """Ends the question with the instruction the model was trained on, and takes the answer out of its tags."""

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Ask with the instruction."""
        return handler(_instructed(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Ask with the instruction."""
        return await handler(_instructed(request))

    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """Turn the last output into the plain answer."""
        said = state["messages"][-1]
        if not isinstance(said, AIMessage) or said.tool_calls:
            return None
        return {"messages": [said.model_copy(update={"content": find_answer(said.text)})]}


def _instructed(request: ModelRequest[Any]) -> ModelRequest[Any]:
    found: list[Any] = list(request.messages)
    # trained on single questions
    alone, at = question_alone(found, find_question(found))
    messages: list[Any] = [*alone[:at], with_instruction(alone[at], prompts.AGENT), *alone[at + 1 :]]
    return request.override(messages=messages)

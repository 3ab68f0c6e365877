"""The nodes of the visual agent and the routes between them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langgraph_speceyes.agent.call import Outcome, ToolCall, ToolStep
from langgraph_speceyes.agent.ocr import TextReader
from langgraph_speceyes.agent.protocols import AgentProtocol, GrowingProtocol
from langgraph_speceyes.agent.question import find_question, locate_question, question_alone, question_images
from langgraph_speceyes.agent.sandbox import CodeOutcome
from langgraph_speceyes.agent.state import VisualAgentState
from langgraph_speceyes.agent.toolbox import AgentTool, CodeBlocks, LangChainTool
from langgraph_speceyes.agent.tools import Observation, ToolSpec
from langgraph_speceyes.agent.view import View
from langgraph_speceyes.errors import ArgumentError, ToolInputError
from langgraph_speceyes.foreign import MOST_OF_OURS, foreign_text, foreign_value
from langgraph_speceyes.images import (
    CoordinateSpace,
    ImagePolicy,
    ImageRef,
    ResizeRule,
    check_image,
    in_force,
    inline_images,
    off_loop,
)
from langgraph_speceyes.nodes import State, Update

NOTHING = "neither a tool call nor an answer"

Result = Observation | CodeOutcome | ToolInputError
"""What a call comes to."""


@dataclass(frozen=True)
class VisualLoop:
    """The agent's loop: ask the model, run what it calls, show it the results, until it answers.

    Attributes:
        model: The model without tools.
        bound: The model as it is called while it may use tools.
        protocol: How the model calls tools.
        tools: The tools by name.
        schemas: The tools in OpenAI's format.
        max_steps: Most tool steps of a run.
        coordinates: What the numbers of the model's boxes count.
        resize: How the model's processor resizes images.
        policy: Limits of loading.
        reader: Reads text.
        inline: Whether the model is sent images as base64.
        history: Whether it is shown the turns before the question.
        name: Name of the final message.
        least_side: Fewest pixels on a side of what the model is shown.
        most_pixels: Most pixels of an image that is sent as base64; None for images as they are.
    """

    model: Runnable[Any, Any]
    bound: Runnable[Any, Any]
    protocol: AgentProtocol | GrowingProtocol
    tools: Mapping[str, AgentTool]
    schemas: Sequence[dict[str, Any]]
    max_steps: int
    coordinates: CoordinateSpace
    resize: ResizeRule | None
    policy: ImagePolicy
    reader: TextReader
    inline: bool
    history: bool
    name: str
    least_side: int
    most_pixels: int | None = None

    def begin(self, state: VisualAgentState) -> Update:
        """Find the question and forget the counts of an earlier run."""
        messages = state["messages"]
        question = messages[find_question(messages)]
        fresh: Update = {"tool_steps": 0, "steps": [], "calls": [], "outcomes": [], "trajectory": uuid4().hex}
        return {"question_id": question.id, **fresh}

    def ask(self, state: State, config: RunnableConfig) -> Update:
        """Ask the model."""
        prompt = self._prompt(state)
        message = self._callee(state).invoke(prompt, config, **self._options(state, prompt))
        return self._digest(state, message)

    async def aask(self, state: State, config: RunnableConfig) -> Update:
        """Ask the model; images are encoded in a thread."""
        prompt = await off_loop(self._prompt, state)
        message = await self._callee(state).ainvoke(prompt, config, **self._options(state, prompt))
        return self._digest(state, message)

    def look(self, state: State, config: RunnableConfig) -> Update:
        """Run the next call, and take in what it came to."""
        return self.record(state, *self.run(state, config))

    def run(self, state: State, config: RunnableConfig) -> tuple[ToolCall, Result, float]:
        """Run the next call.

        Returns:
            The call as it was run, what it came to, and how many seconds it took.
        """
        call = _next_call(state)
        tool = self.tools[call["tool"]]
        start = time.perf_counter()
        result: Result
        try:
            if isinstance(tool, LangChainTool):
                result = tool.run(call, state, config)
            elif isinstance(tool, CodeBlocks):
                code, given = self._block(tool, call, state)
                call, result = _as_run(call, code), tool.runner.run(code, **given)
            else:
                result = tool.run(call["arguments"], self._view(state))
        except ToolInputError as error:
            result = error
        return call, result, time.perf_counter() - start

    async def alook(self, state: State, config: RunnableConfig) -> Update:
        """Run the next call; the agent's own tools run in a thread."""
        call = _next_call(state)
        tool = self.tools[call["tool"]]
        if isinstance(tool, ToolSpec):
            return await off_loop(self.look, state, config)
        start = time.perf_counter()
        result: Result
        try:
            if isinstance(tool, LangChainTool):
                result = await tool.arun(call, state, config)
            else:
                code, given = await off_loop(self._block, tool, call, state)
                call, result = _as_run(call, code), await tool.runner.arun(code, **given)
        except ToolInputError as error:
            result = error
        return self.record(state, call, result, time.perf_counter() - start)

    def finish(self, state: VisualAgentState) -> Update:
        """Turn the model's last output into the plain answer."""
        for tool in self.tools.values():
            if isinstance(tool, CodeBlocks):
                tool.runner.close(state["trajectory"])
        raw = cast(AIMessage, state["messages"][-1])
        answer = self.protocol.answer(raw)
        metadata = {**raw.response_metadata, "tool_steps": state["tool_steps"]}
        # Calls made after the last step are never answered, and servers refuse histories that hold such calls.
        extra = {key: value for key, value in raw.additional_kwargs.items() if key != "tool_calls"}
        if raw.content == answer:
            changes = {"name": self.name, "response_metadata": metadata, "additional_kwargs": extra}
            return {"messages": [raw.model_copy(update=changes)]}
        final = AIMessage(
            content=answer,
            name=self.name,
            response_metadata={**metadata, "raw_output": str(raw.text)},
            additional_kwargs=extra,
            usage_metadata=raw.usage_metadata,
        )
        # A new id: a stream of messages shows only ids it has not shown yet.
        return {"messages": [RemoveMessage(id=str(raw.id)), final]}

    def route(self, state: State) -> str:
        """Return the next node: the tool called next, the answer, or the model."""
        if state["calls"]:
            return _next_call(state)["tool"]
        last = state["messages"][-1]
        return "answer" if isinstance(last, AIMessage) and not self._is_open(last) else "model"

    def _callee(self, state: State) -> Runnable[Any, Any]:
        return self.bound if state["tool_steps"] < self.max_steps else self.model

    def _prompt(self, state: State) -> list[BaseMessage]:
        messages = state["messages"]
        question = locate_question(messages, state["question_id"])
        if not self.history:
            messages, question = question_alone(messages, question)
        final = state["tool_steps"] >= self.max_steps
        with in_force(self.policy):
            prompt = self.protocol.prompt(messages, question, tools=self.schemas, final=final)
        return inline_images(prompt, self.policy, most_pixels=self.most_pixels) if self.inline else prompt

    def _options(self, state: State, prompt: Sequence[BaseMessage]) -> dict[str, Any]:
        """How the model is called with a prompt."""
        if not isinstance(self.protocol, GrowingProtocol):
            return {}
        steps = state["steps"]
        return self.protocol.options(self.model, prompt, again=bool(steps) and steps[-1]["error"] == NOTHING)

    def _is_open(self, message: BaseMessage) -> bool:
        return isinstance(self.protocol, GrowingProtocol) and self.protocol.is_open(message)

    def _images(self, state: State) -> list[ImageRef]:
        messages = state["messages"]
        question = locate_question(messages, state["question_id"])
        return question_images(messages[: question + 1])

    def _view(self, state: State) -> View:
        settings = (self.coordinates, self.resize, self.policy, self.reader, self.least_side, self.most_pixels)
        return View(self._images(state), *settings)

    def _block(self, tool: CodeBlocks, call: ToolCall, state: State) -> tuple[str, dict[str, Any]]:
        """A block of code as it is run, and what it is run with.

        Raises:
            ToolInputError: There is none.
        """
        code, images = tool.code(call), self._images(state)
        # a block that failed has left no variables
        earlier = [s["arguments"]["code"] for s in state["steps"] if s["tool"] == tool.name and s["error"] is None]
        if isinstance(self.protocol, GrowingProtocol):
            code = self.protocol.mend(code, lambda: check_image(images[0], self.policy), earlier)
        return code, {"trajectory": state["trajectory"], "images": images, "earlier": earlier}

    def _digest(self, state: State, message: Any) -> Update:
        """Take in an output of the model."""
        if not isinstance(message, AIMessage):
            raise ArgumentError("model", "a chat model, which returns an AIMessage", type(message).__name__)
        if state["tool_steps"] >= self.max_steps:
            if self._is_open(message):
                # what it pretends to have been shown is no reason to ask it again
                message = self.protocol.read(message, list(self.tools)).message
            return {"messages": [message.model_copy(update={"tool_calls": [], "invalid_tool_calls": []})]}
        turn = self.protocol.read(message, list(self.tools))
        if turn.answered:
            return {"messages": [turn.message]}
        if not turn.calls:
            step = _failed(ToolCall(id="", tool="", arguments={}, error=None), NOTHING, 0.0)
            steps = [*state["steps"], step]
            counted: Update = {"steps": steps, "tool_steps": len(steps)}
            if isinstance(self.protocol, GrowingProtocol):
                return counted
            return {"messages": [turn.message, *self.protocol.remind()], **counted}
        room = self.max_steps - state["tool_steps"]
        refusal = f"not run: all {self.max_steps} tool steps are used"
        refused = [ToolCall({**call, "error": refusal}) for call in turn.calls[room:]]
        said = turn.message
        if isinstance(self.protocol, GrowingProtocol) and self.protocol.is_open(last := state["messages"][-1]):
            said = self.protocol.join(cast(AIMessage, last), said)
        return self._settle([*turn.calls[:room], *refused], [], state["steps"], said, new=True)

    def record(self, state: State, call: ToolCall, result: Result, seconds: float) -> Update:
        """Take in what a call came to."""
        if isinstance(result, ToolInputError):
            step = _failed(call, str(result), seconds)
            outcome = _outcome(call, error=str(result))
        else:
            images = [ref.uri for ref in result.images]
            box, error = (None, result.error) if isinstance(result, CodeOutcome) else (result.box, None)
            step = ToolStep(
                tool=call["tool"],
                # code is kept as it is: a resumed run replays it
                arguments=call["arguments"] if isinstance(result, CodeOutcome) else foreign_value(call["arguments"]),
                box=None if box is None else list(box),
                image=images[0] if images else None,
                text=None if result.text is None else foreign_text(result.text, MOST_OF_OURS),
                error=error,
                seconds=seconds,
            )
            outcome = _outcome(call, text=result.text, images=images, error=error)
        message = cast(AIMessage, state["messages"][-1])
        return self._settle(state["calls"], [*state["outcomes"], outcome], [*state["steps"], step], message)

    def _settle(
        self,
        calls: list[ToolCall],
        outcomes: list[Outcome],
        steps: list[ToolStep],
        message: AIMessage,
        *,
        new: bool = False,
    ) -> Update:
        """Answer the calls that cannot be run, and tell the model once every call has its outcome.

        Args:
            calls: The calls.
            outcomes: What the first of them came to.
            steps: The steps so far.
            message: The message that makes the calls.
            new: Whether it is not in the state yet.
        """
        outcomes, steps = list(outcomes), list(steps)
        while len(outcomes) < len(calls) and (error := calls[len(outcomes)]["error"]) is not None:
            call = calls[len(outcomes)]
            outcomes.append(_outcome(call, error=error))
            if len(steps) < self.max_steps:
                steps.append(_failed(call, error, 0.0))
        messages: list[BaseMessage] = [message] if new else []
        if len(outcomes) == len(calls):
            if isinstance(self.protocol, GrowingProtocol):
                messages = [self.protocol.show(message, outcomes)]
            else:
                messages += self.protocol.respond(outcomes)
            calls, outcomes = [], []
        update: Update = {"calls": calls, "outcomes": outcomes, "steps": steps, "tool_steps": len(steps)}
        return {**update, "messages": messages} if messages else update


def _next_call(state: State) -> ToolCall:
    call: ToolCall = state["calls"][len(state["outcomes"])]
    return call


def _as_run(call: ToolCall, code: str) -> ToolCall:
    return {**call, "arguments": {**call["arguments"], "code": code}}


def _outcome(call: ToolCall, text: str | None = None, images: Sequence[str] = (), error: str | None = None) -> Outcome:
    return Outcome(id=call["id"], tool=call["tool"], text=text, images=list(images), error=error)


def _failed(call: ToolCall, error: str, seconds: float) -> ToolStep:
    return ToolStep(
        tool=foreign_text(call["tool"]),
        arguments=foreign_value(call["arguments"]),
        box=None,
        image=None,
        text=None,
        error=foreign_text(error),
        seconds=seconds,
    )

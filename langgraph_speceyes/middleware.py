"""The bypass as middleware of LangChain's `create_agent`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from os import PathLike
from typing import Annotated, Any, Literal, NotRequired

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langgraph.config import get_config
from langgraph.graph import END
from langgraph.runtime import Runtime

from langgraph_speceyes.agent import is_user, observation_message
from langgraph_speceyes.agent.protocols.native import IMAGE_FOLLOWS
from langgraph_speceyes.behind.fallback import spent, tool_calls
from langgraph_speceyes.decision import decide, signed
from langgraph_speceyes.errors import ArgumentError, MissingExtraError
from langgraph_speceyes.events import emit
from langgraph_speceyes.front.order import Order
from langgraph_speceyes.front.prompts import Prompts
from langgraph_speceyes.graph import FrontEnd
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy, inline_images, parse_block
from langgraph_speceyes.question import FollowUps
from langgraph_speceyes.scoring import Gate, resolve_gate
from langgraph_speceyes.state import Decision, Judgment, Query, Records, Speculation, Verdict
from langgraph_speceyes.tracing import masked_beneath

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
    from langchain.agents.middleware.types import OmitFromInput, PrivateStateAttr
except ModuleNotFoundError as missing:
    raise MissingExtraError("SpecEyesMiddleware", "middleware") from missing

ToolImages = Literal["tool", "user"]


class SpecEyesAgentState(AgentState[Any]):
    """What the middleware adds to the agent's state: the decision, and records that stay private."""

    decision: NotRequired[Annotated[Decision | None, OmitFromInput]]
    speceyes_query: NotRequired[Annotated[Query, PrivateStateAttr]]
    speceyes_judgment: NotRequired[Annotated[Judgment | None, PrivateStateAttr]]
    speceyes_speculation: NotRequired[Annotated[Speculation | None, PrivateStateAttr]]
    speceyes_verdict: NotRequired[Annotated[Verdict | None, PrivateStateAttr]]
    speceyes_agent_began: NotRequired[Annotated[float, PrivateStateAttr]]


class SpecEyesMiddleware(AgentMiddleware[SpecEyesAgentState, Any, Any]):
    """Put the speculative bypass into an agent made by `create_agent`; the same as :func:`create_speceyes` around it.

    Before the agent's first model call, judge, speculator and gate run as a graph of their own. What the gate accepts
    is the agent's answer; everything else goes on as without the middleware. Either way the last message's
    `response_metadata["speceyes"]` and the state's `decision` say what was decided and why.

    It also prepares images for the agent's model: references (paths, regions that
    :func:`~langgraph_speceyes.visual_tools` returned) become base64 for models that read no local files.

    Args:
        speculator: The small model ``M_S``; any chat model that returns `logprobs` with `top_logprobs`.
        judge: The large model ``M_L``; None leaves the judgment out.
        gate: A :class:`Gate`, a threshold for the `min` score at K = 64, or the path of a gate file.
        judge_threshold: Probability of tool need from which the judge screens a query out.
        order: ``"judge_first"``, ``"speculate_first"``, ``"parallel"`` or ``"auto"``.
        follow_ups: Which later turns of a thread the front end may answer: ``"judge"``, ``"agent"`` or ``"bypass"``.
        prompts: Instructions for judge and speculator.
        policy: Limits for images, and whether remote ones and which folders are allowed.
        max_answer_tokens: Most tokens of a speculation.
        timeout_s: Longest wait for each of judge and speculator, in seconds.
        strict: Raise :class:`PhaseError` when judge, speculator or gate fail, instead of falling back to the agent.
        tool_images: ``"user"`` moves images of tool results into a user message behind them, for servers that refuse
            them in tool messages (OpenAI's chat completions; `speceyes probe` tells); ``"tool"`` leaves them.
        trace_images: Whether the runs of front end and agent's model show images in LangSmith; by default their
            digests. The agent's other runs hold what the caller passes: for inline images see :func:`masked_client`.

    Raises:
        ArgumentError: As :func:`create_speceyes`.
        GateMismatchError: The gate file was calibrated for other models.
        MissingExtraError: LangChain is not installed (extra `middleware`).
    """

    state_schema = SpecEyesAgentState

    def __init__(
        self,
        speculator: BaseChatModel,
        *,
        judge: BaseChatModel | None = None,
        gate: Gate | float | str | PathLike[str] | None = None,
        judge_threshold: float | None = None,
        order: Order = "judge_first",
        follow_ups: FollowUps = "judge",
        prompts: Prompts | None = None,
        policy: ImagePolicy = DEFAULT_POLICY,
        max_answer_tokens: int = 64,
        timeout_s: float | None = None,
        strict: bool = False,
        tool_images: ToolImages = "tool",
        trace_images: bool = False,
    ) -> None:
        super().__init__()
        if tool_images not in ("tool", "user"):
            raise ArgumentError("tool_images", "tool or user", repr(tool_images))
        self.gate, self.policy, self.tool_images = resolve_gate(gate), policy, tool_images
        front = FrontEnd(
            speculator,
            judge=judge,
            gate=self.gate,
            judge_threshold=judge_threshold,
            order=order,
            follow_ups=follow_ups,
            prompts=prompts,
            policy=policy,
            max_answer_tokens=max_answer_tokens,
            timeout_s=timeout_s,
            strict=strict,
            trace_images=trace_images,
        )
        self.notes = front.notes
        self._beneath = nullcontext if trace_images else masked_beneath
        # over before the agent's next step: nothing of it is worth a checkpoint of its own
        self.front = front.graph().compile(name="speceyes", checkpointer=False)
        self.chooser = front.chooser

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: SpecEyesAgentState, runtime: Runtime[Any]) -> dict[str, Any]:
        """Run the front end; end with its answer if it has one."""
        with self._beneath():
            found = self.front.invoke({"messages": state["messages"]})
        return self._begun(found, state)

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: SpecEyesAgentState, runtime: Runtime[Any]) -> dict[str, Any]:
        """Run the front end; see :meth:`before_agent`."""
        with self._beneath():
            found = await self.front.ainvoke({"messages": state["messages"]})
        return self._begun(found, state)

    def after_agent(self, state: SpecEyesAgentState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Put the decision on record when the agent has answered."""
        if state.get("decision") is not None:
            return None
        messages = state["messages"]
        answer = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
        if answer is None:
            return None
        new = since_question(messages)
        calls = tool_calls(new)
        decision = decide(
            state,
            self.gate,
            "fallback",
            agent_seconds=time.time() - state["speceyes_agent_began"],
            agent_tokens=spent(new),
            tool_steps=len(calls),
            tool_calls=calls,
        )
        if self.chooser:
            self.chooser.learn(decision)
        emit("decision", decision, state)
        self.notes.phase(get_config(), state, {"decision": decision})
        return {"messages": [signed(answer, decision)], "decision": decision}

    async def aafter_agent(self, state: SpecEyesAgentState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Put the decision on record; see :meth:`after_agent`."""
        return self.after_agent(state, runtime)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Call the agent's model with images as it takes them."""
        prepared = request.override(messages=self._prepared(request))
        with self._beneath():
            return handler(prepared)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Call the agent's model with images as it takes them, encoded off the event loop."""
        prepared = request.override(messages=await asyncio.to_thread(self._prepared, request))
        with self._beneath():
            return await handler(prepared)

    def _begun(self, found: Mapping[str, Any], state: SpecEyesAgentState) -> dict[str, Any]:
        records = {key: found[key] for key in Records.__annotations__ if key in found}
        decision = found.get("decision")
        self.notes.phase(get_config(), {**state, **records}, {**records, "decision": decision})
        self.notes.route(get_config(), "bypass" if decision else END)
        if decision is None:
            return {**records, "decision": None, "speceyes_agent_began": time.time()}
        return {**records, "decision": decision, "messages": [found["messages"][-1]], "jump_to": "end"}

    def _prepared(self, request: ModelRequest[Any]) -> list[AnyMessage]:
        messages: list[Any] = list(request.messages)
        if not getattr(request.model, "accepts_image_references", False):
            messages = inline_images(messages, self.policy)
        return images_behind_tools(messages) if self.tool_images == "user" else messages


def images_behind_tools(messages: list[AnyMessage]) -> list[AnyMessage]:
    """Move images of tool results into a user message behind the results they belong to."""
    moved: list[AnyMessage] = []
    pictures: list[Any] = []
    for message in messages:
        if not isinstance(message, ToolMessage) and pictures:
            moved.append(observation_message(pictures))
            pictures = []
        if isinstance(message, ToolMessage) and isinstance(message.content, list):
            images = [block for block in message.content if parse_block(block) is not None]
            if images:
                rest = [block for block in message.content if parse_block(block) is None]
                message = message.model_copy(update={"content": [*rest, {"type": "text", "text": IMAGE_FOLLOWS}]})
                pictures += [{"type": "text", "text": f"Result of {message.name}:"}, *images]
        moved.append(message)
    return [*moved, observation_message(pictures)] if pictures else moved


def since_question(messages: list[AnyMessage]) -> list[AnyMessage]:
    """What came after the user's newest turn."""
    last = next((i for i in range(len(messages) - 1, -1, -1) if is_user(messages[i])), -1)
    return list(messages[last + 1 :])

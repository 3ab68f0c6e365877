"""The bypass as middleware of LangChain's `create_agent`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import is_dataclass, replace
from typing import Annotated, Any, Literal, NotRequired, Unpack

from langchain_core.messages import AnyMessage, ToolMessage
from langchain_core.runnables import Runnable
from langgraph.config import get_config
from langgraph.graph import END
from langgraph.runtime import Runtime

from langgraph_speceyes.agent import PINNED_IMAGES, observation_message
from langgraph_speceyes.agent.protocols.native import IMAGE_FOLLOWS
from langgraph_speceyes.behind.again import AgentAgain
from langgraph_speceyes.behind.agent import adopt
from langgraph_speceyes.behind.fallback import tool_calls, written_tokens
from langgraph_speceyes.behind.history import answer_of
from langgraph_speceyes.behind.pinned import question_images
from langgraph_speceyes.behind.runs import Runs
from langgraph_speceyes.behind.schema import MESSAGES
from langgraph_speceyes.contained import contained
from langgraph_speceyes.decision import decide, signed
from langgraph_speceyes.errors import ArgumentError, ImageError, MissingExtraError
from langgraph_speceyes.front.end import FrontEnd
from langgraph_speceyes.front.insides import author_in
from langgraph_speceyes.front.nested import arun_nested, run_nested
from langgraph_speceyes.front.structured import STRUCTURED, AnswerForm
from langgraph_speceyes.graph import front_graph
from langgraph_speceyes.images import (
    ImagePolicy,
    in_force,
    inline_images,
    inline_local_images,
    is_image_block,
    off_loop,
)
from langgraph_speceyes.models.given import Model
from langgraph_speceyes.options import Options, Settings, check_choice
from langgraph_speceyes.state import Decision, Depth, Judgment, Query, Records, Speculation, Verdict, query_id
from langgraph_speceyes.tracing import masked_beneath
from langgraph_speceyes.traffic.attach import attach

try:
    from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, ModelResponse, hook_config
    from langchain.agents.middleware.types import OmitFromInput, PrivateStateAttr
except ModuleNotFoundError as missing:
    raise MissingExtraError("SpecEyesMiddleware", "middleware") from missing

ToolImages = Literal["tool", "user"]


class SpecEyesAgentState(AgentState[Any]):
    """What the middleware adds to the agent's state: the decision, and records that stay private."""

    decision: NotRequired[Annotated[Decision | None, OmitFromInput]]
    speceyes_query: NotRequired[Annotated[Query | None, PrivateStateAttr]]
    speceyes_judgment: NotRequired[Annotated[Judgment | None, PrivateStateAttr]]
    speceyes_speculation: NotRequired[Annotated[Speculation | None, PrivateStateAttr]]
    speceyes_verdict: NotRequired[Annotated[Verdict | None, PrivateStateAttr]]
    speceyes_depths: NotRequired[Annotated[list[Depth] | None, PrivateStateAttr]]
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
        tool_images: ``"user"`` moves images of tool results into a user message behind them, for servers that refuse
            them in tool messages (OpenAI's chat completions; `speceyes probe` tells); ``"tool"`` leaves them.
        settings: The front end's settings, `judge`, `gate`, `order` and others:
            :class:`~langgraph_speceyes.options.Options`.

    Raises:
        ArgumentError: As :func:`create_speceyes`.
        GateMismatchError: The gate file was calibrated for other models.
        MissingExtraError: LangChain is not installed (extra `middleware`).
    """

    state_schema = SpecEyesAgentState

    def __init__(self, speculator: Model, *, tool_images: ToolImages = "tool", **settings: Unpack[Settings]) -> None:
        super().__init__()
        check_choice("tool_images", tool_images, ("tool", "user"))
        options = Options.of(speculator, settings)
        if options.cache_policy is not None and options.cache is None:
            raise ArgumentError(
                "cache", "a cache beside cache_policy: the agent's own cannot be seen from within", None
            )
        front = FrontEnd(options, form=AnswerForm(known=False))
        # the answer is put into the agent's form here: another question's call may tell that form at any moment
        front.bypass.form = AnswerForm()
        self.gate, self.policy, self.tool_images = front.gate, options.policy, tool_images
        self.notes = front.notes
        self._beneath = nullcontext if options.trace_images else masked_beneath
        # over before the agent's next step: nothing of it is worth a checkpoint of its own
        self.front = front_graph(front).compile(name="speceyes", checkpointer=False)
        self.settled, self.adapter = front.settled, front.adapter
        self.traffic = attach(front, [MESSAGES])
        self._runs, self._form = Runs(), front.form
        self._author: Callable[[], str | None] = _inherited_author

    def audit_with(self, agent: Runnable[Any, Any]) -> None:
        """Give the agent that audits ask: the one that this middleware is part of, which exists only after it.

        Args:
            agent: What `create_agent` returned.

        Raises:
            ArgumentError: It is no agent.
        """
        self.traffic.again = AgentAgain(adopt(agent, self.policy, None, False), self.adapter, mode="off")

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: SpecEyesAgentState, runtime: Runtime[Any]) -> dict[str, Any]:
        """Run the front end; end with its answer if it has one."""
        with self._beneath():
            found = run_nested(self.front, self._given(state))
        return self._begun(found, state)

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: SpecEyesAgentState, runtime: Runtime[Any]) -> dict[str, Any]:
        """Run the front end; see :meth:`before_agent`."""
        with self._beneath():
            found = await arun_nested(self.front, self._given(state))
        return self._begun(found, state)

    def after_agent(self, state: SpecEyesAgentState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Put the decision on record when the agent has answered."""
        if state.get("decision") is not None:
            return None
        run = self._runs.end(query_id(state))
        messages = list(state["messages"])
        if run.bypassed is not None:
            return {"decision": run.bypassed}
        new = messages[query["seen"]["count"] :] if (query := state.get("speceyes_query")) else []
        calls = tool_calls(new)
        decision = decide(
            state,  # type: ignore[arg-type]
            self.gate,
            "fallback",
            agent_seconds=run.cost.seconds,
            person_seconds=run.waited(time.time() - state.get("speceyes_agent_began", time.time())),
            agent_tokens=run.cost.tokens if run.cost.model_calls else written_tokens(new),
            model_calls=run.cost.model_calls,
            tool_steps=len(calls) or run.cost.tool_steps,
            tool_calls=calls,
        )
        decision, answer = self.settled.costs.priced(decision), answer_of(messages)
        self.settled.answered(state, decision, state, answer)
        self.notes.phase(get_config(), state, {"decision": decision})
        said = {} if answer is None else {"messages": [signed(answer, decision)]}
        return {**said, "decision": decision}

    async def aafter_agent(self, state: SpecEyesAgentState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """Put the decision on record; see :meth:`after_agent`."""
        return self.after_agent(state, runtime)

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Run a tool that may look at the question's images."""
        with in_force(self.policy), self._runs.working(query_id(request.state)), contained():
            return handler(self._pinned(request))

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Run a tool; see :meth:`wrap_tool_call`."""
        with in_force(self.policy), self._runs.working(query_id(request.state)), contained():
            return await handler(self._pinned(request))

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Call the agent's model with images as it takes them."""
        if (answer := self._answered(request, handler)) is not None:
            return answer
        prepared = request.override(messages=self._prepared(request))
        with self._beneath(), in_force(self.policy), self._runs.working(query_id(request.state)), contained():
            return handler(prepared)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Call the agent's model with images as it takes them, encoded off the event loop."""
        if (answer := self._answered(request, handler)) is not None:
            return answer
        prepared = request.override(messages=await off_loop(self._prepared, request))
        with self._beneath(), in_force(self.policy), self._runs.working(query_id(request.state)), contained():
            return await handler(prepared)

    def _given(self, state: SpecEyesAgentState) -> Any:
        return {"messages": state["messages"], "speceyes_query": state.get("speceyes_query")}

    def _begun(self, found: Mapping[str, Any], state: SpecEyesAgentState) -> dict[str, Any]:
        records = {key: found[key] for key in Records.__annotations__ if key in found}
        decision = found.get("decision")
        both: Any = {**state, **records}
        self._runs.begin(query_id(both), [image.uri for image in question_images(self.adapter, both)])
        earlier = {STRUCTURED: None} if state.get(STRUCTURED) is not None else {}
        if decision is None:
            self._noted(both, records, None)
            return {**records, "decision": None, "speceyes_agent_began": time.time()}
        answer = found["messages"][-1].model_copy(update={"name": self._author()})
        formed = self._formed(answer.text) if self._form.known else None
        if formed is not None:
            self._noted(both, records, decision)
            return {**records, **earlier, **formed, "decision": decision, "messages": [answer], "jump_to": "end"}
        # only a call of the agent's model shows in which form the agent answers
        self._runs.propose(query_id(both), answer, decision)
        return {**records, **earlier, "decision": None, "speceyes_agent_began": time.time()}

    def _noted(self, state: Any, records: dict[str, Any], decision: Decision | None) -> None:
        self.notes.phase(get_config(), state, {**records, "decision": decision})
        self.notes.route(get_config(), "bypass" if decision else END)

    def _answered(self, request: ModelRequest[Any], handler: object) -> ModelResponse[Any] | None:
        """The front end's answer in place of the agent's first model call, if it has one."""
        self._form.learn(request.response_format)
        author = author_in(handler)
        self._author = lambda: author
        key = query_id(request.state)
        proposed = self._runs.proposed(key)
        if proposed is None:
            return None
        answer, decision = proposed
        state: Any = request.state
        if (formed := self._formed(answer.text)) is None:
            self._noted(state, {}, None)
            return None
        self._noted(state, {}, decision)
        self._runs.accept(key, decision)
        answer = answer.model_copy(update={"name": author})
        return ModelResponse(result=[answer], structured_response=formed.get(STRUCTURED))

    def _formed(self, text: str) -> dict[str, Any] | None:
        """What an answer is beside a message; None where it has not the form that the agent answers in."""
        try:
            return self._form.read(text)
        except ValueError:
            return None

    def _pinned(self, request: Any) -> Any:
        """The call of a tool, told of the question's images: an agent's own messages may hide or remove them."""
        images, runtime = self._runs.images(query_id(request.state)), getattr(request, "runtime", None)
        if not images or not is_dataclass(runtime):
            return request
        config = getattr(runtime, "config", None) or {}
        settings = {**(config.get("configurable") or {}), PINNED_IMAGES: images}
        return request.override(runtime=replace(runtime, config={**config, "configurable": settings}))  # type: ignore[type-var]

    def _prepared(self, request: ModelRequest[Any]) -> list[AnyMessage]:
        messages: list[Any] = list(request.messages)
        if not getattr(request.model, "accepts_image_references", False):
            messages = _inlined(messages, self.policy)
        return images_behind_tools(messages) if self.tool_images == "user" else messages


def _inlined(messages: list[Any], policy: ImagePolicy) -> list[Any]:
    """Messages whose images a hosted model can read, as far as they can be opened here."""
    prepared = []
    for message in messages:
        try:
            prepared.append(inline_images([message], policy, among=messages)[0])
        except ImageError:
            prepared.append(inline_local_images([message], policy, among=messages)[0])
    return prepared


def _inherited_author() -> str | None:
    """The agent's name as its runs are told it; those of an agent without one within another are told that one's."""
    name = (get_config().get("metadata") or {}).get("lc_agent_name")
    return name if isinstance(name, str) else None


def images_behind_tools(messages: list[AnyMessage]) -> list[AnyMessage]:
    """Move images of tool results into a user message behind the results they belong to."""
    moved: list[AnyMessage] = []
    pictures: list[Any] = []
    for message in messages:
        if not isinstance(message, ToolMessage) and pictures:
            moved.append(observation_message(pictures))
            pictures = []
        if isinstance(message, ToolMessage) and isinstance(message.content, list):
            images = [block for block in message.content if is_image_block(block)]
            if images:
                rest = [block for block in message.content if not is_image_block(block)]
                message = message.model_copy(update={"content": [*rest, {"type": "text", "text": IMAGE_FOLLOWS}]})
                pictures += [{"type": "text", "text": f"Result of {message.name}:"}, *images]
        moved.append(message)
    return [*moved, observation_message(pictures)] if pictures else moved

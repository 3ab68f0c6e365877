"""The four phases wired as a LangGraph state graph. The file to read first.

START -> intake -> judge -> speculate -> gate -> bypass -> END
            |        |          |          |
            +--------+----------+----------+--> agent -> END

With `hedge=True` judge, speculator, gate and agent run at the same time in one node, which ends where they would:

START -> intake -> race -> bypass -> END
            |        |
            +--------+--> agent -> END
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from os import PathLike
from typing import Any, NotRequired

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol

from langgraph_speceyes.adapter import QueryFromState, StateAdapter, UpdateFromAnswer
from langgraph_speceyes.agent import VisualAgent
from langgraph_speceyes.behind.adopted import AdoptedAgent, adopt, extended
from langgraph_speceyes.behind.fallback import OUTPUT_MODES, Fallback, OutputMode
from langgraph_speceyes.behind.slots import Slots
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front.bypass import Bypass
from langgraph_speceyes.front.calling import ModelCall, check_use
from langgraph_speceyes.front.gate import GatePhase
from langgraph_speceyes.front.intake import Intake
from langgraph_speceyes.front.judge import Judge
from langgraph_speceyes.front.models import Model, chat_models, resolve_model
from langgraph_speceyes.front.order import ORDERS, Order, OrderChooser
from langgraph_speceyes.front.prompts import Prompts, system_message
from langgraph_speceyes.front.speculate import Speculate
from langgraph_speceyes.hedge.race import Race, raced
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.models.endpoint import model_name
from langgraph_speceyes.nodes import DualNode, Route
from langgraph_speceyes.question import FOLLOW_UPS, FollowUps
from langgraph_speceyes.scoring import Gate, resolve_gate
from langgraph_speceyes.state import Decision, InputState, Records, SpecEyesState
from langgraph_speceyes.tracing import RunNotes, trace_policy

JUDGE_CANDIDATES = 20
"""Candidates the judge is asked for at its one token: what vLLM and hosted APIs give without being reconfigured."""
NODES = ("intake", "judge", "speculate", "gate", "bypass", "agent")
HEDGED_NODES = ("intake", "race", "bypass", "agent")


def create_speceyes(
    agent: PregelProtocol[Any, Any, Any, Any] | StateGraph[Any, Any, Any, Any] | Runnable[Any, Any],
    *,
    speculator: BaseChatModel,
    judge: BaseChatModel | None = None,
    gate: Gate | float | str | PathLike[str] | None = None,
    judge_threshold: float | None = None,
    order: Order = "judge_first",
    follow_ups: FollowUps = "judge",
    query_from_state: QueryFromState | None = None,
    update_from_answer: UpdateFromAnswer | None = None,
    state_schema: type[Any] | None = None,
    output_mode: OutputMode = "full_history",
    prompts: Prompts | None = None,
    policy: ImagePolicy = DEFAULT_POLICY,
    max_answer_tokens: int = 64,
    timeout_s: float | None = None,
    max_concurrent_agents: int | Slots | None = None,
    hedge: bool = False,
    strict: bool = False,
    trace_images: bool = False,
) -> StateGraph[Any, Any, Any, Any]:
    """Put a speculative bypass in front of a visual agent.

    The judge (the large model, one token) screens out queries that need tools; the speculator (a small model without
    tools) answers the rest; the gate accepts answers whose score reaches its threshold; everything else goes to the
    agent (paper, section 3). The agent's state is extended by `decision` and otherwise stays what it is: what the agent
    takes and returns, this graph takes and returns, with the agent's reducers and context.

    Args:
        agent: Any LangGraph agent, compiled or not, a `RemoteGraph`, or another runnable over `messages`.
        speculator: The small model ``M_S``; any chat model that returns `logprobs` with `top_logprobs`.
        judge: The large model ``M_L``; None leaves the judgment out.
        gate: A :class:`Gate`, a threshold for the `min` score at K = 64, or the path of a gate file.
        judge_threshold: Probability of tool need from which the judge screens a query out; the default is the gate
            file's, else 0.5.
        order: ``"judge_first"``; ``"speculate_first"``, which pays where the speculator costs less than the judge:
            ``c_S + P(accepted) * c_J`` instead of ``c_J + beta * c_S`` in front; ``"parallel"``, which pays where they
            run on different devices or servers: ``max(c_J, c_S)``. All give the same routes. ``"auto"`` measures, and
            takes what costs least, also leaving the judge out while it overrules nothing
            (:class:`~langgraph_speceyes.front.order.OrderChooser`).
        follow_ups: Which later turns of a thread the front end, which sees the newest turn only, may answer.
            ``"judge"``: those with an image of their own of which the judge says that they stand on their own, so none
            without a judge; ``"agent"``: none; ``"bypass"``: all, each about the newest image.
        query_from_state: For agents whose question is not in `messages`: from the state, the question as a message
            with image and text (`image_question`), or the conversation that ends with it.
        update_from_answer: From the answer (an AI message) and the state, the state update that the agent itself would
            make: needed beside `query_from_state`; without it for keys other than `messages`, such as a
            `structured_response`.
        state_schema: The agent's state, where it cannot be seen (remote agents, plain runnables); the default for those
            is `messages`.
        output_mode: ``"full_history"``: the agent leaves all its messages in the state, as it does alone;
            ``"last_message"``: its answer only.
        prompts: Instructions for judge and speculator.
        policy: Limits for images, and whether remote ones and which folders are allowed.
        max_answer_tokens: Most tokens of a speculation.
        timeout_s: Longest wait for each of judge and speculator, in seconds.
        max_concurrent_agents: Cap on agent runs at once; a :class:`Slots` shared by several graphs caps them together.
        hedge: Start the agent at once, at the same time as judge and speculator, and cancel it when the gate accepts.
            It takes the front end's latency off the questions that fall back, and costs the agent's work on those that
            are bypassed (`decision["hedge"]`). Not for agents whose tools change anything outside: a cancelled agent
            may already have used them, and one that stops for an interrupt uses them again.
        strict: Raise :class:`PhaseError` when judge, speculator or gate fail, instead of falling back to the agent.
        trace_images: Whether runs in LangSmith show images; by default every run that this graph starts, the agent's
            included, shows their digests. The graph's own run holds what the caller passes: for inline images see
            :func:`masked_client`.

    Returns:
        An uncompiled graph with the nodes `intake`, `judge`, `speculate`, `gate`, `bypass` and `agent`; with `hedge`
        `race` is in the place of `judge`, `speculate` and `gate`. Compile it with your checkpointer and store, or add
        it compiled to a larger graph.

    Raises:
        ArgumentError: The agent's state lacks `messages` and there are no functions to read and write it; it has a key
            that the bypass needs; an unknown choice; a threshold outside (0, 1); K below 2 or above the speculator's
            vocabulary; an unknown score; `hedge` with an agent that keeps memory of its own.
        GateMismatchError: The gate file was calibrated for other models.
    """
    adapted = query_from_state is not None
    if adapted and update_from_answer is None:
        raise ArgumentError("update_from_answer", "a function beside query_from_state", "None")
    _check_choice("output_mode", output_mode, OUTPUT_MODES)
    adopted = adopt(agent, policy, state_schema, adapted)
    front = FrontEnd(
        speculator,
        judge=judge,
        gate=gate,
        judge_threshold=judge_threshold,
        order=order,
        follow_ups=follow_ups,
        adapter=StateAdapter(query_from_state, update_from_answer, frozenset({*adopted.given, *adopted.returned})),
        prompts=prompts,
        policy=policy,
        max_answer_tokens=max_answer_tokens,
        timeout_s=timeout_s,
        strict=strict,
        agent=adopted.runnable,
        trace_images=trace_images,
    )
    for key in (*adopted.given, *adopted.returned):
        if key in (HEDGED_NODES if hedge else NODES) or key == "decision" or key in Records.__annotations__:
            expected = "an agent without a bypass, and without the names of the bypass's nodes and records in its state"
            raise ArgumentError("agent", expected, repr(key))
    decision = {"decision": Decision}
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(
        extended(Records, adopted.given, adopted.returned, {"decision": Decision | None}, name="SpecEyesState"),
        context_schema=adopted.context_schema,
        input_schema=extended(None, adopted.given, name="InputState"),
        output_schema=extended(None, adopted.returned, decision, name="OutputState"),
    )
    slots = max_concurrent_agents
    if slots is not None and not isinstance(slots, Slots):
        if type(slots) is not int or slots < 1:
            raise ArgumentError("max_concurrent_agents", "a whole number of at least 1, or Slots", repr(slots))
        slots = Slots(slots)
    fallback = Fallback(
        adopted, front.gate, slots, output_mode, answers=not adapted, notes=front.notes, chooser=front.chooser
    )
    graph.add_node("agent", fallback.node(trace_images), trace_policy=trace_policy(trace_images))
    graph.add_edge("agent", END)
    if not hedge:
        front.wire(graph, otherwise="agent")
        return graph
    _check_forgetful(adopted)
    race = Race(front.ahead({*adopted.given, *adopted.returned}), fallback)
    graph.add_node("race", race.node(trace_images), trace_policy=trace_policy(trace_images))
    front.wire_race(graph)
    return graph


_LATER = {("speculate", "judge_first"), ("judge", "speculate_first")}
"""Calls that not every question comes to."""


class FrontEnd:
    """Judge, speculator and gate, built from what a caller gives, and their place in a graph.

    Args: see :func:`create_speceyes`; `agent` is asked how its prompts begin.
    """

    def __init__(
        self,
        speculator: Model,
        *,
        judge: Model | None = None,
        gate: Gate | float | str | PathLike[str] | None = None,
        judge_threshold: float | None = None,
        order: Order = "judge_first",
        follow_ups: FollowUps = "judge",
        adapter: StateAdapter | None = None,
        prompts: Prompts | None = None,
        policy: ImagePolicy = DEFAULT_POLICY,
        max_answer_tokens: int = 64,
        timeout_s: float | None = None,
        strict: bool = False,
        agent: Runnable[Any, Any] | None = None,
        trace_images: bool = False,
    ) -> None:
        self.gate, self.order = resolve_gate(gate), order
        prompts, adapter = prompts or Prompts(), adapter or StateAdapter()
        _check_choice("order", order, ORDERS)
        _check_choice("follow_ups", follow_ups, FOLLOW_UPS)
        if max_answer_tokens < 1:
            raise ArgumentError("max_answer_tokens", "at least 1", max_answer_tokens)
        if timeout_s is not None and not timeout_s > 0:
            raise ArgumentError("timeout_s", "more than 0 seconds, or None", timeout_s)
        self.small = ModelCall(
            resolve_model("speculator", speculator),
            name="speculator",
            max_tokens=max_answer_tokens,
            top_logprobs=self.gate.k,
            policy=policy,
            timeout_s=timeout_s,
        )
        if (vocabulary := self.small.vocabulary) is not None and self.gate.k > vocabulary:
            raise ArgumentError("gate", f"K of at most {vocabulary}, the speculator's vocabulary", f"K = {self.gate.k}")
        calls = [("speculate", self.small)]
        self.large: ModelCall | None = None
        if judge is not None:
            large = resolve_model("judge", judge)
            begins, tools = _front(prompts, chat_models(large)[0], agent)
            self.large = ModelCall(
                large,
                name="judge model",
                max_tokens=1,
                top_logprobs=JUDGE_CANDIDATES,
                policy=policy,
                timeout_s=timeout_s,
                tools=tools,
            )
            calls.append(("judge", self.large))
            at = judge_threshold if judge_threshold is not None else self.gate.judge_threshold
            self.judge = Judge(self.large, prompts, begins, adapter, 0.5 if at is None else at, strict=strict)
        elif judge_threshold is not None:
            raise ArgumentError("judge_threshold", "a judge beside it", "judge=None")
        check_use(self.gate, self.small, self.large, agent)
        judged_from = None if judge is None else self.judge.threshold
        self.gate.check_settings(
            judge_threshold=judged_from, prompts=prompts.digest, max_answer_tokens=max_answer_tokens
        )
        keep_judge = self.gate.judge_threshold is not None
        self.chooser = OrderChooser(keep_judge=keep_judge) if judge is not None and order == "auto" else None
        at_once = self.chooser or (order if judge is not None else None)
        first = [call for name, call in calls if (name, order) not in _LATER or judge is None]
        self.intake = Intake(calls, adapter, follow_ups, judge is not None, policy, at_once, first)
        self.speculate = Speculate(self.small, prompts, adapter, self.gate, strict=strict)
        self.compare = GatePhase(self.gate, strict=strict)
        self.bypass = Bypass(self.gate, adapter, self.small.model_id, self.chooser)
        models = {"judge": self.large.model_id if self.large else None, "speculator": self.small.model_id}
        self.notes, self.trace_images = RunNotes(self.gate.score, models), trace_images

    def graph(self) -> StateGraph[Any, Any, Any, Any]:
        """The bypass without an agent, over `messages`: what it accepts is answered, all else ends as it came.

        Returns:
            An uncompiled graph, whose output holds the phases' records.
        """
        graph: StateGraph[Any, Any, Any, Any] = StateGraph(SpecEyesState, input_schema=InputState)
        self.wire(graph, otherwise=END)
        return graph

    def ahead(self, keys: Collection[str]) -> Pregel[Any, Any, Any, Any]:
        """Judge, speculator and gate alone, between intake and what follows from their records.

        Args:
            keys: Keys of the state around it.

        Returns:
            A compiled graph, whose output holds the phases' records.
        """
        # nothing is reduced in it: values come and go as they are
        graph: StateGraph[Any, Any, Any, Any] = StateGraph(
            extended(Records, dict.fromkeys(keys, NotRequired[Any]), name="FrontState")
        )
        self._wire_front(graph, START, END, END, None)
        # over before the node is: nothing of it is worth a checkpoint of its own
        return graph.compile(name="front", checkpointer=False)

    def wire_race(self, graph: StateGraph[Any, Any, Any, Any]) -> None:
        """Add intake and bypass around the nodes `race` and `agent` of a graph.

        Args:
            graph: A graph whose state holds the phases' records.
        """
        self._add(graph, "intake", self.intake)
        self._add(graph, "bypass", self.bypass)

        def taken(state: SpecEyesState) -> str:
            return "agent" if state["speceyes_query"]["reason"] else "race"

        graph.add_edge(START, "intake")
        graph.add_conditional_edges("intake", Route(taken, self.notes.route), ["agent", "race"])
        graph.add_conditional_edges("race", Route(raced, self.notes.route), ["bypass", "agent", END])
        graph.add_edge("bypass", END)

    def wire(self, graph: StateGraph[Any, Any, Any, Any], otherwise: str) -> None:
        """Add the phases to a graph.

        Args:
            graph: A graph whose state holds the phases' records.
            otherwise: The node that a query goes to which is not answered here.
        """
        self._add(graph, "intake", self.intake)
        self._add(graph, "bypass", self.bypass)
        graph.add_edge(START, "intake")
        self._wire_front(graph, "intake", "bypass", otherwise, self.notes.route)
        graph.add_edge("bypass", END)

    def _wire_front(
        self,
        graph: StateGraph[Any, Any, Any, Any],
        begin: str,
        answered: str,
        otherwise: str,
        chosen: Callable[[RunnableConfig, Any], None] | None,
    ) -> None:
        """Add judge, speculator and gate, in their order.

        Args:
            graph: A graph whose state holds the phases' records.
            begin: The node before them.
            answered: The node that a query goes to which is answered here.
            otherwise: The node that any other query goes to.
            chosen: Told of every choice.
        """
        small, large, order = self.small, self.large, self.order
        self._add(graph, "speculate", self.speculate, speceyes_model=small.model_id)
        self._add(graph, "gate", self.compare, speceyes_threshold=self.gate.threshold)

        orders = ("judge_first", "speculate_first", "parallel", "no_judge") if order == "auto" else (order,)

        def ordered(state: SpecEyesState) -> str:
            found = state["speceyes_query"]["order"]
            return found["order"] if found else "no_judge"

        def taken(state: SpecEyesState) -> str | list[str]:
            if state["speceyes_query"]["reason"]:
                return otherwise
            firsts: dict[str, str | list[str]] = {"judge_first": "judge", "parallel": ["judge", "speculate"]}
            return firsts.get(ordered(state), "speculate")

        def judged(state: SpecEyesState) -> str | list[str]:
            at = ordered(state)
            if at == "parallel":
                return []  # the gate, one step later, looks at both
            if not _needs_tools(state):
                return "speculate" if at == "judge_first" else answered
            if at == "judge_first":
                small.dismiss(f"speculate {state['speceyes_query']['id']}")
            return otherwise

        def gated(state: SpecEyesState) -> str:
            verdict, at = state.get("speceyes_verdict"), ordered(state)
            if verdict is not None and verdict["accepted"]:
                if at == "speculate_first":
                    return "judge"
                return otherwise if at == "parallel" and _needs_tools(state) else answered
            if large is not None and at == "speculate_first":
                large.dismiss(f"judge {state['speceyes_query']['id']}")
            return otherwise

        begins, ends = [otherwise], [answered, otherwise]
        if large is None or order != "judge_first":
            begins.append("speculate")
        if large is not None:
            self._add(graph, "judge", self.judge, speceyes_model=large.model_id)
            if order != "speculate_first":
                begins.append("judge")
            if "speculate_first" in orders:
                ends.append("judge")
            after = {"judge_first": ["speculate"], "speculate_first": [answered]}
            then = {otherwise, *(node for name in orders for node in after.get(name, []))}
            graph.add_conditional_edges("judge", Route(judged, chosen), sorted(then))
        if begin == START and order != "auto":
            # nothing to choose, and a conditional edge at the start would be a run of its own in a trace
            for node in begins[1:]:
                graph.add_edge(START, node)
        else:
            graph.add_conditional_edges(begin, Route(taken, chosen), begins)
        graph.add_edge("speculate", "gate")
        graph.add_conditional_edges("gate", Route(gated, chosen), ends)

    def _add(self, graph: StateGraph[Any, Any, Any, Any], name: str, phase: Any, **known: Any) -> None:
        """Add a phase as a node with a sync and an async form; `known` is metadata of its runs."""
        notes = self.notes

        def run(state: Any, config: RunnableConfig) -> dict[str, Any]:
            update: dict[str, Any] = phase(state)
            notes.phase(config, state, update)
            return update

        async def arun(state: Any, config: RunnableConfig) -> dict[str, Any]:
            update: dict[str, Any] = await phase.acall(state)
            notes.phase(config, state, update)
            return update

        graph.add_node(
            name,
            DualNode(run, arun, trace_images=self.trace_images),
            metadata={key: value for key, value in known.items() if value is not None},
            trace_policy=trace_policy(self.trace_images),
        )


def _front(prompts: Prompts, judge: BaseChatModel, agent: object) -> tuple[list[Any], tuple[dict[str, Any], ...]]:
    """What the judge's prompt begins with: the agent's own beginning where it is the same model."""
    built = getattr(agent, "builder", agent)
    if prompts.judge_system is not None or prompts.judge_tools or not isinstance(built, VisualAgent):
        return system_message(prompts.judge_system), tuple(prompts.judge_tools)
    same = built.model is judge or (model_name(judge) is not None and model_name(built.model) == model_name(judge))
    return (list(built.front), built.bound) if same else ([], ())


def _needs_tools(state: SpecEyesState) -> bool:
    judgment = state.get("speceyes_judgment")
    return judgment is not None and judgment["tools_needed"]


def _check_forgetful(agent: AdoptedAgent) -> None:
    """A cancelled agent must leave nothing behind for the next turn."""
    inner = agent.runnable
    lasting = isinstance(inner, Pregel) and any(
        isinstance(one, Pregel) and one.checkpointer is True
        for one in (inner, *(graph for _, graph in inner.get_subgraphs(recurse=True)))
    )
    if agent.remote or lasting:
        found = "one on another server" if agent.remote else "one compiled with checkpointer=True"
        raise ArgumentError("hedge", "an agent that remembers nothing between turns but its state", found)


def _check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ArgumentError(argument, f"one of {', '.join(choices)}", repr(value))

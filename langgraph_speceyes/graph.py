"""The four phases wired as a LangGraph state graph. The file to read first.

START -> intake -> judge -> speculate -> gate -> bypass -> END
                     |          |          |
                     +----------+----------+--> agent -> END
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel

from langgraph_speceyes.agent import DualNode
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy
from langgraph_speceyes.phases import (
    Bypass,
    Fallback,
    GatePhase,
    Intake,
    Judge,
    ModelCall,
    Prompts,
    Slots,
    Speculate,
)
from langgraph_speceyes.scoring import Gate, resolve_gate
from langgraph_speceyes.state import InputState, OutputState, SpecEyesState

Order = Literal["judge_first", "speculate_first"]
JUDGE_CANDIDATES = 20
"""Candidates the judge is asked for at its one token: what vLLM and hosted APIs give without being reconfigured."""


def create_speceyes(
    agent: Pregel[Any, Any, Any, Any] | StateGraph[Any, Any, Any, Any] | Runnable[Any, Any],
    *,
    speculator: BaseChatModel,
    judge: BaseChatModel | None = None,
    gate: Gate | float | str | PathLike[str] | None = None,
    judge_threshold: float | None = None,
    order: Order = "judge_first",
    prompts: Prompts | None = None,
    policy: ImagePolicy = DEFAULT_POLICY,
    max_answer_tokens: int = 64,
    timeout_s: float | None = None,
    max_concurrent_agents: int | Slots | None = None,
    strict: bool = False,
) -> StateGraph[SpecEyesState, None, InputState, OutputState]:
    """Put a speculative bypass in front of a visual agent.

    The judge (the large model, one token) screens out queries that need tools; the speculator (a small model without
    tools) answers the rest; the gate accepts answers whose score reaches its threshold; everything else goes to the
    agent (paper, section 3).

    Args:
        agent: Any LangGraph agent over `messages`, compiled or not.
        speculator: The small model ``M_S``; any chat model that returns `logprobs` with `top_logprobs`.
        judge: The large model ``M_L``; None leaves the judgment out.
        gate: A :class:`Gate`, a threshold for the `min` score at K = 64, or the path of a gate file.
        judge_threshold: Probability of tool need from which the judge screens a query out; the default is the gate
            file's,
            else 0.5.
        order: ``"judge_first"``, or ``"speculate_first"``, which pays where the speculator costs less than the judge:
            ``c_S + P(accepted) * c_J`` instead of ``c_J + beta * c_S`` in front. Both give the same routes.
        prompts: Instructions for judge and speculator.
        policy: Limits for images, and whether remote ones and which folders are allowed.
        max_answer_tokens: Most tokens of a speculation.
        timeout_s: Longest wait for each of judge and speculator, in seconds.
        max_concurrent_agents: Cap on agent runs at once; a :class:`Slots` shared by several graphs caps them together.
        strict: Raise :class:`PhaseError` when judge, speculator or gate fail, instead of falling back to the agent.

    Returns:
        An uncompiled graph with the nodes `intake`, `judge`, `speculate`, `gate`, `bypass` and `agent`. Compile it with
        your checkpointer and store, or add it compiled to a larger graph.

    Raises:
        ArgumentError: The agent's state lacks `messages`; an unknown order; a threshold outside (0, 1); K below 2 or
            above the speculator's vocabulary; an unknown score.
        GateMismatchError: The gate file was calibrated for other models.
    """
    prompts = prompts or Prompts()
    gate = resolve_gate(gate)
    if order not in ("judge_first", "speculate_first"):
        raise ArgumentError("order", "'judge_first' or 'speculate_first'", repr(order))
    if max_answer_tokens < 1:
        raise ArgumentError("max_answer_tokens", "at least 1", max_answer_tokens)
    if timeout_s is not None and not timeout_s > 0:
        raise ArgumentError("timeout_s", "more than 0 seconds, or None", timeout_s)
    _check_model("speculator", speculator)
    vocabulary = getattr(speculator, "vocab_size", None)
    if isinstance(vocabulary, int) and gate.k > vocabulary:
        raise ArgumentError("gate", f"K of at most {vocabulary}, the speculator's vocabulary", f"K = {gate.k}")
    slots = Slots(max_concurrent_agents) if isinstance(max_concurrent_agents, int) else max_concurrent_agents

    small = ModelCall(
        speculator,
        name="speculator",
        max_tokens=max_answer_tokens,
        top_logprobs=gate.k,
        policy=policy,
        timeout_s=timeout_s,
    )
    calls = [("speculate", small)]
    graph = StateGraph(SpecEyesState, input_schema=InputState, output_schema=OutputState)
    if judge is not None:
        _check_model("judge", judge)
        large = ModelCall(
            judge, name="judge model", max_tokens=1, top_logprobs=JUDGE_CANDIDATES, policy=policy, timeout_s=timeout_s
        )
        calls.append(("judge", large))
        at = judge_threshold if judge_threshold is not None else gate.judge_threshold
        judging = Judge(large, prompts, 0.5 if at is None else at, strict=strict)
        graph.add_node("judge", _node(judging))
    elif judge_threshold is not None:
        raise ArgumentError("judge_threshold", "a judge beside it", "judge=None")
    gate.check_models(speculator=small.model_id)

    graph.add_node("intake", _node(Intake(calls, policy)))
    graph.add_node("speculate", _node(Speculate(small, prompts, gate, strict=strict)))
    graph.add_node("gate", _node(GatePhase(gate, strict=strict)))
    graph.add_node("bypass", _node(Bypass(gate, small.model_id)))
    graph.add_node("agent", Fallback(_compiled(agent), gate, slots).node())

    first, after_speculation = "speculate", "bypass"
    if judge is not None:
        if order == "judge_first":
            first, after_judgment = "judge", "speculate"
        else:
            after_speculation, after_judgment = "judge", "bypass"

        def judged(state: SpecEyesState) -> str:
            judgment = state.get("judgment")
            if judgment is None or not judgment["tools_needed"]:
                return after_judgment
            if order == "judge_first" and (query := state.get("query")):
                small.dismiss(f"speculate {query['id']}")
            return "agent"

        graph.add_conditional_edges("judge", judged, [after_judgment, "agent"])

    def gated(state: SpecEyesState) -> str:
        verdict = state.get("verdict")
        if verdict is not None and verdict["accepted"]:
            return after_speculation
        if judge is not None and order == "speculate_first" and (query := state.get("query")):
            large.dismiss(f"judge {query['id']}")
        return "agent"

    graph.add_edge(START, "intake")
    graph.add_edge("intake", first)
    graph.add_edge("speculate", "gate")
    graph.add_conditional_edges("gate", gated, [after_speculation, "agent"])
    graph.add_edge("bypass", END)
    graph.add_edge("agent", END)
    return graph


def _node(phase: Any) -> DualNode:
    """A phase as a node with a sync and an async form."""
    return DualNode(lambda state, config: phase(state), lambda state, config: phase.acall(state))


def _check_model(argument: str, model: object) -> None:
    if not isinstance(model, BaseChatModel):
        raise ArgumentError(argument, "a LangChain chat model (BaseChatModel)", type(model).__name__)


def _compiled(agent: object) -> Runnable[Any, Any]:
    """The agent, ready to run, its state checked for `messages` where it can be seen."""
    if isinstance(agent, StateGraph):
        agent = agent.compile(name="agent")
    if isinstance(agent, Pregel) and "messages" not in agent.channels:
        found = ", ".join(sorted(c for c in agent.channels if ":" not in c and not c.startswith("__"))) or "none"
        raise ArgumentError("agent", "an agent whose state has `messages`", f"state keys {found}")
    if not isinstance(agent, Runnable):
        raise ArgumentError("agent", "a LangGraph agent, compiled or not", type(agent).__name__)
    return agent

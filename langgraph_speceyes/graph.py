"""The paper's figure 2 as a LangGraph state graph. The file to read first.

START -> intake -> judge -> speculate -> gate -> bypass -> END
            |        |          |          |
            +--------+----------+----------+--> agent -> END

With `looks=` what the gate rejects, or the judge says needs tools, is looked at again before it is the agent's, once
for each look:

judge, gate -> look_1 -> speculate_1 -> gate_1 -> bypass -> END
                  |                        |
                  +------------------------+--> look_2 ... agent -> END

With `first_look="always"` a question comes to the first look from intake.

With `hedge=True` judge, speculator, gate and agent run at the same time in one node, which ends where they would:

START -> intake -> race -> bypass -> END
            |        |
            +--------+--> agent -> END
"""

from __future__ import annotations

from typing import Any, Unpack

from langchain_core.runnables import Runnable
from langgraph.graph import END, START, StateGraph
from langgraph.pregel.protocol import PregelProtocol

from langgraph_speceyes.adapter import QueryFromState, StateAdapter, UpdateFromAnswer
from langgraph_speceyes.behind.abandoned import Abandoned
from langgraph_speceyes.behind.again import AgentAgain
from langgraph_speceyes.behind.agent import Agent, adopt
from langgraph_speceyes.behind.fallback import OUTPUT_MODES, Fallback, OutputMode
from langgraph_speceyes.behind.handoff import BypassGraph
from langgraph_speceyes.behind.schema import extended, with_settings
from langgraph_speceyes.behind.slots import Slots, resolve_slots
from langgraph_speceyes.depths import at_depth
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front.end import DEEPER, FrontEnd
from langgraph_speceyes.front.insides import format_of
from langgraph_speceyes.front.route import outcome
from langgraph_speceyes.front.structured import STRUCTURED, AnswerForm
from langgraph_speceyes.hedge.race import Race, check_forgetful, raced
from langgraph_speceyes.models.given import Model
from langgraph_speceyes.nodes import Route
from langgraph_speceyes.options import Options, Settings, check_choice
from langgraph_speceyes.state import Decision, FrontInput, Records, SpecEyesState
from langgraph_speceyes.tracing import trace_policy
from langgraph_speceyes.traffic.attach import attach

NODES = ("intake", "judge", "speculate", "gate", "bypass", "agent")
HEDGED_NODES = ("intake", "race", "bypass", "agent")


def create_speceyes(
    agent: PregelProtocol[Any, Any, Any, Any] | StateGraph[Any, Any, Any, Any] | Runnable[Any, Any],
    *,
    speculator: Model,
    query_from_state: QueryFromState | None = None,
    update_from_answer: UpdateFromAnswer | None = None,
    state_schema: type[Any] | None = None,
    output_mode: OutputMode = "full_history",
    max_concurrent_agents: int | Slots | None = None,
    hedge: bool = False,
    **settings: Unpack[Settings],
) -> StateGraph[Any, Any, Any, Any]:
    """Put a speculative bypass in front of a visual agent.

    The judge (the large model, one token) screens out queries that need tools; the speculator (a small model without
    tools) answers the rest; the gate accepts answers whose score reaches its threshold; everything else goes to the
    agent (paper, section 3). The agent's state is extended by `decision` and otherwise stays what it is: what the agent
    takes and returns, this graph takes and returns, with the agent's reducers and context.

    Args:
        agent: Any LangGraph agent, compiled or not, a `RemoteGraph`, or another runnable over `messages`.
        speculator: The small model ``M_S``; any chat model that returns `logprobs` with `top_logprobs`.
        query_from_state: For agents whose question is not in `messages`: from the state, the question as a message
            with image and text (`image_question`), or the conversation that ends with it.
        update_from_answer: From the answer (an AI message) and the state, the state update that the agent itself would
            make: needed beside `query_from_state`; without it for keys other than `messages`, such as a
            `structured_response`.
        state_schema: The agent's state, where it cannot be seen (remote agents, plain runnables); the default for those
            is `messages`.
        output_mode: ``"full_history"``: the agent leaves all its messages in the state, as it does alone;
            ``"last_message"``: its answer only.
        max_concurrent_agents: Cap on agent runs at once; a :class:`Slots` shared by several graphs caps them together.
        hedge: Start the agent at once, at the same time as judge and speculator, and cancel it when the gate accepts.
            It takes the front end's latency off the questions that fall back, and costs the agent's work on those that
            are bypassed (`decision["hedge"]`). Not for agents whose tools change anything outside: a cancelled agent
            may already have used them, and one that stops for an interrupt uses them again.
        settings: The front end's settings, `judge`, `gate`, `order` and others:
            :class:`~langgraph_speceyes.options.Options`.

    Returns:
        An uncompiled graph with the nodes `intake`, `judge`, `speculate`, `gate`, `bypass` and `agent`, and `look_n`,
        `speculate_n` and `gate_n` for the n-th look; with `hedge` `race` is in the place of all between `intake` and
        `bypass`. Compile it with your checkpointer and store (by
        default the agent's own), or add it compiled to a larger graph.

    Raises:
        ArgumentError: The agent's state lacks `messages` and there are no functions to read and write it; it has a key
            that the bypass needs; an unknown choice; a threshold outside (0, 1); K below 2 or above the speculator's
            vocabulary; an unknown score; `hedge` with an agent that keeps memory of its own.
        GateMismatchError: The gate file was calibrated for other models, or with other looks.
    """
    options = Options.of(speculator, settings)
    adapted = query_from_state is not None
    if adapted and update_from_answer is None:
        raise ArgumentError("update_from_answer", "a function beside query_from_state", "None")
    check_choice("output_mode", output_mode, OUTPUT_MODES)
    behind = adopt(agent, options.policy, state_schema, adapted)
    deeper = [at_depth(name, n) for n in range(1, len(options.looks) + 1) for name in DEEPER]
    _check_keys(behind, HEDGED_NODES if hedge else (*NODES, *deeper))
    adapter = StateAdapter(query_from_state, update_from_answer, behind.keys, behind.answered)
    form = AnswerForm(format_of(behind.runnable) if STRUCTURED in behind.keys and not update_from_answer else None)
    front = FrontEnd(
        options,
        adapter,
        behind.runnable,
        opens_images=behind.opens_images,
        stale=behind.stale,
        form=form,
        given_up=Abandoned(behind),
    )
    decision = {"decision": Decision}
    graph = BypassGraph(
        extended(
            Records, behind.private, behind.given, behind.returned, {"decision": Decision | None}, name="SpecEyesState"
        ),
        context_schema=with_settings(behind.context_schema),
        input_schema=extended(behind.given, name="InputState"),
        output_schema=extended(behind.returned, decision, name="OutputState"),
    )
    graph.agent, graph.agent_context = agent, behind.context_schema
    slots = resolve_slots(max_concurrent_agents)
    graph.traffic = attach(front, behind.keys, AgentAgain(behind, adapter, slots))
    fallback = Fallback(behind, adapter, front.gate, slots, output_mode, notes=front.notes, settled=front.settled)
    shown = options.trace_images
    graph.add_node("agent", fallback.node(shown), trace_policy=trace_policy(shown))
    graph.add_edge("agent", END)
    if not hedge:
        wire_bypass(graph, front, otherwise="agent")
        return graph
    check_forgetful(behind)
    race = Race(front, behind.keys, fallback)
    front.add(graph, "intake", front.intake)
    front.add(graph, "bypass", front.bypass)
    graph.add_node("race", race.node(shown), trace_policy=trace_policy(shown))
    graph.add_edge(START, "intake")
    graph.add_conditional_edges("intake", Route(_looked, front.notes.route), ["agent", "race"])
    graph.add_conditional_edges("race", Route(raced, front.notes.route), ["bypass", "agent", END])
    graph.add_edge("bypass", END)
    return graph


def wire_bypass(graph: StateGraph[Any, Any, Any, Any], front: FrontEnd, otherwise: str) -> None:
    """Add intake, judge, speculator, gate and bypass to a graph.

    Args:
        graph: A graph whose state holds the phases' records.
        front: The phases.
        otherwise: The node that a query goes to which is not answered here.
    """
    front.add(graph, "intake", front.intake)
    front.add(graph, "bypass", front.bypass)
    graph.add_edge(START, "intake")
    front.wire(graph, "intake", "bypass", otherwise)
    graph.add_edge("bypass", END)


def front_graph(front: FrontEnd) -> StateGraph[Any, Any, Any, Any]:
    """The bypass without an agent, over `messages`: what it accepts is answered, all else ends as it came.

    Returns:
        An uncompiled graph, whose output holds the phases' records.
    """
    graph = BypassGraph(SpecEyesState, input_schema=FrontInput)
    wire_bypass(graph, front, otherwise=END)
    return graph


def _looked(state: Any) -> str:
    return "agent" if outcome("intake", state) == "leave" else "race"


def _check_keys(agent: Agent, nodes: tuple[str, ...]) -> None:
    for key in agent.keys:
        if key in nodes or key == "decision" or key in Records.__annotations__:
            expected = "an agent without a bypass, and without the names of the bypass's nodes and records in its state"
            raise ArgumentError("agent", expected, repr(key))

"""Judge, speculator and gate, built from what a caller gives, and their place in a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.agent import VisualAgent
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front.bypass import Bypass
from langgraph_speceyes.front.calling import ModelCall, check_use
from langgraph_speceyes.front.costs import Costs
from langgraph_speceyes.front.gate import GatePhase
from langgraph_speceyes.front.insides import author_of
from langgraph_speceyes.front.intake import GivenUp, Intake
from langgraph_speceyes.front.judge import Judge
from langgraph_speceyes.front.order import OrderChooser
from langgraph_speceyes.front.route import ANSWERED, CHOSEN, OTHERWISE, TABLES, WATCHING, destinations, next_phases
from langgraph_speceyes.front.scope import CallScope
from langgraph_speceyes.front.settings import RunReader
from langgraph_speceyes.front.settled import Settled
from langgraph_speceyes.front.speculate import Speculate
from langgraph_speceyes.front.structured import AnswerForm
from langgraph_speceyes.models.endpoint import model_name
from langgraph_speceyes.models.given import chat_models, resolve_model
from langgraph_speceyes.nodes import DualNode, Route
from langgraph_speceyes.options import OpensItself, Options
from langgraph_speceyes.prompts import Prompts, system_message
from langgraph_speceyes.scoring import DEFAULT_THRESHOLD, resolve_gate, warn_if_uncalibrated
from langgraph_speceyes.state import query_id
from langgraph_speceyes.tracing import RunNotes, trace_policy

JUDGE_CANDIDATES = 20
"""Candidates the judge is asked for at its one token: what vLLM and hosted APIs give without being reconfigured."""


class FrontEnd:
    """The phases in front of an agent, and their nodes.

    Args:
        options: The caller's settings.
        adapter: Where the question is in the state, and how an answer enters it.
        agent: The agent, which is asked how its prompts begin, and under which name it answers.
        opens_images: Whether the agent, this package's own, fails on an image that cannot be opened.
        stale: The update that takes outputs of the agent's earlier turns out of a state.
        form: The form that the agent answers in, where the caller's settings do not tell.
        given_up: What the agent had done in a run that nobody went on with.
        order: Order of judge and speculator in place of the options'.
    """

    def __init__(
        self,
        options: Options,
        adapter: StateAdapter | None = None,
        agent: object = None,
        *,
        opens_images: bool = False,
        stale: Callable[[Any], dict[str, Any]] | None = None,
        form: AnswerForm | None = None,
        given_up: GivenUp | None = None,
        order: str | None = None,
    ) -> None:
        self.options, self.agent, gate = options, agent, options.gate
        # the threshold of a gate that opens itself is that of the run; this one is for the checks at the beginning
        self.gate = gate.gate(DEFAULT_THRESHOLD) if isinstance(gate, OpensItself) else resolve_gate(gate)
        self.adapter = adapter = adapter or StateAdapter()
        prompts, policy = options.prompts or Prompts(), options.policy
        speculator, judge = options.speculator, options.judge
        again: Any = {"retries": options.retries, "cache_policy": options.cache_policy, "cache": options.cache}
        self.small = ModelCall(
            resolve_model("speculator", speculator),
            name="speculator",
            max_tokens=options.max_answer_tokens,
            top_logprobs=self.gate.k,
            policy=policy,
            timeout_s=options.timeout_s,
            **again,
        )
        if (vocabulary := self.small.vocabulary) is not None and self.gate.k > vocabulary:
            raise ArgumentError("gate", f"K of at most {vocabulary}, the speculator's vocabulary", f"K = {self.gate.k}")
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
                timeout_s=options.timeout_s,
                tools=tools,
                **again,
            )
            at = options.judge_threshold if options.judge_threshold is not None else self.gate.judge_threshold
            self.judge = Judge(self.large, prompts, begins, adapter, 0.5 if at is None else at, strict=options.strict)
        elif options.judge_threshold is not None:
            raise ArgumentError("judge_threshold", "a judge beside it", "judge=None")
        check_use(self.gate, self.small, self.large, agent)
        self.judge_threshold = None if judge is None else self.judge.threshold
        self.gate.check_settings(
            judge_threshold=self.judge_threshold,
            prompts=prompts.digest,
            max_answer_tokens=options.max_answer_tokens,
        )
        warn_if_uncalibrated(self.gate, stacklevel=3)  # at the line that calls create_speceyes or SpecEyesMiddleware
        calls = {"speculate": self.small} | ({"judge": self.large} if self.large else {})
        self.scope, order = CallScope(calls), (order or options.order) if judge is not None else "no_judge"
        self.orders = CHOSEN if order == "auto" else (order,)
        self.chooser = OrderChooser(keep_judge=self.gate.judge_threshold is not None) if order == "auto" else None
        firsts = set.intersection(*(set(TABLES[one]["intake", "look"]) for one in self.orders))
        self.intake = Intake(
            self.scope,
            adapter,
            options.follow_ups,
            judge is not None,
            policy,
            RunReader(options.mode, self.gate, self.judge_threshold, options.audit),
            self.chooser or (order if judge is not None else None),
            [calls[name] for name in sorted(firsts)] or list(calls.values()),
            strict=options.strict or opens_images,
            given_up=given_up,
        )
        self.settled = Settled(self.chooser, costs=Costs(options.prices))
        self.speculate = Speculate(self.small, prompts, adapter, self.gate, strict=options.strict)
        self.form = AnswerForm(options.response_format) if options.response_format else form or AnswerForm()
        self.compare = GatePhase(self.gate, strict=options.strict, form=self.form)
        self.bypass = Bypass(self.gate, adapter, self.small.model_id, self.settled, stale, self.form, author_of(agent))
        models = {"judge": self.large.model_id if self.large else None, "speculator": self.small.model_id}
        self.notes = RunNotes(self.gate.score, models)

    def watching(self) -> FrontEnd:
        """The same phases for questions whose answer nobody waits for: each has its say, and trouble is on record."""
        options = replace(self.options, strict=False)
        return FrontEnd(options, self.adapter, self.agent, form=self.form, order=WATCHING)

    def wire(
        self, graph: StateGraph[Any, Any, Any, Any], begin: str, answered: str, otherwise: str, *, noted: bool = True
    ) -> None:
        """Add judge, speculator and gate, in their order.

        Args:
            graph: A graph whose state holds the phases' records.
            begin: The node before them, `intake` or START.
            answered: The node that a query goes to which is answered here.
            otherwise: The node that any other query goes to.
            noted: Whether the choices are noted on the runs.
        """
        self.add(graph, "speculate", self.speculate, speceyes_model=self.small.model_id)
        self.add(graph, "gate", self.compare, speceyes_threshold=self.gate.threshold)
        graph.add_edge("speculate", "gate")
        if self.large is not None:
            self.add(graph, "judge", self.judge, speceyes_model=self.large.model_id)
        ends = {ANSWERED: answered, OTHERWISE: otherwise}
        for phase in ("intake", "judge", "gate"):
            reached = destinations(phase, self.orders)
            if phase == "intake" and begin == START:
                reached -= {OTHERWISE}
                if len(self.orders) == 1:
                    # nothing to choose, and a conditional edge at the start would be a run of its own in a trace
                    for node in reached:
                        graph.add_edge(START, node)
                    continue
            if reached:
                at = begin if phase == "intake" else phase
                chosen = Route(self._router(phase, ends), self.notes.route if noted else None)
                graph.add_conditional_edges(at, chosen, sorted({ends.get(node, node) for node in reached}))

    def add(self, graph: StateGraph[Any, Any, Any, Any], name: str, phase: Any, **known: Any) -> None:
        """Add a phase as a node with a sync and an async form; `known` is metadata of its runs."""
        notes, shown = self.notes, self.options.trace_images

        def run(state: Any, config: RunnableConfig) -> dict[str, Any]:
            with self.scope.left_on_failure(query_id(state)):
                update: dict[str, Any] = phase(state)
            notes.phase(config, state, update)
            return update

        async def arun(state: Any, config: RunnableConfig) -> dict[str, Any]:
            with self.scope.left_on_failure(query_id(state)):
                update: dict[str, Any] = await phase.acall(state)
            notes.phase(config, state, update)
            return update

        graph.add_node(
            name,
            DualNode(run, arun, trace_images=shown),
            metadata={key: value for key, value in known.items() if value is not None},
            trace_policy=trace_policy(shown),
        )

    def _router(self, phase: str, ends: dict[str, str]) -> Callable[[Any], Any]:
        def route(state: Any) -> Any:
            following = next_phases(phase, state)
            if following in ((ANSWERED,), (OTHERWISE,)):
                self.scope.leave(query_id(state))
            found = [ends.get(node, node) for node in following]
            return found[0] if len(found) == 1 else found

        route.__name__ = {"intake": "taken", "judge": "judged", "gate": "gated"}[phase]
        return route


def _front(prompts: Prompts, judge: BaseChatModel, agent: object) -> tuple[list[Any], tuple[dict[str, Any], ...]]:
    """What the judge's prompt begins with: the agent's own beginning where it is the same model."""
    built = getattr(agent, "builder", agent)
    if prompts.judge_system is not None or prompts.judge_tools or not isinstance(built, VisualAgent):
        return system_message(prompts.judge_system), tuple(prompts.judge_tools)
    same = built.model is judge or (model_name(judge) is not None and model_name(built.model) == model_name(judge))
    return (list(built.front), built.bound) if same else ([], ())

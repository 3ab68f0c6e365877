"""Judge, speculator and gate, built from what a caller gives, and their place in a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph

from langgraph_speceyes.adapter import StateAdapter
from langgraph_speceyes.agent import VisualAgent
from langgraph_speceyes.choices import DepthChoice
from langgraph_speceyes.depths import at_depth, split_depth
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front.bypass import Bypass
from langgraph_speceyes.front.calling import ModelCall, check_use
from langgraph_speceyes.front.costs import Costs
from langgraph_speceyes.front.depth_choice import DepthChooser, free_to_leave, ways_to_leave
from langgraph_speceyes.front.gate import GatePhase
from langgraph_speceyes.front.insides import author_of
from langgraph_speceyes.front.intake import GivenUp, Intake
from langgraph_speceyes.front.judge import Judge
from langgraph_speceyes.front.looking import Looking
from langgraph_speceyes.front.order import OrderChooser
from langgraph_speceyes.front.route import (
    ANSWERED,
    CHOSEN,
    OTHERWISE,
    TABLES,
    WATCHING,
    WATCHING_ALONE,
    destinations,
    next_phases,
)
from langgraph_speceyes.front.scope import CallScope
from langgraph_speceyes.front.settings import RunReader
from langgraph_speceyes.front.settled import Settled
from langgraph_speceyes.front.speculate import Speculate
from langgraph_speceyes.front.structured import AnswerForm
from langgraph_speceyes.looks import Look, look_id, resolve_looks
from langgraph_speceyes.models.endpoint import model_name
from langgraph_speceyes.models.given import Model, chat_models, resolve_model
from langgraph_speceyes.models.overview import pixels_for
from langgraph_speceyes.nodes import DualNode, Route
from langgraph_speceyes.options import OpensItself, Options
from langgraph_speceyes.prompts import Prompts, system_message
from langgraph_speceyes.scoring import DEFAULT_THRESHOLD, resolve_gate, warn_if_uncalibrated
from langgraph_speceyes.state import query_id
from langgraph_speceyes.tracing import RunNotes, trace_policy

JUDGE_CANDIDATES = 20
"""Candidates the judge is asked for at its one token: what vLLM and hosted APIs give without being reconfigured."""

CALL_NAMES = {"judge": "judge model", "speculator": "speculator"}
"""Names of the models' runs in traces, by argument."""

_AT_ONCE = DepthChoice(left_out=[0], explored=False, questions=0, seconds={}, alpha={}, behind={})

DEEPER = ("look", "speculate", "gate")
"""The phases of each depth from 1 on."""


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
        self.looks = resolve_looks(options.looks)
        self.first_look = options.first_look or self.gate.first_look
        self.gate.check_looks([look_id(look) for look in self.looks], self.first_look, judged=options.judge is not None)
        self.adapter = adapter = adapter or StateAdapter()
        self.prompts = options.prompts or Prompts()
        self.small = self._call("speculator", options.speculator, options.max_answer_tokens, self.gate.k)
        if (vocabulary := self.small.vocabulary) is not None and self.gate.k > vocabulary:
            raise ArgumentError("gate", f"K of at most {vocabulary}, the speculator's vocabulary", f"K = {self.gate.k}")
        self.judge = self._judge()
        self.large = self.judge.call if self.judge else None
        check_use(self.gate, self.small, self.large, agent)
        self.judge_threshold = self.judge.threshold if self.judge else None
        self.gate.check_settings(
            judge_threshold=self.judge_threshold,
            prompts=self.prompts.digest,
            max_answer_tokens=options.max_answer_tokens,
            front_pixels=self.small.pixels_sent,
        )
        warn_if_uncalibrated(self.gate, stacklevel=3)  # at the line that calls create_speceyes or SpecEyesMiddleware
        calls = {} if self.first_look == "always" else {"speculate": self.small}
        if self.large is not None and self.first_look != "always":
            calls["judge"] = self.large
        later = {at_depth("speculate", depth): self.small for depth in self._depths}
        self.scope, self.depth_chooser = CallScope(calls, later), self._depth_chooser(order)
        order = self._order(order)
        self.orders = CHOSEN if order == "auto" else (order,)
        self.chooser = OrderChooser(keep_judge=self.gate.judge_threshold is not None) if order == "auto" else None
        firsts = set.intersection(*(set(TABLES[one]["intake", "look"]) for one in self.orders)) & set(calls)
        self.intake = Intake(
            self.scope,
            adapter,
            options.follow_ups,
            self.judge is not None,
            options.policy,
            RunReader(options.mode, self.gate, self.judge_threshold, options.audit),
            self.chooser or (order if self.judge else None),
            [calls[name] for name in sorted(firsts)] or list(calls.values()) or [self.small],
            [self.small, *([self.large] if self.large else [])],
            strict=options.strict or opens_images,
            given_up=given_up,
            looks=bool(self.looks),
            depths=self.depth_chooser or (_AT_ONCE if self.first_look == "always" else None),
        )
        learners = [one for one in (self.chooser, self.depth_chooser) if one is not None]
        self.settled = Settled(learners, costs=Costs(options.prices))
        self.speculate = Speculate(self.small, self.prompts, adapter, self.gate, strict=options.strict)
        self.form = AnswerForm(options.response_format) if options.response_format else form or AnswerForm()
        self.compare = GatePhase(self.gate, strict=options.strict, form=self.form)
        self.deeper: dict[str, Any] = {}
        """The phases of the depths from 1 on, by node."""
        for depth, look in zip(self._depths, self.looks, strict=True):
            self.deeper |= self._deeper(depth, look)
        self.bypass = Bypass(self.gate, adapter, self.small.model_id, self.settled, stale, self.form, author_of(agent))
        models = {"judge": self.large.model_id if self.large else None, "speculator": self.small.model_id}
        self.notes = RunNotes(self.gate.score, models)

    def _call(
        self, argument: str, model: Model, max_tokens: int, top_logprobs: int, tools: Sequence[dict[str, Any]] = ()
    ) -> ModelCall:
        """A model as the phases call it, within the caller's limits.

        Args:
            argument: Name of the argument that it was given as.
            model: The model.
            max_tokens: Most tokens of an answer.
            top_logprobs: Candidates to ask for, for each token.
            tools: Tools that it is shown.
        """
        options, resolved = self.options, resolve_model(argument, model)
        return ModelCall(
            resolved,
            name=CALL_NAMES[argument],
            max_tokens=max_tokens,
            top_logprobs=top_logprobs,
            policy=options.policy,
            most_pixels=pixels_for(options.front_pixels, argument, chat_models(resolved)),
            timeout_s=options.timeout_s,
            tools=tools,
            retries=options.retries,
            cache_policy=options.cache_policy,
            cache=options.cache,
        )

    def _judge(self) -> Judge | None:
        """The judge, if the caller has given one."""
        options = self.options
        if options.judge is None:
            if options.judge_threshold is not None:
                raise ArgumentError("judge_threshold", "a judge beside it", "judge=None")
            return None
        large = resolve_model("judge", options.judge)
        begins, tools = _front(self.prompts, chat_models(large)[0], self.agent)
        call = self._call("judge", large, 1, JUDGE_CANDIDATES, tools)
        at = options.judge_threshold if options.judge_threshold is not None else self.gate.judge_threshold
        return Judge(call, self.prompts, begins, self.adapter, 0.5 if at is None else at, strict=options.strict)

    def _order(self, wanted: str | None) -> str:
        """A key of the tables, or ``"auto"``."""
        if self.judge is None:
            return WATCHING_ALONE if wanted == WATCHING else "no_judge"
        order = wanted or self.options.order
        # where a question comes to the first look at once, the judge is asked about follow-ups: nothing to choose
        return "judge_first" if order == "auto" and self.first_look == "always" else order

    @property
    def _depths(self) -> range:
        return range(1, len(self.looks) + 1)

    def _depth_chooser(self, order: str | None) -> DepthChooser | None:
        """What leaves out looks that do not pay, where it is asked for and nothing that was promised speaks against."""
        free = free_to_leave(self.gate)
        wanted = (order or self.options.order) == "auto" and self.looks and self.first_look == "rejected"
        # the evidence of a gate that opens itself is about questions that come to all depths
        if not wanted or free == "none" or isinstance(self.options.gate, OpensItself):
            return None
        return DepthChooser(len(self.looks), free)

    @property
    def _leaving(self) -> list[tuple[int, ...]]:
        """The depths that may be left out together."""
        if self.first_look == "always":
            return [(0,)]
        return ways_to_leave(len(self.looks), self.depth_chooser.free) if self.depth_chooser else [()]

    def _deeper(self, depth: int, look: Look) -> dict[str, Any]:
        options, strict = self.options, self.options.strict
        looking = Looking(
            look,
            depth,
            self.adapter,
            self.scope,
            options.policy,
            front_pixels=options.front_pixels,
            timeout_s=options.timeout_s,
            strict=strict,
        )
        speculate = Speculate(self.small, self.prompts, self.adapter, self.gate, strict=strict, depth=depth)
        gate = GatePhase(self.gate, strict=strict, form=self.form, depth=depth)
        return {at_depth(name, depth): one for name, one in zip(DEEPER, (looking, speculate, gate), strict=True)}

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
        if self.first_look != "always":
            self.add(graph, "speculate", self.speculate, speceyes_model=self.small.model_id)
            self.add(graph, "gate", self.compare, speceyes_threshold=self.gate.threshold)
            graph.add_edge("speculate", "gate")
        if self.judge is not None:
            self.add(graph, "judge", self.judge, speceyes_model=self.judge.call.model_id)
        for depth in self._depths:
            look, speculate, gate = (at_depth(name, depth) for name in DEEPER)
            self.add(graph, look, self.deeper[look], speceyes_depth=depth)
            self.add(graph, speculate, self.deeper[speculate], speceyes_model=self.small.model_id, speceyes_depth=depth)
            tau = self.gate.at(depth).threshold
            self.add(graph, gate, self.deeper[gate], speceyes_threshold=tau, speceyes_depth=depth)
            graph.add_edge(speculate, gate)
        ends = {ANSWERED: answered, OTHERWISE: otherwise}
        deciding = [at_depth(name, depth) for depth in self._depths for name in ("look", "gate")]
        for phase in ("intake", "judge", "gate", *deciding):
            reached = destinations(phase, self.orders, len(self.looks), self._leaving)
            if phase == "intake" and begin == START:
                reached -= {OTHERWISE}
                if len(self.orders) == 1 and self.first_look != "always":
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
            following = next_phases(phase, state, len(self.looks), watched)
            # a look announces the call that follows it, and no other one does
            if following in ((ANSWERED,), (OTHERWISE,)) or (following and following[0].startswith("look_")):
                self.scope.leave(query_id(state))
            found = [ends.get(node, node) for node in following]
            return found[0] if len(found) == 1 else found

        watched = next((one for one in self.orders if one in (WATCHING, WATCHING_ALONE)), None)
        name, depth = split_depth(phase)
        said = {"intake": "taken", "judge": "judged", "look": "looked", "gate": "gated"}[name]
        route.__name__ = at_depth(said, depth)
        return route


def _front(prompts: Prompts, judge: BaseChatModel, agent: object) -> tuple[list[Any], tuple[dict[str, Any], ...]]:
    """What the judge's prompt begins with: the agent's own beginning where it is the same model."""
    built = getattr(agent, "builder", agent)
    if prompts.judge_system is not None or prompts.judge_tools or not isinstance(built, VisualAgent):
        return system_message(prompts.judge_system), tuple(prompts.judge_tools)
    same = built.model is judge or (model_name(judge) is not None and model_name(built.model) == model_name(judge))
    return (list(built.front), built.bound) if same else ([], ())

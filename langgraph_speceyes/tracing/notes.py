"""What is noted on runs: the decision in the metadata of the graph's run and the phases' runs, the route as a tag."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.langchain import LangChainTracer
from langgraph.graph import END
from langsmith.run_trees import RunTree

PREFIX = "speceyes_"
"""Beginning of every metadata key and feedback key."""
ROUTE_TAGS = {"bypass": "speceyes:bypass", "agent": "speceyes:fallback", END: "speceyes:fallback"}
"""Tag of a run by the node that comes next; a front end without an agent ends where the agent would begin."""

_DECIDED = (
    *("route", "decided_by", "reason", "follow_up", "tool_need", "judge_threshold", "accepted"),
    *("score_name", "score", "threshold", "k", "tool_steps", "error", "depth"),
)


@dataclass(frozen=True)
class RunNotes:
    """What one graph notes on its runs. Without LangSmith's tracer nothing happens, and nothing here ever raises.

    Attributes:
        score_name: Which answer score the gate compares.
        models: Model names by phase, where they have one.
    """

    score_name: str
    models: Mapping[str, str | None] = field(default_factory=dict)

    def phase(self, config: RunnableConfig, state: Mapping[str, Any], update: Mapping[str, Any]) -> None:
        """Note a phase's record on its run and on the graph's run.

        Args:
            config: The node's config.
            state: What the phase was given.
            update: What it returned.
        """
        notes, models = _keyed(self._facts(state, update)), {f"{name}_model": m for name, m in self.models.items()}
        for node, graph in _runs(config):
            _note(node, notes)
            _note(graph, {**_keyed(models), **notes})

    def route(self, config: RunnableConfig, destination: object) -> None:
        """Tag the run of the phase that decided, and the graph's run.

        Args:
            config: A config of the deciding node or of its edge.
            destination: The node that comes next.
        """
        if (tag := ROUTE_TAGS.get(str(destination))) is not None:
            for node, graph in _runs(config):
                _tag(node, tag)
                _tag(graph, tag)

    def _facts(self, state: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if (judgment := update.get("speceyes_judgment")) is not None:
            facts |= _judged(judgment)
        if (speculation := update.get("speceyes_speculation")) is not None:
            facts |= self._scored(speculation)
        if (verdict := update.get("speceyes_verdict")) is not None:
            if (speculation := state.get("speceyes_speculation")) is not None:
                facts |= self._scored(speculation)
            facts |= {"accepted": verdict["accepted"], "error": verdict["error"]}
        if (depths := update.get("speceyes_depths")) and not depths[-1]["speculation"]:
            facts |= {"look": depths[-1]["look"], "error": depths[-1]["error"]}
        if (decision := update.get("decision")) is not None:
            facts |= {name: decision.get(name) for name in _DECIDED}
            if (cost := decision.get("cost")) is not None:
                facts |= {"cost": cost["total"], "cost_agent_alone": cost["agent_alone"]}
            if (hedge := decision.get("hedge")) is not None:
                facts |= {
                    f"hedge_{name}": hedge[name] for name in ("cancelled", "interrupted", "seconds", "tool_steps")
                }
            judgment = update.get("speceyes_judgment") or state.get("speceyes_judgment")
            if judgment is not None:
                facts["screened"] = not judgment["tools_needed"]
        return facts

    def _scored(self, speculation: Mapping[str, Any]) -> dict[str, Any]:
        found = speculation["score"] or {}
        score = (found.get("scores") or {}).get(self.score_name)
        facts = {"score": score, "k": found.get("k_used"), "error": speculation["error"]}
        return facts | {"score_name": self.score_name} if found else facts


def _judged(judgment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tool_need": judgment["tool_need"],
        "judge_threshold": judgment["threshold"],
        "screened": not judgment["tools_needed"],
        "error": judgment["error"],
    }


def _keyed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of what is known: no None, no NaN."""
    known = {k: v for k, v in facts.items() if v is not None and not (isinstance(v, float) and not math.isfinite(v))}
    return {PREFIX + key: value for key, value in known.items()}


def _runs(config: RunnableConfig) -> Iterator[tuple[RunTree | None, RunTree | None]]:
    """The node's run and the graph's run, for each of LangSmith's tracers in a node's config."""
    callbacks = config.get("callbacks")
    if not isinstance(callbacks, BaseCallbackManager):
        return
    for handler in callbacks.handlers:
        if isinstance(handler, LangChainTracer):
            node = handler.run_map.get(str(callbacks.parent_run_id))
            yield node, None if node is None else handler.run_map.get(str(node.parent_run_id))


def _note(run: RunTree | None, notes: Mapping[str, Any]) -> None:
    if run is not None and notes:
        # LangChain shares one metadata dictionary among runs
        run.extra = {**(run.extra or {}), "metadata": {**((run.extra or {}).get("metadata") or {}), **notes}}


def _tag(run: RunTree | None, tag: str) -> None:
    if run is not None and tag not in (run.tags or ()):
        run.tags = [*(run.tags or ()), tag]

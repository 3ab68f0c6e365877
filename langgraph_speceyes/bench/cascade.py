"""A plain cascade, as one writes it in an afternoon: what the bypass has to beat.

The small model answers; where the mean probability of its tokens is high enough that is the answer, else the agent
gives it. No judge, no phases, no records that survive a checkpoint, none of this package's graphs: only the prompts and
settings of the model calls are the same, and what a run needs to know is noted.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, NotRequired

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable
from langgraph.graph import END, START, MessagesState, StateGraph

from langgraph_speceyes.behind.fallback import tool_calls, written_tokens
from langgraph_speceyes.front.calling import logprob_content
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy, inline_images
from langgraph_speceyes.models.overview import pixels_for
from langgraph_speceyes.prompts import MAX_ANSWER_TOKENS, Prompts, front_end_prompt, system_message
from langgraph_speceyes.scoring import is_end_token
from langgraph_speceyes.state import Decision
from langgraph_speceyes.usage import usage

RULE_OF_THUMB = 0.9
"""The threshold of somebody who has not measured anything."""


class CascadeState(MessagesState):
    """Messages, and what happened to the question."""

    decision: NotRequired[dict[str, Any]]


def create_cascade(
    agent: Runnable[Any, Any],
    small: BaseChatModel,
    *,
    threshold: float = RULE_OF_THUMB,
    prompts: Prompts | None = None,
    policy: ImagePolicy = DEFAULT_POLICY,
) -> StateGraph[Any, Any, Any, Any]:
    """The small model's answer where the mean probability of its tokens reaches a threshold, else the agent's.

    Args:
        agent: Takes and returns messages.
        small: The small model; it must return the log-probabilities of its tokens.
        threshold: Of ``exp(mean_t log p_t)``, the score `log`.
        prompts: What the small model is told, as the bypass tells it.
        policy: Which images may be loaded for a model that takes no references.

    Returns:
        A graph that runs with `ainvoke`; `decision` beside the messages is the record of the question.
    """
    words = prompts or Prompts()
    system = system_message(words.speculate_system)
    settings: dict[str, Any] = {"logprobs": True, "max_tokens": MAX_ANSWER_TOKENS, "temperature": 0.0}

    async def answer(state: CascadeState) -> dict[str, Any]:
        began, question = time.perf_counter(), state["messages"][-1]
        assert isinstance(question, HumanMessage), "a question comes last"
        prompt = front_end_prompt(question, system, words.speculate)
        if not getattr(small, "accepts_image_references", False):
            # as the bypass sends them
            most = pixels_for("auto", "speculator", [small])
            prompt = await asyncio.to_thread(inline_images, prompt, policy, most_pixels=most)
        said = await small.ainvoke(prompt, **settings)
        score = mean_probability(said)
        noted = _noted(said, score, threshold, time.perf_counter() - began)
        return {"decision": noted, "messages": [said] if score >= threshold else []}

    async def ask_agent(state: CascadeState) -> dict[str, Any]:
        began, asked = time.perf_counter(), len(state["messages"])
        result = await agent.ainvoke({"messages": state["messages"]})
        new = result["messages"][asked:]
        noted = _fell_back(state["decision"], new, result.get("steps"), time.perf_counter() - began)
        return {"decision": noted, "messages": result["messages"]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(CascadeState)
    graph.add_node("small", answer)
    graph.add_node("agent", ask_agent)
    graph.add_edge(START, "small")
    graph.add_conditional_edges("small", _next, [END, "agent"])
    graph.add_edge("agent", END)
    return graph


def _next(state: CascadeState) -> str:
    return END if state["decision"]["accepted"] else "agent"


def mean_probability(message: AIMessage) -> float:
    """``exp(mean_t log p_t)`` over the tokens of an answer, without the end of it; 0 for an empty answer.

    Raises:
        MissingLogprobsError: The model returned no log-probabilities.
    """
    values = [float(token["logprob"]) for token in logprob_content(message) if not is_end_token(token["token"])]
    return math.exp(math.fsum(values) / len(values)) if values and message.text.strip() else 0.0


def _noted(said: AIMessage, score: float, threshold: float, seconds: float) -> Decision:
    """The record of a question, in the bypass's words, so that runs, sweeps and calibration can read it."""
    accepted = score >= threshold
    return Decision(
        mode="on",
        route="bypass" if accepted else "fallback",
        decided_by="gate",
        reason=None,
        follow_up=False,
        order=None,
        accepted=accepted,
        tool_need=None,
        judge_threshold=None,
        score_name="log",
        score=score,
        scores={"log": score},
        threshold=threshold,
        k=None,
        speculation=said.text,
        answer_tokens=[],
        tokens={"speculate": usage(said)},
        seconds={"speculate": seconds, "total": seconds},
        model_calls=0,
        tool_steps=0,
        tool_calls=[],
        error=None,
        hedge=None,
        audited=False,
        cost=None,
    )


def _fell_back(noted: Any, new: list[Any], steps: object, seconds: float) -> Any:
    """The record with what the agent did."""
    calls = tool_calls(new, steps)
    return {
        **noted,
        "seconds": {**noted["seconds"], "agent": seconds, "total": noted["seconds"]["speculate"] + seconds},
        "tokens": {**noted["tokens"], "agent": written_tokens(new)},
        "model_calls": sum(isinstance(message, AIMessage) for message in new),
        "tool_steps": len(calls),
        "tool_calls": calls,
    }

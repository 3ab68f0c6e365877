"""What vLLM's own counters say of prompts that begin alike; run by `vllm_server.py` beside the other tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from langgraph_speceyes.testbed.pair import Pair
from tests.hosted.conftest import Served
from tests.hosted.test_hosted import visual_agent


def counted(url: str, name: str) -> float:
    page = httpx.get(f"{url.removesuffix('/v1')}/metrics").text
    return sum(float(value) for value in re.findall(rf"^{name}{{.*}} (\S+)$", page, re.MULTILINE))


def test_the_agents_first_turn_finds_the_judges_prefix(
    pair: Pair, served: Served, ask: Callable[[str, int], list[Any]]
) -> None:
    # questions that no other test has asked, so that every hit is the judge's or an earlier turn's doing
    messages = [message for _, message in ask("relations", 40)[28:]]
    large = served.agent(max_tokens=96)
    graph = pair.speceyes(
        speculator=served.speculator(),
        judge=large,
        agent=visual_agent(pair, large),
        gate=replace(pair.gate, threshold=1 - 1e-12),
        strict=True,
    ).compile()
    names = ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total")
    before = [counted(served.agent_url, name) for name in names]
    found = [graph.invoke({"messages": [message]})["decision"] for message in messages]
    queries, hits = (counted(served.agent_url, name) - was for name, was in zip(names, before, strict=True))
    turns = sum(1 + len(decision["tool_calls"]) for decision in found)
    print(f"\n{len(found)} judgments, {turns} agent turns: {hits:.0f} of {queries:.0f} prompt tokens cached")
    assert all("agent" in decision["seconds"] for decision in found)
    # every turn of the agent finds what came before it, in whole blocks of 32 tokens
    assert hits / queries > 0.4

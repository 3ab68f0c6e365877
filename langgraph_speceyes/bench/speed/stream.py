"""A long stream of queries through the funnel: does memory grow, does the order hold?"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from PIL import Image

from langgraph_speceyes.bench.canned import Canned, content, message
from langgraph_speceyes.bench.speed.figures import Figure, Part
from langgraph_speceyes.bench.speed.subjects import Bench
from langgraph_speceyes.funnel import create_funnel
from langgraph_speceyes.graph import create_speceyes
from langgraph_speceyes.scoring import uncalibrated_on_purpose

WIDE = 32
_MEBI = 1024 * 1024


async def measure(bench: Bench) -> Part:
    """Queries through one run of the funnel, 32 at once, every fourth of them through an agent.

    The models are stand-ins that answer at once, so this shows what the graph does with a long stream, not the models.
    Memory is the process's resident set as outcomes arrive, at each quarter.
    """
    count = min(bench.stream, 200) if bench.quick else bench.stream
    bench.report(f"stream: {count} queries")
    with tempfile.TemporaryDirectory(prefix="speceyes-") as folder:
        file = Path(folder) / "one.png"
        Image.new("RGB", (32, 32)).save(file)
        image = {"type": "image", "url": str(file)}
        queries: list[Any] = [[HumanMessage([image, {"type": "text", "text": f"query {k}"}])] for k in range(count)]
        funnel = create_funnel(_stub()).compile()
        marks = {-(-count * quarter // 4) for quarter in range(1, 5)}
        before, samples, arrived, outcomes = resident(), [], 0, list[Any]()
        began = time.perf_counter()
        options: Any = {"max_concurrency": WIDE}
        async for update in funnel.astream({"queries": queries}, options, stream_mode="updates"):
            if "collect" in update:
                outcomes = update["collect"]["outcomes"]
            for _ in (update.get("query") or {}).get("arrived", []):
                arrived += 1
                if arrived in marks:
                    seconds = time.perf_counter() - began
                    samples.append({"queries": arrived, "rss_mib": resident() / _MEBI, "seconds": seconds})
        seconds = time.perf_counter() - began
    ordered = [o["answer"] for o in outcomes] == [f"query {k}" for k in range(count)]
    failed = sum(o["error"] is not None for o in outcomes)
    part = Part()
    part.details = {
        "queries": count,
        "seconds": seconds,
        "rss_before_mib": before / _MEBI,
        "quarters": samples,
        "rss_after_mib": resident() / _MEBI,
        "order_kept": ordered,
        "failed": failed,
    }
    rows = [(f"stream of {count}, order kept", float(ordered), ""), ("stream, failed", float(failed), "")]
    rows += [("stream, queries a second", count / seconds, "/s")]
    rows += [(f"stream, memory after {s['queries']}", s["rss_mib"], "MiB") for s in samples]
    part.rows = [(label, Figure(value, value, value, 1), unit) for label, value, unit in rows]
    return part


def _stub() -> StateGraph[Any, Any, Any, Any]:
    """The bypass around models that repeat the question; every fourth question needs tools."""
    yes, no, sure = content("yes"), content("no"), content("answer")

    def judge(messages: Sequence[BaseMessage]) -> AIMessage:
        tools = int(_asked(messages).split()[1]) % 4 == 0
        return message("", yes if tools else no)

    def agent(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(_asked(state["messages"]))]}

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    graph.add_node("act", agent)
    graph.add_edge(START, "act")
    graph.add_edge("act", END)
    speculator = Canned(say=lambda messages: message(_asked(messages), sure), model_name="canned speculator")
    with uncalibrated_on_purpose():
        return create_speceyes(graph, speculator=speculator, judge=Canned(say=judge, model_name="canned judge"))


def _asked(messages: Sequence[BaseMessage]) -> str:
    """The question's first line: instructions of the front end come after it."""
    parts: Any = messages[-1].content
    return next(str(p["text"]) for p in parts if p["type"] == "text").splitlines()[0]


def resident() -> int:
    """Bytes of memory that the process holds; where the system does not say, the most it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak()


def peak() -> int:
    """The most bytes of memory that the process ever held; 0 where the system does not say."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

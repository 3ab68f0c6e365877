"""Put the bypass in front of a LangGraph agent that is already there.

    python examples/existing_agent.py

The agent has state of its own, keeps threads in a checkpointer, and knows nothing of the bypass. It stays as it is.
"""

from __future__ import annotations

import argparse
import operator
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from rich.console import Console
from rich.table import Table

from langgraph_speceyes import Decision, create_speceyes, image_question
from langgraph_speceyes.images import find_images
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.pair import PROMPTS, Pair, load_pair
from langgraph_speceyes.testbed.questions import questions

console = Console(width=110, highlight=False)


# --- the agent that is already there -------------------------------------------------------------------------------


class InspectorState(MessagesState):
    """What this agent keeps beside its messages."""

    site: str  # given by the caller
    diary: Annotated[list[str], operator.add]  # the agent's own, with a reducer


def existing_agent(pair: Pair) -> StateGraph[Any, Any, Any, Any]:
    """Stands for yours: it looks at the image with tools, then writes its diary."""
    visual = pair.agent().compile()

    def look(state: InspectorState) -> dict[str, Any]:
        # the embedded model was trained on single questions, so this agent puts the thread's image in front of each
        asked = image_question(newest_image(state["messages"]), state["messages"][-1].text)
        found = visual.invoke({"messages": [asked]})
        tools = ", ".join(step["tool"] for step in found["steps"]) or "no tools"
        return {"messages": [found["messages"][-1]], "diary": [f"{state['site']}: looked with {tools}"]}

    graph = StateGraph(InspectorState)
    graph.add_node("look", look)
    graph.add_edge(START, "look")
    graph.add_edge("look", END)
    return graph


def newest_image(messages: list[AnyMessage]) -> str:
    """The image the thread is about."""
    return find_images(messages)[-1].uri


# --- the bypass in front of it -------------------------------------------------------------------------------------


def with_bypass(agent: StateGraph[Any, Any, Any, Any], pair: Pair) -> StateGraph[Any, Any, Any, Any]:
    """What the agent takes and returns, this graph takes and returns; `decision` is all that is added."""
    return create_speceyes(
        agent,
        # Your models go here, any LangChain chat models; the speculator must return logprobs:
        #   speculator=hosted_model("Qwen/Qwen3-VL-2B-Instruct", base_url="http://localhost:8000/v1"),
        #   judge=hosted_model("ChenShawn/DeepEyes-7B", base_url="http://localhost:8001/v1"),
        #   gate="gate.json",  # what `speceyes calibrate` wrote for these two
        speculator=pair.speculator,
        judge=pair.large,
        gate=pair.gate,
        # the words the embedded pair was trained on; leave this out for yours
        prompts=PROMPTS,
    )


# --- two turns in a thread, and what it gains ----------------------------------------------------------------------


def main() -> None:
    """Ask twice in one thread, then compare latencies on a few questions."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--questions", type=int, default=6, help="how many to time")
    count = cli.parse_args().questions

    pair = load_pair()
    agent = existing_agent(pair)
    # the checkpointer is given to the outer graph; the agent's own compile() needs none any more
    thread = with_bypass(agent, pair).compile(checkpointer=InMemorySaver())

    with tempfile.TemporaryDirectory() as folder:
        # boards of the embedded world: half of them ask for something the small model can see, half may not
        drawn = [questions(split, "test", count) for split in ("existence", "attributes")]
        mixed = [q for both in zip(*drawn, strict=True) for q in both]
        asked = [(question, written(question, Path(folder))) for question in mixed[:count]]
        console.rule("two turns in one thread", align="left")
        config: Any = {"configurable": {"thread_id": "1"}}
        first, other = asked[0][0], asked[0][0].scene.icons("large")[-1].kind
        result = thread.invoke({"messages": [asked[0][1]], "site": "hall 3"}, config)
        show_turn(first.text, result)
        # No image in this turn: the front end cannot know what "it" is about and leaves it to the agent, which has the
        # thread. `follow_ups="bypass"` would let it look at the newest image.
        result = thread.invoke({"messages": [HumanMessage(f"What color is the {other}?")]}, config)
        show_turn(f"What color is the {other}?", result)
        console.print(f"the agent's diary: {result['diary']}\n")

        console.rule("the agent alone, and behind the bypass", align="left")
        graphs = {"alone": agent.compile(), "bypass": with_bypass(agent, pair).compile()}
        table = Table("question", "answer", "decided by", "alone", "with bypass")
        seconds: dict[str, list[float]] = {"alone": [], "bypass": []}
        for number, (question, message) in enumerate(asked):
            given = {"messages": [message], "site": "hall 3"}
            results = {}
            # they take turns at going first: the second finds the image already decoded
            for name in ("alone", "bypass") if number % 2 else ("bypass", "alone"):
                began = time.perf_counter()
                results[name] = graphs[name].invoke(given)
                seconds[name].append(time.perf_counter() - began)
            decision: Decision = results["bypass"]["decision"]
            answer, where = results["bypass"]["messages"][-1].text, f"{decision['decided_by']} -> {decision['route']}"
            table.add_row(question.stem, answer, where, *(f"{s[-1] * 1e3:.0f} ms" for s in seconds.values()))
        console.print(table)
        mean = {name: sum(each) / len(each) * 1e3 for name, each in seconds.items()}
        console.print(
            f"mean latency: {mean['alone']:.0f} ms alone, {mean['bypass']:.0f} ms with the bypass "
            f"({mean['alone'] / mean['bypass']:.2f} x)"
        )
        console.print("So few questions measure nothing; `speceyes eval` measures yours.")


def show_turn(question: str, result: dict[str, Any]) -> None:
    """A question, its answer, and why it was answered that way."""
    decision: Decision = result["decision"]
    console.print(f"[bold]{question}[/] {result['messages'][-1].text}")
    why = [f"{decision['route']}, decided by the {decision['decided_by']}"]
    if decision["reason"]:
        why.append(decision["reason"])
    if decision["tool_need"] is not None:
        why.append(f"tool need {decision['tool_need']:.4f} (limit {decision['judge_threshold']:.4f})")
    if decision["score"] is not None:
        why.append(f"score {decision['score']:.4f} (threshold {decision['threshold']:.4f})")
    why.append(f"{decision['seconds']['total'] * 1e3:.0f} ms")
    console.print(f"  {'; '.join(why)}")


if __name__ == "__main__":
    main()

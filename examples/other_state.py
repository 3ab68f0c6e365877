"""The bypass in front of an agent whose state has no messages: `image_path`, `question` and `answer`.

    python examples/other_state.py

Two functions say where the question is in the state, and what an answer does to it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import END, START, StateGraph
from rich.console import Console

from langgraph_speceyes import create_speceyes, image_question
from langgraph_speceyes.testbed.pair import PROMPTS, Pair, load_pair
from langgraph_speceyes.testbed.questions import questions


class FormState(TypedDict, total=False):
    """The state of the agent that is already there."""

    image_path: str
    question: str
    answer: str
    signed_by: str


def form_agent(pair: Pair) -> StateGraph[Any, Any, Any, Any]:
    """Stands for yours: reads two keys, writes two."""
    visual = pair.agent().compile()

    def fill_in(state: FormState) -> FormState:
        found = visual.invoke({"messages": [image_question(state["image_path"], state["question"])]})
        return {"answer": found["messages"][-1].text, "signed_by": "agent"}

    graph = StateGraph(FormState)
    graph.add_node("fill_in", fill_in)
    graph.add_edge(START, "fill_in")
    graph.add_edge("fill_in", END)
    return graph


# --- the bypass: from this state to a question, and from an answer to this state ------------------------------------


def query_from_state(state: Mapping[str, Any]) -> HumanMessage:
    """What judge and speculator are asked."""
    return image_question(state["image_path"], state["question"])


def update_from_answer(answer: AIMessage, state: Mapping[str, Any]) -> dict[str, Any]:
    """What the agent itself would have written, had the answer been its own."""
    return {"answer": answer.text, "signed_by": "speculator"}


def main() -> None:
    """Fill in a few forms."""
    console = Console(width=110, highlight=False)
    pair = load_pair()
    graph = create_speceyes(
        form_agent(pair),
        # Your models go here, and gate="gate.json" from `speceyes calibrate`; without PROMPTS:
        #   speculator=hosted_model("Qwen/Qwen3-VL-2B-Instruct", base_url="http://localhost:8000/v1"),
        speculator=pair.speculator,
        judge=pair.large,
        gate=pair.gate,
        prompts=PROMPTS,
        query_from_state=query_from_state,
        update_from_answer=update_from_answer,
    ).compile()

    with tempfile.TemporaryDirectory() as folder:
        for number, question in enumerate(questions("attributes", "test", 4)):
            path = Path(folder) / f"board-{number}.png"
            question.render().save(path)
            form = graph.invoke({"image_path": str(path), "question": question.text})
            decision = form.pop("decision")  # the one key that is added
            shown = form | {"image_path": path.name, "question": question.stem}
            console.print(f"{shown}", soft_wrap=True)
            console.print(
                f"  [dim]{decision['route']}, decided by the {decision['decided_by']}, "
                f"{decision['seconds']['total'] * 1e3:.0f} ms[/]"
            )


if __name__ == "__main__":
    main()

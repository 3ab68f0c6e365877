"""The bypass as middleware of an agent made by LangChain's `create_agent`.

    python examples/middleware.py

What the gate accepts is the agent's answer before its first model call; everything else goes on as without it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from langgraph_speceyes import SpecEyesMiddleware, visual_tools
from langgraph_speceyes.errors import MissingExtraError
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.pair import PROMPTS, load_pair
from langgraph_speceyes.testbed.prompts import SYSTEM
from langgraph_speceyes.testbed.questions import questions

try:
    from langchain.agents import create_agent
    from langchain.agents.middleware import ModelCallLimitMiddleware

    from langgraph_speceyes.testbed.native import TrainedWords
except ModuleNotFoundError as missing:
    raise MissingExtraError("create_agent", "middleware") from missing


def build() -> Any:
    """The agent, with the bypass as the first of its middleware."""
    pair = load_pair()

    # Your models go here:
    #   small = hosted_model("Qwen/Qwen3-VL-2B-Instruct", base_url="http://localhost:8000/v1")
    #   large = hosted_model("Qwen/Qwen3-VL-32B-Instruct", base_url="http://localhost:8001/v1")
    # and gate="gate.json", what `speceyes calibrate` wrote for these two.
    small, gate = pair.speculator, pair.gate
    large: Any = pair.large

    bypass = SpecEyesMiddleware(
        small,
        judge=large,
        gate=gate,
        prompts=PROMPTS,  # the words the embedded pair was trained on; leave this out for your models
        # tool_images="user" for servers that refuse images in tool messages (vLLM, OpenAI)
    )
    # First, so that what it answers costs none of the others anything. TrainedWords is the embedded model's own.
    middleware: list[Any] = [bypass, ModelCallLimitMiddleware(run_limit=8), TrainedWords()]
    return create_agent(
        # trained with its tools: their schemas are no part of its prompt. For yours it is just `large`
        large.model_copy(update={"tools_in_prompt": False}),
        # crop, zoom and OCR; tools of your own go beside them. Coordinates are what your model's boxes count
        visual_tools(coordinates="resized", resize=large.resize_rule),
        system_prompt=SYSTEM,
        middleware=middleware,
    )


def main() -> None:
    """Ask a few questions of each kind."""
    console = Console(width=110, highlight=False)
    agent = build()
    table = Table("question", "answer", "route", "score", "tools called", "time")
    with tempfile.TemporaryDirectory() as folder:
        for split in ("attributes", "existence", "reading"):
            for question in questions(split, "test", 2):
                result = agent.invoke({"messages": [written(question, Path(folder))]})
                decision = result["decision"]
                score = "-" if decision["score"] is None else f"{decision['score']:.4f}"
                tools = ", ".join(call["tool"] for call in decision["tool_calls"]) or "-"
                time = f"{decision['seconds']['total'] * 1e3:.0f} ms"
                colour = "green" if decision["route"] == "bypass" else "yellow"
                answer = result["messages"][-1].text
                table.add_row(question.stem, answer, f"[{colour}]{decision['route']}[/]", score, tools, time)
    console.print(table)


if __name__ == "__main__":
    main()

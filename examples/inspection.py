"""An inspection report over a folder of images: the bypass inside a larger workflow, with a person for the rest.

    python examples/inspection.py            # the script plays the reviewer
    python examples/inspection.py --ask      # you do
    python examples/inspection.py --images photos/ --check "Is there a helmet?"

    folder -> [image + check] -> bypass or agent -> finding -+
           -> [image + check] -> bypass or agent -> finding -+-> review (a person, if needed) -> report
           -> ...

Every check of every image runs on a path of its own. What the gate was not sure of, and what the agent had to look
into, is put before a person. The run waits for that person in SQLite: the program may end in the meantime, and here it
does as good as that.
"""

from __future__ import annotations

import argparse
import operator
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AnyMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt
from rich.console import Console

from langgraph_speceyes import Decision, create_speceyes, image_question
from langgraph_speceyes.errors import MissingExtraError
from langgraph_speceyes.images import MessagesChannel
from langgraph_speceyes.testbed.pair import PROMPTS, Pair, load_pair
from langgraph_speceyes.testbed.world import make_scene

try:
    from langgraph.checkpoint.sqlite import SqliteSaver
except ModuleNotFoundError as missing:
    raise MissingExtraError("the SQLite checkpointer", "dev") from missing

SURE = 0.975
"""Accepted answers below this score go to the reviewer too. The gate's threshold is lower: being accepted means as
good as the agent, which is not yet good enough for a signature."""
CHECKS = ("Is there a moon in the image?", "Is there a star in the image?")

console = Console(width=110, highlight=False)


# --- state ---------------------------------------------------------------------------------------------------------


class Finding(TypedDict):
    """What came of one check of one image."""

    image: str
    check: str
    answer: str
    route: str
    score: float | None
    seconds: float


class Item(TypedDict, total=False):
    """One check of one image, on its way."""

    image: str
    check: str
    messages: Annotated[list[AnyMessage], MessagesChannel]  # add_messages, with image data kept out of checkpoints
    decision: Decision


class Found(TypedDict):
    """What an item gives back. Items end side by side, so every key needs a reducer."""

    findings: Annotated[list[Finding], operator.add]


class Inspection(Found, total=False):
    """The whole inspection."""

    images: list[str]
    checks: list[str]
    verdicts: dict[str, str]
    report: str


# --- the workflow --------------------------------------------------------------------------------------------------


def one_item(pair: Pair) -> Any:
    """One check of one image, from question to finding."""
    # ---- the bypass: everything in this file that is about it --------------------------------------------------
    speceyes = create_speceyes(
        pair.agent(),
        # Your models go here, gate="gate.json" from `speceyes calibrate`, and your agent above; without PROMPTS:
        #   speculator=hosted_model("Qwen/Qwen3-VL-2B-Instruct", base_url="http://localhost:8000/v1"),
        #   judge=hosted_model("ChenShawn/DeepEyes-7B", base_url="http://localhost:8001/v1"),
        speculator=pair.speculator,
        judge=pair.large,
        gate=pair.gate,
        prompts=PROMPTS,
        # however many images there are: no more agents than this at once
        max_concurrent_agents=2,
        # this workflow wants answers; what the agent saw on the way is no part of its state
        output_mode="last_message",
    ).compile()
    # ------------------------------------------------------------------------------------------------------------

    def question(state: Item) -> Item:
        return {"messages": [image_question(state["image"], state["check"])]}

    def finding(state: Item) -> Found:
        decision = state["decision"]
        return {
            "findings": [
                Finding(
                    image=state["image"],
                    check=state["check"],
                    answer=state["messages"][-1].text,
                    route=decision["route"],
                    score=decision["score"],
                    seconds=decision["seconds"]["total"],
                )
            ]
        }

    class AnyItem(Item, Found):
        pass

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(AnyItem, input_schema=Item, output_schema=Found)
    graph.add_node("question", question)
    graph.add_node("speceyes", speceyes)
    graph.add_node("finding", finding)
    graph.add_edge(START, "question")
    graph.add_edge("question", "speceyes")
    graph.add_edge("speceyes", "finding")
    graph.add_edge("finding", END)
    return graph.compile()


def unsure(finding: Finding) -> bool:
    """Whether a person should look at it."""
    return finding["route"] == "fallback" or finding["score"] is None or finding["score"] < SURE


def key(finding: Finding) -> str:
    """What a finding is about."""
    return f"{Path(finding['image']).name}: {finding['check']}"


def review(state: Inspection) -> dict[str, Any]:
    """Put what is unsure before a person, all at once; the graph stops here until it is resumed."""
    open_ones = sorted((f for f in state["findings"] if unsure(f)), key=key)
    if not open_ones:
        return {"verdicts": {}}
    # called again from the top when resumed: nothing above may have side effects
    return {"verdicts": interrupt([{"key": key(f), **f} for f in open_ones])}


def write(state: Inspection) -> dict[str, Any]:
    """The report, as Markdown."""
    verdicts, findings = state["verdicts"], sorted(state["findings"], key=key)
    bypassed = sum(f["route"] == "bypass" for f in findings)
    lines = ["# Inspection", ""]
    lines.append(
        f"{len(state['images'])} images, {len(findings)} checks: {bypassed} answered by the small model, "
        f"{len(findings) - bypassed} by the agent, {len(verdicts)} reviewed by a person."
    )
    lines += [
        "",
        "| image | check | answer | answered by | score | reviewed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for f in findings:
        said = verdicts.get(key(f))
        reviewed = "" if said is None else "confirmed" if said == f["answer"] else f"corrected to: {said}"
        by = "small model" if f["route"] == "bypass" else "agent"
        score = "" if f["score"] is None else f"{f['score']:.4f}"
        row = (Path(f["image"]).name, f["check"], f["answer"], by, score, reviewed)
        lines.append(f"| {' | '.join(row)} |")
    return {"report": "\n".join(lines) + "\n"}


def workflow(pair: Pair) -> StateGraph[Any, Any, Any, Any]:
    """Checks over images, a person for what is unsure, a report."""

    def spread(state: Inspection) -> list[Send]:
        return [Send("inspect", {"image": i, "check": c}) for i in state["images"] for c in state["checks"]]

    graph = StateGraph(Inspection)
    # the compiled graph is the node: a fast check never waits for a slow one, and its decisions show in the stream
    graph.add_node("inspect", one_item(pair))
    graph.add_node("review", review)
    graph.add_node("write", write)
    graph.add_conditional_edges(START, spread, ["inspect"])
    graph.add_edge("inspect", "review")
    graph.add_edge("review", "write")
    graph.add_edge("write", END)
    return graph


# --- running it ----------------------------------------------------------------------------------------------------


def run(graph: Any, given: Any, config: Any) -> list[dict[str, Any]] | None:
    """Run until the end or until a person is needed; show what happens. Returns what the person is asked."""
    waiting = None
    # subgraphs=True: without it nothing that happens inside an item is streamed
    for part in graph.stream(given, config, stream_mode=["updates", "custom"], subgraphs=True, version="v2"):
        where, data = part["ns"], part["data"]
        if part["type"] == "custom" and data["event"] == "judge" and data["tools_needed"]:
            console.print("[dim]  judged tool-needing: the agent takes a closer look[/]")
        elif part["type"] == "updates" and "__interrupt__" in data and not where:
            waiting = data["__interrupt__"][0].value
        elif part["type"] == "updates" and "inspect" in data:
            for finding in data["inspect"]["findings"]:
                colour = "green" if finding["route"] == "bypass" else "yellow"
                score = "" if finding["score"] is None else f" {finding['score']:.4f}"
                console.print(
                    f"  {key(finding):<42} {finding['answer']:<32} [{colour}]{finding['route']}[/]{score}"
                    f"  {finding['seconds'] * 1e3:.0f} ms"
                )
    return waiting


def asked(finding: dict[str, Any]) -> str:
    """A verdict from the terminal."""
    said = console.input(f"  {finding['key']} [bold]{finding['answer']}[/] (Enter to confirm, or what is right) ")
    return said.strip() or str(finding["answer"])


def main() -> None:
    """Inspect, review, report."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--images", type=Path, help="a folder of images; without it boards of the embedded world")
    cli.add_argument("--check", action="append", help="a question about each of them; may be given several times")
    cli.add_argument("--ask", action="store_true", help="ask you about what is unsure")
    cli.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "speceyes-inspection", help="a folder")
    arguments = cli.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    verdict: Callable[[dict[str, Any]], str] = asked
    if arguments.images is None:
        arguments.images = arguments.out / "boards"
        truth = draw_boards(arguments.images, 5)
        if not arguments.ask:
            # the script knows what it drew
            verdict = partial(reviewer, truth=truth)
    images = sorted(str(p) for p in arguments.images.iterdir() if p.suffix in (".png", ".jpg", ".jpeg"))

    pair = load_pair()
    database = str(arguments.out / "inspection.sqlite")
    Path(database).unlink(missing_ok=True)
    config: Any = {"configurable": {"thread_id": "today"}, "max_concurrency": 4}

    console.rule("checks, as they end", align="left")
    given: Inspection = {"findings": [], "images": images, "checks": arguments.check or list(CHECKS)}
    with SqliteSaver.from_conn_string(database) as saver:
        waiting = run(workflow(pair).compile(checkpointer=saver), given, config)

    if waiting is not None:
        # Another program, another day: all that is needed is the database and the thread's id.
        console.rule(f"review of {len(waiting)}", align="left")
        verdicts = {finding["key"]: verdict(finding) for finding in waiting}
        for finding in waiting:
            said = verdicts[finding["key"]]
            console.print(f"  {finding['key']:<42} {'confirmed' if said == finding['answer'] else said}")
        with SqliteSaver.from_conn_string(database) as saver:
            run(workflow(pair).compile(checkpointer=saver), Command(resume=verdicts), config)

    with SqliteSaver.from_conn_string(database) as saver:
        state = workflow(pair).compile(checkpointer=saver).get_state(config)
    report = arguments.out / "report.md"
    report.write_text(state.values["report"])
    console.rule("report", align="left")
    console.print(state.values["report"].split("\n\n")[1])
    console.print(f"written to {report}, the run's history is in {database}", soft_wrap=True)


# --- the embedded world, so that there is something to inspect -------------------------------------------------------


def draw_boards(folder: Path, count: int) -> dict[str, set[str]]:
    """Draw boards into a folder. Returns what is on each, by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for number in range(count):
        scene = make_scene(f"inspection {number}", large=(3, 3), small=(0, 3))
        scene.render().save(folder / f"board-{number + 1}.png")
        drawn[f"board-{number + 1}.png"] = {thing.kind for thing in scene.things}
    return drawn


def reviewer(finding: dict[str, Any], truth: dict[str, set[str]]) -> str:
    """Confirm what is right, correct what is not."""
    kind = next((k for k in ("moon", "star") if k in finding["check"]), None)
    there = kind in truth[Path(finding["image"]).name]
    right = finding["answer"].endswith("yes.") == there
    return str(finding["answer"]) if kind is None or right else f"{'yes' if there else 'no'}, says the reviewer"


if __name__ == "__main__":
    main()

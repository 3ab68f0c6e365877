"""Traces in LangSmith without the images in them.

    LANGSMITH_API_KEY=... python examples/tracing.py      # to LangSmith
    python examples/tracing.py                            # to a stand-in of this script's own, which shows what came

An inline image would be in a trace once for every run that sees it. In its place stands what it was: digest, media type
and size. The models still get the image.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.tracers.langchain import LangChainTracer
from rich.console import Console
from rich.tree import Tree

from langgraph_speceyes import create_speceyes
from langgraph_speceyes.testbed.pair import PROMPTS, load_pair
from langgraph_speceyes.testbed.questions import Question, questions
from langgraph_speceyes.tracing import feedback, masked_client

console = Console(width=110, highlight=False)
Runs = dict[str, dict[str, Any]]


def build() -> Any:
    """The bypass in front of the visual agent."""
    pair = load_pair()
    return create_speceyes(
        # Your agent and models go here, and gate="gate.json" from `speceyes calibrate`; without PROMPTS:
        #   speculator=hosted_model("Qwen/Qwen3-VL-2B-Instruct", base_url="http://localhost:8000/v1"),
        pair.agent(),
        speculator=pair.speculator,
        judge=pair.large,
        gate=pair.gate,
        prompts=PROMPTS,
    ).compile(name="speceyes")


def inline(question: Question) -> tuple[HumanMessage, int]:
    """The question with its image in the message, as a browser sends it. Also the image's characters."""
    out = io.BytesIO()
    question.render().save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    image = {"type": "image", "base64": data, "mime_type": "image/png"}
    return HumanMessage([image, {"type": "text", "text": question.text}]), len(data)


def main() -> None:
    """Ask one easy and one hard question, traced."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--project", default="speceyes-example", help="the project in LangSmith")
    project = cli.parse_args().project
    graph = build()
    asked = [inline(questions(split, "test", 1)[0]) for split in ("existence", "reading")]

    # ---- everything in this file that is about masking -----------------------------------------------------------
    # The root run holds the messages as you pass them, so it is your client that must mask them. Here for the runs
    # given this tracer; for all runs of a process, once at start-up, with LANGSMITH_TRACING=true:
    #   langsmith.configure(client=masked_client())
    with where_to() as (options, received):
        client = masked_client(**options)
        tracer = LangChainTracer(client=client, project_name=project)
        # ----------------------------------------------------------------------------------------------------------
        decisions = []
        for message, _ in asked:
            result = graph.invoke({"messages": [message]}, {"callbacks": [tracer]})
            decisions.append(result["decision"])
            if received is None and tracer.latest_run is not None:
                # the decision as scores: their means over many runs are the share bypassed, the acceptance rate, ...
                for one in feedback(result["decision"]):
                    client.create_feedback(tracer.latest_run.id, **one)
        client.flush()
        client.close()

    if received is None:
        console.print(f"sent to the project {project} in LangSmith")
        return
    console.print("no LANGSMITH_API_KEY: this is what LangSmith would have got\n")
    roots = sorted((r for r in received.values() if not r.get("parent_run_id")), key=lambda r: str(r["dotted_order"]))
    for root, (message, size), decision in zip(roots, asked, decisions, strict=True):
        console.print(f"[bold]{message.text}[/]  ({size} characters of inline image)")
        console.print(grown(Tree(label(root)), root, received))
        scores = [f"{one['key']} {one.get('score', one.get('value'))}" for one in feedback(decision)]
        console.print(f"as feedback: {', '.join(scores)}\n", soft_wrap=True)
    shown = roots[0]["inputs"]["messages"][0]
    content = shown.get("content") or shown["kwargs"]["content"]
    console.print(f"the image, in the trace: {content[0]['base64']}")


def label(run: dict[str, Any]) -> str:
    """One run: name, kind, characters, and what the bypass noted on it."""
    size = len(json.dumps([run.get("inputs"), run.get("outputs")]))
    noted = (run.get("extra") or {}).get("metadata") or {}
    notes = [f"{key} {noted[key]}" for key in ("speceyes_decided_by", "speceyes_score") if key in noted]
    tags = [f"[green]{tag}[/]" for tag in run.get("tags") or [] if tag.startswith("speceyes:")]
    return " ".join([f"{run['name']} [dim]{run['run_type']}, {size} characters[/]", *tags, *notes])


def grown(tree: Tree, run: dict[str, Any], runs: Runs) -> Tree:
    """A run with the runs beneath it."""
    beneath = [r for r in runs.values() if r.get("parent_run_id") == run["id"]]
    for child in sorted(beneath, key=lambda r: str(r["dotted_order"])):
        grown(tree.add(label(child)), child, runs)
    return tree


# --- a stand-in for LangSmith, for those without a key ---------------------------------------------------------------


@contextmanager
def where_to() -> Iterator[tuple[dict[str, Any], Runs | None]]:
    """Options of the client, and where its runs can be found if they do not go to LangSmith."""
    if os.environ.get("LANGSMITH_API_KEY"):
        yield {}, None
        return
    received: Runs = {}

    class StandIn(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            limits = {"size_limit": 100, "size_limit_bytes": 20 << 20}
            threads = {"scale_up_nthreads_limit": 1, "scale_up_qsize_trigger": 1000}
            # plain JSON, please
            self._answer({"batch_ingest_config": {"use_multipart_endpoint": False, **limits, **threads}})

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for run in (*sent.get("post", []), *sent.get("patch", [])):
                received.setdefault(run["id"], {}).update({k: v for k, v in run.items() if v is not None})
            self._answer({})

        def _answer(self, value: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), StandIn)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield {"api_url": f"http://127.0.0.1:{server.server_port}", "api_key": "-"}, received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    main()

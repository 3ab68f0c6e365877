"""A speculator behind an OpenAI-compatible endpoint; judge and agent in this process.

    python examples/remote_speculator.py                                      # against a server on this machine
    python examples/remote_speculator.py --url http://gpu:8000/v1 --model Qwen/Qwen3-VL-2B-Instruct

Without `--url` the script starts the embedded speculator behind a loopback socket, which answers as vLLM does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from rich.console import Console
from rich.table import Table

from langgraph_speceyes import Gate, create_speceyes
from langgraph_speceyes.errors import SpecEyesError
from langgraph_speceyes.models.hosted import hosted_model, probe
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.pair import PROMPTS, SPECULATOR_NAME, Pair, load_pair
from langgraph_speceyes.testbed.questions import questions
from langgraph_speceyes.testbed.server import ModelServer

console = Console(width=110, highlight=False)


def build(small: BaseChatModel, gate: Gate, pair: Pair) -> Any:
    """The bypass, its small model elsewhere."""
    return create_speceyes(
        # Your agent and its model go here; that model is the judge as well
        pair.agent(),
        judge=pair.large,
        speculator=small,
        gate=gate,
        # An endpoint may be slow or gone. That is never the user's failure: the question goes to the agent, and
        # `decision["error"]` says why. So long is it waited for at most.
        timeout_s=20,
        # the words the embedded pair was trained on; leave this out for yours
        prompts=PROMPTS,
    ).compile()


def main() -> None:
    """Probe the endpoint, then ask."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--url", help="base URL of an OpenAI-compatible server")
    cli.add_argument("--model", default=SPECULATOR_NAME, help="the small model's name there")
    cli.add_argument("--questions", type=int, default=6)
    arguments = cli.parse_args()

    pair = load_pair()
    with ExitStack() as stack:
        url = arguments.url
        if url is None:
            # as many candidates a token as the gate asks for: 20, which is vLLM's default too
            url = stack.enter_context(ModelServer(pair, max_logprobs=pair.gate.k)).url
        # ChatOpenAI, set up so that it returns logprobs; a key from OPENAI_API_KEY, if the server wants one
        small = hosted_model(arguments.model, base_url=url, temperature=0)

        # Ask it before relying on it: what it refuses, and what it silently ignores. Not needed at every start.
        found = probe(small, k=pair.gate.k)
        console.rule("what the endpoint can do", align="left")
        console.print(f"{found.describe()}\n")
        if found.logprobs != "yes" or found.k < 5:
            sys.exit("without five candidates a token it cannot be the speculator")
        # A threshold is for one model. Another speculator needs its own: `speceyes calibrate`.
        gate = pair.gate if arguments.url is None else Gate(k=found.k)

        graph = build(small, gate, pair)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        asked = [q for split in ("attributes", "existence", "relations") for q in questions(split, "test", 2)]
        table = Table("question", "answer", "route", "score", "speculator took", "trouble")
        for question in asked[: arguments.questions]:
            result = graph.invoke({"messages": [written(question, folder)]})
            decision = result["decision"]
            score = "-" if decision["score"] is None else f"{decision['score']:.4f}"
            took = f"{decision['seconds']['speculate'] * 1e3:.0f} ms" if "speculate" in decision["seconds"] else "-"
            where = f"{decision['decided_by']} -> {decision['route']}"
            answer = result["messages"][-1].text
            table.add_row(question.stem, answer, where, score, took, decision["error"] or "")
        console.rule("decisions", align="left")
        console.print(table)


if __name__ == "__main__":
    try:
        main()
    except SpecEyesError as error:
        # the endpoint does not answer, or langchain-openai is not installed: the message says which
        sys.exit(f"{type(error).__name__}: {error}")

"""Put an agent that is already there under watch, and let its bypass open by itself.

    python examples/shadow.py

Nobody labels anything, and nothing is configured but the promise. At first the agent answers every question and the
bypass looks on. What it has seen goes into a file, so that the next start of the program goes on from there.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from langgraph_speceyes import SpecEyesMiddleware
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.pair import PROMPTS, Pair, load_pair
from langgraph_speceyes.testbed.questions import Split, questions
from langgraph_speceyes.traffic import SelfOpening, SQLiteJournal, drain


def build(pair: Pair, journal: SQLiteJournal, promise: SelfOpening) -> tuple[Any, SpecEyesMiddleware]:
    """The agent with the bypass as its first middleware."""
    bypass = SpecEyesMiddleware(
        pair.speculator,  # your small model
        judge=pair.large,  # your large model
        gate=promise,  # shut at first: shadow
        journal=journal,
        prompts=PROMPTS,  # the words the embedded pair was trained on; leave this out for your models
    )
    agent = pair.tool_calling_agent(middleware=[bypass])  # create_agent(model, tools, middleware=[bypass])
    # An audit asks the agent once more, tools and all. It runs beside the answer, which nobody waits for.
    bypass.audit_with(agent)
    return agent, bypass


def main() -> None:
    """Ask questions until the gate opens, and some more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", type=Path, help="Where the evidence is kept; the default is a new file.")
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--split", default="existence", help="Kind of the embedded world's questions.")
    options = parser.parse_args()
    split: Split = options.split

    # So loose a promise is kept after a handful of questions. For yours: SelfOpening(max_loss=0.02, confidence=0.9).
    pair = load_pair()
    promise = SelfOpening(max_loss=0.2, confidence=0.6, score=pair.gate.score, k=pair.gate.k)
    with tempfile.TemporaryDirectory() as folder:
        # with texts, `speceyes audit` can answer later what this process does not get round to
        journal = SQLiteJournal(options.journal or Path(folder, "journal.sqlite"), texts=True)
        agent, bypass = build(pair, journal, promise)
        for question in questions(split, "calibration", options.questions):
            result = agent.invoke({"messages": [written(question, Path(folder))]})
            decision = result["decision"]
            route = decision["route"] + (", audited" if decision["audited"] else "")
            print(f"{question.stem:<40} {result['messages'][-1].text:<32} {decision['mode']:<6} {route}")
            # People leave time between questions; this program does not.
            drain()
        print()
        print(bypass.traffic.opener.status()["progress"]["words"])
        for event in bypass.traffic.opener.status()["events"]:
            print(f"{event['event']} after {event['questions']} questions")
        records = [record for _, record in journal.read()]
        audits = [record for record in records if record["route"] == "bypass" and record["audited"]]
        same = sum(record["agree"] is True for record in audits)
        print(f"{len(records)} records; {len(audits)} answers audited, {same} of them the agent's own")
        journal.close()


if __name__ == "__main__":
    main()

"""The campaign behind docs/opening.md: `python -m langgraph_speceyes.bench.opening OUTCOMES.csv`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from langgraph_speceyes.bench.opening.campaign import QUESTIONS, alarms, campaign
from langgraph_speceyes.bench.opening.plot import draw
from langgraph_speceyes.bench.opening.streams import ORDERS, read_outcomes
from langgraph_speceyes.traffic.opening import SelfOpening


def main() -> None:
    """Simulate, print the figures as JSON lines, and draw."""
    cli = argparse.ArgumentParser(prog="langgraph_speceyes.bench.opening", description=__doc__)
    cli.add_argument("outcomes", type=Path, help="CSV of recorded outcomes")
    cli.add_argument("--score", default="odds", help="its column with the score")
    cli.add_argument(
        "--runs", type=int, default=500, help="shuffled streams; a fifth as many drifting ones, twice as many detectors"
    )
    cli.add_argument("--questions", type=int, default=QUESTIONS, help="length of a stream")
    cli.add_argument("--plot", type=Path, help="folder for the plot")
    a = cli.parse_args()
    outcomes = read_outcomes(a.outcomes, a.score)
    settings = SelfOpening(max_loss=0.02, confidence=0.9, score=a.score)
    if a.plot:
        draw(a.plot, outcomes, settings, questions=a.questions)
    for order in ORDERS:
        runs = a.runs if order == "shuffled" else max(1, a.runs // 5)
        figures = campaign(outcomes, settings, order=order, runs=runs, questions=a.questions)
        print(json.dumps(figures), flush=True)
    for before, after, change in ((0.03, 0.03, 2000), (0.01, 0.01, 2000), (0.01, 0.2, 500), (0.01, 0.1, 500)):
        audits = change + (0 if before == after else 1000)
        print(json.dumps(alarms(before, after, change=change, audits=audits, runs=2 * a.runs)), flush=True)


if __name__ == "__main__":
    main()

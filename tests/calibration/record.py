"""Write `embedded_outcomes.csv`: what the embedded pair said to each of its 1,500 test questions, without a gate.

    speceyes eval embedded --part test --limit 300 --full --method speceyes --concurrency 16 --out runs/recorded
    speceyes eval embedded --part test --limit 300 --method speculator:k=64 --concurrency 16 --out runs/wide
    python tests/calibration/record.py runs/recorded runs/wide

The first run has judge, speculator at K = 20 and agent of every question, the second the speculator at K = 64. Columns:
`split`; `tool_need`, the judge's probability; `odds`, `log` and `min_20`, scores at K = 20; `min`, the score at K = 64;
`speculator_right` and `agent_right`. Of a run with looks (`--look`) also, for each depth n from 1 on, `odds_n`,
`log_n`, `min_20_n` and `speculator_right_n`; `recorded` of `simulated_depths` takes them in place of simulated ones.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from langgraph_speceyes.bench.runs import Outcome, Run

FILE = Path(__file__).parent / "embedded_outcomes.csv"
SPLITS = ("attributes", "relations", "reading", "existence", "dense")
SCORES = (("odds", 20, "odds"), ("log", 20, "log"), ("min", 64, "min"), ("min_20", 20, "min"))


def row(outcome: Outcome, wide: Outcome) -> dict[str, str]:
    """One question, from both methods' outcomes."""
    found = {}
    for name, k, score in SCORES:
        part = (outcome if k == 20 else wide)["speculator"]
        if part is None or part["k"] != k:
            sys.exit(f"{outcome['id']} is not scored at K = {k}")
        found[name] = f"{part['scores'][score]:.6g}"
    need, small, large = outcome["tool_need"], outcome["speculator"], outcome["agent"]
    if need is None or small is None or large is None:
        sys.exit(f"{outcome['id']} lacks a side")
    rights = {"speculator_right": str(int(small["right"])), "agent_right": str(int(large["right"]))}
    for depth, part in enumerate(outcome.get("depths", [])):
        if not depth:
            continue
        if part is None or part["k"] != 20:
            sys.exit(f"{outcome['id']} is not scored at K = 20 at depth {depth}")
        found |= {f"{name}_{depth}": f"{part['scores'][score]:.6g}" for name, k, score in SCORES if k == 20}
        rights[f"speculator_right_{depth}"] = str(int(part["right"]))
    return {"split": outcome["split"], "tool_need": f"{need:.6g}", **found, **rights}


def main(recorded: str, wide: str) -> None:
    """Read the runs, write the file."""
    outcomes, at_64 = (
        {o["id"]: o for o in Run(folder).outcomes() if o["method"] in ("speceyes", "speculator:k=64")}
        for folder in (recorded, wide)
    )
    rows = [row(outcome, at_64[id]) for id, outcome in outcomes.items()]
    rows.sort(key=lambda one: SPLITS.index(one["split"]))  # stable: the order of the questions of a split stays
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])

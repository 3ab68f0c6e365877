"""Write what the embedded pair said to each of its 1,800 test questions, without a gate.

    speceyes eval embedded --part test --limit 300 --full --method speceyes --look pair --concurrency 16 --out runs/deep
    speceyes eval embedded --part test --limit 300 --method speculator:k=64 --concurrency 16 --out runs/wide
    python tests/calibration/record.py runs/wide runs/deep

The first run has judge, speculator at K = 20, its answers after each look and agent of every question; it may be made
in parts, each with its own splits (`--split`), and all of them be named. The second has the speculator at K = 64.
`embedded_outcomes.csv` has the five families that the small model can tell at its first look closer,
`deep_outcomes.csv` the sixth. Columns: `split`; `tool_need`, the judge's
probability; `odds`, `log` and `min_20`, scores at K = 20; `min`, the score at K = 64; `speculator_right`,
`agent_right`; `agree`, whether the strict rule calls the two answers the same, as it does in shadow runs and audits.
Of a run with looks also, for each depth n from 1 on, `odds_n`, `log_n`, `min_20_n`, `speculator_right_n` and `agree_n`;
scores are empty where the look gave nothing. The runs of `make results` do as well as the first: the answers are the
same and the scores, too, to 2e-6.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from langgraph_speceyes.answers.agreement import agree
from langgraph_speceyes.bench.runs import Outcome, Run

FILES = {
    "embedded_outcomes.csv": ("attributes", "relations", "reading", "existence", "dense"),
    "deep_outcomes.csv": ("deep",),
}
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
    rights["agree"] = agreed(outcome, small["answer"])
    for depth, part in enumerate(outcome.get("depths", [])):
        if not depth:
            continue
        if part is None or not part.get("scores"):
            # the look gave nothing, and nothing was asked
            found |= {f"{name}_{depth}": "" for name, k, _ in SCORES if k == 20}
            rights |= {f"speculator_right_{depth}": "0", f"agree_{depth}": "0"}
            continue
        if part["k"] != 20:
            sys.exit(f"{outcome['id']} is not scored at K = 20 at depth {depth}")
        found |= {f"{name}_{depth}": f"{part['scores'][score]:.6g}" for name, k, score in SCORES if k == 20}
        rights[f"speculator_right_{depth}"] = str(int(part["right"]))
        rights[f"agree_{depth}"] = agreed(outcome, part["answer"])
    return {"split": outcome["split"], "tool_need": f"{need:.6g}", **found, **rights}


def agreed(outcome: Outcome, said: str) -> str:
    """Whether an answer agrees with the agent's; what cannot be decided does not."""
    assert outcome["agent"] is not None, "checked by `row`"
    return str(int(agree(outcome["question"], said, outcome["agent"]["answer"]).agree is True))


def found_in(folders: Sequence[str], method: str) -> dict[str, Outcome]:
    """The outcomes of a method by question."""
    return {o["id"]: o for folder in folders for o in Run(folder).outcomes() if o["method"] == method}


def main(wide: str, *recorded: str) -> None:
    """Read the runs, write the files."""
    outcomes, at_64 = found_in(recorded, "speceyes"), found_in([wide], "speculator:k=64")
    for name, splits in FILES.items():
        kept = [outcome for outcome in outcomes.values() if outcome["split"] in splits]
        kept.sort(key=lambda one: (splits.index(one["split"]), int(one["id"].rpartition("/")[2])))
        rows = [row(outcome, at_64[outcome["id"]]) for outcome in kept]
        with (Path(__file__).parent / name).open("w", newline="") as file:
            writer = csv.DictWriter(
                file, list(dict.fromkeys(column for one in rows for column in one)), lineterminator="\n"
            )
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main(*sys.argv[1:])

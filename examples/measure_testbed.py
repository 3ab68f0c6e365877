"""Measure the embedded pair on its test part, and write what was measured where it is shown.

    python examples/measure_testbed.py              # stopped, it goes on where it was

Two processes, one thread each, ask 300 questions of every split, one at a time, agent and bypass taking turns at going
first (`speceyes testbed check`). Their runs end up in `results/`, the report in `docs/results`, and the tables of
README and model cards between their markers.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from langgraph_speceyes.bench.check import paired, report
from langgraph_speceyes.bench.report import write_report
from langgraph_speceyes.bench.runs import read_runs
from langgraph_speceyes.testbed.pair import CHECKPOINTS
from langgraph_speceyes.testbed.questions import SPLITS, questions

ROOT = Path(__file__).parent.parent
# about as much work in each
RUNS = {"test-1": ("attributes", "relations", "reading"), "test-2": ("existence", "dense", "deep")}
TABLES = {
    "together": {
        "agent right": "agent",
        "SpecEyes right": "speceyes",
        "screening ratio beta": "beta",
        "acceptance rate alpha": "alpha",
        "speed-up, total time": "speedup",
        "speed-up, mean of the families": "speedup_mean",
    },
    "speculator": {
        "right, visible": "speculator_visible",
        "right, too small": "speculator_small",
        "AUROC of `odds`": "auroc_odds",
        "AUROC of `min`": "auroc_min",
        "AUROC of `mean`": "auroc_mean",
        "AUROC of `log`": "auroc_log",
        "AUROC of `bottom`": "auroc_bottom",
    },
    "agent": {
        "right": "agent",
        "right, too small": "agent_small",
        "within 5 steps": "within_5_steps",
        "judge right": "judge_right",
        "judged tool-free, too small": "judge_tool_free_on_small",
        "tool steps": "depth_mean",
        "tool steps, too small": "depth_small",
    },
}
PLAIN = ("beta", "alpha", "speedup", "depth", "auroc")
"""What is not shown in percent."""


def main() -> None:
    """Run, report, rewrite the tables."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--limit", type=int, default=300, help="questions of each split")
    cli.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the runs")
    a = cli.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    running = []
    for name, splits in RUNS.items():
        command = [sys.executable, "-m", "langgraph_speceyes.cli", "testbed", "check", "--limit", str(a.limit)]
        command += ["--out", str(a.out / name), *(word for split in splits for word in ("--split", split))]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit(1)
    folders = [a.out / name for name in RUNS]
    outcomes = [one for _, found in read_runs(folders) for one in found]
    asked = [question for split in SPLITS for question in questions(split, "test", a.limit)]
    figures = report(paired(outcomes, asked))
    write_report(folders, ROOT / "docs" / "results")
    for file in (ROOT / "README.md", *CHECKPOINTS.rglob("README.md")):
        rewrite(file, {name: table(figures, rows) for name, rows in TABLES.items()})


def table(figures: dict[str, dict[str, Any]], rows: dict[str, str]) -> str:
    """Figures as a Markdown table, a column a split, with their intervals."""
    lines = [["", *(split if split == "overall" else f"`{split}`" for split in figures)], ["---"] * (len(figures) + 1)]
    lines.append(["questions", *(str(f["n"]) for f in figures.values())])
    for label, name in rows.items():
        lines.append(
            [
                label,
                *(cell(f[name], *f["intervals"][name], percent=not name.startswith(PLAIN)) for f in figures.values()),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: float | None, low: float, high: float, *, percent: bool) -> str:
    """One figure and its interval."""
    if value is None:
        return "-"
    if percent:
        return f"{value * 100:.1f} % ({low * 100:.1f} .. {high * 100:.1f})"
    return f"{value:.2f} ({low:.2f} .. {high:.2f})"


def rewrite(file: Path, tables: dict[str, str]) -> None:
    """Put each table between its markers, `<!-- table: NAME -->` and `<!-- end -->`, where the file has them."""
    text = file.read_text()
    for name, lines in tables.items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda m, lines=lines: f"{m[1]}\n{lines}\n\n{m[2]}", text, flags=re.DOTALL)
    file.write_text(text)


if __name__ == "__main__":
    main()

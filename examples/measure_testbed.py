"""Measure the embedded pair on its test part, and write what was measured where it is shown.

    python examples/measure_testbed.py              # stopped, it goes on where it was
    python examples/measure_testbed.py --code       # the agent that writes code, and the bypass in front of it

Two processes, one thread each, ask 300 questions of every split, one at a time, the methods taking turns at going
first. Live are the agent, the bypass with the pair's looks and without, and the plain cascade. Every depth is asked
about every question (`--full`): the other ways to put judge, depths and agent together are replayed from what was
measured (`docs/results/depths.md`). The runs end up in `results/`, the report in `docs/results`, and every figure that
README, documentation and model cards show of them in its place (`figures.py`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from langgraph_speceyes.bench.check import paired, report
from langgraph_speceyes.bench.looks import PAIR
from langgraph_speceyes.bench.report import write_report
from langgraph_speceyes.bench.report.data import load
from langgraph_speceyes.bench.report.page.blocks import Section
from langgraph_speceyes.bench.report.page.depths import depth_tables, ways_tables
from langgraph_speceyes.bench.report.page.markdown import markdown
from langgraph_speceyes.bench.report.ways import ways
from langgraph_speceyes.bench.routes import answered_at, passed
from langgraph_speceyes.bench.runs import Outcome, read_runs
from langgraph_speceyes.bench.statistics import bootstrapped, share, sums, total_speedup
from langgraph_speceyes.testbed.pair import CASCADE_GATE, CHECKPOINTS, CHOSEN_GATE, MAX_STEPS
from langgraph_speceyes.testbed.questions import SPLITS, questions

sys.path.insert(0, str(Path(__file__).parent))
from figures import write

ROOT = Path(__file__).parent.parent
# about as much work in each
_FIRST = ("attributes", "relations", "reading")
RUNS = {"test-1": _FIRST, "test-2": tuple(split for split in SPLITS if split not in _FIRST)}
METHODS = (
    "agent",
    "speceyes",
    "speceyes:looks=0",
    f"speceyes:judge=off,gate={CHOSEN_GATE.name}",
    f"cascade:gate={CASCADE_GATE.name}",
)
"""What runs; without looks the first two."""
CODE_RUNS: dict[str, tuple[str, ...]] = {"code-1": _FIRST, "code-2": ("existence", "dense"), "code-3": ("deep",)}
"""The same for the agent that writes code, which waits for its sandbox between two blocks."""
CODE_MODELS = "langgraph_speceyes.bench.chosen.embedded_code_models"
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
CODE_TABLE = {
    "right": "agent",
    "SpecEyes right": "speceyes",
    "blocks of code that ran": "ran",
    "within 5 steps": "within_5_steps",
    "blocks a question": "depth",
    "screening ratio beta": "beta",
    "acceptance rate alpha": "alpha",
    "answered after a look": "after_look",
    "speed-up, total time": "speedup",
}
PLAIN = ("beta", "alpha", "speedup", "depth", "auroc")
"""What is not shown in percent."""


def main() -> None:
    """Run, report, rewrite the tables."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--limit", type=int, help="questions of each split; by default 300")
    cli.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the runs")
    cli.add_argument("--docs", type=Path, default=ROOT / "docs" / "results", help="folder of the report")
    cli.add_argument("--look", action="append", help="as `speceyes eval` takes it; the default is the pair's own looks")
    cli.add_argument("--models", help="a function that returns bench.methods.Models, such as a pair with a worse judge")
    cli.add_argument("--no-tables", action="store_true", help="leave README, documentation and model cards alone")
    cli.add_argument("--code", action="store_true", help="the agent that writes code, 200 questions of each split")
    a = cli.parse_args()
    if a.code:
        measure_code(a.out, a.limit or 200)
        return
    a.limit = a.limit or 300
    looks = a.look or [PAIR]
    options = ["--full", *repeated("--look", looks), *repeated("--method", METHODS if looks else METHODS[:2])]
    evaluate(a.out, a.limit, RUNS, [*options, *(["--models", a.models] if a.models else [])])
    folders = [a.out / name for name in RUNS]
    outcomes = [one for _, found in read_runs(folders) for one in found]
    asked = [question for split in SPLITS for question in questions(split, "test", a.limit)]
    figures = report(paired(outcomes, asked))
    if "after_look" in figures["overall"]:
        TABLES["together"] |= {"answered after a look": "after_look"}
    found = write_report(folders, a.docs)
    together = ways(load(folders))
    if together is not None:
        tables = [*ways_tables(together), *(grid for one in found.depths for grid in depth_tables(one))]
        text = markdown([Section("depths", "Judge, depths and agent", list(tables))], "The embedded pair by depth")
        (a.docs / "depths.md").write_text(text)
    if a.no_tables:
        return
    write({name: table(figures, rows) for name, rows in TABLES.items()})


def evaluate(out: Path, limit: int, runs: dict[str, tuple[str, ...]], options: list[str]) -> None:
    """Run the splits in processes of their own, and end with them if one fails."""
    out.mkdir(parents=True, exist_ok=True)
    running = []
    for name, splits in runs.items():
        command = [sys.executable, "-m", "langgraph_speceyes", "eval", "embedded", "--part", "test"]
        command += ["--limit", str(limit), "--out", str((out / name).resolve()), *repeated("--split", splits), *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        # where the gates are
        running.append(subprocess.Popen(command, env=environment, cwd=CHECKPOINTS, stdout=subprocess.DEVNULL))
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit(1)


def measure_code(out: Path, limit: int) -> None:
    """Measure the agent that writes code, alone and behind the bypass, and rewrite its card's table."""
    evaluate(out, limit, CODE_RUNS, ["--models", CODE_MODELS, *repeated("--method", METHODS[:2])])
    outcomes = [one for _, found in read_runs([out / name for name in CODE_RUNS]) for one in found]
    write({"code": table(code_figures(outcomes), CODE_TABLE)})


def code_figures(outcomes: list[Outcome]) -> dict[str, dict[str, Any]]:
    """Figures of the agent that writes code by split, `overall` last, as :func:`~bench.check.report` has them."""
    known = {(one["method"], one["id"]): one for one in outcomes}
    both = [
        (one, known["speceyes", id]) for (m, id), one in known.items() if m == "agent" and ("speceyes", id) in known
    ]
    found = {}
    for split in (*SPLITS, "overall"):
        pairs = [(alone, behind) for alone, behind in both if split in (alone["split"], "overall")]
        if not pairs:
            continue
        parts = [alone["agent"] or {} for alone, _ in pairs]
        steps: list[int] = [len(part.get("tools", [])) for part in parts]
        gated = [behind for _, behind in pairs if passed(behind)]
        seconds = sums([[pair[place]["seconds"]["total"] for pair in pairs] for place in (1, 0)])
        failed = sum(part.get("failed", 0) for part in parts)
        figures = {
            "agent": share([alone["right"] for alone, _ in pairs]),
            "speceyes": share([behind["right"] for _, behind in pairs]),
            "ran": share([True] * (sum(steps) - failed) + [False] * failed),
            "within_5_steps": share(
                [bool(p.get("answer")) and n <= MAX_STEPS for p, n in zip(parts, steps, strict=True)]
            ),
            "depth": bootstrapped(lambda values: float(values.mean()), steps),
            "beta": share([passed(behind) for _, behind in pairs]),
            "alpha": share([answered_at(behind) == 0 for behind in gated]),
            "after_look": share([bool(answered_at(behind)) for _, behind in pairs]),
            "speedup": total_speedup([seconds]),
        }
        values: dict[str, Any] = {name: one.value for name, one in figures.items()}
        found[split] = values | {"n": len(pairs), "intervals": {name: [e.low, e.high] for name, e in figures.items()}}
    return found


def repeated(option: str, values: Iterable[str]) -> list[str]:
    """An option once for each value."""
    return [word for value in values for word in (option, value)]


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


if __name__ == "__main__":
    main()

"""How fast it is, on your models and your questions: `speceyes bench`.

Two things are only ever compared within one run, taking turns, and as a ratio with its spread.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from langgraph_speceyes.bench.benchmark import EMBEDDED, Benchmark
from langgraph_speceyes.bench.datasets import Item
from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.bench.report.plots.drawing import Plot
from langgraph_speceyes.bench.speed import caches, comparison, gate, latency, overhead, stream, throughput
from langgraph_speceyes.bench.speed.figures import NOT_ASKED, Figure, Part, left_out
from langgraph_speceyes.bench.speed.plots import draw
from langgraph_speceyes.bench.speed.stream import peak
from langgraph_speceyes.bench.speed.subjects import Bench, in_turn
from langgraph_speceyes.bench.speed.words import AIMS, words
from langgraph_speceyes.errors import ArgumentError, SpecEyesError
from langgraph_speceyes.files import write_whole

__all__ = ["AIMS", "KEYS", "MEASUREMENTS", "Bench", "Figure", "Measured", "run"]

QUESTIONS, QUICK_QUESTIONS = 52, 4
"""Questions of each split; 52 of five splits or more are enough to have 256 at once."""
MEASURED, PAGE = "speed.json", "speed.md"

MEASUREMENTS: dict[str, tuple[Callable[[Bench], Awaitable[Part]], tuple[str, ...]]] = {
    # first, because its memory shows nothing once others have left room behind
    "stream": (stream.measure, ()),
    "comparison": (comparison.measure, comparison.KEYS),
    "latency": (latency.measure, latency.KEYS),
    "throughput": (throughput.measure, throughput.KEYS),
    "batching": (caches.batching, caches.BATCH_KEYS),
    "prefill": (caches.prefill, caches.PREFILL_KEYS),
    "switches": (caches.switches, ()),
    "overhead": (overhead.measure, overhead.KEYS),
    "gate": (gate.measure, gate.KEYS),
}
"""The measurements by name, each with its keys in the JSON."""
KEYS = tuple(key for _, keys in MEASUREMENTS.values() for key in keys)


@dataclass
class Measured:
    """Everything a benchmark found.

    Attributes:
        figures: All of :data:`KEYS`, in their order.
        parts: By measurement.
        setting: Machine, benchmark and sizes.
    """

    figures: dict[str, Figure]
    parts: dict[str, Part] = field(default_factory=dict)
    setting: dict[str, Any] = field(default_factory=dict)

    def words(self, key: str) -> str:
        """A key in words."""
        return words(key, self.setting.get("splits"))

    def to_dict(self) -> dict[str, Any]:
        """The figures alone."""
        return {key: figure.to_dict() for key, figure in self.figures.items()}

    def save(self, folder: Path) -> list[Path]:
        """Write everything measured, its plots as PNG and SVG, and a page with both.

        Args:
            folder: Made if missing.

        Returns:
            The files.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        everything = {
            "figures": self.to_dict(),
            "setting": self.setting,
            "further": {
                name: [{"what": label, "unit": unit} | figure.to_dict() for label, figure, unit in part.rows]
                for name, part in self.parts.items()
            },
            "details": {name: part.details for name, part in self.parts.items()},
        }
        file = folder / MEASURED
        write_whole(file, json.dumps(everything, indent=1) + "\n")
        plots = draw(folder, self.figures, {name: part.details for name, part in self.parts.items()})
        page = folder / PAGE
        write_whole(page, self._page(plots))
        return [file, page, *(folder / f"{plot.name}.png" for plot in plots)]

    def _page(self, plots: Sequence[Plot]) -> str:
        """All figures and plots in Markdown."""
        lines = ["# Speed"]
        for sheet in [part.sheet for part in self.parts.values() if part.sheet]:
            lines += [
                "",
                f"## {sheet.title}",
                "",
                f"| {' | '.join(sheet.columns)} |",
                "| --- " * len(sheet.columns) + "|",
            ]
            lines += [f"| {' | '.join(' '.join(filter(None, cell)) for cell in row)} |" for row in sheet.rows]
            lines += ["", sheet.note]
        lines += ["", "## All figures", "", "| | figure | 95 % interval | n |", "| --- | --- | --- | --- |"]
        rows = [(f"{self.words(key)}, `{key}`", figure) for key, figure in self.figures.items()]
        rows += [
            (f"{label} ({unit})" if unit else label, figure)
            for part in self.parts.values()
            for label, figure, unit in part.rows
        ]
        for label, figure in rows:
            if figure.median is None:
                lines.append(f"| {label} | - | {figure.reason} | |")
            else:
                lines.append(f"| {label} | {figure.median:.4g} | {figure.low:.4g} .. {figure.high:.4g} | {figure.n} |")
        for plot in plots:
            lines += ["", f"## {plot.title}", "", f"![{plot.title}]({plot.name}.png)", "", plot.caption]
        machine = ", ".join(f"{name} {value}" for name, value in self.setting.items() if not isinstance(value, dict))
        return "\n".join([*lines, "", machine, ""])


async def run(
    models: Models,
    benchmark: Benchmark | None = None,
    *,
    only: Collection[str] = (),
    questions: int | None = None,
    quick: bool = False,
    stream: int = 10_000,
    report: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Measure.

    Args:
        models: Yours, or the embedded pair (:func:`~langgraph_speceyes.bench.chosen.Chosen`).
        benchmark: The questions; the default is the embedded world.
        only: Names of :data:`MEASUREMENTS` or of their keys; all without it.
        questions: Questions of each split; the default is 52, or 4 when quick.
        quick: Fewer questions, repeats and sizes: to see that it works, not how fast.
        stream: Queries of the long stream.
        report: Told what is going on.

    Raises:
        ArgumentError: A name is unknown, or a number below 1.
        SpecEyesError: There is no question.
    """
    chosen = _chosen(only)
    for argument, value in (("questions", questions), ("stream", stream)):
        if value is not None and value < 1:
            raise ArgumentError(argument, "at least 1", value)
    benchmark = benchmark or Benchmark(EMBEDDED)
    limit = questions or (QUICK_QUESTIONS if quick else QUESTIONS)
    benchmark = replace(benchmark, limit=min(limit, benchmark.limit or limit))
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="speceyes-") as drawn:
        report("reading the questions")
        needed = bool(set(chosen) - {"gate", "stream"})
        items = in_turn([row for row in benchmark.rows(Path(drawn)) if isinstance(row, Item)]) if needed else []
        if needed and not items:
            raise SpecEyesError("there is no question to measure with")
        warm_up = benchmark.warm_up(Path(drawn)) if needed else None
        # in a folder of its own: drawn with another seed, a scene may have the same name
        apart = _calibration(benchmark, Path(drawn) / "calibration")
        bench = Bench(models, items, warm_up, quick, stream, report, apart)
        parts = {}
        for name in chosen:
            parts[name] = await MEASUREMENTS[name][0](bench)
    found = {key: figure for part in parts.values() for key, figure in part.figures.items()}
    figures = {key: found.get(key) or left_out(NOT_ASKED) for key in KEYS}
    setting = _machine() | {
        "benchmark": benchmark.manifest(),
        "questions": len(items),
        "splits": len({item.split for item in items}),
        "quick": quick,
        "seconds": time.time() - began,
        "peak_memory_mib": peak() / (1024 * 1024),
    }
    return Measured(figures, parts, setting)


def _calibration(benchmark: Benchmark, folder: Path) -> Callable[[], list[Item]]:
    """Reads questions to choose thresholds on.

    Of the embedded world they are drawn with another seed than those that the shipped gate was chosen on.
    """

    def read() -> list[Item]:
        folder.mkdir(exist_ok=True)
        seed = benchmark.seed + 1 if benchmark.name == EMBEDDED else benchmark.seed
        other = replace(benchmark, part="calibration", seed=seed)
        return [row for row in other.rows(folder) if isinstance(row, Item)]

    return read


def _chosen(only: Collection[str]) -> list[str]:
    unknown = [name for name in only if name not in MEASUREMENTS and name not in KEYS]
    if unknown:
        raise ArgumentError("only", f"one of {', '.join([*MEASUREMENTS, *KEYS])}", unknown[0])
    return [name for name, (_, keys) in MEASUREMENTS.items() if not only or {name, *keys} & set(only)]


def _machine() -> dict[str, Any]:
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load_before": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }
    try:
        import torch
        import transformers
    except ModuleNotFoundError:
        return found
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return found | {
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "transformers": transformers.__version__,
        "device": device,
    }

"""Runs as a report reads them, and the intervals it gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from langgraph_speceyes.bench.runs import Outcome, read_runs
from langgraph_speceyes.bench.statistics import Estimate, Floats

AGENT, SPECULATOR, CASCADE = "agent", "speculator", "cascade"
NOTHING = Estimate(None, None, None, 0)
PHASES = ("intake", "judge", "speculate", "gate", "slot", "agent")


@dataclass(frozen=True)
class Loaded:
    """A run.

    Attributes:
        name: Its folder's name, or the whole path where two folders have the same name.
        folder: Its folder.
        manifest: What it was made with.
        outcomes: The outcome of every question and method.
    """

    name: str
    folder: Path
    manifest: dict[str, Any]
    outcomes: list[Outcome]

    @property
    def methods(self) -> list[str]:
        """The methods that have outcomes, in the manifest's order."""
        there = dict.fromkeys(o["method"] for o in self.outcomes)
        first = [name for name in self.manifest.get("methods", []) if name in there]
        return [*first, *(name for name in there if name not in first)]

    @property
    def bypasses(self) -> list[str]:
        """The methods that decide between speculator and agent."""
        deciding = {o["method"] for o in self.outcomes if o["route"] is not None}
        return [name for name in self.methods if name in deciding and name.partition(":")[0] != SPECULATOR]

    @property
    def benchmark(self) -> str:
        """The benchmark's name; of a path, its last part."""
        return Path(str(self.manifest.get("benchmark", {}).get("name", "benchmark"))).name

    @property
    def concurrency(self) -> int:
        """Questions under way at once."""
        return int(self.manifest.get("concurrency", 1))

    @property
    def batch_size(self) -> int | None:
        """Most calls in one forward pass of a local model."""
        found = self.manifest.get("batch_size")
        return found if isinstance(found, int) else None

    def of(self, method: str) -> list[Outcome]:
        """The method's outcomes."""
        return [o for o in self.outcomes if o["method"] == method]

    def k(self, method: str) -> int | None:
        """Candidates a token that the method's gate looks at: the method's own option, else the gate's; none's None."""
        if method.partition(":")[0] == CASCADE:
            return None
        options = dict(part.partition("=")[::2] for part in method.partition(":")[2].split(","))
        found = options.get("k") or self.manifest.get("gate", {}).get("k")
        return int(found) if str(found).isdigit() else None


def load(folders: Sequence[str | PathLike[str]]) -> list[Loaded]:
    """Read runs.

    Raises:
        ArgumentError: A folder holds no run, or one without an outcome.
    """
    paths = [Path(folder).resolve() for folder in folders]
    paths = list(dict.fromkeys(paths))
    short = [path.name for path in paths]
    names = [path.name if short.count(path.name) == 1 else str(path) for path in paths]
    return [Loaded(name, path, *run) for name, path, run in zip(names, paths, read_runs(paths), strict=True)]


def same(manifest: dict[str, Any], *keys: str) -> str:
    """What runs must share to be compared: those parts of the manifest, as one text."""
    return json.dumps([manifest.get(key) for key in keys], sort_keys=True, default=str)


def judges_second(outcomes: Sequence[Outcome]) -> bool:
    """Whether a method asks the judge only about speculations that the gate accepted."""
    judged = [o for o in outcomes if o["route"] is not None and "judge" in o["seconds"]]
    # the judge sees every speculation that is accepted without a look, and none that is not
    return bool(judged) and any(o["decided_by"] in ("gate", "look") and "judge" not in o["seconds"] for o in outcomes)


def busy_shares(began: ArrayLike, seconds: ArrayLike) -> Floats:
    """Each question's share of the time in which any question was under way.

    An instant with k questions under way counts 1/k for each of them. The shares add up to the length of the union of
    the intervals, whatever gaps there are, and one at a time they are the latencies; questions per busy second are one
    over their mean.

    Args:
        began: When each question began, seconds since any epoch, ``[n]``.
        seconds: How long it took, ``[n]``, not negative.

    Returns:
        Seconds, ``[n]``.
    """
    start = np.asarray(began, dtype=np.float64)
    if not start.size:
        return start
    # an epoch's seconds leave few digits for the differences
    start = start - start.min()
    end = start + np.asarray(seconds, dtype=np.float64)
    edges = np.unique(np.concatenate([start, end]))
    first, last = np.searchsorted(edges, start), np.searchsorted(edges, end)
    # how many are under way from each edge to the next; nobody asks for a gap, where none is
    steps = np.bincount(first, minlength=edges.size) - np.bincount(last, minlength=edges.size)
    portion = np.diff(edges) / np.maximum(np.cumsum(steps)[:-1], 1)
    until = np.concatenate([[0.0], np.cumsum(portion)])
    return np.asarray(until[last] - until[first], dtype=np.float64)

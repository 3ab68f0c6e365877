"""Benchmarks read from the files they are published in, row by row."""

from __future__ import annotations

from langgraph_speceyes.bench.datasets.choose import NAMES, open_benchmark
from langgraph_speceyes.bench.datasets.embedded import embedded
from langgraph_speceyes.bench.datasets.hrbench import hrbench
from langgraph_speceyes.bench.datasets.item import BadRow, Item
from langgraph_speceyes.bench.datasets.own import own
from langgraph_speceyes.bench.datasets.pope import pope
from langgraph_speceyes.bench.datasets.vstar import vstar

__all__ = [
    "NAMES",
    "BadRow",
    "Item",
    "embedded",
    "hrbench",
    "open_benchmark",
    "own",
    "pope",
    "vstar",
]

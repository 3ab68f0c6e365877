"""The paper's Table 1 by one command: `speceyes reproduce`."""

from __future__ import annotations

from langgraph_speceyes.bench.reproduce.page import PAGE, label, write_table
from langgraph_speceyes.bench.reproduce.processes import run_all
from langgraph_speceyes.bench.reproduce.run import Backbone, Plan
from langgraph_speceyes.bench.reproduce.sources import Source, embedded_source, sources_in
from langgraph_speceyes.bench.reproduce.table import Cell, Reproduced, Row, reproduced

__all__ = [
    "PAGE",
    "Backbone",
    "Cell",
    "Plan",
    "Reproduced",
    "Row",
    "Source",
    "embedded_source",
    "label",
    "reproduced",
    "run_all",
    "sources_in",
    "write_table",
]

"""Scoring is numpy and nothing else of weight: it can be used on recorded logprobs anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import langgraph_speceyes

ROOT = Path(langgraph_speceyes.__file__).parent


def test_scoring_by_itself_is_light() -> None:
    # an empty package in place of the real one, whose __init__ loads the graph
    code = f"""
import sys, types
package = types.ModuleType("langgraph_speceyes")
package.__path__ = [{str(ROOT)!r}]
sys.modules["langgraph_speceyes"] = package
import langgraph_speceyes.scoring
print(sorted(set(sys.modules) & {{"langgraph", "langchain_core", "torch", "transformers", "PIL"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr

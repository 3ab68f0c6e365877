"""What importing the package costs, and what it offers."""

from __future__ import annotations

import subprocess
import sys

from langgraph_speceyes import scoring

HEAVY = ("torch", "transformers", "langgraph", "langchain_core", "scipy", "PIL")


def test_import_is_light() -> None:
    code = f"import sys, langgraph_speceyes.scoring; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    assert len(set(scoring.__all__)) == len(scoring.__all__)
    assert [name for name in scoring.__all__ if not hasattr(scoring, name)] == []

"""`python -m langgraph_speceyes`."""

from __future__ import annotations

from langgraph_speceyes.cli import app

if __name__ == "__main__":
    app()

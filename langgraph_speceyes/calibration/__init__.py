"""From recorded outcomes to a threshold."""

from __future__ import annotations

from langgraph_speceyes.calibration.paper import operating_point

__all__ = ["operating_point"]

"""From recorded outcomes to a threshold."""

from __future__ import annotations

from langgraph_speceyes.calibration.guarantee import Guarantee, guaranteed_threshold, smallest_sample
from langgraph_speceyes.calibration.paper import operating_points

__all__ = ["Guarantee", "guaranteed_threshold", "operating_points", "smallest_sample"]

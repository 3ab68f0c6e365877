"""From recorded outcomes to a threshold; evidence that may be looked at at any time."""

from __future__ import annotations

from langgraph_speceyes.calibration.detector import Detector
from langgraph_speceyes.calibration.guarantee import Guarantee, guaranteed_threshold, smallest_sample
from langgraph_speceyes.calibration.labels import LABELS, Labelled, Labels, labelled_threshold
from langgraph_speceyes.calibration.opening import Opening, Progress
from langgraph_speceyes.calibration.paper import operating_points
from langgraph_speceyes.calibration.watched import Terms, WatchedOpening, audit_rate

__all__ = [
    "LABELS",
    "Detector",
    "Guarantee",
    "Labelled",
    "Labels",
    "Opening",
    "Progress",
    "Terms",
    "WatchedOpening",
    "audit_rate",
    "guaranteed_threshold",
    "labelled_threshold",
    "operating_points",
    "smallest_sample",
]

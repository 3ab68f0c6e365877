"""From recorded outcomes to a threshold; evidence that may be looked at at any time."""

from __future__ import annotations

from langgraph_speceyes.calibration.chain import Replay, replay
from langgraph_speceyes.calibration.depth_labels import labelled_thresholds
from langgraph_speceyes.calibration.depths import DepthsGuarantee, guaranteed_thresholds, separate_thresholds
from langgraph_speceyes.calibration.detector import Detector
from langgraph_speceyes.calibration.guarantee import Guarantee, guaranteed_threshold, smallest_sample
from langgraph_speceyes.calibration.labels import LABELS, Labelled, Labels, labelled_threshold
from langgraph_speceyes.calibration.opening import Opening, Progress
from langgraph_speceyes.calibration.paper import operating_points
from langgraph_speceyes.calibration.paths import common_path, quantile_path
from langgraph_speceyes.calibration.watched import Terms, WatchedOpening, audit_rate

__all__ = [
    "LABELS",
    "DepthsGuarantee",
    "Detector",
    "Guarantee",
    "Labelled",
    "Labels",
    "Opening",
    "Progress",
    "Replay",
    "Terms",
    "WatchedOpening",
    "audit_rate",
    "common_path",
    "guaranteed_threshold",
    "guaranteed_thresholds",
    "labelled_threshold",
    "labelled_thresholds",
    "operating_points",
    "quantile_path",
    "replay",
    "separate_thresholds",
    "smallest_sample",
]

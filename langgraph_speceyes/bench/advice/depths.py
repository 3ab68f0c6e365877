"""Which depths of a gate do not pay."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from langgraph_speceyes.bench.compositions import Certified
from langgraph_speceyes.bench.evidence import Evidence
from langgraph_speceyes.calibration.chain import first_accepting


@dataclass(frozen=True)
class Unpaid:
    """A depth that costs more than it saves.

    Attributes:
        depth: From 0.
        look: What tells its look from others; None at depth 0.
        seconds: Mean seconds a question with it.
        without: Mean seconds a question at the same thresholds without it.
    """

    depth: int
    look: str | None
    seconds: float
    without: float


def unpaid(evidence: Evidence, found: Certified) -> tuple[Unpaid, ...]:
    """The depths without which the same thresholds would have taken less time on these questions."""
    depths = found.composition.depths
    if len(depths) < 2 or found.threshold is None:
        return ()
    scores, thresholds = found.composition.scores(evidence), np.array(found.by_depth)
    mean = float(found.composition.seconds(evidence, found.places, found.threshold)[0].mean())
    costly = []
    for place, depth in enumerate(depths):
        left = [other for other in range(len(depths)) if other != place]
        # without depth 0 the judge has nothing to decide
        at = found.composition.judge_threshold if depth else None
        shorter = replace(found.composition, depths=tuple(depths[other] for other in left), judge_threshold=at)
        by = first_accepting(scores[left], thresholds[left])
        without = float(shorter.seconds(evidence, by, float(thresholds[left][0]))[0].mean())
        if without < mean:
            look = evidence.looks[depth - 1] if depth else None
            costly.append(Unpaid(depth, look, mean, without))
    return tuple(costly)

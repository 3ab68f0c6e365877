"""What the paper's Table 1 says (arXiv 2603.23483)."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A cell of the table.

    Attributes:
        accuracy: Percent right.
        speedup: How many times as fast as the agent.
    """

    accuracy: float
    speedup: float


COLUMNS = ("V* attributes", "V* positions", "HR-Bench 4K", "HR-Bench 8K", "POPE adv.", "POPE pop.", "POPE rand.")
"""The table's columns."""
DRAFT, AGENT, SPECREASON = "draft only", "agent", "SpecReason"
"""Rows beside those of the scores, which are called by the score's name."""
_DRAFT = (
    (77.39, 5.44),
    (82.89, 5.31),
    (71.38, 3.20),
    (68.00, 2.90),
    (82.56, 4.20),
    (83.80, 3.78),
    (86.47, 4.07),
)
_ROWS: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "deepeyes": {
        DRAFT: _DRAFT,
        AGENT: tuple((accuracy, 1.0) for accuracy in (90.43, 82.89, 75.85, 71.43, 78.43, 81.90, 88.83)),
        SPECREASON: (
            (80.19, 0.61),
            (73.91, 0.38),
            (80.43, 0.44),
            (72.54, 0.42),
            (49.10, 0.38),
            (51.55, 0.38),
            (60.20, 0.37),
        ),
        "log": (
            (83.48, 2.06),
            (88.16, 2.05),
            (73.71, 1.35),
            (69.67, 1.28),
            (83.97, 1.89),
            (86.70, 1.95),
            (90.50, 2.05),
        ),
        "mean": (
            (78.26, 2.89),
            (84.21, 3.35),
            (71.62, 1.88),
            (67.38, 1.77),
            (85.13, 2.06),
            (87.00, 2.10),
            (90.13, 2.14),
        ),
        "bottom": (
            (83.48, 2.13),
            (84.21, 2.12),
            (75.22, 1.20),
            (71.18, 1.04),
            (85.13, 2.08),
            (87.00, 2.08),
            (90.13, 2.11),
        ),
        "min": (
            (90.43, 1.53),
            (89.47, 1.90),
            (75.85, 1.13),
            (71.80, 1.08),
            (85.13, 2.13),
            (87.00, 2.15),
            (90.13, 2.19),
        ),
    },
    "thyme": {
        AGENT: tuple((accuracy, 1.0) for accuracy in (86.96, 82.89, 77.72, 72.43, 81.32, 84.53, 90.17)),
        SPECREASON: (
            (89.57, 0.48),
            (75.00, 0.53),
            (80.01, 0.52),
            (81.02, 0.51),
            (84.62, 0.46),
            (85.97, 0.43),
            (90.27, 0.46),
        ),
        "min": (
            (87.83, 1.32),
            (82.89, 1.42),
            (78.47, 1.01),
            (73.31, 0.95),
            (85.87, 1.77),
            (88.30, 1.78),
            (91.27, 1.70),
        ),
    },
}


def published(backbone: str, row: str, column: str) -> Published | None:
    """What the paper gives for a method before a backbone on a benchmark; None where it gives nothing."""
    cells = _ROWS.get(backbone, {}).get(row)
    if cells is None or column not in COLUMNS:
        return None
    return Published(*cells[COLUMNS.index(column)])


def published_mean(backbone: str, row: str) -> Published | None:
    """The unweighted mean over the table's columns."""
    cells = [published(backbone, row, column) for column in COLUMNS]
    known = [cell for cell in cells if cell is not None]
    if not known:
        return None
    return Published(*(sum(values) / len(known) for values in zip(*known, strict=True)))

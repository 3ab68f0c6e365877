"""The warning about a gate that nobody calibrated."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from langgraph_speceyes.errors import UncalibratedGateWarning
from langgraph_speceyes.scoring.gate import Gate

__all__ = ["uncalibrated_on_purpose", "warn_if_uncalibrated"]

# gates that were warned about, and whether a measurement is under way that needs no warning
_warned_about: set[Gate] = set()
_telling = threading.Lock()
_on_purpose: ContextVar[bool] = ContextVar("speceyes_uncalibrated_on_purpose", default=False)


def warn_if_uncalibrated(gate: Gate, stacklevel: int = 2) -> None:
    """Say once per process and gate that nobody calibrated it, and what to do about that.

    Args:
        gate: A gate that is about to be used.
        stacklevel: Whose line is named, as in :func:`warnings.warn`: 1 is the line that calls this function.
    """
    if gate.calibration is not None or _on_purpose.get():
        return
    with _telling:
        if gate in _warned_about:
            return
        _warned_about.add(gate)
    warnings.warn(
        f"Nobody calibrated this gate ({gate.score} >= {gate.threshold:g}): how much accuracy it costs with these "
        "models and your questions is not known. Calibrate it on recorded questions (speceyes eval --full, then "
        "speceyes calibrate) and give the file as gate=, or let it learn from your traffic: gate=SelfOpening(...).",
        UncalibratedGateWarning,
        stacklevel=stacklevel + 1,
    )


@contextmanager
def uncalibrated_on_purpose() -> Iterator[None]:
    """Within it no gate is warned about: measurements take gates that are open, shut or yet to be calibrated."""
    token = _on_purpose.set(True)
    try:
        yield
    finally:
        _on_purpose.reset(token)

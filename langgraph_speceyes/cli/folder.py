"""The folder of a long command."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from langgraph_speceyes.errors import MissingExtraError


def prepare_folder(out: Path, feature: str) -> None:
    """Make the folder of what is found and drawn: that it cannot be kept is said before the work, not after it.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: The folder cannot be made.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError(feature, "eval")
    out.mkdir(parents=True, exist_ok=True)

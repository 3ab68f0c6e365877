"""The folder of a long command."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from langgraph_speceyes.errors import MissingExtraError
from langgraph_speceyes.files import make_folder


def prepare_folder(out: Path, feature: str) -> None:
    """Make the folder of what is found and drawn: that it cannot be kept is said before the work, not after it.

    Raises:
        ArgumentError: The folder cannot be made.
        MissingExtraError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError(feature, "eval")
    make_folder(out, "out")

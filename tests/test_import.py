"""The package's public names."""

from __future__ import annotations

import subprocess
import sys


def test_public_names_are_there_and_documented() -> None:
    import langgraph_speceyes

    for name in langgraph_speceyes.__all__:
        assert getattr(langgraph_speceyes, name).__doc__


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import langgraph_speceyes\n"
        "try: langgraph_speceyes.LocalChatModel\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert found.startswith("MissingExtraError")
    assert "langgraph-speceyes[local]" in found

"""What importing the package costs."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("torch", "transformers", "onnxruntime", "rapidocr", "cv2", "langchain_openai", "typer")


def loaded(statement: str) -> set[str]:
    code = f"import sys, json; {statement}; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout))


def test_importing_the_package_loads_nothing_heavy() -> None:
    found = loaded("import langgraph_speceyes")
    assert "langgraph_speceyes.graph" in found
    assert not found & set(HEAVY)


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

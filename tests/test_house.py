"""The rules of ARCHITECTURE.md that a program can check: who imports whom, how long a file is, what importing costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import langgraph_speceyes

PACKAGE = "langgraph_speceyes"
ROOT = Path(langgraph_speceyes.__file__).parent
DOOR = "__init__"
"""The package itself: its public names."""

# Each room imports those on the floors below it. Rooms side by side may too, in one direction.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("bench", "testbed"),
    (DOOR,),
    ("graph", "middleware", "funnel"),
    ("hedge",),
    ("front", "behind", "traffic"),
    ("options",),
    ("question", "adapter", "decision", "events", "looks", "prompts"),
    ("depths", "state", "choices"),
    ("scoring", "calibration", "answers", "agent", "models"),
    ("nodes",),
    ("tracing",),
    ("images",),
    ("contained", "files"),
    ("errors",),
    ("foreign", "usage"),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

MOST_LINES = 400
HEAVY = ("torch", "transformers", "onnxruntime", "rapidocr", "cv2", "langchain_openai", "typer")


def sources() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(source: str, package: str = PACKAGE) -> Iterator[tuple[int, str]]:
    """Each import of a room of the package, wherever it stands in a module of `package`: its line, and the room."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == PACKAGE:
                yield node.lineno, rest[0] if rest and is_module(rest[0]) else DOOR


def is_module(name: str) -> bool:
    return (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()


def edges() -> dict[tuple[str, str], list[str]]:
    """Which room imports which other one, and where."""
    found: dict[tuple[str, str], list[str]] = {}
    for file in sources():
        package = ".".join([PACKAGE, *file.relative_to(ROOT).parts[:-1]])
        for line, room in imported(file.read_text(encoding="utf-8"), package):
            if room != room_of(file):
                found.setdefault((room_of(file), room), []).append(f"{file.relative_to(ROOT)}:{line}")
    return found


def test_every_room_has_a_floor() -> None:
    assert {room_of(file) for file in sources()} - set(FLOOR_OF) == set()


def test_nothing_imports_upwards() -> None:
    upwards = {pair: where for pair, where in edges().items() if FLOOR_OF[pair[1]] < FLOOR_OF[pair[0]]}
    assert upwards == {}


def test_rooms_side_by_side_import_each_other_in_one_direction() -> None:
    found = edges()
    both = {
        pair: where for pair, where in found.items() if FLOOR_OF[pair[0]] == FLOOR_OF[pair[1]] and pair[::-1] in found
    }
    assert both == {}


def test_imports_are_found_wherever_they_stand() -> None:
    source = """
import langgraph_speceyes
import langgraph_speceyes.scoring.gate as gate
from langgraph_speceyes import Gate, errors
from ..images import load_image
from . import chat
if TYPE_CHECKING:
    from langgraph_speceyes.bench import runs
def later():
    from langgraph_speceyes.cli.display import show_answer
"""
    found = sorted(imported(source, f"{PACKAGE}.models"))
    assert found == [
        *((2, DOOR), (3, "scoring"), (4, DOOR), (4, "errors"), (5, "images")),
        *((6, "models"), (8, "bench"), (10, "cli")),
    ]


def test_no_file_is_longer_than_one_can_read() -> None:
    files = [file for file in ROOT.rglob("*") if file.suffix in (".py", ".jinja")]
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import json, sys; import {PACKAGE}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(json.loads(done.stdout))
    assert f"{PACKAGE}.graph" in found
    assert sorted(found & set(HEAVY)) == []

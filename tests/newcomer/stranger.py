"""README as somebody follows it who has just heard of the project: its commands, in their order, in a fresh clone.

    python tests/newcomer/stranger.py [--folder DIR] [--whole]

The commands are those of README's `bash` blocks, copied out of it. Each must end well, and show what README says it
shows. `make test` is the suite, which takes a while: without `--whole` everything is installed for it and the tests are
only collected. What a reader brings along is put beside them: `questions.jsonl` and `traffic.db` from scenes of the
embedded world. The time and the megabytes of `make demo` are printed.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO_SECONDS, DEMO_MB = 90, 900
EXPECTED = {
    "make demo": r"speed-up, total time",
    "speceyes ask": r"(bypass|fallback)",
    "speceyes advise": r"speed-up",
    "speceyes calibrate": r"gate\.json|threshold",
    "speceyes report": r"report",
}
"""What a command's output must hold, by what the command begins with."""
BRINGS = """
from pathlib import Path
from tests.docs.preludes import own_questions, shadow_journal
# half of them are enough for the promise that README asks for
own_questions(None, Path("."), each=200)
shadow_journal(None, Path("."))
"""
"""Makes the reader's own questions and journal."""
NEEDS_OWN = ("speceyes advise", "speceyes eval")
_BLOCK = re.compile(r"(?P<above><!--[^>]*-->\n)?```bash\n(?P<code>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Ran:
    """A command that ran."""

    command: str
    seconds: float
    wrong: str | None


def main() -> None:
    """Clone, run, and end with status 1 if anything went wrong."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--folder", type=Path, help="an empty folder for the clone; by default a temporary one")
    cli.add_argument("--whole", action="store_true", help="run the suite too")
    a = cli.parse_args()
    with tempfile.TemporaryDirectory(prefix="stranger-") as temporary:
        folder = (a.folder or Path(temporary)) / "langgraph-speceyes"
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), str(folder)], check=True)
        wrong = follow(folder, whole=a.whole)
    sys.exit(bool(wrong))


def follow(folder: Path, *, whole: bool) -> list[Ran]:
    """Run README's commands in a clone; those that went wrong."""
    found, own = [], False
    for command in commands((folder / "README.md").read_text()):
        if command.startswith(NEEDS_OWN) and not own:
            own = True
            run(f"python -c {shlex.quote(BRINGS)}", folder)
        collected = command == "make test" and not whole
        ran = run("make test PYTEST_ADDOPTS=--collect-only" if collected else command, folder)
        wrong = ran.wrong
        if command == "make demo":
            wrong = wrong or too_much(ran.seconds, megabytes(folder / ".venv"))
        found.append(Ran(command, ran.seconds, wrong))
        print(f"{ran.seconds:7.1f} s  {command}", *([] if wrong is None else [f"WRONG: {wrong}"]), sep="\n", flush=True)
    return [ran for ran in found if ran.wrong is not None]


def commands(readme: str) -> Iterator[str]:
    """The command lines of README's `bash` blocks, but for those said not to be run."""
    for block in _BLOCK.finditer(readme):
        if "not run by the tests" in (block["above"] or ""):
            continue
        for line in block["code"].replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield shlex.join(words)


def run(command: str, folder: Path) -> Ran:
    """Run a command as a reader would who has activated the environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL", "SPECEYES"))}
    environment = {**kept, "PATH": f"{folder / '.venv' / 'bin'}{os.pathsep}{kept['PATH']}", "COLUMNS": "120"}
    began = time.monotonic()
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    seconds, said = time.monotonic() - began, done.stdout + done.stderr
    wrong = None
    if done.returncode:
        wrong = f"status {done.returncode}: {said[-2000:]}"
    elif "Traceback" in said:
        wrong = f"a traceback: {said[-2000:]}"
    else:
        plain = command.removeprefix(".venv/bin/")
        expected = next((words for begins, words in EXPECTED.items() if plain.startswith(begins)), None)
        if expected and not re.search(expected, said):
            wrong = f"nothing like {expected!r} in what it said: {said[-500:]}"
    return Ran(command, seconds, wrong)


def megabytes(folder: Path) -> float:
    """What a folder takes."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_symlink()) / 1e6


def too_much(seconds: float, size: float) -> str | None:
    """Whether the demo took more than it may, in words."""
    print(f"           make demo: {seconds:.0f} s, {size:,.0f} MB in .venv")
    over = [f"{seconds:.0f} s, {DEMO_SECONDS} at most"] * (seconds > DEMO_SECONDS)
    over += [f"{size:,.0f} MB, {DEMO_MB} at most"] * (size > DEMO_MB)
    return "; ".join(over) or None


if __name__ == "__main__":
    main()

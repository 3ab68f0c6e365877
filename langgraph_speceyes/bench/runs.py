"""A run on disk: what it was made with, and the outcome of every question, appended as it ends."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from langgraph_speceyes.errors import ArgumentError, MissingExtraError
from langgraph_speceyes.files import make_folder, write_whole

FORMAT = 1
BAD_ROW = "bad_row"
"""The `rule` of a row that could not be used."""
MANIFEST, OUTCOMES, PICTURES = "manifest.json", "outcomes.jsonl", "pictures"
# what a resumed run must share with the one it continues
_SAME = (
    *("format", "benchmark", "questions", "methods", "models", "looks", "gate", "prompts", "front_pixels"),
    *("concurrency", "batch_size", "full"),
)


class Part(TypedDict):
    """What one of the two sides made of a question.

    Attributes:
        answer: Its answer; empty if there is none.
        right: Whether the rule counts it as right.
        seconds: Wall time.
        error: Why there is no answer, or None.
        scores: All answer scores by name; the speculator's only.
        k: Candidates a token behind them; the speculator's only.
        tools: Names of the tool calls; the agent's only.
        failed: How many of them failed; the agent's only.
        tokens: Tokens read and written.
    """

    answer: str
    right: bool
    seconds: float
    error: str | None
    tokens: dict[str, int]
    scores: NotRequired[dict[str, float]]
    k: NotRequired[int | None]
    tools: NotRequired[list[str]]
    failed: NotRequired[int]


class DepthPart(Part):
    """What the small model made of a question at one depth; `seconds` are those of look, speculation and gate.

    Attributes:
        look: The look's name; None at depth 0.
        threshold: What the run compared the score with; None where it did not come to this depth.
        accepted: Whether its gate accepted; None likewise, and where there was nothing to compare.
        entered_s: Seconds where a question enters at this depth, so that nothing of the prompt has been read before;
            of depth 1, in a run with both sides.
    """

    look: str | None
    threshold: float | None
    accepted: bool | None
    entered_s: NotRequired[float]


class Outcome(TypedDict):
    """One question through one method.

    Attributes:
        method: The method's name.
        id: The question's, unique in its benchmark.
        split: What results are reported by.
        group: Shared by the rotations of one question; else empty.
        question: As it was asked, options included.
        expected: The right answer's text.
        letter: The right option's, as asked; empty for an open-ended question.
        image: Where the image is; a digest and size where it came inline.
        answer: The method's answer; None when it failed.
        right: Whether the rule counts it as right; an error or an empty answer is wrong.
        read: What the rule read from the answer.
        rule: The rule.
        reason: Why nothing was read; empty otherwise.
        route: ``bypass`` or ``fallback``; None for a method that decides nothing.
        decided_by: The phase that decided.
        tool_need: The judge's probability that tools are needed.
        judge_threshold: From which on the question goes to the agent; None without a judge.
        score: Which answer score was compared.
        threshold: The gate's.
        speculator: What the small model said; None if it was not asked.
        agent: What the agent said; None if it was not asked.
        seconds: Wall time by phase, and ``total``.
        tokens: Tokens read and written, by phase.
        began: Seconds since the epoch.
        trouble: What went wrong in the front end, which sent the question to the agent; None otherwise.
        error: Why there is no answer; None otherwise.
        depth: With looks only: the depth whose answer was returned; None where the agent's was.
        depths: With looks only: what the small model said at each depth, from 0; None where it was not asked. With both
            sides, every depth, also where the gate had accepted before; what was asked after the clock had stopped has
            no `threshold`. `speculator` is depth 0's.
        cpu_s: Processor seconds of the process; in runs with looks, one question at a time.
    """

    method: str
    id: str
    split: str
    group: str
    question: str
    expected: str
    letter: str
    image: str
    answer: str | None
    right: bool
    read: str | None
    rule: str
    reason: str
    route: str | None
    decided_by: str | None
    tool_need: float | None
    judge_threshold: float | None
    score: str | None
    threshold: float | None
    speculator: Part | None
    agent: Part | None
    seconds: dict[str, float]
    tokens: dict[str, dict[str, int]]
    began: float
    trouble: str | None
    error: str | None
    depth: NotRequired[int | None]
    depths: NotRequired[list[DepthPart | None]]
    cpu_s: NotRequired[float]


def first_error(outcomes: Sequence[Outcome]) -> str | None:
    """What the first question that failed said; None where none did."""
    return next((outcome["error"] for outcome in outcomes if outcome["error"] is not None), None)


def picture_name(id: str) -> str:
    """The file name of a question's small picture."""
    return f"{hashlib.sha256(id.encode(errors='backslashreplace')).hexdigest()[:16]}.jpg"


class Run:
    """A run's folder: `manifest.json` and `outcomes.jsonl`, one line a question and method.

    Args:
        folder: The folder; made if missing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.file = self.folder / OUTCOMES

    @contextmanager
    def writing(self, manifest: dict[str, Any]) -> Iterator[list[Outcome]]:
        """Begin the run or go on with it; no other process can do so meanwhile.

        Args:
            manifest: What this process would run. A run that is there must have been made with the same.

        Yields:
            The outcomes that are there already.

        Raises:
            ArgumentError: The folder holds another run, something else, or is in use.
            MissingExtraError: filelock is not installed.
        """
        try:
            from filelock import FileLock, Timeout
        except ModuleNotFoundError as missing:
            raise MissingExtraError("speceyes eval", "eval") from missing
        make_folder(self.folder, "out")
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                if (self.folder / MANIFEST).exists():
                    _check_same(self.manifest(), manifest, self.folder)
                elif self.file.exists():
                    raise ArgumentError("out", "a run, or a folder without one", f"{self.file} without {MANIFEST}")
                else:
                    write_whole(self.folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
                yield self.outcomes(mend=True)
        except Timeout:
            raise ArgumentError("out", "a run that nobody writes to", f"{self.folder}, in use") from None

    def manifest(self) -> dict[str, Any]:
        """What the run was made with.

        Raises:
            ArgumentError: There is no run, or one of another format.
        """
        file = self.folder / MANIFEST
        try:
            found = json.loads(file.read_text())
        except (FileNotFoundError, NotADirectoryError):
            what = f"without {MANIFEST}" if self.folder.is_dir() else "a file" if self.folder.exists() else "not there"
            raise ArgumentError("run", "the folder of a run (speceyes eval --out)", f"{self.folder}, {what}") from None
        except (OSError, ValueError) as error:
            raise ArgumentError("run", "the folder of a run", f"{file}: {error}") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ArgumentError("run", f"a run of format {FORMAT}", f"another one in {file}")
        return found

    def append(self, outcome: Outcome) -> None:
        """Write an outcome, the whole of it or an error."""
        line = json.dumps(outcome, ensure_ascii=False) + "\n"
        with self.file.open("ab") as lines:
            # JSON has an escape for a lone surrogate, which UTF-8 has no bytes for
            lines.write(line.encode(errors="backslashreplace"))

    def outcomes(self, *, mend: bool = False) -> list[Outcome]:
        """Every outcome in the order it was written.

        Args:
            mend: Take a last line that was broken off by a kill out of the file.

        Raises:
            ArgumentError: The file holds something else.
        """
        return json_lines(self.file, "run", mend=mend)


def no_answers(looks: int, seconds: float, error: str | None) -> list[DepthPart | None]:
    """Every depth of a question that has an answer at none."""
    nothing = DepthPart(
        answer="",
        right=False,
        seconds=seconds,
        error=error,
        tokens={"input": 0, "output": 0},
        scores={},
        k=None,
        look=None,
        threshold=None,
        accepted=None,
    )
    return [nothing] * (1 + looks)


def json_lines(file: Path, argument: str, *, mend: bool = False) -> list[Any]:
    """The objects of a JSON-lines file; a last line that was broken off does not count.

    Args:
        file: The file; nothing if it is missing.
        argument: Name of the argument that errors blame.
        mend: Take a broken last line out of the file.

    Raises:
        ArgumentError: Another line holds no JSON.
    """
    if not file.exists():
        return []
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if mend and whole != text:
        os.truncate(file, len(whole))
    found = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            where = f"{file}, line {number}: {line[:60].decode(errors='replace')}"
            raise ArgumentError(argument, "a file of outcomes, one JSON object a line", where) from error
    return found


def read_runs(folders: Sequence[str | os.PathLike[str]]) -> list[tuple[dict[str, Any], list[Outcome]]]:
    """Manifest and outcomes of each run.

    Raises:
        ArgumentError: A folder holds no run, or one without an outcome.
    """
    found = []
    for folder in folders:
        run = Run(folder)
        manifest, outcomes = run.manifest(), run.outcomes()
        if not outcomes:
            raise ArgumentError("run", "a run with outcomes", f"none in {run.folder}")
        found.append((manifest, outcomes))
    return found


def _check_same(there: dict[str, Any], wanted: dict[str, Any], folder: Path) -> None:
    # as it would be read
    wanted = json.loads(json.dumps(wanted))
    for key in _SAME:
        if there.get(key) != wanted.get(key):
            found = f"{json.dumps(there.get(key))[:200]} in {folder}"
            raise ArgumentError("out", f"a run with {key} {json.dumps(wanted.get(key))[:200]}", found)

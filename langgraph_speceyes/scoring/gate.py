"""The gate: which scores are high enough to return the speculator's answer, and for which models that was found."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from langgraph_speceyes.errors import ArgumentError, GateMismatchError
from langgraph_speceyes.scoring.aggregate import ScoreName, check_score
from langgraph_speceyes.scoring.answer import DEFAULT_K, AnswerScore
from langgraph_speceyes.scoring.separability import check_k

__all__ = ["DEFAULT_THRESHOLD", "FORMAT", "Gate", "resolve_gate"]

#: The authors' threshold (the paper's ``tau``) for ``min`` at K = 64.
DEFAULT_THRESHOLD = 0.98

#: Version of the gate file's layout.
FORMAT = 1

_REQUIRED = ("score", "threshold", "k")


@dataclass(frozen=True, slots=True)
class Gate:
    """Phase III: accept an answer when its score is at least ``threshold`` (the paper's ``score >= tau``).

    A threshold means something only for the score, the K and the models it was chosen on, so the gate carries them.

    Attributes:
        score: Which answer score is compared.
        threshold: The paper's ``tau``, strictly between 0 and 1.
        k: Candidates per token (the paper's ``K``) behind the scores, >= 2.
        speculator: Id of the small model the threshold was chosen for, if known.
        agent: Id of the large model it was chosen for, if known.
        judge_threshold: From which :func:`~langgraph_speceyes.scoring.tool_need` on, in [0, 1], a question goes
            straight to the agent; None leaves it to the judge.
        calibration: How the threshold was found: anything JSON can hold, for the reader of the file.

    Raises:
        ArgumentError: An attribute is out of its range; the error names it.
    """

    score: ScoreName = "min"
    threshold: float = DEFAULT_THRESHOLD
    k: int = DEFAULT_K
    speculator: str | None = None
    agent: str | None = None
    judge_threshold: float | None = None
    calibration: dict[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        """Check every attribute and bring numbers to plain Python types."""
        check_score(self.score)
        threshold = _number("threshold", self.threshold, "a number strictly between 0 and 1")
        if not 0 < threshold < 1:
            raise ArgumentError("threshold", "a number strictly between 0 and 1", self.threshold)
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "k", check_k(self.k))
        for name, model in (("speculator", self.speculator), ("agent", self.agent)):
            if model is not None and (not isinstance(model, str) or not model):
                raise ArgumentError(name, "a model id or None", repr(model))
        if self.judge_threshold is not None:
            judge_threshold = _number("judge_threshold", self.judge_threshold, "a number in [0, 1] or None")
            if not 0 <= judge_threshold <= 1:
                raise ArgumentError("judge_threshold", "a number in [0, 1] or None", self.judge_threshold)
            object.__setattr__(self, "judge_threshold", judge_threshold)
        if self.calibration is not None:
            object.__setattr__(self, "calibration", _plain(self.calibration))

    def accepts(self, answer: AnswerScore) -> bool:
        """Decide about one answer: ``score >= tau``. No other place compares a score with the threshold.

        Args:
            answer: The scored answer. The gate's own score is read from it, whichever is in ``answer.value``.

        Returns:
            True when the answer may be returned. An empty answer, and one whose score is NaN, is never accepted.

        Raises:
            GateMismatchError: The answer was scored with another K than the threshold was chosen for.
        """
        if answer.n_tokens == 0:
            return False
        if answer.k_used != self.k:
            raise GateMismatchError(
                "k",
                f"{self.k} candidates per token, which the threshold {self.threshold} was calibrated with",
                f"an answer scored with {answer.k_used} (score it with k={self.k} on at least as many top_logprobs, "
                f"or calibrate at K={answer.k_used})",
            )
        # False for NaN, as it must be.
        return answer.scores[self.score] >= self.threshold

    def check_models(self, speculator: str | None = None, agent: str | None = None) -> None:
        """Check that the gate was calibrated for these models. An id that either side does not know is not compared.

        Args:
            speculator: Id of the small model in use.
            agent: Id of the large model in use.

        Raises:
            GateMismatchError: The gate names another speculator or agent.
        """
        for name, calibrated, used in (("speculator", self.speculator, speculator), ("agent", self.agent, agent)):
            if calibrated is not None and used is not None and calibrated != used:
                raise GateMismatchError(name, f"{calibrated!r}, which the gate was calibrated for", repr(used))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a gate file: a JSON object of the attributes and ``"format": 1``.

        Args:
            path: Where to write; an existing file is replaced.

        Raises:
            OSError: The file cannot be written.
        """
        content = {"format": FORMAT, **{item.name: getattr(self, item.name) for item in fields(self)}}
        Path(path).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Gate:
        """Read a gate file.

        Args:
            path: A file that :meth:`save` wrote. ``format``, ``score``, ``threshold`` and ``k`` must be there.

        Returns:
            The gate.

        Raises:
            ArgumentError: The file cannot be read, is no JSON object, has another format, lacks a key, has a key that
                the format does not know, or has a value out of range. The message names the path and the key.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ArgumentError("path", "a readable gate file", f"{os.fspath(path)}: {error.strerror}") from error
        except ValueError as error:  # bad JSON, or bytes that are no UTF-8
            raise ArgumentError("path", "a gate file in JSON", f"{os.fspath(path)}: {error}") from error
        if not isinstance(content, dict):
            raise _file_error(path, "a JSON object", type(content).__name__)
        if "format" not in content:
            raise _file_error(path, "the key 'format'", "no such key")
        version = content.pop("format")
        if type(version) is not int or version != FORMAT:
            raise _file_error(path, f"'format' {FORMAT}", repr(version))
        for key in _REQUIRED:
            if key not in content:
                raise _file_error(path, f"the key {key!r}", "no such key")
        known = {item.name for item in fields(cls)}
        for key in content:
            if key not in known:
                raise _file_error(path, "only the keys " + ", ".join(sorted(known)), repr(key))
        try:
            return cls(**content)
        except ArgumentError as error:
            raise _file_error(path, f"{error.argument!r} to be {error.expected}", error.found) from error


def resolve_gate(value: Gate | float | str | os.PathLike[str] | None) -> Gate:
    """Make a gate of what users write.

    Args:
        value: A gate; a threshold for ``min`` at K = 64; the path of a gate file; or None for the authors' default
            (``min``, K = 64, 0.98).

    Returns:
        The gate.

    Raises:
        ArgumentError: The threshold, the file, or the type of ``value`` cannot be used.
    """
    if value is None:
        return Gate()
    if isinstance(value, Gate):
        return value
    if isinstance(value, str | os.PathLike):
        return Gate.load(value)
    return Gate(threshold=_number("gate", value, "a Gate, a threshold, the path of a gate file or None"))


def _number(argument: str, value: object, expected: str) -> float:
    """Return a plain float; NumPy's numbers are welcome, booleans and texts are not."""
    if isinstance(value, bool | str | bytes):
        raise ArgumentError(argument, expected, repr(value))
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(argument, expected, type(value).__name__) from None
    if math.isnan(number):
        raise ArgumentError(argument, expected, "NaN")
    return number


def _plain(calibration: object) -> dict[str, Any]:
    """Copy what JSON keeps, so that a gate equals the one read back from its file."""
    expected = "a dict of values that JSON can hold (no NaN)"
    if not isinstance(calibration, dict):
        raise ArgumentError("calibration", expected, type(calibration).__name__)
    try:
        copy: dict[str, Any] = json.loads(json.dumps(calibration, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ArgumentError("calibration", expected, error) from error
    return copy


def _file_error(path: str | os.PathLike[str], expected: str, found: object) -> ArgumentError:
    return ArgumentError("path", f"a gate file with {expected}", f"{found} in {os.fspath(path)}")

"""The gate: which scores are high enough to return the speculator's answer, and for which models that was found."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from langgraph_speceyes.errors import ArgumentError, GateMismatchError
from langgraph_speceyes.files import write_whole
from langgraph_speceyes.scoring.aggregate import AT_ONE_K, ScoreName, check_k_for, check_score, least_candidates
from langgraph_speceyes.scoring.answer import DEFAULT_K, AnswerScore

__all__ = ["DEFAULT_THRESHOLD", "FIRST_LOOKS", "FORMAT", "FirstLook", "Gate", "resolve_gate"]

FirstLook = Literal["rejected", "always"]

#: When the first look is taken: behind an answer that was rejected, or at once, in place of the answer without a look.
FIRST_LOOKS: tuple[FirstLook, ...] = get_args(FirstLook)

#: The threshold (the paper's ``tau``) for ``odds`` where nobody calibrated one: refuses every tie.
DEFAULT_THRESHOLD = 0.9

#: Version of the gate file's layout.
FORMAT = 1

_REQUIRED = ("score", "threshold", "k")

# Attributes that a file has only where they differ from the default: without them it is as it was before there were
# any, for the versions that know none.
_OPTIONAL = ("depths", "looks", "first_look", "front_pixels")


@dataclass(frozen=True, slots=True)
class Gate:
    """Phase III: accept an answer when its score is at least ``threshold`` (the paper's ``score >= tau``).

    A threshold means something only for the score and the models it was chosen on, for ``min``, ``mean`` and
    ``bottom`` at one K, so the gate carries them. ``Gate()`` is a guess that nobody calibrated; the paper's own is
    ``Gate(score="min", threshold=0.98, k=64)``.

    Attributes:
        score: Which answer score is compared.
        threshold: The paper's ``tau``, strictly between 0 and 1.
        k: Candidates per token (the paper's ``K``) to ask for: >= 2; >= 5 for ``odds``; ``log`` needs none. These
            two accept answers scored at another K; the others do not.
        speculator: Id of the small model the threshold was chosen for, if known.
        agent: Id of the large model it was chosen for, if known.
        judge_threshold: From which :func:`~langgraph_speceyes.scoring.tool_need` on, in [0, 1], a question goes
            straight to the agent; None leaves it to the judge.
        calibration: How the threshold was found: anything JSON can hold, for the reader of the file.
        prompts: Digest of the instructions it was chosen with, if known.
        max_answer_tokens: How long answers could get when it was chosen, if known.
        depths: Thresholds of the answers after the first, second and further look, each strictly between 0 and 1; None
            for `threshold` at every depth.
        looks: The looks they were chosen with, if known: name and digest of each one's settings, as
            :func:`~langgraph_speceyes.looks.look_id` tells them apart.
        first_look: ``"always"`` for a gate that was calibrated without the answer before the first look: that answer is
            not asked for, and `threshold`, which then is that of the first look, is compared with nothing at depth 0.
        front_pixels: Most pixels of an image that the speculator was sent, if it is a hosted one; 0 for images as they
            are; None where it is not known, or the model reads images itself.

    Raises:
        ArgumentError: An attribute is out of its range; the error names it.
    """

    score: ScoreName = "odds"
    threshold: float = DEFAULT_THRESHOLD
    k: int = DEFAULT_K
    speculator: str | None = None
    agent: str | None = None
    judge_threshold: float | None = None
    calibration: dict[str, Any] | None = field(default=None, hash=False)
    prompts: str | None = None
    max_answer_tokens: int | None = None
    depths: tuple[float, ...] | None = None
    looks: tuple[str, ...] | None = None
    first_look: FirstLook = "rejected"
    front_pixels: int | None = None

    def __post_init__(self) -> None:
        """Check every attribute and bring numbers to plain Python types."""
        check_score(self.score)
        object.__setattr__(self, "threshold", _threshold("threshold", self.threshold))
        if self.depths is not None:
            if not isinstance(self.depths, list | tuple):
                raise ArgumentError("depths", "thresholds of the depths from 1 on, or None", repr(self.depths))
            object.__setattr__(self, "depths", tuple(_threshold("depths", one) for one in self.depths))
        self._check_looks()
        object.__setattr__(self, "k", check_k_for(self.score, self.k))
        for name, model in (("speculator", self.speculator), ("agent", self.agent)):
            if model is not None and (not isinstance(model, str) or not model):
                raise ArgumentError(name, "a model id or None", repr(model))
        if self.judge_threshold is not None:
            judge_threshold = _number("judge_threshold", self.judge_threshold, "a number in [0, 1] or None")
            if not 0 <= judge_threshold <= 1:
                raise ArgumentError("judge_threshold", "a number in [0, 1] or None", self.judge_threshold)
            object.__setattr__(self, "judge_threshold", judge_threshold)
        if self.prompts is not None and (not isinstance(self.prompts, str) or not self.prompts):
            raise ArgumentError("prompts", "a digest or None", repr(self.prompts))
        most = self.max_answer_tokens
        if most is not None and (type(most) is not int or most < 1):
            raise ArgumentError("max_answer_tokens", "a whole number of at least 1, or None", repr(most))
        pixels = self.front_pixels
        if pixels is not None and (type(pixels) is not int or pixels < 0):
            raise ArgumentError("front_pixels", "a whole number of at least 0, or None", repr(pixels))
        if self.calibration is not None:
            object.__setattr__(self, "calibration", _plain(self.calibration))

    def _check_looks(self) -> None:
        if self.looks is not None:
            expected = "names of looks with digests of their settings, or None"
            if not isinstance(self.looks, list | tuple) or not all(one and isinstance(one, str) for one in self.looks):
                raise ArgumentError("looks", expected, repr(self.looks))
            object.__setattr__(self, "looks", tuple(self.looks))
            if len(self.looks) != len(self.depths or ()):
                raise ArgumentError("looks", f"{len(self.depths or ())}, one for each of depths", len(self.looks))
        if self.first_look not in FIRST_LOOKS:
            raise ArgumentError("first_look", "one of " + ", ".join(FIRST_LOOKS), repr(self.first_look))
        if self.first_look == "always" and not self.depths:
            raise ArgumentError("depths", "a threshold for the first look, which is always taken", repr(self.depths))

    def at(self, depth: int) -> Gate:
        """The gate of a depth: this one with that depth's threshold.

        Args:
            depth: 0 for the first answer, n for the one after n looks.

        Raises:
            ArgumentError: The gate has thresholds of other depths only.
        """
        if depth == 0 or self.depths is None:
            return self
        if not 0 < depth <= len(self.depths):
            raise ArgumentError("depth", f"0 to {len(self.depths)}, for which the gate has thresholds", depth)
        return replace(self, threshold=self.depths[depth - 1])

    def of_looks(self, count: int) -> Gate:
        """The gate where there are only the first so many of its looks."""
        if not count:
            return replace(self, depths=None, looks=None, first_look="rejected")
        looks = None if self.looks is None else self.looks[:count]
        return replace(self, depths=None if self.depths is None else self.depths[:count], looks=looks)

    def accepts(self, answer: AnswerScore) -> bool:
        """Decide about one answer: ``score >= tau``. No other place compares a score with the threshold.

        Args:
            answer: The scored answer. The gate's own score is read from it, whichever is in ``answer.value``.

        Returns:
            True when the answer may be returned. An empty answer, and one whose score is NaN, is never accepted.

        Raises:
            GateMismatchError: The answer was scored with a K that the threshold means nothing for.
        """
        if answer.n_tokens == 0:
            return False
        self.check_candidates(answer.k_used)
        # False for NaN, as it must be.
        return answer.scores[self.score] >= self.threshold

    def check_candidates(self, k: int) -> None:
        """Check that the threshold means something for scores of this K.

        Args:
            k: Candidates that every token of a scored answer has.

        Raises:
            GateMismatchError: Not the gate's K, for the scores that rest on separability; below 5 for ``odds``.
        """
        if self.score not in AT_ONE_K:
            if k < (least := least_candidates(self.score)):
                expected = f"at least {least} candidates per token, which the score {self.score!r} needs"
                raise GateMismatchError("k", expected, f"an answer scored with {k}")
        elif k != self.k:
            raise GateMismatchError(
                "k",
                f"{self.k} candidates per token, which the threshold {self.threshold} was calibrated with",
                f"an answer scored with {k} (score it with k={self.k} on at least as many top_logprobs, "
                f"or calibrate at K={k})",
            )

    def check_models(self, speculator: str | None = None, agent: str | None = None, judge: str | None = None) -> None:
        """Check that the gate was calibrated for these models. An id that either side does not know is not compared.

        Args:
            speculator: Id of the small model in use.
            agent: Id of the agent's model in use.
            judge: Id of the judge in use: judge and agent are one large model, which the gate calls `agent`.

        Raises:
            GateMismatchError: The gate names another speculator or agent.
        """
        large = (("agent", self.agent, agent), ("judge", self.agent, judge))
        for name, calibrated, used in (("speculator", self.speculator, speculator), *large):
            if calibrated is not None and used is not None and calibrated != used:
                raise GateMismatchError(name, f"{calibrated!r}, which the gate was calibrated for", repr(used))

    def check_looks(self, looks: Sequence[str], first_look: FirstLook = "rejected", *, judged: bool = False) -> None:
        """Check that these looks are those that the gate was calibrated with.

        Args:
            looks: The looks in use, as :attr:`looks` names them.
            first_look: When the first one is taken.
            judged: Whether there is a judge.

        Raises:
            GateMismatchError: There are others, more, fewer or the same in another order; the first is taken at another
                time; or a judge sends questions past the answer without a look, and the gate was calibrated without
                one.
        """
        used = ", ".join(looks) or "none"
        calibrated = self.calibration is not None and self.calibration.get("method") in ("guarantee", "paper")
        if self.looks is not None and self.looks != tuple(looks):
            named = ", ".join(self.looks) or "none"
            raise GateMismatchError("looks", f"{named}, which the gate was calibrated with", used)
        if self.depths is None and looks and calibrated:
            raise GateMismatchError("looks", "none, as the gate was calibrated without looks", used)
        if self.depths is not None and len(self.depths) != len(looks):
            raise GateMismatchError("looks", f"{len(self.depths)}, for which the gate has thresholds (depths)", used)
        if looks and calibrated and self.first_look != first_look:
            expected = f"{self.first_look!r}, which the gate was calibrated with"
            raise GateMismatchError("first_look", expected, repr(first_look))
        # without looks it keeps questions from the gate; with them it sends them on to another gate
        if looks and calibrated and judged and self.judge_threshold is None and first_look == "rejected":
            raise GateMismatchError("judge", "none, as the gate was calibrated without one", "a judge")

    def check_settings(
        self,
        *,
        judge_threshold: float | None,
        prompts: str | None = None,
        max_answer_tokens: int | None = None,
        front_pixels: int | None = None,
    ) -> None:
        """Check that the gate is used as it was calibrated. What either side does not know is not compared.

        Args:
            judge_threshold: The judge's threshold in use; None where there is no judge.
            prompts: Digest of the instructions in use.
            max_answer_tokens: How long answers may get.
            front_pixels: Most pixels of an image that the speculator is sent; 0 for images as they are.

        Raises:
            GateMismatchError: It was calibrated behind a judge, and there is none or one with another threshold; or
                with other instructions, another length of answers or another size of images.
        """
        if self.calibration is not None and self.judge_threshold is not None:
            calibrated = f"{self.judge_threshold}, behind which the gate was calibrated"
            if judge_threshold is None:
                raise GateMismatchError("judge", f"a judge with a threshold of {calibrated}", "none")
            if judge_threshold != self.judge_threshold:
                raise GateMismatchError("judge_threshold", calibrated, judge_threshold)
        if self.prompts is not None and prompts is not None and self.prompts != prompts:
            found = f"others ({prompts} instead of {self.prompts})"
            raise GateMismatchError("prompts", "the instructions that the gate was calibrated with", found)
        most = self.max_answer_tokens
        if most is not None and max_answer_tokens is not None and most != max_answer_tokens:
            expected = f"{most}, which the gate was calibrated with"
            raise GateMismatchError("max_answer_tokens", expected, max_answer_tokens)
        pixels = self.front_pixels
        if pixels is not None and front_pixels is not None and pixels != front_pixels:
            size = f"{pixels} pixels" if pixels else "images as they are (None)"
            expected = f"{size} for the speculator, which the gate was calibrated with"
            raise GateMismatchError("front_pixels", expected, front_pixels or "images as they are")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a gate file: a JSON object of the attributes and ``"format": 1``; some only where they say something.

        Args:
            path: Where to write; an existing file is replaced.

        Raises:
            OSError: The file cannot be written.
        """
        content = {"format": FORMAT, **{item.name: getattr(self, item.name) for item in fields(self)}}
        for item in fields(self):
            if item.name in _OPTIONAL and content[item.name] == item.default:
                del content[item.name]
        write_whole(path, json.dumps(content, indent=2, allow_nan=False) + "\n")

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
        value: A gate; a threshold for ``odds`` at K = 20; the path of a gate file; or None for ``Gate()`` (``odds``,
            K = 20, 0.9).

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
        if isinstance(value, str) and _is_number(value) and not Path(value).exists():
            raise ArgumentError("gate", "the path of a gate file, or a threshold as a number", f"the text {value!r}")
        try:
            return Gate.load(value)
        except ArgumentError as error:
            raise ArgumentError("gate", error.expected, error.found) from error
    return Gate(threshold=_number("gate", value, "a Gate, a threshold, the path of a gate file or None"))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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


def _threshold(argument: str, value: object) -> float:
    expected = "a number strictly between 0 and 1" if argument == "threshold" else "numbers strictly between 0 and 1"
    number = _number(argument, value, expected)
    if not 0 < number < 1:
        raise ArgumentError(argument, expected, value)
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

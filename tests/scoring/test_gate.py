"""The gate's decision, its checks and its file."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.errors import ArgumentError, GateMismatchError
from langgraph_speceyes.scoring import SCORES, AnswerScore, Gate, ScoreName, resolve_gate, score_answer
from tests.scoring.candidates import entry, ties

FULL = Gate(
    score="bottom",
    threshold=0.97,
    k=20,
    speculator="Qwen/Qwen3-VL-2B-Instruct",
    agent="ChenShawn/DeepEyes-7B",
    judge_threshold=0.4,
    calibration={"n": 500, "method": "wsr", "alpha": [0.1, None]},
    prompts="0123456789abcdef",
    max_answer_tokens=64,
)


def answer(value: float, *, k: int = 20, n_tokens: int = 1, **others: float) -> AnswerScore:
    scores: Any = dict.fromkeys(SCORES, value) | others
    by_token = ([number] * n_tokens for number in (0.9, 6.0, 0.9))
    return AnswerScore("odds", value, scores, ["B"] * n_tokens, *by_token, k, n_tokens)


def test_defaults() -> None:
    assert (Gate().score, Gate().threshold, Gate().k) == ("odds", 0.9, 20)


@given(st.floats(0.01, 0.99), st.floats(0, 1))
def test_accepts_from_the_threshold_on(threshold: float, value: float) -> None:
    gate = Gate(threshold=threshold)
    assert gate.accepts(answer(value)) is (value >= threshold)
    assert gate.accepts(answer(threshold)) is True
    assert gate.accepts(answer(math.nextafter(threshold, 0))) is False


def test_reads_its_own_score() -> None:
    scored = answer(0.5, mean=0.99)
    assert Gate(score="mean").accepts(scored)
    assert not Gate(score="min").accepts(scored)
    assert not Gate().accepts(scored)


def test_never_accepts_an_empty_or_unknown_answer() -> None:
    assert Gate(threshold=0.01).accepts(answer(1.0))
    assert not Gate(threshold=0.01).accepts(answer(1.0, n_tokens=0))
    assert not Gate(threshold=0.01).accepts(answer(math.nan))


@pytest.mark.parametrize("score", ["min", "mean", "bottom"])
@pytest.mark.parametrize("k", [20, 65])
def test_a_separability_is_refused_at_another_k(score: ScoreName, k: int) -> None:
    gate = Gate(score=score, threshold=0.98, k=64)
    with pytest.raises(GateMismatchError, match=rf"^k: expected 64 .*found .* {k} ") as caught:
        gate.accepts(answer(0.1, k=k))
    assert caught.value.argument == "k"
    assert dataclasses.replace(gate, k=k).accepts(answer(0.99, k=k))


@pytest.mark.parametrize("k", [5, 6, 19, 21, 64, 128])
def test_odds_and_log_are_taken_at_another_k(k: int) -> None:
    for gate in (Gate(), Gate(score="log")):
        assert gate.accepts(answer(0.95, k=k))
        assert not gate.accepts(answer(0.85, k=k))


def test_odds_need_five_candidates_and_log_none() -> None:
    for k in (0, 1, 4):
        with pytest.raises(GateMismatchError, match=rf"^k: expected at least 5 .*'odds'.* found .* {k}$"):
            Gate().accepts(answer(0.99, k=k))
        assert Gate(score="log").accepts(answer(0.99, k=k))
    for k in (2, 4):
        with pytest.raises(ArgumentError, match=r"^k: .*5.*'odds'"):
            Gate(k=k)
        assert Gate(score="min", k=k).k == Gate(score="log", k=k).k == k
    assert Gate(score="log", k=0).k == 0
    with pytest.raises(ArgumentError, match=r"^k: .*0.*'log'.*-1"):
        Gate(score="log", k=-1)


@given(st.data())
def test_the_default_gate_refuses_every_tie(data: st.DataObject) -> None:
    k = data.draw(st.integers(5, 128))
    tied = [[data.draw(ties(k, most=k))] for _ in range(data.draw(st.integers(1, 3)))]
    sure = [30.0, *np.linspace(1, 0, k - 1)]
    content = [entry(row) for row in ([sure], *tied, [sure]) for row in row]
    scored = score_answer(content, k=k)
    assert not Gate().accepts(scored)
    assert not any(resolve_gate(at).accepts(scored) for at in (0.51, 0.98))
    assert Gate().accepts(score_answer([entry(sure)] * 3, k=k))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("threshold", value) for value in (0, 1, 0.0, 1.0, 1.5, -0.1, math.nan, math.inf, True, "0.9", None, [0.9])),
        *(("score", value) for value in ("max", "", None, "MIN", ["min"])),
        *(("k", value) for value in (4, 1, 0, -1, 64.0, True, "64", None)),
        *((model, value) for model in ("speculator", "agent") for value in ("", 3)),
        *(("judge_threshold", value) for value in (-0.1, 1.1, math.nan, True, "x")),
        *(("prompts", value) for value in ("", 3)),
        *(("max_answer_tokens", value) for value in (0, -1, True, 64.0, "64")),
        *(("front_pixels", value) for value in (-1, True, 64.0, "64")),
        *(("calibration", value) for value in ([1], {"x": math.nan}, {"x": object()}, {"x": np.zeros(2)})),
    ],
)
def test_wrong_attributes(argument: str, value: Any) -> None:
    with pytest.raises(ArgumentError) as caught:
        Gate(**{argument: value})
    assert caught.value.argument == argument


def test_numbers_become_plain() -> None:
    gate = Gate(threshold=np.float32(0.5), k=np.int64(8), judge_threshold=0)  # type: ignore[arg-type]
    assert (type(gate.threshold), type(gate.k), type(gate.judge_threshold)) == (float, int, float)
    assert gate == Gate(threshold=0.5, k=8, judge_threshold=0.0)


def test_is_a_frozen_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.threshold = 0.5  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(FULL)) == FULL
    assert len({FULL, dataclasses.replace(FULL), Gate()}) == 2
    source = {"n": [1]}
    gate = Gate(calibration=source)
    source["n"].append(2)
    assert gate.calibration == {"n": [1]}


def test_check_models() -> None:
    FULL.check_models(speculator=FULL.speculator, agent=FULL.agent)
    FULL.check_models()
    Gate().check_models(speculator="any", agent="any")
    with pytest.raises(GateMismatchError, match=r"^speculator: .*Qwen3-VL-2B-Instruct.*'other'"):
        FULL.check_models(speculator="other", agent=FULL.agent)
    with pytest.raises(GateMismatchError, match=r"^agent: .*DeepEyes-7B.*'other'"):
        FULL.check_models(agent="other")
    # judge and agent are the same large model
    FULL.check_models(judge=FULL.agent)
    with pytest.raises(GateMismatchError, match=r"^judge: .*DeepEyes-7B.*'other'"):
        FULL.check_models(judge="other")


def test_check_settings() -> None:
    FULL.check_settings(judge_threshold=0.4, prompts=FULL.prompts, max_answer_tokens=64)
    FULL.check_settings(judge_threshold=0.4)
    for named, changed in (
        ("judge", {"judge_threshold": None}),
        ("judge_threshold", {"judge_threshold": 0.5}),
        ("prompts", {"prompts": "other"}),
        ("max_answer_tokens", {"max_answer_tokens": 256}),
        ("front_pixels", {"front_pixels": 0}),
        ("front_pixels", {"front_pixels": 1_150_000}),
    ):
        used: Any = {"judge_threshold": 0.4, "prompts": FULL.prompts, "max_answer_tokens": 64} | changed
        with pytest.raises(GateMismatchError) as caught:
            dataclasses.replace(FULL, front_pixels=90_000).check_settings(**used)
        assert caught.value.argument == named
    # nothing was calibrated behind a judge, or nothing at all
    for gate in (Gate(), dataclasses.replace(FULL, calibration=None), dataclasses.replace(FULL, judge_threshold=None)):
        for at in (None, 0.9):
            gate.check_settings(judge_threshold=at)
    Gate().check_settings(judge_threshold=None, prompts="any", max_answer_tokens=1, front_pixels=0)
    dataclasses.replace(FULL, front_pixels=0).check_settings(judge_threshold=0.4, front_pixels=None)


@pytest.mark.parametrize("gate", [Gate(), FULL, dataclasses.replace(FULL, depths=(0.5, 0.75)), Gate(front_pixels=0)])
def test_file_round_trip(gate: Gate, tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    gate.save(path)
    assert json.loads(path.read_text())["format"] == 1
    assert Gate.load(path) == gate
    assert Gate.load(str(path)) == gate


@given(
    st.builds(
        Gate,
        score=st.sampled_from(SCORES),
        threshold=st.floats(0, 1, exclude_min=True, exclude_max=True),
        k=st.integers(5, 200_000),
        speculator=st.none() | st.text(st.characters(codec="utf-8"), min_size=1),
        judge_threshold=st.none() | st.floats(0, 1),
        calibration=st.none() | st.dictionaries(st.text(st.characters(codec="utf-8")), st.floats(0, 1)),
        depths=st.none() | st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True)),
    )
)
def test_any_gate_survives_its_file(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> None:
    path = tmp_path_factory.mktemp("gate") / "gate.json"
    gate.save(path)
    assert Gate.load(path) == gate


def test_the_file_of_a_gate_without_depths_is_as_it_was(tmp_path: Path) -> None:
    FULL.save(tmp_path / "gate.json")
    assert "depths" not in json.loads((tmp_path / "gate.json").read_text())


def test_each_depth_has_its_own_threshold_or_that_of_all() -> None:
    gate = Gate(threshold=0.9, depths=(0.5, 0.7))
    assert [gate.at(depth).threshold for depth in range(3)] == [0.9, 0.5, 0.7]
    assert [Gate(threshold=0.6).at(depth).threshold for depth in range(3)] == [0.6] * 3
    scored = answer(0.6)
    assert [gate.at(depth).accepts(scored) for depth in range(3)] == [False, True, False]
    assert dataclasses.replace(gate.at(1), threshold=0.9) == gate
    for depth in (-1, 3):
        with pytest.raises(ArgumentError, match=r"^depth: expected 0 to 2"):
            gate.at(depth)
    assert len({gate, Gate(threshold=0.9, depths=[0.5, 0.7])}) == 1  # type: ignore[arg-type]


def test_thresholds_are_for_as_many_looks_as_there_are() -> None:
    Gate().check_looks(["tiles"] * 3)
    Gate(depths=(0.5, 0.7)).check_looks(["tiles"] * 2)
    for looks in (0, 1, 3):
        with pytest.raises(GateMismatchError) as caught:
            Gate(depths=(0.5, 0.7)).check_looks(["tiles"] * looks)
        assert caught.value.argument == "looks"


@pytest.mark.parametrize("depths", [0.5, "high", (1.0,), (0.5, 0), (None,), (math.nan,), (True,)])
def test_thresholds_of_depths_are_shares(depths: Any) -> None:
    with pytest.raises(ArgumentError, match="depths"):
        Gate(depths=depths)


def test_a_minimal_file_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    path.write_text('{"format": 1, "score": "min", "threshold": 0.97, "k": 64}')
    assert Gate.load(path) == Gate("min", 0.97, 64)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": None}, "'format'"),
        ({"format": 2}, "'format' 1, found 2"),
        ({"format": True}, "'format' 1, found True"),
        ({"format": "1"}, "'format' 1, found '1'"),
        ({"score": None}, "'score'"),
        ({"threshold": None}, "'threshold'"),
        ({"k": None}, "'k'"),
        ({"threshold": 1.5}, "'threshold' .*1.5"),
        ({"threshold": "high"}, "'threshold' .*'high'"),
        ({"score": "max"}, "'score' .*'max'"),
        ({"k": 1}, "'k' .*found 1"),
        ({"tau": 0.9}, "'tau'"),
        ({"calibration": [1]}, "'calibration'"),
        ({"depths": [0.9, 1.5]}, "'depths'.*1.5"),
        ({"depths": 0.9}, "'depths'"),
    ],
)
def test_bad_files_name_path_and_key(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    content = {"format": 1, "score": "min", "threshold": 0.97, "k": 64} | change
    path = tmp_path / "bad-gate.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(ArgumentError, match=named) as caught:
        Gate.load(path)
    assert caught.value.argument == "path"
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe\x00", b"[1]", b"0.98"])
def test_files_that_are_no_json_object(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad-gate.json"
    path.write_bytes(data)
    with pytest.raises(ArgumentError) as caught:
        Gate.load(path)
    assert caught.value.argument == "path"
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ArgumentError) as caught:
            Gate.load(path)
        assert str(path) in str(caught.value)


def test_resolve_gate(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    FULL.save(path)
    assert resolve_gate(None) == Gate()
    assert resolve_gate(FULL) is FULL
    assert resolve_gate(0.95) == resolve_gate(np.float64(0.95)) == Gate(threshold=0.95)
    assert resolve_gate(path) == resolve_gate(str(path)) == FULL


@pytest.mark.parametrize(
    ("value", "argument"),
    [(1.5, "threshold"), (1, "threshold"), (True, "gate"), ([0.9], "gate"), ("0.9", "gate"), ("x", "gate")],
)
def test_resolve_gate_refuses(value: Any, argument: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        resolve_gate(value)
    assert caught.value.argument == argument

"""A gate that nobody calibrated says so: once per process and gate, at the line that uses it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from langgraph_speceyes import create_speceyes
from langgraph_speceyes.bench.methods import METHODS, Models
from langgraph_speceyes.errors import UncalibratedGateWarning
from langgraph_speceyes.prompts import Prompts
from langgraph_speceyes.scoring import Gate, uncalibrated, uncalibrated_on_purpose
from tests.scripted import Agent, speculator


def graph(**settings: Any) -> object:
    return create_speceyes(Agent().graph, speculator=speculator(), **settings)


def middleware(**settings: Any) -> object:
    from langgraph_speceyes import SpecEyesMiddleware

    return SpecEyesMiddleware(speculator(), **settings)


@pytest.fixture(autouse=True)
def told() -> Iterator[list[warnings.WarningMessage]]:
    """What was warned about, as if the process had just begun."""
    before = uncalibrated._warned_about.copy()
    uncalibrated._warned_about.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UncalibratedGateWarning)
        yield caught
    uncalibrated._warned_about.update(before)


@pytest.mark.parametrize("build", [graph, middleware])
def test_once_per_gate(build: Callable[..., object], told: list[warnings.WarningMessage]) -> None:
    for _ in range(3):
        build()
        build(gate=None)
        build(gate=Gate())
        build(gate=0.9)
    assert [one.category for one in told] == [UncalibratedGateWarning]
    # at the line that built it, with the ways out
    assert told[0].filename == __file__
    for way in ("odds >= 0.9", "speceyes calibrate", "gate=SelfOpening("):
        assert way in str(told[0].message)
    for _ in range(2):
        build(gate=0.95)
        build(gate=Gate(score="min", threshold=0.98, k=64))
    assert len(told) == 3


@pytest.mark.parametrize("build", [graph, middleware])
def test_not_for_a_calibrated_gate(build: Callable[..., object], told: list[warnings.WarningMessage]) -> None:
    build(gate=replace(Gate(), calibration={"method": "net"}))
    assert not told


def test_not_where_it_is_measured(told: list[warnings.WarningMessage]) -> None:
    models = Models(speculator(), None, Agent().graph.compile(), Gate(), Prompts())
    for method in ("speculator", "speceyes"):
        METHODS[method](models)
    with uncalibrated_on_purpose():
        graph()
    assert not told
    # and it is still to be said elsewhere
    graph()
    assert len(told) == 1


def test_as_an_error_it_is_one_once(told: list[warnings.WarningMessage]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UncalibratedGateWarning)
        with pytest.raises(UncalibratedGateWarning):
            graph()
        graph()

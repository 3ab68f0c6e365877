"""A gate that opens itself, in a graph: from shadow to bypasses, and back when the answers begin to differ."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from langchain.agents import create_agent

from langgraph_speceyes import SpecEyesMiddleware, create_speceyes
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.traffic.opening import SelfOpening
from tests.scripted import Agent, Scripted, judge, speculator
from tests.test_graph import asked, image
from tests.traffic.test_shadow import LONG_S, memory, records

__all__ = ["image"]

QUICK = {"max_loss": 0.2, "confidence": 0.6, "score": "min", "k": 64}


@pytest.mark.parametrize("around", ["graph", "middleware"])
def test_it_begins_in_shadow_opens_on_agreement_and_closes_on_disagreement(
    image: str, around: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal, model = memory(), Scripted(answer="blue")
    settings: Any = {"gate": SelfOpening(**QUICK, audit=1.0), "journal": journal}  # type: ignore[arg-type]
    if around == "middleware":
        bypass = SpecEyesMiddleware(speculator(3.0), **settings)
        run: Any = create_agent(model, middleware=[bypass])
        traffic = bypass.traffic
        bypass.audit_with(run)
    else:
        graph = create_speceyes(create_agent(model), speculator=speculator(3.0), **settings)
        run, traffic = graph.compile(), graph.traffic

    def ask() -> Any:
        found = run.invoke(asked(image))
        assert traffic.drain(LONG_S)
        return found["decision"]

    first = ask()
    assert (first["mode"], first["route"], first["threshold"]) == ("shadow", "fallback", None)
    assert first["reason"] == "in shadow: the gate has not opened yet"
    asked_in_shadow = 1
    while traffic.opener.threshold is None and asked_in_shadow < 100:
        ask()
        asked_in_shadow += 1
    decision = ask()
    assert (decision["mode"], decision["route"], decision["audited"]) == ("on", "bypass", True)
    assert decision["threshold"] == traffic.opener.threshold or decision["threshold"] > traffic.opener.threshold
    assert 1 < asked_in_shadow < 100

    model.answer = "red"
    closed = None
    for _ in range(200):
        decision = ask()
        if decision["mode"] == "shadow":
            closed = decision["reason"]
            break
    assert closed is not None
    assert "not opened" not in closed
    assert closed.startswith("in shadow: ")
    assert [record.levelname for record in caplog.records if "closed" in record.message] == ["WARNING"]
    assert traffic.opener.threshold is None
    assert any(event["event"] == "closed" for event in traffic.opener.status()["events"])
    seen = []
    while page := journal.read(seen[-1][0] if seen else None):
        seen += page
    assert {record["mode"] for _, record in seen} == {"shadow", "on"}
    assert all(record["settled"] for _, record in seen)

    # a new process finds it shut
    again = create_speceyes(Agent("blue").graph, speculator=speculator(3.0), **settings)
    assert again.compile().invoke(asked(image))["decision"]["mode"] == "shadow"


def test_evidence_outlasts_the_process(image: str) -> None:
    journal = memory()
    gate: Any = SelfOpening(**QUICK)  # type: ignore[arg-type]
    decisions = []
    for _ in range(4):
        graph = create_speceyes(Agent("blue").graph, speculator=speculator(3.0), gate=gate, journal=journal)
        run = graph.compile()
        for _ in range(12):
            decisions.append(run.invoke(asked(image))["decision"])
            assert graph.traffic.drain(LONG_S)
    modes = [decision["mode"] for decision in decisions]
    assert modes == sorted(modes, key=("shadow", "on").index)
    assert set(modes) == {"shadow", "on"}
    assert len(records(journal)) == len(decisions)


def test_a_run_cannot_set_its_threshold(image: str) -> None:
    gate: Any = SelfOpening(**QUICK)  # type: ignore[arg-type]
    graph = create_speceyes(Agent("blue").graph, speculator=speculator(3.0), gate=gate).compile()
    with pytest.raises(ArgumentError, match="none beside a gate that opens itself"):
        graph.invoke(asked(image), context={"speceyes_threshold": 0.5})
    assert graph.invoke(asked(image), context={"speceyes_mode": "off"})["decision"]["mode"] == "off"


def test_a_question_under_way_holds_the_evidence_of_later_ones(image: str) -> None:
    """Evidence in the order of the answers would miss those that take long."""
    journal, slow, free = memory(), threading.Event(), threading.Event()
    answers = iter([slow])

    def before() -> None:
        waits = next(answers, None)
        if waits is not None:
            waits.set()
            assert free.wait(LONG_S)

    model = Scripted(answer="blue", before=before)
    gate: Any = SelfOpening(**QUICK)  # type: ignore[arg-type]
    graph = create_speceyes(create_agent(model), speculator=speculator(3.0), gate=gate, journal=journal)
    run = graph.compile()
    first = threading.Thread(target=run.invoke, args=[asked(image)])
    first.start()
    try:
        assert slow.wait(LONG_S)
        for _ in range(20):
            run.invoke(asked(image))
        assert graph.traffic.drain(LONG_S)
        assert graph.traffic.opener.threshold is None
        assert len(records(journal)) == 21
        assert not records(journal)[0]["settled"]
    finally:
        free.set()
        first.join()
    assert graph.traffic.drain(LONG_S)
    assert graph.traffic.opener.threshold is not None
    assert len(records(journal)) == 21


def test_every_order_of_phases_gives_evidence(image: str) -> None:
    for order in ("judge_first", "speculate_first", "parallel"):
        journal = memory()
        gate: Any = SelfOpening(**QUICK, audit=1.0)  # type: ignore[arg-type]
        graph = create_speceyes(
            Agent("blue").graph,
            speculator=speculator(3.0),
            judge=judge(0.1),
            gate=gate,
            journal=journal,
            order=order,  # type: ignore[arg-type]
        )
        run = graph.compile()
        for number in range(40):
            run.invoke(asked(image))
            assert graph.traffic.drain(LONG_S)
            assert graph.traffic.opener.status()["progress"]["questions"] == number + 1
        assert {record["judge_threshold"] for record in records(journal)} == {0.5}
        assert graph.traffic.opener.threshold is not None

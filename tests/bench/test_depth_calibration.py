"""Calibration of runs and journals with looks: thresholds by depth, compositions, what the gate file makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from langgraph_speceyes import Gate, create_speceyes
from langgraph_speceyes.bench.advice import advise, plots
from langgraph_speceyes.bench.calibrate import calibrate_run, prepared, terms_of
from langgraph_speceyes.bench.compositions import Composition, available, certify
from langgraph_speceyes.bench.evidence import Evidence, evidence_of, read_evidence
from langgraph_speceyes.bench.labelling import Labelling
from langgraph_speceyes.bench.report.plots.drawing import Drawing
from langgraph_speceyes.bench.runs import DepthPart, Outcome
from langgraph_speceyes.bench.statistics import share
from langgraph_speceyes.calibration import labelled_thresholds
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import GateMismatchError
from langgraph_speceyes.looks import look_id, tiles
from langgraph_speceyes.traffic.record import DepthRecord
from langgraph_speceyes.traffic.sqlite import SQLiteJournal
from tests.runs import outcome, written
from tests.scripted import Agent, speculator
from tests.traffic.records import made

LOOK = tiles(2, 2)
LIMITS: dict[str, Any] = {"max_loss": 0.05, "confidence": 0.9}


def looking(number: int, scores: tuple[float, ...], right: tuple[bool, ...], *, large: bool, need: float) -> Outcome:
    """A question with 1, 2 and 8 seconds for judge, first answer and agent, 3 for each look and 4 where it is first."""
    said = [f"said {depth}" if not ok else "the answer" for depth, ok in enumerate(right)]
    one = outcome(number, score=scores[0], need=need, small=right[0], large=large, image=f"{number}.png")
    assert one["agent"]
    assert one["speculator"]
    one["agent"] |= {"seconds": 8.0, "answer": "the answer" if large else "something"}
    one["speculator"] |= {"answer": said[0]}
    parts: list[DepthPart | None] = []
    for depth, score in enumerate(scores):
        part: Any = {**one["speculator"], "answer": said[depth], "right": right[depth], "accepted": None}
        part |= {"scores": dict.fromkeys(part["scores"], score), "threshold": None, "look": "tiles" if depth else None}
        parts.append(cast("DepthPart", {**part, "seconds": 3.0, "entered_s": 4.0} if depth else part))
    one["depths"] = parts
    return one


def rows(n: int = 600, seed: int = 0, looks: int = 1) -> list[Outcome]:
    """Depth 0 knows six in ten, and how sure it is; a look nearly everything."""
    rng, found = np.random.default_rng(seed), []
    for k in range(n):
        easy = rng.random() < 0.6
        right = (bool(easy or rng.random() < 0.3), *(bool(rng.random() < 0.98) for _ in range(looks)))
        scores = [0.95 + 0.04 * rng.random() if easy else 0.3 * rng.random()]
        scores += [0.9 + 0.09 * rng.random() if ok else 0.6 * rng.random() for ok in right[1:]]
        need = 0.1 if easy or rng.random() < 0.2 else 0.9
        found.append(looking(k, tuple(scores), right, large=bool(rng.random() < 0.97), need=need))
    return found


def run_of(folder: Path, outcomes: list[Outcome]) -> Path:
    return written(folder, outcomes, looks=[look_id(LOOK)])


@pytest.mark.parametrize("labels", ["all", "none", "disagreements"])
def test_a_run_with_looks_gets_a_threshold_a_depth_and_names_its_looks(tmp_path: Path, labels: str) -> None:
    folder, file = run_of(tmp_path / "run", rows()), tmp_path / "gate.json"
    found = calibrate_run(folder, labels=labels, **LIMITS)
    assert found.gate
    assert found.guarantee
    assert found.gate.depths
    assert found.gate.looks == (look_id(LOOK),)
    assert found.gate.calibration
    assert found.gate.calibration["composition"] == found.composition == "judge, depth 0, depth 1 (min)"
    assert sum(one.accepted for one in found.depths) == pytest.approx(found.accepted)
    assert found.accepted > 0.9
    found.gate.save(file)
    assert Gate.load(file) == found.gate
    options: Any = {"speculator": speculator(), "gate": found.gate.__class__.load(file)}
    options["gate"] = _anonymous(options["gate"])
    with pytest.raises(GateMismatchError, match="looks"):
        create_speceyes(Agent().graph, **options, looks=[tiles(3, 3)])


def _anonymous(gate: Gate) -> Gate:
    from dataclasses import replace

    return replace(gate, speculator=None, agent=None, prompts=None, max_answer_tokens=None, judge_threshold=None)


def test_the_thresholds_are_those_of_the_columns(tmp_path: Path) -> None:
    outcomes = rows(300)
    found = calibrate_run(run_of(tmp_path / "run", outcomes), **LIMITS)
    parts: list[Any] = [one["depths"] for one in outcomes]
    need = np.array([one["tool_need"] for one in outcomes], dtype=float)
    expected = labelled_thresholds(
        [[part[depth]["scores"]["min"] for part in parts] for depth in (0, 1)],
        labels="all",
        speculator_right=[[part[depth]["right"] for part in parts] for depth in (0, 1)],
        agent_right=[one["agent"]["right"] for one in outcomes],  # type: ignore[index]
        eligible=np.stack([need < 0.5, np.ones(need.size, bool)]),
        **LIMITS,
    )
    assert expected.by_depth
    assert found.gate
    assert (found.gate.threshold, *(found.gate.depths or ())) == expected.by_depth.thresholds


def test_depth_1_at_once_is_chosen_where_it_is_fastest_and_the_graph_is_built_so(tmp_path: Path) -> None:
    folder, file = run_of(tmp_path / "run", rows(1200)), tmp_path / "gate.json"
    # without the judge and the first answer: 4 s and little else
    result = CliRunner().invoke(
        app, ["calibrate", str(folder), "--choose", "--max-loss", "0.05", "--confidence", "0.9", "--out", str(file)]
    )
    assert result.exit_code == 0, result.output
    gate = Gate.load(file)
    taken = next(one for one in calibrate_run(folder, choose=True, **LIMITS).tried if one.taken)
    assert gate.calibration
    assert gate.calibration["composition"] == taken.name
    assert taken.name in result.output
    names = {one.name for one in calibrate_run(folder, choose=True, **LIMITS).tried}
    assert {"judge alone", "depth 1 at once (min)", "judge, depth 0, depth 1 (min)", "depth 0, depth 1 (min)"} <= names
    assert {"min", "judge, then min", "depth 0, depth 1 (min, each by itself)"} <= names
    built = create_speceyes(
        Agent().graph, speculator=speculator(k=gate.k), gate=_anonymous(gate), looks=[LOOK] if gate.looks else []
    )
    assert ("speculate" in built.nodes) == (0 in _depths(taken.name))
    assert ("look_1" in built.nodes) == (1 in _depths(taken.name))


def _depths(name: str) -> set[int]:
    return {depth for depth in (0, 1) if f"depth {depth}" in name} or {0}


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    looks, rng = draw(st.integers(1, 2)), np.random.default_rng(draw(st.integers(0, 2**32)))
    found = []
    for k in range(draw(st.integers(1, 30))):
        scores = tuple(rng.choice([0.0, 0.2, 0.5, 0.9], 1 + looks).tolist())
        right = tuple(bool(one) for one in rng.random(1 + looks) < 0.7)
        found.append(looking(k, scores, right, large=bool(rng.random() < 0.8), need=float(rng.choice([0.2, 0.8]))))
    return evidence_of(found, Gate(score="min", k=64, judge_threshold=0.5), Path())


@given(evidence(), st.data())
@settings(max_examples=60, deadline=None)
def test_a_composition_does_on_record_what_its_phases_would(found: Evidence, data: st.DataObject) -> None:
    one = data.draw(st.sampled_from([c for c in available(found) if c.depths != (0,) and c.score == "min"]))
    terms = terms_of(0.5, 0.1, data.draw(st.sampled_from(["net", "harm"])), "all", None)
    certified = certify(found, one, terms)
    if certified.threshold is None:
        assert not certified.bypass.any()
        return
    one, thresholds = certified.composition, certified.by_depth
    right, total, judging = [], {"judge_first": 0.0, "speculate_first": 0.0}, one.judge_threshold is not None
    for k, asked in enumerate(found.outcomes):
        screened = judging and not (asked["tool_need"] or 0) < 0.5
        answered = None
        spent = {"judge_first": 1.0 * judging, "speculate_first": 0.0}
        read = dict.fromkeys(spent, False)
        for depth, threshold in zip(one.depths, thresholds, strict=True):
            part = asked["depths"][depth]
            assert part is not None
            score = part["scores"]["min"]
            for order in spent:
                if depth == 0 and order == "judge_first" and screened:
                    continue
                spent[order] += (3.0 if read[order] else 4.0) if depth else 2.0
                read[order] = True
            if depth == 0 and judging and score >= threshold:
                spent["speculate_first"] += 1.0
            if score >= threshold and score > 0 and not (depth == 0 and screened):
                answered = part
                break
        assert asked["agent"]
        right.append((answered or asked["agent"])["right"])
        assert certified.bypass[k] == (answered is not None)
        for order in total:
            total[order] += spent[order] + (8.0 if answered is None else 0.0)
    assert certified.right(found).tolist() == right
    fastest = min(total.values()) if judging else total["judge_first"]
    assert certified.speedup == pytest.approx(8.0 * len(right) / fastest)


def test_groups_get_a_promise_each_over_all_depths(tmp_path: Path) -> None:
    outcomes = rows(600)
    for k, one in enumerate(outcomes):
        one["split"] = "odd" if k % 2 else "even"
    found = calibrate_run(run_of(tmp_path / "run", outcomes), by="split", groups=True, **LIMITS)
    assert found.gate
    assert found.gate.depths
    assert [one.value for one in found.losses] == ["even", "odd"]
    each = [one.threshold for one in found.losses]
    assert found.gate.threshold == max(one for one in each if one is not None)


@pytest.mark.parametrize("choose", [False, True])
def test_a_question_that_failed_is_answered_at_no_depth(tmp_path: Path, choose: bool) -> None:
    failed: Any = {"route": None, "decided_by": None, "speculator": None, "agent": None, "error": "the server is gone"}
    kept = rows(looks=2)
    lost = cast("Outcome", {**outcome(1000, image="gone.png"), **failed})
    found = calibrate_run(
        written(tmp_path / "run", [*kept, lost], looks=[look_id(LOOK), "find"]), choose=choose, **LIMITS
    )
    assert found.gate is not None
    evidence = read_evidence(tmp_path / "run")
    assert len(evidence.ids) == len(kept) + 1
    at = [column[-1] for column in (evidence.answered, *(one.answered for one in evidence.deeper))]
    right = [one.right[-1] for one in evidence.columns.deeper]
    assert not any([*at, *right, evidence.columns.agent_right[-1]])


def test_the_bypass_that_tells_most_is_calibrated(tmp_path: Path) -> None:
    kept = rows(60)
    cascade, plain = [
        [cast("Outcome", {key: value for key, value in {**o, **named}.items() if key != "depths"}) for o in kept]
        for named in ({"method": "cascade", "seconds": {"speculate": 2.0}, "tool_need": None}, {"method": "plain"})
    ]
    found = read_evidence(run_of(tmp_path / "looks", [*cascade, *plain, *kept]))
    assert (found.outcomes, found.looks) == (tuple(kept), (look_id(LOOK),))
    judged = read_evidence(run_of(tmp_path / "judge", [*cascade, *plain]))
    assert (judged.outcomes, judged.looks) == (tuple(plain), ())
    gate = calibrate_run(tmp_path / "judge", max_loss=0.4, confidence=0.6).gate
    assert gate is not None
    assert (gate.looks, gate.judge_threshold, "composition" in (gate.calibration or {})) == (None, 0.5, False)


def test_the_papers_way_knows_no_depths(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="looks"):
        calibrate_run(run_of(tmp_path / "run", rows(20)), method="paper")


def deep(part: Any, agree: bool) -> DepthRecord:
    return DepthRecord(
        depth=1,
        look=look_id(LOOK),
        score=part["scores"]["min"],
        scores=part["scores"],
        threshold=None,
        k=64,
        accepted=None,
        seconds=part["seconds"],
        agree=agree or None,
        agreed_by="rule",
        agree_probability=None,
        speculator_right=None,
        speculation=part["answer"],
        error=None,
    )


def test_a_journal_calibrates_as_the_run_does_and_labels_reach_every_depth(tmp_path: Path) -> None:
    outcomes, file = rows(400), tmp_path / "journal.db"
    journal = SQLiteJournal(file, texts=True)
    for one in outcomes:
        first, second = one["depths"]
        assert first
        assert second
        assert one["agent"]
        same = [part["answer"] == one["agent"]["answer"] for part in (first, second)]
        fields: Any = {"score": first["scores"]["min"], "scores": first["scores"], "score_name": "min", "k": 64}
        fields |= {"agree": same[0] or None, "tool_need": one["tool_need"], "judge_threshold": 0.5, "depth": None}
        fields |= {"seconds": {"judge": 1.0, "speculate": 2.0, "agent": 8.0}, "depths": [deep(second, same[1])]}
        fields |= {"question": "What?", "speculation": first["answer"], "answer": one["agent"]["answer"]}
        journal.write(made(one["id"], mode="shadow", settled=True, images=[one["image"]], **fields))
    journal.close()
    by_journal = calibrate_run(file, labels="none", **LIMITS)
    by_run = calibrate_run(run_of(tmp_path / "run", outcomes), labels="none", **LIMITS)
    assert by_journal.gate
    assert by_run.gate
    assert by_journal.gate.looks == by_run.gate.looks
    assert (by_journal.gate.threshold, by_journal.gate.depths) == (by_run.gate.threshold, by_run.gate.depths)

    found, composition = prepared(file, people=True)
    session = Labelling(found, composition, terms_of(0.05, 0.9, "harm", "disagreements", None))
    before, depths = session.found.accepted, set()
    truths = {one["id"]: one for one in outcomes}
    while (pending := session.next()) is not None:
        id, _, at = pending.id.partition("@")
        depths.add(int(at or 0))
        part = truths[id]["depths"][int(at or 0)]
        assert part
        assert pending.shown.speculation == part["answer"]
        large = bool((truths[id]["agent"] or {})["right"])
        session.tell(
            pending.id, {(True, False): "1", (False, True): "2", (True, True): "3"}.get((part["right"], large), "4")
        )
    assert session.found.accepted >= before
    assert depths
    again = calibrate_run(file, labels="disagreements", counted="harm", **LIMITS)
    assert again.needed == 0
    assert again.labelled == sum(part.labelled for part in session.found.parts.values())
    assert again.accepted == pytest.approx(session.found.accepted)


@pytest.mark.parametrize("kind", ["run", "journal"])
def test_what_a_person_tells_of_one_depth_takes_nothing_from_another(tmp_path: Path, kind: str) -> None:
    source = tmp_path / kind
    one = looking(0, (0.9, 0.8, 0.7), (True, False, False), large=False, need=0.1)
    if kind == "journal":
        journal = SQLiteJournal(source, texts=True)
        fields: Any = {"score_name": "min", "scores": {"min": 0.9}, "question": "What?", "answer": "y", "depth": None}
        depths = [{**deep(part, agree=False), "depth": depth} for depth, part in enumerate(one["depths"][1:], 1)]
        journal.write(made("0", settled=True, speculation="x", k=64, depths=depths, **fields))
        journal.close()
    else:
        written(source, [one], looks=[look_id(LOOK), look_id(LOOK)])

    def session() -> Labelling:
        return Labelling(*prepared(source, people=True), terms_of(0.5, 0.5, "net", "all", None))

    def known(found: Labelling) -> Any:
        deeper = [(depth.right, depth.passed_over.tolist()) for depth in found.evidence.deeper]
        return (found.evidence.speculator_right, found.evidence.agent_right, *deeper)

    first = session()
    first.tell("0", "1")
    first.tell("0@1", "s")
    first.tell("0@2", "4")
    assert first.undo()
    assert known(first) == known(session()) == ((True,), (False,), ((None,), [True]), ((None,), [False]))


def test_advice_knows_depths_and_what_does_not_pay(tmp_path: Path) -> None:
    outcomes = rows(900)
    for one in outcomes:
        for part in one["depths"][1:]:
            assert part
            # a look that takes longer than the agent
            part |= {"seconds": 9.0, "entered_s": 9.0}
    folder = run_of(tmp_path / "slow", outcomes)
    advice = advise(folder, max_loss=0.05, confidence=0.9)
    assert advice.verdict == "use"
    assert advice.calibrated
    assert any("depth 1" in one.name for one in advice.calibrated.tried)
    assert any(step.startswith(f"Leave out depth 1, the look {look_id(LOOK)}") for step in advice.to_do)
    assert advice.calibrated.gate
    assert advice.calibrated.gate.looks == ()
    fast = advise(run_of(tmp_path / "fast", rows(900)), max_loss=0.05, confidence=0.9)
    assert fast.verdict == "use"
    assert fast.calibrated
    assert fast.calibrated.gate
    assert fast.calibrated.gate.looks == (look_id(LOOK),)
    assert any("looks=[" in step for step in fast.to_do)


@pytest.mark.parametrize("kind", ["run", "journal"])
def test_scores_of_every_depth_say_of_which_k_they_are(tmp_path: Path, kind: str) -> None:
    """A threshold of `min` means something at one K only, and the first answer may never have been asked for."""
    found, source = rows(200), tmp_path / kind
    if kind == "journal":
        journal = SQLiteJournal(source)
        for one in found:
            assert one["depths"][1]
            fields: Any = {"score": None, "scores": {}, "score_name": "min", "k": None, "screened": True}
            fields |= {"depth": None, "depths": [deep(one["depths"][1], agree=True)], "images": [one["image"]]}
            journal.write(made(one["id"], settled=True, judge_threshold=None, **fields))
        journal.close()
    else:
        for one in found:
            assert one["speculator"]
            assert one["depths"][0]
            for part in (one["speculator"], one["depths"][0]):
                part |= {"scores": {}, "k": None}
        run_of(source, found)
    gate = calibrate_run(source, labels="none", **LIMITS).gate
    assert gate
    assert (gate.score, gate.k) == ("min", 64)
    assert read_evidence(source).ks == (64,)


def test_advice_is_about_the_first_answer_that_was_asked_for(tmp_path: Path) -> None:
    """Where the first look is always taken there is no answer without one."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    for one in rows(400):
        _, part = one["depths"]
        assert part
        assert one["agent"]
        agree = part["answer"] == one["agent"]["answer"]
        fields: Any = {"score": None, "scores": {}, "score_name": "min", "k": None, "tool_need": None, "depth": None}
        fields |= {"seconds": {"agent": 8.0}, "screened": True, "depths": [deep(part, agree)]}
        # a judge, who is asked about follow-ups only
        journal.write(made(one["id"], settled=True, judge_threshold=0.5, images=[one["image"]], **fields))
    journal.close()
    advice = advise(journal.path, **LIMITS)
    assert advice.verdict == "use", advice.words
    assert 'first_look="always"' in advice.to_do[0]
    assert not [step for step in advice.to_do if step.startswith("Leave")]
    assert advice.facts
    assert (advice.facts.answered, advice.facts.speculate_s) == (400, 3.0)
    assert advice.facts.agree
    assert advice.facts.agree > 0.9
    assert advice.calibrated
    assert advice.calibrated.gate
    assert advice.calibrated.gate.first_look == "always"


@pytest.mark.parametrize(("depths", "lost"), [((0,), 200), ((0, 1), 200), ((1,), 0)])
def test_the_plot_of_agreement_is_of_the_first_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depths: tuple[int, ...], lost: int
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "share", lambda hits: drawn.extend(hits) or share(hits))
    found = [looking(k, (0.9, 0.8), (False, True), large=True, need=0.1) for k in range(200)]
    evidence = evidence_of(found, Gate(score="min", k=64), Path())
    composition, terms = Composition("min", None, depths), terms_of(0.5, 0.5, "net", "all", None)
    plot = plots.agreement(Drawing(tmp_path), evidence, composition, 0.5, terms)
    assert plot
    assert (f"depth {depths[0]}" in plot.title) == (depths != (0,))
    assert drawn.count(False) == lost


def test_without_looks_nothing_is_added(tmp_path: Path) -> None:
    found = calibrate_run(written(tmp_path / "run", [outcome(k) for k in range(200)]), **LIMITS)
    assert found.gate
    assert (found.gate.depths, found.gate.looks, found.gate.first_look) == (None, None, "rejected")
    assert not {"composition", "depths"} & set(found.to_dict())
    assert "composition" not in json.dumps(found.gate.calibration)
    assert Composition("min", 0.5).name == "judge, then min"

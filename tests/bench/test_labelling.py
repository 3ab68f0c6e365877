"""Calibration from runs and journals with few labels or none: evidence, groups, the choice, a person's session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from langgraph_speceyes.bench.calibrate import calibrate_run, prepared, terms_of
from langgraph_speceyes.bench.compositions import Composition, available, certify, halves
from langgraph_speceyes.bench.evidence import read_evidence
from langgraph_speceyes.bench.labelling import Labelling
from langgraph_speceyes.bench.runs import Outcome
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.traffic.record import Record
from langgraph_speceyes.traffic.sqlite import SQLiteJournal
from tests.runs import outcome, written
from tests.traffic.records import made

LIMITS: dict[str, Any] = {"max_loss": 0.03, "confidence": 0.9}


def questions(n: int = 400, differing: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    """Answers that agree at high scores; of the others, the less sure the more often the agent alone is right."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        differs = k < differing
        score = float(rng.uniform(0.2, 0.97) if differs else rng.uniform(0.5, 0.999))
        small = not differs or bool(rng.random() < score - 0.3)
        found.append({"score": score, "small": small, "large": True, "said": ("red", "blue" if differs else "red")})
    return [found[k] for k in rng.permutation(n)]


def run_of(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    return written(folder, [outcome(k, image=f"{k // 2}.png", **row) for k, row in enumerate(rows)], **changes)


def journal_of(file: Path, rows: list[dict[str, Any]], *, texts: bool = True, **fields: Any) -> Path:
    journal = SQLiteJournal(file, texts=texts)
    journal.write_many([recorded(k, row, **fields) for k, row in enumerate(rows)])
    journal.close()
    return file


def recorded(number: int, row: dict[str, Any], **fields: Any) -> Record:
    values: dict[str, Any] = {
        "score": row["score"],
        "score_name": "min",
        "scores": {"min": row["score"], "log": row["score"]},
        "agree": row["said"][0] == row["said"][1] or None,
        "settled": True,
        "question": "What colour?",
        "speculation": row["said"][0],
        "answer": row["said"][1],
        "images": [f"{number}.png"],
    }
    return made(str(number), **{**values, **fields})


def session_of(source: Path, **limits: Any) -> Labelling:
    evidence, composition = prepared(source, people=True)
    return Labelling(
        evidence, composition, terms_of(**{**LIMITS, "counted": "net", "by": None, **limits}, labels="all")
    )


KEYS = {(True, False): "1", (False, True): "2", (True, True): "3", (False, False): "4"}


def answered(session: Labelling, rows: list[dict[str, Any]], most: int = 1000) -> list[str]:
    """The ids in the order that a truthful person labels them."""
    asked = []
    while (pending := session.next()) is not None and len(asked) < most:
        row = rows[int(pending.id)]
        session.tell(pending.id, KEYS[row["small"], row["large"]])
        asked.append(pending.id)
    return asked


@pytest.mark.parametrize("kind", ["run", "journal"])
def test_labels_for_what_differs_lead_where_all_of_them_do(tmp_path: Path, kind: str) -> None:
    rows = questions()
    everything = calibrate_run(run_of(tmp_path / "all", rows), **LIMITS)
    source = run_of(tmp_path / "run", rows) if kind == "run" else journal_of(tmp_path / "journal.db", rows)
    before = calibrate_run(source, labels="disagreements", **LIMITS) if kind == "journal" else None
    asked = answered(session_of(source), rows)
    assert 0 < len(asked) < 60
    scores = [rows[int(id)]["score"] for id in asked]
    assert scores == sorted(scores, reverse=True)
    # what was written down is read again
    found = calibrate_run(source, labels="disagreements", **LIMITS)
    assert found.gate is not None
    assert everything.gate is not None
    assert (found.gate.threshold, found.accepted) == (everything.gate.threshold, everything.accepted)
    assert (found.labelled, found.needed) == (len(asked), 0)
    assert found.gate.calibration is not None
    assert found.gate.calibration["labels"] == "disagreements"
    if before is not None:
        assert before.needed > 0
        assert before.accepted < found.accepted
        with pytest.raises(ArgumentError, match="speculator_right"):
            calibrate_run(source, labels="all", **LIMITS)


def test_without_labels_what_differs_is_lost(tmp_path: Path) -> None:
    rows = questions()
    none = calibrate_run(journal_of(tmp_path / "j.db", rows), labels="none", counted="harm", **LIMITS)
    everything = calibrate_run(run_of(tmp_path / "run", rows), counted="harm", **LIMITS)
    assert none.gate is not None
    assert everything.gate is not None
    assert none.gate.threshold >= everything.gate.threshold
    assert none.accuracy is None
    differs = np.mean([row["score"] >= none.gate.threshold and row["said"][0] != row["said"][1] for row in rows])
    assert none.guarantee is not None
    assert none.guarantee.loss == pytest.approx(differs)
    assert (none.gate.score, none.gate.k, none.gate.judge_threshold) == ("min", 20, 0.5)


def test_only_shadow_records_of_the_newest_gate_count(tmp_path: Path) -> None:
    rows = questions(100)
    file = journal_of(tmp_path / "j.db", rows)
    journal = SQLiteJournal(file, texts=True)
    journal.write_many([{**recorded(k, rows[k]), "mode": "on", "id": f"on {k}"} for k in range(7)])  # type: ignore[typeddict-item, list-item]
    found = calibrate_run(file, labels="none", **LIMITS)
    assert (found.questions, found.left_out) == (100, {'not of mode "shadow"': 7})
    journal.write(recorded(200, rows[0], gate="another"))
    found = calibrate_run(file, labels="none", **LIMITS)
    assert (found.questions, found.left_out["of another gate"]) == (1, 100)
    alone = journal_of(tmp_path / "on.db", rows, mode="on")
    with pytest.raises(ArgumentError, match='mode "shadow"'):
        calibrate_run(alone, labels="none")


def test_questions_that_were_not_speculated_are_never_accepted(tmp_path: Path) -> None:
    rows = questions(300)
    file = journal_of(tmp_path / "j.db", rows)
    journal = SQLiteJournal(file, texts=True)
    nothing = {"score": None, "scores": {}, "tool_need": None, "agree": None, "speculation": None, "reason": "no image"}
    journal.write_many([recorded(1000 + k, rows[0], **nothing) for k in range(100)])
    found = calibrate_run(file, labels="none", **LIMITS)
    assert found.gate is not None
    assert found.accepted <= 0.75
    assert session_of(file).next() is not None


def test_each_group_gets_a_promise_of_its_own(tmp_path: Path) -> None:
    easy, hard = questions(400, 4), questions(400, 60, seed=1)
    rows = [{**row, "split": name} for name, half in (("easy", easy), ("hard", hard)) for row in half]
    run = run_of(tmp_path / "run", rows)
    pooled = calibrate_run(run, by="split", **LIMITS)
    found = calibrate_run(run, by="split", groups=True, **LIMITS)
    alone = [calibrate_run(run, splits=[name], max_loss=0.03, confidence=0.95) for name in ("easy", "hard")]
    assert found.gate is not None
    assert pooled.gate is not None
    thresholds = [one.gate.threshold for one in alone if one.gate]
    # delta is shared: each group is certified at 95 %
    assert [one.threshold for one in found.losses] == thresholds
    assert found.gate.threshold == max(thresholds) > pooled.gate.threshold
    assert found.gate.calibration is not None
    assert set(found.gate.calibration["groups"]) == {"by", "easy", "hard"}
    assert all(one.promise and one.loss <= 0.03 for one in found.losses)
    assert [one.promise for one in pooled.losses] == [False, False]
    assert pooled.losses[1].loss > found.losses[1].loss
    with pytest.raises(ArgumentError, match="by"):
        calibrate_run(run, groups=True)
    with pytest.raises(ArgumentError, match="by"):
        calibrate_run(run, by="route")


def test_a_group_that_keeps_nothing_keeps_the_gate_shut(tmp_path: Path) -> None:
    rows = [*({**row, "split": "many"} for row in questions(400, 4)), {**questions(1, 0)[0], "split": "one"}]
    found = calibrate_run(run_of(tmp_path / "run", rows), by="split", groups=True, **LIMITS)
    assert found.gate is None
    assert found.guarantee is not None
    assert found.guarantee.threshold is None
    assert [one.threshold is None for one in found.losses] == [False, True]


def judged(n: int = 1200) -> list[Outcome]:
    """A judge that is always right beside scores that say nothing, but for `min`, which is right half of the time."""
    rng = np.random.default_rng(3)
    outcomes = []
    for k in range(n):
        easy = rng.random() < 0.6
        one = outcome(
            k,
            need=0.01 if easy else 0.99,
            small=easy,
            score=float(rng.random()),
            image=f"{k}.png",
            said=("a", "a" if easy else "b"),
        )
        assert one["speculator"]
        one["speculator"]["scores"] = {
            "log": float(rng.random()),
            "min": float(rng.uniform(0.3, 1) if easy else rng.uniform(0, 0.6)),
        }
        one["seconds"]["judge"] = 0.5
        outcomes.append(one)
    return outcomes


@pytest.mark.parametrize("labels", ["all", "none"])
def test_the_best_composition_of_one_half_is_certified_on_the_other(tmp_path: Path, labels: str) -> None:
    run = written(tmp_path / "run", judged())
    found = calibrate_run(run, choose=True, labels=labels, **LIMITS)
    names = {one.name for one in found.tried}
    assert names == {"min", "plain cascade (log)", "judge, then min", "judge, then log", "judge alone"}
    taken = [one for one in found.tried if one.taken]
    assert len(taken) == 1
    assert taken[0].speedup == max(one.speedup for one in found.tried)
    assert "judge" in taken[0].name
    assert 400 < found.questions < 800
    cascade = next(one for one in found.tried if one.name == "plain cascade (log)")
    assert cascade.accepted < 0.2 < taken[0].accepted
    assert found.gate is not None
    # what was chosen is what the gate holds
    evidence = halves(read_evidence(run))[1]
    gate = found.gate
    need, scores = evidence.columns.tool_need, evidence.columns.scores[gate.score]
    assert gate.judge_threshold is not None
    assert np.mean((need < gate.judge_threshold) & (scores >= gate.threshold)) == found.accepted


def test_the_halves_share_no_image_and_are_all_there_is(tmp_path: Path) -> None:
    evidence = read_evidence(run_of(tmp_path / "run", questions(200)))
    first, second = halves(evidence)
    assert not set(first.images) & set(second.images)
    assert sorted([*first.ids, *second.ids]) == sorted(evidence.ids)
    assert 50 < len(first.ids) < 150


def test_the_judge_alone_is_a_gate_of_its_own(tmp_path: Path) -> None:
    evidence = read_evidence(written(tmp_path / "run", judged()))
    assert Composition(None, None) in available(evidence)
    terms = terms_of(0.05, 0.9, "net", "all", None)
    found = certify(evidence, Composition(None, None), terms)
    assert found.threshold is not None
    assert found.accepted == pytest.approx(0.6, abs=0.05)
    gate = found.composition.gate(evidence, found.threshold, {})
    assert gate.judge_threshold is not None
    need = evidence.columns.tool_need
    assert ((need < gate.judge_threshold) == found.bypass).all()
    assert found.order == "judge_first"


def test_a_session_can_be_left_undone_and_taken_up_again(tmp_path: Path) -> None:
    rows = questions()
    for source in (run_of(tmp_path / "run", rows), journal_of(tmp_path / "j.db", rows)):
        session = session_of(source)
        first = session.next()
        assert first is not None
        session.tell(first.id, "2")
        second = session.next()
        assert second is None or second.id != first.id
        assert session.undo()
        again = session.next()
        assert again is not None
        assert again.id == first.id
        assert again.labelled == 0
        assert not session.undo()
        session.tell(first.id, "3")
        answered(session, rows, 2)
        # another session knows what the first one wrote
        other = session_of(source)
        assert other.next() == session.next()
        assert other.found.threshold == session.found.threshold
        with pytest.raises(ArgumentError, match="key"):
            session.tell(first.id, "x")
        with pytest.raises(ArgumentError, match="id"):
            session.tell("nobody", "1")


def test_who_cannot_tell_counts_it_as_lost(tmp_path: Path) -> None:
    rows = questions()
    for source in (run_of(tmp_path / "run", rows), journal_of(tmp_path / "j.db", rows)):
        session = session_of(source, counted="harm")
        while (pending := session.next()) is not None:
            session.tell(pending.id, "s")
        found = calibrate_run(source, labels="disagreements", counted="harm", **LIMITS)
        none = calibrate_run(source, labels="none", **LIMITS)
        assert none.guarantee is not None
        assert none.guarantee.method == "harm"
        assert found.gate is not None
        assert none.gate is not None
        assert found.gate.threshold == none.gate.threshold
        assert session.undo()
        assert session.next() is not None


def test_a_journal_without_texts_can_be_calibrated_but_not_labelled(tmp_path: Path) -> None:
    file = journal_of(tmp_path / "j.db", questions(), texts=False)
    assert calibrate_run(file, labels="none", **LIMITS).gate is not None
    with pytest.raises(ArgumentError, match="texts=True"):
        session_of(file)


def invoke(*arguments: object, **options: Any) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments], env={"COLUMNS": "140", "NO_COLOR": "1"}, **options)


def test_the_terminal_asks_and_keeps_what_it_is_told(tmp_path: Path) -> None:
    rows = questions()
    file = journal_of(tmp_path / "j.db", rows)
    limits = ("--max-loss", "0.03", "--confidence", "0.9")
    first = session_of(file).next()
    assert first is not None
    # unknown keys are passed over
    shown = invoke("label", file, *limits, input="xu2u1q")
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("What colour?") == 5
    assert "speculation" in shown.output
    assert "Nothing to undo" in shown.output
    assert "1 labelled" in shown.output
    assert "Further labels may lower the threshold" in shown.output
    journal = SQLiteJournal(file, texts=True)
    record = journal.get(first.id)
    assert record is not None
    assert (record["speculator_right"], record["agent_right"], record["question"]) == (True, False, "What colour?")
    answered(session_of(file), rows)
    done = invoke("label", file, *limits)
    assert "No further label would change the threshold" in done.output


def test_calibrate_prints_what_it_found(tmp_path: Path) -> None:
    rows = questions()
    file, out = journal_of(tmp_path / "j.db", rows, group="a"), tmp_path / "gate.json"
    limits = ("--max-loss", "0.03", "--confidence", "0.9")
    shown = invoke("calibrate", file, *limits, "--labels", "none", "--by", "group", "--out", out)
    assert shown.exit_code == 0, shown.output
    assert "of all answers other than the agent's" in shown.output
    assert "by group, without a promise each" in shown.output
    assert Gate.load(out).calibration is not None
    waiting = invoke("calibrate", file, *limits, "--labels", "disagreements")
    assert "missing for the next step: speceyes label" in waiting.output
    run = written(tmp_path / "run", judged())
    chosen = invoke("calibrate", run, *limits, "--choose", "--by", "split", "--groups")
    assert chosen.exit_code == 0, chosen.output
    for words in ("plain cascade (log)", "taken", "threshold that it needs", "faster order"):
        assert words in chosen.output
    figures = json.loads(invoke("calibrate", run, *limits, "--choose", "--json").stdout)
    assert len(figures["tried"]) == 5
    assert figures["labels"] == "all"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"labels": "some"}, "labels"),
        ({"method": "paper", "labels": "none"}, "method"),
        ({"choose": True, "score": "min"}, "score"),
        ({"by": "colour"}, "by"),
    ],
)
def test_what_cannot_be_asked_for_is_named(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        calibrate_run(run_of(tmp_path / "run", questions(40)), **options)
    with pytest.raises(ArgumentError, match="split"):
        calibrate_run(journal_of(tmp_path / "j.db", questions(40)), labels="none", splits=["one"])

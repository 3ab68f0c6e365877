"""Advice: right where the right advice is known, figures that are sums, intervals that cover, a page that is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from langgraph_speceyes.bench.advice import advise, material
from langgraph_speceyes.bench.advice.against import Facts
from langgraph_speceyes.bench.advice.costs import read_prices, tokens_of
from langgraph_speceyes.bench.advice.figures import figures
from langgraph_speceyes.bench.advice.live import live
from langgraph_speceyes.bench.advice.replay import replay
from langgraph_speceyes.bench.advice.verdict import judged
from langgraph_speceyes.bench.calibrate import terms_of
from langgraph_speceyes.bench.compositions import Certified, Composition, certify
from langgraph_speceyes.bench.evidence import read_evidence
from langgraph_speceyes.bench.statistics import Estimate
from langgraph_speceyes.calibration import Guarantee, smallest_sample
from langgraph_speceyes.cli import app
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.scoring import Gate
from langgraph_speceyes.testbed.pair import Pair
from langgraph_speceyes.traffic import SelfOpening, SQLiteJournal, drain
from langgraph_speceyes.traffic.opener import Opener
from tests.bench.test_calibrate import outcome
from tests.bench.test_calibrate import written as run_of
from tests.bench.traffic_made import GATE, TOKENS, stream, written
from tests.traffic.records import made

PRICES = read_prices(given=["agent=2.5/10", "judge=2.5/10", "speculator=0.1/0.4"])
TERMS = terms_of(0.02, 0.9, "harm", "none", None)


def test_use_it_where_the_score_tells(tmp_path: Path) -> None:
    found = advise(written(tmp_path / "j.db", stream(900)), prices=PRICES)
    assert found.verdict == "use"
    assert found.words.startswith("Use it: ")
    assert found.questions == 900
    assert 0 < found.chosen_on < 900
    numbers, gate = found.figures, found.calibrated
    assert numbers is not None
    assert gate is not None
    assert gate.gate is not None
    assert numbers.questions == 900 - found.chosen_on
    assert numbers.speedup.low is not None
    assert numbers.speedup.low > 1.5
    assert numbers.accepted.value == pytest.approx(0.55, abs=0.08)
    # easy questions are nearly all accepted, hard ones hardly ever
    easy, hard = sorted(numbers.groups, key=lambda group: group.value)
    assert (easy.speedup.value or 0) > 5 > 1.5 > (hard.speedup.value or 0)
    assert numbers.speedup_mean.value == pytest.approx(((easy.speedup.value or 0) + (hard.speedup.value or 0)) / 2)
    assert numbers.accuracy_change is None
    assert sum("SelfOpening" in step for step in found.to_do) == 1
    assert gate.gate.threshold == gate.guarantee.threshold if gate.guarantee else False


@pytest.mark.parametrize("seed", range(4))
def test_do_not_where_agreement_is_a_coin_flip(tmp_path: Path, seed: int) -> None:
    found = advise(written(tmp_path / "j.db", stream(700, coin=True, seed=seed)), prices=PRICES)
    assert found.verdict == "do_not"
    assert found.words.startswith("Do not use it, because ")
    assert "coin flip" in found.words
    assert found.to_do == ()


def test_do_not_where_the_agent_is_as_fast(tmp_path: Path) -> None:
    found = advise(written(tmp_path / "j.db", stream(400, agent_s=0.02)))
    assert found.verdict == "do_not"
    assert "the agent is as fast" in found.words


def test_do_not_where_the_front_end_costs_more_than_it_saves(tmp_path: Path) -> None:
    # accepting half of the questions saves 20 ms of 40, and speculation costs 28
    found = advise(written(tmp_path / "j.db", stream(900, agent_s=0.04)))
    assert found.verdict == "do_not"
    assert "costs more than it saves" in found.words
    assert found.figures is not None
    assert (found.figures.speedup.high or 2) < 1


def test_money_speaks_where_time_does_not(tmp_path: Path) -> None:
    file = written(tmp_path / "j.db", stream(900, agent_s=0.04))
    assert advise(file, prices=PRICES).verdict == "trade_off"
    dear = read_prices(given=["agent=0.1", "judge=0.1", "speculator=5"])
    assert advise(file, prices=dear).verdict == "do_not"
    fast = written(tmp_path / "fast.db", stream(900))
    found = advise(fast, prices=dear)
    assert found.verdict == "trade_off"
    assert "costs more money" in found.words


def test_too_few_questions_are_counted(tmp_path: Path) -> None:
    records = stream(60)
    found = advise(written(tmp_path / "j.db", records))
    least = smallest_sample(0.02, 0.9, "harm")
    assert (found.verdict, found.more_questions) == ("not_yet", least - 60)
    assert f"{least - 60} more than there are" in found.words
    # with that many more, and no answer that differs, there is a gate
    sure = [record | {"agree": True} for record in stream(least)]
    enough = advise(written(tmp_path / "enough.db", sure))  # type: ignore[arg-type]
    assert enough.figures is not None
    fewer = advise(written(tmp_path / "fewer.db", sure[:-1]))  # type: ignore[arg-type]
    assert fewer.figures is None


def test_not_yet_where_more_questions_would_tell(tmp_path: Path) -> None:
    # enough for a promise if nothing differed; here the surest of the answers that the judge lets through does
    records = stream(125, seed=3, need=0.1)
    max(records, key=lambda record: record["score"] or 0.0)["agree"] = False
    found = advise(written(tmp_path / "j.db", records))
    assert found.verdict == "not_yet"
    assert found.more_questions is not None
    assert found.more_questions > 0


@pytest.mark.parametrize(("hoped", "verdict", "more"), [(0.9, "do_not", None), (2.0, "not_yet", 500)])
def test_more_questions_are_asked_for_where_they_could_pay_only(hoped: float, verdict: str, more: int | None) -> None:
    nothing = Estimate(None, None, None, 0)
    facts = Facts(300, 300, 0, {}, None, 1.0, None, 0.1, 0.6, 0.9, nothing, Estimate(10.0, 9.0, 11.0, 300), hoped)
    guarantee = Guarantee(None, 0.02, 0.9, "harm", 300, 0.0, 0.0, 114, 500, 0)
    found, _, questions = judged(facts, Composition("odds", None), guarantee, None, 1.05)
    assert (found, questions) == (verdict, more)


def test_without_log_probabilities_there_is_no_score(tmp_path: Path) -> None:
    silent = {"score": None, "scores": {}, "agree": None, "error": "MissingLogprobsError", "screened": True, "k": None}
    found = advise(written(tmp_path / "j.db", stream(150, **silent)))
    assert found.verdict == "do_not"
    assert "no log-probabilities" in found.words
    assert found.figures is None
    other = advise(written(tmp_path / "other.db", stream(150, **{**silent, "error": "TimeoutError"})))
    assert "TimeoutError on 150 of 150" in other.words


def test_a_judge_that_screens_everything_is_named_or_left_out(tmp_path: Path) -> None:
    useless = advise(written(tmp_path / "j.db", stream(700, coin=True, need=0.99)))
    assert useless.verdict == "do_not"
    assert "the judge keeps 100% of the questions to the agent" in useless.words
    without = advise(written(tmp_path / "k.db", stream(900, need=0.99)))
    assert without.verdict == "use"
    assert without.calibrated is not None
    assert without.calibrated.gate is not None
    assert without.calibrated.gate.judge_threshold is None
    assert any("judge=None" in step for step in without.to_do)


def test_what_does_not_count_is_said(tmp_path: Path) -> None:
    records = stream(300)
    for record in records[:7]:
        record["seconds"] = {"judge": 0.01, "speculate": 0.02}
    other = [record | {"id": f"o{k}", "gate": "f" * 16} for k, record in enumerate(stream(11))]
    on = [record | {"id": f"on{k}", "mode": "on"} for k, record in enumerate(stream(5))]
    found = advise(written(tmp_path / "j.db", [*other, *on, *records]))  # type: ignore[list-item]
    assert found.questions == 293
    assert found.left_out == {
        'not of mode "shadow"': 5,
        "of another gate": 11,
        "without the agent's seconds, as it failed": 7,
    }
    nothing = advise(written(tmp_path / "on.db", on))  # type: ignore[arg-type]
    assert (nothing.verdict, nothing.questions, nothing.left_out) == ("not_yet", 0, {'not of mode "shadow"': 5})
    assert nothing.more_questions == smallest_sample(0.02, 0.9, "harm")
    with pytest.raises(ArgumentError, match="journal"):
        advise(tmp_path / "missing.db")


def test_questions_that_intake_leaves_to_the_agent_take_no_judge_away(tmp_path: Path) -> None:
    records = stream(300)
    for record in records[::10]:
        record |= {"reason": "no image", "decided_by": "intake", "tool_need": None, "judge_threshold": None}  # type: ignore[typeddict-item]
        record |= {"score": None, "scores": {}, "agree": None, "screened": True, "seconds": {"agent": 0.3}, "k": None}  # type: ignore[typeddict-item]
    found = advise(written(tmp_path / "j.db", records))
    assert found.composition == "judge, then odds"
    assert found.facts is not None
    assert found.facts.left == 30
    assert found.figures is not None
    # nine tenths of what it would be
    assert found.figures.accepted.value == pytest.approx(0.9 * 0.55, abs=0.08)


def test_a_run_speaks_of_accuracy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    outcomes = [
        outcome(k, score=float(rng.uniform(0.9, 0.99)), need=0.1, small=k % 50 != 0, large=k % 20 != 0, split=split)
        | {"image": f"{k}.png"}
        for split in ("one", "two")
        for k in range(1000 * (split == "two"), 1000 * (split == "two") + 400)
    ]
    run = run_of(tmp_path / "run", outcomes)  # type: ignore[arg-type]
    found = advise(run, max_loss=0.05)
    assert (found.verdict, found.labels) == ("use", "all")
    numbers = found.figures
    assert numbers is not None
    assert numbers.accuracy is not None
    assert numbers.accuracy_agent is not None
    assert numbers.accuracy_change is not None
    assert numbers.won > numbers.lost
    change = (numbers.won - numbers.lost) / numbers.questions
    assert numbers.accuracy_change.value == pytest.approx(change)
    assert (numbers.accuracy.value or 0) - (numbers.accuracy_agent.value or 0) == pytest.approx(change)
    assert [group.value for group in numbers.groups] == ["one", "two"]
    # agent 4 s; speculator 2 s and nothing else, as all are accepted without the judge
    assert numbers.speedup.value == pytest.approx(2.0)
    assert not any("SelfOpening" in step for step in found.to_do)


# --- figures ---

rows = st.lists(
    st.tuples(
        st.floats(0.01, 0.99),
        st.floats(0, 1),
        st.booleans(),
        st.floats(0.001, 1),
        st.floats(0.001, 1),
        st.floats(0.001, 2),
        st.integers(0, 3000),
    ),
    min_size=2,
    max_size=12,
)


@settings(max_examples=25)
@given(rows, st.floats(0.05, 0.95), st.sampled_from([None, 0.5]), st.sampled_from([0.0, 0.1, 1.0]))
def test_savings_are_sums_over_the_questions(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[float, float, bool, float, float, float, int]],
    threshold: float,
    judge: float | None,
    audit: float,
) -> None:
    records = [
        made(
            f"q{k}",
            tool_need=need,
            score=score,
            scores={"odds": score},
            agree=agree,
            settled=True,
            seconds={"judge": j, "speculate": s, "agent": a},
            tokens={**TOKENS, "agent": {"input": used, "output": 10}},
        )
        for k, (score, need, agree, j, s, a, used) in enumerate(rows)
    ]
    evidence = read_evidence(written(tmp_path_factory.mktemp("j") / "j.db", records))
    composition = Composition("odds", judge)
    compared = composition.compared(evidence)
    bypass = compared >= threshold
    certified = certify(evidence, composition, TERMS)
    found = Certified(composition, threshold, certified.parts, bypass, certified.lost, 1.0, None, ())
    by_id = {record["id"]: record for record in records}
    numbers = figures(evidence, found, TERMS, tokens_of(evidence, by_id), by=None, prices=PRICES, audit=audit)
    price = {"judge": (2.5, 10.0), "speculate": (0.1, 0.4), "agent": (2.5, 10.0)}
    totals: dict[str, tuple[float, float, float]] = {}
    for order in ("judge_first", "speculate_first"):
        seconds = tokens = money = 0.0
        for record in records:
            s, need, cost = record["score"] or 0.0, record["tool_need"] or 0.0, record["seconds"]
            ran: dict[str, float] = {}
            free = judge is None or need < judge
            if judge is not None and (order == "judge_first" or s >= threshold):
                ran["judge"] = 1
            if order == "speculate_first" or free:
                ran["speculate"] = 1
            accepted = free and s >= threshold
            seconds += sum(cost[phase] for phase in ran) + (0 if accepted else cost["agent"])
            ran["agent"] = audit if accepted else 1
            for phase, weight in ran.items():
                used = record["tokens"][phase]
                tokens += weight * (used["input"] + used["output"])
                money += weight * (used["input"] * price[phase][0] + used["output"] * price[phase][1]) / 1e6
        totals[order] = seconds, tokens, money
    seconds, tokens, money = min(totals.values()) if judge is not None else totals["judge_first"]
    n, agent_s = len(records), sum(record["seconds"]["agent"] for record in records)
    agent_tokens = sum(record["tokens"]["agent"]["input"] + 10 for record in records)
    saved = numbers.savings
    assert numbers.speedup.value == pytest.approx(agent_s / seconds)
    assert saved.seconds_saved.value == pytest.approx((agent_s - seconds) / n)
    assert saved.tokens_saved.value == pytest.approx((agent_tokens - tokens) / n)
    assert saved.money is not None
    assert saved.money == pytest.approx(money / n)
    assert numbers.agreement.value == pytest.approx(np.mean([not b or r["agree"] for b, r in zip(bypass, records)]))  # noqa: B905


def test_intervals_cover_what_the_gate_does_on_all_questions(tmp_path: Path) -> None:
    """The speed-up of the very gate that was certified, on a large population of the same questions."""
    everything = read_evidence(written(tmp_path / "all.db", stream(8_000, seed=99, groups=())))
    composition, covered, agreed = Composition("odds", 0.5), 0, 0
    runs = 40
    for seed in range(runs):
        sample = read_evidence(written(tmp_path / f"{seed}.db", stream(250, seed=seed, groups=())))
        found = certify(sample, composition, TERMS)
        tokens = dict.fromkeys(("judge", "speculator", "agent"), np.ones((250, 2)))
        numbers = figures(sample, found, TERMS, tokens, by=None, prices=None, audit=0.0)
        bypass = composition.compared(everything) >= (found.threshold or 2.0)
        seconds, _ = composition.seconds(everything, bypass, found.threshold)
        truth = everything.columns.agent_s.mean() / seconds.mean()
        covered += (numbers.speedup.low or 0) <= truth <= (numbers.speedup.high or 0)
        same = 1 - float((bypass & ~np.array([one is True for one in everything.agree])).mean())
        agreed += (numbers.agreement.low or 0) <= same <= (numbers.agreement.high or 0)
    # fewer than 33 of 40 would have a probability of .003 at 95 %
    assert covered >= 33
    assert agreed >= 33


def test_prices_are_read_and_refused(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text('{"agent": {"input": 2.5, "output": 10}, "speculator": {"input": 1, "output": 2}}')
    assert read_prices(file, ["speculator=0.1"]) == {
        "agent": {"input": 2.5, "output": 10},
        "speculator": {"input": 0.1, "output": 0.1},
    }
    assert read_prices() is None
    for wrong in ("agent", "agent=x", "robot=1", "agent=-1", "agent=nan"):
        with pytest.raises(ArgumentError, match="price"):
            read_prices(given=[wrong])
    file.write_text("[]")
    with pytest.raises(ArgumentError, match="prices"):
        read_prices(file)
    journal = written(tmp_path / "j.db", stream(400))
    with pytest.raises(ArgumentError, match="a price for the speculator"):
        advise(journal, prices=read_prices(given=["agent=1", "judge=1"]))


def test_tokens_that_are_not_reported_are_not_zero_savings(tmp_path: Path) -> None:
    none = {"agent": {"input": 0, "output": 0}}
    found = advise(written(tmp_path / "j.db", stream(400, tokens=none)), prices=PRICES)
    assert found.figures is not None
    assert found.figures.savings.tokens_saved.value is None
    assert found.figures.savings.money_saved is None


# --- gates in force ---


@pytest.fixture
def in_force(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """A journal that a gate which opens itself has written, and its state in the end."""

    def make(n: int, worse: int) -> tuple[Path, dict[str, Any]]:
        file, rng = tmp_path / "live.db", np.random.default_rng(3)
        journal = SQLiteJournal(file)
        opener = Opener(SelfOpening(), GATE, journal, judge_threshold=0.5)
        records = stream(n, seed=5)
        for begin in range(0, n, 10):
            at, rate, _ = opener.terms
            batch = []
            for k, record in enumerate(records[begin : begin + 10], start=begin):
                one: dict[str, Any] = dict(record)
                if at is not None:
                    accepted = not record["screened"] and (record["score"] or 0) >= at
                    audited = bool(rng.random() < rate)
                    known = audited or not accepted
                    agree = record["agree"] and not (k >= worse and rng.random() < 0.5)
                    route = "bypass" if accepted else "fallback"
                    one |= {"mode": "on", "route": route, "would": route, "threshold": at, "audit_rate": rate}
                    one |= {"audited": known, "agree": agree if known else None, "settled": True}
                batch.append(one)
            journal.write_many(batch)  # type: ignore[arg-type]
            opener.refresh()
        status = opener.status()
        journal.close()
        return file, status

    return make


def test_the_replay_is_what_happened_and_leaves_the_journal_as_it_is(
    in_force: Callable[..., tuple[Path, dict[str, Any]]],
) -> None:
    file, status = in_force(1600, worse=900)
    happened = [(event["event"], event["questions"], event["threshold"]) for event in status["events"]]
    assert {"opened", "closed"} <= {name for name, _, _ in happened}
    before = file.read_bytes()
    records = material(file).records
    course = replay(file, records)
    assert course is not None
    assert course.saved
    assert [(event["event"], event["questions"], event["threshold"]) for _, event in course.events] == happened
    assert course.threshold[-1] == status["threshold"]
    assert course.level[-1] == status["detector"]["level"]
    assert max(course.level) >= course.alarm_level
    journal = SQLiteJournal(file)
    again = Opener(SelfOpening(), GATE, journal, judge_threshold=0.5)
    again.refresh()
    assert again.status()["records"]["read"] == status["records"]["read"]
    journal.close()
    assert file.read_bytes() == before


def test_what_a_gate_in_force_does_is_summed_with_its_weights() -> None:
    on = {"mode": "on", "route": "bypass", "would": "bypass", "settled": True}
    records = [
        made("a", **on, audited=True, audit_rate=0.5, agree=False),
        made("b", **on, audited=True, audit_rate=0.25, agree=True),
        made("c", **on, audited=False, audit_rate=0.25, agree=None),
        made("d", **{**on, "settled": False}, audited=True, audit_rate=0.25, agree=None),
        made("e", **{**on, "route": "fallback", "would": "fallback"}, audited=True, decided_by="judge"),
        made("shadow"),
    ]
    found = live(records)
    assert found is not None
    assert (found.questions, found.audited, found.waiting, found.differing) == (5, 2, 1, 1)
    assert found.loss == pytest.approx(2 / 5)
    assert found.routes == {"bypass": 4, "agent: judge": 1}
    assert live([made("shadow")]) is None


# --- the command and its page ---


def test_the_page_is_whole_and_json_is_strict(
    tmp_path: Path, in_force: Callable[..., tuple[Path, dict[str, Any]]]
) -> None:
    file, _ = in_force(1000, worse=10_000)
    good = written(tmp_path / "good.db", stream(900))
    for source in (file, good):
        out = tmp_path / f"out-{source.stem}"
        shown = CliRunner().invoke(app, ["advise", str(source), "--out", str(out), "--json"])
        assert shown.exit_code == 0
        found = json.loads(shown.stdout, parse_constant=lambda text: pytest.fail(text))
        assert found == json.loads((out / "advice.json").read_text())
        page = (out / "advice.html").read_text()
        assert not re.search(r'(?:src|href)="(?!#|data:)', page)
        assert page.count("<h1>SpecEyes advice</h1>") == 1
        assert "Does the score tell?" in page
        assert {"agreement.png", "routes.png", "opening.png"} <= {one.name for one in out.iterdir()}
        assert (out / "audits.png").exists() == (source == file)
        assert (out / "gate.json").exists() == (found["verdict"] == "use")
    gate = Gate.load(tmp_path / "out-good" / "gate.json")
    assert gate.calibration is not None
    assert gate.calibration["labels"] == "none"
    against = CliRunner().invoke(app, ["advise", str(written(tmp_path / "bad.db", stream(500, coin=True)))])
    assert against.exit_code == 0
    assert "Do not use it" in against.stdout
    printed = CliRunner().invoke(app, ["advise", str(good), "--price", "agent=2", "--price", "speculator=1"])
    assert printed.exit_code == 0
    assert "Use it" in printed.stdout
    assert "speed-up in total time" in printed.stdout


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--labels", "some"], "labels"),
        (["--max-loss", "2"], "max_loss"),
        (["--audit", "2"], "audit"),
        (["--worth", "0.5"], "worth"),
        (["--by", "colour"], "by"),
        (["--split", "one"], "split"),
        (["--price", "agent"], "price"),
    ],
)
def test_what_cannot_be_advised_on_is_named(tmp_path: Path, options: list[str], named: str) -> None:
    file = written(tmp_path / "j.db", stream(130))
    shown = CliRunner().invoke(app, ["advise", str(file), *options])
    assert shown.exit_code == 2
    assert named in shown.output


# --- the embedded pair ---


def test_advice_from_shadow_runs_of_the_embedded_pair(tmp_path: Path, pair: Pair, ask: Any) -> None:
    file = tmp_path / "traffic.db"
    graph = pair.speceyes(mode="shadow", journal=file).compile()
    splits = {"existence": 9, "reading": 4}
    for split, count in splits.items():
        for _, message in ask(split, count):
            graph.invoke({"messages": [message]}, {"configurable": {"speceyes_group": split}})
    assert drain(60)
    found = material(file, max_loss=0.2, confidence=0.8, prices=PRICES)
    advice = found.advice
    assert advice.questions == 13
    assert len(found.records) == 13
    assert advice.facts is not None
    assert advice.facts.answered == 13
    assert advice.left_out == {}
    numbers = advice.figures
    assert numbers is not None
    assert {group.value: group.questions for group in numbers.groups} == splits
    agent_s = sum(record["seconds"]["agent"] for record in found.records)
    assert numbers.savings.seconds_alone == pytest.approx(agent_s / 13)
    used = sum(sum(record["tokens"]["agent"].values()) for record in found.records)
    assert sum(numbers.savings.tokens_alone.values()) == pytest.approx(used / 13)
    assert numbers.savings.money_alone is not None
    assert numbers.savings.money_alone > 0
    # what is read on labels needs the agent's tools; what is there at all mostly does not
    existence, reading = numbers.groups
    assert (existence.accepted.value or 0) > (reading.accepted.value or 0)
    assert (numbers.agreement.value or 0) >= 0.8

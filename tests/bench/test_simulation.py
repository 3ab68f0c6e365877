from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from langgraph_speceyes.bench.simulation import (
    DESIGNS,
    PRESETS,
    Call,
    Design,
    Machine,
    Query,
    Setting,
    Simulated,
    Tool,
    Turn,
    from_run,
    run,
    save,
    show,
    simulate,
    validate,
)
from langgraph_speceyes.bench.simulation.assumed import TURN_TOKENS
from langgraph_speceyes.bench.simulation.fleet import EAGER, MODELS, Fleet, Model, duration, layout
from langgraph_speceyes.bench.simulation.kernel import Clock, Cores, Places, Process
from langgraph_speceyes.bench.simulation.paper import PUBLISHED
from langgraph_speceyes.bench.simulation.validation import Figures
from langgraph_speceyes.calibration.latency import expected_latency
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.models import decoder
from langgraph_speceyes.testbed.pair import Pair

seconds = st.floats(0.001, 2.0)
short = st.floats(0.001, 0.1)
calls = st.builds(Call, seconds, seconds, st.just(0.0), st.integers(1, 12), short, short)
chances = st.floats(0.0, 1.0)
designs = st.sampled_from(DESIGNS)
quick = settings(max_examples=40, deadline=None)


def some(**changes: object) -> Setting:
    plain = Setting(
        "plain",
        0.8,
        0.6,
        judge=Call(0.2, 0.1),
        speculate=Call(0.05, 0.05, tokens=5, step_s=0.02),
        turn=Call(0.1, 0.2, tokens=10, step_s=0.1),
        tool_s=0.1,
        depth=1.5,
    )
    return replace(plain, **changes)


settings_ = st.builds(
    some,
    beta=chances,
    alpha=chances,
    judge=calls,
    speculate=calls,
    turn=calls,
    tool_s=seconds,
    depth=st.floats(0.0, 5.0),
    reuse=chances,
)


# the kernel


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=12), st.integers(1, 4))
@quick
def test_cores_conserve_work(jobs: list[tuple[float, float]], count: int) -> None:
    clock = Clock()
    cores = Cores(clock, count)
    ended: list[float] = []

    def job(later: float, work: float) -> Process:
        yield later
        began = clock.now
        yield cores.work(work)
        assert clock.now - began >= work - 1e-9
        ended.append(clock.now)

    for one in jobs:
        clock.start(job(*one))
    clock.run()
    total = sum(work for _, work in jobs)
    assert cores.used_s == pytest.approx(total)
    # nobody idles while there is work for all
    assert max(ended) <= max(later for later, _ in jobs) + total + 1e-9
    assert max(ended) >= max(max(later + work for later, work in jobs), total / count) - 1e-9


def test_jobs_share_cores_and_the_lock_equally() -> None:
    for cores, lock, took in ((2, 0.0, 1.0), (1, 0.0, 2.0), (2, 1.0, 2.0), (0.5, 0.0, 4.0)):
        clock = Clock()
        shared = Cores(clock, cores)
        ends = [shared.work(1.0, lock) for _ in range(2)]
        clock.run()
        assert all(end.done for end in ends)
        assert clock.now == pytest.approx(took)


def test_places_are_taken_in_order() -> None:
    clock, order = Clock(), list[int]()
    places = Places(clock, 1)

    def visit(k: int) -> Process:
        yield places.take()
        order.append(k)
        yield 1.0
        places.give()

    for k in range(5):
        clock.start(visit(k))
    clock.run()
    assert (order, clock.now) == ([0, 1, 2, 3, 4], 5.0)


# calls side by side


Arrivals = list[tuple[float, Call, Model]]
arrivals: st.SearchStrategy[Arrivals] = st.lists(
    st.tuples(st.floats(0.0, 4.0), calls, st.sampled_from(MODELS)), min_size=1, max_size=20
)


@dataclass
class Log:
    """What calls went through: when each was queued and answered; and each model's joinings, as the fleet took them."""

    asked: list[float]
    answered: list[float]
    order: dict[Model, list[int]]
    joined: dict[int, float]
    most: int
    clock: Clock
    fleet: Fleet


def served(made: Arrivals, accelerators: int = 1, missing: Model | None = None, **options: Any) -> Log:
    """What becomes of calls; of the `missing` model another is announced that never comes."""
    clock = Clock()
    fleet = Fleet(clock, layout(accelerators), **options)
    if missing:
        fleet.expect(missing, 0)
    log = Log([0.0] * len(made), [0.0] * len(made), {"large": [], "small": []}, {}, 0, clock, fleet)
    whose: dict[int, int] = {}
    begin = fleet._pass

    def joining(accelerator: Any, model: Model, rows: Any, several: Any) -> None:
        begin(accelerator, model, rows, several)
        log.order[model] += [whose[id(one.signal)] for one in several]
        log.joined.update({whose[id(one.signal)]: clock.now for one in several})
        log.most = max(log.most, len(rows.ends))

    fleet._pass = joining  # type: ignore[method-assign]

    def caller(k: int, later: float, call: Call, model: Model) -> Process:
        yield later
        log.asked[k] = clock.now
        answer = fleet.call(model, call)
        whose[id(answer)] = k
        yield answer
        log.answered[k] = clock.now

    for k, one in enumerate(made):
        clock.start(caller(k, *one))
    clock.run()
    return log


@given(arrivals, st.integers(1, 4), st.integers(1, 6))
@quick
def test_work_is_conserved(made: Arrivals, accelerators: int, most: int) -> None:
    log = served(made, accelerators, max_batch=most)
    for model in MODELS:
        asked = [call for _, call, of in made if of == model]
        done = log.fleet.served[model]
        assert (done.calls, done.tokens) == (len(asked), sum(call.tokens for call in asked))
        assert done.busy_s <= sum(call.alone_s for call in asked) + 1e-9
        # what a call adds is spent however many are beside it
        assert done.busy_s >= sum(call.own_s for call in asked) - 1e-9
    for k, (_, call, _) in enumerate(made):
        assert log.answered[k] - log.asked[k] >= call.alone_s - 1e-9
    # an accelerator never idles while somebody waits
    busy = sum(done.busy_s for done in log.fleet.served.values())
    if accelerators == 1:
        assert max(log.answered) <= max(later for later, _, _ in made) + busy + 1e-9


@given(arrivals, st.integers(1, 4), st.integers(1, 6))
@quick
def test_calls_join_in_the_order_they_came_and_never_too_many(made: Arrivals, accelerators: int, most: int) -> None:
    log = served(made, accelerators, max_batch=most)
    for model in MODELS:
        came = [log.asked[k] for k in log.order[model]]
        assert came == sorted(came)
    assert log.most <= most


@given(calls, st.sampled_from(MODELS), st.integers(1, 3))
@quick
def test_a_call_alone_takes_its_seconds(call: Call, model: Model, accelerators: int) -> None:
    assert served([(1.0, call, model)], accelerators).answered[0] == pytest.approx(1.0 + call.alone_s)
    assert duration([call]) == pytest.approx(call.alone_s)


@given(st.lists(calls, min_size=1, max_size=16))
@quick
def test_calls_that_arrive_together_begin_together(made: list[Call]) -> None:
    log = served([(0.0, call, "large") for call in made])
    done = log.fleet.served["large"]
    assert (done.passes, done.steps) == (1, max(call.tokens for call in made) - 1)
    # nobody waits for the longest: a call ends with its own last token
    now, ends = max(call.pass_s for call in made) + sum(call.prefill_s for call in made), {}
    for length in range(1, max(call.tokens for call in made) + 1):
        ends[length] = now
        left = [call for call in made if call.tokens > length]
        now += max((call.step_s for call in left), default=0.0) + sum(call.token_s for call in left)
    assert log.answered == pytest.approx([ends[call.tokens] for call in made])


@pytest.mark.parametrize(("others", "steps"), [(1, 1), (EAGER - 1, 1), (EAGER, EAGER), (EAGER + 4, EAGER)])
def test_a_newcomer_does_not_wait_for_the_longest_answer(others: int, steps: int) -> None:
    # long answers of 1 s a token, a first joining pass of 1 s, and a judgment that comes during it
    long, judgment = Call(1.0, 0.0, tokens=100, step_s=1.0), Call(0.5, 0.0)
    log = served([*((0.0, long, "large") for _ in range(others)), (0.5, judgment, "large")])
    # after a pass there is always a step, and from EAGER rows on there are as many
    assert log.answered[-1] == 1.0 + steps + 0.5
    # its pass holds the others up
    assert log.answered[0] == 100.5
    assert decoder._EAGER == EAGER


def test_a_full_model_takes_a_newcomer_when_somebody_leaves() -> None:
    short, long = Call(1.0, 0.0, tokens=6, step_s=1.0), Call(1.0, 0.0, tokens=50, step_s=1.0)
    log = served([(0.0, short, "large"), (0.0, long, "large"), (0.5, Call(1.0, 0.0), "large")], max_batch=2)
    assert log.joined[2] == log.answered[0] == 6.0
    assert log.answered[1:] == [51.0, 7.0]


def test_an_answer_does_not_wait_for_its_prompt_to_be_kept() -> None:
    one = Call(1.0, 0.0, after_s=0.5)
    log = served([(0.0, one, "large"), (0.2, one, "large")])
    assert log.answered == [1.0, 2.5]
    assert log.fleet.served["large"].busy_s == 3.0


def test_models_on_one_accelerator_take_turns() -> None:
    call = Call(1.0, 0.0, tokens=4, step_s=1.0)
    assert served([(0.0, call, "large"), (0.0, call, "small")]).answered == [7.0, 8.0]


def test_an_idle_model_waits_for_announced_calls_and_no_longer_than_agreed() -> None:
    clock = Clock()
    fleet = Fleet(clock, layout(1), max_wait_s=0.5)
    ended: dict[str, float] = {}

    def caller(name: str, later: float, call: Call, key: int | None) -> Process:
        yield later
        yield fleet.call("small", call, key)
        ended[name] = clock.now

    one = Call(1.0, 0.0)
    fleet.expect("small", 1)
    fleet.expect("small", 2)
    clock.start(caller("first", 0.0, one, 1))
    clock.start(caller("second", 0.3, one, 2))
    fleet.expect("small", 3)  # never comes
    clock.start(caller("next", 1.2, one, None))
    clock.run()
    assert (ended["first"], ended["second"]) == (1.5, 1.5)
    assert ended["next"] == 2.5  # a model at work waits for nobody
    assert fleet.served["small"].passes == 2
    fleet.dismiss("small", 3)
    clock.start(caller("third", 0.0, one, None))
    clock.run()
    assert ended["third"] == 3.5  # a lone call never waits


def test_patience_does_not_end_with_what_the_other_model_does() -> None:
    one = Call(1.0, 0.0)
    log = served([(0.0, one, "large"), (0.5, one, "small")], missing="small", max_wait_s=5.0)
    assert log.answered == [1.0, 6.5]


def test_a_newcomer_is_left_to_an_idle_accelerator() -> None:
    one, long = Call(1.0, 0.0), Call(1.0, 0.0, tokens=30, step_s=0.7)
    # 4, 1 and no rows are left after the first pass, from 0.5 to 1.5
    made: Arrivals = [(0.0, call, "large") for call in [long] * 5 + [one] * 7]
    log = served([*made, (2.0, one, "large")], 3, missing="large", max_wait_s=0.5)
    assert log.joined[12] == 2.5


def test_idle_accelerators_share_what_waits() -> None:
    log = served([(0.0, Call(1.0, 0.5), "large") for _ in range(8)], 4)
    assert (log.fleet.served["large"].passes, log.clock.now) == (4, 2.0)


def test_a_newcomer_goes_where_fewest_are_under_way() -> None:
    long, slow = Call(1.0, 0.0, tokens=9, step_s=1.0), Call(1.0, 0.0, tokens=9, step_s=1.5)
    # two on the first accelerator and one on the second, which gets to its next token later
    log = served([(0.0, long, "large"), (0.0, long, "large"), (0.0, slow, "large"), (1.5, long, "large")], 2)
    assert log.joined == {0: 0.0, 1: 0.0, 2: 0.0, 3: 2.5}
    assert log.answered[:2] == [9.0, 9.0]


# designs


@given(settings_, designs, st.integers(1, 24), st.integers(1, 6), st.integers(0, 5))
@quick
def test_every_query_is_answered_and_the_same_seed_gives_the_same(
    setting: Setting, design: Design, in_flight: int, accelerators: int, seed: int
) -> None:
    queries = setting.queries(60, seed)
    machine = Machine(accelerators)
    one = simulate(queries, design, machine, in_flight)
    assert len(one.ended) == 60
    assert all(e > b for b, e in zip(one.began, one.ended, strict=True))
    assert one == simulate(setting.queries(60, seed), design, machine, in_flight)
    assert one.utilisation <= 1 + 1e-9
    turns = sum(len(q.turns) for q in queries)
    left = sum(len(q.turns) for q in queries if not q.bypassed)
    asked = turns if design.startswith("agent") else left + 60
    assert one.served["large"].calls == asked
    assert one.served["small"].calls == (0 if design.startswith("agent") else sum(q.passed for q in queries))


@given(settings_, designs, st.integers(1, 24))
@quick
def test_littles_law(setting: Setting, design: Design, in_flight: int) -> None:
    made = simulate(setting.queries(80), design, Machine(2), in_flight)
    # the mean number in flight, from the events: what was there between each two of them
    events = sorted([(t, 1) for t in made.began] + [(t, -1) for t in made.ended])
    area, there, last = 0.0, 0, 0.0
    for at, change in events:
        area += there * (at - last)
        there, last = there + change, at
    mean = area / made.makespan_s
    assert mean == pytest.approx(80 / made.makespan_s * made.latency_mean_s)
    assert mean <= in_flight + 1e-9


@given(settings_, st.integers(1, 12), st.integers(1, 4))
@quick
def test_a_serial_agents_throughput_is_one_over_its_latency(
    setting: Setting, in_flight: int, accelerators: int
) -> None:
    queries = setting.queries(100)
    made = simulate(queries, "agent_serial", Machine(accelerators), max(in_flight, accelerators))
    if accelerators == 1:
        assert made.makespan_s == pytest.approx(sum(q.agent_s for q in queries))
    assert made.makespan_s >= sum(q.agent_s for q in queries) / accelerators - 1e-9
    assert made.utilisation <= 1


@given(settings_, st.integers(1, 32), st.integers(1, 40))
@quick
def test_the_references_design_stays_below_its_limit(setting: Setting, front_batch: int, in_flight: int) -> None:
    queries = setting.queries(200)
    made = simulate(queries, "reference", Machine(front_batch=front_batch), in_flight)
    every = sum(q.agent_s for q in queries)
    left = sum(q.agent_s for q in queries if not q.bypassed)
    # 1 / (1 - beta * alpha) of these very queries, weighted by what each would have cost the agent
    assert every / made.makespan_s <= every / max(left, 1e-12) + 1e-9


def test_the_limit_is_reached_with_a_front_end_that_costs_nothing() -> None:
    free = some(beta=0.8, alpha=0.75, judge=Call(1e-9, 0.0), speculate=Call(1e-9, 0.0))
    queries = free.queries(4000)
    serial = simulate(queries, "agent_serial", Machine(), 16).makespan_s
    made = simulate(queries, "reference", Machine(front_batch=16), 16).makespan_s
    assert serial / made == pytest.approx(free.limit, rel=0.08)
    assert free.limit == pytest.approx(2.5)


@given(settings_, designs)
@quick
def test_one_at_a_time_is_the_papers_formula(setting: Setting, design: Design) -> None:
    setting = replace(setting, reuse=0.0)
    queries = setting.queries(100)
    made = simulate(queries, design, Machine(max_wait_s=0.0), 1)
    agent = float(np.mean([q.agent_s for q in queries]))
    if design.startswith("agent"):
        assert made.latency_mean_s == pytest.approx(agent)
        return
    judge, small = setting.judge.alone_s, setting.speculate.alone_s
    passed = [q for q in queries if q.passed]
    by_query = [judge + q.passed * small + (not q.bypassed) * q.agent_s for q in queries]
    assert made.latencies == pytest.approx(by_query)
    beta = len(passed) / 100
    alpha = sum(q.accepted for q in passed) / len(passed) if passed else 0.0
    # the formula takes the agent's cost to be the same for all
    alike = [replace(q, turns=(Turn(Call(agent, 0.0)),)) for q in queries]
    made = simulate(alike, design, Machine(max_wait_s=0.0), 1)
    assert made.latency_mean_s == pytest.approx(expected_latency(judge, beta, [(small, alpha)], agent))


@given(settings_, designs, st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_more_accelerators_never_make_it_much_slower(setting: Setting, design: Design, seed: int) -> None:
    queries = setting.queries(150, seed)
    before = 0.0
    for accelerators in (1, 2, 4, 8):
        made = simulate(queries, design, Machine(accelerators), 16)
        found = 150 / made.makespan_s
        # first-come-first-served batches are not optimal: splitting one may cost more than it gains
        assert found >= 0.85 * before
        before = found


def test_each_model_on_accelerators_of_its_own() -> None:
    queries = some().queries(200)
    made = simulate(queries, "speceyes", Machine(4, small=1), 32)
    assert made.served["small"].busy_s <= made.makespan_s
    assert made.served["large"].busy_s <= 3 * made.makespan_s
    with pytest.raises(ArgumentError):
        Machine(1, small=1)


def test_tools_run_beside_each_other() -> None:
    slow = Query(None, None, False, False, (Turn(Call(0.01, 0.0), Tool(10.0)), Turn(Call(0.01, 0.0))))
    assert simulate([slow] * 8, "agent_batched", Machine(), 8).makespan_s == pytest.approx(10.02)
    assert simulate([slow] * 8, "agent_batched", Machine(cores=2), 8).makespan_s == pytest.approx(40.02)


def test_bad_arguments() -> None:
    queries = some().queries(3)
    for bad in ({"queries": []}, {"design": "fast"}, {"in_flight": 0}):
        given = {"queries": queries, "design": "speceyes", "machine": Machine(), "in_flight": 1} | bad
        with pytest.raises(ArgumentError):
            simulate(**given)
    with pytest.raises(ArgumentError):
        some(beta=1.2)
    with pytest.raises(ArgumentError, match="simulate"):
        run("nothing")
    with pytest.raises(ArgumentError):
        Machine(0)


# settings


@given(settings_, st.integers(0, 9))
@quick
def test_a_longer_draw_begins_like_a_shorter_one(setting: Setting, seed: int) -> None:
    assert setting.queries(30, seed)[:10] == setting.queries(10, seed)


def test_a_draw_has_the_settings_means() -> None:
    setting = PRESETS["vstar"]
    queries = setting.queries(6000)
    assert np.mean([q.passed for q in queries]) == pytest.approx(setting.beta, abs=0.02)
    assert np.mean([q.bypassed for q in queries]) == pytest.approx(setting.beta * setting.alpha, abs=0.02)
    assert np.mean([q.agent_s for q in queries]) == pytest.approx(setting.agent_s, rel=0.02)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_references_design_has_the_published_speedup(name: str) -> None:
    setting = PRESETS[name]
    queries = setting.queries(3000)
    serial = simulate(queries, "agent_serial", Machine(), 16)
    batch = setting.front_batch
    made = simulate(queries, "reference", Machine(front_batch=batch), batch)
    assert made.throughput / serial.throughput == pytest.approx(PUBLISHED[name].speedup, rel=0.05)


def test_the_references_batch_ablation_on_pope() -> None:
    setting = PRESETS["pope_adversarial"]
    queries = setting.queries(3000)
    serial = simulate(queries, "agent_serial", Machine(), 16).throughput
    for batch, speedup in PUBLISHED["pope_adversarial"].by_batch.items():
        made = simulate(queries, "reference", Machine(front_batch=batch), batch)
        assert made.throughput / serial == pytest.approx(speedup, rel=0.05)


def test_the_pessimists_view_costs_the_same_one_at_a_time() -> None:
    for setting in PRESETS.values():
        moved = setting.all_on_accelerator()
        assert moved.latency_s == pytest.approx(setting.latency_s)
        assert moved.judge.core_s == moved.speculate.core_s == 0


def test_no_ratio_depends_on_the_scale() -> None:
    setting = PRESETS["pope"]
    scaled = setting.scaled(1.0)
    assert scaled.agent_s == pytest.approx(1.0)
    by = setting.agent_s

    def made(one: Setting, wait: float) -> Simulated:
        return simulate(one.queries(200), "speceyes", Machine(max_wait_s=wait), 16)

    assert made(setting, 0.05 * by).makespan_s == pytest.approx(by * made(scaled, 0.05).makespan_s)


def test_cached_prefixes_save_the_batched_designs_time_only() -> None:
    for design, less in (("agent_serial", False), ("reference", False), ("agent_batched", True), ("speceyes", True)):
        plain, cached = (simulate(some(reuse=r).queries(200), design, Machine(), 16).makespan_s for r in (0.0, 0.9))
        assert (cached < plain) is less


# a run of one's own


def outcome(k: int, method: str, **changes: object) -> dict[str, object]:
    agent = {"answer": "a", "right": True, "seconds": 2.0, "error": None, "tokens": {"output": 40}, "tools": ["crop"]}
    alone = {"method": method, "id": f"q{k}", "split": "s", "rule": "free_form", "error": None, "route": None}
    return {**alone, "decided_by": None, "agent": agent, "seconds": {"total": 2.0}, "tokens": {}, **changes}


def write_run(folder: Path, outcomes: list[dict[str, object]], concurrency: int = 1) -> Path:
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "concurrency": concurrency}))
    (folder / "outcomes.jsonl").write_text("".join(json.dumps(o) + "\n" for o in outcomes))
    return folder


def decided(k: int, route: str, by: str) -> dict[str, object]:
    spent = {"judge": 0.1, "total": 1.0} | ({} if by == "judge" else {"speculate": 0.3, "gate": 0.0})
    tokens = {"speculate": {"input": 90, "output": 12}} if by != "judge" and k else {}
    return outcome(k, "speceyes", route=route, decided_by=by, seconds=spent, tokens=tokens, agent=None)


def test_a_run_is_a_source(tmp_path: Path) -> None:
    bypass = [decided(0, "bypass", "gate"), decided(1, "fallback", "gate"), decided(2, "fallback", "judge")]
    folder = write_run(tmp_path, [*bypass, *(outcome(k, "agent") for k in range(3))])
    found = from_run(folder)
    assert (found.beta, found.alpha) == (pytest.approx(2 / 3), 0.5)
    assert found.agent_s == pytest.approx(2.0)
    one, two = found.recorded[:2]
    assert one.judge
    assert one.speculate
    assert two.speculate
    assert one.judge.tokens == 1
    # those of the first speculation are not known
    assert (one.speculate.tokens, two.speculate.tokens) == (TURN_TOKENS, 12)
    assert [turn.call.tokens for turn in one.turns] == [20, 20]
    made = simulate(list(found.recorded), "speceyes", Machine(max_wait_s=0), 1)
    assert made.latencies == pytest.approx([0.4, 2.4, 2.1])
    predicted = run(folder, accelerators=(1, 2), loads=("batch",))
    assert {row.in_flight for row in predicted.rows} == {64}
    assert json.loads(json.dumps(predicted.to_dict(), allow_nan=False))["beta"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("outcomes", "concurrency", "named"),
    [
        ([outcome(0, "agent")], 1, "bypass"),
        ([decided(0, "bypass", "gate")], 1, "--full"),
        ([decided(0, "bypass", "gate"), outcome(0, "agent")], 4, "--concurrency 1"),
    ],
)
def test_a_run_that_cannot_be_one(
    tmp_path: Path, outcomes: list[dict[str, object]], concurrency: int, named: str
) -> None:
    with pytest.raises(ArgumentError, match=named):
        from_run(write_run(tmp_path, outcomes, concurrency))


# what is shown


def test_a_prediction_is_shown_and_drawn(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    found = run(some(), accelerators=(1, 2), fixed=8, each=4, report=lambda k, n: done.append((k, n)))
    assert done[-1] == (4, 4)
    assert all(row.speedup == 1 for row in found.of("agent_serial", "each"))
    assert len(found.rows) == 2 * 2 * len(DESIGNS)
    console = Console(width=140, record=True, quiet=True)
    show(console, found)
    save([found, found], tmp_path / "plots")
    assert (tmp_path / "plots" / "simulation.png").stat().st_size > 10_000
    assert len(json.loads((tmp_path / "plots" / "simulation.json").read_text())) == 2


# against the real thing


def test_an_error_is_relative_to_what_was_measured() -> None:
    simulated, measured = Figures(3.0, (1.0, 2.0, 5.0)), Figures(2.0, (2.0, 2.0, 4.0))
    assert simulated.error(measured) == (0.5, (-0.5, 0.0, 0.25))


@pytest.mark.parametrize("design", ["speceyes", "agent_batched"])
def test_a_live_run_is_compared(pair: Pair, ask, design) -> None:
    asked = [message for split in ("attributes", "existence") for _, message in ask(split, 4)]
    found = validate(pair, asked, 4, design=design, lock=(0.8, 0.6))
    assert (found.questions, found.concurrency) == (8, 4)
    # how near they are is for the documentation to show: others may use the machine
    for figures in (found.measured, found.simulated, found.replayed):
        assert all(0 < figure < math.inf for figure in (figures.throughput, *figures.latency_s))
    json.dumps(found.to_dict(), allow_nan=False)
    # nothing is left watching
    for model in (pair.large, pair.speculator):
        assert model._batcher._run == model._engine.serve
        assert not {"_prefill", "_take"} & set(vars(model._engine.decoder))
    assert asyncio.to_thread.__module__ == "asyncio.threads"

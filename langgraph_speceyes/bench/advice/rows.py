"""Advice as rows of tables and sentences, for the terminal and the page."""

from __future__ import annotations

from langgraph_speceyes.bench.advice import Advice
from langgraph_speceyes.bench.advice.against import duration
from langgraph_speceyes.bench.advice.costs import SIDES, Savings
from langgraph_speceyes.bench.report.text import NONE, Text, percent, shown
from langgraph_speceyes.bench.statistics import Estimate

Rows = tuple[str, list[str], list[list[Text]]]
THOUSAND = 1000


def main(advice: Advice) -> list[list[Text]]:
    """The gate's figures, a row each: its name, and the figure with its interval."""
    found = advice.figures
    if found is None:
        return []
    rows: list[tuple[str, Text]] = [
        ("speed-up in total time, x", shown(found.speedup, 1, 2)),
    ]
    if found.groups:
        rows.append((f"the same, mean of {len(found.groups)} groups, x", shown(found.speedup_mean, 1, 2)))
    rows.append(("accepted, %", percent(found.accepted)))
    if found.accuracy is not None and found.accuracy_agent is not None and found.accuracy_change is not None:
        rows += [
            ("right, %", percent(found.accuracy)),
            ("right, the agent alone, %", percent(found.accuracy_agent)),
            (f"change, points: {found.lost} lost, {found.won} won", percent(found.accuracy_change, "+")),
        ]
    rows.append((f"the agent's answer, % ({found.differing} may differ)", percent(found.agreement)))
    return [[(name, ""), value] for name, value in [*rows, *_saved(found.savings)]]


def _saved(found: Savings) -> list[tuple[str, Text]]:
    alone = sum(found.tokens_alone.values())
    rows = [
        (f"seconds saved, of {_text(found.seconds_alone, 3)} in 1,000 questions", _of(found.seconds_saved)),
        (f"tokens saved, of {_text(alone, 3)} in 1,000 questions", _of(found.tokens_saved)),
    ]
    if found.money_saved is not None and found.money_alone is not None:
        rows.append((f"money saved, of {_text(found.money_alone, 4)} in 1,000 questions", _of(found.money_saved, 4)))
    return rows


def _of(found: Estimate, digits: int = 3) -> Text:
    """A mean a question, of a thousand questions; with as many digits as mean something."""
    if found.value is None:
        return NONE

    if found.low is None or found.high is None:
        return _text(found.value, digits), ""
    return _text(found.value, digits), f"[{_text(found.low, digits)}, {_text(found.high, digits)}]"


def _text(value: float, digits: int) -> str:
    value *= THOUSAND
    return f"{value:,.0f}" if abs(value) >= THOUSAND else f"{value:.{digits}g}"


def groups(advice: Advice) -> Rows:
    """The gate by group."""
    found = advice.figures
    if found is None or not found.groups:
        return "", [], []
    labelled = found.accuracy_change is not None
    columns = [found.by or "", "n", "speed-up, x", "accepted, %", "the agent's answer, %"]
    columns += ["change, points"] if labelled else []
    rows: list[list[Text]] = []
    for one in found.groups:
        row = [(one.value, ""), (str(one.questions), ""), shown(one.speedup, 1, 2)]
        row += [percent(one.accepted), percent(one.agreement)]
        if labelled:
            row.append(percent(one.accuracy_change or Estimate(None, None, None, 0), "+"))
        alone = f"{one.threshold:.4g}" if one.threshold is not None else "none"
        rows.append(
            [*row, (alone, f"least {one.least}" if one.threshold is None and one.questions < one.least else "")]
        )
    return f"by {found.by}", [*columns, "threshold of its own"], rows


def compositions(advice: Advice) -> Rows:
    """What was compared on the other half."""
    tried = advice.calibrated.tried if advice.calibrated else ()
    rows: list[list[Text]] = [
        [
            (f"{one.name}{' *' if one.taken else ''}", ""),
            NONE if one.threshold is None else (f"{one.threshold:.4g}", ""),
            NONE if one.threshold is None else (f"{one.speedup:.2f}", ""),
            NONE if one.threshold is None else (f"{100 * one.accepted:.1f}", ""),
            NONE if one.threshold is None else (f"{100 * one.loss:+.1f}", ""),
            (one.order.replace("_", " ") if one.order else "", ""),
        ]
        for one in sorted(tried, key=lambda one: (one.threshold is None, -one.speedup))
    ]
    columns = ["composition", "threshold", "speed-up, x", "accepted, %", "lost, %", "order"]
    return f"compared on the other {advice.chosen_on} questions; * is the one taken", columns, rows


def live(advice: Advice) -> Rows:
    """What a gate in force has done."""
    one = advice.live
    if one is None:
        return "", [], []
    rows: list[list[Text]] = [
        [("answered by the speculation, %", ""), percent(one.bypassed)],
        [("audited answers that differ, %", ""), percent(one.differing_share)],
        [("audited, differing, waiting", ""), (f"{one.audited}, {one.differing}, {one.waiting}", "")],
    ]
    if one.loss is not None:
        rows.append([("differing accepted answers, % of all questions", ""), (f"{100 * one.loss:.2f}", "")])
    return f"since a gate is in force: {one.questions} questions", ["", "figure", "95 %"], rows


def basis(advice: Advice) -> list[str]:
    """What the advice rests on, in sentences."""
    said = []
    gate = advice.calibrated
    if advice.questions:
        where = f"{advice.questions} questions with both answers"
        if advice.chosen_on:
            measured = advice.questions - advice.chosen_on
            where += f": the composition chosen on {advice.chosen_on}, certified and measured on the other {measured}"
        said.append(where + ".")
    if gate is not None and gate.guarantee is not None and gate.gate is not None:
        promise = gate.guarantee
        what = "differ from the agent's answer" if advice.labels == "none" else "be lost against the agent"
        said.append(
            f"Promised with {promise.confidence:.0%} confidence: at most {100 * promise.max_loss:.3g} % of questions "
            f"like these {what}."
        )
    found = advice.figures
    if found is not None:
        costs = found.savings
        if costs.audit:
            said.append(
                f"Tokens and money count the audits of {costs.audit:.0%} of the accepted answers; time does not, as "
                "nobody waits for them."
            )
        if found.savings.tokens_saved.value is None:
            said.append("Tokens are not known: the agent's model does not report them.")
        else:
            used = [
                f"{side} {sum(costs.tokens[side].values()):,.0f}" for side in SIDES if any(costs.tokens[side].values())
            ]
            alone = sum(costs.tokens_alone.values())
            said.append(f"Tokens a question: {', '.join(used)}; the agent alone {alone:,.0f}.")
    for reason, count in advice.left_out.items():
        said.append(f"Left out: {count} questions {reason}.")
    facts = advice.facts
    if facts is not None:
        took = [("judge", facts.judge_s), ("speculation and gate", facts.speculate_s), ("agent", facts.agent_s)]
        times = ", ".join(f"{name} {duration(seconds)}" for name, seconds in took if seconds)
        said.append(f"Mean times: {times}.")
        if facts.left:
            said.append(f"The front end did not look at {facts.left} questions; they are the agent's at any threshold.")
    return said

"""What to do next."""

from __future__ import annotations

from collections.abc import Sequence

from langgraph_speceyes.bench.advice.against import duration
from langgraph_speceyes.bench.advice.depths import Unpaid
from langgraph_speceyes.bench.advice.figures import Figures
from langgraph_speceyes.bench.advice.live import Live
from langgraph_speceyes.bench.advice.verdict import Verdict
from langgraph_speceyes.bench.calibrated import Calibrated
from langgraph_speceyes.bench.compositions import Composition, Terms, answered_depths
from langgraph_speceyes.bench.evidence import Evidence

SHADOW = 'Go on in shadow, create_speceyes(..., mode="shadow", journal="traffic.db"), and ask for advice again.'


def next_steps(
    verdict: Verdict,
    evidence: Evidence,
    gate: Calibrated | None,
    found: Figures | None,
    terms: Terms,
    composition: Composition,
    seen: Live | None,
    costly: Sequence[Unpaid] = (),
) -> tuple[str, ...]:
    """What to do next, a sentence each.

    Args:
        verdict: What was found.
        evidence: The questions.
        gate: The gate that was certified, or was to be.
        found: Its figures.
        terms: What was to be promised.
        composition: The gate's.
        seen: What a gate in force has done.
        costly: Depths that cost more than they save.
    """
    if verdict == "not_yet":
        if evidence.is_journal:
            return (SHADOW,)
        return ("Run more calibration questions through speceyes eval --full, and ask for advice again.",)
    if verdict == "do_not" or gate is None or gate.gate is None or found is None:
        return ()
    steps = []
    if seen is not None and seen.loss is not None and seen.loss > terms.max_loss:
        steps.append(
            f"But look first: of the {seen.questions} questions since a gate is in force {100 * seen.loss:.2f} % have "
            "an accepted answer that differs, more than the limit. Older shadow records tell nothing of these."
        )
    steps.append(f"Set {_settings(gate, composition)}.")
    taken = {one.depth: one.look for one in gate.depths}
    asked = answered_depths(evidence)
    for depth in asked if evidence.deeper else ():
        if depth not in taken:
            name = f"depth {depth}, the look {evidence.looks[depth - 1]}" if depth else "depth 0"
            steps.append(f"Leave out {name}: without it less time was lost on the questions that this was chosen on.")
    for one in costly:
        name = f"depth {one.depth}, the look {one.look}" if one.look else "depth 0"
        steps.append(
            f"Leave out {name}, and calibrate without it: it costs more than it saves, {duration(one.seconds)} a "
            f"question with it and {duration(one.without)} without."
        )
    before, after = evidence.gate.judge_threshold, gate.gate.judge_threshold
    if before is not None and after is None and 0 in asked:
        steps.append("Leave the judge out (judge=None): it costs more than it keeps from the small model.")
    elif after is not None and before != after:
        steps.append(f"The judge decides: its threshold is {after:.4g}, and every answer it lets through is accepted.")
    if terms.labels == "none" and composition.score is not None:
        steps.append(
            "Or let the gate find its own threshold, and keep its promise while your traffic changes: "
            f"gate=SelfOpening(max_loss={terms.max_loss:g}, confidence={terms.confidence:g}, "
            f'score="{gate.gate.score}", k={gate.gate.k}), journal=... '
            "Its evidence is for one pair of models and settings: with another judge, or none, it begins anew."
        )
    slow = [group for group in found.groups if group.speedup.high is not None and group.speedup.high < 1]
    if slow:
        names = ", ".join(group.value for group in slow)
        steps.append(
            f'Where {found.by} is {names} it only costs time: send these straight to the agent (speceyes_mode="off").'
        )
    return tuple(steps)


def _settings(gate: Calibrated, composition: Composition) -> str:
    found = gate.gate
    assert found is not None, "asked of gates only"
    judge = "judge=None" if found.judge_threshold is None else f"judge=..., judge_threshold={found.judge_threshold:.6g}"
    order = f', order="{gate.order}"' if gate.order else ""
    looks = ""
    if found.looks:
        own = ", ".join(f"{threshold:.6g}" for threshold in found.depths or ())
        first = ', first_look="always"' if found.first_look == "always" else ""
        looks = f", depths=({own},){first}"
        order += f", looks=[{', '.join(found.looks)}]"
    return f'gate=Gate("{found.score}", {found.threshold:.6g}, k={found.k}{looks}), {judge}{order}'

"""From figures to a word: use it, not yet, do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from langgraph_speceyes.bench.advice.against import Facts, described, too_slow, useless
from langgraph_speceyes.bench.advice.figures import Figures
from langgraph_speceyes.bench.compositions import Composition
from langgraph_speceyes.bench.statistics import Estimate
from langgraph_speceyes.calibration.guarantee import Guarantee

Verdict = Literal["use", "trade_off", "not_yet", "do_not"]
WORTH = 1.05
"""A speed-up below this is not worth the trouble of two more models."""
_FURTHEST = 20
"""Questions are extrapolated to this many times those at hand."""


def judged(
    facts: Facts,
    composition: Composition,
    guarantee: Guarantee,
    found: Figures | None,
    worth: float,
    *,
    chosen: bool = False,
) -> tuple[Verdict, list[str], int | None]:
    """What to do, why, and how many more questions would tell.

    Args:
        facts: What the questions say whatever the threshold.
        composition: The one that was to be certified.
        guarantee: What came of that.
        found: The figures; None where nothing was certified.
        worth: The least speed-up that is worth it.
        chosen: Whether the composition did best on another half of the questions.

    Returns:
        The verdict, its reasons as parts of a sentence, and more questions; None where no number can be given.
    """
    if why := useless(facts):
        return "do_not", why, None
    if guarantee.n < guarantee.least:
        more = guarantee.least - guarantee.n
        why = [
            f"there are too few questions: it takes {guarantee.least} to promise anything at "
            f"{100 * guarantee.max_loss:.3g} % with {guarantee.confidence:.0%} confidence, {more} more than there are"
        ]
        if facts.questions >= 2 and facts.hoped < worth:
            why += ["so far it does not look as if it were worth it", *described(facts)]
        return "not_yet", why, more
    if found is None or guarantee.threshold is None:
        return _uncertified(facts, composition, guarantee, worth, chosen)
    return _certified(facts, composition, guarantee, found, worth)


def _uncertified(
    facts: Facts, composition: Composition, guarantee: Guarantee, worth: float, chosen: bool
) -> tuple[Verdict, list[str], int | None]:
    limit = (
        f"at no threshold of {composition.name} can it be promised that at most {100 * guarantee.max_loss:.3g} % of "
        "the questions are lost"
    )
    if facts.hoped < worth:
        best = f"and at the thresholds that would keep this here the speed-up is {facts.hoped:.2f} at best"
        return "do_not", [f"{limit}, {best}", *described(facts)], None
    if guarantee.more_needed:
        hope = f"about {guarantee.more_needed} more questions should do, for a speed-up of up to {facts.hoped:.2f}"
        return "not_yet", [limit, hope], guarantee.more_needed
    if chosen:
        return "not_yet", [f"{limit}, though on the other half of them it did best", *described(facts)], None
    return "do_not", [f"{limit}, and more questions like these would not change that", *described(facts)], None


def _certified(
    facts: Facts, composition: Composition, guarantee: Guarantee, found: Figures, worth: float
) -> tuple[Verdict, list[str], int | None]:
    gained, costs = found.speedup, found.savings
    time, money = _side(gained, 1.0), 0 if costs.money_saved is None else _side(costs.money_saved, 0.0)
    if time > 0 and (gained.value or 1.0) < worth:
        time = 0
    if money > 0 and (costs.money_alone or 0.0) < worth * (costs.money or 0.0):
        money = 0
    accepted = found.accepted.value or 0.0
    slow = too_slow(facts, composition, gained, accepted)
    if time > 0 or money > 0:
        use = (
            f"{composition.name}, at {guarantee.threshold:.4g}, accepts {accepted:.0%} of the questions and is "
            f"{gained.value:.2f} times as fast as the agent in total time [{gained.low:.2f}, {gained.high:.2f}]"
        )
        if time > 0:
            return ("trade_off", [f"{use}, but it costs more money"], None) if money < 0 else ("use", [use], None)
        word = "so that it saves money and costs time" if time < 0 else "so that it saves money, and hardly any time"
        return ("trade_off" if time < 0 else "use"), [f"{use}, {word}"], None
    if facts.hoped >= worth:
        if (gained.value or 1.0) >= worth and (more := _until_clear(gained, found.questions)) is not None:
            why = (
                f"it may be {gained.value:.2f} times as fast, but the interval [{gained.low:.2f}, {gained.high:.2f}] "
                "reaches down to the agent's own speed"
            )
            return "not_yet", [why, f"about {more} more questions should tell"], more
        if guarantee.more_needed and (gained.value or 1.0) < worth:
            hope = (
                f"with about {guarantee.more_needed} more questions a lower threshold could be promised, for a "
                f"speed-up of up to {facts.hoped:.2f}"
            )
            return "not_yet", [slow, hope], guarantee.more_needed
    return "do_not", [slow, *described(facts)], None


def _side(found: Estimate, nothing: float) -> int:
    """1 where the whole interval is above, -1 where it is below, 0 where that is open."""
    if found.low is None or found.high is None:
        return 0
    return 1 if found.low > nothing else -1 if found.high < nothing else 0


def _until_clear(gained: Estimate, n: int) -> int | None:
    """Questions until the interval leaves 1, as its width falls with the root of their number."""
    if gained.value is None or gained.low is None or gained.value <= 1:
        return None
    times = ((gained.value - gained.low) / (gained.value - 1)) ** 2
    return math.ceil(n * (times - 1)) if 1 < times <= _FURTHEST else None


def sentence(verdict: Verdict, why: Sequence[str]) -> str:
    """The verdict in words, with its reasons."""
    because = "; ".join(why)
    return {
        "use": "Use it" + (f": {because}" if because else ""),
        "trade_off": f"It is a trade: {because}",
        "not_yet": f"Do not use it yet, because {because}",
        "do_not": f"Do not use it, because {because}",
    }[verdict] + "."

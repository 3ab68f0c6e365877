"""What questions cost by phase, in tokens and money, and what a composition saves of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from langgraph_speceyes.bench.evidence import Evidence
from langgraph_speceyes.bench.statistics import Estimate, Floats, estimate, sums
from langgraph_speceyes.bench.sweep import Mask
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.front.costs import MILLION
from langgraph_speceyes.options import Price, Prices, check_prices
from langgraph_speceyes.traffic.record import Record

SIDES = ("judge", "speculator", "agent")
"""Who is paid, as prices name them."""
_PHASES = {"judge": "judge", "speculator": "speculate", "agent": "agent"}
KINDS: tuple[Literal["input", "output"], ...] = ("input", "output")


def read_prices(file: str | PathLike[str] | None = None, given: Sequence[str] = ()) -> Prices | None:
    """Prices from a JSON file, and from texts, which come after it.

    Args:
        file: ``{"agent": {"input": 2.5, "output": 10}, "speculator": ..., "judge": ...}``, as `prices=` takes them.
        given: ``agent=2.5/10``, or ``agent=2.5`` for both kinds of tokens.

    Returns:
        None where neither says anything.

    Raises:
        ArgumentError: The file cannot be read, or they are no prices.
    """
    values: Any = {}
    if file is not None:
        try:
            values = json.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArgumentError("prices", "a JSON file", f"{file}: {error}") from error
    check_prices(values)
    for text in given:
        side, _, amounts = text.partition("=")
        read, _, written = amounts.partition("/")
        try:
            values = {**values, side.strip(): {"input": float(read), "output": float(written or read)}}
        except ValueError:
            raise ArgumentError("price", "SIDE=INPUT/OUTPUT, such as agent=2.5/10", repr(text)) from None
    check_prices(values)
    return cast(Prices, values) if values else None


def tokens_of(evidence: Evidence, records: Mapping[str, Record]) -> dict[str, Floats]:
    """Tokens read and written for each question by each side, ``[n, 2]``; 0 where a model does not say.

    Args:
        evidence: The questions, of a run or a journal.
        records: The journal's, by id.
    """
    rows: list[Mapping[str, Any]]
    if evidence.is_journal:
        rows = [records[id]["tokens"] for id in evidence.ids]
    else:
        rows = [
            {
                "judge": o["tokens"].get("judge", {}),
                "speculate": o["speculator"]["tokens"] if o["speculator"] else {},
                "agent": o["agent"]["tokens"] if o["agent"] else {},
            }
            for o in evidence.outcomes
        ]
    return {
        side: np.array([[row.get(phase, {}).get(kind, 0) for kind in KINDS] for row in rows], dtype=np.float64)
        for side, phase in _PHASES.items()
    }


@dataclass(frozen=True)
class Savings:
    """What a question costs with the bypass and without, and the difference; means over the questions.

    Attributes:
        seconds_alone: Of the agent alone.
        seconds: With the bypass.
        seconds_saved: The difference.
        tokens_alone: By kind, of the agent alone.
        tokens: By side and kind, with the bypass. The agent's include the audits'.
        tokens_saved: Of both kinds together; no figure where the agent's model reports no tokens.
        money_alone: Of the agent alone; None without prices.
        money: With the bypass.
        money_saved: The difference; None without prices.
        audit: Share of accepted answers that the agent answers again: it costs tokens, not time.
    """

    seconds_alone: float
    seconds: float
    seconds_saved: Estimate
    tokens_alone: dict[str, float]
    tokens: dict[str, dict[str, float]]
    tokens_saved: Estimate
    money_alone: float | None
    money: float | None
    money_saved: Estimate | None
    audit: float = field(default=0.0)


def savings(
    agent_s: Floats,
    seconds: Floats,
    tokens: Mapping[str, Floats],
    ran: Mapping[str, Mask],
    *,
    prices: Prices | None,
    audit: float,
    groups: Sequence[str] | None = None,
) -> Savings:
    """Add up what the phases that run cost.

    Args:
        agent_s: Seconds of the agent alone, ``[n]``.
        seconds: With the bypass, ``[n]``.
        tokens: By side, ``[n, 2]``.
        ran: Which questions each side sees, ``[n]``.
        prices: What tokens cost; None for no money.
        audit: Share of accepted answers that are audited.
        groups: Questions that are drawn together.
    """
    n = len(agent_s)
    # an audited answer costs the agent's tokens with that probability
    weights = {side: np.asarray(mask, dtype=np.float64) for side, mask in ran.items()}
    weights["agent"] = weights["agent"] + audit * ~ran["agent"]
    spent = {side: weights[side][:, None] * tokens[side] for side in SIDES}
    alone = tokens["agent"]
    saved = alone.sum(axis=1) - sum(part.sum(axis=1) for part in spent.values())
    counted = bool(alone.any())
    money = money_alone = money_saved = None
    if prices is not None and counted:
        paid = {side: _money(prices, side, part) for side, part in spent.items() if part.any()}
        before, after = _money(prices, "agent", alone), sum(paid.values(), np.zeros(n))
        money_alone, money = float(before.mean()), float(after.mean())
        money_saved = _mean(before - after, groups)
    return Savings(
        seconds_alone=float(agent_s.mean()),
        seconds=float(seconds.mean()),
        seconds_saved=_mean(agent_s - seconds, groups),
        tokens_alone=dict(zip(KINDS, alone.mean(axis=0).tolist(), strict=True)),
        tokens={side: dict(zip(KINDS, part.mean(axis=0).tolist(), strict=True)) for side, part in spent.items()},
        tokens_saved=_mean(saved, groups) if counted else Estimate(None, None, None, n),
        money_alone=money_alone,
        money=money,
        money_saved=money_saved,
        audit=audit,
    )


def _money(prices: Prices, side: str, tokens: Floats) -> Floats:
    price = cast("dict[str, Price]", prices).get(side)
    if price is None:
        raise ArgumentError("prices", f"a price for the {side}, which has used tokens", ", ".join(prices))
    return np.asarray(tokens @ np.array([price[kind] for kind in KINDS]) / MILLION, dtype=np.float64)


def _mean(values: Floats, groups: Sequence[str] | None) -> Estimate:
    return estimate(lambda means: np.asarray(means[..., 0]), [sums([values], groups)])

"""Journals whose right advice is known: scores, agreement, seconds and tokens by rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langgraph_speceyes.traffic import Record, SQLiteJournal
from tests.traffic.records import made

GATE = "0123456789abcdef"
TOKENS = {
    "judge": {"input": 700, "output": 1},
    "speculate": {"input": 600, "output": 5},
    "agent": {"input": 2400, "output": 160},
}
EASY = 0.55
"""Share of questions on which the score is high and the answers agree, in :func:`stream`."""


def stream(
    n: int,
    *,
    seed: int = 0,
    coin: bool = False,
    agent_s: float = 0.3,
    judge: bool = True,
    need: float | None = None,
    groups: Sequence[str] = ("easy", "hard"),
    **fields: Any,
) -> list[Record]:
    """Shadow records: half the questions are easy; or, with `coin`, neither score nor judge knows anything.

    Judge, speculator and agent take 12 ms, 28 ms and `agent_s` on the average, the last two with some noise.
    """
    rng = np.random.default_rng(seed)
    records = []
    for k in range(n):
        easy = bool(rng.random() < EASY)
        score = float(rng.random() if coin else 1 / (1 + np.exp(-rng.normal(4.5 if easy else 0.0, 1.0))))
        agree = bool(rng.random() < (0.5 if coin else 0.998 if easy else 0.35))
        known = float(rng.random() if coin else np.clip(rng.normal(0.2 if easy else 0.7, 0.15), 0, 1))
        tool_need = known if need is None else need
        noise = rng.lognormal(0, 0.3, 2) / np.exp(0.045)
        records.append(
            made(
                f"q{k}",
                gate=GATE,
                at=1.78e9 + 60 * k,
                group=groups[0 if easy else -1] if groups else None,
                tool_need=tool_need if judge else None,
                judge_threshold=0.5 if judge else None,
                order="judge_first" if judge else None,
                screened=judge and tool_need >= 0.5,
                score=score,
                scores={"odds": score},
                agree=agree,
                agreed_by="rule",
                settled=True,
                seconds={
                    **({"judge": 0.012} if judge else {}),
                    "speculate": 0.027 * float(noise[0]),
                    "gate": 0.001,
                    "agent": agent_s * float(noise[1]),
                },
                tokens=TOKENS,
            )
            | fields  # type: ignore[operator]
        )
    return records


def written(file: Path, records: Sequence[Record]) -> Path:
    """A journal of records."""
    journal = SQLiteJournal(file)
    journal.write_many(records)
    journal.close()
    return file

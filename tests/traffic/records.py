"""Records for tests: whole ones with what a test cares about, and any at all."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import strategies as st

from langgraph_speceyes.traffic.record import OF_LOOKS, DepthRecord, Record

PICTURE = "data:image/png;base64," + "iVBORw0KGgo" + "A" * 200


def made(id: str, **fields: Any) -> Record:
    """A record of a shadow run."""
    record: dict[str, Any] = {
        "id": id,
        "at": 1_780_000_000.5,
        "gate": "0123456789abcdef",
        "group": None,
        "mode": "shadow",
        "route": "fallback",
        "would": "bypass",
        "decided_by": "gate",
        "reason": None,
        "order": "judge_first",
        "tool_need": 0.1,
        "judge_threshold": 0.5,
        "screened": False,
        "score_name": "odds",
        "score": 0.97,
        "scores": {"odds": 0.97, "min": 0.91, "log": None},
        "threshold": 0.95,
        "k": 20,
        "audit_rate": 1.0,
        "audited": True,
        "agree": None,
        "agreed_by": None,
        "agree_probability": None,
        "settled": False,
        "speculator_right": None,
        "agent_right": None,
        "seconds": {"judge": 0.01, "speculate": 0.02, "agent": 0.3},
        "tokens": {"agent": {"input": 900, "output": 80}},
        "error": None,
        "question": None,
        "speculation": None,
        "answer": None,
        "images": [],
    }
    assert set(record) == set(Record.__annotations__) - set(OF_LOOKS)
    assert set(fields) <= {*record, *OF_LOOKS}
    return cast(Record, {**record, **fields})


_numbers = st.none() | st.floats(0, 1)
_names = st.none() | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)

records = st.builds(
    made,
    id=st.integers(0, 9).map(str),
    at=st.floats(0, 4e9),
    group=_names,
    tool_need=_numbers,
    score=_numbers,
    scores=st.dictionaries(st.sampled_from(["odds", "min", "mean"]), _numbers),
    agree=st.none() | st.booleans(),
    settled=st.booleans(),
    question=_names,
    answer=_names,
    images=st.lists(st.sampled_from(["a.png", "https://x.org/b.jpg#xywh=1,2,3,4", "sha256:" + "0" * 64]), max_size=2),
)
"""Records that a journal with texts keeps as they are, of few ids."""


def deeper(depth: int, **fields: Any) -> DepthRecord:
    """An answer after a look, in a journal without texts."""
    record: dict[str, Any] = {
        "depth": depth,
        "look": "tiles 0123abcd",
        "score": 0.9,
        "scores": {"odds": 0.9, "min": 0.8},
        "threshold": 0.95,
        "k": 20,
        "accepted": False,
        "seconds": 0.05,
        "agree": None,
        "agreed_by": None,
        "agree_probability": None,
        "speculator_right": None,
        "speculation": None,
        "error": None,
    }
    return cast(DepthRecord, {**record, **fields})

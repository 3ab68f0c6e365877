"""What each key of the benchmark is called, and what the embedded pair is meant to reach."""

from __future__ import annotations

WORDS = {
    "speceyes_over_cascade": "speed of SpecEyes over a plain cascade, both calibrated alike, total time (x)",
    "speceyes_over_judge_only": "speed of SpecEyes over the judge alone, both calibrated alike, total time (x)",
    "speedup_total": "speed-up over the agent with the same caches, total time (x)",
    "speedup_cached": "the same, mean of {splits} (x)",
    "speedup_plain_total": "speed-up over the agent without caches, total time (x)",
    "speedup_plain": "the same, mean of {splits} (x)",
    "speedup_dense": "speed-up over the agent with the same caches, split dense (x)",
    "gate_off_ratio_judge": "latency with the judge in front, everything sent to the agent, over the agent's (x)",
    "gate_off_ratio_all": "latency with judge and speculator in front, nothing accepted, over the agent's (x)",
    "throughput_over_agent": "throughput over the agent's, both 32 at once (x)",
    "throughput_over_limit": "throughput at 32 at once over 1 / (1 - beta alpha) times the agent's one at a time (x)",
    "batched_decode_ratio": "agent turns decoded 8 wide over one at a time, tokens a second (x)",
    "prefill_share": "share of prompt tokens computed in runs of 2 or 3 tool steps",
    "overhead_ms": "graph and own Python on the bypass route (ms)",
    "gate_python_ms": "entries and scores of an answer of 20 tokens in Python (ms)",
    "gate_time_share": "top-K and scores against a forward of a 2B model, both on a CPU (share)",
    "gate_memory_ratio": "memory of the candidates against all logits (share)",
}
"""By key; `{splits}` is how many there are."""

AIMS = {
    "gate_off_ratio_judge": "<= 1.02",
    "gate_off_ratio_all": "<= 1.10",
    "speedup_plain": ">= 2.5",
    "speedup_cached": ">= 1.73",
    "speedup_dense": ">= 1.3",
    "throughput_over_limit": ">= 2",
    "batched_decode_ratio": ">= 3",
    "prefill_share": "<= 0.40",
    "overhead_ms": "<= 5",
    "gate_time_share": "<= 0.01",
    "gate_memory_ratio": "<= 0.002",
}
"""What the embedded pair is meant to reach on two CPU cores; of the paper's gains, those in its units."""


def words(key: str, splits: int | None) -> str:
    """A key in words.

    Args:
        key: One of the benchmark's.
        splits: How many splits its questions have, if known.
    """
    return WORDS[key].format(splits=f"{splits} splits" if splits else "the splits")

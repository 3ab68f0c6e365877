"""The gate at the size of a real model: its time against forward passes, what it keeps against all logits."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from types import SimpleNamespace
from typing import Any

from langgraph_speceyes.bench.speed.figures import Figure, Part, left_out, paired, spread, typical
from langgraph_speceyes.bench.speed.subjects import Bench
from langgraph_speceyes.scoring import score_answer

KEYS = ("gate_python_ms", "gate_time_share", "gate_memory_ratio")
_FP32 = 4


@dataclass(frozen=True)
class Shape:
    """A language model's sizes; those of Qwen3-VL-2B-Instruct (its config.json) unless told otherwise.

    Attributes:
        vocabulary: Entries of the distribution.
        hidden: Size of the residual stream.
        layers: Decoder layers.
        heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Size of a head.
        intermediate: Size of the feed-forward layer.
        context: Tokens in the cache that each step attends to.
        batch: Answers decoded together.
        tokens: Tokens of an answer.
        k: Candidates kept for each token; the paper's ``K``, more than the default gate asks for.
    """

    vocabulary: int = 151_936
    hidden: int = 2048
    layers: int = 28
    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 128
    intermediate: int = 6144
    context: int = 256
    batch: int = 8
    tokens: int = 20
    k: int = 64


async def measure(bench: Bench, shape: Shape | None = None) -> Part:
    """Time and memory of top-K and scores for a batch of answers of a 2B model, in 32 bits on this machine's CPU.

    `gate_time_share` is against a forward pass on a CPU, where passes are slow: on an accelerator the share is larger,
    and what stays as it is is `gate_python_ms`, the entries and scores of one answer in Python and NumPy.

    Time: decoding steps only, without reading prompts and images, which would make the share smaller. Two decoder
    layers and the output layer with random weights are run for one step, and the layers' time is scaled to all of them;
    top-K, its entries as `logprobs` and the scores are the package's own code. One step of each in turn. Memory:
    the bytes of what a batch's completions hold once it is decoded, against the logits of all its steps in 32 bits.
    """
    try:
        import torch
    except ModuleNotFoundError:
        return Part({key: left_out("torch is not installed") for key in KEYS})
    shape = shape or Shape()
    bench.report(f"gate: vocabulary {shape.vocabulary}, batch {shape.batch}, K = {shape.k}")
    with torch.inference_mode():
        forward, whole = _forward(shape)
        rows = []
        for _ in range(4 if bench.quick else 12):
            began = time.perf_counter()
            forward()
            layers_s = time.perf_counter() - began
            began = time.perf_counter()
            logits = whole()
            head_s = time.perf_counter() - began
            steps, top_s = _decoded(logits, shape)
            scores_s = _scored(steps, shape.k)
            step_s = layers_s / 2 * shape.layers + head_s
            rows.append({"forward_s": shape.tokens * step_s, "top_s": top_s, "scores_s": scores_s, "head_s": head_s})
        rows = rows[1:]  # the first one warms up
        kept = sum(held_bytes(steps[row]) for row in range(shape.batch))
    everything = all_logits(shape)
    part = Part(
        {
            "gate_python_ms": _milliseconds([r["scores_s"] / shape.batch for r in rows]),
            "gate_time_share": paired([r["top_s"] + r["scores_s"] for r in rows], [r["forward_s"] for r in rows]),
            # exact: nothing varies
            "gate_memory_ratio": Figure(kept / everything, kept / everything, kept / everything, 1),
        }
    )
    part.details = {
        "shape": vars(shape),
        "repeats": rows,
        "kept_bytes": kept,
        "all_logits_bytes": everything,
        "kept_numbers_bytes": kept_numbers(shape),
        "top_s": spread([r["top_s"] for r in rows]),
        "scores_s": spread([r["scores_s"] for r in rows]),
    }
    least = kept_numbers(shape) / everything
    of = f"{shape.tokens} steps for {shape.batch} answers"
    scores = [r["scores_s"] for r in rows]
    part.rows = [
        (f"gate, top-K of {of}, CPU", _milliseconds([r["top_s"] for r in rows]), "ms"),
        (f"gate, entries and scores of {shape.batch} answers, Python", _milliseconds(scores), "ms"),
        (f"forward of {of}, CPU, scaled", _milliseconds([r["forward_s"] for r in rows]), "ms"),
        ("memory if ids and values were bare 32-bit numbers", Figure(least, least, least, 1), "ratio"),
    ]
    return part


def all_logits(shape: Shape) -> int:
    """Bytes of the logits of every step of a batch in 32 bits: ``B * T * V * 4``."""
    return shape.batch * shape.tokens * shape.vocabulary * _FP32


def kept_numbers(shape: Shape) -> int:
    """Bytes of the K candidates and the chosen token of every step as 32-bit ids and values."""
    return shape.batch * shape.tokens * (shape.k + 1) * 2 * _FP32


def held_bytes(value: Any, seen: set[int] | None = None) -> int:
    """Bytes of a value and all it holds, each object counted once; arrays and tensors with their data."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, type):
        return 0
    seen.add(id(value))
    size = sys.getsizeof(value)
    data = getattr(value, "untyped_storage", None)
    if callable(data):
        return size + int(data().nbytes())
    if isinstance(value, dict):
        return size + sum(held_bytes(k, seen) + held_bytes(v, seen) for k, v in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return size + sum(held_bytes(one, seen) for one in value)
    if (base := getattr(value, "base", None)) is not None and hasattr(value, "nbytes"):
        return size + held_bytes(base, seen)  # a view keeps the whole array
    if hasattr(value, "__dict__"):
        size += held_bytes(vars(value), seen)
    elif is_dataclass(value):
        size += sum(held_bytes(getattr(value, f.name), seen) for f in fields(value))
    return size


def _milliseconds(seconds: Sequence[float]) -> Figure:
    return typical([1e3 * s for s in seconds])


def _forward(shape: Shape) -> tuple[Any, Any]:
    """One decoding step through two layers, and the output layer's logits ``[batch, vocabulary]`` of its result."""
    import torch
    from transformers import DynamicCache
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

    config = Qwen3VLTextConfig(
        vocab_size=8,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=2,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        rope_parameters={"rope_type": "default", "rope_theta": 5e6, "mrope_section": _sections(shape.head_dim)},
    )
    model: Any = Qwen3VLTextModel(config).float().eval()
    head = torch.nn.Linear(shape.hidden, shape.vocabulary, bias=False)
    past = torch.randn(shape.batch, shape.kv_heads, shape.context, shape.head_dim)
    hidden = torch.randn(shape.batch, 1, shape.hidden)
    at = torch.full((shape.batch, 1), shape.context)

    def layers() -> None:
        cache = DynamicCache([(past, past)] * 2)
        model(inputs_embeds=hidden, past_key_values=cache, position_ids=at[None].expand(3, -1, -1), use_cache=True)

    def logits() -> Any:
        return head(hidden[:, 0])

    return layers, logits


def _sections(head_dim: int) -> list[int]:
    """How rotary dimensions are shared out among time, height and width."""
    side = head_dim // 2 // 3
    return [head_dim // 2 - 2 * side, side, side]


def _decoded(logits: Any, shape: Shape) -> tuple[list[Any], float]:
    """The steps that the engine keeps of a batch of answers, and the seconds that taking them took."""
    from langgraph_speceyes.models.engine import _Recorder
    from langgraph_speceyes.models.request import Request
    from langgraph_speceyes.models.sampling import Sampler

    engine: Any = SimpleNamespace(end_ids=frozenset())
    recorder = _Recorder(engine, Sampler(0.0, None))
    recorder.add([Request("", max_tokens=shape.tokens, top=shape.k)] * shape.batch)
    chosen = logits.argmax(-1)
    began = time.perf_counter()
    for _ in range(shape.tokens):
        recorder.step(chosen, logits, range(shape.batch))
    return list(recorder.steps.values()), time.perf_counter() - began


def _scored(steps: Sequence[Sequence[Any]], k: int) -> float:
    """Seconds of the `logprobs` entries and the scores of every answer."""
    from langgraph_speceyes.models.engine import Engine

    words = SimpleNamespace(decode=lambda ids, **options: "".join(f"word{one}" for one in ids))
    engine: Any = SimpleNamespace(tokenizer=words, _words={}, _before=[])

    def entry(candidate: Any) -> dict[str, Any]:
        return Engine.token_entry(engine, candidate)

    # a token's text is looked up once in the life of a model
    for answer in steps:
        for step in answer:
            for candidate in (step.chosen, *step.top):
                entry(candidate)
    began = time.perf_counter()
    for answer in steps:
        score_answer([{**entry(s.chosen), "top_logprobs": [entry(c) for c in s.top]} for s in answer], k=k)
    return time.perf_counter() - began

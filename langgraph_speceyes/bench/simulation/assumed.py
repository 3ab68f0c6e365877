"""What neither the paper nor a run says, for a 7B model in 16 bits under transformers' `generate` on an A100 40 GB."""

from __future__ import annotations

TURN_TOKENS = 119
"""Tokens of one turn: 414 tokens in 3.48 rounds, which the paper gives for SpecReason on the same agent."""
TOKEN_S = 0.030
"""Seconds of one decoding step, and of what a pass of newcomers shares. Assumed: reading 15 GB of weights at 1.555 TB/s
(NVIDIA's data sheet of the A100 40 GB) takes 10 ms, and an eager step of 28 layers about three times as long, for the
small model too, since launching the kernels is what takes long. Calls beside each other add nothing to it: reading
the keys and values of 16,384 tokens, 0.9 GB, takes 0.6 ms."""
PREFILL_TOKENS_PER_S = 0.5 * 312e12 / (2 * 7.6e9)
"""Prefill at half the A100's 312 TFLOPS in bfloat16, 2 FLOP a token and weight. Assumed; attention's share left out."""
SMALL = 2.0 / 7.6
"""Weights of the small model over those of the large one."""
CORES = 12
"""Cores beside one accelerator: what Google rents out with an A100 40 GB (a2-highgpu-1g)."""
TOOL_S = 0.1
"""Seconds of a crop, its resizing and encoding. Assumed."""
SPREAD = 0.5
"""Coefficient of variation of a turn's tokens. Assumed."""

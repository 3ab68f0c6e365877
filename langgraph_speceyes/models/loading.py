"""Loading a checkpoint's weights: where to, and in which type."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

# transformers makes models on a default device of the whole process while it loads one
_loading = threading.Lock()


def load_model(
    model_id: str,
    *,
    revision: str | None,
    device: str | torch.device | None,
    dtype: torch.dtype | str | None,
    options: Mapping[str, Any],
) -> Any:
    """Load a model, ready to answer.

    Args:
        model_id: Hub id or folder.
        revision: Hub revision.
        device: Where to; None is CUDA, else MPS, else the CPU.
        dtype: Of the weights; None is what the device is best at.
        options: Further arguments of `from_pretrained`.
    """
    where = torch.device(device) if device is not None else _best_device()
    with _loading:
        model = AutoModelForImageTextToText.from_pretrained(
            model_id, revision=revision, dtype=dtype or _best_dtype(where), **options
        )
    return model.to(where).eval()


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _best_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16

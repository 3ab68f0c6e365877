"""How much a local model may hold at once: key-value slots, and slots of one pass."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from langgraph_speceyes.errors import ArgumentError

PASS = 2048
"""Slots (rows times columns, padding included) that one pass of a prefill computes at most."""
LEAST_PASS = 64
"""What that is not lowered below."""

# The rest is for activations, image features and other programs; the processor's memory is everybody's.
_SHARE, _SHARE_OF_HOST = 0.8, 0.5
# Free memory is looked at again after so many seconds.
_FRESH_S = 1.0
# What was short may be free again: after so long without a shortage there is twice as much to try.
_RECOVER_S = 60.0
_UNKNOWN = 2**62
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")

_logger = logging.getLogger(__name__)


class Memory:
    """The budget of key-value slots and of a pass.

    Both shrink when the device runs out of memory, and double with each minute without a shortage until nothing but
    free memory limits them: the memory may have been another program's.

    Args:
        model: The model.
        slots: Most key-value slots (rows times columns); None is what free memory has room for.

    Raises:
        ArgumentError: `slots` is below 1.
    """

    def __init__(self, model: Any, slots: int | None = None) -> None:
        if slots is not None and slots < 1:
            raise ArgumentError("kv_tokens", "at least 1 token, or None", slots)
        self.device: torch.device = model.device
        self.slot_bytes = slot_bytes(model.config, model.dtype)
        self.pass_slots = PASS
        self._given, self._most, self._free, self._seen = slots, _UNKNOWN, _UNKNOWN, -_FRESH_S
        self._short: float | None = None

    @property
    def largest(self) -> int:
        """Slots that there is room for at all, as of when :meth:`slots` was last asked."""
        return self._free if self._given is None else self._given

    def slots(self) -> int:
        """Most slots of all prompts under way, by the memory that is free; ask while none are held."""
        self._recover()
        if self._given is None and time.monotonic() - self._seen >= _FRESH_S:
            free = free_bytes(self.device)
            share = _SHARE_OF_HOST if self.device.type == "cpu" else _SHARE
            self._free = _UNKNOWN if free is None else int(share * free) // self.slot_bytes
            self._seen = time.monotonic()
        return max(1, min(self._most, self.largest))

    def _recover(self) -> None:
        if self._short is None or time.monotonic() - self._short < _RECOVER_S:
            return
        self._most, self.pass_slots, self._short = 2 * self._most, min(PASS, 2 * self.pass_slots), time.monotonic()
        if self._most >= self.largest and self.pass_slots == PASS:
            self._most, self._short = _UNKNOWN, None

    def shrink(self, ends: Sequence[int]) -> bool:
        """The device had no room.

        Args:
            ends: Tokens that each of the prompts under way would have come to.

        Returns:
            Whether there is anything left to do without.
        """
        if len(ends) > 1:
            self._most = 3 * min(self._most, len(ends) * max(ends)) // 4
        elif self.pass_slots <= LEAST_PASS:
            # that says nothing about shorter ones
            self.pass_slots = PASS
            return False
        self.pass_slots = max(LEAST_PASS, self.pass_slots // 2)
        self._short = time.monotonic()
        _logger.warning(
            "%s is out of memory: for now at most %d slots a pass, and %d key-value slots (%.3g GB)",
            self.device,
            self.pass_slots,
            self.slots(),
            self.slots() * self.slot_bytes / 1e9,
        )
        return True


def slot_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of the keys and values of one token in all layers."""
    text = config.get_text_config(decoder=True)
    # layers of some models (Gemma 4) have heads of other sizes than their neighbours
    layers = text.per_layer_config if text.is_heterogeneous else [text] * int(text.num_hidden_layers)
    return 2 * sum(map(_layer_size, layers)) * dtype.itemsize


def _layer_size(layer: Any) -> int:
    queries = int(layer.num_attention_heads)
    heads = int(getattr(layer, "num_key_value_heads", None) or queries)
    return heads * int(getattr(layer, "head_dim", None) or layer.hidden_size // queries)


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free on a device, that included which torch holds without using it; None where nobody knows."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return free_host_bytes() if device.type == "cpu" else None


def free_host_bytes() -> int | None:
    """Memory that is free for a process of this machine, within the limit of its container (Linux)."""
    found = []
    try:
        line = next(line for line in _MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        found.append(1024 * int(line.split()[1]))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit != "max":
            # files that were read are counted as used, and given up when memory is short
            stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
            found.append(max(0, int(limit) - int(used) + int(stat.get("inactive_file", 0))))
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # the processor's allocator and MPS raise a plain RuntimeError
    words = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(one in str(error) for one in words)


def release(device: torch.device) -> None:
    """Give back what torch holds without using it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()

"""Patch embedding as one matrix product."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def flatten_patches(model: Any) -> bool:
    """Embed patches with one matrix product: the same numbers as the convolution, several times faster on a CPU.

    Qwen-style processors hand over each patch as one row, so a convolution whose stride is its kernel sees every row
    once.

    Args:
        model: A vision-language model, which is changed.

    Returns:
        Whether it has such a convolution.
    """
    embed = getattr(getattr(getattr(model, "model", None), "visual", None), "patch_embed", None)
    conv = getattr(embed, "proj", None)
    if embed is None or not isinstance(conv, nn.Conv3d) or conv.kernel_size != conv.stride or conv.groups != 1:
        return False

    def forward(pixels: Tensor) -> Tensor:
        rows = pixels.view(-1, conv.weight[0].numel()).to(conv.weight.dtype)
        return F.linear(rows, conv.weight.flatten(1), conv.bias)

    embed.forward = forward
    return True

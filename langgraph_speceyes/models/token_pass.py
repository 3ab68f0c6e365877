"""One further token of each row through the language models of Qwen-VL, without what transformers wraps around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

FAMILIES = frozenset({"Qwen2VLTextModel", "Qwen2_5_VLTextModel", "Qwen3VLTextModel"})
"""The classes whose layers are known to be what is computed here."""

_Weights = tuple[Tensor, Tensor | None]


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's weights, and how it attends."""

    attention: Any
    query: _Weights
    key: _Weights
    value: _Weights
    out: _Weights
    norms: Tensor | None
    """Weights of the norms of queries and keys, ``[heads, 1, size]``; None where they have none."""
    norm_eps: float
    before: Tensor
    before_eps: float
    behind: Tensor
    behind_eps: float
    gate: _Weights
    up: _Weights
    down: _Weights
    act: Any


class TokenPass:
    """The forward pass of one new token a row, over keys and values that are written in place.

    The operations are those of the model's own code, in the same order, so the logits are the same to the last bit.
    What is left out is what a pass of one token does not need: masks of many tokens, positions of images, records of
    hidden states, and a call of each module by way of its hooks. On a CPU that is a third of a small model's time.

    Args:
        model: A model that :meth:`of` has found to be of the kind.
    """

    def __init__(self, model: Any) -> None:
        text = model.model.language_model
        self._embedding, self._head = model.get_input_embeddings(), model.get_output_embeddings()
        self._layers = [_layer(one) for one in text.layers]
        self._norm, self._eps = text.norm.weight, text.norm.variance_epsilon
        self._frequencies: Tensor = text.rotary_emb.inv_freq.float()
        self._scaling = text.rotary_emb.attention_scaling

    @classmethod
    def of(cls, model: Any) -> TokenPass | None:
        """The pass of a model.

        Returns:
            None where it is of another family, or anything in it has been changed: quantised weights, adapters, hooks,
            offloading, kernels, scaled positions.
        """
        text: Any = getattr(getattr(model, "model", None), "language_model", None)
        if type(text).__name__ not in FAMILIES or text.rotary_emb.rope_type != "default":
            return None
        plain = text.config._attn_implementation == "sdpa" and all(map(_untouched, text.modules()))
        linear = all(type(one) is nn.Linear for layer in text.layers for one in _linears(layer))
        devices = {one.device for one in text.parameters()}
        return cls(model) if plain and linear and len(devices) == 1 and not model.training else None

    def __call__(self, tokens: Tensor, positions: Tensor, mask: Tensor | None, cache: Cache) -> Tensor:
        """The logits that follow.

        Args:
            tokens: The new tokens, ``[rows, 1]``.
            positions: Their rotary positions, the same in all three dimensions, ``[rows, 1]``.
            mask: ``[rows, 1, 1, tokens]``, true where a token is seen; None where all are.
            cache: Keys and values, into which the new ones are written.

        Returns:
            ``[rows, vocabulary]``.
        """
        hidden = self._embedding(tokens)[:, 0]
        # all dimensions of the position are equal, so it does not matter which frequency belongs to which
        angles = positions[:, :, None].float() * self._frequencies
        cos, sin = angles.cos() * self._scaling, angles.sin() * self._scaling
        cos = torch.cat((cos, cos), dim=-1)[:, None].to(hidden.dtype)
        sin = torch.cat((sin, sin), dim=-1)[:, None].to(hidden.dtype)
        for layer, kept in zip(self._layers, cache.layers, strict=True):
            hidden = hidden + _attended(layer, _normed(hidden, layer.before, layer.before_eps), cos, sin, mask, kept)
            normed = _normed(hidden, layer.behind, layer.behind_eps)
            inner = layer.act(F.linear(normed, *layer.gate)) * F.linear(normed, *layer.up)
            hidden = hidden + F.linear(inner, *layer.down)
        logits: Tensor = self._head(_normed(hidden, self._norm, self._eps))
        return logits


def _attended(layer: _Layer, hidden: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, kept: Any) -> Tensor:
    rows, size = len(hidden), cos.shape[-1]
    query, key = F.linear(hidden, *layer.query), F.linear(hidden, *layer.key)
    # what is done to each head by itself is done to those of queries and keys at once
    both = torch.cat((query, key), dim=-1).view(rows, -1, 1, size)
    if layer.norms is not None:
        both = _normed(both, layer.norms, layer.norm_eps)
    half = size // 2
    turned = torch.cat((-both[..., half:], both[..., :half]), dim=-1)
    both = (both * cos) + (turned * sin)
    heads = query.shape[-1] // size
    keys, values = kept.update(both[:, heads:], F.linear(hidden, *layer.value).view(rows, -1, 1, size))
    attention = layer.attention
    found, _ = sdpa_attention_forward(attention, both[:, :heads], keys, values, mask, scaling=attention.scaling)
    return F.linear(found.reshape(rows, -1), *layer.out)


def _normed(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = hidden.to(torch.float32)
    variance = wide.pow(2).mean(-1, keepdim=True)
    return weight * (wide * torch.rsqrt(variance + eps)).to(hidden.dtype)


def _layer(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    query, key, value, out, gate, up, down = ((one.weight, one.bias) for one in _linears(layer))
    norms, eps = None, 0.0
    if hasattr(attention, "q_norm"):
        size, eps = attention.head_dim, attention.q_norm.variance_epsilon
        each = [
            norm.weight.expand(projection[0].shape[0] // size, size)
            for norm, projection in ((attention.q_norm, query), (attention.k_norm, key))
        ]
        norms = torch.cat(each)[:, None].detach()
    return _Layer(
        attention=attention,
        query=query,
        key=key,
        value=value,
        out=out,
        norms=norms,
        norm_eps=eps,
        before=layer.input_layernorm.weight,
        before_eps=layer.input_layernorm.variance_epsilon,
        behind=layer.post_attention_layernorm.weight,
        behind_eps=layer.post_attention_layernorm.variance_epsilon,
        gate=gate,
        up=up,
        down=down,
        act=F.silu if type(mlp.act_fn).__name__ in ("SiLU", "SiLUActivation") else mlp.act_fn,
    )


def _linears(layer: Any) -> Sequence[Any]:
    attention, mlp = layer.self_attn, layer.mlp
    return (
        *(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj),
        *(mlp.gate_proj, mlp.up_proj, mlp.down_proj),
    )


def _untouched(module: nn.Module) -> bool:
    """Whether a module does what its class says, and nothing besides."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return not hooks and "forward" not in module.__dict__ and not hasattr(module, "parametrizations")

"""The pair's architectures: Qwen3-VL for the speculator, Qwen2.5-VL for the agent, a few layers each."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from langgraph_speceyes.testbed import prompts
from langgraph_speceyes.testbed.training.tape import PATCHES, token_id
from langgraph_speceyes.testbed.world import COLUMNS, ROWS, WORDS

HEAD = 32
# rotary frequencies of a head of 32: 16, shared by time, row and column
SECTIONS = [6, 5, 5]


def _ids(tokenizer: Tokenizer) -> dict[str, Any]:
    ids = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {key: token_id(tokenizer, token) for key, token in ids.items()}


def _text(tokenizer: Tokenizer, width: int, layers: int, rope: dict[str, Any]) -> dict[str, Any]:
    heads = width // HEAD
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": SECTIONS, **rope},
        # transformers' 0.02 is made for wide models: at this width attention would hardly differ from uniform for long
        "initializer_range": round(width**-0.5, 3),
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": token_id(tokenizer, "<|im_end|>"),
        "pad_token_id": token_id(tokenizer, "<|endoftext|>"),
    }


def _vision(width: int, layers: int, view: int) -> dict[str, Any]:
    return {
        "depth": layers,
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_heads": width // HEAD,
        "out_hidden_size": width,
        "patch_size": view // PATCHES,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }


def _prepare(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """What makes looking things up easy to learn, beside random weights.

    Half of the heads begin with keys equal to queries, so that a word attends to what shows or says the same, and with
    an output that is their values turned back, so that what they attend to is copied. Where queries and keys are
    normalised, they begin with a gain that lets one token get more of the attention. The name of a cell begins as the
    sum of a column and a row, so that 36 names take no more room than 12, and a label's word begins alike with and
    without a space before it.
    """
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            attention = layer.self_attn
            half = HEAD * -(-attention.config.num_attention_heads // 2)
            attention.k_proj.weight[:half] = attention.q_proj.weight[:half]
            attention.o_proj.weight[:, :half] = attention.v_proj.weight[:half].T
            for norm in (getattr(attention, name, None) for name in ("q_norm", "k_norm")):
                if norm is not None:
                    norm.weight.fill_(1.4)
        words = model.get_input_embeddings().weight
        for column in COLUMNS:
            for row in ROWS:
                parts = words[token_id(tokenizer, column)] + words[token_id(tokenizer, row)]
                (cell,) = tokenizer.encode(f" {column}{row}").ids
                words[cell] = parts / 2**0.5
        for word in WORDS:
            (said,), (seen,) = (tokenizer.encode(f"{space}{word}").ids for space in (" ", ""))
            words[said] = words[seen]


def new_speculator(tokenizer: Tokenizer, width: int = 96) -> PreTrainedModel:
    """A randomly initialised Qwen3-VL: 3 text and 2 vision layers."""
    text = _text(tokenizer, width, 3, {"mrope_interleaved": True}) | {"head_dim": HEAD}
    vision = _vision(width, 2, prompts.SPECULATOR_VIEW) | {
        "num_position_embeddings": 144,
        "deepstack_visual_indexes": [0],
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **_ids(tokenizer))
    model = Qwen3VLForConditionalGeneration(config)
    _prepare(model, tokenizer)
    return model


def new_agent(tokenizer: Tokenizer, width: int = 128) -> PreTrainedModel:
    """A randomly initialised Qwen2.5-VL: 4 text and 3 vision layers, all with full attention."""
    text = _text(tokenizer, width, 4, {})
    vision = _vision(width, 3, prompts.VIEW) | {"window_size": prompts.VIEW, "fullatt_block_indexes": [0, 1, 2]}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **_ids(tokenizer))
    model = Qwen2_5_VLForConditionalGeneration(config)
    _prepare(model, tokenizer)
    return model

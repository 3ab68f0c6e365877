"""Families that are not in the table, each for a peculiarity of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.errors import ArgumentError
from langgraph_speceyes.models.limits import BATCHED
from tests.models.asking import CASES, CLOSE, Reference, asked, together
from tests.models.conftest import DEVICE, Families
from tests.models.families import FAMILIES, TEXT, VISION, WORKING, Family

# transformers' own, about NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

_CHAT = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_QWEN = "<|vision_start|><|image_pad|><|vision_end|>"
JANUS = Family(
    "Janus",
    "janus",
    lambda t: {
        "text_config": TEXT | {"model_type": "llama", "vocab_size": len(t)},
        "vision_config": VISION | {"image_size": 28, "patch_size": 14, "projection_dim": 32, "num_image_tokens": 4},
        "vq_config": {
            "embed_dim": 8,
            "num_embeddings": 16,
            "latent_channels": 8,
            "base_channels": 32,
            "num_patches": 2,
            "channel_multiplier": [1],
            "num_res_blocks": 1,
            "projection_dim": 8,
            "image_token_embed_dim": 8,
        },
        "image_token_id": t.convert_tokens_to_ids("<image_placeholder>"),
    },
    special=[*_CHAT, "<image_placeholder>", "<begin_of_image>", "<end_of_image>"],
    named={
        "image_token": "<image_placeholder>",
        "boi_token": "<begin_of_image>",
        "eoi_token": "<end_of_image>",
    },
    eos="<|im_end|>",
    processor=("JanusProcessor", {"num_image_tokens": 4}),
    images=("JanusImageProcessor", {"size": {"height": 28, "width": 28}}),
    template="qwen2",
    replaced={_QWEN: "<image_placeholder>"},
)
HUNYUAN = Family(
    "HunYuan-VL",
    "hunyuan_vl",
    lambda t: {
        "text_config": TEXT
        | {"head_dim": 16, "vocab_size": len(t)}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2, 2]}},
        "vision_config": VISION
        | {"out_hidden_size": 32, "text_hidden_size": 32, "num_key_value_heads": 2, "patch_size": 16}
        | {"img_max_token_num": 256, "max_image_size": 256},
        **{f"{name}_id": t.convert_tokens_to_ids(f"<{name}>") for name in ("image_token", "im_start", "im_end")},
        "im_newline_id": t.convert_tokens_to_ids("<im_newline>"),
    },
    special=[*_CHAT, "<image_token>", "<im_start>", "<im_end>", "<im_newline>"],
    named={"image_token": "<image_token>", "image_start_token": "<im_start>", "image_end_token": "<im_end>"},
    eos="<|im_end|>",
    processor=("HunYuanVLProcessor", {}),
    images=("HunYuanVLImageProcessor", {"size": {"shortest_edge": 1024, "longest_edge": 65536}}),
    template="qwen2",
    replaced={_QWEN: "<im_start><image_token><im_end>"},
)


def load(family: Family, folder: Path) -> LocalChatModel:
    family.write(folder)
    return LocalChatModel.from_pretrained(folder, device=DEVICE, dtype=torch.float32)


def test_a_model_with_a_way_of_its_own_to_generate_shows_its_logits(families: Families, tmp_path: Path) -> None:
    """Janus' drops what watches them: there were no candidates, and each token had probability 1."""
    chat = load(JANUS, tmp_path)
    answer = asked(chat, CASES["image"])
    difference = answer.compare(Reference(str(tmp_path), JANUS, DEVICE)(CASES["image"]))
    assert isinstance(difference, float), difference
    assert difference <= CLOSE
    drawn = {tuple(asked(chat, CASES["text"], temperature=5.0, seed=seed).tokens) for seed in range(4)}
    assert len(drawn) > 1


def test_scores_that_a_model_hides_are_an_error(families: Families, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = families.load("Gemma 3")
    model = chat._engine.model

    class Remote(type(model)):  # type: ignore[misc]
        def generate(self, *args: object, logits_processor: object = None, **kwargs: object) -> object:
            return super().generate(*args, **kwargs)

    monkeypatch.setattr(model, "__class__", Remote)
    with pytest.raises(ArgumentError, match="model: expected one that shows its logits, found Remote"):
        asked(chat, CASES["text"])


def test_what_nobody_has_compared_in_a_batch_is_generated_alone(families: Families, tmp_path: Path) -> None:
    """HunYuan-VL counts images over all prompts of a batch, and their number is a position."""
    chat = load(HUNYUAN, tmp_path)
    cases = [CASES["image"], CASES["large"], CASES["text"]]
    for messages, answer in zip(cases, together(chat, cases), strict=True):
        difference = answer.compare(asked(chat, messages))
        assert isinstance(difference, float), difference
        assert difference <= CLOSE
    assert not chat.capabilities.batched
    assert "plain, one call at a time" in chat.capabilities.describe()
    assert families.chat("Gemma 3").capabilities.batched


def test_calls_share_passes_where_the_matrix_compares_them() -> None:
    assert {family.kind for family in FAMILIES.values()} >= BATCHED >= {FAMILIES[title].kind for title in WORKING}

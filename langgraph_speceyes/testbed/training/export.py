"""A trained model as an ordinary transformers checkpoint folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from langgraph_speceyes.testbed.training.tape import MERGE, PATCHES

TEMPLATE = Path(__file__).parents[1] / "chat_template.jinja"


def export(model: PreTrainedModel, tokenizer: Tokenizer, folder: Path, *, processor_class: str) -> None:
    """Write weights (float32 safetensors), tokenizer, processor, chat template and generation settings.

    Args:
        model: The trained model.
        tokenizer: Its tokenizer.
        folder: Where to write; made if missing, its files are replaced.
        processor_class: ``Qwen3VLProcessor`` or ``Qwen2_5_VLProcessor``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "vision_start_token": "<|vision_start|>",
            "vision_end_token": "<|vision_end|>",
        },
    )
    fast.save_pretrained(folder)
    shutil.copy(TEMPLATE, folder / "chat_template.jinja")
    patch = int(model.config.vision_config.patch_size)
    pixels = (PATCHES * patch) ** 2
    images = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "size": {"shortest_edge": pixels, "longest_edge": pixels},
        "patch_size": patch,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": processor_class,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(images, indent=2) + "\n")
    video = images | {"video_processor_type": "Qwen2VLVideoProcessor"}
    del video["image_processor_type"]
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video, indent=2) + "\n")
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, max_new_tokens=96
    )
    model.to(torch.float32).save_pretrained(folder)

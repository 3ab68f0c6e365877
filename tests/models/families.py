"""Tiny checkpoints of real families: their configurations, processors and special tokens, random weights.

Templates are in the style of the published ones (`templates/`): their roles, marks, tools and peculiarities.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText, GenerationConfig, PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parent / "templates"

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
}
VISION: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
Make = Callable[[PreTrainedTokenizerFast], dict[str, Any]]


@dataclass(frozen=True)
class Family:
    """What a family's checkpoint is made of.

    Attributes:
        title: Its name in the table.
        kind: Its name in transformers.
        config: Its configuration, given the tokenizer.
        special: Special tokens.
        markup: Added tokens that are not special.
        named: Special tokens that the tokenizer has names for.
        bos: Begins each text; None for no such token.
        eos: Ends each turn.
        processor: The processor's class, and its own settings.
        images: The image processor's class, and its settings.
        template: The chat template's file, or None.
        replaced: Text of the template, and what is there instead.
        texts: Roles whose turns the template takes as text, not as blocks.
        no_system: Whether the template refuses a system prompt beside an image.
        refused: Words of the error that loading it is here; empty for a family that works.
    """

    title: str
    kind: str
    config: Make
    special: list[str]
    eos: str
    processor: tuple[str, dict[str, Any]]
    images: tuple[str, dict[str, Any]]
    template: str | None
    markup: list[str] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)
    bos: str | None = None
    replaced: dict[str, str] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    no_system: bool = False
    refused: str = ""

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A tokenizer of single bytes and the family's tokens."""
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        made = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=[]))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in self.special])
        made.add_tokens([AddedToken(one, special=False, normalized=False) for one in self.markup])
        if self.bos is not None:
            pair = f"{self.bos} $A {self.bos} $B"
            begin = [(self.bos, made.token_to_id(self.bos))]
            made.post_processor = processors.TemplateProcessing(
                single=f"{self.bos} $A", pair=pair, special_tokens=begin
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=made,
            bos_token=self.bos,
            eos_token=self.eos,
            pad_token=self.special[0],
            padding_side="left",
            extra_special_tokens=self.named,
        )

    def chat_template(self) -> str:
        """The template's source."""
        source = (TEMPLATES / f"{self.template}.jinja").read_text()
        for old, new in self.replaced.items():
            source = source.replace(old, new)
        return source.rstrip("\n")

    def write(self, folder: Path) -> Path:
        """Write a checkpoint into a folder; one that is refused gets no weights."""
        tokenizer = self.tokenizer()
        config = CONFIG_MAPPING[self.kind](**self.config(tokenizer))
        if self.refused:
            config.save_pretrained(folder)
        else:
            torch.manual_seed(0)
            model = AutoModelForImageTextToText.from_config(config)
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if weight.dim() > 1:
                        weight.normal_(0, 0.5 if "embed" in name else 0.1)
            ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
            model.generation_config = GenerationConfig(**ends)
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if self.template is not None:
            (folder / "chat_template.jinja").write_text(self.chat_template())
        name, settings = self.processor
        (folder / "processor_config.json").write_text(json.dumps({"processor_class": name} | settings))
        kind, options = self.images
        pil = getattr(transformers, kind + "Pil", None) if not self.refused else None
        known = pil(**options).to_dict() if pil else options
        known |= {"image_processor_type": kind, "processor_class": name}
        (folder / "preprocessor_config.json").write_text(json.dumps(known, default=str))
        return folder


def _ids(tokenizer: PreTrainedTokenizerFast, **names: str) -> dict[str, int]:
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def _rope(*sections: int, **more: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": list(sections), **more}


def _text(tokenizer: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    return TEXT | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id} | more


# the Qwen family

_QWEN_SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]
_QWEN_MARKUP = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
_QWEN_SEES = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}


def _qwen(title: str, kind: str, text: dict[str, Any], vision: dict[str, Any], **more: Any) -> Family:
    new = kind.startswith("qwen3")
    patch, most = (16, 40_000) if new else (14, 30_000)

    def config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
        parts = {"text_config": _text(tokenizer, **text), "vision_config": vision, "tie_word_embeddings": False}
        return parts | _ids(tokenizer, **_QWEN_SEES)

    settings: dict[str, Any] = {
        "special": _QWEN_SPECIAL,
        "markup": _QWEN_MARKUP,
        "named": {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
        "eos": "<|im_end|>",
        "processor": (
            "Qwen3VLProcessor" if new else "Qwen2_5_VLProcessor" if "5" in kind else "Qwen2VLProcessor",
            {},
        ),
        "images": (
            "Qwen2VLImageProcessor",
            {"patch_size": patch, "merge_size": 2, "size": {"shortest_edge": 1568, "longest_edge": most}},
        ),
        "template": "qwen3" if new else "qwen2",
    }
    return Family(title, kind, config, **(settings | more))


_SEE2 = {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
_SEE25 = {
    "depth": 2,
    "hidden_size": 16,
    "out_hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 32,
    "patch_size": 14,
    "window_size": 56,
    "fullatt_block_indexes": [1],
}
_SEE3 = {
    "depth": 2,
    "hidden_size": 16,
    "out_hidden_size": 32,
    "num_heads": 2,
    "intermediate_size": 32,
    "patch_size": 16,
    "num_position_embeddings": 64,
}
_DEEP = {**_SEE3, "deepstack_visual_indexes": [0, 1]}
_ROPE2, _ROPE3 = {"rope_parameters": _rope(2, 3, 3)}, {"rope_parameters": _rope(2, 3, 3, mrope_interleaved=True)}
_LINEAR: dict[str, Any] = {
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
    "rope_parameters": _rope(1, 1, 0, mrope_interleaved=True, partial_rotary_factor=0.25),
}
_SLIDING = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}

# GLM, LLaVA, Gemma and others

_GLM_SPECIAL = [
    *("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
    *("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>", "<|image|>", "<|video|>"),
]
_GLM_MARKUP = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
    *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
]
_GLM_SEES = {
    "image_token_id": "<|image|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_token_id": "<|video|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}


def _glm(title: str, kind: str, template: dict[str, Any], **text: Any) -> Family:
    vision = _SEE25 | {"image_size": 112}
    return Family(
        title,
        kind,
        lambda t: (
            {"text_config": _text(t, **text), "vision_config": vision, "tie_word_embeddings": False}
            | _ids(t, **_GLM_SEES)
        ),
        special=_GLM_SPECIAL,
        markup=_GLM_MARKUP,
        named={"image_token": "<|image|>", "video_token": "<|video|>"},
        eos="<|user|>",
        processor=("Glm4vProcessor", {}),
        images=("Glm4vImageProcessor", {"size": {"shortest_edge": 1568, "longest_edge": 30_000}}),
        **template,
    )


_CLIP = VISION | {"model_type": "clip_vision_model", "image_size": 28, "patch_size": 14, "projection_dim": 16}
_SIGLIP = VISION | {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14}
_PINS = [[28, 56], [56, 28], [56, 56]]
_LLAMA = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]


def _llava(title: str, kind: str, processor: str, images: tuple[str, dict[str, Any]], **config: Any) -> Family:
    return Family(
        title,
        kind,
        lambda t: (
            {"text_config": _text(t, model_type="llama"), "vision_config": _CLIP, "tie_word_embeddings": False}
            | _ids(t, image_token_id="<image>")
            | config
        ),
        special=_LLAMA,
        named={"image_token": "<image>"},
        bos="<s>",
        eos="</s>",
        processor=(
            processor,
            {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        ),
        images=images,
        template="llava",
    )


def _idefics(title: str, kind: str, name: str, bos: str, **more: Any) -> Family:
    places = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    return Family(
        title,
        kind,
        lambda t: (
            {"text_config": _text(t, model_type="llama"), "scale_factor": 2, "tie_word_embeddings": False}
            | {"vision_config": VISION | {"image_size": 28, "patch_size": 7}, "pad_token_id": t.pad_token_id}
            | _ids(t, image_token_id="<image>")
        ),
        special=[
            *("<pad>", bos, "<end_of_utterance>", "<fake_token_around_image>", "<image>"),
            *("<global-img>", *places),
        ],
        bos=bos,
        eos="<end_of_utterance>",
        processor=(f"{name}Processor", {"image_seq_len": 4}),
        images=(f"{name}ImageProcessor", {"size": {"longest_edge": 84}, "max_image_size": {"longest_edge": 28}}),
        template="idefics",
        replaced={"<|im_start|>": bos},
        **more,
    )


_GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>"]
_SLIDES = {"head_dim": 16, "sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"]}
_GEMMA4 = [
    *("<|turn>", "<turn|>", "<|image>", "<image|>", "<|image|>", "<|audio>", "<audio|>", "<|audio|>", "<|video|>"),
    *("<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
    *("<|think|>", "<|channel>", "<channel|>", '<|"|>'),
]
_MISTRAL = [
    *("<pad>", "<s>", "</s>", "<unk>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[TOOL_CALLS]"),
    *("[ARGS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    *("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
]
_LLAMA3 = [
    *("<|finetune_right_pad_id|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|python_tag|>", "<|image|>"),
]
_ALL = [
    _qwen("Qwen2-VL", "qwen2_vl", _ROPE2, _SEE2),
    _qwen("Qwen2.5-VL", "qwen2_5_vl", _ROPE2, _SEE25),
    _qwen("Qwen2.5-VL with a sliding window", "qwen2_5_vl", _ROPE2 | _SLIDING, _SEE25),
    _qwen("Qwen3-VL", "qwen3_vl", _ROPE3 | {"head_dim": 16}, _DEEP),
    _qwen("Qwen3-VL-MoE", "qwen3_vl_moe", _ROPE3 | MIXTURE | {"head_dim": 16, "decoder_sparse_step": 1}, _DEEP),
    _qwen("Qwen3.5", "qwen3_5", _LINEAR, _SEE3, template="qwen3_5"),
    _qwen(
        "Qwen3.5-MoE",
        "qwen3_5_moe",
        _LINEAR | MIXTURE | {"shared_expert_intermediate_size": 16},
        _SEE3,
        template="qwen3_5",
    ),
    # as in GLM-4.1V and GLM-4.5V
    _glm(
        "GLM-4V",
        "glm4v",
        {"template": "glm4v", "texts": ("system", "assistant")},
        rope_parameters=_rope(2, 3, 3, partial_rotary_factor=1.0),
    ),
    _glm(
        "GLM-4V-MoE",
        "glm4v_moe",
        {"template": "glm"},
        head_dim=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        n_shared_experts=1,
        first_k_dense_replace=1,
        n_group=1,
        topk_group=1,
        rope_parameters=_rope(1, 1, 2, partial_rotary_factor=0.5),
    ),
    Family(
        "PaddleOCR-VL",
        "paddleocr_vl",
        lambda t: (
            {"text_config": _text(t, head_dim=16, rope_parameters=_rope(2, 3, 3)), "tie_word_embeddings": False}
            | {"vision_config": VISION | {"image_size": 112, "patch_size": 14}}
            | _ids(t, image_token_id="<|IMAGE_PLACEHOLDER|>", vision_start_token_id="<|IMAGE_START|>")
        ),
        special=[
            *("<unk>", "<s>", "</s>", "<|begin_of_sentence|>", "<|end_of_sentence|>"),
            *("<|IMAGE_START|>", "<|IMAGE_END|>", "<|IMAGE_PLACEHOLDER|>"),
        ],
        named={"image_token": "<|IMAGE_PLACEHOLDER|>"},
        eos="</s>",
        processor=("PaddleOCRVLProcessor", {}),
        images=("PaddleOCRVLImageProcessor", {"size": {"shortest_edge": 1568, "longest_edge": 30_000}}),
        template="paddleocr",
    ),
    _llava(
        "LLaVA",
        "llava",
        "LlavaProcessor",
        ("CLIPImageProcessor", {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}),
    ),
    _llava(
        "LLaVA-NeXT",
        "llava_next",
        "LlavaNextProcessor",
        (
            "LlavaNextImageProcessor",
            {
                "size": {"shortest_edge": 28},
                "crop_size": {"height": 28, "width": 28},
                "image_grid_pinpoints": _PINS,
            },
        ),
        image_grid_pinpoints=_PINS,
    ),
    Family(
        "LLaVA-OneVision",
        "llava_onevision",
        lambda t: (
            {"text_config": _text(t, model_type="qwen2"), "image_grid_pinpoints": _PINS, "tie_word_embeddings": False}
            | {"vision_config": _SIGLIP | {"vision_use_head": False}}
            | _ids(t, image_token_id="<image>", video_token_id="<video>")
        ),
        special=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"],
        named={"image_token": "<image>", "video_token": "<video>"},
        eos="<|im_end|>",
        processor=("LlavaOnevisionProcessor", {"num_image_tokens": 4, "vision_feature_select_strategy": "full"}),
        images=(
            "LlavaOnevisionImageProcessor",
            {"size": {"height": 28, "width": 28}, "image_grid_pinpoints": _PINS},
        ),
        template="llava_onevision",
    ),
    _idefics("Idefics3", "idefics3", "Idefics3", "<|begin_of_text|>"),
    _idefics("SmolVLM", "smolvlm", "SmolVLM", "<|im_start|>", refused="SmolVLMProcessor needs num2words"),
    Family(
        "InternVL",
        "internvl",
        lambda t: (
            {"text_config": _text(t, model_type="qwen2"), "image_seq_length": 4, "downsample_ratio": 0.5}
            | {"vision_config": VISION | {"image_size": [56, 56], "patch_size": [14, 14]}}
            | {"tie_word_embeddings": False}
            | _ids(t, image_token_id="<IMG_CONTEXT>")
        ),
        special=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<IMG_CONTEXT>", "<img>", "</img>", "<video>"],
        markup=_QWEN_MARKUP,
        named={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        eos="<|im_end|>",
        processor=("InternVLProcessor", {"image_seq_length": 4}),
        images=(
            "GotOcr2ImageProcessor",
            {"size": {"height": 56, "width": 56}, "crop_to_patches": True, "min_patches": 1, "max_patches": 4},
        ),
        template="internvl",
    ),
    Family(
        "Gemma 3",
        "gemma3",
        lambda t: (
            {"text_config": _text(t, query_pre_attn_scalar=16, **_SLIDES), "mm_tokens_per_image": 1}
            | {"vision_config": _SIGLIP | {"vision_use_head": False}}
            | _ids(t, boi_token_index="<start_of_image>", eoi_token_index="<end_of_image>")
            | _ids(t, image_token_index="<image_soft_token>", image_token_id="<image_soft_token>")
        ),
        special=[
            *(*_GEMMA, "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>"),
            "<image_soft_token>",
        ],
        named={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
        bos="<bos>",
        eos="<end_of_turn>",
        processor=("Gemma3Processor", {"image_seq_length": 1}),
        images=("Gemma3ImageProcessor", {"size": {"height": 28, "width": 28}, "image_seq_length": 1}),
        template="gemma3",
    ),
    Family(
        "Gemma 4",
        "gemma4",
        lambda t: (
            {
                "text_config": _text(
                    t,
                    **_SLIDES,
                    global_head_dim=32,
                    num_kv_shared_layers=0,
                    hidden_size_per_layer_input=0,
                    vocab_size_per_layer_input=len(t),
                ),
                "vision_config": VISION
                | {"num_key_value_heads": 2, "head_dim": 8, "patch_size": 14, "pooling_kernel_size": 2}
                | {"position_embedding_size": 64, "default_output_length": 16},
                "audio_config": None,
            }
            | _ids(t, boi_token_id="<|image>", eoi_token_id="<image|>", image_token_id="<|image|>")
            | _ids(t, video_token_id="<|video|>", audio_token_id="<|audio|>")
        ),
        special=[*_GEMMA, *_GEMMA4],
        named={
            "image_token": "<|image|>",
            "boi_token": "<|image>",
            "eoi_token": "<image|>",
            "audio_token": "<|audio|>",
            "boa_token": "<|audio>",
            "eoa_token": "<audio|>",
            "video_token": "<|video|>",
        },
        bos="<bos>",
        eos="<turn|>",
        processor=("Gemma4Processor", {"image_seq_length": 70}),
        images=("Gemma4ImageProcessor", {"patch_size": 14, "pooling_kernel_size": 2, "max_soft_tokens": 70}),
        template="gemma4",
    ),
    Family(
        "Llama 3.2 Vision",
        "mllama",
        lambda t: {
            "text_config": _text(
                t,
                cross_attention_layers=[1],
                rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
                **_ids(t, bos_token_id="<|begin_of_text|>", eos_token_id="<|eot_id|>"),
            ),
            "vision_config": VISION
            | {"num_global_layers": 1, "attention_heads": 2, "image_size": 28, "patch_size": 14, "max_num_tiles": 4}
            | {"vision_output_dim": 32, "intermediate_layers_indices": [0]},
            "image_token_index": t.convert_tokens_to_ids("<|image|>"),
        },
        special=_LLAMA3,
        named={"image_token": "<|image|>"},
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        processor=("MllamaProcessor", {}),
        images=("MllamaImageProcessor", {"size": {"height": 28, "width": 28}, "max_image_tiles": 4}),
        template="mllama",
        no_system=True,
    ),
    Family(
        "Mistral 3, Pixtral",
        "mistral3",
        lambda t: (
            {"text_config": _text(t, model_type="mistral", head_dim=16, sliding_window=None), "spatial_merge_size": 2}
            | {"vision_config": VISION | {"model_type": "pixtral", "image_size": 56, "patch_size": 14, "head_dim": 8}}
            | _ids(t, image_token_index="[IMG]", image_token_id="[IMG]")
        ),
        special=_MISTRAL,
        named={"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"},
        bos="<s>",
        eos="</s>",
        processor=("PixtralProcessor", {"patch_size": 14, "spatial_merge_size": 2}),
        images=("PixtralImageProcessor", {"size": {"longest_edge": 56}, "patch_size": 14}),
        template="mistral",
        refused="PixtralProcessor needs torchvision",
    ),
    Family(
        "LFM2-VL",
        "lfm2_vl",
        lambda t: (
            {"text_config": _text(t, model_type="lfm2", layer_types=["conv", "full_attention"]), "downsample_factor": 2}
            | {"vision_config": VISION | {"model_type": "siglip2_vision_model", "patch_size": 16, "num_patches": 64}}
            | _ids(t, image_token_id="<image>")
        ),
        special=[
            *("<|pad|>", "<|startoftext|>", "<|im_start|>", "<|im_end|>", "<image>"),
            *(f"<|tool_{what}_{end}|>" for what in ("list", "call", "response") for end in ("start", "end")),
        ],
        named={"image_token": "<image>"},
        bos="<|startoftext|>",
        eos="<|im_end|>",
        processor=("Lfm2VlProcessor", {}),
        images=("Lfm2VlImageProcessor", {}),
        template="lfm2",
        refused="Lfm2VlProcessor needs torchvision",
    ),
    Family(
        "PaliGemma",
        "paligemma",
        lambda t: (
            {"text_config": _text(t, model_type="gemma", head_dim=16), "projection_dim": 32}
            | {"vision_config": _SIGLIP | {"projection_dim": 32}}
            | _ids(t, image_token_id="<image>")
        ),
        special=[*_GEMMA, "<image>"],
        named={"image_token": "<image>"},
        bos="<bos>",
        eos="<eos>",
        processor=("PaliGemmaProcessor", {}),
        images=("SiglipImageProcessor", {"size": {"height": 28, "width": 28}, "image_seq_length": 4}),
        template=None,
        refused="a paligemma model without one",
    ),
    Family(
        "Florence-2",
        "florence2",
        lambda t: (
            {"text_config": {"model_type": "bart", "vocab_size": len(t), "d_model": 32, "encoder_layers": 1}}
            | _ids(t, image_token_id="<image>")
        ),
        special=_LLAMA,
        named={"image_token": "<image>"},
        bos="<s>",
        eos="</s>",
        processor=("Florence2Processor", {"num_additional_image_tokens": 1}),
        images=("CLIPImageProcessor", {}),
        template=None,
        refused="with an encoder of its own",
    ),
]
FAMILIES = {family.title: family for family in _ALL}
WORKING = [family.title for family in _ALL if not family.refused]
TALKING = [family.title for family in _ALL if family.template]
"""Those with a chat template, whether or not their processors can be loaded here."""

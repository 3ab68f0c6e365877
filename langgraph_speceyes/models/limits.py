"""How long a prompt may be, checked before anything large is made of it."""

from __future__ import annotations

from typing import Any

from langchain_core import exceptions

from langgraph_speceyes import errors

# older releases of LangChain have no error of their own for it
_Overflow: type[Exception] = getattr(exceptions, "ContextOverflowError", exceptions.LangChainException)

_PIECE = 16_384
"""Characters that are counted at once."""
_CUT = 8
"""Tokens by which a cut may raise the count."""


class PromptTooLongError(errors.PromptTooLongError, _Overflow):  # type: ignore[misc, valid-type]
    """The same as LangChain's error, which the package's own errors are imported without."""


def context_length(config: Any) -> int | None:
    """Most tokens of a prompt and its answer, as the checkpoint says; None where it says nothing.

    Args:
        config: The checkpoint's configuration.
    """
    text = config.get_text_config(decoder=True)
    most = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or {}
    # scaled positions reach further than those the model was first trained on
    stretched = (rope.get("original_max_position_embeddings") or 0) * (rope.get("factor") or 1)
    return max(int(most), int(stretched)) if most else None


BATCHED = frozenset(
    {
        *("gemma3", "gemma4", "glm4v", "glm4v_moe", "idefics3", "internvl", "lfm2_vl", "llava", "llava_next"),
        *("llava_onevision", "mistral3", "mllama", "paddleocr_vl", "qwen2_5_vl", "qwen2_vl", "qwen3_5"),
        *("qwen3_5_moe", "qwen3_vl", "qwen3_vl_moe", "smolvlm"),
    }
)
"""Kinds of models whose answers in a batch were compared with those alone. Others may count images over all prompts of
a batch (HunYuan-VL), or mix them up by padding."""


def batches(config: Any) -> bool:
    """Whether a prompt's answer is the same beside others in a batch.

    Args:
        config: The checkpoint's configuration.
    """
    return config.model_type in BATCHED and not positions_by_length(config)


def positions_by_length(config: Any) -> str | None:
    """The kind of rotary positions that are others for all prompts of a batch once one of them is long.

    Args:
        config: The checkpoint's configuration.

    Returns:
        Its name, as transformers has it; None where a prompt's positions are its own.
    """
    rope = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    kinds = {part.get("rope_type") for part in (rope, *rope.values()) if isinstance(part, dict)}
    return next((kind for kind in ("dynamic", "longrope") if kind in kinds), None)


def check_text(tokenizer: Any, text: str, most: int | None) -> None:
    """Refuse a text that has more tokens than a context, in the time it takes to count a context's worth of them.

    Texts that may fit pass: they are counted when they are tokenized.

    Args:
        tokenizer: The tokenizer.
        text: The prompt.
        most: Tokens of the context; None refuses nothing.

    Raises:
        PromptTooLongError: It has more.
    """
    if most is None or len(text) <= most:
        return
    count = cuts = begin = 0
    while begin < len(text):
        end = begin + _PIECE
        # a cut before a space splits no word
        space = text.rfind(" ", begin + 1, end) if end < len(text) else -1
        end = space if space > 0 else end
        # more than the context has is what is looked for, nothing to be warned of
        count += len(tokenizer(text[begin:end], add_special_tokens=False, verbose=False)["input_ids"])
        cuts, begin = cuts + 1, end
        if count - _CUT * cuts >= most:
            raise PromptTooLongError(most - 1, f"more than {count - _CUT * cuts} in {len(text)} characters")


def check_tokens(count: int, most: int | None, what: str = "the model's context") -> None:
    """Refuse a prompt that leaves no room for an answer.

    Args:
        count: Its tokens.
        most: Tokens that there is room for; None refuses nothing.
        what: What has that room.

    Raises:
        PromptTooLongError: They are not below that.
    """
    if most is not None and count >= most:
        raise PromptTooLongError(most - 1, str(count), what)

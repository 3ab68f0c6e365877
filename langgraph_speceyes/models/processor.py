"""A checkpoint's processor, whether or not torchvision is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from transformers import AutoProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name
from transformers.utils import cached_file


def load_processor(model_id: str, *, revision: str | None = None, **options: Any) -> Any:
    """Load the processor of a vision-language checkpoint.

    Without torchvision, `AutoProcessor` refuses families that also take video (Qwen-VL). For those the processor is
    built from its image processor and tokenizer alone: images work as ever, video is not offered.

    Args:
        model_id: Hub id or folder.
        revision: Hub revision.
        options: Passed on to ``from_pretrained``.

    Returns:
        The checkpoint's processor.
    """
    if importlib.util.find_spec("torchvision") is not None:
        return AutoProcessor.from_pretrained(model_id, revision=revision, **options)
    try:
        return AutoProcessor.from_pretrained(model_id, revision=revision, **options)
    except ImportError:
        family = _processor_class(model_id, revision)
        if family is None:
            raise
        attributes = classmethod(lambda cls: ["image_processor", "tokenizer"])
        images_only: Any = type(family.__name__, (family,), {"get_attributes": attributes})
        return images_only.from_pretrained(model_id, revision=revision, **options)


def _processor_class(model_id: str, revision: str | None) -> Any:
    for name in ("processor_config.json", "preprocessor_config.json", "config.json"):
        path = cached_file(model_id, name, revision=revision, _raise_exceptions_for_missing_entries=False)
        if path is None:
            continue
        settings = json.loads(Path(path).read_text())
        found = settings.get("processor_class") or PROCESSOR_MAPPING_NAMES.get(settings.get("model_type", ""))
        if found:
            return processor_class_from_name(found)
    return None

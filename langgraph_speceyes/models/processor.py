"""A checkpoint's processor, whether or not torchvision is installed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoProcessor, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name
from transformers.utils import cached_file

from langgraph_speceyes.errors import MissingLibraryError, describe_error

_FILES = ("processor_config.json", "preprocessor_config.json", "config.json")
_LIBRARIES = ("torchvision", "num2words", "sentencepiece", "mistral_common", "timm")


def load_processor(model_id: str, *, revision: str | None = None, **options: Any) -> Any:
    """Load the processor of a vision-language checkpoint.

    Without torchvision, `AutoProcessor` refuses families that also take video or sound. For those the processor is
    built from its image processor and tokenizer alone: images work as ever, nothing else is offered.

    Args:
        model_id: Hub id or folder.
        revision: Hub revision.
        options: Passed on to ``from_pretrained``.

    Returns:
        The checkpoint's processor.

    Raises:
        MissingLibraryError: It needs a library that is not installed, for images too.
    """
    try:
        return AutoProcessor.from_pretrained(model_id, revision=revision, **options)
    except (ImportError, ValueError, TypeError) as refused:
        family = _processor_class(model_id, {"revision": revision} | hub_options(options))
        if family is None:
            raise
        try:
            return _images_only(family).from_pretrained(model_id, revision=revision, **options)
        except (ImportError, ValueError, TypeError, AttributeError) as error:
            if (library := _library(error) or _library(refused)) is not None:
                raise MissingLibraryError(family.__name__, library) from error
            raise refused from error


def hub_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a model's arguments that say how files are come by, which hold for all of them."""
    return {key: options[key] for key in ("cache_dir", "force_download", "local_files_only", "token") if key in options}


def _images_only(family: Any) -> Any:
    """A processor class whose parts for video and sound are missing."""

    def arguments(cls: Any, *args: Any, **kwargs: Any) -> list[Any]:
        wanted = cls.get_attributes()
        parts: Any = type(family.__name__, (family,), {"get_attributes": classmethod(lambda _: _KEPT)})
        found = dict(zip(_KEPT, parts._get_arguments_from_pretrained(*args, **kwargs), strict=True))
        return [found.get(name) for name in wanted]

    def check(self: Any, name: str, part: Any) -> Any:
        return None if part is None else family.check_argument_for_proper_class(self, name, part)

    def render(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return family.apply_chat_template(self, *args, **kwargs)
        except AttributeError:
            # SmolVLM's own asks the part for videos for its settings
            return ProcessorMixin.apply_chat_template(self, *args, **kwargs)

    members = {"_get_arguments_from_pretrained": classmethod(arguments), "check_argument_for_proper_class": check}
    return type(family.__name__, (family,), members | {"apply_chat_template": render})


_KEPT = ["image_processor", "tokenizer"]


def _library(error: BaseException) -> str | None:
    """The library that an error is about."""
    words = re.findall(r"\w+", describe_error(error).lower())
    return next((name for name in _LIBRARIES if name in words), None)


def _processor_class(model_id: str, access: Mapping[str, Any]) -> Any:
    for name in _FILES:
        path = cached_file(model_id, name, **access, _raise_exceptions_for_missing_entries=False)
        if path is None:
            continue
        settings = json.loads(Path(path).read_text())
        found = settings.get("processor_class") or PROCESSOR_MAPPING_NAMES.get(settings.get("model_type", ""))
        if found:
            return processor_class_from_name(found)
    return None

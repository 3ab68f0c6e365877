"""Loading a checkpoint's weights: where to, in which type, and what is no checkpoint for a chat."""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationMixin
from transformers.utils import cached_file
from transformers.utils.hub import resolve_revision

from langgraph_speceyes.errors import ArgumentError, MissingLibraryError
from langgraph_speceyes.foreign import words_of
from langgraph_speceyes.models.processor import hub_options, load_processor

# transformers makes models on a default device of the whole process while it loads one
_loading = threading.Lock()
# parts of a vision tower that older checkpoints leave out, because no chat uses them
_UNUSED = re.compile(r"vision.*\.(head|pooler|post_layernorm)\.")


@dataclass(frozen=True)
class Checkpoint:
    """Where a checkpoint's parts are.

    Attributes:
        base: Hub id or folder of the weights, and of the processor.
        adapter: Of a LoRA on them, or None.
        revision: Hub revision of what the user named.
    """

    base: str
    adapter: str | None
    revision: str | None

    @classmethod
    def find(cls, model_id: str, revision: str | None, options: Mapping[str, Any]) -> Checkpoint:
        """Tell LoRA folders, which name their base, from whole checkpoints.

        Args:
            model_id: Hub id or folder.
            revision: Hub revision.
            options: Arguments of the model's `from_pretrained`.
        """
        access = hub_options(options)
        where = {key: value for key, value in access.items() if key != "force_download"}
        try:
            # once for all files; transformers no longer says which commit they are of
            revision = resolve_revision(model_id, revision, **where)
            path = cached_file(
                model_id,
                "adapter_config.json",
                revision=revision,
                **access,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
            )
        except OSError as error:
            raise _absent(model_id, error) from error
        if path is None:
            return cls(model_id, None, revision)
        try:
            settings = json.loads(Path(path).read_text())
        except ValueError as error:
            raise _absent(model_id, error) from error
        base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
        if not base:
            raise ArgumentError("model_id", "a LoRA that names its base_model_name_or_path", repr(model_id))
        return cls(base, model_id, revision)

    @property
    def commit(self) -> str | None:
        """The commit that the revision stood for, where there is one, else the revision."""
        return getattr(self.revision, "resolved", self.revision)

    @property
    def base_revision(self) -> str | None:
        """Revision of the base."""
        return None if self.adapter else self.revision


def _absent(name: str, error: Exception) -> ArgumentError:
    """What is said where there is no checkpoint, or none that transformers knows."""
    said = " ".join(words_of(error).split())
    if "trust_remote_code" in said:
        wanted = "one without code of its own (model_options={'trust_remote_code': True} runs it if you trust it)"
        return ArgumentError("model_id", wanted, repr(name))
    return ArgumentError("model_id", "a checkpoint's folder or Hub id", f"{name!r} ({said:.300})")


def load(
    checkpoint: Checkpoint,
    *,
    device: str | torch.device | None,
    dtype: torch.dtype | str | None,
    options: Mapping[str, Any],
    processor_options: Mapping[str, Any],
) -> tuple[Any, Any]:
    """Load a checkpoint's model, ready to answer, and its processor.

    Args:
        checkpoint: Where it is.
        device: Where to; None is CUDA, else MPS, else the CPU, or where `device_map` among the options says.
        dtype: Of the weights; None is what the device is best at.
        options: Further arguments of the model's `from_pretrained`.
        processor_options: Further arguments of the processor's.

    Raises:
        ArgumentError: It is no checkpoint for a chat, its files are incomplete, broken or no safetensors, it needs code
            of its own, or two arguments contradict each other.
        MissingLibraryError: A library that it needs is not installed.
    """
    named, revision = checkpoint.adapter or checkpoint.base, checkpoint.base_revision
    # transformers asks on the terminal where nothing is said
    options = {"trust_remote_code": False} | dict(options)
    access = hub_options(options) | {"trust_remote_code": options["trust_remote_code"]}
    try:
        config = AutoConfig.from_pretrained(checkpoint.base, revision=revision, **access)
    except (OSError, ValueError) as error:
        raise _absent(named, error) from error
    _refuse_others(config, named)
    try:
        processor = load_processor(checkpoint.base, revision=revision, **access | dict(processor_options))
    except (OSError, ValueError) as error:
        raise _absent(named, error) from error
    _refuse_silent(config, processor, named)
    settings: dict[str, Any] = {"use_safetensors": True} | options
    quantised = "quantization_config" in settings or getattr(config, "quantization_config", None) is not None
    settings["dtype"] = _one_of("dtype", dtype, settings.pop("dtype", None) or settings.pop("torch_dtype", None))
    spread = _one_of("device_map", None, settings.get("device_map"))
    if spread is not None and device is not None:
        raise ArgumentError("device", "None beside device_map", device)
    where = torch.device(device) if device is not None else best_device()
    if quantised and spread is None and where.type != "cpu":
        # quantised weights cannot be moved once they are loaded
        spread = settings["device_map"] = {"": where}
    if spread is not None and importlib.util.find_spec("accelerate") is None:
        raise MissingLibraryError("device_map" if not quantised else "a quantised checkpoint", "accelerate")
    if settings["dtype"] is None:
        settings["dtype"] = "auto" if quantised else best_dtype(where)
    with _loading:
        model = _weights(checkpoint.base, named, revision, settings, quantised=quantised)
        if checkpoint.adapter is not None:
            model = _with_adapter(model, checkpoint, hub_options(options), merge=not quantised)
    return (model if spread is not None or quantised else model.to(where)).eval(), processor


def best_device() -> torch.device:
    """CUDA, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def best_dtype(device: torch.device) -> torch.dtype:
    """What a device computes fast and well in: bfloat16 only where it has it, not where it is emulated."""
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def _weights(base: str, named: str, revision: str | None, settings: dict[str, Any], *, quantised: bool) -> Any:
    settings = settings | {"output_loading_info": True}
    if not quantised:
        # weights of other shapes are refused below, by name
        settings["ignore_mismatched_sizes"] = True
    try:
        model, told = AutoModelForImageTextToText.from_pretrained(base, revision=revision, **settings)
    except SafetensorError as error:
        wanted = "a checkpoint whose weights are whole (no pointers of Git LFS, no broken download)"
        raise ArgumentError("model_id", wanted, f"{named!r} ({error})") from error
    except OSError as error:
        if settings["use_safetensors"] is not True or "safetensors" not in str(error):
            raise
        raise ArgumentError(
            "model_id",
            "a checkpoint with safetensors (pickled weights can run code: model_options={'use_safetensors': False} "
            "loads them if you trust them)",
            repr(named),
        ) from error
    if not quantised:
        # what quantised layers make of the weights of others is for transformers to know
        _refuse_incomplete(model, told, named)
    return model


def _refuse_incomplete(model: Any, told: Mapping[str, Any], named: str) -> None:
    """Refuse weights that transformers has made up: what is missing, or has another shape, is random."""
    own = {name for name, _ in model.named_parameters()}
    missing = sorted(name for name in told["missing_keys"] if name in own and not _UNUSED.search(name))
    other = sorted(name for name, *_ in told["mismatched_keys"])
    for names, how in ((missing, "without"), (other, "with other shapes than its config.json's for")):
        if names:
            found = f"{named!r}, {how} {len(names)} of them ({names[0]}{', ...' if names[1:] else ''})"
            raise ArgumentError("model_id", "a checkpoint with all weights of its model", found)


def _with_adapter(model: Any, checkpoint: Checkpoint, access: Mapping[str, Any], *, merge: bool) -> Any:
    if importlib.util.find_spec("peft") is None:
        raise MissingLibraryError(f"the LoRA {checkpoint.adapter}", "peft")
    from peft import PeftModel

    wrapped = PeftModel.from_pretrained(model, checkpoint.adapter, revision=checkpoint.revision, **access)
    return wrapped.merge_and_unload() if merge else wrapped.get_base_model()


def _one_of(argument: str, first: Any, second: Any) -> Any:
    if first is not None and second is not None and first != second:
        raise ArgumentError(argument, f"one of it, found {first} here", f"{second} in model_options")
    return second if first is None else first


def _refuse_others(config: Any, named: str) -> None:
    if type(config) not in AutoModelForImageTextToText._model_mapping and not getattr(config, "auto_map", None):
        raise ArgumentError("model_id", "a vision-language checkpoint", f"{named!r}, a {config.model_type} model")
    if config.is_encoder_decoder:
        found = f"{named!r}, a {config.model_type} model with an encoder of its own for the text"
        raise ArgumentError("model_id", "a decoder-only checkpoint", found)
    if type(config) in AutoModelForImageTextToText._model_mapping:
        made = AutoModelForImageTextToText._model_mapping[type(config)]
        if not all(issubclass(one, GenerationMixin) for one in (made if isinstance(made, tuple) else (made,))):
            found = f"{named!r}, a {config.model_type} model"
            raise ArgumentError("model_id", "a checkpoint that writes one token after the other", found)


def _refuse_silent(config: Any, processor: Any, named: str) -> None:
    """Refuse a processor that cannot write a conversation."""
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or not hasattr(processor, "image_processor"):
        raise ArgumentError("model_id", "a checkpoint with a processor for images", f"{named!r} ({config.model_type})")
    if not (getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)):
        raise ArgumentError(
            "model_id", "a checkpoint with a chat template", f"{named!r}, a {config.model_type} model without one"
        )

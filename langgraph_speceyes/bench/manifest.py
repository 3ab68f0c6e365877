"""What a run was made with, so that its figures can be made again."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from langgraph_speceyes.bench.methods import Models
from langgraph_speceyes.bench.runs import FORMAT
from langgraph_speceyes.foreign import masked_text
from langgraph_speceyes.looks import look_id
from langgraph_speceyes.models.given import chat_models
from langgraph_speceyes.models.overview import pixels_for, pixels_sent
from langgraph_speceyes.prompts import MAX_ANSWER_TOKENS

_PACKAGES = (
    *("langgraph-speceyes", "langgraph", "langchain-core", "langchain-openai", "torch", "transformers", "numpy"),
    *("pillow", "rapidocr", "onnxruntime"),
)


def manifest(
    *,
    benchmark: Mapping[str, Any],
    questions: str | None,
    count: int,
    methods: Sequence[str],
    models: Models,
    concurrency: int,
    full: bool,
) -> dict[str, Any]:
    """Describe a run.

    Args:
        benchmark: Its name, where it is and how it was read.
        questions: What tells its questions from others in the same place.
        count: How many there are.
        methods: The methods as the command names them.
        models: What they are made of.
        concurrency: Questions under way at once.
        full: Whether agent and speculator answer every question.
    """
    origin = ("calibration", "prompts", "max_answer_tokens")
    gate = {key: value for key, value in asdict(models.gate).items() if key not in origin}
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [_program(Path(sys.argv[0])), *map(shortened, sys.argv[1:])],
        "benchmark": dict(benchmark),
        "questions": questions,
        "count": count,
        "methods": list(methods),
        "models": {
            "speculator": _identity(models.speculator),
            "large": _identity(models.large) if models.large else None,
            "agent": getattr(models.agent, "name", None),
        },
        **({"looks": [look_id(look) for look in models.looks]} if models.looks else {}),
        "gate": gate,
        "prompts": models.prompts.digest,
        "max_answer_tokens": MAX_ANSWER_TOKENS,
        "front_pixels": _front_pixels(models.speculator),
        "concurrency": concurrency,
        "batch_size": getattr(models.speculator, "batch_size", None),
        "full": full,
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": hardware(),
    }


def _front_pixels(speculator: BaseChatModel) -> int | None:
    """How large images are that the bypass of a run sends to the small model."""
    small = chat_models(speculator)
    return pixels_sent(pixels_for("auto", "speculator", small), small)


def hardware() -> dict[str, Any]:
    """What the run is on: processor, cores it may use, memory, accelerators, system."""
    found: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gb"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    # asked only of a torch that a model has loaded already
    if torch := sys.modules.get("torch"):
        cuda = torch.cuda
        found["accelerators"] = [cuda.get_device_name(k) for k in range(cuda.device_count())]
        found["threads"] = torch.get_num_threads()
    return found


def _program(file: Path) -> str:
    """What was called; a package that was (`python -m`) by its own name."""
    return file.parent.name if file.name == "__main__.py" else file.name


def shortened(argument: str) -> str:
    """An argument of a command without the folders of the machine that it ran on, and without credentials.

    A path below the working directory is shown from there, any other absolute one by its last part.
    """
    option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    if not os.path.isabs(value):
        return masked_text(argument)
    path = Path(os.path.abspath(value))
    here = Path.cwd()
    return option + equals + (str(path.relative_to(here)) if path.is_relative_to(here) else path.name)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _identity(model: BaseChatModel) -> dict[str, Any]:
    """A model's id, and what tells its weights apart: a hash of a folder's, or the revision a hub gave."""
    found: dict[str, Any] = {"class": type(model).__name__}
    for attribute in ("model_name", "model", "model_id"):
        if isinstance(name := getattr(model, attribute, None), str):
            found["id"] = name
            break
    where = getattr(model, "source", None)
    if isinstance(where, str) and Path(where).is_dir():
        found["weights"] = _hash(where)
    if isinstance(revision := getattr(model, "revision", None), str):
        found["revision"] = revision
    if isinstance(url := getattr(model, "openai_api_base", None), str):
        found["url"] = masked_text(url)
    return found


@cache
def _hash(folder: str) -> str:
    digest = hashlib.sha256()
    for file in sorted(Path(folder).glob("*.safetensors")):
        with file.open("rb") as weights:
            while block := weights.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]

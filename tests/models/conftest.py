"""Tiny checkpoints of real families, each made and loaded once a session."""

from __future__ import annotations

import os
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.utils import logging

from langgraph_speceyes import LocalChatModel
from langgraph_speceyes.models.rendering import Renderer
from tests.models.families import FAMILIES

DEVICE = os.environ.get("SPECEYES_DEVICE", "cpu")
"""Where families are run; `make test-gpu` says so."""


class Families:
    """Checkpoints of families, by title."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self.folder = cache(self._write)
        self.chat = cache(self.load)
        self.renderer = cache(self._renderer)

    def _renderer(self, title: str) -> Renderer:
        """What writes its prompts; prompts need no processor that cannot be loaded here."""
        family = FAMILIES[title]
        if not family.refused:
            return self.chat(title)._renderer
        tokenizer = family.tokenizer()
        tokenizer.chat_template = family.chat_template()
        image, render = family.named.get("image_token", "<image>"), tokenizer.apply_chat_template
        return Renderer(SimpleNamespace(tokenizer=tokenizer, image_token=image, apply_chat_template=render))

    def _write(self, title: str) -> str:
        folder = self._root / title.replace(" ", "-").replace(",", "")
        folder.mkdir()
        return str(FAMILIES[title].write(folder))

    def load(self, title: str, **options: Any) -> LocalChatModel:
        """A model of its own."""
        where: dict[str, Any] = {"device": DEVICE, "dtype": torch.float32, "model_name": title}
        return LocalChatModel.from_pretrained(self.folder(title), **(where | options))


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # in convolutions the default, and three digits less
    torch.backends.cudnn.allow_tf32 = False
    return Families(tmp_path_factory.mktemp("families"))

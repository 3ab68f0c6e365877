"""Tiny checkpoints of real families, each made and loaded once a session."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from transformers.utils import logging

from langgraph_speceyes import LocalChatModel
from tests.models.families import FAMILIES


class Families:
    """Checkpoints of families, by title."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self.folder = cache(self._write)
        self.chat = cache(self._load)

    def _write(self, title: str) -> str:
        folder = self._root / title.replace(" ", "-").replace(",", "")
        folder.mkdir()
        return str(FAMILIES[title].write(folder))

    def _load(self, title: str, **options: Any) -> LocalChatModel:
        return LocalChatModel.from_pretrained(self.folder(title), device="cpu", model_name=title, **options)


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return Families(tmp_path_factory.mktemp("families"))

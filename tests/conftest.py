"""Shared by all tests: the embedded pair, loaded once, and images of its world."""

from __future__ import annotations

import os
from collections.abc import Callable

# read when LangGraph's serializer is imported: checkpoints may hold nothing but known types
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"
# read when the commands' consoles are made: a width that is set then cannot be changed by a test
os.environ.pop("COLUMNS", None)

import pytest
import torch
from hypothesis import HealthCheck, settings
from langchain_core.messages import HumanMessage

import langgraph_speceyes.cli  # noqa: F401
from langgraph_speceyes.models.quiet import quiet_libraries
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.pair import Pair, load_pair
from langgraph_speceyes.testbed.questions import Question, Split, questions

Asked = tuple[Question, HumanMessage]

# a busy machine is no failure, and each change is checked on the same examples; `make properties` looks for new ones
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile(os.environ.get("SPECEYES_PROPERTIES", "suite"))


@pytest.fixture(scope="session")
def pair() -> Pair:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    quiet_libraries()
    return load_pair()


@pytest.fixture(scope="session")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Split, int], list[Asked]]:
    """Questions of the calibration part with their images on disk."""
    folder = tmp_path_factory.mktemp("scenes")

    def made(split: Split, count: int) -> list[Asked]:
        return [(question, written(question, folder)) for question in questions(split, "calibration", count)]

    return made

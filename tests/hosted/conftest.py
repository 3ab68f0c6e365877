"""The embedded pair behind real endpoints: a server process of our own, or servers that run elsewhere.

SPECEYES_TEST_SPECULATOR_URL and SPECEYES_TEST_AGENT_URL name the latter: two vLLM servers of the embedded checkpoints,
say, started with --max-logprobs 64.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from langgraph_speceyes.models.hosted import hosted_model
from langgraph_speceyes.testbed.pair import AGENT_NAME, SPECULATOR_NAME

MAX_LOGPROBS = 64
ELSEWHERE = [os.environ.get(f"SPECEYES_TEST_{name}_URL") for name in ("SPECULATOR", "AGENT")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    hosts = {"127.0.0.1", *(urlsplit(url).hostname or "" for url in ELSEWHERE if url)}
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.allow_hosts(sorted(hosts)))


@dataclass(frozen=True)
class Served:
    """Where the two models are, and what they are called there."""

    speculator_url: str
    speculator_name: str
    agent_url: str
    agent_name: str

    def speculator(self, **options: Any) -> Any:
        return hosted_model(self.speculator_name, base_url=self.speculator_url, **({"temperature": 0.0} | options))

    def agent(self, **options: Any) -> Any:
        return hosted_model(self.agent_name, base_url=self.agent_url, **({"temperature": 0.0} | options))


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    speculator, agent = ELSEWHERE
    if speculator and agent:
        yield named(speculator, agent)
        return
    command = [sys.executable, "-m", "langgraph_speceyes", "testbed", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--max-logprobs", str(MAX_LOGPROBS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        url = announced(process)
        yield named(url, url)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def announced(process: subprocess.Popen[str]) -> str:
    """The URL a server prints once it listens."""
    assert process.stdout is not None
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if select.select([process.stdout], [], [], 1)[0] and (
            found := re.search(r"http://\S+", process.stdout.readline())
        ):
            return found[0]
    raise AssertionError(f"the server did not start (exit status {process.poll()})")


def named(speculator: str, agent: str) -> Served:
    return Served(speculator, name_at(speculator, SPECULATOR_NAME), agent, name_at(agent, AGENT_NAME))


def name_at(url: str, usual: str) -> str:
    names = [str(model["id"]) for model in httpx.get(f"{url}/models").json()["data"]]
    return usual if usual in names else names[0]

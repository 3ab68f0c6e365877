"""LangChain's conformance suite for sandbox backends, on ours with deepagents' file tools on top."""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Iterator

import pytest
from deepagents.backends.protocol import GlobResult, WriteResult
from deepagents.backends.sandbox import BaseSandbox

with warnings.catch_warnings():
    # its tests of chat models have marks of plugins that may not be installed
    warnings.simplefilter("ignore", pytest.PytestUnknownMarkWarning)
    from langchain_tests.integration_tests.sandboxes import SandboxIntegrationTests

from langgraph_speceyes.agent.sandbox import BubblewrapSandbox

# the suite's fixtures are of a kind that pytest 10 takes no more
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestRemovedIn10Warning")


GLOB = """
import glob, json, os, sys
os.chdir(sys.argv[2])
for path in sorted(glob.glob(sys.argv[1], recursive=True)):
    print(json.dumps({"path": path, "is_dir": os.path.isdir(path)}))
"""


class Ours(BubblewrapSandbox, BaseSandbox):
    """Our sandbox as deepagents takes one.

    The suite is for deepagents before 0.7, whose file tools named what a pattern finds by relative paths, folders
    included, and wrote no file over another. They are that package's, on top of the methods that are ours.
    """

    def glob(self, pattern: str, path: str | None = None) -> GlobResult:
        done = self.execute(shlex.join(["python3", "-c", GLOB, pattern, path or "/"]))
        assert done.exit_code == 0, done.output
        return GlobResult(matches=[json.loads(line) for line in done.output.splitlines()])

    def write(self, file_path: str, content: str) -> WriteResult:
        if self.execute(f"test -e {shlex.quote(file_path)}").exit_code == 0:
            return WriteResult(error=f"the file {file_path} already exists")
        return super().write(file_path, content)


class TestConformance(SandboxIntegrationTests):
    @pytest.fixture(scope="class")
    def sandbox(self) -> Iterator[Ours]:
        found = Ours()
        yield found
        found.close()

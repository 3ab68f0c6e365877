"""Sandboxes of others behind the code tool: whatever has the three methods, in whatever way it does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deepagents.backends.protocol import ExecuteResponse, FileDownloadResponse, FileUploadResponse
from deepagents.backends.sandbox import BaseSandbox
from PIL import Image

from langgraph_speceyes.agent.sandbox import BubblewrapSandbox, CodeLimits, CodeTool, Executed, Sandbox, foreign
from langgraph_speceyes.errors import ArgumentError, SandboxUnavailableError
from langgraph_speceyes.images import load_image, parse_reference

CROP = "processed_path = temp_output_dir + 'c%d.png' % random.randint(0, 10 ** 9)\nImage.open(image_path).crop((10, 10, 90, 60)).save(processed_path)\nprint(processed_path)"  # noqa: E501


class Folder(BaseSandbox):
    """A deepagents backend that runs trusted code of this test in a folder: files and commands see other paths."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder, 0

    @property
    def id(self) -> str:
        return "folder"

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        self.commands += 1
        command = command.replace("python3", sys.executable)
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ExecuteResponse("too late", 124)
        return ExecuteResponse(done.stdout + done.stderr, done.returncode)

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        for path, data in files:
            place = self.folder / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        return [FileUploadResponse(path) for path, _ in files]

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        found = []
        for path in paths:
            place = self.folder / path.lstrip("/")
            found.append(
                FileDownloadResponse(path, place.read_bytes())
                if place.is_file()
                else FileDownloadResponse(path, error="file_not_found")
            )
        return found


@pytest.fixture(params=["folder", "bubblewrap"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "folder":
        (tmp_path / "box").mkdir()
        yield Folder(tmp_path / "box")
        return

    class Ours(BubblewrapSandbox, BaseSandbox):
        """Ours as deepagents takes it."""

    made = Ours()
    yield made
    made.close()


def test_a_deepagents_backend_runs_code(sandbox: Any, path: str, picture: Image.Image) -> None:
    assert isinstance(sandbox, Sandbox)
    tool = CodeTool(sandbox, limits=CodeLimits(seconds=30))
    assert tool.strength.endswith(sandbox.id)
    assert "numpy" in tool.description
    images = [parse_reference(path)]
    first = tool.run(CROP, trajectory="a", images=images)
    assert first.error is None, first
    # the paths are those that code knows, wherever the files are
    assert first.text.startswith("/mnt/data/temp_processed_images/c")
    assert load_image(first.images[0]).tobytes() == picture.crop((10, 10, 90, 60)).tobytes()
    failed = tool.run("1 / 0", trajectory="a", images=images, earlier=[CROP])
    assert failed.error == "ZeroDivisionError: division by zero"
    # variables are there again, and random numbers go on as they would in a worker
    second = tool.run("print(processed_path, image_path)", trajectory="a", images=images, earlier=[CROP])
    assert second.text == f"{first.text} /mnt/data/image.png"
    ended = tool.run(
        "import os\nprint('last words', flush=True)\nos._exit(7)", trajectory="a", images=images, earlier=[CROP]
    )
    assert (ended.failure, ended.text.splitlines()[0]) == ("crash", "last words")
    tool.close()


def test_our_worker_and_a_sandbox_of_others_say_the_same(path: str, sandbox: Any) -> None:
    code = "print(random.random(), np.random.rand(), sorted(set('abc'), key=hash))"
    images = [parse_reference(path)]
    ours, theirs = CodeTool(limits=CodeLimits(seconds=30)), CodeTool(sandbox, limits=CodeLimits(seconds=30))
    outcomes = [tool.run(code, trajectory="a", images=images) for tool in (ours, theirs)]
    assert outcomes[0].text == outcomes[1].text
    ours.close()
    theirs.close()


class Broken:
    """A sandbox with something wrong."""

    id = "broken"

    def __init__(self, wrong: str) -> None:
        self.wrong = wrong

    def execute(self, command: str, *, timeout: int | None = None) -> Executed:
        if self.wrong == "raises":
            raise ConnectionError("no route")
        if self.wrong == "hangs":
            time.sleep(3)
        return Executed("speceyes /", 0)

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[Any]:
        return [FileUploadResponse(path, error="permission_denied") for path, _ in files]

    def download_files(self, paths: list[str]) -> list[Any]:
        return [FileDownloadResponse(path) for path in paths]


@pytest.mark.parametrize("wrong", ["raises", "hangs", "refuses"])
def test_a_sandbox_that_fails_is_said_to(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "TRIP_S", 0.2)
    with pytest.raises(SandboxUnavailableError, match="broken"):
        CodeTool(Broken(wrong)).run("print(1)", trajectory="a")


def test_a_trajectory_whose_files_are_not_taken_leaves_no_folder(tmp_path: Path, path: str) -> None:
    class Full(Folder):
        def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
            taken = super().upload_files(files)
            return taken if len(files) == 1 else [FileUploadResponse(path, error="disk full") for path, _ in files]

    with pytest.raises(SandboxUnavailableError, match="disk full"):
        CodeTool(Full(tmp_path)).run("print(1)", trajectory="a", images=[parse_reference(path)])
    assert list(tmp_path.glob("speceyes-*")) == []


def test_no_text_is_read_for_sandboxes_of_others(tmp_path: Path, echo: Any) -> None:
    with pytest.raises(ArgumentError, match="cannot ask back"):
        CodeTool(Folder(tmp_path), reader=echo)

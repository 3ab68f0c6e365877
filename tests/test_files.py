"""Files are there whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from langgraph_speceyes import Gate
from langgraph_speceyes.files import append_line, is_whole_jpeg, write_whole
from langgraph_speceyes.testbed.files import written
from langgraph_speceyes.testbed.questions import questions
from tests.waiting import PATIENCE_S


def test_half_a_character_keeps_no_file_from_being_written(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "half \ud83d of 猫")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "half ? of 猫"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "a", "text")
        write_whole(tmp_path / "own", b"", mode=0o600)
        (tmp_path / "usual").write_text("")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"a": modes["usual"], "own": 0o600 & ~umask, "usual": 0o666 & ~umask}
    os.chmod(tmp_path / "a", 0o640)
    write_whole(tmp_path / "a", "more", durable=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert (tmp_path / "a").read_text() == "more"


def test_links_are_followed_and_failures_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "place")
    write_whole(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "place").read_text() == "text"

    def fails(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space"):
        Gate().save(tmp_path / "place")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "place"]
    assert (tmp_path / "place").read_text() == "text"


def test_no_file_takes_the_place_of_what_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    # somebody who reads it and goes
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", "text")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_device_that_cannot_be_written_stays_one() -> None:
    with pytest.raises(OSError, match="No space left"):
        write_whole("/dev/full", "text")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_broken_line_is_taken_out_before_the_next(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    append_line(file, "1")
    with file.open("a") as lines:
        lines.write('{"cut')
    append_line(file, "2")
    assert file.read_text() == "1\n2\n"
    file.write_text("cut")
    append_line(file, "3")
    assert file.read_text() == "3\n"


def test_a_scene_that_was_cut_is_written_again(tmp_path: Path) -> None:
    (question,) = questions("attributes", "calibration", 1)
    written(question, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for cut in (whole[: len(whole) // 2], b"", b"\xff"):
        file.write_bytes(cut)
        assert not is_whole_jpeg(file)
        written(question, tmp_path)
        assert file.read_bytes() == whole
    stamp = file.stat().st_mtime_ns
    written(question, tmp_path)
    assert file.stat().st_mtime_ns == stamp


PROGRAM = """
import sys
from pathlib import Path
from langgraph_speceyes.files import write_whole
for number in range(10**9):
    write_whole(Path(sys.argv[1]) / f"{number % 3}.json", "[" + ",".join([str(number)] * 100_000) + "]")
    if number == 3:
        print("writing", flush=True)
"""


def test_kill_9_leaves_whole_files(tmp_path: Path) -> None:
    for pause in (0.0, 0.01, 0.05):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, os.fspath(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
        ) as running:
            assert running.stdout is not None
            assert running.stdout.readline() == b"writing\n"
            time.sleep(pause)
            running.send_signal(signal.SIGKILL)
            running.wait(PATIENCE_S)
        for file in tmp_path.glob("*.json"):
            numbers = json.loads(file.read_text())
            assert len(numbers) == 100_000
            assert len(set(numbers)) == 1


def test_a_picture_is_known_whole_by_its_end(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg")
    assert is_whole_jpeg(tmp_path / "a.jpg")
    assert not is_whole_jpeg(tmp_path / "none.jpg")

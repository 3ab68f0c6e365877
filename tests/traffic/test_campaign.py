"""A small run of the campaign with kill -9; `make journal` runs the whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from langgraph_speceyes.traffic import Record
from tests.traffic.campaign import Outcome, Reader, judge
from tests.traffic.records import made


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_what_was_acknowledged_is_there_once_whoever_is_killed() -> None:
    words = [sys.executable, "-m", "tests.traffic.campaign", "--processes", "3", "--records", "300", "--kills", "3"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    kills = re.findall(r"^(\w+): 900 records .* (\d+) killed, .* each kept once$", done.stdout, re.MULTILINE)
    assert [kind for kind, _ in kills] == ["file", "store", "memory"]
    assert all(int(count) > 0 for kind, count in kills if kind != "memory"), done.stdout


@pytest.mark.parametrize(
    ("final", "seen", "fault"),
    [
        ([made("0-0", k=1)], ["0-0", "0-1"], "1 acknowledged and missing, such as 0-1"),
        ([made("0-0", k=1), made("0-1", k=1), made("0-0", k=1)], ["0-0", "0-1"], "1 there twice, such as 0-0"),
        ([made("0-0", k=1), made("0-1", k=1), made("9", k=1)], ["0-0", "0-1"], "1 never written, such as 9"),
        ([made("0-0", k=1), made("0-1", k=0)], ["0-0", "0-1"], "1 older than acknowledged, such as 0-1"),
        ([made("0-0", k=1), made("0-1", k=1)], ["0-0"], "1 lost to the reader, such as 0-1"),
        ([made("0-0", k=1), made("0-1", k=1)], ["0-0", "0-1", "0-1"], "1 read twice"),
    ],
)
def test_the_campaign_sees_what_is_wrong(final: list[Record], seen: list[str], fault: str) -> None:
    reader = Reader(None, seen=Counter(seen))  # type: ignore[arg-type]
    outcome = Outcome()
    judge(outcome, reader, final, {"0-0": 1, "0-1": 1}, strict=True)
    assert outcome.faults == [fault]

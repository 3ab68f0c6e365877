"""What code tries in order to get out: all of it held, as root and as an unprivileged user; without a fence it is not.

Each child runs every attempt. ``make sandbox`` takes away one fence after the other.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from typing import Any

import pytest

from langgraph_speceyes.agent.sandbox import CodeLimits, landlock
from langgraph_speceyes.agent.sandbox.choose import first_that_works
from langgraph_speceyes.errors import SandboxUnavailableError
from tests.agent.sandbox.attempts import ATTEMPTS
from tests.agent.sandbox.escapes import WEAKER
from tests.agent.sandbox.users import WHO, command

HANG_S = 240


@cache
def results(who: str, *arguments: str) -> dict[int, dict[str, Any]]:
    """What became of the attempts, by number; a command of its own runs them."""
    run, environment = command(who, ["-m", "tests.agent.sandbox.escapes", "--json", *arguments])
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {one["number"]: one for one in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: f"{attempt.number}-{attempt.name.replace(' ', '-')}")
def test_held(attempt: Any, who: str) -> None:
    found = results(who)[attempt.number]
    assert found["held"], found["why"]


# it is for those who may make no user namespace; `make sandbox` tries it as root too
@pytest.mark.parametrize("who", WHO[-1:])
def test_what_landlock_does_not_hold_is_known(who: str) -> None:
    try:
        first_that_works(landlock.candidates(CodeLimits()))
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    found = results(who, "--backend", "landlock")
    through = {number for number, one in found.items() if not one["held"]}
    # a slow disk may be measured in time
    assert through - {10} == WEAKER.keys() - {10}, [found[number]["why"] for number in through - WEAKER.keys()]


def test_the_table_is_whole() -> None:
    numbers = [attempt.number for attempt in ATTEMPTS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 44 + 16


@pytest.mark.parametrize(
    ("fence", "number"), [("run_filter", 41), ("start_filter", 50), ("environment", 1), ("files", 4)]
)
def test_a_fence_that_is_gone_lets_its_attempt_through(fence: str, number: int) -> None:
    through = results(WHO[0], "--drop", fence, "1", "4", "41", "50")
    assert not through[number]["held"]
    others = {1, 4, 41, 50} - {number}
    assert all(through[other]["held"] for other in others)

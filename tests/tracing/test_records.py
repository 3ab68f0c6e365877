"""What is kept and shown of a fault whose words hold an image and a credential; `make faults` runs all forty."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.hostile.records import FAULTS, PLACES, WRITTEN, Evidence, faults_of, noise
from tests.spellings import SPELLINGS, base64_of

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

IMAGE = noise(60)
# one of each place's spellings, so that each spelling is among them
SAMPLE = [FAULTS[4 * number + number // 2 % 4] for number in range(len(PLACES))]


@pytest.mark.parametrize(("place", "spelling"), SAMPLE)
def test_no_record_shows_it(place: str, spelling: str) -> None:
    assert faults_of(place, spelling, IMAGE, Evidence(IMAGE)) == []


@pytest.mark.parametrize("spelling", WRITTEN)
@pytest.mark.parametrize("around", ["{}", "refused {} of it", "added{}dead"])
def test_each_spelling_would_be_seen(spelling: str, around: str) -> None:
    words = around.format(SPELLINGS[spelling](IMAGE))
    assert Evidence(IMAGE).shown(words) is not None
    others = f"{around.format('nothing')} {'ab' * 32} {base64_of(bytes(90))}"
    assert Evidence(noise(61)).shown(others) is None


def test_bytes_would_be_seen() -> None:
    check: Callable[[bytes], str | None] = Evidence(IMAGE).in_bytes
    assert check(b"\x93\xc4" + IMAGE + b"\x01") == "bytes"
    assert check(bytes(range(256)) * 4) is None

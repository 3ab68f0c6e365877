"""Each promise of docs/security.md names the test that holds it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_is_named_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ") and "---" not in line]
    table = [row for row in rows[[row[0] for row in rows].index("| threat") + 1 :] if len(row) == 3]
    assert len(table) >= 20
    for threat, _, held in table:
        named = re.findall(r"`([^`]+)`", held)
        assert named, threat
        for name in named:
            if name.startswith("make "):
                assert name.removeprefix("make ") in targets, name
            else:
                file, _, test = name.partition("::")
                assert (ROOT / file).is_file(), name
                assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8") if test else True, name

"""A protocol's words from a file of the user's: what a published checkpoint was trained with."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from langgraph_speceyes.errors import ArgumentError


class FromFile:
    """A protocol that can read its words."""

    @classmethod
    def from_file(cls, path: Path | str, **settings: Any) -> Self:
        """Read a protocol's words from a file.

        Args:
            path: A TOML file whose keys are fields of this class that hold text (`system`, `instruction`, ...); any
                other text file holds the system prompt alone, white space around it left out.
            settings: Further fields, before what the file says.

        Raises:
            ArgumentError: It cannot be read or is empty, a key is not one of these fields, or a value is no text.
        """
        path = Path(path)
        names = [field.name for field in fields(cls) if field.type in ("str", str)]  # type: ignore[arg-type]
        try:
            # some editors begin a file with a mark of its encoding
            text = path.read_text(encoding="utf-8-sig")
            found = tomllib.loads(text) if path.suffix.lower() == ".toml" else {"system": text.strip()}
        except (OSError, ValueError) as error:
            raise ArgumentError("agent-prompt", f"a text or TOML file of prompts at {path}", error) from None
        for key, value in found.items():
            if key not in names:
                raise ArgumentError("agent-prompt", f"the keys {', '.join(names)} in {path.name}", repr(key))
            if not isinstance(value, str):
                raise ArgumentError("agent-prompt", f"text for {key} in {path.name}", type(value).__name__)
        if not any(found.values()):
            raise ArgumentError("agent-prompt", f"a prompt in {path.name}", "an empty file")
        return cls(**(found | settings))

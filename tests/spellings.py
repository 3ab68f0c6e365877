"""How the bytes of an image may be written in somebody's words."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Callable


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def in_lines(data: bytes) -> str:
    return base64.encodebytes(data).decode().rstrip("\n")


SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "base64": base64_of,
    "URL-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "from its middle": lambda data: base64_of(data)[1_001:3_000],
    "its second half": lambda data: base64_of(data)[len(base64_of(data)) // 2 + 1 :],
    "in lines": in_lines,
    "in short lines": lambda data: "\n".join(textwrap.wrap(base64_of(data), 24)),
    "in lines in JSON": lambda data: json.dumps(in_lines(data)),
    "data URL in nested JSON": lambda data: json.dumps(
        {"a": json.dumps({"url": "data:image/bmp;base64," + base64_of(data)})}
    ),
    "hexadecimal": lambda data: data.hex(),
    "hexadecimal pairs": lambda data: data.hex(" "),
    "printed": repr,
    "printed bytearray": lambda data: repr(bytearray(data)),
    "printed, from its middle": lambda data: repr(data)[1_001:3_000],
    "printed in JSON": lambda data: json.dumps(repr(data)),
    "decoded": lambda data: data.decode("latin-1"),
    "decoded with replacements": lambda data: data.decode("utf-8", "replace"),
    "percent-encoded": lambda data: "".join(f"%{byte:02X}" for byte in data),
    "numbers": lambda data: str(list(data)),
    "numbers without blanks": lambda data: json.dumps({"x": json.dumps(list(data), separators=(",", ":"))}),
}

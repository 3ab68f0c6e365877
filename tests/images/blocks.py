"""Image blocks that only an agent's own model can read."""

from __future__ import annotations

import base64
from typing import Any

from tests.images.pictures import encode, picture

B64 = base64.b64encode(encode(picture())).decode()
HEIC = base64.b64encode(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1" + bytes(64)).decode()

UNREADABLE: dict[str, dict[str, Any]] = {
    "file id": {"type": "image", "file_id": "file-123"},
    "file id of the older format": {"type": "image", "source_type": "id", "id": "file-123"},
    "file source of Anthropic": {"type": "image", "source": {"type": "file", "file_id": "file_011C"}},
    "Google's storage": {"type": "image_url", "image_url": {"url": "gs://bucket/cat.png"}},
    "Amazon's storage": {"type": "image", "url": "s3://bucket/cat.png", "mime_type": "image/png"},
    "attachment": {"type": "image", "url": "attachment://1"},
    "nothing": {"type": "image"},
    "number": {"type": "image_url", "image_url": {"url": 3}},
    "file of a thread": {"type": "image_file", "image_file": {"file_id": "f"}},
    "Gemini's media": {"type": "media", "mime_type": "image/png", "data": B64},
    "Gemini's inline data": {"inline_data": {"mime_type": "image/jpeg", "data": B64}},
    "OpenAI's input": {"type": "input_image", "image_url": f"data:image/png;base64,{B64}"},
    "Bedrock's": {"image": {"format": "png", "source": {"bytes": encode(picture())}}},
    "file that is an image": {"type": "file", "mime_type": "IMAGE/PNG", "base64": B64},
    "wrapped": {"type": "non_standard", "value": {"image": {"format": "png"}}},
}
"""All are images, and none has a reference."""

UNLOADABLE: dict[str, dict[str, Any]] = {
    "HEIC": {"type": "image", "base64": HEIC, "mime_type": "image/heic"},
    "remote": {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    "region of a remote image": {"type": "image", "url": "https://example.com/cat.png#xywh=1,2,3,4"},
    "missing file": {"type": "image", "path": "/nowhere/cat.png"},
    "lost": {"type": "image", "url": "sha256:" + "0" * 64},
    "region of damaged data": {"type": "image", "url": f"data:image/png;base64,{B64[:400]}#xywh=0,0,30,20"},
    "region outside": {"type": "image", "url": f"data:image/png;base64,{B64}#xywh=99,99,3,3"},
    "damaged base64": {"type": "image", "base64": "not base64"},
}
"""All have references, and none can be loaded under the default policy."""

NO_IMAGES: list[Any] = [
    {"type": "text", "text": "image"},
    {"type": "text"},
    {"type": "media", "mime_type": "video/mp4", "data": "AAAA"},
    {"type": "file", "file_id": "f"},
    {"type": "non_standard", "value": 3},
    {"type": "tool_use", "id": "1", "name": "image", "input": {}},
    {"cachePoint": {"type": "default"}},
    {"image": "a.png"},
    {},
    "text",
]

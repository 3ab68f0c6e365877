"""Remote images, without a network."""

from __future__ import annotations

import io
import time
import urllib.request
from email.message import Message
from urllib.response import addinfourl

import pytest

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import (
    ImagePolicy,
    encoded,
    load_image,
)
from tests.images.pictures import encode, picture


def fails(source: object, text: str, policy: ImagePolicy | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_image(source, policy or ImagePolicy(), argument="picture")  # type: ignore[arg-type]
    assert caught.value.argument == "picture"
    assert text in str(caught.value)
    return caught.value


class Web:
    """Answers http requests without a network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.requests: list[str] = []
        for scheme in ("http", "https"):
            handler = getattr(urllib.request, f"{scheme.upper()}Handler")
            monkeypatch.setattr(handler, f"{scheme}_open", lambda _, request: self.answer(request))
        monkeypatch.setattr(urllib.request, "getproxies", dict)

    def answer(self, request: urllib.request.Request) -> addinfourl:
        self.requests.append(request.full_url)
        if request.full_url not in self.pages:
            raise TimeoutError("timed out")
        status, fields, body = self.pages[request.full_url]
        headers = Message()
        for name, value in fields.items():
            headers[name] = value
        response = addinfourl(io.BytesIO(body), headers, request.full_url, status)
        response.msg = "said the test"  # type: ignore[attr-defined]
        return response


REMOTE = ImagePolicy(allow_remote=True)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    return Web(monkeypatch)


def test_remote_images(web: Web) -> None:
    web.pages["https://host/a.png"] = (200, {}, encode(picture()))
    assert load_image("https://host/a.png", REMOTE).tobytes() == picture().tobytes()
    assert load_image("https://host/a.png#xywh=0,0,5,6", REMOTE).size == (5, 6)
    assert web.requests == ["https://host/a.png"]
    fails("https://host/a.png", "allow_remote is off")
    assert encoded("https://host/a.png", REMOTE) == (encode(picture()), "image/png")


def test_redirects_stay_http(web: Web) -> None:
    web.pages["http://host/a.png"] = (302, {"Location": "https://other/b.png"}, b"")
    web.pages["https://other/b.png"] = (200, {}, encode(picture()))
    assert load_image("http://host/a.png", REMOTE).size == (40, 30)
    refusals = {"ftp://host/a.png": "unknown url type: ftp", "file:///a": "not allowed", "data:,A": "not allowed"}
    for target, text in refusals.items():
        web.pages["http://host/bad.png"] = (302, {"Location": target}, b"")
        fails("http://host/bad.png", text, REMOTE)
        assert web.requests[-1] == "http://host/bad.png"
    web.pages["http://host/round.png"] = (302, {"Location": "http://host/round.png"}, b"")
    fails("http://host/round.png", "infinite loop", REMOTE)


def test_remote_failures(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    fails("http://host/none.png", "timed out", REMOTE)
    web.pages["http://host/404.png"] = (404, {}, b"gone")
    fails("http://host/404.png", "404", REMOTE)
    web.pages["http://host/empty.png"] = (200, {}, b"")
    fails("http://host/empty.png", "0 bytes", REMOTE)
    web.pages["http://host/page"] = (200, {}, b"<html>")
    fails("http://host/page", "no such image in http://host/page", REMOTE)
    small = ImagePolicy(allow_remote=True, max_bytes=1000)
    web.pages["http://host/told.png"] = (200, {"Content-Length": "1001"}, b"")
    fails("http://host/told.png", "1001 bytes announced", small)
    web.pages["http://host/untold.png"] = (200, {"Content-Length": "5"}, b"x" * 1001)
    fails("http://host/untold.png", "at most 1000 bytes (max_bytes), found more", small)
    fails("http://host/a b.png", "fetched", REMOTE)
    clock = iter(range(0, 10_000, 15))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    web.pages["http://host/slow.png"] = (200, {}, encode(picture(400, 400)))
    fails("http://host/slow.png", "not complete after 20 s", REMOTE)

"""Servers that make a fetch last, or lead it astray: how long each holds a fetch whose limit is a second.

`python -m tests.hostile.remote` prints seconds and the error of each.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images import ImagePolicy, load_image
from tests.hostile.web import Connection, Handler, Web, serving

LIMIT_S = 1.0
POLICY = ImagePolicy(allow_remote=True, allow_private_addresses=True, max_bytes=1_000_000)
HEAD = b"HTTP/1.1 200 OK\r\n"


def _headers(connection: Connection) -> None:
    connection.send(HEAD)
    connection.drip(b"x-more: 1\r\n")


def _header(connection: Connection) -> None:
    connection.send(HEAD + b"x-more: ")
    connection.drip(b"1")


def _body(connection: Connection) -> None:
    connection.send(HEAD + b"content-length: 100000\r\n\r\n")
    connection.drip(b"\x89PNG")


def _chunks(connection: Connection) -> None:
    connection.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    connection.drip(b"1\r\nx\r\n")


def _interim(connection: Connection) -> None:
    connection.drip(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def _slowly_on(connection: Connection) -> None:
    """A redirect to itself, each a little later."""
    time.sleep(0.15)
    connection.answer(status="302 Found", location=connection.path)


SLOW: dict[str, Handler] = {
    "/silence": Connection.wait,
    "/header-drip": _headers,
    "/endless-header": _header,
    "/body-drip": _body,
    "/chunk-drip": _chunks,
    "/interim-drip": _interim,
    "/silent-after-head": lambda one: (one.send(HEAD + b"content-length: 9\r\n\r\n"), one.wait()),
}
"""What lasts until the limit."""


def _bomb(encoding: str) -> Handler:
    data = gzip.compress(bytes(100_000_000))
    return lambda one: one.answer(data, content_encoding=encoding)


def _half(connection: Connection) -> None:
    connection.send(HEAD + b"content-length: 100000\r\n\r\n" + bytes(1000))


def _reset(connection: Connection) -> None:
    connection.send(HEAD + b"content-length: 100000\r\n\r\n" + bytes(1000))
    connection.reset()


BAD: dict[str, tuple[Handler, str]] = {
    "/slow-redirects": (_slowly_on, "at most 5 redirects"),
    "/round": (lambda one: one.answer(status="302 Found", location="/round"), "at most 5 redirects"),
    "/to-file": (lambda one: one.answer(status="302 Found", location="file:///etc/passwd"), "an http(s) URL"),
    "/to-data": (lambda one: one.answer(status="301 Moved", location="data:,A"), "an http(s) URL"),
    "/to-ftp": (lambda one: one.answer(status="307 Temporary", location="ftp://host/a.png"), "an http(s) URL"),
    "/to-user": (lambda one: one.answer(status="308 Permanent", location="http://u:pw@host/"), "user and password"),
    "/to-nothing": (lambda one: one.answer(status="302 Found", location="http://[1/"), "can be fetched"),
    "/to-octal": (lambda one: one.answer(status="302 Found", location="http://0177.1/"), "an http(s) URL"),
    "/gzip-bomb": (_bomb("gzip"), "at most 1000000 bytes"),
    "/deflate-bomb": (_bomb("deflate"), "at most 1000000 bytes"),
    "/twice": (_bomb("gzip, gzip"), "not asked for"),
    "/zstd": (lambda one: one.answer(b"x", content_encoding="zstd"), "not asked for"),
    "/cut-gzip": (lambda one: one.answer(gzip.compress(bytes(9999))[:-12], content_encoding="gzip"), "was cut"),
    "/no-gzip": (lambda one: one.answer(b"\x89PNG", content_encoding="gzip"), "an image that can be fetched"),
    "/announced": (lambda one: one.send(HEAD + b"content-length: 1000001\r\n\r\n"), "1000001 bytes announced"),
    "/digits": (lambda one: one.send(HEAD + b"content-length: " + b"9" * 9000 + b"\r\n\r\n"), "can be fetched"),
    "/endless": (
        lambda one: one.send(HEAD + b"\r\n" + bytes(1_000_001)),
        "at most 1000000 bytes",
    ),
    "/half": (_half, "can be fetched"),
    "/reset": (_reset, "can be fetched"),
    "/garbage": (lambda one: one.send(b"\0\1\2 nothing of http\r\n\r\n"), "can be fetched"),
    "/huge-header": (lambda one: one.send(HEAD + b"x: " + b"y" * 5_000_000), "can be fetched"),
    "/nothing": (lambda one: None, "can be fetched"),
    "/404": (lambda one: one.answer(b"gone", "404 Not Found"), "status 404"),
    "/204": (lambda one: one.answer(status="204 No Content"), "status 204"),
    "/empty": (lambda one: one.answer(), "0 bytes"),
    "/page": (lambda one: one.answer(b"<html>", content_type="image/png"), "no such image"),
}
"""What fails by itself, and what the error says."""


def refused(web: Web, path: str, policy: ImagePolicy) -> tuple[str, float]:
    """What a fetch of a path says, and after how many seconds."""
    began = time.monotonic()
    try:
        load_image(web.url(path), policy)
    except ImageError as error:
        return str(error), time.monotonic() - began
    raise AssertionError(f"{path} is no image")


def main() -> None:
    """Fetch all of them, and say which took longer than half a second over the limit."""
    pages: dict[str, Callable[[Connection], object]] = SLOW | {path: handler for path, (handler, _) in BAD.items()}
    late = []
    with serving() as web:
        web.pages.update(pages)
        for path in pages:
            said, seconds = refused(web, path, POLICY.model_copy(update={"remote_timeout_s": LIMIT_S}))
            print(f"{seconds:6.2f} s  {path:20} {said}")
            if seconds > LIMIT_S + 0.5:
                late.append(path)
    print(f"{len(pages)} servers, limit {LIMIT_S:g} s; later than half a second over it: {late or 'none'}")


if __name__ == "__main__":
    main()

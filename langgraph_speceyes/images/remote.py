"""Fetching remote images."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

import httpx

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.address import covers, is_public, literal, look_up
from langgraph_speceyes.images.off_loop import Stop, end, stop_of
from langgraph_speceyes.images.policy import ImagePolicy

Value = TypeVar("Value")

MAX_REDIRECTS = 5
_HEADERS = {
    "User-Agent": "langgraph-speceyes",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}
_PORTS = {"http": 80, "https": 443}
# what a server or resolver may still take to notice that time is over
_GRACE_S = 0.25
_MOST_SHOWN = 100


def fetch(url: str, policy: ImagePolicy, argument: str) -> bytes:
    """Fetch an image.

    Each host, that of a redirect too, is looked up once; its addresses are checked, and one of them is connected to,
    under the host's name. Neither cookies nor credentials nor the environment's proxies are used. What the time limit
    or a caller that has gone ends is closed at once.

    Args:
        url: An http(s) URL.
        policy: What may be fetched and how long it may take; :attr:`ImagePolicy.allow_remote` is the caller's to check.
        argument: Name of the argument that errors blame.

    Returns:
        The encoded image.

    Raises:
        ImageError: The fetch failed, took too long, is over the byte limit, led where the policy does not allow, or
            nobody waits for it any longer.
    """
    check_url(url, policy, argument)
    _authorities()  # read once, and no part of the fetch
    until = time.monotonic() + policy.remote_timeout_s
    found: Future[bytes] = Future()
    stop = Stop()
    if (outer := stop_of()) is not None:
        outer.add_done_callback(lambda _: end(stop))
    fetching = _Fetch(policy, argument, until)

    def run() -> None:
        try:
            asyncio.run(fetching.settle(url, found, stop))
        except BaseException as error:  # of the loop itself
            if not found.done():
                found.set_exception(error)

    # a thread of its own, with a loop that can be left at any moment; a daemon, so that it keeps no program alive
    threading.Thread(target=run, name="speceyes-fetch", daemon=True).start()
    try:
        return found.result(timeout=max(until - time.monotonic(), 0) + _GRACE_S)
    except TimeoutError:
        raise fetching.late(url) from None
    finally:
        end(stop)


def check_url(url: str, policy: ImagePolicy, argument: str) -> None:
    """Check what a URL says about where it leads, without looking its host up.

    Args:
        url: An http(s) URL.
        policy: What may be fetched.
        argument: Name of the argument that errors blame.

    Raises:
        ImageError: It is no such URL, holds a password, or its host is not allowed.
    """
    _target(url, policy, argument)


def shown(url: str | httpx.URL) -> str:
    """A URL for an error: without user, password, query and fragment, where signed URLs have their signature."""
    try:
        parts = httpx.URL(url)
        text = (
            f"{parts.scheme}://{parts.netloc.decode()}{parts.path}"
            if parts.host
            else f"a URL of scheme {parts.scheme!r}"
        )
    except (httpx.InvalidURL, ValueError):
        return "a malformed URL"
    return text if len(text) <= 300 else f"a URL of {len(str(url))} characters"


def _target(url: str | httpx.URL, policy: ImagePolicy, argument: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
        host = target.raw_host.decode("ascii").lower()
        address = literal(host)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise ImageError(argument, "an http(s) URL", f"{shown(url)} ({_clipped(error)})") from None
    if target.scheme not in _PORTS or not host:
        raise ImageError(argument, "an http(s) URL", shown(target))
    if target.userinfo:
        raise ImageError(argument, "a URL without user and password", shown(target))
    hosts = policy.remote_hosts
    if hosts is not None and not any(covers(allowed, host.rstrip(".")) for allowed in hosts):
        raise ImageError(argument, "a host of the policy's remote_hosts", shown(target))
    if address is not None:
        _check_addresses([address], target, policy, argument)
    return target


def _check_addresses(addresses: Iterable[str], target: httpx.URL, policy: ImagePolicy, argument: str) -> None:
    # the address is not shown: a caller is not to learn the network's names
    if not policy.allow_private_addresses and not all(map(is_public, addresses)):
        found = f"{shown(target)}, which is not (allow_private_addresses is off)"
        raise ImageError(argument, "an image at a public address", found)


class _Fetch:
    """One fetch, on a loop of its own.

    Args:
        policy: Limits.
        argument: Name of the argument that errors blame.
        until: Moment of the time limit, by the monotonic clock.
    """

    def __init__(self, policy: ImagePolicy, argument: str, until: float) -> None:
        self.policy, self.argument, self.until = policy, argument, until

    async def settle(self, url: str, found: Future[bytes], stop: Stop) -> None:
        """Fetch, and put into a future what came of it, before anything is closed."""
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(stopped.set)

        stop.add_done_callback(tell)
        fetching, leaving = asyncio.create_task(self._fetched(url)), asyncio.create_task(stopped.wait())
        await asyncio.wait({fetching, leaving}, timeout=self._left(), return_when=asyncio.FIRST_COMPLETED)
        if fetching.done():
            if (error := fetching.exception()) is None:
                found.set_result(fetching.result())
            else:
                found.set_exception(self._failed(url, error))
        elif leaving.done():
            found.set_exception(ImageError(self.argument, "somebody who waits for the image", "nobody"))
        else:
            found.set_exception(self.late(url))
        for task in (fetching, leaving):
            task.cancel()

    def late(self, url: str) -> ImageError:
        """The error of a fetch that took too long."""
        limit = f"{self.policy.remote_timeout_s:g} s (remote_timeout_s)"
        return ImageError(self.argument, f"an image that can be fetched in {limit}", f"{shown(url)}, not complete then")

    def _left(self) -> float:
        return max(self.until - time.monotonic(), 0)

    def _failed(self, url: str, error: BaseException) -> ImageError:
        if isinstance(error, ImageError):
            return error
        return ImageError(self.argument, "an image that can be fetched", f"{shown(url)} ({_clipped(error)})")

    async def _fetched(self, url: str) -> bytes:
        target = _target(url, self.policy, self.argument)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._answered(target)
            if isinstance(answer, bytes):
                return answer
            answer = _target(answer, self.policy, self.argument)
            if target.scheme == "https" and answer.scheme != "https":
                raise ImageError(self.argument, "redirects that stay on https", shown(answer))
            target = answer
        raise ImageError(self.argument, f"at most {MAX_REDIRECTS} redirects", f"more from {shown(url)}")

    async def _answered(self, target: httpx.URL) -> bytes | httpx.URL:
        """The image at a URL, or where it redirects to."""
        host, port = target.raw_host.decode("ascii"), target.port or _PORTS[target.scheme]
        if (address := literal(host)) is not None:
            addresses = [address]
        else:
            addresses = await _in_thread(lambda: look_up(host, port))
            _check_addresses(addresses, target, self.policy, self.argument)
        for behind, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            try:
                return await self._got(target, host, address, self._left() / (behind + 1))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if not behind:
                    raise
        raise OSError("a host without an address")

    async def _got(self, target: httpx.URL, host: str, address: str, connect_s: float) -> bytes | httpx.URL:
        # the address that was checked, under the name that was asked for: no second look-up can lead elsewhere
        request = httpx.Request(
            "GET",
            target.copy_with(host=address, fragment=None),
            headers=_HEADERS | {"Host": target.netloc.decode("ascii")},
            extensions={"sni_hostname": host, "timeout": httpx.Timeout(None, connect=connect_s).as_dict()},
        )
        opened: list[Any] = []

        async def trace(event: str, info: dict[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                opened.append(info["return_value"])

        request.extensions["trace"] = trace
        # a transport, not a client, which keeps cookies, asks the environment and looks at redirects itself
        async with httpx.AsyncHTTPTransport(verify=_authorities(), trust_env=False) as transport:
            try:
                return await self._read(await transport.handle_async_request(request), target)
            finally:
                # a TLS handshake that is cancelled leaves it open
                for stream in opened:
                    await stream.aclose()

    async def _read(self, response: httpx.Response, target: httpx.URL) -> bytes | httpx.URL:
        if response.has_redirect_location:
            with suppress(httpx.InvalidURL, ValueError):
                return target.join(response.headers["location"])
            raise OSError("a redirect to a malformed URL")
        if response.status_code != httpx.codes.OK:
            raise OSError(f"status {response.status_code}")
        declared = response.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.policy.max_bytes:
            raise self._too_large(f"{int(declared)} bytes announced by {shown(target)}")
        body = _Body(response.headers.get("content-encoding", ""), self.policy.max_bytes)
        async for chunk in response.aiter_raw():
            if not body.add(chunk):
                raise self._too_large(f"more from {shown(target)}")
        return body.whole()

    def _too_large(self, found: str) -> ImageError:
        return ImageError(self.argument, f"at most {self.policy.max_bytes} bytes (max_bytes)", found)


class _Body:
    """What a server sends, decoded no further than a number of bytes.

    Args:
        encoding: Its Content-Encoding.
        most: Most bytes, as sent and as decoded.

    Raises:
        OSError: The encoding is none that was asked for, nor gzip or deflate, which some servers send unasked.
    """

    def __init__(self, encoding: str, most: int) -> None:
        names = [name for part in encoding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
        if names and names not in (["gzip"], ["x-gzip"], ["deflate"]):
            raise OSError("a content encoding that was not asked for")
        # 32: gzip or zlib, by what is there
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32) if names else None
        self._most, self._sent, self._found = most, 0, bytearray()

    def add(self, chunk: bytes) -> bool:
        """Take what has arrived; False if that is more than there may be."""
        self._sent += len(chunk)
        if self._sent > self._most:
            return False
        if self._inflate is not None:
            chunk = self._inflate.decompress(chunk, self._most + 1 - len(self._found))
        self._found += chunk
        return len(self._found) <= self._most

    def whole(self) -> bytes:
        """All of it.

        Raises:
            OSError: It was cut.
        """
        if self._inflate is not None and not self._inflate.eof:
            raise OSError("compressed data that was cut")
        return bytes(self._found)


@cache
def _authorities() -> ssl.SSLContext:
    """Whom to trust: SSL_CERT_FILE and SSL_CERT_DIR where they are set, else certifi's list."""
    return httpx.create_ssl_context()


async def _in_thread(do: Callable[[], Value]) -> Value:
    """Run what cannot be stopped in a thread that may be left behind."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[Value] = loop.create_future()

    def tell(put: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if waiting.done() else put())

    def run() -> None:
        try:
            value = do()
        except Exception as error:
            raised = error
            tell(lambda: waiting.set_exception(raised))
        else:
            tell(lambda: waiting.set_result(value))

    threading.Thread(target=run, name="speceyes-lookup", daemon=True).start()
    return await waiting


def _clipped(error: BaseException) -> str:
    """An error of the client in a few words: it may quote what a server sent."""
    text = "".join(c if c.isprintable() else "?" for c in str(error)[:_MOST_SHOWN])
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

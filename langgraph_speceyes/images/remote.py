"""Fetching remote images."""

from __future__ import annotations

import time
import urllib.request
from http.client import HTTPException

from langgraph_speceyes.errors import ImageError
from langgraph_speceyes.images.policy import ImagePolicy
from langgraph_speceyes.images.reference import describe

_CHUNK = 64 * 1024


def build_opener() -> urllib.request.OpenerDirector:
    """Return an opener that knows http and https only (and the environment's proxies)."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        # A redirect to another scheme finds no handler, so it fails.
        urllib.request.HTTPRedirectHandler(),
    ):
        opener.add_handler(handler)
    return opener


def fetch(url: str, policy: ImagePolicy, argument: str) -> bytes:
    """Fetch a URL, within the policy's byte and time limits.

    Args:
        url: An http(s) URL.
        policy: Limits; :attr:`ImagePolicy.allow_remote` is the caller's to check.
        argument: Name of the argument that errors blame.

    Returns:
        The encoded image.

    Raises:
        ImageError: The fetch failed, took too long, was redirected to another scheme, or is over the byte limit.
    """
    deadline = time.monotonic() + policy.remote_timeout_s
    chunks: list[bytes] = []
    size = 0
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "langgraph-speceyes", "Accept": "image/*"})
        with build_opener().open(request, timeout=policy.remote_timeout_s) as response:
            declared = response.headers.get("Content-Length", "")
            if declared.isdigit() and int(declared) > policy.max_bytes:
                raise _too_large(argument, policy, f"{declared} bytes announced by {describe(url)}")
            # read1 returns what has arrived, so that a slow trickle meets the deadline.
            while chunk := response.read1(_CHUNK):
                size += len(chunk)
                if size > policy.max_bytes:
                    raise _too_large(argument, policy, f"more from {describe(url)}")
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not complete after {policy.remote_timeout_s:g} s")
                chunks.append(chunk)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(argument, "an image that can be fetched", f"{describe(url)} ({error})") from error
    return b"".join(chunks)


def _too_large(argument: str, policy: ImagePolicy, found: str) -> ImageError:
    return ImageError(argument, f"at most {policy.max_bytes} bytes (max_bytes)", found)

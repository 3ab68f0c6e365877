"""`langgraph dev` as a real process, on loopback, in a folder of its own."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from langchain_core.messages import HumanMessage

ROOT = Path(__file__).parents[2]
OFFLINE = {
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "1",
    "LANGSMITH_TRACING": "false",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True)
class DevServer:
    """A server that is up."""

    url: str
    pid: int
    log: Path

    def said(self, text: str) -> bool:
        """Whether the log holds a text."""
        return text in self.log.read_text(errors="replace")


@contextmanager
def dev_server(
    folder: Path,
    *options: str,
    scenes: Path,
    source: Path = ROOT,
    start_within_s: float = 60,
    more_env: Mapping[str, str] | None = None,
) -> Iterator[DevServer]:
    """Run the server over the `langgraph.json` of `source`, and end it with all its children.

    It finds graphs and keeps its state where it is started, so it is started in `folder`, which links to the graphs.
    """
    for name in ("langgraph.json", "graphs"):
        (folder / name).symlink_to(source / name)
    port = _free_port()
    # neither the tests' own settings nor those of whoever runs them
    env = {k: v for k, v in os.environ.items() if not k.startswith(("SPECEYES_", "LANGGRAPH_", "LANGSMITH_"))}
    env |= OFFLINE | {"SPECEYES_IMAGE_DIR": str(folder / "images"), "SPECEYES_IMAGE_ROOTS": str(scenes)}
    env |= more_env or {}
    command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload"]
    log = folder / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), *options],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        server = DevServer(f"http://127.0.0.1:{port}", process.pid, log)
        _wait(server, process, start_within_s)
        yield server
    finally:
        _end(process)


def inline(message: HumanMessage) -> dict[str, Any]:
    """A question as a remote client must put it: with the image's bytes."""
    assert isinstance(message.content, list)
    image, text = message.content
    assert isinstance(image, dict)
    encoded = base64.b64encode(Path(image["url"]).read_bytes()).decode()
    return {"role": "user", "content": [{"type": "image", "base64": encoded, "mime_type": "image/jpeg"}, text]}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: DevServer, process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{server.url}/ok", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"langgraph dev did not start:\n{server.log.read_text(errors='replace')[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(timeout=10)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()

"""2,000 questions through `examples/ray_batch.py`, with a worker killed, and then the command itself: once each.

    python tests/scale/ray_rows.py [rows]     # `make ray`

Ray is 600 MB: it lives in an environment of its own, `.ray`, which this makes. The models are a server on loopback that
answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".ray"
PYTHON = FOLDER / "bin" / "python"
EXAMPLE = ROOT / "examples" / "ray_batch.py"


def ensure_environment() -> None:
    """Make the environment, unless it is there."""
    done = FOLDER / ".installed"
    if done.exists():
        return
    subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-e", f"{ROOT}[ray,openai,ocr]"], check=True)
    done.touch()


class Models(BaseHTTPRequestHandler):
    """Judge, speculator and agent: two of three questions are let through."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = json.dumps(asked["messages"])
        number = int(text.rpartition("Number ")[2].split("?")[0])
        if asked["model"] == "small":
            self._answer("blue", [("blue", -0.01)])
        elif asked.get("max_tokens") == 1 or asked.get("max_completion_tokens") == 1:
            self._answer("no", [("no", -0.01)] if number % 3 else [("yes", -0.01)])
        else:
            self._answer(f"agent {number}", None)

    def _answer(self, text: str, tokens: list[tuple[str, float]] | None) -> None:
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        choice["message"] = {"role": "assistant", "content": text}
        if tokens is not None:
            others = [{"token": f"t{k}", "logprob": -9.0 - k / 10, "bytes": None} for k in range(19)]
            choice["logprobs"] = {
                "content": [
                    {"token": t, "logprob": p, "bytes": None, "top_logprobs": [{"token": t, "logprob": p}, *others]}
                    for t, p in tokens
                ]
            }
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        body = json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Models)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who is killed hangs up
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


WRITE = """
import sys, pyarrow as pa, pyarrow.parquet as pq
from PIL import Image
folder, rows = sys.argv[1], int(sys.argv[2])
Image.new("RGB", (64, 64), "blue").save(folder + "/image.png")
each = 100
for start in range(0, rows, each):
    ids = list(range(start, min(start + each, rows)))
    table = {"id": ids, "image": [folder + "/image.png"] * len(ids), "question": [f"Number {k}?" for k in ids]}
    pq.write_table(pa.table(table), f"{folder}/questions/{start:06}.parquet")
"""
READ = """
import sys, json, pyarrow.parquet as pq
from pathlib import Path
rows = []
for file in Path(sys.argv[1]).glob("*.parquet"):
    try:
        rows += pq.read_table(file).to_pylist()
    except Exception:
        pass
print(json.dumps(rows))
"""


def rows_in(out: Path) -> list[dict[str, Any]]:
    found = subprocess.run([PYTHON, "-c", READ, out], capture_output=True, text=True, check=True)
    rows: list[dict[str, Any]] = json.loads(found.stdout)
    return rows


def workers() -> list[int]:
    """Ray's actors that answer questions."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            name = (place / "cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::") and b"Bypass" in name:
            found.append(int(place.name))
    return found


def started(folder: Path, url: str, out: Path) -> subprocess.Popen[bytes]:
    command = [PYTHON, EXAMPLE, folder / "questions", out, "--base-url", url, "--small", "small", "--large", "large"]
    options = ["--actors", "2", "--at-once", "8"]
    environment = {**os.environ, "OPENAI_API_KEY": "none", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.Popen(
        [*map(str, command), *options], env=environment, start_new_session=True, stdout=subprocess.DEVNULL
    )


def check(rows: list[dict[str, Any]], count: int) -> None:
    assert sorted(row["id"] for row in rows) == list(range(count)), (
        f"{len(rows)} rows, {len({r['id'] for r in rows})} ids"
    )
    for row in rows:
        assert row["error"] is None, row
        wanted = ("bypass", "blue") if row["id"] % 3 else ("fallback", f"agent {row['id']}")
        assert (row["route"], row["answer"]) == wanted, row


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    ensure_environment()
    with tempfile.TemporaryDirectory() as made, serving() as url:
        folder = Path(made)
        (folder / "questions").mkdir()
        subprocess.run([PYTHON, "-c", WRITE, folder, str(count)], check=True)

        began, out = time.monotonic(), folder / "worker-killed"
        process = started(folder, url, out)
        while process.poll() is None and not (rows := len(list(out.glob("*.parquet")))):
            time.sleep(0.05)
        killed = workers()[:1]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert process.wait() == 0
        assert killed, "no worker was there to be killed"
        check(rows_in(out), count)
        print(f"{count} rows, a worker killed after {rows} files: each once, {time.monotonic() - began:.0f} s")

        out = folder / "command-killed"
        process = started(folder, url, out)
        while process.poll() is None and len(list(out.glob("*.parquet"))) < 3:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        before = len(rows_in(out))
        assert 0 < before < count, before
        assert started(folder, url, out).wait() == 0
        check(rows_in(out), count)
        print(f"{count} rows, the command killed after {before}: each once")


if __name__ == "__main__":
    main()

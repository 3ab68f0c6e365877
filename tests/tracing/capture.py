"""A LangSmith server on loopback that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zstandard


class Captured:
    """Bodies as they came (decompressed), and the runs they describe, by id."""

    def __init__(self, *, multipart: bool, zstd: bool) -> None:
        self.multipart, self.zstd = multipart, zstd
        self.url = ""
        self.bodies: list[bytes] = []
        self.sent = 0
        """Bytes on the wire."""
        self.runs: dict[str, dict[str, Any]] = {}
        self.said: list[tuple[str, str]] = []
        """All that was said of a run, by id: a later word does not take back an earlier one."""
        self.lock = threading.Lock()

    @property
    def info(self) -> dict[str, Any]:
        limits = {"use_multipart_endpoint": self.multipart, "size_limit": 100, "size_limit_bytes": 20 << 20}
        return {
            "version": "0.13.0",
            "batch_ingest_config": {**limits, "scale_up_nthreads_limit": 1, "scale_up_qsize_trigger": 1000},
            "instance_flags": {"zstd_compression_enabled": self.zstd},
        }

    def take(self, path: str, headers: Any, raw: bytes) -> None:
        body = raw
        if headers.get("Content-Encoding") == "zstd":
            body = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
        with self.lock:
            self.sent += len(raw)
            self.bodies.append(body)
            if path.endswith("/runs/batch"):
                found = json.loads(body)
                for run in (*found.get("post", []), *found.get("patch", [])):
                    self._merge(run["id"], run)
            elif path.endswith("/runs/multipart"):
                whole = b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body
                for part in BytesParser(policy=HTTP).parsebytes(whole).iter_parts():
                    _, run_id, *field = str(part.get_param("name", header="content-disposition")).split(".")
                    value = json.loads(part.get_payload(decode=True))
                    self._merge(run_id, {field[0]: value} if field else value)

    def _merge(self, run_id: str, fields: dict[str, Any]) -> None:
        self.said.append((run_id, json.dumps(fields)))
        self.runs.setdefault(run_id, {}).update({k: v for k, v in fields.items() if v is not None})

    @property
    def root(self) -> dict[str, Any]:
        (root,) = [run for run in self.runs.values() if run.get("parent_run_id") is None]
        return root

    def children(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        found = [r for r in self.runs.values() if r.get("parent_run_id") == run["id"]]
        return sorted(found, key=lambda r: str(r["dotted_order"]))

    def tree(self, run: dict[str, Any] | None = None) -> list[Any]:
        """Names: ``[name, children...]``."""
        run = run or self.root
        return [run["name"], *(self.tree(child) for child in self.children(run))]

    def named(self, name: str) -> list[dict[str, Any]]:
        return sorted((r for r in self.runs.values() if r["name"] == name), key=lambda r: str(r["dotted_order"]))

    def showing(self, text: str) -> set[str]:
        """Names of the runs of which anything that was ever sent holds a text."""
        return {self.runs[run_id]["name"] for run_id, said in self.said if text in said}

    @property
    def text(self) -> str:
        return b"".join(self.bodies).decode("utf-8", "replace")


@contextmanager
def capture(*, multipart: bool = True, zstd: bool = True) -> Iterator[Captured]:
    captured = Captured(multipart=multipart, zstd=zstd)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(captured.info)

        def do_POST(self) -> None:
            raw = self._chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else self._body()
            captured.take(self.path, self.headers, raw)
            self._answer({})

        do_PATCH = do_POST

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _chunks(self) -> bytes:
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def _answer(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200 if self.command == "GET" else 202)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    captured.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield captured
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Connections of the test server: a thread each, requests routed, answered or refused."""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk

from langgraph_speceyes.errors import ArgumentError, QueueFullError
from langgraph_speceyes.testbed.wire import ChatRequest, Refusal, completion, delta, usage

if TYPE_CHECKING:
    from langgraph_speceyes.models import LocalChatModel
    from langgraph_speceyes.testbed.server import ModelServer

MAX_DROPPED = 1024 * 1024 * 1024
"""Most bytes of a refused request that are still read."""
IDLE_S = 120.0
"""Seconds after which a connection without requests is closed."""

_log = logging.getLogger(__name__)


class Listener(ThreadingHTTPServer):
    """Listens, and begins a thread for each connection.

    Args:
        owner: What is served, and under which limits.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: ModelServer) -> None:
        self.owner = owner
        self.address_family = socket.AF_INET6 if ":" in owner.host else socket.AF_INET
        self.lines: set[socket.socket] = set()
        super().__init__((owner.host, owner.port), _Handler)

    def server_bind(self) -> None:
        """Listen."""
        # not the base class's: it looks the host's name up, which may take seconds
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def hang_up(self) -> None:
        """Close the connections; their threads notice and end."""
        for line in list(self.lines):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note a connection that broke."""
        # a client that went away is no trouble of this server's
        _log.debug("connection of %s ended", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "speceyes-testbed", ""
    timeout = IDLE_S
    # head and body are two writes, which would otherwise wait for each other
    disable_nagle_algorithm = True

    server: Listener

    def setup(self) -> None:
        """Begin with a connection."""
        super().setup()
        self.server.lines.add(self.connection)
        self._owner.link.connected()

    def finish(self) -> None:
        """End with it."""
        self.server.lines.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        """Answer `GET /health` and `GET /v1/models`."""
        self._guarded(self._get)

    def do_POST(self) -> None:
        """Answer `POST /v1/chat/completions`."""
        self._guarded(self._post)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log a request, for those who ask for debug messages."""
        _log.debug(format, *arguments)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no HTTP request, or no method of this server's."""
        self.close_connection = True
        self._refuse(Refusal(code, message or HTTPStatus(code).phrase))

    @property
    def _owner(self) -> ModelServer:
        return self.server.owner

    @property
    def _route(self) -> str:
        return self.path.partition("?")[0].rstrip("/")

    def _guarded(self, answer: Callable[[], None]) -> None:
        try:
            answer()
        except Refusal as refusal:
            self._refuse(refusal)
        except QueueFullError as error:
            self._refuse(Refusal(503, str(error)))
        except (ArgumentError, ValueError) as error:
            self._refuse(Refusal(400, str(error)))
        except OSError:
            # the client is gone, or too slow
            self.close_connection = True
        except Exception:
            _log.exception("request failed")
            self._refuse(Refusal(500, "the model failed; see the server's log"))

    def _get(self) -> None:
        if self._route == "/health":
            self._send({"status": "ok"})
            return
        self._check_key()
        cards = [self._card(name) for name in self._owner.models]
        if self._route == "/v1/models":
            self._send({"object": "list", "data": cards})
            return
        name = self._route.removeprefix("/v1/models/")
        if name == self._route:
            raise self._absent()
        self._model(name)
        self._send(self._card(name))

    def _post(self) -> None:
        raw = self._body()
        self._check_key()
        if self._route != "/v1/chat/completions":
            raise self._absent()
        request = ChatRequest.parse(raw)
        model = self._model(request.model)
        messages = request.read_messages(tool_images=self._owner.images_in_tool_messages)
        options = request.options(self._owner.limit(model))
        identity = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": request.model}
        if request.stream:
            self._stream(request, identity, model.stream(messages, **options))
            return
        self._send(completion(identity, model.invoke(messages, **options)))

    def _stream(
        self, request: ChatRequest, identity: Mapping[str, Any], chunks: Iterator[AIMessage | AIMessageChunk]
    ) -> None:
        # what is wrong with the request shows at the first token, while its status is still open
        first = next(chunks)
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self._event(delta(identity, None))
            last = first
            self._event(delta(identity, first))
            for chunk in chunks:
                last = chunk
                self._event(delta(identity, chunk))
            if request.stream_options and request.stream_options.include_usage:
                self._event(delta(identity, None) | {"choices": [], "usage": usage(last)})
        except OSError:
            return
        except Exception:
            _log.exception("stream failed")
            self._event(Refusal(500, "the model failed; see the server's log").body)
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, event: Mapping[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            raise Refusal(411, "a request needs a Content-Length")
        if int(length) > self._owner.max_body:
            self.close_connection = True
            self._drop(int(length))
            raise Refusal(413, f"the request has {length} bytes, more than the {self._owner.max_body} allowed")
        body = self._owner.link.through(self.rfile.read, int(length))
        if len(body) < int(length):
            raise ConnectionResetError("the client went away")
        return body

    def _drop(self, length: int) -> None:
        """Read a body and keep nothing of it: a client that still sends would not see the refusal."""
        left = min(length, MAX_DROPPED)
        while left > 0 and (piece := self.rfile.read(min(left, 1024 * 1024))):
            left -= len(piece)

    def _check_key(self) -> None:
        key = self._owner.api_key
        if key is None:
            return
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
            raise Refusal(401, "Incorrect API key provided.", code="invalid_api_key")

    def _model(self, name: str) -> LocalChatModel:
        if name not in self._owner.models:
            raise Refusal(404, f"The model `{name}` does not exist.", param="model")
        return self._owner.models[name]

    def _card(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._owner.started, "owned_by": "langgraph-speceyes"}

    def _absent(self) -> Refusal:
        return Refusal(404, f"there is no {self.command} {self._route[:200]}")

    def _refuse(self, refusal: Refusal) -> None:
        try:
            self._send(refusal.body, refusal.status)
        except OSError:
            self.close_connection = True

    def _send(self, content: Mapping[str, Any], status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

"""The embedded pair behind a socket: a small server that speaks OpenAI's chat completions, as vLLM does.

It is there to try and test clients without a GPU: both models by name, logprobs with a limit, tools, streams, and
errors in the wording users meet elsewhere. Images come as `data:` URLs only; nothing is fetched, no file is read.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from langchain_core.messages import AIMessage, AIMessageChunk

from langgraph_speceyes.errors import ArgumentError, ClosedError, QueueFullError
from langgraph_speceyes.images import ImagePolicy
from langgraph_speceyes.testbed.wire import ChatRequest, Refusal, completion, delta, usage

if TYPE_CHECKING:
    from langgraph_speceyes.models import LocalChatModel
    from langgraph_speceyes.testbed.pair import Pair

MAX_LOGPROBS = 20
"""vLLM's default."""
MAX_BODY = 128 * 1024 * 1024
"""Most bytes of a request: one image of `ImagePolicy`'s default size in base64, and then some."""
MAX_DROPPED = 1024 * 1024 * 1024
"""Most bytes of a refused request that are still read."""
IDLE_S = 120.0
"""Seconds after which a connection without requests is closed."""

_log = logging.getLogger(__name__)


class ModelServer:
    """The embedded pair over HTTP, in this process, one thread a connection.

    Concurrent requests share forward passes: they meet in the models' micro-batchers.

    Args:
        pair: The pair; None loads it on :meth:`start`.
        host: Where to listen. Loopback by default; on other addresses give a key.
        port: 0 takes a free one.
        max_logprobs: Most `top_logprobs` of a request; more is refused, in vLLM's words.
        images_in_tool_messages: Accept images in messages of role `tool`, which OpenAI and others refuse.
        api_key: What requests must bring as a bearer token; None asks for none.
        max_body: Most bytes of a request.

    Raises:
        ArgumentError: An argument is out of its range.

    Example:
        .. code-block:: python

            with ModelServer(max_logprobs=64) as server:
                model = hosted_model("speceyes-embedded-speculator", base_url=server.url)
    """

    def __init__(
        self,
        pair: Pair | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_logprobs: int = MAX_LOGPROBS,
        images_in_tool_messages: bool = False,
        api_key: str | None = None,
        max_body: int = MAX_BODY,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ArgumentError("port", "0 to 65535", port)
        for argument, value in (("max_logprobs", max_logprobs), ("max_body", max_body)):
            if value < 1:
                raise ArgumentError(argument, "at least 1", value)
        if api_key == "":
            raise ArgumentError("api_key", "a key or None", "empty text")
        self.host, self.port, self.max_logprobs, self.max_body = host, port, max_logprobs, max_body
        self.images_in_tool_messages, self.api_key = images_in_tool_messages, api_key
        self.started = int(time.time())
        self.models: dict[str, LocalChatModel] = {}
        self._pair = pair
        self._http: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Load the pair if need be, listen, and serve on a thread of its own.

        Raises:
            ArgumentError: The address cannot be listened on.
            MissingExtraError: torch or transformers are not installed.
        """
        if self._http is not None:
            return self
        try:
            self._http = _Server(self)
        except OSError as error:
            raise ArgumentError("port", "an address that can be listened on", f"{self._place}: {error}") from error
        try:
            self.models = self._load()
        except BaseException:
            self._http.server_close()
            self._http = None
            raise
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="speceyes server")
        self._thread.daemon = True
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and close all connections; answers under way are dropped."""
        if self._http is None or self._thread is None:
            return
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._thread.join()
        self._http = self._thread = None

    def wait(self) -> None:
        """Wait until :meth:`stop` is called from elsewhere."""
        while self._thread is not None and self._thread.is_alive():
            # in slices: an interrupt is only seen between them
            self._thread.join(0.5)

    @property
    def url(self) -> str:
        """The base URL for clients, such as `http://127.0.0.1:8000/v1`.

        Raises:
            ClosedError: The server is not started.
        """
        if self._http is None:
            raise ClosedError("the server is not started")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self._http.server_address[1]}/v1"

    @property
    def _place(self) -> str:
        return f"{self.host} port {self.port}"

    def _load(self) -> dict[str, LocalChatModel]:
        from langgraph_speceyes.models.chat import LocalChatModel
        from langgraph_speceyes.testbed.pair import load_pair

        pair = self._pair or load_pair()
        # no local path, nothing remote, whatever a message says
        policy = ImagePolicy(roots=(), allow_remote=False, max_bytes=self.max_body)
        found = {}
        for model in (pair.speculator, pair.large):
            if not isinstance(model, LocalChatModel):
                raise ArgumentError("pair", "local models", type(model).__name__)
            found[model.model_name] = model.model_copy(update={"policy": policy})
        return found

    def limit(self, model: LocalChatModel) -> int:
        """Most `top_logprobs` of a request to this model."""
        return min(self.max_logprobs, model.vocab_size)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(host: str, port: int, max_logprobs: int, ready: Callable[[ModelServer], None]) -> None:
    """Serve the pair until interrupted, for the command.

    Args:
        host: Where to listen.
        port: 0 takes a free one.
        max_logprobs: Most `top_logprobs` of a request.
        ready: Called with the server once it listens.

    Raises:
        ArgumentError: As :class:`ModelServer`.
        MissingExtraError: torch or transformers are not installed.
    """
    with ModelServer(host=host, port=port, max_logprobs=max_logprobs) as server:
        import torch

        # a forward pass of models this small is over before a second thread has begun
        torch.set_num_threads(1)
        ready(server)
        try:
            server.wait()
        except KeyboardInterrupt:
            return


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: ModelServer) -> None:
        self.owner = owner
        self.address_family = socket.AF_INET6 if ":" in owner.host else socket.AF_INET
        self.lines: set[socket.socket] = set()
        super().__init__((owner.host, owner.port), _Handler)

    def server_bind(self) -> None:
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
        # a client that went away is no trouble of this server's
        _log.debug("connection of %s ended", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "speceyes-testbed", ""
    timeout = IDLE_S
    # head and body are two writes, which would otherwise wait for each other
    disable_nagle_algorithm = True

    server: _Server

    def setup(self) -> None:
        """Begin with a connection."""
        super().setup()
        self.server.lines.add(self.connection)

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
        return self.rfile.read(int(length))

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


__all__ = ["MAX_LOGPROBS", "ModelServer", "serve"]

"""The labelling session as one web page on this machine: a server on loopback that knows one secret address."""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from langgraph_speceyes.bench.labelling import KEYS, Labelling
from langgraph_speceyes.errors import ImageError, SpecEyesError, describe_error
from langgraph_speceyes.images import DEFAULT_POLICY, ImagePolicy, encode_image, load_image, parse_reference

HOST = "127.0.0.1"
LARGEST_SIDE = 1600
"""Pixels of a picture's longer side; larger images are shown smaller."""
_MOST_BYTES = 4096
_TIMEOUT_S = 30.0


class LabelPage:
    """Serves a session until it is closed or the person quits.

    Only whoever knows the address can use it: its path begins with a random token, and requests that name another host
    are refused. It serves the page, the session's questions, and images of questions that it has shown.

    Args:
        session: The session.
        policy: Which images may be opened.
        port: 0 takes a free one.
    """

    def __init__(self, session: Labelling, *, policy: ImagePolicy = DEFAULT_POLICY, port: int = 0) -> None:
        self.session, self.policy, self.token = session, policy, secrets.token_urlsafe(24)
        self._shown: dict[str, tuple[str, ...]] = {}
        self.done = threading.Event()
        page = self
        self._html = (files("langgraph_speceyes.bench") / "label.html").read_text(encoding="utf-8")

        class Handler(_Handler):
            owner = page

        self._server = ThreadingHTTPServer((HOST, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address to open."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def __enter__(self) -> LabelPage:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def state(self) -> dict[str, Any]:
        """What the page shows next."""
        pending, found = self.session.next(), self.session.found
        state: dict[str, Any] = {"accepted": found.accepted, "threshold": found.threshold, "done": pending is None}
        if pending is not None:
            self._shown[pending.id] = pending.shown.images
            state |= {
                "id": pending.id,
                "question": pending.shown.question,
                "speculation": pending.shown.speculation,
                "answer": pending.shown.answer,
                "images": len(pending.shown.images),
                "labelled": pending.labelled,
                "left": pending.left,
            }
        return state

    def page(self, nonce: str) -> str:
        """The page."""
        keys = json.dumps({key: says for key, (says, _) in KEYS.items()})
        return self._html.replace("{{nonce}}", nonce).replace("{{keys}}", keys)

    def picture(self, id: str, number: int) -> bytes:
        """An image of a question that was shown, as a JPEG.

        Raises:
            KeyError: No such image was shown.
            ImageError: It cannot be opened, or may not be.
        """
        shown = self._shown[id]
        if not 0 <= number < len(shown):
            raise KeyError(number)
        reference = shown[number]
        image = load_image(parse_reference(reference), self.policy).convert("RGB")
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        return encode_image(image, "JPEG", quality=90)

    def act(self, said: Any) -> dict[str, Any]:
        """Do what a key says.

        Raises:
            ArgumentError: It says nothing that can be done.
        """
        key = said.get("key") if isinstance(said, dict) else None
        if key == "q":
            self.done.set()
        elif key == "u":
            self.session.undo()
        else:
            self.session.tell(str(said.get("id")) if isinstance(said, dict) else "", str(key))
        return self.state()


class _Handler(BaseHTTPRequestHandler):
    owner: LabelPage
    timeout = _TIMEOUT_S
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self._inside()
        if path == "":
            nonce = secrets.token_urlsafe(16)
            self._send(self.owner.page(nonce).encode(), "text/html; charset=utf-8", nonce=nonce)
        elif path == "question":
            self._do(lambda: self.owner.state())
        elif path is not None and (parts := path.split("/"))[0] == "image" and len(parts) == 3:
            self._image(*parts[1:])
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > _MOST_BYTES:
            self.close_connection = True
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = self.rfile.read(int(length))
        # a page of another site cannot send JSON here without asking first, and is never allowed
        if self._inside() != "label" or self.headers.get_content_type() != "application/json":
            return self._refuse(HTTPStatus.NOT_FOUND)
        try:
            said = json.loads(body)
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        return self._do(lambda: self.owner.act(said))

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet; the address is a secret."""

    def _inside(self) -> str | None:
        """The path behind the token; None for who does not know it, or calls this machine by another name."""
        port = self.owner.port
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            return None
        token, slash, path = self.path.removeprefix("/").partition("/")
        known = hmac.compare_digest(token.encode("utf-8", "replace"), self.owner.token.encode())
        return path if known and slash else None

    def _image(self, id: str, number: str) -> None:
        try:
            data = self.owner.picture(bytes.fromhex(id).decode(), int(number))
        except (KeyError, ValueError, ImageError):
            return self._refuse(HTTPStatus.NOT_FOUND)
        return self._send(data, "image/jpeg")

    def _do(self, do: Any) -> None:
        try:
            state = do()
        except SpecEyesError as error:
            body = json.dumps({"error": describe_error(error)}).encode()
            return self._send(body, "application/json", HTTPStatus.BAD_REQUEST)
        return self._send(json.dumps(state).encode(), "application/json")

    def _refuse(self, status: HTTPStatus) -> None:
        self._send(status.phrase.encode(), "text/plain; charset=utf-8", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, *, nonce: str = "") -> None:
        inline = f"'nonce-{nonce}'" if nonce else "'none'"
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            (
                "Content-Security-Policy",
                f"default-src 'none'; script-src {inline}; style-src {inline}; img-src 'self'; connect-src 'self'; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

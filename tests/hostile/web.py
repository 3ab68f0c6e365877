"""A web server on loopback that does what a test says, byte by byte, and names and public addresses that lead to it."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

Handler = Callable[["Connection"], object]
PUBLIC = "93.184.216.34"
"""An address of the public Internet, which a :class:`Network` leads to a server on loopback."""


class Connection:
    """A request that has arrived, and what to answer it with."""

    def __init__(self, raw: socket.socket, closing: threading.Event) -> None:
        self._socket, self._closing = raw, closing
        self.request = b""
        self.gone = False
        """Whether the other side was seen to have closed the connection."""
        while b"\r\n\r\n" not in self.request and (chunk := raw.recv(65536)):
            self.request += chunk
        # what is left unread when a connection is closed would reset it
        self.request, end, body = self.request.partition(b"\r\n\r\n")
        self.arrived = bool(end)
        left = int(self.headers.get("content-length", 0)) - len(body) if end else 0
        while left > 0 and (chunk := raw.recv(65536)):
            left -= len(chunk)

    @property
    def path(self) -> str:
        return self.request.split(b" ", 2)[1].decode().partition("?")[0]

    @property
    def headers(self) -> dict[str, str]:
        lines = self.request.decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def answer(self, body: bytes = b"", status: str = "200 OK", **headers: object) -> None:
        fields = {"content-length": len(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)

    def drip(self, data: bytes, pause_s: float = 0.02) -> None:
        """Send byte by byte, over and over, until the other side has gone."""
        while not self._closing.is_set():
            for byte in data:
                self.send(bytes([byte]))
                if self._closing.wait(pause_s):
                    return

    def wait(self) -> None:
        """Say nothing until the other side has gone."""
        self._socket.settimeout(0.05)
        while not self._closing.is_set():
            with suppress(TimeoutError):
                if not self._socket.recv(1):
                    self.gone = True
                    return

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()


class Web:
    """A server on loopback: a thread a connection, each path with what answers it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, Handler] = {}
        self.seen: list[Connection] = []
        self.names: list[str | None] = []
        """What each TLS connection named as its server."""
        self._tls, self._closing, self._threads = tls, threading.Event(), list[threading.Thread]()
        if tls is not None:
            tls.sni_callback = lambda _, name, __: self.names.append(name)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._start(self._accept)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}{path}"

    def close(self) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, do: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=do, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                raw, _ = self._listening.accept()
                self._start(lambda raw=raw: self._serve(raw))  # type: ignore[misc]

    def _serve(self, raw: socket.socket) -> None:
        # a client that goes, and one that does not trust the certificate, are no errors of the server
        with suppress(OSError), raw:
            wrapped = raw if self._tls is None else self._tls.wrap_socket(raw, server_side=True)
            with wrapped:
                connection = Connection(wrapped, self._closing)
                if connection.arrived:
                    self.seen.append(connection)
                    self.pages[connection.path](connection)


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web(tls)
    try:
        yield web
    finally:
        web.close()


class Network:
    """Names with their addresses, and public addresses that lead to ports of loopback.

    Args:
        names: Each name's addresses, one list a look-up; the last one is for all further ones.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, names: dict[str, list[list[str]]]) -> None:
        self.looked_up: list[str] = []
        self.connected: list[str] = []
        answers, connect = names, asyncio.selector_events.BaseSelectorEventLoop.sock_connect

        def getaddrinfo(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
            name = host.decode() if isinstance(host, bytes) else host
            self.looked_up.append(name)
            if not (found := answers.get(name)):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            addresses = found[min(self.looked_up.count(name), len(found)) - 1]
            return [(_family(one), socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

        async def routed(loop: Any, sock: socket.socket, address: Any) -> None:
            self.connected.append(address[0])
            if ip_address(address[0]).is_global:
                address = ("127.0.0.1", address[1])
            await connect(loop, sock, address)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", routed)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def authority(folder: Path, *names: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate of its own authority for some names: its file, and what a server speaks TLS with."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, private = folder / "authority.pem", folder / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    forms = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(*forms))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, private)
    return file, context

"""A PostgreSQL server of one's own, in a temporary folder, on a Unix socket."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

UNPRIVILEGED = "nobody"
"""Who runs the server where the tests are root's, whom PostgreSQL refuses."""
START_S = 60.0
STOP_S = 30.0


def binaries() -> Path | None:
    """The folder with `initdb` and `postgres`; None where there is none."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    # Debian keeps them out of the path
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server; the URL of its empty database."""
    programs = binaries()
    if programs is None:
        raise RuntimeError("PostgreSQL is not installed: no `postgres` with its `initdb` in the path")
    as_root = os.geteuid() == 0
    who: dict[str, Any] = {"user": UNPRIVILEGED, "extra_groups": []} if as_root else {}
    # not pytest's own folder, which nobody else may enter; and short, as sockets' names have at most 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    data = folder / "data"
    try:
        if as_root:
            shutil.chown(folder, UNPRIVILEGED)
        making = [programs / "initdb", "-D", data, "-U", "speceyes", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*making, "--no-locale"], check=True, capture_output=True, cwd=folder, **who)
        settings = ["listen_addresses=", "fsync=off", f"unix_socket_directories={folder}", "max_connections=50"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *(word for one in settings for word in ("-c", one))],
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                **who,
            )
        try:
            url = f"postgresql://speceyes@/postgres?host={folder}"
            _wait(server, url, folder / "log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # sessions are ended, and none is waited for
            try:
                server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fresh(url: str, name: str) -> str:
    """Make another empty database on the server; its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return url.replace("/postgres?", f"/{name}?")


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < until:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-4000:]}")

"""What holds code on this machine: bubblewrap, else Landlock, else nothing and an error."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence

from langgraph_speceyes.agent.sandbox import bubblewrap, landlock, seccomp
from langgraph_speceyes.agent.sandbox.backend import Backend
from langgraph_speceyes.agent.sandbox.limits import CodeLimits
from langgraph_speceyes.errors import SandboxUnavailableError

_LOG = logging.getLogger(__name__)
INSTALL = "install bubblewrap (apt install bubblewrap, or pip install 'langgraph-speceyes[sandbox]')"
_LOCK = threading.Lock()
_FOUND: dict[tuple[int, int], set[tuple[str, str]]] = {}


def default_backend(limits: CodeLimits) -> Backend:
    """Return the strongest that works here, tried once in a process by running a block in it.

    Args:
        limits: What code may use.

    Raises:
        SandboxUnavailableError: None works; the message says what each one said, and what to install.
    """
    if not sys.platform.startswith("linux") or seccomp.machine() not in seccomp.ARCHITECTURES:
        found = f"{sys.platform} on {seccomp.machine()}"
        raise SandboxUnavailableError(
            f"code needs Linux on x86_64 or aarch64 to be held, this is {found}: pass a sandbox of a service instead"
        )
    return first_that_works(candidates(limits))


def first_that_works(options: Sequence[Backend]) -> Backend:
    """Return the first of these that works; which one does is found out once in a process.

    Args:
        options: Ways to hold code, the strongest first.

    Raises:
        SandboxUnavailableError: None works; the message says what each one said, and what to install.
    """
    said = []
    with _LOCK:
        owner = (os.getpid(), os.geteuid())
        known = _FOUND.setdefault(owner, set())
        for option in options:
            if _key(option) in known:
                return option
            try:
                check(option)
            except SandboxUnavailableError as error:
                said.append(f"{' '.join(_key(option))}: {error}")
                continue
            known.add(_key(option))
            _LOG.log(*_words(option))
            return option
    reasons = "; ".join(said) or "neither bwrap nor a package for Landlock is installed"
    raise SandboxUnavailableError(f"nothing here can hold code that a model writes: {INSTALL}. Tried: {reasons}")


def candidates(limits: CodeLimits) -> Sequence[Backend]:
    """What may hold code here, the strongest first."""
    return [*bubblewrap.candidates(limits), *landlock.candidates(limits)]


def check(backend: Backend) -> None:
    """Run a block in a backend.

    Raises:
        SandboxUnavailableError: It does not come up, or the block does not do what it should.
    """
    session = backend.start([], None)
    try:
        ran = session.run("print(6 * 7)")
    finally:
        session.close()
    if ran.output.strip() != "42" or ran.error is not None:
        raise SandboxUnavailableError(f"a block came to {ran.output[-200:]!r}, {ran.error}")


def _key(option: Backend) -> tuple[str, str]:
    if isinstance(option, bubblewrap.Bubblewrap):
        return option.program, option.mode
    return option.name, ""


def _words(option: Backend) -> tuple[int, str]:
    if option.name == "landlock":
        return (
            logging.WARNING,
            f"code that models write is held by Landlock, which is weaker than bubblewrap: {INSTALL}",
        )
    return logging.INFO, f"code that models write is held by {option.name}"

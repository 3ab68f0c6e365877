"""Running a program of the tests as an unprivileged user, where the tests run as root."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
USER = 61_234
"""A user that no system gives a name."""
WHO = ("root", "user") if os.geteuid() == 0 else ("user",)
"""Whom the attempts can be run as here."""


def command(who: str, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """How a module of the tests is run.

    Args:
        who: ``"root"``, or ``"user"`` for an unprivileged one.
        arguments: The interpreter's.

    Returns:
        The command and its environment. An interpreter in a folder that is root's alone is shown to the user at another
        place, in a file system of the command's own.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if who == "root" or os.geteuid() != 0:
        return [sys.executable, *arguments], environment
    place = tempfile.mkdtemp(prefix="python-")
    os.chmod(place, 0o755)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    run = [f"{place}/bin/{version}", *arguments]
    identity = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all"]
    script = (
        f"mount --bind {shlex.quote(sys.base_prefix)} {place} && exec setpriv {' '.join(identity)} {shlex.join(run)}"
    )
    store = tempfile.mkdtemp(prefix="store-")
    os.chmod(store, 0o777)
    environment["LD_LIBRARY_PATH"] = f"{place}/lib"
    environment["PYTHONPATH"] = f"{ROOT}:{sysconfig.get_path('purelib')}"
    environment |= {"HOME": store, "SPECEYES_IMAGE_DIR": f"{store}/images", "PYTHONDONTWRITEBYTECODE": "1"}
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], environment

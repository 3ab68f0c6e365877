"""Workers held by Landlock and seccomp alone, where bubblewrap cannot run: weaker, and named so.

The worker is an ordinary process of the host. Landlock keeps it to folders, the filters of system calls from networks,
processes and programs. It can still see that files exist, and the host's name; what it writes is in a folder of the
host, in memory where there is such a one, measured while it runs instead of limited by the kernel.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langgraph_speceyes.agent.sandbox.backend import INPUT_FOLDER, OUTPUT_FOLDER, Ask, Root, Session, image_path
from langgraph_speceyes.agent.sandbox.bubblewrap import (
    ENVIRONMENT,
    executable,
    folder_of,
    installed_libraries,
    own_user,
)
from langgraph_speceyes.agent.sandbox.launch import Launch
from langgraph_speceyes.agent.sandbox.limits import DEFAULT_LIMITS, CodeLimits
from langgraph_speceyes.agent.sandbox.session import ALL_FENCES, PROGRAM, Fences, Place, WorkerSession
from langgraph_speceyes.errors import SandboxUnavailableError

PACKAGE = "sandlock"


@dataclass(frozen=True)
class Landlock:
    """Workers held by Landlock and seccomp.

    Attributes:
        limits: What a worker may use.
        confine: Whether Landlock is on; the escape campaign takes it away.
        start_filter: Whether system calls are filtered; likewise.
        fences: What holds it besides.
    """

    limits: CodeLimits = DEFAULT_LIMITS
    confine: bool = True
    start_filter: bool = True
    fences: Fences = ALL_FENCES

    @property
    def name(self) -> str:
        """What holds the code."""
        return "landlock"

    @property
    def asks(self) -> bool:
        """Code can have text read."""
        return True

    @property
    def libraries(self) -> Sequence[str]:
        """Which libraries a block finds: those that are installed here."""
        return installed_libraries()

    def start(self, images: Sequence[bytes], ask: Ask | None) -> Session:
        """Start a trajectory; see :class:`~langgraph_speceyes.agent.sandbox.backend.Backend`."""
        if importlib.util.find_spec(PACKAGE) is None:
            raise SandboxUnavailableError(f"the package {PACKAGE} is not installed")
        try:
            folder = tempfile.mkdtemp(prefix="speceyes-code-", dir=_memory())
        except OSError as error:
            raise SandboxUnavailableError(f"there is no folder for its files: {error}") from error
        try:
            root, uid = Root(folder), own_user() if os.geteuid() == 0 else None
            scratch = root.real(OUTPUT_FOLDER)
            os.makedirs(scratch)
            for index, data in enumerate(images):
                with open(root.real(image_path(index)), "wb") as file:
                    file.write(data)
            if uid is not None:
                _hand_over(folder, uid)
            shown = [sysconfig.get_path("stdlib"), os.path.join(sys.base_prefix, "lib"), "/usr/lib", "/lib", "/lib64"]
            shown += [path for name in self.libraries if (path := folder_of(name))]
            shown += [root.real(INPUT_FOLDER), "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"]
            readable = [path for path in dict.fromkeys(shown) if os.path.exists(path)]
            place = Place(
                [path for path in sys.path if os.path.isdir(path)],
                self.libraries,
                root,
                uid,
                (readable, [scratch]) if self.confine else None,
                self.start_filter,
                _threads_of(os.getuid()) if uid is None else 0,
            )
            command = [executable(), "-s", "-S", "-P", "-c", PROGRAM, "{requests}", "{replies}"]
            environment = {**ENVIRONMENT, "HOME": scratch, "TMPDIR": scratch}
            launch = Launch(
                command, env=environment, scratch=scratch, done=lambda: shutil.rmtree(folder, ignore_errors=True)
            )
            return WorkerSession(launch, place, len(images), self.limits, ask, self.fences)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise SandboxUnavailableError(f"its files cannot be written: {error}") from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def candidates(limits: CodeLimits) -> list[Landlock]:
    """Landlock, if the package that speaks with it is installed."""
    return [] if importlib.util.find_spec(PACKAGE) is None else [Landlock(limits)]


def _memory() -> str | None:
    """A folder in memory, ``None`` for the usual one where there is none."""
    return "/dev/shm" if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK) else None


def _threads_of(uid: int) -> int:
    """How many threads a user has."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid == uid:
                count += len(os.listdir(process / "task"))
    return count


def _hand_over(folder: str, uid: int) -> None:
    """Let a user reach a folder of root's: write in the folder for outputs, read the rest."""
    os.chmod(folder, 0o711)
    for at, folders, files in os.walk(folder):
        for name in folders:
            os.chmod(os.path.join(at, name), 0o755)
        for name in files:
            os.chmod(os.path.join(at, name), 0o444)
    os.chown(folder + OUTPUT_FOLDER, uid, uid)

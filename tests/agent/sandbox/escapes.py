"""Every attempt of ``attempts.py`` against the sandbox, in a world of the host that would notice.

    python -m tests.agent.sandbox.escapes [--backend landlock] [--drop FENCE | --campaign] [--json] [NUMBER ...]

``--drop`` takes a fence away, and the attempts that it holds must succeed; ``--campaign`` does so with one fence after
the other, and says of each attempt whether its own fence was what held it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from PIL import Image

from langgraph_speceyes.agent.sandbox import CodeLimits, CodeOutcome, CodeTool, bubblewrap, code, pool, process, session
from langgraph_speceyes.agent.sandbox.backend import OUTPUT_FOLDER, Ask, Ran, Session
from langgraph_speceyes.agent.sandbox.choose import first_that_works
from langgraph_speceyes.agent.sandbox.landlock import Landlock
from langgraph_speceyes.images import ImageRef, inline_reference
from tests.agent.sandbox.attempts import ATTEMPTS, HELP, Attempt

SHORT_S, LONG_S = 1.0, 60.0
"""The limit of attempts that run into it, and of the others, which no busy machine may bring there."""
MOST_IMAGES = 10
SECRET = "speceyes-secret-7f3a"


@dataclass
class World:
    """Things of the host that an attempt must not see, reach or change."""

    folder: Path
    listener: socket.socket
    datagrams: socket.socket
    local: socket.socket
    canary: subprocess.Popen[bytes]
    names: dict[str, Any] = field(default_factory=dict)
    before: object = None

    def state(self) -> object:
        """What must stay as it is."""
        files = {str(path): (path.stat().st_mode, path.stat().st_size) for path in self.folder.rglob("*")}
        # other programs of the host use the folder too
        memory = sorted({"fill", self.names["socket"]} & {*os.listdir("/dev/shm")})
        return files, memory, self.canary.poll()

    def touched(self) -> str:
        """What has changed, or who has come."""
        for name, listening in (("TCP", self.listener), ("UDP", self.datagrams), ("unix", self.local)):
            with contextlib.suppress(BlockingIOError):
                listening.recvfrom(1) if name == "UDP" else listening.accept()
                return f"a message by {name}"
        now, self.before = self.state(), (before := self.before) and self.state()
        return "" if now == before else f"changed: {before} to {now}"[:300]


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Make the world."""
    # in the sandbox /tmp is a link: a folder of the host could not be shown there
    folder = Path(tempfile.mkdtemp(prefix="escapes-", dir="/var/tmp"))
    os.chmod(folder, 0o755)
    secret, picture, opened = folder / "secret.txt", folder / "picture.png", folder / "open"
    secret.write_text(SECRET)
    Image.new("RGB", (60, 60), "blue").save(picture)
    opened.mkdir()
    os.chmod(opened, 0o777)
    name = f"speceyes-{os.getpid()}"
    listener, datagrams = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", listener.getsockname()[1]))
    local = socket.socket(socket.AF_UNIX)
    local.bind("\0" + name)
    local.listen()
    for one in (listener, datagrams, local):
        one.setblocking(False)
    # as a process that has nothing which the sandbox has not: only the walls are between
    plain = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    canary = subprocess.Popen([*plain, "sleep", "3600"], env={**os.environ, "SPECEYES_SECRET": SECRET})
    os.environ["SPECEYES_SECRET"] = SECRET
    found = World(folder, listener, datagrams, local, canary)
    found.names = {"secret": str(secret), "picture": str(picture), "port": listener.getsockname()[1], "socket": name}
    found.names |= {"pid": canary.pid, "seconds": SHORT_S}
    found.before = found.state()
    descriptor = os.open(secret, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        yield found
    finally:
        os.close(descriptor)
        canary.kill()
        canary.wait()
        for one in (listener, datagrams, local):
            one.close()
        subprocess.run(["rm", "-rf", str(folder)], check=False)


class Watched:
    """A backend of which it is known what came out last, before the host looked at it."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.ran, self.session = inner, Ran(""), None
        self.name, self.libraries, self.asks = inner.name, inner.libraries, inner.asks

    def start(self, images: Sequence[bytes], ask: Ask | None) -> Session:
        outer, inner = self, self.inner.start(images, ask)
        outer.session = inner

        class Kept:
            @property
            def alive(self) -> bool:
                return bool(inner.alive)

            def run(self, text: str) -> Ran:
                outer.session = inner
                outer.ran = inner.run(text)
                return outer.ran

            def close(self) -> None:
                inner.close()

        return Kept()


@dataclass(frozen=True)
class Fence:
    """What is taken away: changes of the backend, of its limits, and of the host's own code."""

    backend: Callable[[Any, World], Any] = lambda backend, world: backend
    limits: dict[str, Any] = field(default_factory=dict)
    patches: Callable[[World], Sequence[Any]] = lambda world: ()


def walls(**changes: Any) -> Callable[[Any, World], Any]:
    return lambda backend, world: replace(backend, walls=replace(backend.walls, **changes))


def fences(**changes: Any) -> Callable[[Any, World], Any]:
    return lambda backend, world: replace(backend, fences=replace(backend.fences, **changes))


def without(name: str, *, memory: bool = True) -> Callable[[Any, World], Any]:
    kept = tuple(one for one in session.ALL_FENCES.rlimits if one != name)
    return fences(rlimits=kept, memory=memory)


SPACES = bubblewrap.ALL_WALLS.spaces
LAX = session.PROGRAM.replace("os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC", "os.O_RDONLY").replace(
    "not stat.S_ISREG(status.st_mode) or ", ""
)
assert LAX != session.PROGRAM


def _shared(world: World) -> tuple[tuple[str, str, str], ...]:
    # a folder at the top: bubblewrap makes the folders above others for nobody but root
    top = f"/{world.folder.parts[1]}"
    return ("--ro-bind", "/etc", "/etc"), ("--ro-bind", top, top)


def _opens_names(self: CodeTool, ran: Ran) -> tuple[list[ImageRef], list[str]]:
    """What a host must never do."""
    names = [os.path.normpath(word) for word in ran.output.split() if word.endswith(".png")]
    return [inline_reference(Path(name).read_bytes()) for name in names if os.path.isfile(name)], []


def _any_reply(buffer: bytearray, limits: CodeLimits) -> process.Reply | None:
    """Replies without a limit."""
    length = int.from_bytes(buffer[:4], "big") if len(buffer) >= 4 else 1 << 40
    if len(buffer) < 4 + length:
        return None
    header = json.loads(bytes(buffer[4 : 4 + length]))
    if len(buffer) < 4 + length + sum(header["sizes"]):
        return None
    del buffer[: 4 + length]
    return process.Reply(header, [])


def _inherits(backend: Any, world: World) -> Any:
    launch = type(backend).launch
    number = os.open(world.names["secret"], os.O_RDONLY)

    class Inheriting(type(backend)):  # type: ignore[misc]
        def launch(self, *arguments: Any, **named: Any) -> Any:
            made = launch(self, *arguments, **named)
            return replace(made, files=[*made.files, os.dup(number)])

    return Inheriting(**vars(backend))


def _no_end(self: process.WorkerProcess) -> None:
    """Forget a process instead of ending it."""


RUN = CodeTool.run

FENCES: dict[str, Fence] = {
    "environment": Fence(walls(clear_environment=False)),
    "processes": Fence(
        walls(spaces=tuple(s for s in SPACES if s != "pid"), drop_user=False, host=(("--ro-bind", "/proc", "/proc"),))
    ),
    "files": Fence(lambda backend, world: walls(host=_shared(world))(backend, world)),
    "network": Fence(walls(spaces=tuple(s for s in SPACES if s != "net"), start_filter=False)),
    "run_filter": Fence(fences(run_filter=False)),
    "threads": Fence(without("NPROC", memory=False)),
    "scratch_size": Fence(walls(scratch_size=False)),
    "root_read_only": Fence(walls(root_read_only=False, drop_user=False)),
    "FSIZE": Fence(without("FSIZE")),
    "NOFILE": Fence(without("NOFILE")),
    "rlimits": Fence(fences(rlimits=(), memory=False)),
    "watch": Fence(fences(watch=False)),
    "memory": Fence(fences(memory=False)),
    "stop": Fence(fences(stop=False)),
    "seconds": Fence(limits={"seconds": LONG_S}),
    "no_follow": Fence(
        lambda backend, world: replace(walls(host=_shared(world), start_filter=False)(backend, world), worker=LAX),
        limits={"seconds": 3.0},
    ),
    "start_filter": Fence(walls(start_filter=False, disable_userns=False)),
    "filters": Fence(lambda backend, world: walls(start_filter=False)(fences(run_filter=False)(backend, world), world)),
    "inputs_read_only": Fence(walls(inputs_read_only=False)),
    "drop_user": Fence(walls(drop_user=False)),
    "descriptors": Fence(_inherits),
    "devices": Fence(walls(host=(("--dev-bind", "/dev", "/dev"),))),
    "flood": Fence(patches=lambda world: [patch.object(process, "FLOOD", 1 << 20)]),
    "policy": Fence(patches=lambda world: [patch.object(code, "check_image", lambda *a, **k: (60, 60))]),
    "names": Fence(patches=lambda world: [patch.object(CodeTool, "_images", _opens_names)]),
    "tags": Fence(patches=lambda world: [patch.object(code, "cleaned", lambda text: text)]),
    "nul": Fence(patches=lambda world: [patch.object(code, "cleaned", lambda text: text)]),
    "no_files": Fence(
        lambda backend, world: walls(host=(("--bind", str(world.folder / "open"), OUTPUT_FOLDER),))(backend, world)
    ),
    "pool": Fence(
        patches=lambda world: [
            patch.object(pool.Kept, "follows", lambda self, *a: self.session.alive),
            patch.object(CodeTool, "run", lambda self, text, trajectory, **k: RUN(self, text, trajectory="one", **k)),
        ]
    ),
    "respawn": Fence(patches=lambda world: [patch.object(session.WorkerSession, "alive", True)]),
    "kill": Fence(patches=lambda world: [patch.object(process.WorkerProcess, "end", _no_end)]),
    "parse": Fence(patches=lambda world: [patch.object(process, "parse_reply", _any_reply)], limits={"seconds": 6.0}),
    "count": Fence(limits={"images": 100}),
}
"""What can be taken away, by the name under which attempts know it."""

WEAKER = {
    3: "code sees which files of the host exist, and can read none",
    10: "the folder for outputs is measured every 50 ms, not limited by the kernel",
    20: "the kernel says that somebody was reached where all were refused; attempt 19 names one",
    52: "code sees which devices exist, and can open none",
    59: "code sees that the interpreter's file exists, and cannot write it",
}
"""What Landlock does not hold, by number, and why that is known and said in docs/code.md."""
WALLED = {2}
"""What the user namespace holds too, without which an unprivileged bubblewrap cannot be."""


@dataclass(frozen=True)
class Seen:
    """What a check looks at: the block's outcome, the one after it, what came out, the worker's process, the world."""

    outcome: CodeOutcome
    after: CodeOutcome | None
    ran: Ran
    pid: int | None
    world: World


def _running(pid: int | None) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _ticks(pid: int | None) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _idle(seen: Seen) -> str:
    before = _ticks(seen.pid)
    time.sleep(0.5)
    return f"{_ticks(seen.pid) - before} ticks between two blocks" if _ticks(seen.pid) > before + 1 else ""


CHECKS: dict[str, Callable[[Seen], str]] = {
    "": lambda seen: "",
    "secret": lambda seen: "the secret came back" if any(SECRET.encode() in data for _, data in seen.ran.files) else "",
    "no_image": lambda seen: "an image was shown" if seen.outcome.images else "",
    "no_tags": lambda seen: next(
        (tag for tag in ("<answer>", "</sandbox_output>", "<|") if tag in seen.outcome.text), ""
    ),
    "no_setuid": lambda seen: "a file of the host" if os.listdir(seen.world.folder / "open") else "",
    "up_again": lambda seen: (
        "" if seen.after and "up again" in seen.after.text else f"no worker after it: {seen.after}"
    ),
    "no_orphan": lambda seen: "the process goes on" if _running(seen.pid) else "",
    "idle": _idle,
    "few_images": lambda seen: f"{len(seen.ran.files)} images" if len(seen.ran.files) > MOST_IMAGES else "",
    "no_nul": lambda seen: "NUL" if "\0" in seen.outcome.text else "",
    "fine": lambda seen: f"{seen.outcome.failure}" if seen.outcome.failure is not None else "",
    "broke": lambda seen: f"{seen.outcome.failure}" if seen.outcome.failure != "crash" else "",
}

LIMITED = ("seconds", "kill")
"""Fences of attempts that run into the limit of time."""


class Trial:
    """Runs attempts against one backend."""

    def __init__(self, backend: Any, world: World, fence: Fence, picture: ImageRef) -> None:
        self.world, self.picture = world, picture
        self.tools: dict[bool, tuple[Watched, CodeTool]] = {}
        for short in (True, False):
            limits = CodeLimits(**{"seconds": SHORT_S if short else LONG_S, "images": MOST_IMAGES, **fence.limits})
            watched = Watched(replace(fence.backend(backend, world), limits=limits))
            self.tools[short] = watched, CodeTool(watched, limits=limits)

    def run(self, attempt: Attempt) -> dict[str, Any]:
        """Run an attempt, and say whether it was held."""
        watched, tool = self.tools[attempt.fence in LIMITED]
        name = f"{attempt.number}" if attempt.fresh or attempt.ends or attempt.next else "shared"
        text = HELP + attempt.code.format(**self.world.names)
        earlier: list[str] = []
        if name != "shared" or not len(tool._pool):
            tool.run("pass", trajectory=name, images=[self.picture])
        # the shared trajectory goes on whatever was run in it
        kept = tool._pool._idle.get(name)
        earlier = list(kept.tried) if kept is not None else []
        pid = getattr(getattr(watched.session, "process", None), "pid", None)
        start = time.monotonic()
        outcome = tool.run(text, trajectory=name, images=[self.picture], earlier=earlier)
        seconds = time.monotonic() - start
        ran, after = watched.ran, None
        if attempt.next:
            other = f"{name} again" if attempt.other else name
            past = [] if attempt.other else earlier
            text = attempt.next.format(**self.world.names)
            after = tool.run(text, trajectory=other, images=[self.picture], earlier=past)
        why = CHECKS[attempt.check](Seen(outcome, after, ran, pid, self.world))
        for one in (ran.output, "" if after is None else after.text):
            if "ESCAPED" in one:
                why = why or one[one.index("ESCAPED") :][:120]
        if not why and attempt.ends and outcome.failure not in ("timeout", "crash", "output", "files"):
            why = f"it was not ended: {outcome.failure}"
        why = why or self.world.touched()
        if name != "shared":
            tool.close(name)
            tool.close(f"{name} again")
        if _running(pid) and (attempt.check == "no_orphan"):
            os.kill(int(pid or 0), 9)
        return {
            "number": attempt.number,
            "name": attempt.name,
            "fence": attempt.fence,
            "held": not why,
            "why": why,
            "said": outcome.text[-160:],
            "seconds": round(seconds, 2),
            "late": seconds > tool.limits.seconds + 1.0,
        }

    def close(self) -> None:
        for _, tool in self.tools.values():
            tool.close()


def chosen(name: str) -> Any:
    limits = CodeLimits(seconds=LONG_S)
    return first_that_works([Landlock(limits)] if name == "landlock" else bubblewrap.candidates(limits))


def trial(backend: Any, attempts: Sequence[Attempt], fence: Fence = Fence()) -> list[dict[str, Any]]:
    """Run attempts in a world of their own, with a fence taken away."""
    data = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(data, "PNG")
    picture = inline_reference(data.getvalue())
    found = []
    with world() as made, contextlib.ExitStack() as stack:
        for one in fence.patches(made):
            stack.enter_context(one)
        run = Trial(backend, made, fence, picture)
        try:
            for attempt in attempts:
                try:
                    found.append(run.run(attempt))
                    if "-v" in sys.argv:
                        show(found[-1:])
                except Exception as error:  # a fence that is gone may break the host's own code
                    why = f"the host failed: {type(error).__name__}: {error}"[:200]
                    found.append(
                        {**vars(attempt), "held": False, "why": why, "seconds": 0.0, "said": "", "late": False}
                    )
        finally:
            run.close()
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="bubblewrap", choices=("bubblewrap", "landlock"))
    parser.add_argument("--drop", choices=sorted(FENCES))
    parser.add_argument("--campaign", action="store_true")
    parser.add_argument("-v", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("numbers", nargs="*", type=int)
    asked = parser.parse_args()
    attempts = [one for one in ATTEMPTS if not asked.numbers or one.number in asked.numbers]
    backend = chosen(asked.backend)
    if asked.campaign:
        sys.exit(campaign(backend, attempts))
    found = trial(backend, attempts, FENCES[asked.drop] if asked.drop else Fence())
    if asked.json:
        print(json.dumps(found))
        return
    known = WEAKER if asked.backend == "landlock" else {}
    bad = [one for one in found if not one["held"] or one["late"]]
    worse = [one for one in bad if one["late"] or one["number"] not in known]
    show(found)
    print(f"uid {os.geteuid()}, {backend.name}: {len(found) - len(bad)} of {len(found)} attempts held")
    for number in sorted({one["number"] for one in bad} & known.keys()):
        print(f"known {number}: {known[number]}")
    sys.exit(bool(worse) and not asked.drop)


def show(found: Sequence[dict[str, Any]]) -> None:
    for one in found:
        mark = "held   " if one["held"] else "ESCAPED"
        late = "  LATE" if one["late"] else ""
        said = one["why"] or one["said"][-60:]
        print(f"{one['number']:3} {mark} {one['seconds']:6.2f} s  {one['name']}: {said!r}{late}")


def campaign(backend: Any, attempts: Sequence[Attempt]) -> int:
    """All attempts with all fences, then each fence taken away from those that it holds."""
    whole = trial(backend, attempts)
    bad = [one for one in whole if not one["held"] or one["late"]]
    print(
        f"uid {os.geteuid()}, {backend.name}: {len(whole) - len(bad)} of {len(whole)} attempts held, none late"
        * (not bad)
    )
    show(bad)
    for name, fence in FENCES.items():
        mine = [one for one in attempts if one.fence == name]
        found = trial(backend, mine, fence) if mine else []
        through = [one["number"] for one in found if not one["held"]]
        print(f"without {name}: {len(through)} of {len(found)} succeed: {', '.join(map(str, through))}")
        kept = [one for one in found if one["held"]]
        show(kept)
        bad += [one for one in kept if os.geteuid() == 0 or one["number"] not in WALLED]
    return bool(bad)


if __name__ == "__main__":
    main()

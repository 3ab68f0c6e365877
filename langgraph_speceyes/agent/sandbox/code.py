"""The code tool: blocks of a trajectory, run where its variables are; what comes back, as the host may show it."""

from __future__ import annotations

import asyncio
import atexit
import base64
import weakref
from collections.abc import Callable, Sequence

from langgraph_speceyes.agent.ocr import TextReader
from langgraph_speceyes.agent.sandbox.backend import OUTPUT_FOLDER, Ask, Backend, Ran, image_path
from langgraph_speceyes.agent.sandbox.choose import default_backend
from langgraph_speceyes.agent.sandbox.limits import CodeLimits
from langgraph_speceyes.agent.sandbox.outcome import CodeOutcome, Failure, cleaned
from langgraph_speceyes.agent.sandbox.pool import Kept, Pool
from langgraph_speceyes.agent.sandbox.protocol import Sandbox
from langgraph_speceyes.agent.view import LEAST_SIDE, MAX_ASPECT
from langgraph_speceyes.errors import ArgumentError, ImageError
from langgraph_speceyes.images import (
    DEFAULT_POLICY,
    ImagePolicy,
    ImageRef,
    check_image,
    crop_reference,
    encoded,
    in_force,
    inline_reference,
    intern_reference,
    load_image,
)

_MODULES = {"numpy": "numpy (np)", "PIL": "PIL (Image)", "cv2": "OpenCV (cv2)"}


class CodeTool:
    """Runs Python that a model writes, in a sandbox.

    A trajectory's variables and files live in a worker between its blocks. The worker is used only by the trajectory of
    that name, and only if images and earlier blocks are those that it has seen; else they are run again in a new one.
    With the same blocks random numbers are the same, so that a run which goes on elsewhere finds the same names.

    Args:
        sandbox: Where code runs: any sandbox backend, or ``None`` for what this machine has, bubblewrap first.
        limits: What a block may use, and how many trajectories are kept.
        policy: Limits of images, those that come back from code included.
        reader: Reads text for ``ocr(image)`` in a block; ``None`` for a block without it.

    Raises:
        SandboxUnavailableError: Nothing on this machine can hold code; there is no way to run it without.
        ArgumentError: The sandbox is none, or it cannot have text read.
    """

    name = "code"

    def __init__(
        self,
        sandbox: Sandbox | Backend | None = None,
        *,
        limits: CodeLimits | None = None,
        policy: ImagePolicy = DEFAULT_POLICY,
        reader: TextReader | None = None,
    ) -> None:
        self.limits = CodeLimits() if limits is None else limits
        self.policy, self.reader = policy, reader
        self._backend = _backend_of(sandbox, self.limits)
        if reader is not None and not self._backend.asks:
            raise ArgumentError("reader", f"None with {self._backend.name}, whose code cannot ask back", "a reader")
        self._pool = Pool(self.limits.workers, self.limits.idle_s)
        atexit.register(_closer(self._pool))

    @property
    def strength(self) -> str:
        """What holds the code: ``bubblewrap``, ``landlock``, which is weaker, or the name of a sandbox."""
        return self._backend.name

    @property
    def description(self) -> str:
        """What a model reads about the tool."""
        modules = ", ".join(_MODULES[name] for name in self._backend.libraries)
        text = (
            f"Run Python on the image and see what it prints or makes. {image_path()} is in the variable image_path"
            f" (further images: image_paths), {modules or 'the standard library'} at hand. Save images under"
            f" {OUTPUT_FOLDER}/ and print their path to see them. Variables stay for the next block. No network, no"
            f" other programs, {self.limits.seconds:g} seconds."
        )
        return text + (" ocr(image) reads printed text." if self.reader is not None else "")

    def run(
        self, code: str, *, trajectory: str, images: Sequence[ImageRef] = (), earlier: Sequence[str] = ()
    ) -> CodeOutcome:
        """Run a block.

        Args:
            code: The block.
            trajectory: What tells this trajectory from others: thread, place in it and question.
            images: The question's images.
            earlier: The trajectory's blocks before this one, in order, as they were given to this method: those that
                failed may be left out, as they leave nothing; those that ended their worker must be.

        Returns:
            What it came to; whatever the code does, nothing is raised because of it.

        Raises:
            ImageError: An image of the question cannot be loaded.
            SandboxUnavailableError: No worker can be started any more.
        """
        before = list(earlier)
        with in_force(self.policy), self._pool.taken(trajectory, tuple(ref.key for ref in images), before) as place:
            replayed = 0
            if place.kept is None:
                place.kept, replayed, failed = self._started(images, before)
                if failed is not None:
                    return self._outcome(failed, replayed)
            kept = place.kept
            ran = kept.session.run(code)
            kept.tried.append(code)
            if ran.error is None:
                kept.blocks.append(code)
        with in_force(self.policy):
            return self._outcome(ran, replayed)

    async def arun(
        self, code: str, *, trajectory: str, images: Sequence[ImageRef] = (), earlier: Sequence[str] = ()
    ) -> CodeOutcome:
        """Run a block in a thread; see :meth:`run`."""
        return await asyncio.to_thread(self.run, code, trajectory=trajectory, images=images, earlier=earlier)

    def close(self, trajectory: str | None = None) -> None:
        """Give back a trajectory's worker, or those of all that are not running; the next block starts a new one."""
        self._pool.close(trajectory)

    def _started(self, images: Sequence[ImageRef], earlier: list[str]) -> tuple[Kept, int, Ran | None]:
        """Start a trajectory and bring it to where it was: what is kept, blocks run again, and what ended it."""
        data = [encoded(ref, self.policy)[0] for ref in images]
        kept = Kept(self._backend.start(data, self._ask()), tuple(ref.key for ref in images))
        left = self.limits.seconds
        for number, block in enumerate(earlier):
            ran = kept.session.run(block)
            left -= ran.seconds
            kept.tried.append(block)
            if ran.error is None:
                kept.blocks.append(block)
            if not kept.session.alive or left < 0:
                kept.session.close()
                reason = ran.error or f"earlier blocks ran longer than {self.limits.seconds:g} s together"
                failed = Ran("", (), f"running the earlier blocks again failed: {reason}", ran.failure or "timeout")
                return kept, number + 1, failed
        return kept, len(earlier), None

    def _ask(self) -> Ask | None:
        reader = self.reader
        if reader is None:
            return None

        def ask(data: bytes) -> str:
            try:
                return "\n".join(reader.read(load_image(_reference(data), self.policy, argument="image")))
            except ImageError as error:
                raise ValueError(f"the image cannot be read: expected {error.expected}, found {error.found}") from None

        return ask

    def _outcome(self, ran: Ran, replayed: int) -> CodeOutcome:
        images, refused = self._images(ran)
        error: str | None = None
        failure: Failure | None = None
        if ran.error is not None:
            error, failure = _line(ran.error), ran.failure
        # the block ran, and its variables stay
        elif refused and not images:
            failure = "images"
        text = shortened(cleaned(ran.output).strip("\n"), self.limits.shown)
        for line in refused:
            text = f"{text}\n{line}".strip("\n")
        if error is not None and not text.endswith(error):
            text = f"{text}\n{error}".strip("\n")
        return CodeOutcome(text, tuple(images), error, failure, ran.seconds, replayed)

    def _images(self, ran: Ran) -> tuple[list[ImageRef], list[str]]:
        """The images that may be shown, and what is said of the others."""
        images, refused = [], []
        for name, data in ran.files[: self.limits.images]:
            try:
                images.append(self._shown(data))
            except ImageError as error:
                words = f"the image {name!r:.120} cannot be shown: expected {error.expected}, found {error.found}"
                refused.append(_line(words))
        return images, refused

    def _shown(self, data: bytes) -> ImageRef:
        """Keep an image that came back; it is decoded here, under the policy, for the first time."""
        ref = _reference(data)
        width, height = check_image(ref, self.policy, argument="image")
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise ImageError("image", f"sides that differ by a factor of {MAX_ASPECT} at most", f"{width} x {height}")
        ref = intern_reference(ref)
        short = min(width, height)
        return ref if short >= LEAST_SIDE else crop_reference(ref, (0, 0, width, height), LEAST_SIDE / short)


def shortened(text: str, most: int) -> str:
    """Return text of at most so many characters, with a note in place of its middle where that is left out."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def _line(error: str) -> str:
    """The last line of an error's text, as a model may be shown it."""
    lines = [line for line in cleaned(error).splitlines() if line.strip()]
    return lines[-1].strip()[:500] if lines else "the code failed"


def _reference(data: bytes) -> ImageRef:
    return inline_reference(base64.b64encode(data).decode())


def _backend_of(sandbox: object, limits: CodeLimits) -> Backend:
    if sandbox is None:
        return default_backend(limits)
    if isinstance(sandbox, Backend):
        return sandbox
    if isinstance(sandbox, Sandbox):
        from langgraph_speceyes.agent.sandbox.foreign import ForeignBackend

        return ForeignBackend(sandbox, limits)
    expected = "a sandbox with id, execute, upload_files and download_files, or None"
    raise ArgumentError("sandbox", expected, type(sandbox).__name__)


def _closer(pool: Pool) -> Callable[[], None]:
    found = weakref.ref(pool)

    def close() -> None:
        if (there := found()) is not None:
            there.close()

    return close

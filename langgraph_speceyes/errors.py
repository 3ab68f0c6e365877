"""Every error this package raises on purpose, all derived from :class:`SpecEyesError`; and its warning."""

from __future__ import annotations

from langgraph_speceyes.foreign import MOST_OF_OURS, foreign_text, words_of


class SpecEyesError(Exception):
    """Base class of the package's errors. Their messages are short, and hold neither image data nor credentials.

    Args:
        args: What is wrong, in words.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(foreign_text(arg, MOST_OF_OURS) if isinstance(arg, str) else arg for arg in args))


class ArgumentError(SpecEyesError, ValueError):
    """An argument has a value that cannot be used.

    Args:
        argument: Name of the argument, as the caller wrote it.
        expected: What would have been accepted.
        found: What was found instead (a short description, never image bytes).
    """

    def __init__(self, argument: str, expected: str, found: object) -> None:
        found = foreign_text(found) if isinstance(found, str) else found
        super().__init__(f"{argument}: expected {expected}, found {found}")
        self.argument = argument
        self.expected = expected
        self.found = found

    def __reduce__(self) -> tuple[type[ArgumentError], tuple[str, str, object]]:
        return type(self), (self.argument, self.expected, self.found)


class InputError(ArgumentError):
    """The messages given to a graph hold no usable question or image."""


class ImageError(InputError):
    """An image reference cannot be read, is over a limit, or is not allowed."""


class LookError(ArgumentError):
    """A look gave what is no observation, or too much of it."""


class PromptTooLongError(ArgumentError):
    """A local model's prompt has more tokens than there is room for; nothing was run.

    Those that models raise are LangChain's `ContextOverflowError`, too: middleware that shortens conversations looks
    for that.

    Args:
        most: Tokens that a prompt may have.
        found: How many it has.
        room: What has that room.
    """

    def __init__(self, most: int, found: str, room: str = "the model's context") -> None:
        super().__init__("messages", f"at most {most} tokens, which {room} has room for", found)
        self.most, self.room = most, room

    def __reduce__(self) -> tuple[type[PromptTooLongError], tuple[int, str, str]]:  # type: ignore[override]
        return type(self), (self.most, str(self.found), self.room)


class GateMismatchError(ArgumentError):
    """A threshold was calibrated for another score, another K or other models."""


class UncalibratedGateWarning(UserWarning):
    """A gate is used whose threshold nobody calibrated on the models and questions at hand."""


class ToolInputError(SpecEyesError, ValueError):
    """A tool call's arguments cannot be used; the text goes back to the model, which may correct it."""


class MissingExtraError(SpecEyesError, ImportError, RuntimeError):
    """An optional dependency is not installed; the message names the extra that brings it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'langgraph-speceyes[{extra}]'")
        self.feature = feature
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.feature, self.extra)


class MissingLibraryError(SpecEyesError, ImportError):
    """A library that a checkpoint needs is not installed; the message names it."""

    def __init__(self, feature: str, library: str) -> None:
        super().__init__(f"{feature} needs {library}, which is not installed: pip install {library}")
        self.feature = feature
        self.library = library

    def __reduce__(self) -> tuple[type[MissingLibraryError], tuple[str, str]]:
        return type(self), (self.feature, self.library)


class SandboxUnavailableError(SpecEyesError, RuntimeError):
    """Nothing here can hold code that a model writes; the message says what was tried and what to install."""


class QueueFullError(SpecEyesError, RuntimeError):
    """The micro-batcher's queue holds as many calls as it may; retry later or raise ``max_queue``."""


class DeviceMemoryError(SpecEyesError, RuntimeError):
    """A local model's device has no room for a prompt, though nothing else is under way there."""


class MissingLogprobsError(SpecEyesError, RuntimeError):
    """Log-probabilities were asked for and the model returned none."""


class AnswerError(SpecEyesError, RuntimeError):
    """What a model wrote holds no answer that could be scored: it was cut, or is a thought without an end."""


class EndpointError(SpecEyesError, RuntimeError):
    """A model's endpoint cannot be asked at all: it does not answer, refuses the key, does not know the model.

    Args:
        endpoint: The model, and where it is.
        found: What it answered instead, or why nothing came.
    """

    def __init__(self, endpoint: str, found: str) -> None:
        self.endpoint, self.found = foreign_text(endpoint), foreign_text(found)
        super().__init__(f"{self.endpoint}: {self.found}")

    def __reduce__(self) -> tuple[type[EndpointError], tuple[str, str]]:
        return type(self), (self.endpoint, self.found)


class ClosedError(SpecEyesError, RuntimeError):
    """Something that was closed, or never started, is used."""


class JournalError(SpecEyesError, RuntimeError):
    """A journal cannot be read or written: its file is locked, damaged or of another version, or the disk is full."""


class CheckpointError(SpecEyesError, RuntimeError):
    """Checkpoints cannot be read or written: no such thread, no database, or one that is locked or of another kind."""


class AgentError(SpecEyesError, RuntimeError):
    """The agent behind the bypass came to no answer."""


class PhaseError(SpecEyesError, RuntimeError):
    """A front-end phase failed under ``strict=True``; the cause is chained."""


class EscapeError(SpecEyesError, RuntimeError):
    """A model, tool, agent or function raised what ends tasks or programs; the cause is chained.

    `SystemExit`, a `CancelledError` of its own, `GeneratorExit`, `StopIteration`, and others that are no `Exception`.
    """


def describe_error(error: BaseException) -> str:
    """An error's type and message, as they may be kept and shown."""
    said = words_of(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__

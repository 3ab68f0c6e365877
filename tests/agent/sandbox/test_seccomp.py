"""The filters, run by an interpreter of their instructions: what they answer for every call of both architectures."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_speceyes.agent.sandbox import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS, ENOTTY = (0x00050000 | code for code in (errno.EPERM, errno.ENOSYS, errno.ENOTTY))
ARCHITECTURES = sorted(seccomp.ARCHITECTURES)
CLONE_THREAD, CLONE_NEWUSER, SIGCHLD = 0x00010000, 0x10000000, 17
THREAD = 0x003D0F00
"""The flags with which the C library starts a thread."""


def run(program: bytes, number: int, arguments: tuple[int, ...] = (), architecture: int = 0) -> int:
    """What the kernel would answer: classic BPF over struct seccomp_data."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    steps = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = loaded = 0
    for _ in range(len(steps)):
        code, true, false, operand = steps[at]
        if code == 0x20:
            (loaded,) = struct.unpack_from("=I", data, operand)
            at += 1
        elif code == 0x06:
            return operand
        else:
            tests: dict[int, Callable[[int, int], object]] = {
                0x15: lambda a, b: a == b,
                0x35: lambda a, b: a >= b,
                0x45: lambda a, b: a & b,
            }
            at += 1 + (true if tests[code](loaded, operand) else false)
    raise AssertionError("the program does not end")


def call(program: str, architecture: str, name_or_number: str | int, *arguments: int) -> int:
    made = seccomp.start_filter(architecture) if program == "start" else seccomp.run_filter(architecture)
    tables = seccomp._ALLOWED, seccomp._CHECKED, seccomp._AFTER_START, seccomp._MISSING
    known = {name: number for table in tables for name, number in seccomp.numbers(table, architecture).items()}
    number = known[name_or_number] if isinstance(name_or_number, str) else name_or_number
    return run(made, number, arguments, seccomp.ARCHITECTURES[architecture][0])


DANGEROUS = {
    # socket, connect, ptrace, mount, chroot, unshare, setns, bpf, perf, userfaultfd, keyctl, shmget, memfd, mknodat
    "x86_64": (41, 42, 101, 165, 161, 272, 308, 321, 298, 323, 250, 29, 319, 259, 322, 425, 310, 304, 133, 73),
    "aarch64": (198, 203, 117, 40, 51, 97, 268, 280, 241, 282, 219, 194, 279, 33, 281, 425, 270, 265, 32),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dangerous_calls_are_refused(architecture: str) -> None:
    assert {number: call("start", architecture, number) for number in DANGEROUS[architecture]} == dict.fromkeys(
        DANGEROUS[architecture], EPERM
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("program", ["start", "run"])
@given(number=st.integers(0, 2**32 - 1), other=st.integers(0, 2**32 - 1))
def test_another_architecture_is_killed(program: str, architecture: str, number: int, other: int) -> None:
    mine = seccomp.ARCHITECTURES[architecture][0]
    made = seccomp.start_filter(architecture) if program == "start" else seccomp.run_filter(architecture)
    assert (run(made, number, (), other) == KILL) == (other != mine)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(number=st.integers(0, 2**32 - 1), first=st.integers(0, 2**64 - 1), second=st.integers(0, 2**64 - 1))
def test_what_is_not_listed_is_never_allowed(architecture: str, number: int, first: int, second: int) -> None:
    listed = set(seccomp.numbers(seccomp._ALLOWED, architecture).values())
    listed |= set(seccomp.numbers(seccomp._CHECKED, architecture).values())
    assert call("start", architecture, number, first, second) != ALLOW or number in listed


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_newer_calls_are_missing_and_the_other_mode_is_refused(architecture: str) -> None:
    assert call("start", architecture, 470) == ENOSYS
    assert call("start", architecture, "clone3") == ENOSYS
    if architecture == "x86_64":
        assert call("start", architecture, 0x40000000) == EPERM


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_threads_yes_processes_and_programs_only_before_the_start(architecture: str) -> None:
    assert call("start", architecture, "clone", SIGCHLD) == ALLOW
    assert call("start", architecture, "execve") == ALLOW
    assert call("run", architecture, "clone", SIGCHLD) == EPERM
    assert call("run", architecture, "execve") == EPERM
    assert call("run", architecture, "setresuid") == EPERM
    for program in ("start", "run"):
        assert call(program, architecture, "clone", THREAD) == ALLOW
    assert call("start", architecture, "clone", THREAD | CLONE_NEWUSER) == EPERM


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(st.integers(0, 2**31 - 1))
def test_flags_of_namespaces_are_refused_whatever_else_is_set(architecture: str, flags: int) -> None:
    assert (call("start", architecture, "clone", flags) == ALLOW) == (not flags & 0x7E020000)
    assert (call("run", architecture, "clone", flags) == ALLOW) == bool(flags & CLONE_THREAD)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_arguments_that_are_looked_at(architecture: str) -> None:
    asked = (("fcntl", (3, 1)), ("fcntl", (3, 6)), ("ioctl", (0, 0x5401)), ("ioctl", (0, 0x5412)), ("prctl", (15,)))
    answers = [call("start", architecture, name, *arguments) for name, arguments in asked]
    assert answers == [ALLOW, EPERM, ALLOW, ENOTTY, ALLOW]
    assert call("start", architecture, "prctl", 47) == EPERM
    assert [call("run", architecture, "prctl", option) for option in (1, 15)] == [EPERM, ALLOW]


def test_numbers_are_those_of_this_machine() -> None:
    """The C library knows the numbers of calls that Python makes: a wrong table would refuse them."""
    from langgraph_speceyes.agent.sandbox.bubblewrap import candidates
    from langgraph_speceyes.agent.sandbox.choose import first_that_works
    from langgraph_speceyes.agent.sandbox.limits import CodeLimits

    assert first_that_works(candidates(CodeLimits())).name == "bubblewrap"

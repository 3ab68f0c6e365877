"""The two lists of system calls that a worker may make, as programs for Linux' seccomp: x86_64 and aarch64.

:func:`start_filter` is in force before the worker's interpreter starts: what is not listed is refused.
:func:`run_filter` comes on top once its libraries are loaded: it refuses processes, programs and other users.
The format is classic BPF over ``struct seccomp_data`` (linux/seccomp.h, linux/filter.h); numbers are those of the
kernel's ``asm/unistd_64.h`` and ``asm-generic/unistd.h``, which never change.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_ALLOWED = """
    read 0 63; write 1 64; close 3 57; fstat 5 80; lseek 8 62; mmap 9 222; mprotect 10 226; munmap 11 215;
    brk 12 214; rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; pread64 17 67; pwrite64 18 68;
    readv 19 65; writev 20 66; access 21 -; pipe 22 -; select 23 -; sched_yield 24 124; mremap 25 216; msync 26 227;
    mincore 27 232; madvise 28 233; dup 32 23; dup2 33 -; nanosleep 35 101; getitimer 36 102; setitimer 38 103;
    alarm 37 -; getpid 39 172; exit 60 93; wait4 61 260; waitid 247 95; kill 62 129; uname 63 160;
    fsync 74 82; fdatasync 75 83; truncate 76 45; ftruncate 77 46; getdents 78 -; getdents64 217 61; getcwd 79 17;
    chdir 80 49; fchdir 81 50; rename 82 -; mkdir 83 -; rmdir 84 -; creat 85 -; link 86 -; unlink 87 -; symlink 88 -;
    readlink 89 -; chmod 90 -; fchmod 91 52; umask 95 166; gettimeofday 96 169; getrlimit 97 163; setrlimit 160 164;
    prlimit64 302 261; getrusage 98 165; sysinfo 99 179; times 100 153; getuid 102 174; getgid 104 176;
    geteuid 107 175; getegid 108 177; setpgid 109 154; getppid 110 173; getpgrp 111 -; setsid 112 157; getpgid 121 155;
    getsid 124 156; getgroups 115 158; getresuid 118 148; getresgid 120 150; setresuid 117 147; setresgid 119 149;
    setgroups 116 159; capget 125 90; rt_sigpending 127 136; rt_sigtimedwait 128 137; rt_sigsuspend 130 133;
    sigaltstack 131 132; arch_prctl 158 -; gettid 186 178; getxattr 191 8; lgetxattr 192 9; fgetxattr 193 10;
    listxattr 194 11; llistxattr 195 12; flistxattr 196 13; time 201 -; futex 202 98; sched_setaffinity 203 122;
    sched_getaffinity 204 123; sched_getparam 143 121; sched_getscheduler 145 120; sched_get_priority_max 146 125;
    sched_get_priority_min 147 126; set_tid_address 218 96; restart_syscall 219 128; fadvise64 221 223;
    timer_create 222 107; timer_settime 223 110; timer_gettime 224 108; timer_getoverrun 225 109; timer_delete 226 111;
    clock_gettime 228 113; clock_getres 229 114; clock_nanosleep 230 115; exit_group 231 94; epoll_create 213 -;
    epoll_create1 291 20; epoll_ctl 233 21; epoll_wait 232 -; epoll_pwait 281 22; tgkill 234 131; openat 257 56;
    open 2 -; stat 4 -; lstat 6 -; newfstatat 262 79; mkdirat 258 34; renameat 264 38; renameat2 316 276;
    unlinkat 263 35; linkat 265 37; symlinkat 266 36; readlinkat 267 78; fchmodat 268 53; faccessat 269 48;
    faccessat2 439 439; pselect6 270 72; ppoll 271 73; poll 7 -; set_robust_list 273 99; get_robust_list 274 100;
    sync_file_range 277 84; utimensat 280 88; utimes 235 -; utime 132 -; futimesat 261 -; fallocate 285 47;
    eventfd2 290 19; dup3 292 24; pipe2 293 59; preadv 295 69; pwritev 296 70; getcpu 309 168; seccomp 317 277;
    getrandom 318 278; membarrier 324 283; copy_file_range 326 285; statx 332 291; rseq 334 293; sendfile 40 71;
    statfs 137 43; fstatfs 138 44; close_range 436 436; futex_waitv 449 449; fchmodat2 452 452;
    fork 57 -; vfork 58 -; execve 59 221
"""
"""Name, number on x86_64, number on aarch64. Not among them: everything about networks, mounts, namespaces, modules,
keys, tracing, shared memory and anonymous files (which no limit counts), locks on files and queues of messages."""

_CHECKED = """prctl 157 167; fcntl 72 25; ioctl 16 29; clone 56 220"""
"""Calls of which it depends on an argument."""

_PRCTL = (1, 2, 3, 15, 16, 22, 23, 38, 39, 0x53564D41)
"""Signal at the parent's death, dumpable, names, seccomp, capabilities (reading), no_new_privs, names of mappings."""
_PRCTL_PARENT_DEATH = 1
_FCNTL = (0, 1, 2, 3, 4, 1030, 1032)
"""Copies and flags of descriptors. Not locks: no limit counts their memory. Not signals, leases or sizes of pipes."""
_IOCTL = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""Whether it is a terminal and how large, bytes to read, non-blocking, close-on-exec."""

_CLONE_THREAD = 0x00010000
_CLONE_NEW = 0x7E020000
"""Flags of clone that make a namespace."""

_AFTER_START = """fork 57 -; vfork 58 -; execve 59 221; setresuid 117 147; setresgid 119 149; setgroups 116 159;
    setsid 112 157; setpgid 109 154; setrlimit 160 164; seccomp 317 277"""
"""Calls that a worker's start needs and its code does not."""

_NEWEST = 470
"""Calls from this number on are newer than the list: the C library falls back where it hears that they are missing."""
_MISSING = "clone3 435 435; openat2 437 437"
"""Calls whose arguments a filter cannot read; the C library falls back to older ones."""

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_NUMBER, _ARCH, _FIRST, _SECOND = 0, 4, 16, 24
"""Offsets in struct seccomp_data: the call's number, the architecture, the low halves of its first two arguments."""

REFUSED = _ERRNO | errno.EPERM
MISSING = _ERRNO | errno.ENOSYS
NO_TERMINAL = _ERRNO | errno.ENOTTY

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""What ``uname -m`` says: the audit architecture, and the column of the tables."""
SECCOMP_NUMBER = {"x86_64": 317, "aarch64": 277}
"""The number of the call ``seccomp`` itself."""
_X32 = 0x40000000
"""Bit of calls in x86_64's 32-bit mode of addresses."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: code, jumps if true and if false, operand."""

    code: int
    operand: int
    true: int = 0
    false: int = 0

    @property
    def packed(self) -> bytes:
        """``struct sock_filter``."""
        return struct.pack("=HBBI", self.code, self.true, self.false, self.operand)


def machine() -> str:
    """The architecture of this machine, as ``uname -m`` says it, with the usual other names."""
    found = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(found, found)


def numbers(table: str, architecture: str) -> dict[str, int]:
    """Names of a table with their numbers on an architecture; calls that it lacks are left out."""
    column = ARCHITECTURES[architecture][1]
    rows = (row.split() for row in table.split(";") if row.strip())
    return {row[0]: int(row[1 + column]) for row in rows if row[1 + column] != "-"}


def start_filter(architecture: str) -> bytes:
    """The program that is in force from the worker's start.

    Args:
        architecture: A key of :data:`ARCHITECTURES`.

    Returns:
        ``struct sock_filter`` after ``struct sock_filter``, as bubblewrap takes it.
    """
    checked = numbers(_CHECKED, architecture)
    program = _begin(architecture)
    program += _answer(numbers(_MISSING, architecture), MISSING)
    program += _one_of(checked["prctl"], _FIRST, _PRCTL, REFUSED)
    program += _one_of(checked["fcntl"], _SECOND, _FCNTL, REFUSED)
    program += _one_of(checked["ioctl"], _SECOND, _IOCTL, NO_TERMINAL)
    program += _bits(checked["clone"], _CLONE_NEW, if_set=REFUSED, if_not=_ALLOW)
    program += _answer(numbers(_ALLOWED, architecture), _ALLOW)
    return _packed([*program, Instruction(_RETURN, REFUSED)])


def run_filter(architecture: str) -> bytes:
    """The program that is in force on top, once the worker has started: threads, but no processes and no programs."""
    checked = numbers(_CHECKED, architecture)
    program = _begin(architecture)
    program += _answer(numbers(_AFTER_START, architecture), REFUSED)
    program += _bits(checked["clone"], _CLONE_THREAD, if_set=_ALLOW, if_not=REFUSED)
    program += [Instruction(_JUMP_EQ, checked["prctl"], 0, 3), Instruction(_LOAD, _FIRST)]
    program += [Instruction(_JUMP_EQ, _PRCTL_PARENT_DEATH, 0, 1), Instruction(_RETURN, REFUSED)]
    return _packed([*program, Instruction(_RETURN, _ALLOW)])


def _packed(program: Sequence[Instruction]) -> bytes:
    return b"".join(instruction.packed for instruction in program)


def _begin(architecture: str) -> list[Instruction]:
    """End the process if it is another architecture's; load the call's number, and say that newer ones are missing."""
    wide = [Instruction(_JUMP_GE, _X32, 0, 1), Instruction(_RETURN, REFUSED)] if architecture == "x86_64" else []
    return [
        Instruction(_LOAD, _ARCH),
        Instruction(_JUMP_EQ, ARCHITECTURES[architecture][0], 1, 0),
        Instruction(_RETURN, _KILL),
        Instruction(_LOAD, _NUMBER),
        *wide,
        Instruction(_JUMP_GE, _NEWEST, 0, 1),
        Instruction(_RETURN, MISSING),
    ]


def _answer(calls: dict[str, int], what: int) -> list[Instruction]:
    """Answer these calls so, whatever their arguments."""
    program = []
    for number in sorted(calls.values()):
        program += [Instruction(_JUMP_EQ, number, 0, 1), Instruction(_RETURN, what)]
    return program


def _one_of(call: int, argument: int, values: Sequence[int], otherwise: int) -> list[Instruction]:
    """Allow a call if an argument has one of these values."""
    tests = []
    for value in values:
        tests += [Instruction(_JUMP_EQ, value, 0, 1), Instruction(_RETURN, _ALLOW)]
    body = [Instruction(_LOAD, argument), *tests, Instruction(_RETURN, otherwise)]
    return [Instruction(_JUMP_EQ, call, 0, len(body)), *body]


def _bits(call: int, mask: int, *, if_set: int, if_not: int) -> list[Instruction]:
    """Answer a call by whether its first argument has any of these bits."""
    body = [
        Instruction(_LOAD, _FIRST),
        Instruction(_JUMP_SET, mask, 0, 1),
        Instruction(_RETURN, if_set),
        Instruction(_RETURN, if_not),
    ]
    return [Instruction(_JUMP_EQ, call, 0, len(body)), *body]

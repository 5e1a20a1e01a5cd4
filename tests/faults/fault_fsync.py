"""A disk whose fsync fails: `python -m fault_fsync ARGUMENTS` is runward on one.

The kernel itself fails the call: a filter on this process hands each fsync and fdatasync to a
supervisor, which answers EIO as long as the file that FAULT_FSYNC names is there, and lets the call
go on otherwise. That needs neither strace nor a privilege, but Linux 5.5 on x86-64 or ARM64.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import runpy
import select
import socket
import struct
from pathlib import Path

SICK = "FAULT_FSYNC"
NUMBERS = {"x86_64": (317, 74, 75), "aarch64": (277, 82, 83)}
"""Of seccomp, fsync and fdatasync."""
PR_SET_NO_NEW_PRIVS, SET_MODE_FILTER, NEW_LISTENER = 38, 1, 8
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ASK = 0x7FFF0000, 0x7FC00000
RECEIVE, SEND, GO_ON = 0xC0502100, 0xC0182101, 1


class Forbidden(Exception):
    """This machine lets nobody filter system calls."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def fail_on_demand(sick: Path) -> None:
    """From here on this process's fsync fails while `sick` exists. Raises Forbidden."""
    here, there = socket.socketpair()
    # Forked before the filter is there: the supervisor sees the end of all whom it supervises.
    if os.fork() == 0:
        here.close()
        _supervise(there, sick)
        os._exit(0)
    there.close()
    with here:
        listener = _listen()
        socket.send_fds(here, [b"f"], [listener])
        os.close(listener)


def _listen() -> int:
    """Put the filter in place; returns where its questions arrive."""
    if platform.machine() not in NUMBERS:
        raise Forbidden(f"the numbers of system calls on {platform.machine()} are not known here")
    seccomp, *syncs = NUMBERS[platform.machine()]
    lines = [
        (LOAD_NUMBER, 0, 0, 0),
        (JUMP_IF_EQUAL, 2, 0, syncs[0]),
        (JUMP_IF_EQUAL, 1, 0, syncs[1]),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, ASK),
    ]
    code = b"".join(struct.pack("HBBI", *line) for line in lines)
    program = _Program(len(lines), code)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = int(libc.syscall(seccomp, SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program)))
    if listener < 0:
        raise Forbidden(f"seccomp: {os.strerror(ctypes.get_errno())}")
    return listener


def _supervise(there: socket.socket, sick: Path) -> None:
    _, descriptors, _, _ = socket.recv_fds(there, 1, 1)
    while descriptors:
        ((_, what),) = _poll(descriptors[0])
        if what & select.POLLHUP:
            return
        asked = bytearray(80)
        try:
            fcntl.ioctl(descriptors[0], RECEIVE, asked)
            (number,) = struct.unpack_from("Q", asked)
            answer = (-errno.EIO, 0) if sick.exists() else (0, GO_ON)
            fcntl.ioctl(descriptors[0], SEND, struct.pack("QqiI", number, 0, *answer))
        except FileNotFoundError:
            continue  # who asked was killed meanwhile


def _poll(descriptor: int) -> list[tuple[int, int]]:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll()


if __name__ == "__main__":
    fail_on_demand(Path(os.environ[SICK]))
    runpy.run_module("ledger", run_name="__main__", alter_sys=True)

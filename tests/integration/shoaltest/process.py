# SPDX-License-Identifier: BSD-2-Clause
"""Child processes that do not outlive the test run."""

import contextlib
import ctypes
import os
import pwd
import random
import signal
import socket
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def _die_with_parent():
    # The signal comes when the *thread* that started us ends: start from the main thread.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(argv, user=None, **kwargs):
    """subprocess.Popen that dies with us; user: (uid, gid) to become first."""
    if user is not None:
        kwargs.update(user=user[0], group=user[1], extra_groups=[])
    return subprocess.Popen(
        argv, preexec_fn=_die_with_parent, start_new_session=True, **kwargs
    )


class Adopted:
    """A process that another has started, with what we use of subprocess.Popen; its status nobody knows."""

    returncode = None

    def __init__(self, pid):
        self.pid = pid

    def poll(self):
        if self.returncode is None and not alive(self.pid):
            self.returncode = 0
        return self.returncode

    def wait(self, timeout=None):
        deadline = time.monotonic() + (timeout or 3600)
        while self.poll() is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("process %d" % self.pid, timeout)
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, sig):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)


def store_user():
    """Who the stores run as: ourselves, or postgres or nobody when we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
        except KeyError:
            continue
    raise RuntimeError("root needs a user to run PostgreSQL as")


class _Ports:
    """Below those that the system hands out itself, a block for each run: runs side by side share none."""

    FIRST, SIZE, BLOCKS = 12000, 1000, 20

    def __init__(self):
        self._lock = socket.socket(socket.AF_UNIX)  # held as long as we live
        blocks = list(range(self.BLOCKS))
        random.shuffle(blocks)
        for block in blocks:
            try:
                self._lock.bind("\0shoal-test-ports-%d" % block)
            except OSError:
                continue
            self._first, self._next = self.FIRST + block * self.SIZE, 0
            return
        raise RuntimeError("%d runs of the tests are under way" % self.BLOCKS)

    def take(self):
        for _ in range(self.SIZE):
            port = self._first + self._next
            self._next = (self._next + 1) % self.SIZE
            with socket.socket() as s, contextlib.suppress(OSError):
                s.bind(("127.0.0.1", port))
                return port
        raise RuntimeError("no port from %d on is free" % self._first)


_ports = None


def free_port():
    """A port of 127.0.0.1 that nobody has now, and that no other call gets soon."""
    global _ports  # made late: pytest's workers are forked
    if _ports is None:
        _ports = _Ports()
    return _ports.take()


def children_of(pid):
    """Process ids of the direct children, in no order."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, "rb") as f:
                fields = f.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != b"Z":
            found.append(int(name))
    return found


def title(pid):
    """What it calls itself; "" for a process that is gone."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""


def alive(pid):
    """True for a process that exists and is no zombie."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as f:
            return f.read().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False

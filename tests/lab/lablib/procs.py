# SPDX-License-Identifier: BSD-2-Clause
"""Programs that run in a name space and do not outlive the run."""

import contextlib
import ctypes
import os
import signal
import subprocess

from . import net

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def as_user(user, argv):
    """argv run by another user; the signal at our end is asked for again, since a change of user forgets it"""
    if user is None:
        return list(argv)
    return ["setpriv", "--reuid", str(user[0]), "--regid", str(user[1]), "--clear-groups", "--pdeathsig", "KILL",
            "--"] + list(argv)


def start(host, argv, log, user=None, env=None, **kwargs):
    """A Popen whose pid is that of the program itself.  From the main thread: it dies with the thread."""
    with open(log, "ab") as f:
        return subprocess.Popen(
            net.words(host, as_user(user, argv)), stdout=f, stderr=f, preexec_fn=_die_with_parent,
            start_new_session=True, env=env or {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            **dict({"stdin": subprocess.DEVNULL}, **kwargs))


def end(process, sig=signal.SIGTERM, at_most=30):
    """Its exit status, after that signal.  One that does not end is killed, and TimeoutExpired raised."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(sig)
    try:
        return process.wait(at_most)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def text(path, last=None):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            found = f.read()
    except FileNotFoundError:
        return ""
    return found if last is None else found[-last:]


def tail(path, count=3000):
    return "\n%s:\n%s" % (os.path.basename(path), text(path, count))

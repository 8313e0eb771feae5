# SPDX-License-Identifier: BSD-2-Clause
"""Under a service manager: it is told what is true, and may hold the sockets."""

import os
import signal
import socket
import sys
import time

import pytest
import requests
from shoaltest.node import program
from shoaltest.waits import Hopeless, wait_for


class Manager:
    """systemd's end of the notification socket."""

    def __init__(self, path):
        self.path = path
        self.notices = []  # (sender, {name: value})
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def read(self):
        while True:
            try:
                data, extra, _, _ = self._socket.recvmsg(4096, 256)
            except BlockingIOError:
                return self.notices
            sender = int.from_bytes(extra[0][2][:4], sys.byteorder)
            self.notices.append((sender, dict(x.split("=", 1) for x in data.decode().split("\n"))))

    def said(self, name, after=0):
        """The states that were told, with their senders."""
        return [(s, n) for s, n in self.read()[after:] if name in n]

    def close(self):
        self._socket.close()


@pytest.fixture
def manager(nodedir):
    made = Manager(os.path.join(nodedir, "notify"))
    yield made
    made.close()


def test_the_service_manager_is_told_what_is_true(cluster, manager):
    node = cluster(1, ready="never")[0]
    node.env = {"NOTIFY_SOCKET": manager.path}
    node.start()
    # ready only when it is, and once
    sender, ready = wait_for(lambda: manager.said("READY"), what="READY=1")[0]
    assert sender == node.pid and ready["READY"] == "1" and ready["MAINPID"] == str(node.pid)
    assert node.status()["node"] in ready["STATUS"]
    assert "worker ready" in node.log() and not manager.said("STOPPING")

    # a reload is one
    node.send(signal.SIGHUP)
    wait_for(lambda: len(manager.said("READY")) == 2, at_most=20, what="READY=1 again")
    order = [next(k for k in n if k in ("READY", "RELOADING")) for _, n in manager.read()
             if "READY" in n or "RELOADING" in n]
    assert order == ["READY", "RELOADING", "READY"]
    now_us = time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
    assert 0 < now_us - int(manager.said("RELOADING")[0][1]["MONOTONIC_USEC"]) < 60e6

    # an upgrade names the new process before that one speaks
    seen = len(manager.read())
    old = node.pid
    new = node.upgrade()
    wait_for(lambda: manager.said("READY", seen), what="the new one is ready")
    told = [(s, n) for s, n in manager.read()[seen:]]
    assert [s for s, n in told if "MAINPID" in n][0] == old
    assert told[0][1]["MAINPID"] == str(new), told
    assert {s for s, n in told[1:]} == {new}
    wait_for(lambda: node.replaced[0].poll() is not None, at_most=20, what="the old one ends")
    assert not manager.said("STOPPING")

    node.stop(signal.SIGINT)
    assert [s for s, _ in manager.said("STOPPING")] == [new]


def test_the_watchdog_is_fed_while_a_worker_lives(cluster, manager):
    node = cluster(1, ready="never", node__workers="1", node__hang_timeout="1h")[0]
    node.env = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "3000000"}
    node.start()
    wait_for(lambda: len(manager.said("WATCHDOG")) >= 3, what="signs of life")
    # the only worker hangs: the master turns, and that is not enough
    pid = node.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    time_of_last = [time.monotonic(), len(manager.said("WATCHDOG"))]

    def quiet_for_long():
        count = len(manager.said("WATCHDOG"))
        if count != time_of_last[1]:
            time_of_last[:] = time.monotonic(), count
        return time.monotonic() - time_of_last[0] > 3

    wait_for(quiet_for_long, at_most=20, what="no sign of life for longer than the watchdog")
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: len(manager.said("WATCHDOG")) > time_of_last[1], what="signs of life again")


class Sockets:
    """What systemd does with a socket unit: it listens, and passes descriptors from 3 on."""

    def __init__(self, names):
        self.sockets = []
        self.names = names

    def listen(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        s.listen(64)
        self.sockets.append(s)
        return s.getsockname()[1]

    def program(self):
        code = (
            "import os, sys\n"
            "n = int(sys.argv[1])\n"
            "given = [int(x) for x in sys.argv[3:3 + n]]\n"
            "kept = [os.dup2(f, 100 + i) for i, f in enumerate(given)]\n"
            "[os.dup2(f, 3 + i, True) for i, f in enumerate(kept)]\n"
            "[os.close(f) for f in kept]\n"
            "os.environ.update(LISTEN_FDS=str(n), LISTEN_PID=str(os.getpid()),"
            " LISTEN_FDNAMES=sys.argv[2])\n"
            "os.execv(sys.argv[3 + n], sys.argv[3 + n:])\n"
        )
        return [sys.executable, "-c", code, str(len(self.sockets)), self.names] + [
            str(s.fileno()) for s in self.sockets
        ] + program()


def test_passed_sockets_take_the_place_of_those_that_are_configured(cluster, aftermath):
    node = cluster(1, ready="never")[0]
    passed = Sockets("applications:developers")
    node.app_port, node.dev_port = passed.listen(), passed.listen()
    for s in passed.sockets:
        aftermath.callback(s.close)
        s.set_inheritable(True)
    node.write_conf(listen__applications="127.0.0.1:%d" % node.app_port,
                    listen__developers="127.0.0.1:%d" % node.dev_port)
    node.program = passed.program()
    node.pass_fds = [s.fileno() for s in passed.sockets]
    # it could not bind them: we hold them
    node.start()
    assert requests.get(node.url + "/health", timeout=5).status_code == 200
    # a new master gets them too
    node.program = program()
    node.upgrade()
    assert requests.get(node.url + "/health", timeout=5).status_code == 200
    node.stop(signal.SIGINT)
    # what comes while nobody runs waits
    waits = socket.create_connection(("127.0.0.1", node.app_port), timeout=20)
    waits.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    node.program = passed.program()
    node.start()
    assert waits.recv(12) == b"HTTP/1.1 200"
    waits.close()
    node.stop(signal.SIGINT)

    # one that no address names is an error that says what to do
    port = passed.listen()
    aftermath.callback(passed.sockets[-1].close)
    passed.sockets[-1].set_inheritable(True)
    node.program = passed.program()
    node.pass_fds = [s.fileno() for s in passed.sockets]
    with pytest.raises(Hopeless):
        node.start()
    assert node.proc.returncode == 78
    assert ("a socket unit has passed 127.0.0.1:%d, which neither listen.applications nor "
            "listen.developers names: add it there, or take it out of the unit" % port) in node.log()


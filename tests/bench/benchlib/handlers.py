# SPDX-License-Identifier: BSD-2-Clause
"""The kinds of handlers that tests/bench/kinds runs, each with the same work: settings, processes, and whom to kill."""

import base64
import os
import signal
import subprocess
import sys
import time

from . import machine
from .cluster import free_port, stop
from .report import TOP

WORKER = os.path.join(TOP, "tests/bench/benchlib/digest_worker.py")
CLIENT = os.path.join(TOP, "clients/python")
CONCURRENCY = 16  # of a stream child, of a pull worker
PATIENCE_S = 60
TRIES = 4  # to freeze a process that then holds tasks
HOLDS_WITHIN_S = 5


def words_of(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def await_(condition, seconds):
    """what condition() returns once that is true, or what it returned last"""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found or time.monotonic() >= deadline:
            return found
        time.sleep(0.01)


def wait_for(condition, what):
    found = await_(condition, PATIENCE_S)
    if not found:
        raise SystemExit("not within %d s: %s" % (PATIENCE_S, what))
    return found


def freeze(pid):
    """Stopped: what it has in work stays so until it is killed.  False: it has just gone."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        return False

    def state():
        try:
            with open("/proc/%d/stat" % pid, "rb") as f:
                return f.read().rpartition(b")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return b"Z"

    return wait_for(lambda: state() in (b"T", b"Z") and state(), "process %d stops" % pid) == b"T"


def freeze_one(find, what):
    return wait_for(lambda: [pid for pid in find()[:1] if freeze(pid)], "there is %s to kill" % what)[0]


def kill_frozen(find, work, what):
    """Freezes a process that find() returns, waits until it holds tasks, kills it with SIGKILL.

    It is killed in the middle of its work that way, however short its work is.
    """
    for _ in range(TRIES):
        pid = freeze_one(find, what)
        work.more()
        if await_(work.held, HOLDS_WITHIN_S):
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGCONT)  # it was just about to ask for tasks
    raise SystemExit("%s gets no tasks" % what)


class Kind:
    """One type.  victims: what one of its runs kills, each the name of a method kill_NAME(cluster, work).

    work.more() lets clients submit more tasks, work.held() says whether a frozen process has some.  lasting: its
    processes outlast a task, and may have none in hand.  commands: the spawner starts them, and they end with it.
    """

    name = None
    victims = ()
    lasting = True
    commands = False

    @property
    def type(self):
        return "digest." + self.name

    def own_settings(self):
        return {}

    def settings(self):
        """as words of -o"""
        return ["type:%s.%s=%s" % (self.type, key, value) for key, value in self.own_settings().items()]

    def start(self, cluster):
        """what runs outside of the node"""

    def stop(self):
        pass

    def pids(self, cluster):
        """of the handler's processes, as they are now"""
        return []


class Commands(Kind):
    """What the spawner starts."""

    program = None
    commands = True

    @staticmethod
    def spawners(cluster):
        below = machine.descendants(cluster.process.pid)
        return [pid for pid in below if machine.title_of(pid).startswith("shoald: spawner")]

    def pids(self, cluster):
        program = self.program.encode()
        return [pid for one in self.spawners(cluster) for pid in machine.descendants(one)
                if program in words_of(pid)]


class Exec(Commands):
    name = "exec"
    program = os.path.join(TOP, "examples/digest")
    victims = ("command", "spawner")
    lasting = False

    def own_settings(self):
        return {"handler": "exec", "command": '/usr/bin/python3 -IS "%s"' % self.program}

    def kill_command(self, cluster, _work):
        # a command that is there has a task
        os.kill(freeze_one(lambda: self.pids(cluster), "a command"), signal.SIGKILL)

    def kill_spawner(self, cluster, _work):
        def busy():
            return [one for one in self.spawners(cluster) if machine.descendants(one)]

        os.kill(wait_for(busy, "the spawner has commands")[0], signal.SIGKILL)


class Stream(Commands):
    name = "stream"
    program = WORKER
    victims = ("child",)

    def own_settings(self):
        return {
            "handler": "stream",
            "command": '/usr/bin/python3 "%s" %s %d' % (self.program, self.type, CONCURRENCY),
            "environment": '"PYTHONPATH=%s" PYTHONDONTWRITEBYTECODE=1' % CLIENT,
        }

    def kill_child(self, cluster, work):
        kill_frozen(lambda: self.pids(cluster), work, "a child")


class Http(Kind):
    name = "http"
    victims = ("endpoint",)
    program = os.path.join(TOP, "examples/http/digest.py")

    def __init__(self, directory):
        self.port = free_port()
        self.secret = os.path.join(directory, "digest.secret")
        with open(os.open(self.secret, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
            f.write("whsec_" + base64.b64encode(os.urandom(32)).decode())
        self.process = None

    def own_settings(self):
        return {"handler": "http", "url": "http://127.0.0.1:%d/digest" % self.port,
                "secret_file": self.secret}

    def settings(self):
        return super().settings() + [
            "egress.allow_networks=127.0.0.0/8", "egress.ports=%d" % self.port,
            # it is back after a second
            "egress.breaker_pause=1s"]

    def start(self, cluster):
        self.process = subprocess.Popen(["/usr/bin/python3", self.program, str(self.port), self.secret],
                                        stdin=subprocess.DEVNULL)

    def stop(self):
        stop(self.process)

    def pids(self, cluster):
        return [self.process.pid]

    def kill_endpoint(self, cluster, work):
        kill_frozen(lambda: self.pids(cluster), work, "the endpoint")
        self.process.wait()
        time.sleep(1)  # what a supervisor takes
        self.start(cluster)


class Pull(Kind):
    name = "pull"
    victims = ("worker",)

    def __init__(self):
        self.processes = []

    def own_settings(self):
        return {"handler": "pull"}

    def start(self, cluster):
        env = dict(cluster.program_env(), PYTHONPATH=CLIENT, PYTHONDONTWRITEBYTECODE="1")
        for _ in range(2):
            self.processes.append(subprocess.Popen(
                [sys.executable, WORKER, self.type, str(CONCURRENCY)], env=env, stdin=subprocess.DEVNULL))

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            stop(process)
        self.processes = []

    def pids(self, cluster):
        return [p.pid for p in self.processes if p.poll() is None]

    def kill_worker(self, cluster, work):
        kill_frozen(lambda: self.pids(cluster), work, "a worker")


def all_kinds(directory):
    """directory: for what they keep in files"""
    return [Exec(), Stream(), Http(directory), Pull()]

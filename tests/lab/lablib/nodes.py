# SPDX-License-Identifier: BSD-2-Clause
"""Nodes of one image: the same program, the same configuration at the same path, for all of them.

Each has a name space, and its own mount below the image's run directory, as each machine has its own /run.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys

from shoaltest.node import DIRTY, ini
from shoaltest.waits import Hopeless, wait_for

from . import balancer, net, procs, stores

DRAIN_S = 2 * balancer.OUT_S
# of the reference: 350 s, beside the balancer's 300 s
IDLE_RATIO = 350 / 300
READY_WITHIN_S = 60
ENDS_WITHIN_S = 60
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def faketime():
    for path in (FAKETIME, FAKETIME.replace("x86_64", "aarch64")):
        if os.path.exists(path):
            return path
    raise net.Missing("faketime: apt-get install faketime")


def help_of(build, option):
    return subprocess.run([os.path.join(build, "shoald"), option], stdout=subprocess.PIPE, check=True).stdout.decode()


class Image:
    """What all nodes are started from.  settings: {"section.key": value}."""

    def __init__(self, directory, build, settings, name="image"):
        self.directory = os.path.join(directory, name)
        self.run = os.path.join(self.directory, "run")
        self.conf = os.path.join(self.directory, "shoald.conf")
        self.build = build
        self.shoald = os.path.join(self.directory, "shoald")
        os.makedirs(self.run)
        self.executions = os.path.join(directory, "executions")
        with open(self.executions, "ab"):
            os.chmod(self.executions, 0o666)
        child = os.path.join(self.directory, "child.py")
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py"), child)
        self.install(build)
        self.settings = {
            "cluster.name": "lab",
            "cluster.hostname": "lab.example",
            "node.workers": 2,
            "node.pid_file": os.path.join(self.run, "shoald.pid"),
            "node.control_socket": os.path.join(self.run, "shoald.sock"),
            "node.drain_delay": "%dms" % (1000 * DRAIN_S),
            "node.shutdown_timeout": "10s",
            "listen.applications": "0.0.0.0:80",
            "listen.developers": "0.0.0.0:8080",
            "http.idle_timeout": "%dms" % (1000 * balancer.IDLE_S * IDLE_RATIO),
            "database.url": "postgresql://%s@postgres:5432/%s" % (stores.USER, stores.DATABASE),
            "redis.url": "redis://redis:%d/0" % stores.REDIS_PORT,
            "access.token": "lab",
            "type:lab.work.handler": "stream",
            "type:lab.work.command": '%s -IS "%s"' % (sys.executable, child),
            "type:lab.work.environment": '"LAB_LOG=%s"' % self.executions,
            "type:lab.work.backoff": "fixed delay=1s",
        }
        self.settings.update(settings)
        self.write()

    def install(self, build):
        """another program at the same path, as a package does it: a new file in place of the old one"""
        self.build = build
        shutil.copy(os.path.join(build, "shoald"), self.shoald + ".new")
        os.rename(self.shoald + ".new", self.shoald)

    def write(self, **changes):
        """Changes settings ("." as "__"); reloaded nodes follow."""
        self.settings.update({k.replace("__", "."): v for k, v in changes.items()})
        with open(self.conf + ".new", "w", encoding="ascii") as f:
            f.write(ini(self.settings))
        os.rename(self.conf + ".new", self.conf)


class Node:
    def __init__(self, directory, image, name):
        self.name = name
        self.image = image
        self.home = os.path.join(directory, name)
        self.log = os.path.join(self.home, "log")
        self.socket = os.path.join(self.home, "shoald.sock")
        self.process = None
        self.expected = True  # that it runs
        os.makedirs(self.home, exist_ok=True)

    # -- life

    def start(self, ready=True, env=None):
        """env: for the node alone, as LD_PRELOAD"""
        self.process = procs.start(
            self.name,
            ["sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", self.home, self.image.run,
             "env"] + ["%s=%s" % item for item in (env or {}).items()]
            + [self.image.shoald, "-c", self.image.conf], self.log, cwd="/")
        self.expected = True
        return self.wait_ready() if ready else self

    def wait_ready(self, at_most=READY_WITHIN_S):
        """every worker has both stores"""
        wait_for(self.is_connected, at_most=at_most, every=0.05, what="%s has its stores" % self.name)
        return self

    @property
    def pid(self):
        """of the master, which an upgrade changes"""
        return int(procs.text(os.path.join(self.home, "shoald.pid")))

    def send(self, sig):
        os.kill(self.pid, sig)

    def stop(self, sig=signal.SIGTERM):
        """in good order; nothing of it is left"""
        self.expected = False
        with contextlib.suppress(ProcessLookupError, ValueError, FileNotFoundError):
            self.send(sig)
        return self

    def wait_gone(self, at_most=ENDS_WITHIN_S):
        try:
            wait_for(lambda: not net.pids(self.name), at_most=at_most, what="%s has left" % self.name)
        except AssertionError as e:
            raise AssertionError("%s%s" % (e, procs.tail(self.log))) from None
        # after an upgrade the first master has ended long before
        status = self.process.wait()
        assert status == 0, "%s ended with %d%s" % (self.name, status, procs.tail(self.log))

    def kill(self):
        self.expected = False
        net.kill_all(self.name)
        self.process.wait()

    def freeze(self):
        net.tell_all(self.name, signal.SIGSTOP)

    def thaw(self):
        net.tell_all(self.name, signal.SIGCONT)

    # -- what it says

    def status(self):
        # not by the image's program, which a scenario may have spoilt
        done = subprocess.run(
            [os.path.join(self.image.build, "shoald"), "-c", self.image.conf, "-o", "node.control_socket=" + self.socket, "--status",
             "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, timeout=20)
        return json.loads(done.stdout)

    def workers(self):
        return self.status()["workers"]

    def worker_pids(self):
        return [w["pid"] for w in self.workers() if w.get("pid")]

    def has_stores(self, *names):
        """all of its workers, of "database" and "redis" """
        workers = self.workers()
        return len(workers) >= int(self.image.settings["node.workers"]) and all(
            w[name + "_up"] for w in workers for name in names)

    def is_connected(self):
        if self.process.poll() is not None and not net.pids(self.name):
            raise Hopeless("%s ended with %s%s" % (self.name, self.process.returncode, procs.tail(self.log)))
        return self.has_stores("database", "redis")

    def files(self):
        """open files of its workers, the most of one"""
        return max(len(os.listdir("/proc/%d/fd" % pid)) for pid in self.worker_pids())

    def private_kib(self):
        """memory of its workers, the most of one"""
        most = 0
        for pid in self.worker_pids():
            with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
                most = max(most, sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+)", f.read(), re.M)))
        return most

    def dirt(self):
        """lines of its log that no scenario excuses"""
        return [line for line in procs.text(self.log).splitlines() if DIRTY.search(line)]

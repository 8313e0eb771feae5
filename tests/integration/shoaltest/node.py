# SPDX-License-Identifier: BSD-2-Clause
"""A node: the real shoald with a configuration of its own."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time

import requests

from . import process
from .waits import Hopeless, wait_for

# what makes a clean run dirty, whatever the assertions said
DIRTY = re.compile(
    r"AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:|"
    r"ThreadSanitizer|[Aa]ssertion .* failed|\bBUG\b|stack smashing|double free|"
    r"corrupted|==\d+== (Invalid|Conditional|Use of)|Segmentation fault|code=bug"
)

SANITIZER_ENV = {
    "ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_leaks=1:log_to_syslog=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "LSAN_OPTIONS": "exitcode=99",
}


def build_directory():
    """SHOAL_BUILDDIR, where shoald was built."""
    told = os.environ.get("SHOAL_BUILDDIR")
    here = os.path.dirname(os.path.abspath(__file__))
    for candidate in filter(None, (told, os.path.join(here, "../../../build/test"))):
        if os.path.exists(os.path.join(candidate, "shoald")):
            return os.path.abspath(candidate)
    raise RuntimeError("no shoald: build it and set SHOAL_BUILDDIR")


def program(name="shoald"):
    """argv of one of our programs, wrapped by SHOAL_WRAP ("valgrind ...")."""
    return shlex.split(os.environ.get("SHOAL_WRAP", "")) + [
        os.path.join(build_directory(), name)
    ]


def program_env():
    env = {k: v for k, v in os.environ.items() if not k.startswith("SHOALD_")}
    for key, value in SANITIZER_ENV.items():
        env.setdefault(key, value)
    return env


def ini(settings):
    """{"section.key": value} as a file; long values go on in continuation lines."""
    sections = {}
    for name, value in settings.items():
        section, key = name.rsplit(".", 1)
        sections.setdefault(section, []).append((key, str(value)))
    lines = []
    for section, pairs in sections.items():
        lines.append("[%s]" % section)
        for key, value in pairs:
            line = "%s =" % key
            for word in value.split(" "):
                if len(line) + len(word) > 180 and line.strip():
                    lines.append(line)
                    line = "   "
                line += " " + word
            lines.append(line)
    return "\n".join(lines) + "\n"


class Node:
    """settings are what the test wants; addresses, sockets and stores are filled in."""

    def __init__(self, directory, name, settings):
        self.name = name
        self.directory = os.path.join(directory, name)
        os.makedirs(self.directory)
        self.app_port = process.free_port()
        self.dev_port = process.free_port()
        self.token = "test-token"
        self.settings = {
            "node.workers": 2,
            "node.pid_file": os.path.join(self.directory, "shoald.pid"),
            "node.control_socket": os.path.join(self.directory, "shoald.sock"),
            "node.drain_delay": "0",
            "node.shutdown_timeout": "5s",
            "listen.applications": "127.0.0.1:%d" % self.app_port,
            "listen.developers": "127.0.0.1:%d" % self.dev_port,
            "access.token": self.token,
            "log.level": "debug",
        }
        self.settings.update(settings)
        self.conf = os.path.join(self.directory, "shoald.conf")
        self.log_path = os.path.join(self.directory, "log")
        self.proc = None
        self.replaced = []  # masters whose place a new one has taken
        self.program = program()  # a list; [0] may be a path of the test's own
        self.env = {}
        self.pass_fds = ()
        self.wrap = []  # argv in front of the program's: unshare, and the like
        self.expected_dirt = []  # patterns of a dirty log that this test means to cause
        self.write_conf()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.app_port

    @property
    def dev_url(self):
        return "http://127.0.0.1:%d" % self.dev_port

    def write_conf(self, **changes):
        """Changes settings ("." of a name written as "__") in the file; HUP makes them count."""
        self.settings.update({k.replace("__", "."): v for k, v in changes.items()})
        with open(self.conf, "w") as f:
            f.write(ini(self.settings))

    # -- life

    def start(self, ready="stores", options=()):
        argv = self.wrap + self.program + ["-c", self.conf]
        for option in options:
            argv += ["-o", option]
        with open(self.log_path, "ab") as log:
            self.proc = process.start(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=dict(program_env(), **self.env), cwd=self.directory, pass_fds=self.pass_fds,
            )
        return self.start_wait(ready)

    def start_daemon(self, ready="stores"):
        """With -d: who starts it sees it bound, and it says by its process file which process it is."""
        subprocess.run(self.program + ["-c", self.conf, "-d"], check=True, timeout=30,
                       env=dict(program_env(), **self.env), cwd=self.directory)
        self.proc = process.Adopted(wait_for(self.pid_of_file, what="its process file"))
        return self.start_wait(ready)

    def start_wait(self, ready="stores"):
        if ready:
            wait_for(self.is_healthy, at_most=30, what="%s listens" % self.name)
        if ready == "stores":
            wait_for(self.is_connected, at_most=30, what="%s has its stores" % self.name)
        return self

    def is_connected(self):
        """It has started, and every worker has PostgreSQL and Redis."""
        status = self.status()
        workers = status["workers"]
        return (status["state"] != "starting" and len(workers) >= int(self.settings["node.workers"])
                and all(w["database_up"] and w["redis_up"] for w in workers))

    def is_healthy(self):
        if self.proc.poll() is not None:
            raise Hopeless(
                "%s ended with %s:\n%s" % (self.name, self.proc.returncode, self.log()[-3000:])
            )
        return requests.get(self.dev_url + "/health", timeout=5).status_code == 200

    @property
    def pid(self):
        return self.proc.pid

    def is_running(self):
        return self.proc is not None and self.proc.poll() is None

    def send(self, sig):
        self.proc.send_signal(sig)

    def pid_of_file(self):
        with open(self.settings["node.pid_file"]) as f:
            return int(f.read() or 0)

    def upgrade(self, at_most=60):
        """A new master takes the place of this one, which ends when its workers have."""
        old = self.proc
        # its workers have their stores before the master has seen that all of them are ready
        wait_for(lambda: self.status()["state"] == "running", at_most=30, what="%s is ready" % self.name)
        self.send(signal.SIGUSR2)

        def replaced():
            if old.poll() is not None and not process.alive(self.pid_of_file()):
                raise Hopeless("%s ended:\n%s" % (self.name, self.log()[-3000:]))
            return self.pid_of_file() not in (0, old.pid)

        wait_for(replaced, at_most=at_most, what="%s is upgraded" % self.name)
        self.replaced.append(old)
        self.proc = process.Adopted(self.pid_of_file())
        return self.proc.pid

    def stop(self, sig=signal.SIGTERM, at_most=30):
        """Asks it to end and returns its exit status."""
        self.send(sig)
        try:
            return self.proc.wait(at_most)
        except subprocess.TimeoutExpired:
            self.abandon()
            raise AssertionError(
                "%s did not end within %g s of %s:\n%s"
                % (self.name, at_most, signal.Signals(sig).name, self.log()[-3000:])
            ) from None

    def kill(self):
        """As if the machine were gone: every process of the node, at once."""
        family = self.family()
        for pid in family:
            _signal(pid, signal.SIGSTOP)  # nobody may react to another's end
        for pid in family:
            _signal(pid, signal.SIGKILL)
        self.proc.wait(10)
        wait_for(lambda: not any(process.alive(p) for p in family), what="all killed")

    def kill_worker(self, pid=None, sig=signal.SIGKILL):
        pid = pid or self.worker_pids()[0]
        os.kill(pid, sig)
        return pid

    def pause(self):
        """The whole node hangs."""
        for pid in self.family():
            _signal(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.family():
            _signal(pid, signal.SIGCONT)

    def family(self):
        """The master, its workers and helpers, and the commands that they run."""
        found = [self.proc.pid] + [p.pid for p in self.replaced if p.poll() is None]
        for pid in found:
            found += process.children_of(pid)
        return found

    def abandon(self):
        if self.is_running():
            self.resume()
            self.kill()

    # -- what it says

    def status(self):
        """The master's own account of its workers, asked for as shoald --status does."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.settings["node.control_socket"])
            s.sendall(b"status\n")
            with s.makefile("rb") as answer:
                return json.loads(answer.read())

    def status_by_program(self):
        """The same by shoald --status, which costs a process each time."""
        out = subprocess.run(
            program() + ["-c", self.conf, "--status", "--json"], check=True, timeout=20,
            stdout=subprocess.PIPE, env=program_env(),
        ).stdout
        return json.loads(out)

    def workers(self):
        return self.status()["workers"]

    def worker_pids(self):
        """of those that serve, and not only keep what is idle for clients of an older configuration"""
        return [w["pid"] for w in self.workers() if w.get("pid") and w["state"] != "lingering"]

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_log(self, text, at_most=10):
        return wait_for(lambda: text in self.log(), at_most, what="%r in the log" % text)

    def check_log(self):
        """A clean assertion with a dirty log is a failure."""
        dirt = []
        for line in self.log().splitlines() if os.path.exists(self.log_path) else []:
            if DIRTY.search(line) and not any(re.search(p, line) for p in self.expected_dirt):
                dirt.append(line)
        assert not dirt, "%s: dirty log (%s):\n%s" % (
            self.name, self.log_path, "\n".join(dirt[:30]),
        )

    def begin_end(self):
        """At the end of a test, to all of them before the first is waited for."""
        if self.is_running():
            self.resume()
            self.send(signal.SIGINT)

    def finish(self):
        """After begin_end: down in good order, then the log is read."""
        if self.is_running():
            started = time.monotonic()
            try:
                self.proc.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(
                    "%s did not end within %.0f s of INT:\n%s"
                    % (self.name, time.monotonic() - started, self.log()[-3000:])
                ) from None
        for old in self.replaced:
            wait_for(lambda old=old: old.poll() is not None, at_most=20,
                     what="%s: replaced master %d ends" % (self.name, old.pid))
        self.check_log()


def _signal(pid, sig):
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass

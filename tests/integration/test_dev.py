# SPDX-License-Identifier: BSD-2-Clause
"""shoald --dev: a cluster of one node out of nothing, and nothing left of it."""

import contextlib
import os
import shlex
import signal
import subprocess

import pytest
from shoaltest import process
from shoaltest.client import Client
from shoaltest.node import DIRTY, program, program_env
from shoaltest.waits import Hopeless, wait_for


class Dev:
    def __init__(self, directory, log):
        self.directory = directory
        self.log = log
        self.proc = None

    def start(self):
        argv = program() + ["--dev=" + self.directory]
        for name in ("applications", "developers"):
            argv += ["-o", "listen.%s=127.0.0.1:%d" % (name, process.free_port())]
        argv += ["-o", "node.workers=2", "-o", "dev.fsync=no"]
        with open(self.log, "ab") as log:
            self.proc = process.start(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=program_env()
            )
        wait_for(self.is_up, at_most=60, what="shoald --dev is up")
        return self

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def env(self):
        with open(os.path.join(self.directory, "env")) as f:
            pairs = [shlex.split(line)[1].split("=", 1) for line in f]
        return dict(pairs)

    def is_up(self):
        if self.proc.poll() is not None:
            raise Hopeless("shoald --dev ended:\n" + self.text())
        return self.client().request("GET", "/health").status_code == 200

    def client(self):
        env = self.env()
        return Client(env["SHOAL_URL"], env["SHOAL_API_KEY"])

    def family(self):
        found = [self.proc.pid]
        for pid in found:
            found += process.children_of(pid)
        return found


@pytest.fixture
def dev(nodedir):
    # the stores' user must get through to its own directories
    os.chmod(nodedir, 0o755)
    made = Dev(os.path.join(nodedir, "dev"), os.path.join(nodedir, "dev.log"))
    yield made
    if made.proc is not None and made.proc.poll() is None:
        made.proc.send_signal(signal.SIGINT)
        made.proc.wait(40)
    assert not DIRTY.search(made.text()), made.text()


def ended(pids):
    return lambda: not [p for p in pids if process.alive(p)]


def test_it_serves_and_takes_everything_down(dev):
    dev.start()
    assert dev.client().run("shoal.echo", 1)["result"] == 1
    family = dev.family()
    assert len(family) > 5
    dev.proc.send_signal(signal.SIGTERM)
    assert dev.proc.wait(40) == 0
    wait_for(ended(family), what="all of it is gone")


def test_a_killed_supervisor_leaves_nothing_running(dev):
    dev.start()
    family = dev.family()
    dev.proc.kill()
    dev.proc.wait()
    wait_for(ended(family), at_most=30, what="all of it is gone")


def test_key_and_tasks_outlive_a_restart_even_after_a_kill(dev):
    dev.start()
    key = dev.env()["SHOAL_API_KEY"]
    id = dev.client().run("shoal.echo", "kept")["id"]
    dev.proc.kill()
    dev.proc.wait()
    dev.start()
    assert dev.env()["SHOAL_API_KEY"] == key
    assert dev.client().get(id)["result"] == "kept"


def test_a_store_that_dies_is_started_again(dev):
    dev.start()
    for name in ("redis-server", "bin/postgres"):
        for pid in process.children_of(dev.proc.pid):
            with open("/proc/%d/cmdline" % pid) as f:
                if name in f.read():
                    os.kill(pid, signal.SIGKILL)
        wait_for(lambda: dev.client().run("shoal.noop")["state"] == "succeeded", at_most=40)


def test_no_secret_is_an_argument_or_readable_by_others(dev):
    dev.start()
    env = dev.env()
    secrets = [env["SHOAL_API_KEY"], env["SHOAL_ACCESS_TOKEN"]]
    secrets += [env[n].split("@")[0].split(":")[-1] for n in ("SHOAL_DATABASE_URL", "SHOAL_REDIS_URL")]
    for pid in dev.family():
        with contextlib.suppress(OSError), open("/proc/%d/cmdline" % pid) as f:
            line = f.read()
            assert not [s for s in secrets if s in line], line
    for name in ("env", "state", "shoald.conf", "postgres.log", "redis.log"):
        assert os.stat(os.path.join(dev.directory, name)).st_mode & 0o077 == 0, name


def test_a_directory_in_use_or_of_others_is_refused(dev, nodedir):
    dev.start()
    again = subprocess.run(
        program() + ["--dev=" + dev.directory], env=program_env(), timeout=30,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )
    assert again.returncode != 0
    assert str(dev.proc.pid) in again.stdout.decode()
    foreign = os.path.join(nodedir, "foreign")
    os.mkdir(foreign)
    with open(os.path.join(foreign, "precious"), "w") as f:
        f.write("x")
    mode = os.stat(foreign).st_mode
    other = subprocess.run(
        program() + ["--dev=" + foreign], env=program_env(), timeout=30,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )
    assert other.returncode != 0
    assert os.listdir(foreign) == ["precious"] and os.stat(foreign).st_mode == mode

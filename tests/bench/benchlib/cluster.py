# SPDX-License-Identifier: BSD-2-Clause
"""A private cluster to measure: shoald --dev with ports of its own, and what its stores count."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from . import machine

QUEUE = "bench"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """shoald --dev of one build, fsync on.  A context manager: started inside, gone after."""

    def __init__(self, build, workers=0, settings=(), statements=False):
        self.build = os.path.abspath(build)
        self.settings = ["node.workers=%d" % workers] + list(settings)
        self.statements = statements
        self.process = None
        self.env = {}

    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="shoal-bench.")
        os.chmod(self.home, 0o711)  # as root the stores run as another user
        self.dir = os.path.join(self.home, "dev")
        try:
            self._start()
            if self.statements:
                self.sql("ALTER SYSTEM SET shared_preload_libraries = pg_stat_statements")
                self._stop()
                self._start()
                self.sql("CREATE EXTENSION pg_stat_statements")
            # the queue must exist to be paused
            self.shoal("submit", "shoal.noop", "-q", QUEUE, "--wait=20s")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self._stop()
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    def _start(self):
        ports = free_port(), free_port()
        words = [os.path.join(self.build, "shoald"), "--dev=" + self.dir]
        for setting in self.settings + [
                "listen.applications=127.0.0.1:%d" % ports[0],
                "listen.developers=127.0.0.1:%d" % ports[1], "log.level=warn"]:
            words += ["-o", setting]
        self.log = os.path.join(self.home, "shoald.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, env=self.program_env(), stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)
        self._wait_ready("http://127.0.0.1:%d/ready" % ports[0])
        self.env = self._read_env()
        self.groups = machine.groups_of(self.process.pid)

    def _wait_ready(self, url):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            time.sleep(0.1)
        with open(self.log, encoding="utf-8", errors="replace") as log:
            raise SystemExit("shoald does not get ready:\n" + log.read()[-2000:])

    def _read_env(self):
        env = {}
        with open(os.path.join(self.dir, "env"), encoding="utf-8") as f:
            for line in f:
                match = re.match(r"export (\w+)=(.*)", line)
                if match:
                    env[match.group(1)] = shlex.split(match.group(2))[0]
        return env

    def _stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    # ---- asking

    def program_env(self):
        """without what the caller's environment would set for a node or a client"""
        return dict({k: v for k, v in os.environ.items() if not k.startswith("SHOAL")}, **self.env)

    def shoal(self, *words, client=None):
        """the output of a short command"""
        done = subprocess.run([os.path.join(client or self.build, "shoal")] + list(words),
                              env=self.program_env(), stdout=subprocess.PIPE, check=True)
        return done.stdout.decode()

    def sql(self, text):
        done = subprocess.run(
            ["psql", "-X", "-A", "-t", "-q", "-F", "\t", "-v", "ON_ERROR_STOP=1",
             self.env["SHOAL_DATABASE_URL"]],
            input=text.encode(), stdout=subprocess.PIPE, check=True)
        return [line.split("\t") for line in done.stdout.decode().splitlines() if line]

    def metrics(self):
        """{counter: sum over its labels}"""
        request = urllib.request.Request(self.env["SHOAL_PORTAL_URL"] + "/metrics")
        request.add_header("Authorization", "Bearer " + self.env.get("SHOAL_ACCESS_TOKEN", ""))
        counters = {}
        with urllib.request.urlopen(request, timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line and not line.startswith("#"):
                    name, value = line.rsplit(" ", 1)
                    name = name.split("{")[0]
                    counters[name] = counters.get(name, 0) + float(value)
        return counters

    def pause(self, paused):
        self.sql("UPDATE shoal.queue SET paused = %s WHERE name = '%s'" % (paused, QUEUE))

    def wait_idle(self):
        """until every task that was accepted has finished"""
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            m = self.metrics()
            ended = m["shoal_tasks_succeeded_total"] + m["shoal_tasks_failed_total"]
            if ended >= m["shoal_tasks_submitted_total"]:
                return
            time.sleep(0.05)
        raise SystemExit("tasks do not finish")

    # ---- what a run cost

    def sample(self):
        rows = self.sql("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn,"
                        " pg_snapshot_xmax(pg_current_snapshot());"
                        + ("SELECT sum(calls) FROM pg_stat_statements;" if self.statements else ""))
        metrics = self.metrics()
        sample = {
            "wal_bytes": float(rows[0][0]),
            "transactions": float(rows[0][1]),
            "batches": metrics.get("shoal_batches_total", 0),
        }
        if self.statements:
            sample["statements"] = float(rows[1][0])
        # last, and at the end first, so that the asking is not in it
        sample["cpu"] = machine.cpu_of(self.groups)
        return sample

    def cost(self, before):
        """what was used since a sample, and the workers' memory now"""
        cpu = machine.cpu_of(self.groups)
        after = self.sample()
        cost = {k: after[k] - before[k] for k in after if k != "cpu"}
        cost["cpu"] = {name: cpu[name] - before["cpu"][name] for name in cpu}
        memory = [machine.memory_of(pid) for pid in self.groups["workers"]]
        cost["worker_rss_mib"] = max((m[0] for m in memory), default=0)
        cost["worker_private_mib"] = max((m[1] for m in memory), default=0)
        return cost

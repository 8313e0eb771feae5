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
from .redis import Redis

QUEUE = "bench"
SETTLE_S = 4  # a beat and a little: by then the workers know how many they are


def ended(metrics):
    return metrics["shoal_tasks_succeeded_total"] + metrics["shoal_tasks_failed_total"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end_cleanly():
    """a TERM ends this program as Ctrl-C does: what it has started goes with it"""
    def on_term(*_):
        raise SystemExit("ended by a signal")
    signal.signal(signal.SIGTERM, on_term)


class Node:
    """A further node of a cluster, on its stores."""

    def __init__(self, cluster, number):
        self.number = number
        applications, developers = free_port(), free_port()
        self.url = "http://127.0.0.1:%d" % applications
        self.portal = "http://127.0.0.1:%d" % developers
        self.log = os.path.join(cluster.home, "node%d.log" % number)
        words = [os.path.join(cluster.build, "shoald")]
        for setting in cluster.settings + [
                "listen.applications=127.0.0.1:%d" % applications,
                "listen.developers=127.0.0.1:%d" % developers, "log.level=warn",
                "node.pid_file=", "node.control_socket=", "node.drain_delay=0"]:
            words += ["-o", setting]
        env = dict(cluster.program_env(), SHOALD_DATABASE_URL=cluster.env["SHOAL_DATABASE_URL"],
                   SHOALD_REDIS_URL=cluster.env["SHOAL_REDIS_URL"],
                   SHOALD_ACCESS_TOKEN=cluster.env.get("SHOAL_ACCESS_TOKEN", ""))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, env=env, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)

    def stop(self):
        stop(self.process)


def stop(process):
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Cluster:
    """shoald --dev of one build, fsync on.  A context manager: started inside, gone after.

    It begins with one node; set_nodes starts and stops further ones.  log: where the first node's goes, to be kept.
    """

    def __init__(self, build, workers=0, settings=(), statements=False, log=None):
        self.build = os.path.abspath(build)
        self.settings = ["node.workers=%d" % workers] + list(settings)
        self.statements = statements
        self.log = log
        self.process = None
        self.redis = None
        self.further = []  # Nodes
        self.gone = {}  # what those that were stopped had counted
        self.unmatched = 0  # tasks that ended and that no node was asked for
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
        self.log = self.log or os.path.join(self.home, "shoald.log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, env=self.program_env(), stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL)
        self._wait_ready(self.process, self.log, "http://127.0.0.1:%d/ready" % ports[0])
        self.env = self._read_env()
        self.redis = Redis(self.env["SHOAL_REDIS_URL"])

    @staticmethod
    def _wait_ready(process, log, url):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            time.sleep(0.1)
        with open(log, encoding="utf-8", errors="replace") as f:
            raise SystemExit("shoald does not get ready:\n" + f.read()[-2000:])

    def _read_env(self):
        env = {}
        with open(os.path.join(self.dir, "env"), encoding="utf-8") as f:
            for line in f:
                match = re.match(r"export (\w+)=(.*)", line)
                if match:
                    env[match.group(1)] = shlex.split(match.group(2))[0]
        return env

    def _stop(self):
        if self.redis is not None:
            self.redis.close()
            self.redis = None
        for node in self.further:
            node.stop()
        self.further = []
        stop(self.process)

    def set_nodes(self, count):
        """that many nodes; the last that came go first.  Returns once all know of each other."""
        if count == 1 + len(self.further):
            return
        self.wait_idle()
        while len(self.further) > count - 1:
            node = self.further.pop()
            for name, value in self._metrics_of(node.portal).items():
                if name.endswith("_total"):
                    self.gone[name] = self.gone.get(name, 0) + value
            node.stop()
        for _ in range(len(self.further), count - 1):
            self.further.append(Node(self, 2 + len(self.further)))
        for node in self.further:
            self._wait_ready(node.process, node.log, node.url + "/ready")
        time.sleep(SETTLE_S)

    @property
    def nodes(self):
        return 1 + len(self.further)

    def client_words(self, counts):
        """for shoal bench, when there are several nodes; counts: it reads their counters"""
        words = []
        if self.further:
            for url in [self.env["SHOAL_URL"]] + [n.url for n in self.further]:
                words += ["--url", url]
            for url in self._portals() if counts else ():
                words += ["--metrics", url]
        return words

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

    def _portals(self):
        return [self.env["SHOAL_PORTAL_URL"]] + [n.portal for n in self.further]

    def metrics(self):
        """{counter: sum over nodes, those that were stopped too, and labels}"""
        counters = dict(self.gone)
        for portal in self._portals():
            for name, value in self._metrics_of(portal).items():
                counters[name] = counters.get(name, 0) + value
        return counters

    def _metrics_of(self, portal):
        request = urllib.request.Request(portal + "/metrics")
        request.add_header("Authorization", "Bearer " + self.env.get("SHOAL_ACCESS_TOKEN", ""))
        counters = {}
        with urllib.request.urlopen(request, timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line and not line.startswith("#"):
                    name, value = line.rsplit(" ", 1)
                    name = name.split("{")[0]
                    counters[name] = counters.get(name, 0) + float(value)
        return counters

    def pause(self, paused, queue=QUEUE):
        """by the program, so that all workers hear of it at once; older ones have no such command"""
        done = subprocess.run([os.path.join(self.build, "shoal"), "pause" if paused else "resume", queue],
                              env=self.program_env(), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            self.sql("UPDATE shoal.queue SET paused = %s WHERE name = '%s'" % (paused, queue))

    def wait_idle(self):
        """until every task that was accepted has finished"""
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            m = self.metrics()
            if ended(m) - self.unmatched >= m["shoal_tasks_submitted_total"]:
                return
            time.sleep(0.05)
        raise SystemExit("tasks do not finish")

    def forget_counts(self):
        """the cluster is idle, whatever was put into its database or removed from it"""
        m = self.metrics()
        self.unmatched = ended(m) - m["shoal_tasks_submitted_total"]

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
            "redis_calls": self.redis.calls(),
        }
        if self.statements:
            sample["statements"] = float(rows[1][0])
        # last, and at the end first, so that the asking is not in it
        sample["time"] = self._time()
        return sample

    def groups(self, found=None):
        """{group: [pid]} as it is now: backends come and go"""
        return machine.groups_of(self.process.pid, [n.process.pid for n in self.further], found)

    def workers(self):
        """their pids, without the helpers that a master starts and ends"""
        return [pid for pid in self.groups()["workers"] if "worker" in machine.title_of(pid)]

    def _time(self):
        found = machine.processes()
        groups = self.groups(found)
        return {
            "cpu": machine.cpu_of(groups, found),
            "own": {pid: found[pid][3] for pids in groups.values() for pid in pids},
            "busy": machine.busy(),
        }

    def cost(self, before):
        """what was used since a sample, and the workers' memory now"""
        then, now = before["time"], self._time()
        after = self.sample()
        cost = {k: after[k] - before[k] for k in after if k not in ("time", "redis_calls")}
        calls = {k: n - before["redis_calls"].get(k, 0) for k, n in after["redis_calls"].items()}
        cost["redis_calls"] = {k: n for k, n in calls.items() if n > 0}
        cost["cpu"] = {name: now["cpu"][name] - then["cpu"][name] for name in now["cpu"]}
        own = {pid: s - then["own"].get(pid, 0) for pid, s in now["own"].items()}
        busiest = max(own, key=own.get)
        cost["busiest"] = {"name": self._name_of(busiest), "seconds": own[busiest]}
        cost["machine_busy"] = ((now["busy"][0] - then["busy"][0])
                                / max(now["busy"][1] - then["busy"][1], 1e-9))
        memory = [machine.memory_of(pid) for pid in self.workers()]
        cost["worker_rss_mib"] = max((m[0] for m in memory), default=0)
        cost["worker_private_mib"] = max((m[1] for m in memory), default=0)
        return cost

    def _name_of(self, pid):
        """for people: which process of the cluster this is"""
        title = machine.title_of(pid)
        if title.startswith("postgres"):
            rows = self.sql("SELECT coalesce(nullif(application_name, ''), backend_type)"
                            " FROM pg_stat_activity WHERE pid = %d" % pid)
            return "postgres: " + rows[0][0] if rows else title
        if title.startswith("shoald"):
            for node in self.further:
                if pid == node.process.pid or pid in machine.descendants(node.process.pid):
                    return "node %d: %s" % (node.number, title)
            return "node 1: " + title
        return "redis" if "redis-server" in title else title

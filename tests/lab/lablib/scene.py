# SPDX-License-Identifier: BSD-2-Clause
"""One scenario at work: stores, nodes, balancer and load, made for it alone, and the verdict at the end."""

import collections
import os
import random
import signal
import subprocess
import sys
import time

from shoaltest.waits import Hopeless, wait_for

from . import balancer, net, nodes, procs, record, stores, wire

HERE = os.path.dirname(os.path.abspath(__file__))
FLOWS_WITHIN_S = 90
DRAINS_WITHIN_S = 90


class Skip(Exception):
    """This scenario cannot be played here; why."""


class Lab:
    """What a whole run has in common."""

    def __init__(self, args, build, old):
        self.args = args
        self.build = build
        self.old = old  # directory of an older build, or None
        self.key = None
        self.template = None

    def prepare(self):
        self.template, self.key = stores.make_template(os.path.join(net.STATE, "made"), self._migrate)

    def _migrate(self, server):
        self.migrate(server, self.build if self.old is None else self.old)
        return make_key(server)

    @staticmethod
    def migrate(server, build):
        done = subprocess.run(
            [os.path.join(build, "shoald"), "-c", "/dev/null", "--migrate", "-o", "cluster.name=lab", "-o",
             "database.url=postgresql://%s@%s:5432/%s" % (stores.USER, net.address(server.host), stores.DATABASE)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise RuntimeError("shoald --migrate: " + done.stdout.decode())


def make_key(server):
    """an application with a key, straight into the database"""
    from shoaltest import apps  # pylint: disable=import-outside-toplevel

    return apps.make_key(server, "lab")


class Scene:
    """A context manager.  options: what a scenario asks for beyond three nodes, one PostgreSQL and one Redis.

    nodes: how many; standby, replica, sentinels: of the stores; wires: {name: host} of stores that nodes reach
    through the proxy; repeats: the balancer repeats what fails; idle_s: the balancer's; settings: of all nodes;
    keyed: no task without a key; rate: tasks a second, 0: no load.
    """

    def __init__(self, lab, name, options):
        self.lab = lab
        self.name = name
        self.directory = os.path.join(net.STATE, name)
        self.rng = random.Random("%d %s" % (lab.args.seed, name))
        self.options = dict({"nodes": 3, "standby": False, "replica": False, "sentinels": False, "wires": {},
                             "repeats": False, "idle_s": balancer.IDLE_S, "settings": {}, "keyed": False,
                             "rate": lab.args.rate, "behind": {}, "start": True}, **options)
        self.marks = []  # (seconds since the load began, what)
        self.bounds = []  # (what, value, limit, unit)
        self.loader = None
        self.load = None
        self.account = None
        self.began = None
        self.key = lab.key
        self.names = {name: "wire" for name in self.options["wires"]}  # and where they lead, if not as at the start

    # -- made and removed

    def __enter__(self):
        o = self.options
        os.mkdir(self.directory, 0o755)
        try:
            self.point()
            self.stores = stores.Stores(self.directory, self.lab.template, o["standby"], o["replica"], o["sentinels"])
            self.stores.start()
            self.wire = self._start_wire() if o["wires"] or o["behind"] else None
            settings = dict(o["settings"])
            if "http.idle_timeout" not in settings:
                settings["http.idle_timeout"] = "%dms" % (1000 * o["idle_s"] * nodes.IDLE_RATIO)
            self.image = nodes.Image(self.directory, self.lab.build, settings)
            self.nodes = [self.node(name) for name in net.NODES[:o["nodes"]]]
            self.balancer = balancer.Haproxy(
                self.directory, net.NODES, o["repeats"], o["idle_s"],
                {name: "%s:%d" % (net.address("wire"), port) for name, port in o["behind"].items()})
            self.balancer.start()
            if o["start"]:
                self.start_nodes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        """whatever state it is in; the load first, so that it complains of nothing"""
        for host in ["client", "lb", "wire"] + net.NODES + ["ra", "rb", "pa", "pb"]:
            net.kill_all(host)
        for host in net.NODES + ["pa", "pb", "ra", "rb"]:
            net.mend(host)
        for node in getattr(self, "nodes", ()):
            if node.process is not None:
                node.process.wait()
        net.point()

    def point(self, **names):
        """changed DNS: the names "postgres" and "redis" lead to other hosts from now on, for everybody"""
        self.names.update(names)
        net.point(**self.names)

    def node(self, name, image=None):
        return nodes.Node(self.directory, image or self.image, name)

    def _start_wire(self):
        control = os.path.join(self.directory, "wire.sock")
        links = ["%s=%s:%d=%s:%d" % (name, net.address("wire"), port, net.address(host), port)
                 for name, host, port in [("postgres", self.options["wires"].get("postgres"), 5432),
                                          ("redis", self.options["wires"].get("redis"), stores.REDIS_PORT)] if host]
        links += ["%s=%s:%d=%s:80" % (name, net.address("wire"), port, net.address(name))
                  for name, port in self.options["behind"].items()]
        procs.start("wire", [sys.executable, os.path.join(HERE, "wire.py"), control] + links,
                    os.path.join(self.directory, "wire.log"))
        made = wire.Wire(control)
        wait_for(made.is_there, what="the wire listens")
        return made

    def start_nodes(self, **env):
        """all of them, each with what env has for it, and the load"""
        for node in self.nodes:
            node.start(ready=False, env=env.get(node.name))
        for node in self.nodes:
            node.wait_ready()
        self.wait_balanced(*self.nodes)
        if self.options["rate"]:
            self.start_load()

    # -- load

    def start_load(self):
        path = os.path.join(self.directory, "load")
        with open(path, "ab"):
            pass
        self.load = record.Load(path)
        self.began = time.monotonic()
        argv = [sys.executable, os.path.join(HERE, "load.py"), "--host", net.address("lb"), "--rate",
                str(self.options["rate"]), "--seed", str(self.lab.args.seed), "--record", path]
        self.loader = procs.start(
            "client", argv + (["--keyed"] if self.options["keyed"] else []), os.path.join(self.directory, "load.log"),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LAB_KEY": self.key, "PYTHONDONTWRITEBYTECODE": "1"})
        self.steady()

    def steady(self, seconds=None):
        """The load goes on for about that long: as many more tasks as come in that time are accepted."""
        if self.loader is None:
            return
        count = int((self.lab.args.seconds if seconds is None else seconds) * self.options["rate"] * 0.9)
        goal = len(self.load.follow().accepted()) + count
        self.wait(lambda: len(self.load.follow().accepted()) >= goal, FLOWS_WITHIN_S, "the load goes on")

    def wait(self, condition, at_most, what):
        def met():
            if self.loader is not None and self.loader.poll() is not None:
                raise Hopeless("the load ended" + procs.tail(os.path.join(self.directory, "load.log")))
            return condition()

        return wait_for(met, at_most=at_most, every=0.05, what=what)

    def wait_balanced(self, *those):
        for node in those:
            wait_for(lambda node=node: self.balancer.is_up(node.name), at_most=30, what="HAProxy sees " + node.name)

    def wait_stores(self, *names, those=None, at_most=60):
        """all workers of these nodes have them"""
        for node in those or self.nodes:
            self.wait(lambda node=node: node.has_stores(*names), at_most,
                      "%s has %s" % (node.name, " and ".join(names)))

    def pass_time(self, seconds):
        """a fault lasts: what is waited for is the time itself"""
        until = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= until, seconds + 10, "time passes")

    # -- what is told

    def mark(self, what):
        """Now, by the clock of all records."""
        now = time.monotonic()
        if self.began is not None:
            self.marks.append((round(now - self.began, 2), what))
        return now

    def bound(self, what, value, limit, unit="s"):
        """a promise of this scenario beyond those of all"""
        self.bounds.append((what, round(value, 2) if isinstance(value, float) else value, limit, unit))

    def finish(self):
        """The load ends, all tasks end, and everything is counted."""
        if self.loader is None:
            return
        self.loader.send_signal(signal.SIGTERM)
        wait_for(lambda: self.loader.poll() is not None, at_most=150, what="the load knows all outcomes")
        if self.loader.returncode != 0:
            raise AssertionError("the load failed" + procs.tail(os.path.join(self.directory, "load.log")))
        primary = self.stores.primary

        def open_tasks():
            return primary.value("SELECT count(*) FROM shoal.task WHERE state NOT IN %s", record.FINISHED)

        try:
            wait_for(lambda: open_tasks() == 0, at_most=DRAINS_WITHIN_S, every=0.1, what="all tasks end")
        except AssertionError:
            pass  # they are counted, as unfinished or lost
        starts, ends = record.executions(self.image.executions)
        rows = primary.rows("SELECT t.id, t.state, t.attempt, t.payload, t.result FROM shoal.task t"
                            " JOIN shoal.application a ON a.id = t.app_id WHERE a.name = 'lab'")
        self.account = record.Account(self.load.follow(), starts, ends, rows)

    def leave(self):
        """nodes that still run end in good order, and their logs are clean"""
        running = [node for node in self.nodes if node.expected and node.process is not None]
        gone = [node.name for node in running if not net.pids(node.name)]
        for node in running:
            if node.name not in gone:
                node.stop(signal.SIGINT)
        for node in running:
            if node.name not in gone:
                node.wait_gone()
        complaints = ["%s has ended by itself" % name for name in gone]
        for node in self.nodes:
            complaints += ["%s: %s" % (node.name, line[:300]) for line in node.dirt()[:5]]
        return complaints

    def verdict(self, failures_allowed):
        """What the table shows, as a dictionary; "faults" is empty when all promises were kept."""
        found = {"name": self.name, "seed": self.lab.args.seed, "marks": self.marks, "faults": [],
                 "bounds": [dict(zip(("what", "value", "limit", "unit"), b)) for b in self.bounds]}
        faults = found["faults"]
        for what, value, limit, unit in self.bounds:
            if value > limit:
                faults.append("%s: %s %s, promised %s" % (what, value, unit, limit))
        a = self.account
        if a is None:
            return found
        kinds = collections.Counter(kind for _, kind in a.failures())
        longest, when = a.pause()
        found.update(
            requests=a.requests(), failures=sum(kinds.values()), failures_by_kind=dict(kinds), tasks=len(a.rows),
            accepted=len(a.accepted), lost=len(a.lost()), again=a.again(), pause_s=round(longest, 3),
            pause_ended_s=when and round(when - self.began, 2), slowest_start_s=round(a.slowest_start(), 3),
            machine_stalls=len(a.load.stalls), machine_stall_s=round(max(a.load.stalls + [0.0]), 3),
            failed_at=[[round(at - self.began, 2), kind] for at, kind in a.failures()[:50]])
        for name in a.FAULTS:
            wrong = getattr(a, name)()
            if wrong:
                faults.append("%s: %d, as %s" % (name.replace("_", " "), len(wrong), wrong[:3]))
        if kinds and not failures_allowed:
            faults.append("%d failed requests: %s; promised none" % (
                sum(kinds.values()), ", ".join("%s %d" % k for k in kinds.most_common(4))))
        if not a.accepted:
            faults.append("no task was accepted: nothing was tested")
        return found

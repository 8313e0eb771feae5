# SPDX-License-Identifier: BSD-2-Clause
"""What is done to the cluster under load, and what it promised.

A scenario is a generator: it acts while the load runs; after its yield the load is over, everything is
counted in s.account, and it says the bounds that it knows.  What is promised of all is in record.py: nothing lost,
nothing made up, one task for each submit, no attempt begun twice, one outcome that stays.
"""

import collections
import concurrent.futures
import http.client
import json
import os
import signal
import stat
import time

from . import net, nodes, stores
from .load import Caller, Failure
from .scene import Skip, make_key

Scenario = collections.namedtuple("Scenario", "name promise failures options play")
ALL = []

# DESIGN.md, section 2
REDIS_BACK_S = 5
NODE_LOST_S = 30
WORKER_KILLED_S = 1
ALONE_S = 5
# what is not written there: an open connection to a lost host is given up, and a new one made
REFUSES_S = 2  # a Redis that refuses, or is slow: nobody waits for it
POSTGRES_BACK_S = 5
POSTGRES_CUT_S = 15
REJOINS_S = 10
PLANNED_WAIT_S = 2  # no request fails, and no task waits as if a node were lost
NODES_HOSTS = ["pa", "pb", "ra", "rb"]
REPEATS = 20  # of reload and upgrade


def scenario(name, promise, failures=False, **options):
    """failures: whether requests may fail while it is played"""

    def register(play):
        ALL.append(Scenario(name, promise, failures, options, play))
        return play

    return register


def back(s, at, *names, limit):
    """all workers have these stores again, counted from a mark"""
    s.wait_stores(*names, at_most=limit + 60)
    s.bound("all workers have %s again" % " and ".join(names), time.monotonic() - at, limit)


# --------------------------------------------------------------------- planned change


def nobody_waited(s):
    """how a planned change ends"""
    s.steady()
    yield
    s.bound("an accepted task's longest wait", s.account.slowest_start(), PLANNED_WAIT_S)


@scenario("reload", "%d reloads: no request fails" % REPEATS)
def reload(s):
    for i in range(REPEATS):
        node = s.nodes[i % len(s.nodes)]
        old = set(node.worker_pids())
        s.image.write(tasks__max_attempts=10 + i)
        node.send(signal.SIGHUP)
        s.mark("HUP to " + node.name)
        s.wait(lambda node=node, old=old: node.is_connected() and not old & set(node.worker_pids()), 60,
               "%s has new workers" % node.name)
    yield from nobody_waited(s)


def upgrade_one(s, node):
    """USR2; returns when the new master serves alone"""
    old = node.pid
    node.send(signal.SIGUSR2)
    s.mark("USR2 to " + node.name)

    def taken_over():
        return node.pid != old and node.is_connected() and old not in net.pids(node.name)

    s.wait(taken_over, 90, "%s has a new master" % node.name)


def needs_upgrade(s):
    with open(s.image.shoald, "rb") as f:
        if b"upgrading in place is not supported" in f.read():
            raise Skip("this shoald has no upgrade in place")


@scenario("upgrade", "%d upgrades in place: no request fails" % REPEATS)
def upgrade(s):
    needs_upgrade(s)
    for i in range(REPEATS):
        s.image.install(s.lab.build)
        upgrade_one(s, s.nodes[i % len(s.nodes)])
    yield from nobody_waited(s)


@scenario("upgrade-broken", "a program that does not start changes nothing: no request fails")
def upgrade_broken(s):
    needs_upgrade(s)
    node = s.rng.choice(s.nodes)
    with open(s.image.shoald + ".new", "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexit 1\n")
    os.chmod(f.name, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    os.rename(f.name, s.image.shoald)
    old, workers = node.pid, set(node.worker_pids())
    node.send(signal.SIGUSR2)
    s.mark("USR2 to %s, with a broken program" % node.name)
    s.pass_time(3)
    s.image.install(s.lab.build)
    s.wait(lambda: node.pid == old and node.is_connected(), 90, "%s goes on" % node.name)
    s.bound("workers replaced", len(workers - set(node.worker_pids())), 0, "of them")
    upgrade_one(s, node)
    s.steady()
    yield


def restart(s, node):
    node.stop()
    s.mark("TERM to " + node.name)
    node.wait_gone()
    node.start()
    s.wait_balanced(node)


@scenario("rolling-restart", "all nodes restarted in turn: no request fails")
def rolling_restart(s):
    for node in s.nodes:
        restart(s, node)
        s.steady(1)
    yield from nobody_waited(s)


@scenario("scale", "3 nodes, 1, 4: no request fails")
def scale(s):
    for node in s.nodes[1:]:
        node.stop()
    s.mark("TERM to all but one")
    for node in s.nodes[1:]:
        node.wait_gone()
    s.steady()
    s.nodes.append(s.node(net.NODES[len(s.nodes)]))
    for node in s.nodes[1:]:
        node.start(ready=False)
    s.mark("three nodes started")
    for node in s.nodes[1:]:
        node.wait_ready()
    s.wait_balanced(*s.nodes)
    yield from nobody_waited(s)


@scenario("old-beside-new", "nodes of an older version replaced one by one: no request fails", start=False, nodes=0)
def old_beside_new(s):
    if s.lab.old is None:
        raise Skip("no older version: no tag, and no --old REF")
    older = nodes.Image(s.directory, s.lab.old, {}, name="old")
    s.nodes = [s.node(name, older) for name in net.NODES[:3]]
    for node in s.nodes:
        node.start()
    s.wait_balanced(*s.nodes)
    s.start_load()
    for node in s.nodes:
        node.stop()
        node.wait_gone()
        node.image = s.image
        node.start()
        s.mark("%s is new" % node.name)
        s.wait_balanced(node)
        s.steady()
    # and one back again: a rollback
    node.stop()
    node.wait_gone()
    node.image = older
    node.start()
    s.mark("%s is old again" % node.name)
    s.wait_balanced(node)
    yield from nobody_waited(s)


# --------------------------------------------------------------------- Redis


def redis_returns(s, at, pause_s=REDIS_BACK_S):
    """the end of a scenario in which Redis lost everything, from the time when its name leads to one that can be written"""
    back(s, at, "redis", limit=REDIS_BACK_S)
    s.steady()
    yield
    s.bound("an accepted task's longest wait from then on", s.account.slowest_start(after=at), REDIS_BACK_S)
    s.bound("longest pause of dispatch", s.account.pause()[0], pause_s)


@scenario("redis-dns", "primary killed, replica promoted, name changed: dispatch within 5 s, no request fails",
          replica=True)
def redis_dns(s):
    s.stores.ra.kill()
    s.mark("ra is gone")
    s.pass_time(2)
    s.stores.rb.promote()
    s.point(redis="rb")
    at = s.mark("redis is rb")
    yield from redis_returns(s, at)


@scenario("redis-sentinel", "primary killed, sentinels elect: dispatch within 5 s, no request fails", sentinels=True,
          start=False)
def redis_sentinel(s):
    if "sentinel_master" not in nodes.help_of(s.lab.build, "--help-settings"):
        raise Skip("this shoald does not ask sentinels")
    s.image.write(redis__sentinels=", ".join("%s:%d" % (host, stores.SENTINEL_PORT) for host in stores.SENTINELS),
                  redis__sentinel_master=stores.SENTINEL_NAME)
    s.start_nodes()
    s.stores.ra.kill()
    s.mark("ra is gone, one sentinel with it")
    s.wait(s.stores.rb.is_primary, 30, "the sentinels have elected rb")
    at = s.mark("rb is primary")
    yield from redis_returns(s, at)


@scenario("redis-lagging", "a replica that was cut off 5 s before is promoted: dispatch within 5 s, no request fails",
          replica=True)
def redis_lagging(s):
    net.cut("rb", ["ra"])
    s.mark("rb does not hear ra any more")
    s.pass_time(5)
    s.stores.ra.kill()
    s.mark("ra is gone")
    net.mend("rb")
    s.stores.rb.promote()
    s.point(redis="rb")
    at = s.mark("redis is rb")
    yield from redis_returns(s, at)


@scenario("redis-readonly", "roles exchanged, the name follows 3 s later: dispatch within 5 s, no request fails",
          replica=True)
def redis_readonly(s):
    s.stores.rb.promote()
    s.stores.ra.follow(s.stores.rb)
    s.mark("ra is a replica of rb")
    s.pass_time(3)
    s.point(redis="rb")
    at = s.mark("redis is rb")
    yield from redis_returns(s, at, REFUSES_S)


@scenario("redis-flushed", "FLUSHALL each second: dispatch goes on, no request fails")
def redis_flushed(s):
    for _ in range(8):
        s.stores.ra.ask("FLUSHALL")
        at = s.mark("FLUSHALL")
        s.pass_time(1)
    yield from redis_returns(s, at)


@scenario("redis-evicting", "keys of ours are evicted at random: dispatch goes on, no request fails")
def redis_evicting(s):
    used = s.stores.ra.ask("INFO", "memory")["used_memory"]
    s.stores.ra.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    s.stores.ra.ask("CONFIG", "SET", "maxmemory", str(used + (1 << 20)))
    s.mark("memory is short")
    for i in range(40):
        for j in range(10):
            s.stores.ra.ask("SET", "filling-%d-%d" % (i, j), "x" * 50000)
        s.pass_time(0.2)
    s.bound("keys evicted at least, missing", max(0, 100 - s.stores.ra.ask("INFO", "stats")["evicted_keys"]), 0,
            "keys")
    s.stores.ra.ask("CONFIG", "SET", "maxmemory", "0")
    at = s.mark("memory is back")
    yield from redis_returns(s, at)


@scenario("redis-full", "no memory, writes are refused: tasks run all the same, no request fails")
def redis_full(s):
    s.stores.ra.ask("CONFIG", "SET", "maxmemory", "1")
    s.mark("all writes are refused")
    s.pass_time(8)
    s.stores.ra.ask("CONFIG", "SET", "maxmemory", "0")
    at = s.mark("memory is back")
    yield from redis_returns(s, at, REFUSES_S)


@scenario("redis-slow", "a second late, then silent with all open: answers within 1 s, no request fails",
          wires={"redis": "ra"})
def redis_slow(s):
    began = s.mark("a second each way")
    s.wire.tell("redis", delay_ms=1000)
    s.pass_time(6)
    s.wire.tell("redis", heal=True, stalled=["to_server", "to_client"])
    s.mark("silent")
    s.pass_time(8)
    s.wire.tell("redis", heal=True)
    at = s.mark("healed")
    yield from redis_returns(s, at, REFUSES_S)
    s.bound("slowest answer to a submit", s.account.slowest_answer(began, at), 1.0)


@scenario("redis-torn", "each connection reset in the middle of an answer: no request fails", wires={"redis": "ra"})
def redis_torn(s):
    s.wire.tell("redis", cut={"to_client": 3}, every_cut=37)
    s.mark("torn")
    s.pass_time(10)
    at = s.mark("healed")
    resets = s.wire.tell("redis", heal=True)["resets"]
    s.bound("connections torn at least, missing", max(0, 20 - resets), 0, "connections")
    yield from redis_returns(s, at)


# --------------------------------------------------------------------- PostgreSQL


def postgres_is_back(s, at, limit=POSTGRES_BACK_S):
    s.bound("an accepted task's longest wait from then on", s.account.slowest_start(after=at), limit)


def postgres_returns(s, at):
    """the end of a scenario from which PostgreSQL is there again"""
    back(s, at, "database", limit=POSTGRES_BACK_S)
    s.steady()
    yield
    postgres_is_back(s, at)


@scenario("postgres-restart", "restarted in order, then crashed: dispatch within 5 s of each", failures=True)
def postgres_restart(s):
    marks = []
    for mode in ("fast", "immediate"):
        s.stores.pa.stop(mode)
        s.mark("PostgreSQL ends, " + mode)
        s.stores.pa.start()
        marks.append(s.mark("PostgreSQL answers"))
        back(s, marks[-1], "database", limit=POSTGRES_BACK_S)
        s.steady()
    yield
    for at in marks:
        postgres_is_back(s, at)


@scenario("postgres-promoted", "primary killed, synchronous standby promoted, name changed: dispatch within 5 s",
          failures=True, standby=True)
def postgres_promoted(s):
    s.stores.pa.kill()
    s.mark("pa is gone")
    s.pass_time(2)
    s.stores.pb.promote()
    s.stores.primary = s.stores.pb
    s.point(postgres="pb")
    at = s.mark("postgres is pb")
    yield from postgres_returns(s, at)


@scenario("postgres-cut",
          "primary cut off and alive, standby promoted, name changed: dispatch within %d s; the old one's return changes nothing"
          % POSTGRES_CUT_S, failures=True, standby=True)
def postgres_cut(s):
    net.cut("pa", ["pb", "client"] + net.NODES)
    s.mark("pa hears nobody")
    s.pass_time(2)
    s.stores.pb.promote()
    s.stores.primary = s.stores.pb
    s.point(postgres="pb")
    # a worker does not know yet that its connections are dead: what tells is whether tasks run
    at = s.mark("postgres is pb")
    s.steady()
    net.mend("pa")
    s.mark("pa is reached again")
    s.steady()
    yield
    postgres_is_back(s, at, POSTGRES_CUT_S)


@scenario("postgres-torn", "each connection reset in the middle of an answer, then whole: dispatch within 5 s",
          failures=True, wires={"postgres": "pa"})
def postgres_torn(s):
    s.wire.tell("postgres", cut={"to_client": 5}, every_cut=211)
    s.mark("torn")
    s.pass_time(10)
    resets = s.wire.tell("postgres", heal=True)["resets"]
    at = s.mark("healed")
    s.bound("connections torn at least, missing", max(0, 20 - resets), 0, "connections")
    yield from postgres_returns(s, at)


@scenario("postgres-slow", "0.1 s late each way on a narrow wire: no request fails", wires={"postgres": "pa"})
def postgres_slow(s):
    s.wire.tell("postgres", delay_ms=100, bytes_per_s=2000000)
    s.mark("slow")
    s.steady()
    s.wire.tell("postgres", heal=True)
    at = s.mark("healed")
    s.steady(2)
    yield
    postgres_is_back(s, at)


# --------------------------------------------------------------------- nodes


def partition(name, peers, how, seconds, failures):
    what = {"drop": "silently", "reject": "loudly"}[how]

    @scenario("part-%s-%s" % (name, how),
              "one node cut off %s from %s for %d s: its tasks elsewhere within %d s, back within %d s%s" % (
                  what, name.replace("both", "both stores"), seconds, NODE_LOST_S, REJOINS_S,
                  "" if failures else ", no request fails"), failures=failures)
    def play(s):
        node = s.rng.choice(s.nodes)
        net.cut(node.name, peers, how)
        cut = s.mark("%s is cut off" % node.name)
        s.pass_time(seconds)
        net.mend(node.name)
        healed = s.mark("healed")
        back(s, healed, "database", "redis", limit=REJOINS_S)
        s.steady()
        yield
        s.bound("last of its tasks began again after", s.account.slowest_again(cut), NODE_LOST_S)
        s.bound("longest pause of dispatch", s.account.pause()[0], REDIS_BACK_S)


for _how in ("drop", "reject"):
    partition("redis", ["ra"], _how, 8, False)
    # longer than the dead take to be called so
    partition("postgres", ["pa"], _how, 16, True)
    partition("both", ["ra", "pa"], _how, 16, True)


@scenario("flapping", "one node loses both stores every other second, twelve times: back within %d s, nothing grows" % REJOINS_S,
          failures=True)
def flapping(s):
    node = s.rng.choice(s.nodes)
    files, memory = node.files(), node.private_kib()
    for i in range(12):
        net.cut(node.name, ["ra", "pa"], ("drop", "reject")[i % 2])
        s.mark("%s is cut off" % node.name)
        s.pass_time(1)
        net.mend(node.name)
        at = s.mark("healed")
        s.pass_time(1)
    back(s, at, "database", "redis", limit=REJOINS_S)
    s.steady()
    s.bound("open files more than before", node.files() - files, 40, "files")
    s.bound("memory more than before", (node.private_kib() - memory) // 1024, 16, "MiB")
    yield
    s.bound("longest pause of dispatch", s.account.pause()[0], REDIS_BACK_S)


@scenario("node-killed", "all of a node at once: its tasks elsewhere within %d s" % NODE_LOST_S, failures=True)
def node_killed(s):
    node = s.rng.choice(s.nodes)
    at = s.mark("%s is gone" % node.name)
    node.kill()
    s.wait(lambda: s.balancer.is_down(node.name), 30, "HAProxy sees that")
    s.steady()
    s.wait(lambda: not lost_running(s, node), NODE_LOST_S + 30, "its tasks are recovered")
    node.start()
    s.mark("%s starts again" % node.name)
    s.wait_balanced(node)
    s.steady()
    yield
    s.bound("last of its tasks began again after", s.account.slowest_again(at), NODE_LOST_S)
    s.bound("longest pause of dispatch", s.account.pause()[0], REDIS_BACK_S)


def lost_running(s, node):
    """tasks that are running since before the node was lost: none takes longer than 3 s"""
    del node
    return s.stores.primary.value(
        "SELECT count(*) FROM shoal.task WHERE state = 2 AND started_at < clock_timestamp() - interval '5 s'")


@scenario("node-frozen", "all of a node stopped for 16 s, then thawed: its tasks elsewhere within %d s, no outcome of it counts"
          % NODE_LOST_S, failures=True)
def node_frozen(s):
    node = s.rng.choice(s.nodes)
    at = s.mark("%s is frozen" % node.name)
    node.freeze()
    s.pass_time(16)
    node.thaw()
    thawed = s.mark("%s is thawed" % node.name)
    back(s, thawed, "database", "redis", limit=2 * REJOINS_S)
    s.wait_balanced(node)
    s.steady()
    yield
    s.bound("last of its tasks began again after", s.account.slowest_again(at), NODE_LOST_S)
    s.bound("longest pause of dispatch", s.account.pause()[0], REDIS_BACK_S)


@scenario("worker-killed", "six workers killed one by one: their tasks again within %d s of each" % WORKER_KILLED_S,
          failures=True)
def worker_killed(s):
    marks = []
    for _ in range(6):
        node = s.rng.choice(s.nodes)
        pid = s.rng.choice(node.worker_pids())
        marks.append(s.mark("a worker of %s is killed" % node.name))
        os.kill(pid, signal.SIGKILL)
        s.wait(lambda node=node, pid=pid: pid not in node.worker_pids() and node.is_connected(), 30,
               "%s has another" % node.name)
        s.steady(2)
    s.steady()
    yield
    for at, until in zip(marks, marks[1:] + [time.monotonic()]):
        s.bound("last of its tasks began again after", s.account.slowest_again(at, until, alone=False), WORKER_KILLED_S)
        s.bound("last of those of two crashes began alone after", s.account.slowest_again(at, until, alone=True), ALONE_S)
    s.bound("longest pause of dispatch", s.account.pause()[0], WORKER_KILLED_S)


@scenario("wrong-clock", "one node's clock is an hour ahead: delays are right within 1 s, no request fails", start=False)
def wrong_clock(s):
    fake = {"LD_PRELOAD": nodes.faketime(), "FAKETIME": "+3600s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    odd = s.nodes[1]
    s.start_nodes(**{odd.name: fake})
    s.mark("the clock of %s is an hour ahead" % odd.name)
    asked = {}
    for i, node in enumerate(s.nodes * 2):
        n = 10 ** 9 + i
        s.load.others.add(n)
        caller = Caller(net.address(node.name), 80, s.key)
        body = json.dumps({"type": "lab.work", "payload": {"n": n, "ms": 0}, "delay": 3})
        began = time.monotonic()
        status, answer = caller.ask("POST", "/v1/tasks", body)
        caller.close()
        assert status == 201, (status, answer)
        asked[answer["id"]] = began
    s.steady()
    s.pass_time(3)
    yield
    starts = [s.account.first_start.get(id_, began + 99) - began for id_, began in asked.items()]
    s.bound("longest of six delays of 3 s", max(starts), 4)
    s.bound("shortest, missing", max(0.0, 3 - min(starts)), 0.05)


@scenario("same-image", "ten nodes of one image at once on an empty database: ten ids, ready within %d s, no request fails"
          % NODE_LOST_S, start=False, nodes=10, settings={"node.workers": 1})
def same_image(s):
    s.stores.pa.rows("DROP DATABASE lab", database="postgres")
    s.stores.pa.rows("CREATE DATABASE lab", database="postgres")
    at = s.mark("ten nodes start")
    for node in s.nodes:
        node.start(ready=False)
    for node in s.nodes:
        node.wait_ready(NODE_LOST_S + 60)
    s.bound("all ten are ready", time.monotonic() - at, NODE_LOST_S)
    found = s.stores.pa.value(
        "SELECT count(DISTINCT left(replace(id::text, '-', ''), 12)) FROM shoal.incarnation WHERE state = 0")
    s.bound("ids that are not alone", abs(len(s.nodes) - found), 0, "ids")
    s.key = make_key(s.stores.pa)
    s.wait_balanced(*s.nodes)
    s.start_load()
    yield from nobody_waited(s)


# --------------------------------------------------------------------- the balancer


@scenario("balancer-repeats", "answers cut off and workers killed: what the balancer repeats makes one task",
          failures=True, repeats=True, keyed=True, behind={"n1": 8001})
def balancer_repeats(s):
    for _ in range(8):
        # at the first byte of the answer: the commit is behind it.  HAProxy repeats after FIN, and not after RST,
        # which a killed worker also sends if it had not read all: so requests may fail
        s.wire.tell("n1", cut={"to_client": 0}, orderly=True)
        s.mark("answers of n1 are cut off")
        s.pass_time(0.3)
        s.wire.tell("n1", heal=True)
        s.pass_time(0.7)
    resets = s.wire.tell("n1")["resets"]
    s.bound("answers cut off at least, missing", max(0, 5 - resets), 0, "answers")
    s.bound("requests repeated at least, missing", max(0, 3 - s.balancer.repeated()), 0, "requests")
    for _ in range(6):
        node = s.rng.choice(s.nodes)
        os.kill(s.rng.choice(node.worker_pids()), signal.SIGKILL)
        s.mark("a worker of %s is killed" % node.name)
        s.wait(node.is_connected, 30, "%s has another" % node.name)
    s.steady()
    yield


IDLE_S = 3


@scenario("idle-connections", "a kept connection is good past the balancer's limit, and closed by the node only after its own",
          rate=0, idle_s=IDLE_S, settings={"http.idle_timeout": "%dms" % (1000 * IDLE_S * nodes.IDLE_RATIO)})
def idle_connections(s):
    limit = IDLE_S * nodes.IDLE_RATIO
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        raw = [pool.submit(hold, s, node.name, IDLE_S + (limit - IDLE_S) * share)
               for node in s.nodes for share in (0.1, 0.5, 0.7)]
        # through the balancer: the client's connections are new, those to nodes are what the balancer has kept
        kept = [pool.submit(ask_again, s, gap) for gap in (1.0, 0.9 * IDLE_S, IDLE_S, 1.1 * IDLE_S, limit, 1.1 * limit)]
        failed = sum(f.result() for f in kept)
        closed = [f.result() for f in raw]
    s.bound("requests through the balancer that failed", failed, 0, "requests")
    s.bound("earliest close by a node, missing", max(0.0, limit - 0.05 - min(closed)), 0)
    s.bound("latest close by a node", max(closed), limit + 2)
    yield


def ask_again(s, gap):
    """failures of eight requests that far apart"""
    caller, failed = Caller(net.address("lb"), 80, s.key), 0
    for _ in range(8):
        try:
            status, _ = caller.ask("POST", "/v1/tasks", json.dumps(
                {"type": "lab.work", "payload": {"n": 1, "ms": 0}}))
            failed += status != 201
        except Failure:
            failed += 1
        caller.close()
        time.sleep(gap)
    return failed


def hold(s, name, idle_s):
    """a request after that long on a kept connection, straight to the node; seconds until it closes then"""
    connection = http.client.HTTPConnection(net.address(name), 80, timeout=30)
    connection.connect()
    for pause in (0, idle_s):
        time.sleep(pause)
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200 and not answer.will_close, "%s: %d" % (name, answer.status)
    began = time.monotonic()
    assert connection.sock.recv(1) == b""  # an orderly end, no reset
    connection.close()
    return time.monotonic() - began


QUICK = ("redis-dns", "postgres-promoted")

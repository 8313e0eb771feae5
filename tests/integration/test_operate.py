# SPDX-License-Identifier: BSD-2-Clause
"""What an operator does, or does wrong, costs no request and no task."""

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid

import pytest
import requests
from shoaltest import apps, process, stores
from shoaltest.client import Client
from shoaltest.node import DIRTY, program, program_env
from shoaltest.record import Recorder
from shoaltest.waits import stays, wait_for

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../conf/schema")
ALL_STEPS = sorted(int(f.split("-")[0]) for f in os.listdir(SCHEMA) if f.endswith(".sql"))


class Traffic:
    """Submits to one node from several threads: half on kept connections, half on new ones.

    A kept connection may be closed by the node while it is idle; a client that finds it so
    tries again on a new one, once, as every HTTP client does.
    """

    def __init__(self, url, key, threads=4):
        self.url = url + "/v1/tasks"
        self.headers = {"Authorization": "Bearer " + key}
        self.accepted = []
        self.failures = []
        self.reopened = 0
        self._stop = threading.Event()
        self._may_open = threading.Event()
        self._may_open.set()
        self._threads = [
            threading.Thread(target=self._run, args=(n, n % 2 == 0)) for n in range(threads)
        ]

    def __enter__(self):
        for t in self._threads:
            t.start()
        wait_for(lambda: len(self.accepted) > 20, what="traffic flows")
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for t in self._threads:
            t.join()

    def open_no_more(self):
        """The balancer has taken the node out: what is open ends, nothing new begins."""
        self._may_open.clear()

    def flows(self, count=50):
        before = len(self.accepted)
        wait_for(lambda: len(self.accepted) >= before + count, at_most=20, what="traffic flows")

    def _run(self, number, keeps):
        kept = None
        for n in itertools.count():
            if self._stop.is_set():
                break
            used = kept is not None
            if not used and not self._may_open.is_set():
                self._stop.wait(0.02)
                continue
            session = kept or requests.Session()
            session.trust_env = False
            kept = self._submit(session, used, [number, n])
            if kept is not None and not keeps:
                kept.close()
                kept = None
        if kept is not None:
            kept.close()

    def _submit(self, session, used, payload):
        """The session, if its connection may be used again."""
        try:
            answer = session.post(
                self.url, headers=self.headers, timeout=20,
                json={"type": "shoal.echo", "payload": payload},
            )
        except requests.ConnectionError as e:
            session.close()
            if used:
                self.reopened += 1
            else:
                self.failures.append(repr(e))
            return None
        if answer.status_code == 201:
            self.accepted.append(answer.json()["id"])
        else:
            self.failures.append("%d %s" % (answer.status_code, answer.text[:200]))
        if answer.headers.get("Connection", "").lower() == "close":
            session.close()
            return None
        return session


def all_succeed(db, ids, at_most=30):
    """Every one of them; what a leaving worker had claimed and not begun went back at no cost."""

    def left():
        states = dict(db.rows("SELECT id::text, state FROM shoal.task"))
        missing = [id for id in ids if states.get(id) != 3]
        return not missing or None

    wait_for(left, at_most=at_most, what="every accepted task succeeds", every=0.2)
    assert db.value("SELECT max(failures) FROM shoal.task") == 0


def generation(node):
    status = node.status()
    return (status["generation"], status["state"], len(status["workers"]))


# --------------------------------------------------------------------- start


def run_to_its_end(node, at_most=30):
    """Exit status and log of a node that is expected to refuse."""
    node.start(ready=None)
    try:
        return node.proc.wait(at_most), node.log()
    except subprocess.TimeoutExpired:
        raise AssertionError("it goes on:\n" + node.log()[-2000:]) from None


def test_nodes_that_start_at_once_on_an_empty_database_all_serve(make_node, postgres, redis):
    for turn in range(5):
        database = stores.Database(postgres, "start%d" % turn)
        values = {
            "cluster.name": database.name, "database.url": database.url(),
            "redis.url": redis.url(), "node.workers": 1,
        }
        nodes = [make_node(dict(values)) for _ in range(4)]
        try:
            for node in nodes:
                node.start(ready=None)
            for node in nodes:
                node.start_wait("stores")
            steps = database.rows("SELECT step FROM shoal.schema_step ORDER BY step")
            assert [s for (s,) in steps] == ALL_STEPS
            assert database.value("SELECT count(*) FROM shoal.cluster") == 1
            key = apps.make_key(database, "test")
            for node in nodes:
                assert Client(node.url, key).run("shoal.echo", turn)["result"] == turn
                assert "helper failed" not in node.log()
        finally:
            for node in nodes:
                node.send(signal.SIGINT)
            for node in nodes:
                node.proc.wait(20)
            database.drop()


def test_a_newer_schema_is_refused_with_a_word_about_what_to_do(make_node, db, redis):
    db.rows("INSERT INTO shoal.schema_step (step, name, program) VALUES (9999, 'later', '99.0')")
    db.rows("UPDATE shoal.schema_floor SET step = 9999 RETURNING 1")
    node = make_node(
        {"cluster.name": db.name, "database.url": db.url(), "redis.url": redis.url()}
    )
    status, log = run_to_its_end(node)
    assert status not in (0, None)
    assert "step 9999" in log and "upgrade this node" in log
    assert db.value("SELECT count(*) FROM shoal.incarnation") == 0


def test_a_database_of_another_cluster_is_refused(make_node, db, redis):
    node = make_node(
        {"cluster.name": "another", "database.url": db.url(), "redis.url": redis.url()}
    )
    status, log = run_to_its_end(node)
    assert status not in (0, None)
    assert db.name in log and "another" in log
    assert db.value("SELECT name FROM shoal.cluster") == db.name


def test_a_redis_of_another_database_is_not_popped_while_tasks_still_run(
    cluster, db, redis, key
):
    other = "%s:7" % uuid.uuid4()
    epoch, dispatch = "shoal:%s:epoch" % db.name, "shoal:%s:dispatch:main" % db.name
    theirs = "%s/1/1" % uuid.uuid4()
    with contextlib.closing(redis.client()) as r:
        r.set(epoch, other)
        r.rpush(dispatch, theirs)
        (node,) = cluster(1, ready="health")
        client = Client(node.url, key)
        made = [t["id"] for t in client.batch([{"type": "shoal.echo", "payload": 1}] * 20)]
        for id in made:
            assert client.wait(id)["attempt"] == 1
        node.wait_log("belongs to another database")
        assert not any(w["redis_up"] for w in node.workers())
        assert r.lrange(dispatch, 0, -1) == [theirs] and r.get(epoch) == other
        # the mistake is mended: nothing has to be restarted
        r.delete(epoch, dispatch)
        wait_for(node.is_connected, what="redis is used again")
        assert client.run("shoal.echo", 2)["result"] == 2
        # and made again under running workers
        wait_for(lambda: r.get(epoch))
        r.set(epoch, other)
        r.client_kill_filter(_type="normal", skipme=True)
        wait_for(lambda: not any(w["redis_up"] for w in node.workers()), what="noticed")
        r.rpush(dispatch, theirs)
        assert client.run("shoal.echo", 3)["result"] == 3
        assert r.lrange(dispatch, 0, -1) == [theirs]


# --------------------------------------------------------------------- workers


def test_signals_that_were_ignored_by_who_started_it_are_obeyed(make_node, db, redis):
    node = make_node({"cluster.name": db.name, "database.url": db.url(), "redis.url": redis.url()})
    # as a shell script leaves INT in what it starts behind itself
    node.wrap = ["env", "--ignore-signal=INT,HUP,CHLD"]
    node.start()
    killed = node.kill_worker()
    wait_for(lambda: killed not in node.worker_pids() and node.is_connected(), what="a successor")
    node.send(signal.SIGHUP)
    node.wait_log("generation=2")
    assert node.stop(signal.SIGINT) == 0


def test_a_worker_that_dies_at_once_is_started_with_growing_pauses(cluster, key):
    (node,) = cluster(1, node__workers=1)
    pid, seen = None, 0
    for _ in range(7):
        pid = wait_for(
            lambda: next((p for p in process.children_of(node.pid)
                          if p != pid and process.title(p).startswith("shoald: worker")), None),
            what="a successor", every=0.002,
        )
        seen += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not process.alive(pid), every=0.002)
    wait_for(lambda: node.log().count("worker ended") >= seen)
    worker = node.workers()[0]
    assert worker["restarts"] == seen
    assert "SIGKILL" in worker["last_reason"] and worker["last_ended_at"]
    pauses = [int(p) for p in re.findall(r"successor_in_ms=(\d+)", node.log())]
    print("pauses in ms:", pauses)
    # the first had lived; from the second young death on each pause is twice the one before
    young = [p for p in pauses if p > 0]
    assert len(young) >= 4
    assert young == [100 * 2**n for n in range(len(young))]
    wait_for(node.is_connected, at_most=30)
    assert Client(node.url, key).run("shoal.noop")["state"] == "succeeded"


def test_a_broken_file_changes_nothing_and_the_log_names_the_line(cluster, db, key):
    (node,) = cluster(1)
    pids = node.worker_pids()
    with open(node.conf) as f:
        good = f.read()
    broken = {
        "an unknown key": ("[node]\nworkerz = 3\n", "workerz"),
        "a bad value": ("[node]\nworkers = many\n", "workers"),
        "no section": ("workers = 1\n[node]\n", ""),
        "out of range": ("[node]\nworkers = 1000\n", "workers"),
    }

    def refusals():
        return [s for s in node.log().splitlines() if "reload refused" in s]

    with Traffic(node.url, key, threads=2) as traffic:
        for count, (what, (text, word)) in enumerate(broken.items(), 1):
            with open(node.conf, "w") as f:
                f.write(good + text)
            line = good.count("\n") + (2 if text.startswith("[") else 1)
            node.send(signal.SIGHUP)
            wait_for(lambda: len(refusals()) == count, what=what)
            refusal = refusals()[-1]
            assert word in refusal, refusal
            assert re.search(r"%s:%d\b|line %d\b" % (re.escape(node.conf), line, line), refusal), (
                line, refusal,
            )
        # the file is gone altogether
        os.unlink(node.conf)
        node.send(signal.SIGHUP)
        wait_for(lambda: len(refusals()) == len(broken) + 1)
        with open(node.conf, "w") as f:
            f.write(good)
        traffic.flows()
    status = node.status_by_program()
    assert node.worker_pids() == pids and status["generation"] == 1
    assert status["reload_failures"] == len(broken) + 1
    assert not traffic.failures
    all_succeed(db, traffic.accepted)


def test_a_reload_replaces_the_workers_and_fails_no_request(cluster, db, key):
    (node,) = cluster(1, node__max_requests=0)
    with Traffic(node.url, key) as traffic:
        for turn in range(4):
            old = set(node.worker_pids())
            node.write_conf(tasks__max_attempts=10 + turn)
            node.send(signal.SIGHUP)
            wait_for(
                lambda: generation(node) == (2 + turn, "running", 2)
                and not old & set(node.worker_pids()),
                at_most=40, what="new workers",
            )
            traffic.flows()
        assert Client(node.url, key).submit("shoal.noop")["max_attempts"] == 13
    print("%d requests, %d kept connections opened again" % (len(traffic.accepted), traffic.reopened))
    assert not traffic.failures, traffic.failures[:5]
    all_succeed(db, traffic.accepted)


def test_a_reload_waits_for_the_request_and_the_command_that_are_under_way(
    cluster, key, nodedir
):
    recorder = Recorder(nodedir, "held", "while [ ! -e $dir/go ]; do sleep 0.05; done; echo 1")
    (node,) = cluster(1, node__shutdown_timeout="20s", settings=recorder.settings())
    client = Client(node.url, key)
    running = client.submit("held")["id"]
    wait_for(recorder.starts, what="the command runs")
    body = b'{"type": "shoal.echo", "payload": 1}'
    head = (
        "POST /v1/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (key, len(body))
    ).encode()
    old = set(node.worker_pids())
    with contextlib.ExitStack() as stack:
        halves = []
        for cut in (1, len(head) - 2, len(head), len(head) + 5):
            s = stack.enter_context(
                socket.create_connection(("127.0.0.1", node.app_port), timeout=20)
            )
            s.sendall((head + body)[:cut])
            halves.append((s, cut))
        wait_for(lambda: sum(w["http_connections"] for w in node.workers()) >= len(halves))
        node.send(signal.SIGHUP)
        wait_for(
            lambda: len([w for w in node.workers() if w["generation"] == 2 and w["state"] == "ready"])
            == 2 and all(w["state"] != "ready" for w in node.workers() if w["generation"] == 1),
            at_most=30, what="the new workers serve, the old ones drain",
        )
        recorder.touch("go")
        task = client.wait(running)
        assert (task["state"], task["attempt"]) == ("succeeded", 1)
        # the old workers have no task left, and stay for these
        for s, cut in halves:
            s.sendall((head + body)[cut:])
            answer = s.recv(65536)
            assert answer.startswith(b"HTTP/1.1 201 "), (cut, answer)
    wait_for(lambda: not [p for p in old if process.alive(p)], at_most=30, what="the old ones end")
    recorder.check_fences()


def test_one_worker_more_or_less_fails_no_request(cluster, db, key):
    (node,) = cluster(1)
    with Traffic(node.url, key) as traffic:
        for sig, count in ((signal.SIGTTIN, 3), (signal.SIGTTIN, 4), (signal.SIGTTOU, 3),
                           (signal.SIGTTOU, 2), (signal.SIGTTOU, 1)):
            node.send(sig)
            wait_for(
                lambda: [w["state"] for w in node.workers()] == ["ready"] * count,
                at_most=20, what="%d workers" % count,
            )
            traffic.flows()
        node.send(signal.SIGTTOU)  # the last one stays
        stays(lambda: len(node.worker_pids()) == 1, 1)
        traffic.flows()
    assert not traffic.failures, traffic.failures[:5]
    all_succeed(db, traffic.accepted)


def test_a_rotated_log_is_written_anew_by_every_process(cluster, key, nodedir):
    path = os.path.join(nodedir, "shoald.log")
    (node,) = cluster(1, log__file=path)
    client = Client(node.url, key)
    with Traffic(node.url, key, threads=2) as traffic:
        os.rename(path, path + ".1")
        node.send(signal.SIGUSR1)
        wait_for(lambda: os.path.exists(path), what="a new file")

        def everybody():
            with open(path) as f:
                text = f.read()
            return all("worker=%d" % n in text for n in range(2))

        wait_for(everybody, at_most=20, what="both workers write to it")
        traffic.flows()
    assert not traffic.failures
    # nobody holds the old one open: a full disk is freed when it is removed
    holders = []
    for pid in node.family():
        for fd in os.listdir("/proc/%d/fd" % pid):
            with contextlib.suppress(OSError):
                if os.readlink("/proc/%d/fd/%s" % (pid, fd)) == path + ".1":
                    holders.append(pid)
    assert not holders
    assert client.run("shoal.noop")["state"] == "succeeded"
    for name in (path, path + ".1"):
        with open(name, errors="replace") as f:
            assert not DIRTY.search(f.read())


def test_term_under_load_refuses_nothing_that_was_let_in(cluster, db, key):
    one, two = cluster(2, node__drain_delay="2s")
    with Traffic(one.url, key) as traffic:
        health = requests.Session()
        one.send(signal.SIGTERM)
        wait_for(
            lambda: health.get(one.url + "/health", timeout=5).status_code == 503,
            what="the balancer is told",
        )
        count = len(traffic.accepted)
        wait_for(lambda: len(traffic.accepted) > count + 20, at_most=2, what="it still serves")
        traffic.open_no_more()
        assert one.proc.wait(20) == 0
    print("%d requests" % len(traffic.accepted))
    assert not traffic.failures, traffic.failures[:5]
    all_succeed(db, traffic.accepted)


# --------------------------------------------------------------------- keys


def test_a_key_is_nowhere_in_the_database_but_as_its_hash(node, db):
    def shoal(*words):
        return subprocess.run(
            program("shoal") + list(words), env=dict(program_env(), SHOAL_DATABASE_URL=db.url()),
            stdout=subprocess.PIPE, check=True, timeout=60,
        ).stdout.decode().strip()

    shoal("apps", "create", "shop")
    key = shoal("keys", "create", "shop")
    client = Client(node.url, key)
    assert client.run("shoal.noop")["state"] == "succeeded"
    public = key.split("_")[2]
    (stored,) = db.rows("SELECT secret_hash FROM shoal.api_key WHERE public_id = %s", public)
    assert bytes(stored[0]) == hashlib.sha256(key.encode()).digest()
    dump = shutil.which("pg_dump", path=db.server.bin + os.pathsep + os.environ["PATH"])
    if dump is None:
        pytest.skip("no pg_dump")
    everything = subprocess.run(
        [dump, "-d", db.url()], stdout=subprocess.PIPE, check=True, timeout=60
    ).stdout.decode()
    assert public in everything
    secret = key[len("shoal_live_") + len(public) + 1:].rsplit("_", 1)[0]
    assert len(secret) == 43 and secret not in everything

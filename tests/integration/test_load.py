# SPDX-License-Identifier: BSD-2-Clause
"""Losses under load: what was acknowledged succeeds, and work goes on at once.

SHOAL_TEST_LOAD_SECONDS shortens the longest one (60 s and 30,000 tasks); the promise stays.
"""

import os
import signal
import threading
import time

import pytest
import requests
from shoaltest import apps
from shoaltest.client import Client
from shoaltest.waits import wait_for

pytestmark = pytest.mark.alone

SECONDS = float(os.environ.get("SHOAL_TEST_LOAD_SECONDS", "60"))
TASKS = int(500 * SECONDS)
LOSSES = 10
BATCH = 40
SUCCEEDED = 3  # conf/schema/0001-base.sql


class Load:
    """Applications that submit at a steady rate over kept connections, one by one and in batches.

    An answer decides: acknowledged, refused (submitted again), or unknown when none came.
    """

    def __init__(self, urls, key, rate, threads=6, batch=BATCH):
        self.rate = rate
        self.batch = batch
        self.accepted = []  # ids
        self.refused = []  # (status, has Retry-After, seconds it took)
        self.unknown = 0  # tasks whose submit got no answer
        self.strange = []
        self._lock = threading.Lock()
        self._sent = 0
        self._stop = threading.Event()
        self._started = None
        self._threads = [
            threading.Thread(target=self._run, args=(urls[n % len(urls)], key, n))
            for n in range(threads)
        ]

    def __enter__(self):
        self._started = time.monotonic()
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for t in self._threads:
            t.join()

    def flows(self, count=200, at_most=30):
        before = len(self.accepted)
        wait_for(lambda: len(self.accepted) >= before + count, at_most, what="submits are accepted")

    def _turn(self, count):
        """Waits until the rate allows so many more; false at the end."""
        with self._lock:
            at = self._started + self._sent / self.rate
            self._sent += count
        return not self._stop.wait(max(0, at - time.monotonic()))

    def _run(self, url, key, number):
        session = requests.Session()
        session.trust_env = False
        session.headers["Authorization"] = "Bearer " + key
        # every third thread submits single tasks
        count = 1 if number % 3 == 0 else self.batch
        n = 0
        while self._turn(count):
            n += 1
            tasks = [
                {"type": "shoal.echo", "payload": [number, n, i]} if i % 2 else {"type": "shoal.noop"}
                for i in range(count)
            ]
            while not self._submit(session, url, tasks) and not self._stop.wait(0.05):
                pass

    def _submit(self, session, url, tasks):
        """True when there is an answer that settles it, or none at all."""
        began = time.monotonic()
        try:
            if len(tasks) == 1:
                answer = session.post(url + "/v1/tasks", json=tasks[0], timeout=20)
            else:
                answer = session.post(url + "/v1/tasks/batch", json={"tasks": tasks}, timeout=20)
        except requests.RequestException:
            self.unknown += len(tasks)
            return True
        took = time.monotonic() - began
        if answer.status_code == 201:
            body = answer.json()
            self.accepted.extend(t["id"] for t in body.get("tasks", [body]))
            return True
        self.refused.append((answer.status_code, "Retry-After" in answer.headers, took))
        if answer.status_code != 503:
            self.strange.append("%d %s" % (answer.status_code, answer.text[:200]))
            return True
        return False


def check_all_succeeded(db, accepted, at_most=30):
    """None is lost: every acknowledged id has a row, and each of them succeeded."""

    def unfinished():
        return db.value("SELECT count(*) FROM shoal.task WHERE state < %s", SUCCEEDED) == 0

    wait_for(unfinished, at_most, what="nothing is left", every=0.2)
    states = dict(db.rows("SELECT id::text, state FROM shoal.task"))
    lost = [id for id in accepted if id not in states]
    assert not lost, "%d acknowledged tasks are lost" % len(lost)
    assert {states[id] for id in accepted} == {SUCCEEDED}
    assert len(set(accepted)) == len(accepted)


def leader_pid(nodes):
    """(node, pid) of the worker that leads the cluster."""

    def find():
        name = requests.get(nodes[0].dev_url + "/api/status", timeout=5).json()["cluster"]["leader"]
        node_id, number, _ = name.split("-")
        for node in nodes:
            status = node.status()
            if status["node"] == node_id:
                return node, status["workers"][int(number)]["pid"]
        return None

    return wait_for(find, at_most=15, what="somebody leads")


def until_a_new_task_is_done(client, since):
    """Seconds from then until a task that is submitted now has succeeded."""
    id = wait_for(lambda: client.submit("shoal.noop")["id"], at_most=15, what="a submit")
    # not by a long poll, which is told through Redis and looks for itself every two seconds only
    wait_for(lambda: client.get(id)["state"] == "succeeded", at_most=30, what="a new task succeeds")
    return time.monotonic() - since


def test_ten_losses_of_redis_under_load_lose_nothing(cluster, db, private_redis, key):
    nodes = cluster(2, redis_url=private_redis.url(), log__level="info")
    back = []
    with Load([n.url for n in nodes], key, rate=TASKS / SECONDS * 1.02) as load:
        started = time.monotonic()
        for n in range(LOSSES):
            wait_for(
                lambda: time.monotonic() >= started + (n + 0.5) * SECONDS / LOSSES,
                at_most=SECONDS, what="the next loss",
            )
            leader = leader_pid(nodes) if n == LOSSES // 2 else None
            lost = time.monotonic()
            if leader is not None:
                os.kill(leader[1], signal.SIGKILL)
            if n % 2 == 0:
                private_redis.flush()
            else:
                private_redis.restart_empty()
            client = Client(nodes[n % 2].url, key)
            back.append(until_a_new_task_is_done(client, lost))
        wait_for(
            lambda: time.monotonic() >= started + SECONDS and len(load.accepted) >= TASKS,
            at_most=SECONDS, what="the whole load",
        )
        took = time.monotonic() - started
    drained = time.monotonic()
    check_all_succeeded(db, load.accepted)
    settled = time.monotonic() - drained
    longest = float(db.value("SELECT extract(epoch FROM max(finished_at - run_at)) FROM shoal.task"))
    attempts = db.value("SELECT max(attempt) FROM shoal.task")
    again = db.value("SELECT count(*) FROM shoal.task WHERE attempt > 1")
    print(
        "%d tasks acknowledged in %.0f s, %d losses of redis, 0 lost; %d refused and %d without an answer;"
        " drained in %.1f s; %d ran again after the leader's death (at most attempt %d);"
        " the longest from due to done %.2f s"
        % (len(load.accepted), took, len(back), len(load.refused), load.unknown, settled, again,
           attempts, longest)
    )
    print("a new task was done after (s):", " ".join("%.2f" % b for b in back))
    assert not load.strange, load.strange[:5]
    assert not load.refused, load.refused[:5]
    assert max(back) < 5
    assert longest < 5


def test_twenty_seconds_without_redis_cost_nothing(cluster, db, private_redis, key):
    nodes = cluster(2, redis_url=private_redis.url(), log__level="info")
    slowest = 0
    with Load([n.url for n in nodes], key, rate=150, batch=10) as load:
        load.flows()
        private_redis.kill()
        away = time.monotonic()
        turn = 0
        while time.monotonic() - away < 20:
            turn += 1
            client = Client(nodes[turn % 2].url, key)
            slowest = max(slowest, until_a_new_task_is_done(client, time.monotonic()))
            # at twice the rate that comes in, nothing may pile up
            load.flows(50)
        waiting = db.value("SELECT count(*) FROM shoal.task WHERE state < %s", SUCCEEDED)
        private_redis.start()
        back = time.monotonic()
        wait_for(lambda: all(n.is_connected() for n in nodes), at_most=5, what="redis is used again")
        took = time.monotonic() - back
        load.flows()
    check_all_succeeded(db, load.accepted)
    print(
        "%d tasks acknowledged; the slowest of %d watched ones took %.2f s; %d waited at the end;"
        " redis used again after %.2f s" % (len(load.accepted), turn, slowest, waiting, took)
    )
    assert not load.refused and not load.unknown and not load.strange
    assert slowest < 5


def test_postgres_that_dies_under_load_loses_nothing_and_says_so(
    cluster, make_db, private_postgres
):
    database = make_db(private_postgres)
    key = apps.make_key(database, "test")
    nodes = cluster(
        2, settings={"cluster.name": database.name}, database_url=database.url(), log__level="info"
    )
    away = []
    with Load([n.url for n in nodes], key, rate=300, batch=10) as load:
        for _ in range(3):
            load.flows()
            private_postgres.stop("immediate")
            stopped = time.monotonic()
            refused = len(load.refused)
            wait_for(lambda: len(load.refused) > refused + 3, at_most=15, what="503")
            for node in nodes:
                assert requests.get(node.url + "/health", timeout=5).status_code == 200
            private_postgres.start()
            load.flows()
            away.append(time.monotonic() - stopped)
    check_all_succeeded(database, load.accepted, at_most=60)
    slowest = max(took for _, _, took in load.refused)
    print(
        "%d tasks acknowledged, %d requests refused (the slowest after %.1f s), %d tasks without an answer;"
        " submits flow again after (s): %s"
        % (len(load.accepted), len(load.refused), slowest, load.unknown,
           " ".join("%.1f" % a for a in away))
    )
    assert not load.strange, load.strange[:5]
    assert all(retry for _, retry, _ in load.refused), "a 503 without Retry-After"
    assert not load.unknown
    assert slowest < 6


def test_postgres_that_hangs_is_answered_for_in_seconds_and_orphans_nobody(
    cluster, make_db, private_postgres
):
    database = make_db(private_postgres)
    key = apps.make_key(database, "test")
    nodes = cluster(
        2, settings={"cluster.name": database.name}, database_url=database.url(), log__level="info"
    )
    client = Client(nodes[0].url, key)
    with Load([n.url for n in nodes], key, rate=200, batch=10) as load:
        load.flows()
        running = client.submit("shoal.sleep", {"seconds": 8})["id"]
        client.wait_state(running, "running")
        private_postgres.pause()
        hung = time.monotonic()
        # longer than a heartbeat is missed before a worker is called dead
        wait_for(lambda: time.monotonic() - hung > 14, at_most=20, what="time passes")
        assert load.refused
        private_postgres.resume()
        load.flows()
        back = time.monotonic() - hung - 14
    assert client.wait(running, 30)["attempt"] == 1
    check_all_succeeded(database, load.accepted)
    slowest = max(took for _, _, took in load.refused)
    print(
        "%d tasks acknowledged, %d requests refused (the slowest after %.1f s); submits flow %.1f s after"
        % (len(load.accepted), len(load.refused), slowest, back)
    )
    assert not load.strange and not load.unknown
    assert all(retry for _, retry, _ in load.refused), "a 503 without Retry-After"
    assert slowest < 8
    assert database.value("SELECT count(*) FROM shoal.incarnation WHERE state = 1") == 0

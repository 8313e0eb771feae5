# SPDX-License-Identifier: BSD-2-Clause
"""Queues at run time: pause and resume, limits, lengths, shedding, and why a task does not run.

What ran when is read from PostgreSQL, whose clock decides: started_at, and what is running at a moment.
"""

import contextlib
import os
import random
import stat
import threading
import time

import pytest
from shoaltest import apps
from shoaltest.client import Client, Refused
from shoaltest.waits import stays, wait_for

SLEEP = "shoal.sleep"


def ends_of(db, queue):
    return db.value("SELECT count(*) FROM shoal.task t JOIN shoal.queue q ON q.id = t.queue_id"
                    " WHERE q.name = %s AND t.state = 3", queue)


def pause(client, queue, **body):
    return client.call("POST", "/v1/queues/%s/pause" % queue, expect=200, json=body)


def resume(client, queue):
    return client.call("POST", "/v1/queues/%s/resume" % queue, expect=200)


def put(client, queue, expect=200, **settings):
    return client.call("PUT", "/v1/queues/%s" % queue, expect=expect, json=settings)


def read(client, queue):
    return client.call("GET", "/v1/queues/%s" % queue, expect=200)


class Watch:
    """Asks PostgreSQL over and over how many tasks of a queue run; .most is the highest answer."""

    def __init__(self, db, queue):
        self.db, self.queue = db, queue
        self.most = self.looks = 0
        self.error = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            with contextlib.closing(self.db.server.connect(self.db.name)) as c, c.cursor() as cursor:
                while not self.stop.is_set():
                    cursor.execute(
                        "SELECT count(*) FROM shoal.task t JOIN shoal.queue q ON q.id = t.queue_id"
                        " WHERE q.name = %s AND t.state = 2", (self.queue,))
                    self.most = max(self.most, cursor.fetchone()[0])
                    self.looks += 1
                    time.sleep(0.002)
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()
        assert self.error is None, self.error


@contextlib.contextmanager
def load(client, queue, pause_s=0.002, type=SLEEP, payload=None):
    """Submits to the queue without end; yields the ids that were accepted."""
    ids, stop, errors = [], threading.Event(), []

    def run():
        mine = Client(client.url, client.key)
        while not stop.is_set():
            try:
                ids.append(mine.submit(type, payload or {"ms": 1}, queue=queue)["id"])
            except Exception as e:  # pylint: disable=broad-except
                errors.append(e)
                return
            time.sleep(pause_s)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        yield ids
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not errors, errors[0]


# ---------------------------------------------------------------- pause


def test_nothing_starts_after_the_answer_to_a_pause(db, cluster, key):
    """Under load on two nodes, however the tasks come: adopted, pushed or fed."""
    nodes = cluster(2)
    client = Client(nodes[0].url, key)
    client.submit(SLEEP, {"ms": 1}, queue="q")
    with load(client, "q"), load(client.at(nodes[1]), "q"):
        for turn in range(3):
            wait_for(lambda: read(client, "q")["queued"] == 0 and ends_of(db, "q") > 50 * (turn + 1))
            answer = pause(client, "q", reason="too much")
            answered_at = db.value("SELECT clock_timestamp()")
            assert answer["paused"] and answer["paused_reason"] == "too much"
            assert answer["paused_by"] == key.split("_")[2] and answer["paused_at"]
            wait_for(lambda: read(client, "q")["queued"] > 100)
            late = db.value("SELECT count(*) FROM shoal.task WHERE started_at > %s", answered_at)
            assert late == 0
            # what ran goes on to its end
            wait_for(lambda: read(client, "q")["running"] == 0)
            resumed_at = time.monotonic()
            again = resume(client, "q")
            assert not again["paused"] and again["paused_by"] is None
            wait_for(lambda: db.value("SELECT count(*) FROM shoal.task WHERE started_at > %s", answered_at))
            assert time.monotonic() - resumed_at < 1
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.task WHERE state < 3") == 0, at_most=30)
    kinds = [r[0] for r in db.rows("SELECT kind FROM shoal.event WHERE kind IN (15, 16) ORDER BY seq")]
    assert kinds == [15, 16] * 3

# SPDX-License-Identifier: BSD-2-Clause
"""Behind HAProxy, which keeps connections to the nodes and repeats what fails.

Nothing that it and a node could read differently runs twice or hidden, and an operator may
restart and reload nodes without one failed request.
"""

import re
import signal
import threading

import requests
from shoaltest.client import Client
from shoaltest.waits import wait_for
from test_framing import ATTACKS, LINES, hidden, request, statuses, talk


def requests_seen(nodes):
    """http_requests_total of all nodes."""
    total = 0
    for node in nodes:
        text = requests.get(
            node.dev_url + "/metrics", headers={"Authorization": "Bearer " + node.token},
            timeout=5,
        ).text
        total += sum(
            int(float(v))
            for v in re.findall(r"^shoal_http_requests_total(?:\{[^}]*\})? (\S+)$", text, re.M)
        )
    return total


def test_no_attack_on_framing_gets_more_through_than_was_forwarded(cluster, haproxy, db, key):
    nodes = cluster(2)
    proxy = haproxy(nodes, check=False)
    # a working request first: the key is right and connections to both are kept
    for _ in range(4):
        assert Client(proxy.url, key).submit("shoal.noop", priority=1)["id"]
    honest = db.value("SELECT count(*) FROM shoal.task")
    # what it costs to ask
    first = requests_seen(nodes)
    cost = requests_seen(nodes) - first
    before, sent_before = first + cost, proxy.forwarded()

    auth = [b"Authorization: Bearer " + key.encode(), b"Content-Type: application/json"]
    for what, headers, body in ATTACKS:
        received, _ = talk(
            proxy.port, request(headers + auth, (body or b"") + hidden(key)), patience=0.5
        )
        # at the most the hidden bytes are an honest request of their own to HAProxy too
        assert len(statuses(received)) <= 2, "%s: %r" % (what, received[:400])
    for what, line in LINES:
        received, _ = talk(
            proxy.port, request([b"Host: a", b"Connection: close"], line=line), patience=0.5
        )
        assert len(statuses(received)) <= 1, "%s: %r" % (what, received[:400])

    # HAProxy logs a request when it has ended
    seen = requests_seen(nodes) - before - cost
    wait_for(lambda: proxy.forwarded() - sent_before >= seen, what="all that ran was forwarded")
    assert seen > 0
    # a task for each submit that HAProxy itself saw as a request, and not one more
    ran = db.value("SELECT count(*) FROM shoal.task") - honest
    assert ran <= len(re.findall(r' 201 .*"POST /v1/tasks ', proxy.log_text())) - honest
    # and nothing of all that made a node sick
    assert Client(proxy.url, key).run("shoal.echo", 1)["result"] == 1


class Loop:
    """Submits with wait over kept connections until told to stop; remembers what failed."""

    def __init__(self, url, key, threads=4):
        self.done = []
        self.failed = []
        self._url = url
        self._key = key
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self):
        for t in self._threads:
            t.start()
        wait_for(lambda: len(self.done) > 20, at_most=20, what="requests flow")
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for t in self._threads:
            t.join()

    def _run(self):
        client = Client(self._url, self._key)
        while not self._stop.is_set():
            try:
                task = client.call(
                    "POST", "/v1/tasks", params={"wait": 5},
                    json={"type": "shoal.echo", "payload": 1},
                )
                self.done.append(task["id"])
            except (AssertionError, requests.RequestException) as e:
                self.failed.append(str(e))

    def goes_on(self, count=40):
        """That many more requests are answered."""
        goal = len(self.done) + count
        wait_for(lambda: len(self.done) >= goal, at_most=20, what="requests flow on")


def assert_nothing_lost(loop, db, proxy):
    assert not loop.failed, "%d of %d failed: %s\n%s" % (
        len(loop.failed), len(loop.done), loop.failed[:3], proxy.log_text()[-2000:],
    )

    def succeeded():
        return db.value(
            "SELECT count(*) FROM shoal.task WHERE state = 3 AND id = ANY(%s::uuid[])", loop.done
        )

    assert len(set(loop.done)) == len(loop.done)
    wait_for(lambda: succeeded() == len(loop.done), at_most=20, what="all tasks succeed")


def test_nodes_are_restarted_in_turn_without_a_failed_request(cluster, haproxy, db, key):
    nodes = cluster(2, node__drain_delay="3s")
    proxy = haproxy(nodes)
    wait_for(lambda: all(proxy.is_up(n) for n in nodes), what="HAProxy sees both")
    with Loop(proxy.url, key) as loop:
        for node in nodes:
            assert node.stop(signal.SIGTERM) == 0
            loop.goes_on()
            node.start()
            wait_for(lambda n=node: proxy.is_up(n), what="HAProxy sees %s again" % node.name)
            loop.goes_on()
    assert_nothing_lost(loop, db, proxy)


def test_nodes_are_reloaded_without_a_failed_request(cluster, haproxy, db, key):
    nodes = cluster(2)
    proxy = haproxy(nodes)
    wait_for(lambda: all(proxy.is_up(n) for n in nodes), what="HAProxy sees both")
    with Loop(proxy.url, key) as loop:
        for n in range(5):
            for node in nodes:
                old = set(node.worker_pids())
                node.write_conf(tasks__max_attempts=10 + n)
                node.send(signal.SIGHUP)
                wait_for(
                    lambda node=node, old=old: len(node.worker_pids()) == 2
                    and not old & set(node.worker_pids()) and node.is_connected(),
                    at_most=20, what="%s has new workers" % node.name,
                )
            loop.goes_on()
    assert_nothing_lost(loop, db, proxy)

# SPDX-License-Identifier: BSD-2-Clause
"""The whole cluster is seen from any node, on a terminal and by programs, and drained from a shell."""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pytest
import requests
from shoaltest import apps, contract
from shoaltest.client import Client
from shoaltest.node import program, program_env
from shoaltest.waits import wait_for

from test_cli import NOT_FOUND, OK, UNAVAILABLE, shoal


def overview(node):
    answer = requests.get(
        node.dev_url + "/api/overview", timeout=10, headers={"Authorization": "Bearer " + node.token})
    contract.check("GET", "/api/overview", answer)
    assert answer.status_code == 200, answer.text
    return answer.json()


def operator(node):
    return {"SHOAL_PORTAL_URL": node.dev_url, "SHOAL_ACCESS_TOKEN": node.token}


@pytest.fixture
def two(cluster):
    return cluster(2, node__workers=1, settings={"type:outside.handler": "pull"})


def test_one_look_shows_what_all_nodes_do(two, db, key):
    client = Client(two[0].url, key)
    ids = {n.status()["node"] for n in two}
    slow = client.submit("shoal.sleep", {"seconds": 600}, queue="slow")["id"]
    for _ in range(3):
        client.submit("outside", queue="held")
    first = client.list(queue="held")["tasks"][-1]["id"]
    client.submit("outside", queue="held", delay=3600)
    leased = client.call("POST", "/v1/leases", json={"queues": ["held"], "worker": "bob", "wait": 10})["leases"]

    def seen():
        client.run("shoal.noop")  # again and again: a node's first span begins when it looks
        o = overview(two[1])
        return o if any(n["pulse"] and n["pulse"]["succeeded"] for n in o["nodes"]) else None

    o = wait_for(seen, at_most=40, what="a node has told what it counted", every=0.2)
    assert {n["id"] for n in o["nodes"]} == ids and o["waiting"] == 2 and not o["estimated"]
    assert sum(n["leads"] for n in o["nodes"]) == 1
    by_queue = {q["queue"]: q for q in o["queues"]}
    assert by_queue["held"]["waiting"] == 2 and by_queue["held"]["running"] == 1
    assert by_queue["slow"]["running"] == 1
    assert {t["id"]: (t["node"] in ids, t["leased_by"]) for t in o["slowest"]} == {
        slow: (True, None), leased[0]["task"]["id"]: (False, "bob")}
    assert first == leased[0]["task"]["id"] and len(o["oldest"]) == 2
    assert all(t["queue"] == "held" and t["age_ms"] > 0 for t in o["oldest"])
    # the terminal's view is made of nothing else
    frame = shoal("top", "--once", env=dict(operator(two[0]), COLUMNS="80"))
    assert frame.status == OK, frame.err
    assert all(i in frame.out for i in ids) and slow in frame.out
    assert max(len(line) for line in frame.out.splitlines()) <= 80
    assert shoal("top", "--once", "--json", env=operator(two[0])).json["cluster"] == db.name
    # nobody else sees it
    assert requests.get(two[0].dev_url + "/api/overview", timeout=5,
                        headers={"Authorization": "Bearer x"}).status_code == 401


def test_what_is_beyond_the_bound_is_estimated_and_cheap(node, db):
    """100,000 waiting tasks: about as many are shown, and few of them are read."""
    apps.make_key(db, "flood")
    app = db.value("SELECT id FROM shoal.application WHERE name = 'flood'")
    queue = db.value("INSERT INTO shoal.queue (app_id, name, paused) VALUES (%s, 'q', true) RETURNING id", app)
    kind = db.value("SELECT id FROM shoal.task_type ORDER BY id LIMIT 1")
    db.rows(
        "INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, priority, max_attempts, run_at, order_at)"
        " SELECT md5(i::text)::uuid, %s, %s, %s, 1, 5, 25, now() - interval '1 hour', now() - interval '1 hour'"
        "  + i * interval '1 ms' FROM generate_series(1, 100000) AS i", app, queue, kind)
    db.rows("ANALYZE shoal.task")
    o = wait_for(lambda: (lambda o: o if o["estimated"] else None)(overview(node)), what="it is seen")
    (q,) = [q for q in o["queues"] if q["application"] == "flood"]
    assert q["estimated"] and 80000 < q["waiting"] < 125000 and q["paused"]
    assert 3500000 < q["oldest_age_ms"] < 3900000
    plan = db.value(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM shoal.overview_queues(50, 200, 1000, 20)")
    top = plan[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 5000, top


def test_a_terminal_is_drawn_on_and_left_as_it_was(node):
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(terminal)
    env = dict(program_env(), TERM="xterm", **operator(node))
    shown = subprocess.Popen(program("shoal") + ["top", "-i", "500ms"], stdin=terminal, stdout=terminal,
                             stderr=subprocess.PIPE, env=env, start_new_session=True)
    text = ""

    def drawn(what):
        nonlocal text
        while select.select([screen], [], [], 0)[0]:
            text += os.read(screen, 65536).decode()
        return what in text

    def press(key, what):
        nonlocal text
        text = ""
        os.write(screen, key)
        wait_for(lambda: drawn(what), what=what)

    wait_for(lambda: drawn(node.status()["node"]), what="a frame")
    assert text.startswith("\x1b[?1049h")
    press(b"p", "PAUSED")
    press(b"s", "by running")
    text = ""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 120, 0, 0))
    os.kill(shown.pid, 28)  # the kernel tells those whose controlling terminal it is
    wait_for(lambda: drawn("HOST"), what="a wider frame")
    os.write(screen, b"q")
    assert shown.wait(10) == 0, shown.stderr.read()
    drawn("")
    assert text.endswith("\x1b[?25h\x1b[?1049l")
    assert termios.tcgetattr(terminal) == before
    os.close(screen)
    os.close(terminal)


def test_a_node_is_drained_and_taken_back_from_a_shell(two, key):
    env = operator(two[1])
    first, second = (n.status()["node"] for n in two)
    done = shoal("nodes", env=env)
    assert done.status == OK and first in done.out and second in done.out, done.err
    assert shoal("drain", "0" * 12, env=env).status == NOT_FOUND
    done = shoal("drain", first, "--wait=30s", "--reason", "new disk", env=env, timeout=60)
    assert done.status == OK, done.err
    shown = shoal("nodes", env=env).out
    assert "drained" in shown and "new disk" in shown
    assert shoal("nodes", "resume", first, env=env).status == OK
    wait_for(lambda: {n["state"] for n in shoal("nodes", "--json", env=env).json["nodes"]} == {"running"},
             what="it runs again", every=0.2)
    done = shoal("drain", first, "--leave", "--wait=40s", env=env, timeout=80)
    assert done.status == OK, done.err
    assert first not in shoal("nodes", env=env).out
    assert two[0].proc.wait(20) == 0
    assert shoal("nodes", "--portal", two[0].dev_url).status == UNAVAILABLE

# SPDX-License-Identifier: BSD-2-Clause
"""Pools: queues whose tasks only some nodes run.

Who ran a task is read from its row: the owner names the node. Times are PostgreSQL's.
"""

import os
import signal
import subprocess
import threading

import pytest
import requests
from shoaltest import apps
from shoaltest.client import Client
from shoaltest.node import program, program_env
from shoaltest.record import patience
from shoaltest.waits import stays, wait_for

SLEEP = "shoal.sleep"
COMMAND = {"type:hold.handler": "exec", "type:hold.command": "/bin/sleep 1"}


def put(client, queue, expect=200, **settings):
    return client.call("PUT", "/v1/queues/%s" % queue, expect=expect, json=settings)


def reasons(client, id):
    return {r["reason"]: r for r in client.why(id)["reasons"]}


def node_id(node):
    return node.status()["node"]


def runners(db, queue):
    """{node: tasks of the queue that it ran or runs}"""
    return dict(db.rows(
        "SELECT substr(replace(t.owner::text, '-', ''), 1, 12), count(*) FROM shoal.task t"
        "  JOIN shoal.queue q ON q.id = t.queue_id WHERE q.name = %s AND t.owner IS NOT NULL GROUP BY 1", queue))


def ended(db, queue):
    return db.value("SELECT count(*) FROM shoal.task t JOIN shoal.queue q ON q.id = t.queue_id"
                    " WHERE q.name = %s AND t.state = 3", queue)


def batch(client, queue, count, type="shoal.noop", **fields):
    return [t["id"] for first in range(0, count, 1000)
            for t in client.batch([dict(fields, type=type, queue=queue)] * min(1000, count - first))]


def told(node):
    """{list: (length, spilling)} as the node tells"""
    status = requests.get(node.dev_url + "/api/status", timeout=10).json()
    return {one["list"]: (one["length"], one["spilling"]) for one in status["cluster"]["lists"]}


@pytest.fixture
def pair(cluster, key):
    """A node of main and one of gpu alone, and a client of each."""
    (main,) = cluster(1, settings={"queue:render.pool": "gpu"})
    (gpu,) = cluster(1, node__pools="gpu")
    return main, gpu, Client(main.url, key), Client(gpu.url, key)


def test_tasks_run_where_their_pool_is_served_whoever_took_them(pair, db):
    main, gpu, at_main, at_gpu = pair
    for client in (at_main, at_gpu):
        batch(client, "render", 300)
        batch(client, "mail", 300)
        for _ in range(20):  # alone they are adopted where they may be
            assert client.run("shoal.noop", queue="render")["state"] == "succeeded"
            assert client.run("shoal.noop", queue="mail")["state"] == "succeeded"
    for queue, node in (("render", gpu), ("mail", main)):
        wait_for(lambda q=queue: ended(db, q) == 640, at_most=20, what="all of %s have run" % queue)
        assert runners(db, queue) == {node_id(node): 640}
    assert at_main.call("GET", "/v1/queues/render")["pool"] == "gpu"
    assert at_main.call("GET", "/v1/queues/mail")["pool"] == "main"
    # scheduled ones come due in the first list's pass, and go to their own
    id = at_main.submit("shoal.noop", queue="render", delay=1)["id"]
    assert at_main.wait(id)["state"] == "succeeded"
    late = db.value("SELECT extract(epoch FROM started_at - run_at)::float FROM shoal.task WHERE id = %s", id)
    assert late < patience(0.5)
    lists = wait_for(lambda: "dispatch:gpu" in told(main) and told(main), what="the leader tells the lists")
    assert lists["dispatch:gpu"] == (0, False) and "dispatch:main" in lists
    metrics = requests.get(gpu.dev_url + "/metrics", timeout=10).text
    assert 'shoal_list_length{pool="gpu",list="dispatch:gpu"} 0\n' in metrics
    status = requests.get(main.dev_url + "/api/status", timeout=10).json()["cluster"]
    assert {n["id"]: n["workers"][0]["pools"] for n in status["nodes"]} == {
        node_id(main): ["main"], node_id(gpu): ["gpu"]}


def test_what_is_popped_at_the_moment_of_leaving_goes_back_at_once(cluster, key, db, redis):
    (main,) = cluster(1, settings={"queue:render.pool": "gpu"})
    client = Client(main.url, key)
    with redis.client() as r:
        for _ in range(3):
            (gpu,) = cluster(1, node__pools="gpu", node__workers=1)
            (worker,) = gpu.worker_pids()
            assert client.run("shoal.noop", queue="render")["state"] == "succeeded"
            os.kill(worker, signal.SIGSTOP)
            gpu.send(signal.SIGTERM)
            gpu.wait_log("stopping")
            # its pop still waits, and is served
            id = client.submit("shoal.noop", queue="render")["id"]
            wait_for(lambda: r.keys("shoal:%s:proc:*" % db.name), what="it is in the worker's own list")
            os.kill(worker, signal.SIGCONT)
            assert gpu.proc.wait(20) == 0
            listed = [one.split("/")[0] for one in r.lrange("shoal:%s:dispatch:gpu" % db.name, 0, -1)]
            assert client.get(id)["state"] == "succeeded" or id in listed



def test_a_queue_is_moved_with_what_waits_in_it(pair, db):
    main, gpu, client, _ = pair
    put(client, "work", concurrency=1)
    first = client.submit(SLEEP, {"seconds": 600}, queue="work")["id"]
    client.wait_state(first, "running")
    ids = batch(client, "work", 50)  # wait behind the limit, fed to main's list
    put(client, "work", concurrency=None, pool="gpu")
    for id in ids:
        assert client.wait(id, at_most=patience(5))["state"] == "succeeded"
    assert runners(db, "work") == {node_id(main): 1, node_id(gpu): 50}
    late = db.value(
        "SELECT extract(epoch FROM max(t.started_at) - (SELECT max(e.at) FROM shoal.event e WHERE e.kind = 17))::float"
        "  FROM shoal.task t WHERE t.id = ANY (%s::uuid[])", ids)
    assert late < patience(2)
    # and back, by taking the setting away
    assert put(client, "work", pool=None)["pool"] == "main"
    assert client.run("shoal.noop", queue="work")["state"] == "succeeded"
    wait_for(lambda: runners(db, "work").get(node_id(main)) == 2, what="it ran in main again")
    # for a queue whose pool the nodes' settings say, that is theirs
    assert put(client, "render", pool="main")["pool"] == "main"
    assert put(client, "render", pool=None)["pool"] == "gpu"
    assert client.cancel(first)


def test_a_pool_that_nobody_serves_keeps_its_tasks_and_says_why(cluster, db, key, redis):
    (node,) = cluster(1)
    client = Client(node.url, key)
    assert put(client, "far", pool="moon")["pool"] == "moon"
    ids = [client.submit("shoal.noop", queue="far")["id"]]
    ids += batch(client, "far", 20) + [client.submit("shoal.noop", queue="far", delay=1)["id"]]
    why = wait_for(lambda: reasons(client, ids[-1]).get("in_line") and client.why(ids[0]), what="all are due")
    assert why["reason"] == "pool_not_served" and "moon" in why["message"]
    assert reasons(client, ids[0])["pool_not_served"]["pool"] == "moon"
    assert stays(lambda: all(client.get(id)["state"] == "queued" for id in (ids[0], ids[-1])), 0.5) is None
    for settings in ({"pool": ""}, {"pool": "a b"}, {"pool": 3}, {"pool": "x" * 65}):
        refused = client.request("PUT", "/v1/queues/far", json=settings)
        assert refused.status_code == 400 and refused.json()["code"] == "invalid_field", refused.text
        assert "pool" in refused.json()["detail"]
    listed = subprocess.run(
        program("shoal") + ["queues"], env=dict(program_env(), SHOAL_URL=node.url, SHOAL_API_KEY=key),
        stdout=subprocess.PIPE, check=True, timeout=30).stdout.decode()
    assert "pool=moon" in listed and "pool=main" not in listed
    cluster(1, node__pools="moon, main")
    for id in ids:
        assert client.wait(id)["state"] == "succeeded"
    # the last queue leaves: the list goes, and is fed again when one comes
    put(client, "far", pool="main")
    wait_for(lambda: "dispatch:moon" not in told(node), what="the list of a pool without queues is fed no more")
    put(client, "far", pool="moon")
    assert client.run("shoal.noop", queue="far")["state"] == "succeeded"
    wait_for(lambda: "dispatch:moon" in told(node), what="it is fed again")


def test_a_type_that_no_node_of_the_pool_serves_is_told(cluster, key):
    (node,) = cluster(1, settings=COMMAND)
    cluster(1, node__pools="gpu")
    client = Client(node.url, key)
    put(client, "q", pool="gpu")
    id = client.submit("hold", queue="q")["id"]
    found = wait_for(lambda: reasons(client, id).get("not_served"), what="it is told")
    assert (found["pool"], found["type"]) == ("gpu", "hold")


def test_a_node_of_two_pools_starts_tasks_of_each_at_once(cluster, db, key):
    (node,) = cluster(1, node__pools="main, gpu", node__workers="2", settings=COMMAND)  # each waits at four lists
    client = Client(node.url, key)
    put(client, "g", pool="gpu")
    ids = {queue: [] for queue in ("g", "m")}
    for _ in range(30):
        for queue in ids:
            id = client.submit("shoal.noop", queue=queue)["id"]
            assert client.wait(id)["state"] == "succeeded"
            ids[queue].append(id)
    for queue, some in ids.items():
        waited = [row[0] for row in db.rows(
            "SELECT extract(epoch FROM started_at - run_at)::float FROM shoal.task WHERE id = ANY (%s::uuid[])"
            " ORDER BY 1", some)]
        print("%s: median %.1f ms, most %.1f ms" % (queue, 1000 * waited[15], 1000 * waited[-1]))
        assert waited[15] < patience(0.02)


def test_a_pop_of_each_pool_is_answered_at_once(cluster, db, key, redis):
    """By the lists alone: pushed by hand, as another node would."""
    (node,) = cluster(1, node__pools="main, gpu", node__workers="1")
    client = Client(node.url, key)
    put(client, "g", pool="gpu")
    put(client, "m", priority=5)
    numbers = dict(db.rows("SELECT name, id FROM shoal.queue"))
    app = db.value("SELECT id FROM shoal.application WHERE name = 'test'")
    noop = db.value("SELECT id FROM shoal.task_type WHERE name = 'shoal.noop'")
    waited = {"g": [], "m": []}
    with redis.client() as r:
        for n in range(20):
            for queue, list in (("g", "dispatch:gpu"), ("m", "dispatch:main")):
                id = db.value(
                    "INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, priority, max_attempts, run_at,"
                    " order_at) VALUES (shoal.uuid_v7(), %s, %s, %s, 1, 5, 25, clock_timestamp(), clock_timestamp())"
                    " RETURNING id", app, numbers[queue], noop)
                text = "%s/%d/%d" % (id, app, noop) + ("/" + list if queue == "g" else "")
                r.lpush("shoal:%s:%s" % (db.name, list), text)
                assert client.wait(str(id))["state"] == "succeeded"
                waited[queue].append(db.value(
                    "SELECT extract(epoch FROM started_at - run_at)::float FROM shoal.task WHERE id = %s", id))
    for queue, times in waited.items():
        times.sort()
        print("%s: median %.1f ms, most %.1f ms" % (queue, 1000 * times[10], 1000 * times[-1]))
        assert times[10] < patience(0.02)


def test_a_backlog_in_one_pool_does_not_hold_the_other_one_back(cluster, db, key):
    (main,) = cluster(1, node__workers="1", node__slots="32")
    (gpu,) = cluster(1, node__workers="1", node__slots="32", node__pools="gpu")
    client = Client(main.url, key)
    put(client, "g", pool="gpu")
    client.run("shoal.noop", queue="g")
    batch(client, "m", 20000, type=SLEEP, payload={"seconds": 0.2})
    wait_for(lambda: told(main)["dispatch:main"][1], at_most=20, what="main's list is spilling")
    ids = []
    for _ in range(30):
        ids.append(client.submit("shoal.noop", queue="g")["id"])
        assert client.wait(ids[-1])["state"] == "succeeded"
    waited = [row[0] for row in db.rows(
        "SELECT extract(epoch FROM started_at - run_at)::float FROM shoal.task WHERE id = ANY (%s::uuid[])"
        " ORDER BY 1", ids)]
    print("beside a backlog: median %.1f ms, most %.1f ms" % (1000 * waited[15], 1000 * waited[-1]))
    assert waited[15] < patience(0.05)
    lists = told(gpu)
    assert lists["dispatch:main"][1] and not lists["dispatch:gpu"][1]
    assert ended(db, "m") < 20000


def test_built_in_slots_that_are_all_taken_keep_no_command_waiting(cluster, db, key):
    (node,) = cluster(1, node__workers="1", node__slots="8", node__exec_slots="2", settings=COMMAND)
    client = Client(node.url, key)
    batch(client, "long", 40, type=SLEEP, payload={"seconds": 600})
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.task WHERE state = 2") == 8, what="all slots are taken")
    ids = batch(client, "short", 4, type="hold")
    for id in ids:
        assert client.wait(id)["state"] == "succeeded"
    wait_for(lambda: "commands:main" in told(node), what="commands have a list of their own")


@pytest.mark.parametrize("what", ["flushed", "away"])
def test_nothing_is_lost_with_redis(cluster, db, key, private_redis, what):
    (main,) = cluster(1, redis_url=private_redis.url(), node__workers="1", settings=COMMAND)
    (both,) = cluster(1, redis_url=private_redis.url(), node__workers="1", node__pools="gpu, main", settings=COMMAND)
    client = Client(main.url, key)
    put(client, "g", pool="gpu")
    stop, sent, errors = threading.Event(), {"g": 0, "m": 0}, []

    def send():
        mine = Client(both.url, key)
        try:
            while not stop.is_set():
                for queue in sent:
                    batch(mine, queue, 20)
                    sent[queue] += 20
        except Exception as e:  # pylint: disable=broad-except
            errors.append(e)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        wait_for(lambda: ended(db, "g") >= 100, what="tasks run")
        if what == "flushed":
            with private_redis.client() as r:
                for _ in range(3):
                    before = ended(db, "g")
                    r.flushall()
                    wait_for(lambda b=before: ended(db, "g") > b, what="they go on")
        else:
            private_redis.kill()
            before = ended(db, "g"), ended(db, "m")
            for n, queue in enumerate(("g", "m")):
                wait_for(lambda n=n, q=queue: ended(db, q) > before[n] + 40, at_most=patience(10),
                         what="%s goes on without Redis" % queue)
            private_redis.start()
    finally:
        stop.set()
        thread.join()
    assert not errors
    for queue, count in sent.items():
        wait_for(lambda q=queue, c=count: ended(db, q) == c, at_most=patience(15), what="all of %s have run" % queue)
    assert set(runners(db, "g")) == {node_id(both)}


def test_what_a_killed_worker_had_popped_goes_back_to_its_pool(cluster, db, key):
    (main,) = cluster(1, node__workers="1")
    (gpu,) = cluster(1, node__workers="2", node__pools="gpu")
    client = Client(main.url, key)
    put(client, "g", pool="gpu")
    ids = batch(client, "g", 40, type=SLEEP, payload={"seconds": 1})
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.task WHERE state = 2") == 40, what="all run")
    gpu.kill_worker()
    for id in ids:
        assert client.wait(id)["state"] == "succeeded"
    assert set(runners(db, "g")) == {node_id(gpu)}


def test_bad_pools_are_refused_before_the_node_starts(make_node):
    for name, value, says in (("node.pools", "a b", "node.pools"), ("node.pools", "main,main", "named twice"),
                              ("queue:mail.pool", "a b", "queue:mail.pool")):
        node = make_node({name: value})
        node.write_conf()
        done = subprocess.run(program() + ["-c", node.conf, "-t"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=program_env(), timeout=30, check=False)
        assert done.returncode != 0 and says in done.stdout.decode(), done.stdout.decode()

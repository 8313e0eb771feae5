# SPDX-License-Identifier: BSD-2-Clause
"""Nothing that was accepted is lost, whatever dies."""

import signal
import threading
import time

import pytest
import requests
from shoaltest import apps, process
from shoaltest.client import Client, Refused
from shoaltest.waits import stays, wait_for


def finished(client, ids, at_most=60):
    """Every task, once it has finished; all of them succeeded."""
    tasks = [client.wait(id, at_most) for id in ids]
    assert {t["state"] for t in tasks} <= {"succeeded"}
    return tasks


def node_of(task):
    return task["worker"].rsplit("-", 1)[0]


def running_on(client, node, ids):
    """Ids of tasks that this node runs now."""
    name = node.status()["node"]
    tasks = [client.get(id) for id in ids]
    return [t["id"] for t in tasks if t["state"] == "running" and node_of(t) == name]


# --------------------------------------------------------------------- processes


@pytest.mark.alone
def test_a_killed_workers_tasks_run_again_within_a_second(cluster, key):
    (node,) = cluster(1, node__workers=1)
    client = Client(node.url, key)
    id = client.submit("shoal.sleep", {"seconds": 3})["id"]
    client.wait_state(id, "running")
    node.kill_worker()
    killed = time.monotonic()
    wait_for(lambda: client.get(id)["attempt"] == 2, at_most=10)
    took = time.monotonic() - killed
    assert client.wait(id)["state"] == "succeeded"
    # a sanitizer build starts its worker slowly
    assert took < 4, "%.1f s" % took


def test_a_killed_worker_is_replaced_and_the_port_stays_open(cluster, key):
    (node,) = cluster(1)
    client = Client(node.url, key)
    before = set(node.worker_pids())
    node.kill_worker()
    assert client.run("shoal.echo", 1)["result"] == 1
    wait_for(lambda: len(set(node.worker_pids()) - before) == 1, what="a successor")
    assert len(node.worker_pids()) == 2


def test_a_hanging_worker_is_ended_and_its_tasks_run_elsewhere(cluster, key):
    (node,) = cluster(1, node__workers=2, node__hang_timeout="2s")
    node.expected_dirt = ["AddressSanitizer: ABRT"]
    client = Client(node.url, key)
    made = [t["id"] for t in client.batch([{"type": "shoal.sleep", "payload": {"seconds": 2}}] * 20)]
    wait_for(lambda: client.list(state="running")["tasks"])
    node.kill_worker(sig=signal.SIGSTOP)
    finished(client, made)


def test_a_killed_node_loses_nothing(cluster, key):
    one, two = cluster(2)
    here, there = Client(one.url, key), Client(two.url, key)
    made = [t["id"] for t in here.batch([{"type": "shoal.sleep", "payload": {"seconds": 2}}] * 100)]
    wait_for(lambda: running_on(there, one, made[:20]) or running_on(there, one, made))
    one.kill()
    tasks = finished(there, made, at_most=90)
    assert max(t["attempt"] for t in tasks) >= 2


def test_a_thawed_node_cannot_overwrite_what_another_finished(cluster, key):
    one, two = cluster(2, node__workers=1, node__hang_timeout="60s")
    here, there = Client(one.url, key), Client(two.url, key)
    made = [t["id"] for t in here.batch([{"type": "shoal.sleep", "payload": {"seconds": 2}}] * 20)]
    stuck = wait_for(lambda: running_on(there, one, made))
    one.pause()
    tasks = {t["id"]: t for t in finished(there, made, at_most=90)}
    one.resume()
    wait_for(lambda: here.run("shoal.noop")["state"] == "succeeded", at_most=30)
    stays(lambda: all(there.get(id) == tasks[id] for id in stuck), for_seconds=3)


def test_term_finishes_running_tasks(cluster, key):
    one, two = cluster(2)
    here, there = Client(one.url, key), Client(two.url, key)
    made = [t["id"] for t in here.batch([{"type": "shoal.sleep", "payload": {"seconds": 1}}] * 60)]
    wait_for(lambda: running_on(there, one, made))
    assert one.stop(signal.SIGTERM) == 0
    assert {t["attempt"] for t in finished(there, made)} == {1}


def test_what_outlasts_the_drain_is_given_back_at_no_cost(cluster, key):
    one, two = cluster(2, node__workers=1, node__shutdown_timeout="1s")
    here, there = Client(one.url, key), Client(two.url, key)
    tasks = [{"type": "shoal.sleep", "payload": {"seconds": 4}, "max_attempts": 1}] * 20
    made = [t["id"] for t in here.batch(tasks)]
    wait_for(lambda: running_on(there, one, made))
    assert one.stop(signal.SIGTERM) == 0
    # with a single attempt allowed, they succeed only if the lost one did not count
    finished(there, made)


def test_a_killed_master_leaves_no_process_behind(cluster):
    (node,) = cluster(1)
    family = node.family()
    node.send(signal.SIGKILL)
    node.proc.wait()
    wait_for(lambda: not [p for p in family if process.alive(p)], at_most=20, what="all are gone")


# ------------------------------------------------------------------------- Redis


def test_a_flushed_redis_loses_nothing(cluster, redis, key):
    one, two = cluster(2, node__slots=2)
    client = Client(one.url, key)
    made = [t["id"] for t in client.batch([{"type": "shoal.sleep", "payload": {"seconds": 0.2}}] * 60)]
    redis.flush()
    time_of_flush = time.monotonic()
    assert client.run("shoal.noop", at_most=10)["state"] == "succeeded"
    finished(client, made)
    assert time.monotonic() - time_of_flush < 30


def test_tasks_run_while_redis_is_away(cluster, private_redis, key):
    one, two = cluster(2, redis_url=private_redis.url())
    client = Client(one.url, key)
    assert client.run("shoal.noop")["state"] == "succeeded"
    private_redis.kill()
    made = [t["id"] for t in client.batch([{"type": "shoal.echo", "payload": 1}] * 50)]
    finished(client, made)
    private_redis.start()
    back = time.monotonic()
    finished(client, [t["id"] for t in client.batch([{"type": "shoal.noop"}] * 50)])
    assert time.monotonic() - back < 15


def test_a_redis_that_comes_back_with_an_old_state_misleads_nobody(cluster, private_redis, key):
    (node,) = cluster(1, redis_url=private_redis.url(), node__slots=1)
    client = Client(node.url, key)
    old = [t["id"] for t in client.batch([{"type": "shoal.sleep", "payload": {"seconds": 0.1}}] * 30)]
    private_redis.save()
    finished(client, old)
    attempts = {id: client.get(id)["attempt"] for id in old}
    private_redis.restart_restored()
    finished(client, [t["id"] for t in client.batch([{"type": "shoal.noop"}] * 20)])
    assert {id: client.get(id)["attempt"] for id in old} == attempts


def test_a_stalled_link_to_redis_holds_nothing_up_for_long(cluster, redis, wire, key):
    link = wire(redis.port)
    (node,) = cluster(1, redis_url=redis.url(link.port))
    client = Client(node.url, key)
    assert client.run("shoal.noop")["state"] == "succeeded"
    link.blackhole()
    assert client.run("shoal.noop", at_most=15)["state"] == "succeeded"
    link.heal()
    assert client.run("shoal.noop", at_most=15)["state"] == "succeeded"


def test_a_slow_redis_is_not_waited_for(cluster, redis, wire, key):
    link = wire(redis.port)
    (node,) = cluster(1, redis_url=redis.url(link.port), node__slots=2)
    client = Client(node.url, key)
    assert client.run("shoal.noop")["state"] == "succeeded"
    link.delay(0.8)
    made = []

    def noticed():
        made.append(client.submit("shoal.sleep", {"seconds": 0.05})["id"])
        return "redis is slow" in node.log()

    wait_for(noticed, at_most=20, what="it is noticed")
    finished(client, made)
    link.heal()
    assert client.run("shoal.noop", at_most=15)["state"] == "succeeded"


def test_a_full_redis_is_not_waited_for(cluster, private_redis, key):
    nodes = cluster(2, redis_url=private_redis.url(), node__slots=2)
    client = Client(nodes[0].url, key)
    assert client.run("shoal.noop")["state"] == "succeeded"
    with private_redis.client() as c:
        c.config_set("maxmemory", 1)
        made = [t["id"] for t in client.batch([{"type": "shoal.sleep", "payload": {"seconds": 0.05}}] * 50)]
        finished(client, made)
        assert any("redis refuses commands" in node.log() for node in nodes)
        c.config_set("maxmemory", 0)
    assert client.run("shoal.noop", at_most=15)["state"] == "succeeded"


@pytest.mark.parametrize("count", [1, 3, 17, 60, 200])
def test_a_reply_of_redis_cut_in_its_middle_loses_nothing(cluster, redis, wire, key, count):
    link = wire(redis.port)
    (node,) = cluster(1, redis_url=redis.url(link.port))
    client = Client(node.url, key)
    link.cut_after(count, "to_client")
    made = [client.submit("shoal.noop")["id"] for _ in range(20)]
    link.heal()
    finished(client, made)


# -------------------------------------------------------------------- PostgreSQL


def test_what_postgres_acknowledged_outlives_its_death(cluster, make_db, private_postgres):
    database = make_db(private_postgres)
    key = apps.make_key(database, "test")
    one, two = cluster(2, settings={"cluster.name": database.name}, database_url=database.url())
    client = Client(one.url, key)
    accepted, stop = [], threading.Event()

    def submit():
        mine = Client(one.url, key)
        while not stop.is_set():
            try:
                accepted.append(mine.submit("shoal.echo", len(accepted))["id"])
            except (Refused, requests.RequestException):
                stop.wait(0.05)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        wait_for(lambda: len(accepted) > 50)
        private_postgres.kill()
        with pytest.raises(Refused) as refused:
            client.submit("shoal.noop")
        assert refused.value.response.status_code == 503
        assert client.request("GET", "/health").status_code == 200
        private_postgres.start()
        count = len(accepted)
        wait_for(lambda: len(accepted) > count + 50, at_most=30, what="submits go on")
    finally:
        stop.set()
        for t in threads:
            t.join()
    finished(client, accepted)


def test_a_restarted_postgres_needs_nobody(cluster, make_db, private_postgres):
    database = make_db(private_postgres)
    (node,) = cluster(1, settings={"cluster.name": database.name}, database_url=database.url())
    client = Client(node.url, apps.make_key(database, "test"))
    for mode in ("fast", "immediate"):
        # (503 is an answer while the connection for submits is not back yet)
        id = wait_for(lambda: client.submit("shoal.sleep", {"seconds": 1})["id"])
        private_postgres.restart(mode)
        wait_for(lambda: client.get(id)["state"] == "succeeded", at_most=40)


@pytest.mark.parametrize("count", [1, 5, 40, 150, 1000])
def test_an_answer_of_postgres_cut_in_its_middle_loses_nothing(cluster, db, postgres, wire, key, count):
    link = wire(postgres.port)
    (node,) = cluster(1, database_url=db.url(link.port))
    client = Client(node.url, key)
    assert client.run("shoal.noop")["state"] == "succeeded"
    link.cut_after(count, "to_client")
    made = []
    for _ in range(20):
        try:
            made.append(client.submit("shoal.noop")["id"])
        except Refused as e:
            assert e.response.status_code == 503
    link.heal()
    # with few bytes allowed, no connection comes about and nothing is accepted before
    made.append(wait_for(lambda: client.submit("shoal.noop")["id"], at_most=20))
    finished(client, made)


def test_a_slow_link_to_postgres_only_costs_time(cluster, db, postgres, wire, key):
    link = wire(postgres.port)
    (node,) = cluster(1, database_url=db.url(link.port))
    client = Client(node.url, key)
    link.delay(0.1)
    finished(client, [t["id"] for t in client.batch([{"type": "shoal.noop"}] * 20)])

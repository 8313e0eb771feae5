# SPDX-License-Identifier: BSD-2-Clause
"""Finished tasks go when their time is over, and nothing else ever does.

Rows are made old by SQL, with ids of the time at which they would have been submitted.
"""

import contextlib
import re
import signal
import threading
import time

import psycopg2
import pytest
import requests
from shoaltest import apps
from shoaltest.client import Client
from shoaltest.plans import nodes_of, watched
from shoaltest.record import patience
from shoaltest.waits import stays, wait_for

SCHEDULED, QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED = range(7)
DAY = 86400

UUID7 = """
CREATE OR REPLACE FUNCTION public.uuid7(p_age interval) RETURNS uuid LANGUAGE sql VOLATILE AS $$
	SELECT (lpad(to_hex((extract(epoch FROM now() - p_age) * 1000)::bigint), 12, '0')
		|| '7' || substr(m, 1, 3) || '8' || substr(m, 4, 15))::uuid
	  FROM md5(random()::text || clock_timestamp()::text) m
$$
"""


@pytest.fixture
def old(db):
    """old(app_id, state, seconds_since_submit, seconds_since_end, count) inserts tasks; returns their ids."""
    db.rows(UUID7)
    type_id = db.value("INSERT INTO shoal.task_type (name) VALUES ('nobody.serves') RETURNING id")
    queues = {}

    def make(app_id, state, submitted, ended=None, count=1):
        if app_id not in queues:
            queues[app_id] = db.value(
                "INSERT INTO shoal.queue (app_id, name) VALUES (%s, 'old') RETURNING id", app_id
            )
        if ended is None and state >= SUCCEEDED:
            ended = submitted
        return [r[0] for r in db.rows(
            "INSERT INTO shoal.task (id, app_id, queue_id, type_id, attempt, state, priority, max_attempts,"
            " run_at, order_at, due_at, started_at, finished_at, payload)"
            " SELECT public.uuid7((v.age - g * 0.01) * interval '1 second'), v.app, v.queue, v.type, 1, v.state,"
            "  5, 25, now(), CASE WHEN v.state IN (1, 2) THEN now() END,"
            "  CASE WHEN v.state = 0 THEN now() + interval '1 day' END, now(),"
            "  now() - v.ended * interval '1 second', '{}'"
            " FROM (SELECT %s::int AS app, %s::int AS queue, %s::int AS type, %s::smallint AS state,"
            "  %s::float AS age, %s::float AS ended) v, generate_series(1, %s) g RETURNING id",
            app_id, queues[app_id], type_id, state, submitted, ended, count,
        )]

    return make


def app_of(db, name="test"):
    return db.value("SELECT id FROM shoal.application WHERE name = %s", name)


def left(db, ids):
    """How many of these are still there."""
    return db.value("SELECT count(*) FROM shoal.task WHERE id = ANY (%s::uuid[])", ids)


def total(node, counter):
    return node.status()["totals"][counter]


def leads(node):
    answer = requests.get(node.dev_url + "/api/status", timeout=5).json()
    name = (answer["cluster"] or {}).get("leader")
    return bool(name) and name.startswith(answer["node"]["id"])


# --------------------------------------------------------------------- who goes, who stays


def test_finished_tasks_go_after_their_time_and_nothing_else_does(cluster, db, key, old):
    app = app_of(db)
    gone = (
        old(app, SUCCEEDED, 8 * DAY, count=3) + old(app, CANCELLED, 8 * DAY) + old(app, EXPIRED, 8 * DAY)
        + old(app, FAILED, 31 * DAY, count=2) + old(app, SUCCEEDED, 400 * DAY)
    )
    kept = (
        old(app, FAILED, 8 * DAY)                           # failed ones stay for longer
        + old(app, SUCCEEDED, 6 * DAY)
        + old(app, SUCCEEDED, 300 * DAY, ended=6 * DAY)     # waited long: its end counts
        + old(app, SUCCEEDED, 300 * DAY, ended=-DAY)
        + old(app, FAILED, 300 * DAY, ended=29 * DAY)
        + old(app, SCHEDULED, 400 * DAY) + old(app, QUEUED, 400 * DAY) + old(app, RUNNING, 400 * DAY)
    )
    (node,) = cluster(1)
    client = Client(node.url, key)
    wait_for(lambda: left(db, gone) == 0, what="what is over is removed")
    stays(lambda: left(db, kept) == len(kept))
    for id in gone:
        assert client.request("GET", "/v1/tasks/" + id).status_code == 404
        assert client.request("GET", "/v1/tasks/%s?wait=5" % id, timeout=4).status_code == 404
    assert {t["id"] for t in client.list_all()} == set(kept)
    assert total(node, "tasks_pruned_total") == len(gone)
    node.wait_log("looked for finished tasks whose time is over")


def test_a_table_that_is_too_large_loses_its_oldest_finished_tasks(cluster, db, key, old):
    app = app_of(db)
    tasks = old(app, SUCCEEDED, 600, count=1000)
    for age in range(1, 21):
        tasks += old(app, SUCCEEDED, age * 3600, count=200)
    failed = old(app, FAILED, 30 * 3600, count=10)
    db.rows("ANALYZE shoal.task")
    size = db.value("SELECT pg_total_relation_size('shoal.task')")
    cluster(1, settings={"tasks.keep_size": str(size // 2)})
    wait_for(lambda: left(db, tasks) < 4000, at_most=60, what="the oldest are removed")
    kept = [r[0] for r in db.rows("SELECT id FROM shoal.task WHERE state = 3")]
    assert sorted(kept) == sorted(tasks)[-len(kept):], "others than the oldest went"
    stays(lambda: left(db, tasks) > 2000, what="what fits is kept")
    assert left(db, failed) == 10


@pytest.mark.parametrize("setting", ["keep_finished", "keep_failed"])
def test_zero_keeps_for_ever(cluster, db, key, old, setting):
    app = app_of(db)
    finished, failed = old(app, SUCCEEDED, 9000 * DAY), old(app, FAILED, 9000 * DAY)
    kept, gone = (finished, failed) if setting == "keep_finished" else (failed, finished)
    cluster(1, settings={"tasks." + setting: "0"})
    wait_for(lambda: left(db, gone) == 0)
    assert left(db, kept) == 1


def test_the_times_count_after_a_reload(cluster, db, key, old):
    app = app_of(db)
    hour = old(app, SUCCEEDED, 7200)
    two_days = old(app, FAILED, 2 * DAY)
    (node,) = cluster(1)
    client = Client(node.url, key)
    node.wait_log("looked for finished tasks whose time is over")
    assert left(db, hour + two_days) == 2
    node.write_conf(tasks__keep_finished="30s")  # too little: refused
    node.send(signal.SIGHUP)
    node.wait_log("tasks.keep_finished must be 1min at least")
    node.write_conf(tasks__keep_finished="1h", tasks__keep_failed="1d")
    node.send(signal.SIGHUP)
    wait_for(lambda: left(db, hour + two_days) == 0, at_most=patience(15))
    assert client.run("shoal.noop")["state"] == "succeeded"


def test_every_application_has_its_turn(cluster, db, old):
    # more of them than one statement takes, one with more than a batch
    names = ["app%03d" % n for n in range(230)]
    ids = [r[0] for r in db.rows(
        "INSERT INTO shoal.application (name) SELECT unnest(%s) RETURNING id", names)]
    gone, kept = [], []
    for n, app in enumerate(ids):
        if n % 5 == 0:
            gone += old(app, SUCCEEDED, 10 * DAY, count=2)
            kept += old(app, FAILED, 10 * DAY)
    gone += old(ids[0], SUCCEEDED, 10 * DAY, count=5000)
    gone += old(ids[229], SUCCEEDED, 10 * DAY, count=3)
    cluster(1)
    wait_for(lambda: left(db, gone) == 0, at_most=patience(10))
    assert left(db, kept) == len(kept)


def test_a_task_that_is_just_retried_by_hand_stays(cluster, db, key, old):
    app = app_of(db)
    gone = old(app, FAILED, 40 * DAY, count=20)
    (again,) = old(app, FAILED, 40 * DAY)
    with contextlib.closing(psycopg2.connect(db.url())) as c, c.cursor() as cursor:
        cursor.execute(
            "UPDATE shoal.task SET state = 1, finished_at = NULL, order_at = now() WHERE id = %s", (again,)
        )
        cluster(1)
        wait_for(lambda: db.value("SELECT count(*) FROM pg_locks WHERE NOT granted"),
                 what="the removal waits for the retry")
        c.commit()
    wait_for(lambda: left(db, gone) == 0)
    assert left(db, [again]) == 1


# --------------------------------------------------------------------- large, and beside work


def test_a_large_clean_up_ends_in_seconds_while_submits_go_on(cluster, db, key, old):
    app = app_of(db)
    gone = 50000
    old(app, SUCCEEDED, 10 * DAY, count=gone)
    kept = old(app, FAILED, 10 * DAY, count=500)
    (node,) = cluster(1)
    client = Client(node.url, key)
    started = time.monotonic()
    mine, slowest = [], 0

    def clean():
        return db.value("SELECT count(*) FROM shoal.task WHERE state = 3 AND finished_at < now() - interval '7 d'")

    while clean():
        before = time.monotonic()
        mine.append(client.submit("shoal.noop")["id"])
        slowest = max(slowest, time.monotonic() - before)
        assert time.monotonic() - started < patience(20)
    print("%d rows in %.1f s beside %d submits, the slowest %.0f ms"
          % (gone, time.monotonic() - started, len(mine), slowest * 1000))
    assert slowest < patience(1)
    for id in mine:
        client.wait(id)
    assert left(db, kept) == 500
    wait_for(lambda: total(node, "tasks_pruned_total") == gone)


def test_a_new_leader_goes_on(cluster, db, key, old):
    app = app_of(db)
    first = old(app, SUCCEEDED, 20 * DAY, count=3000)
    (held,) = old(app, SUCCEEDED, 19 * DAY)
    last = old(app, SUCCEEDED, 18 * DAY, count=3000)
    (passed,) = old(app, SUCCEEDED, 30 * DAY, ended=DAY)
    with contextlib.closing(psycopg2.connect(db.url())) as c, c.cursor() as cursor:
        cursor.execute("SELECT 1 FROM shoal.task WHERE id = %s FOR UPDATE", (held,))
        (one,) = cluster(1, node__workers=1)
        wait_for(lambda: leads(one))
        wait_for(lambda: db.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), at_most=20)
        (two,) = cluster(1, node__workers=1)
        assert left(db, last) == 3000
        # the first leader has passed this one, and will not be there when its turn comes
        db.rows("UPDATE shoal.task SET finished_at = now() - interval '8 days' WHERE id = %s", passed)
        one.kill()
    wait_for(lambda: leads(two), at_most=30)
    wait_for(lambda: left(db, first + last + [held, passed]) == 0, at_most=patience(10))


# --------------------------------------------------------------------- plans


@pytest.fixture
def plans(db):
    """plans(apps, batch) calls shoal.prune and returns its rows and the plans of all statements inside."""
    with watched(db) as session:
        def call(apps, batch):
            return session.call(
                "SELECT * FROM shoal.prune(%s, %s::uuid[], 'ffffffff-0000-0000-0000-000000000000', %s, %s, %s)",
                (apps, ["00000000-0000-0000-0000-000000000000"] * len(apps), 7 * DAY * 1000,
                 30 * DAY * 1000, batch),
            )

        yield call


def check_plans(found, batch):
    assert found
    for plan in found:
        for node in nodes_of(plan):
            kind = node["Node Type"]
            assert kind in ("ModifyTable", "Limit", "Result", "Index Scan", "Index Only Scan"), kind
            if "Index Name" in node:
                assert node["Index Name"] == "task_pkey"
                assert re.search(r"app_id = .*id > .*id <", node["Index Cond"]), node["Index Cond"]
                assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) <= batch


def test_its_plans_are_walks_of_the_primary_key(db, old, plans):
    db.rows("ALTER TABLE shoal.task SET (autovacuum_enabled = off)")
    apps.make_key(db, "one")
    apps.make_key(db, "two")
    one, two = app_of(db, "one"), app_of(db, "two")

    def many(what):
        for _ in range(8):  # plans are made for any parameters from the sixth time on
            rows, found = plans([one, two], 100)
            check_plans(found, 100)
        print(what, rows)

    many("empty")
    old(one, SUCCEEDED, 10 * DAY, count=500)
    old(one, FAILED, 9 * DAY, count=500)
    old(two, SUCCEEDED, 10 * DAY, count=50)
    many("young, never analysed")
    db.rows("ANALYZE shoal.task")
    many("analysed")
    old(two, FAILED, 10 * DAY, count=60000)
    old(one, SUCCEEDED, 10 * DAY, count=20000)
    many("analysed before it was filled")
    db.rows("VACUUM ANALYZE shoal.task")
    many("large, analysed")
    db.rows("DELETE FROM shoal.task WHERE app_id = %s", two)
    db.rows("VACUUM ANALYZE shoal.task")
    many("emptied, analysed")

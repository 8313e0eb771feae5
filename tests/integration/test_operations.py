# SPDX-License-Identifier: BSD-2-Clause
"""Cancel, again by hand and delete of many tasks by filter: exact, resumable, and paced."""

import datetime
import time

import pytest
import requests
from shoaltest import apps
from shoaltest.client import Client, Refused
from shoaltest.waits import stays, wait_for

SCHEDULED, QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = range(6)  # src/model/task.h
CANCELLING_EVENT, CANCELLED_EVENT, RETRIED_EVENT = 7, 8, 10  # src/model/event.h


def begin(client, action, filter, expect=202, **more):
    return client.call("POST", "/v1/operations", expect=expect,
                       json=dict(more, action=action, filter=filter))


def count(client, action, filter):
    return begin(client, action, filter, expect=200, dry_run=True)


def ended(client, operation, at_most=60):
    """The operation once it is not at work any more."""

    def look():
        o = client.call("GET", "/v1/operations/" + operation["id"], expect=200)
        return o if o["state"] != "running" else None

    return wait_for(look, at_most, what="the operation ends")


def states(db):
    return dict(db.rows("SELECT state, count(*)::int FROM shoal.task GROUP BY state"))


def fill(db, key, tasks, state=QUEUED, type="nobody.serves.this", queue="default", since=None):
    """So many rows, as if they had been submitted in the hour before now, or since then."""
    db.rows(
        """WITH app AS (SELECT k.app_id FROM shoal.api_key k WHERE k.public_id = %s),
        names AS (SELECT app.app_id, max(n.id) FILTER (WHERE n.kind = 0) AS q,
               max(n.id) FILTER (WHERE n.kind = 1) AS y
          FROM app, LATERAL shoal.names_of(app.app_id, ARRAY[%s], ARRAY[%s], 1000) n GROUP BY 1)
        INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, priority, max_attempts,
               run_at, order_at, due_at, finished_at, error_code)
        SELECT (lpad(to_hex((extract(epoch FROM coalesce(%s::timestamptz, now() - interval '1 hour'))
                             * 1000)::bigint + i), 12, '0')
                || '7' || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 4, 15))::uuid,
               app_id, q, y, s, 5, 25, now(), CASE WHEN s = 1 THEN now() END,
               CASE WHEN s = 0 THEN now() + interval '1 day' END,
               CASE WHEN s >= 3 THEN now() END, CASE WHEN s = 4 THEN 'failed' END
          FROM names, generate_series(1, %s) i, (SELECT %s::smallint AS s) x RETURNING 1""",
        key.split("_")[2], queue, type, since, tasks, state,
    )


def leading(nodes):
    """The node of the leader."""
    for node in nodes:
        if not node.is_running():
            continue
        answer = requests.get(node.dev_url + "/api/status", timeout=5).json()
        name = (answer["cluster"] or {}).get("leader")
        if name and name.startswith(answer["node"]["id"]):
            return node
    return None


# --------------------------------------------------------------------- filters


def test_a_filter_means_what_it_says_and_nothing_else(client, db, key, node):
    other = Client(node.url, apps.make_key(db, "other"))
    theirs = other.submit("shoal.noop", queue="mail", delay=3600)["id"]
    mail = [client.submit("shoal.noop", queue="mail", delay=3600)["id"] for _ in range(3)]
    news = client.submit("shoal.noop", queue="news", delay=3600)["id"]
    echo = client.submit("shoal.echo", queue="mail", delay=3600)["id"]
    filter = {"queue": "mail", "type": "shoal.noop"}
    assert count(client, "cancel", filter) == {"count": 3, "exact": True}
    assert states(db) == {SCHEDULED: 6}
    operation = begin(client, "cancel", filter, reason="a mistake")
    assert operation["state"] in ("running", "done") and operation["filter"] == filter
    done = ended(client, operation)
    assert (done["state"], done["matched"], done["done"], done["error"]) == ("done", 3, 3, None)
    assert done["finished_at"] >= done["created_at"]
    assert {client.get(id)["state"] for id in mail} == {"cancelled"}
    assert {client.get(id)["state"] for id in (news, echo)} == {"scheduled"}
    assert other.get(theirs)["state"] == "scheduled"
    ((detail,),) = db.rows("SELECT DISTINCT detail::jsonb FROM shoal.event WHERE kind = %s",
                           CANCELLED_EVENT)
    assert detail == {"by": key.split("_")[2], "operation": done["id"], "reason": "a mistake"}
    assert detail == done["detail"]
    # another application sees none of it
    path = "/v1/operations/" + done["id"]
    assert other.request("GET", path).status_code == 404
    assert other.request("POST", path + "/stop").status_code == 404
    assert other.call("GET", "/v1/operations")["operations"] == []


def test_ids_are_a_filter_too(client, db):
    made = [t["id"] for t in client.batch([{"type": "shoal.noop", "delay": 3600}] * 700)]
    asked = made[100:600] + made[100:110] + ["01935b1e-7c7a-7d33-9f0e-2a6f4c1d8b90"]
    assert count(client, "cancel", {"ids": asked})["count"] == 500
    done = ended(client, begin(client, "cancel", {"ids": asked}))
    assert (done["matched"], done["done"]) == (500, 500)
    assert states(db) == {SCHEDULED: 200, CANCELLED: 500}
    assert client.get(made[99])["state"] == client.get(made[600])["state"] == "scheduled"


def test_since_and_until_are_times_of_the_submit(client, db, key):
    begun = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    fill(db, key, 1000, since=begun)

    def at(ms):
        return (begun + datetime.timedelta(milliseconds=ms)).isoformat()

    filter = {"since": at(101), "until": at(201)}
    assert count(client, "cancel", filter) == {"count": 100, "exact": True}
    done = ended(client, begin(client, "cancel", filter))
    assert done["done"] == 100
    assert count(client, "cancel", {"since": at(0), "until": at(101)})["count"] == 100
    assert count(client, "cancel", {"since": at(101), "until": at(201)})["count"] == 0


def test_names_that_were_never_used_mean_nothing(client):
    client.submit("shoal.noop", delay=3600)
    for filter in ({"queue": "never"}, {"type": "never"}):
        assert count(client, "cancel", filter) == {"count": 0, "exact": True}
        done = begin(client, "cancel", filter)
        assert (done["state"], done["matched"], done["done"]) == ("done", 0, 0)


def test_bad_operations_are_refused_and_change_nothing(client, db):
    client.submit("shoal.noop", delay=3600)
    for body, code in [
        ({"action": "cancel"}, "missing_field"),
        ({"filter": {}}, "missing_field"),
        ({"action": "explode", "filter": {}}, "invalid_field"),
        ({"action": "cancel", "filter": []}, "invalid_field"),
        ({"action": "cancel", "filter": {"quee": "mail"}}, "unknown_field"),
        ({"action": "cancel", "filter": {}, "dryrun": True}, "unknown_field"),
        ({"action": "cancel", "filter": {}, "dry_run": 1}, "invalid_field"),
        ({"action": "cancel", "filter": {}, "attempts": 2}, "invalid_field"),
        ({"action": "cancel", "filter": {"state": "succeeded"}}, "invalid_field"),
        ({"action": "retry", "filter": {"state": "succeeded"}}, "invalid_field"),
        ({"action": "delete", "filter": {"state": ["failed", "queued"]}}, "invalid_field"),
        ({"action": "cancel", "filter": {"state": "lost"}}, "invalid_field"),
        ({"action": "cancel", "filter": {"queue": "a b"}}, "invalid_field"),
        ({"action": "cancel", "filter": {"since": "yesterday"}}, "invalid_field"),
        ({"action": "cancel", "filter": {"ids": []}}, "invalid_field"),
        ({"action": "cancel", "filter": {"ids": ["x"]}}, "invalid_field"),
        ({"action": "cancel", "filter": {"ids": ["0" * 36] * 1001}}, "invalid_field"),
    ]:
        with pytest.raises(Refused) as refused:
            client.call("POST", "/v1/operations", json=body)
        answer = refused.value.response
        assert (answer.status_code, answer.json()["code"]) == (400, code), body
    assert client.request("POST", "/v1/operations").status_code == 400
    assert client.request("GET", "/v1/operations/nonsense").status_code == 404
    assert states(db) == {SCHEDULED: 1} and db.value("SELECT count(*) FROM shoal.operation") == 0


# --------------------------------------------------------------------- actions


def test_running_tasks_are_told_to_end(client, db):
    ids = [client.submit("shoal.sleep", {"seconds": 60})["id"] for _ in range(20)]
    for id in ids:
        client.wait_state(id, "running")
    done = ended(client, begin(client, "cancel", {"state": "running"}))
    assert (done["matched"], done["done"]) == (20, 20)
    for id in ids:
        assert client.wait(id, at_most=5)["state"] == "cancelled"
    assert states(db) == {CANCELLED: 20}


def test_failed_tasks_run_again(client, db):
    failing = [{"type": "shoal.fail", "payload": {"times": 1}, "max_attempts": 1}] * 300
    ids = [t["id"] for t in client.batch(failing)]
    wait_for(lambda: states(db) == {FAILED: 300}, at_most=30)
    keep = client.submit("shoal.noop", delay=3600)["id"]
    client.cancel(keep)
    done = ended(client, begin(client, "retry", {"state": "failed"}))
    assert (done["matched"], done["done"]) == (300, 300)
    wait_for(lambda: states(db) == {SUCCEEDED: 300, CANCELLED: 1}, at_most=30)
    assert {client.get(id)["attempt"] for id in ids[:20]} == {2}
    assert db.value("SELECT count(*) FROM shoal.event WHERE kind = %s", RETRIED_EVENT) == 300


def test_delete_removes_what_has_ended_with_its_events(client, db, key):
    fill(db, key, 400, state=FAILED)
    fill(db, key, 300, state=SUCCEEDED, since="2026-02-01T00:00:00Z")
    fill(db, key, 200, state=QUEUED, since="2026-03-01T00:00:00Z")
    db.rows("INSERT INTO shoal.event (app_id, task_id, kind) SELECT app_id, id, 5 FROM shoal.task"
            " WHERE state IN (3, 4) RETURNING 1")
    done = ended(client, begin(client, "delete", {"state": ["failed"]}))
    assert done["done"] == 400
    assert states(db) == {SUCCEEDED: 300, QUEUED: 200}
    assert db.value("SELECT count(*) FROM shoal.event") == 300
    done = ended(client, begin(client, "delete", {}))
    assert done["done"] == 300
    assert states(db) == {QUEUED: 200}
    assert db.value("SELECT count(*) FROM shoal.event") == 0


# --------------------------------------------------------------------- life


def slow_down(db):
    """Each batch takes long enough to be interrupted."""
    db.rows("""CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END $$""")
    db.rows("CREATE TRIGGER slow AFTER UPDATE ON shoal.operation FOR EACH ROW"
            " EXECUTE PROCEDURE public.slow()")


@pytest.mark.parametrize("action", ["cancel", "retry", "delete"])
def test_20000_tasks_each_once_although_the_leader_dies_in_the_middle(cluster, key, db, action):
    total = 20000
    nodes = cluster(2, node__workers=1)
    fill(db, key, total, state=QUEUED if action == "cancel" else FAILED)
    fill(db, key, 100, state=SUCCEEDED, since="2026-02-01T00:00:00Z")
    slow_down(db)
    leader = wait_for(lambda: leading(nodes))
    clients = [Client(n.url, key) for n in nodes]
    there = clients[1 - nodes.index(leader)]
    if action == "cancel":
        assert count(there, action, {}) == {"count": total, "exact": True}
    operation = begin(there, action, {"state": "failed"} if action == "delete" else {})
    # one that is submitted after it is left alone
    late = there.submit("nobody.serves.this")["id"]
    progress = "SELECT done::int FROM shoal.operation"
    wait_for(lambda: db.value(progress) >= 2000, at_most=30, every=0.01)
    leader.kill()
    seen = db.value(progress)
    assert seen < total
    print("the leader died after %d" % seen)
    done = ended(there, operation, at_most=90)
    assert (done["state"], done["matched"], done["done"]) == ("done", total, total)
    assert states(db) == {
        "cancel": {CANCELLED: total, SUCCEEDED: 100, QUEUED: 1},
        "retry": {QUEUED: total + 1, SUCCEEDED: 100},
        "delete": {SUCCEEDED: 100, QUEUED: 1},
    }[action]
    assert there.get(late)["state"] == "queued"
    if action != "delete":
        kind = CANCELLED_EVENT if action == "cancel" else RETRIED_EVENT
        assert db.rows(
            "SELECT count(*)::int, count(DISTINCT task_id)::int FROM shoal.event WHERE kind = %s", kind
        ) == [(total, total)]


def test_a_stopped_operation_leaves_the_rest_alone(client, db, key):
    fill(db, key, 20000)
    slow_down(db)
    operation = begin(client, "cancel", {})
    wait_for(lambda: db.value("SELECT done::int FROM shoal.operation") > 0, every=0.01)
    stopped = client.call("POST", "/v1/operations/%s/stop" % operation["id"], expect=200)
    assert stopped["state"] == "stopped" and stopped["finished_at"]
    assert 0 < stopped["done"] < 20000
    stays(lambda: states(db) == {QUEUED: 20000 - stopped["done"], CANCELLED: stopped["done"]})
    # again: as it stands
    assert client.call("POST", "/v1/operations/%s/stop" % operation["id"])["state"] == "stopped"


def test_operations_take_turns_and_have_a_bound(client, db, key):
    fill(db, key, 20000)
    slow_down(db)
    large = begin(client, "cancel", {})
    small = begin(client, "cancel", {"ids": ["01935b1e-7c7a-7d33-9f0e-2a6f4c1d8b90"]})
    assert ended(client, small)["state"] == "done"
    assert client.call("GET", "/v1/operations/" + large["id"])["state"] == "running"
    made = [large["id"], small["id"]]
    with pytest.raises(Refused) as refused:
        for _ in range(25):
            made.append(begin(client, "cancel", {"queue": "default"})["id"])
    assert refused.value.response.status_code == 429
    assert refused.value.response.json()["code"] == "too_many_operations"
    assert int(refused.value.response.headers["Retry-After"]) > 0
    # newest first, page by page
    seen, cursor = [], ""
    while True:
        page = client.call("GET", "/v1/operations?limit=5" + cursor, expect=200)
        seen += [o["id"] for o in page["operations"]]
        if page["next_cursor"] is None:
            break
        assert len(page["operations"]) == 5
        cursor = "&cursor=" + page["next_cursor"]
    assert seen == sorted(made, reverse=True)
    assert client.request("GET", "/v1/operations?limit=0").status_code == 400
    assert client.request("GET", "/v1/operations?cursor=zz").status_code == 400


def test_a_count_is_exact_to_100000(client, db, key):
    fill(db, key, 100000)
    assert count(client, "cancel", {}) == {"count": 100000, "exact": True}
    fill(db, key, 20000, since="2026-02-01T00:00:00Z")
    assert count(client, "cancel", {}) == {"count": 100000, "exact": False}
    # a rare kind among many
    fill(db, key, 7, state=FAILED, since="2026-03-01T00:00:00Z")
    assert count(client, "retry", {}) == {"count": 7, "exact": True}


@pytest.mark.alone
def test_short_tasks_run_on_beside_a_large_operation(client, db, key):
    fill(db, key, 20000, state=FAILED)
    operation = begin(client, "delete", {})
    took = []
    while client.call("GET", "/v1/operations/" + operation["id"])["state"] == "running":
        began = time.monotonic()
        client.run("shoal.noop")
        took.append(time.monotonic() - began)
    assert ended(client, operation)["done"] == 20000
    print("%d tasks beside it, the slowest %.0f ms" % (len(took), max(took, default=0) * 1000))
    assert max(took, default=0) < 1


def test_an_operation_begins_without_redis(cluster, key, db, private_redis):
    nodes = cluster(2, node__workers=1, redis_url=private_redis.url())
    fill(db, key, 1000)
    wait_for(lambda: leading(nodes))
    private_redis.kill()
    client = Client(nodes[0].url, key)
    operation = begin(client, "cancel", {})
    assert ended(client, operation, at_most=30)["done"] == 1000

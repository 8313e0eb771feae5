# SPDX-License-Identifier: BSD-2-Clause
"""One request, one effect: Idempotency-Key; one task at a time: unique_key and concurrency_key."""

import concurrent.futures
import http.client
import json
import os
import urllib.parse

import pytest
from shoaltest import apps
from shoaltest.client import Client
from shoaltest.waits import wait_for

# the figure of the promise; a shorter run proves as much each time, and the long one takes minutes
ROUNDS = int(os.environ.get("SHOAL_KEY_ROUNDS", "60"))
CLIENTS = 64


def in_parallel(count, call):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def post(client, body, key=None, **params):
    headers = {"Idempotency-Key": key} if key is not None else None
    return client.request("POST", "/v1/tasks", json=body, headers=headers, params=params)


# --------------------------------------------------------------------- Idempotency-Key


def test_first_answer_is_replayed(cluster, key, db):
    one, two = [Client(n.url, key) for n in cluster(2)]
    body = {"type": "shoal.echo", "payload": {"n": 1}, "metadata": {"a": "b"}, "delay": 3600}
    first = post(one, body, "k")
    again = post(two, body, "k")
    assert first.status_code == again.status_code == 201
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.json() == again.json()
    assert first.headers["Location"] == again.headers["Location"]
    assert db.value("SELECT count(*) FROM shoal.task") == 1


def test_same_key_with_another_body_is_refused(client, db):
    assert post(client, {"type": "shoal.noop"}, "k").status_code == 201
    other = post(client, {"type": "shoal.noop", "priority": 1}, "k")
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"
    assert db.value("SELECT count(*) FROM shoal.task") == 1


def test_keys_are_an_application_s_own(client, node, db):
    other = Client(node.url, apps.make_key(db, "other"))
    mine = post(client, {"type": "shoal.noop"}, "k").json()
    theirs = post(other, {"type": "shoal.noop"}, "k")
    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine["id"]


def test_a_key_is_forgotten_after_a_day(client, db):
    first = post(client, {"type": "shoal.noop"}, "k").json()
    db.rows("UPDATE shoal.idempotency SET at = at - interval '25 hours' RETURNING 1")
    assert post(client, {"type": "shoal.noop"}, "k").json()["id"] != first["id"]


def test_a_refused_request_keeps_no_key(client):
    assert post(client, {"type": "shoal.noop", "after": [
        "01890000-0000-7000-8000-000000000000"]}, "k").status_code == 422
    assert post(client, {"type": "shoal.noop"}, "k").status_code == 201


def test_batches_are_replayed_whole(client, db):
    body = {"tasks": [{"type": "shoal.noop"}, {"type": "shoal.noop", "delay": 60}]}
    headers = {"Idempotency-Key": "batch"}
    first = client.request("POST", "/v1/tasks/batch", json=body, headers=headers)
    again = client.request("POST", "/v1/tasks/batch", json=body, headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert [t["state"] for t in first.json()["tasks"]] == ["queued", "scheduled"]
    assert db.value("SELECT count(*) FROM shoal.task") == 2


@pytest.mark.parametrize("bad", ["", "x" * 256, "sn\u00f6"], ids=["empty", "long", "umlaut"])
def test_bad_keys_are_refused(guest, bad):
    refused = guest.request("POST", "/v1/tasks", json={"type": "shoal.noop"},
                            headers={"Idempotency-Key": bad.encode("latin-1")})
    assert refused.status_code == 400
    assert refused.json()["code"] == "invalid_header"


def hammer(nodes, key, body_of, headers_of):
    """CLIENTS connections to all nodes, each posting ROUNDS bodies in the same order; their ids by round"""

    def call(i):
        connection = http.client.HTTPConnection(urllib.parse.urlparse(nodes[i % len(nodes)].url).netloc)
        seen = []
        for n in range(ROUNDS):
            connection.request("POST", "/v1/tasks", json.dumps(body_of(n)), dict(
                headers_of(n), **{"Authorization": "Bearer " + key, "Content-Type": "application/json"}))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status in (200, 201), text
            seen.append(json.loads(text)["id"])
        return seen

    return list(zip(*in_parallel(CLIENTS, call)))


def test_many_clients_with_one_key_make_one_task_each_round(cluster, key, db):
    rounds = hammer(cluster(2), key, lambda n: {"type": "shoal.noop", "payload": n},
                    lambda n: {"Idempotency-Key": "round-%d" % n})
    assert [len(set(ids)) for ids in rounds] == [1] * ROUNDS
    assert db.value("SELECT count(*) FROM shoal.task") == ROUNDS


def test_one_caller_s_trouble_is_not_another_s(client, db):
    """A key that somebody else's open transaction holds makes its own callers wait."""
    with db.server.connect(db.name) as held, held.cursor() as cursor:
        app = db.value("SELECT min(id) FROM shoal.application")
        cursor.execute("SELECT shoal.lock_keys(ARRAY[shoal.lock_name('i', %s, 'slow')])", (app,))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            slow = pool.submit(post, client, {"type": "shoal.noop"}, "slow")
            wait_for(lambda: db.value(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") > 0)
            # ordinary submits have a connection of their own
            assert client.run("shoal.echo", 7)["result"] == 7
            held.rollback()
            assert slow.result(10).status_code == 201


def test_a_lost_answer_is_asked_again(cluster, wire, db, key, postgres):
    """The connection is cut under the statement: with a key the caller still gets one answer."""
    link = wire(postgres.port)
    client = Client(cluster(1, database_url=db.url(link.port))[0].url, key)
    assert post(client, {"type": "shoal.noop"}, "first").status_code == 201
    app = db.value("SELECT min(id) FROM shoal.application")
    with db.server.connect(db.name) as held, held.cursor() as cursor:
        cursor.execute("SELECT shoal.lock_keys(ARRAY[shoal.lock_name('i', %s, 'cut')])", (app,))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(post, client, {"type": "shoal.noop"}, "cut")
            wait_for(lambda: db.value(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") > 0)
            link.reset_open()
            held.rollback()
            assert answer.result(20).status_code == 201
    assert db.value("SELECT count(*) FROM shoal.idempotency WHERE key = 'cut'") == 1
    assert db.value("SELECT count(*) FROM shoal.task") == 2


# --------------------------------------------------------------------- unique_key


def test_a_second_one_is_the_first_until_it_has_finished(client):
    body = {"type": "shoal.sleep", "payload": {"seconds": 1}, "unique_key": "u"}
    first = post(client, body)
    second = post(client, body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"]
    assert second.headers["Shoal-Unique"] == "existing"
    client.wait(first.json()["id"])
    assert post(client, body).json()["id"] != first.json()["id"]


def test_until_start_the_key_is_free_once_it_runs(client):
    body = {"type": "shoal.sleep", "payload": {"seconds": 30}, "unique_key": "u",
            "unique_until": "start"}
    first = post(client, body).json()["id"]
    client.wait_state(first, "running")
    second = post(client, body)
    assert second.status_code == 201
    assert second.json()["id"] != first


def test_for_a_period_also_after_its_end(client, db):
    body = {"type": "shoal.noop", "unique_key": "u", "unique_for": "PT1H"}
    first = post(client, body).json()["id"]
    client.wait(first)
    assert post(client, body).json()["id"] == first
    db.rows("UPDATE shoal.unique_key SET until = now() RETURNING 1")
    assert post(client, body).json()["id"] != first


def test_reject_says_who_has_it(client):
    body = {"type": "shoal.noop", "delay": 60, "unique_key": "u", "on_conflict": "reject"}
    first = post(client, body).json()["id"]
    refused = post(client, body)
    assert refused.status_code == 409
    assert refused.json()["code"] == "unique_key_taken"
    assert first in refused.json()["detail"]


def test_replace_gives_the_waiting_task_the_new_payload(client):
    body = {"type": "shoal.echo", "delay": 60, "unique_key": "u", "on_conflict": "replace"}
    first = post(client, dict(body, payload=1)).json()
    second = post(client, dict(body, payload=2))
    assert second.status_code == 200
    assert second.headers["Shoal-Unique"] == "replaced"
    assert second.json()["id"] == first["id"]
    assert second.json()["payload"] == 2
    assert second.json()["run_at"] == first["run_at"]


def test_postpone_is_a_debounce(client, db):
    body = {"type": "shoal.echo", "delay": 600, "unique_key": "u", "on_conflict": "postpone"}
    first = post(client, dict(body, payload=1)).json()
    later = post(client, dict(body, payload=2, delay=1200))
    assert later.headers["Shoal-Unique"] == "postponed"
    assert later.json()["id"] == first["id"]
    assert later.json()["run_at"] > first["run_at"]
    post(client, dict(body, payload=3, delay=0.3))
    done = client.wait(first["id"])
    assert done["result"] == 3
    assert db.value("SELECT count(*) FROM shoal.task") == 1
    kinds = [k for k, in db.rows("SELECT kind FROM shoal.event ORDER BY seq")]
    assert kinds == [12, 11] or kinds == [12, 12]


def test_identical_requests_share_one_result(client, db):
    body = {"type": "shoal.sleep", "payload": {"seconds": 0.5}, "unique_key": "same"}
    answers = in_parallel(20, lambda i: post(client.at(client), body, wait=20).json())
    assert len({a["id"] for a in answers}) == 1
    assert {a["state"] for a in answers} == {"succeeded"}
    assert db.value("SELECT count(*) FROM shoal.task") == 1


def test_many_clients_with_one_unique_key_make_one_task_each_round(cluster, key, db):
    rounds = hammer(cluster(2), key, lambda n: {"type": "shoal.noop", "unique_key": "r%d" % n,
                                                "unique_for": 3600}, lambda n: {})
    assert [len(set(ids)) for ids in rounds] == [1] * ROUNDS
    assert db.value("SELECT count(*) FROM shoal.task") == ROUNDS


@pytest.mark.parametrize("fields, at", [
    ({"unique_until": "finish"}, "unique_until"),
    ({"unique_key": "u", "unique_until": "never"}, "unique_until"),
    ({"unique_key": "u", "unique_until": "start", "unique_for": 5}, "unique_for"),
    ({"unique_key": "u", "on_conflict": "ignore"}, "on_conflict"),
    ({"unique_key": ""}, "unique_key"),
    ({"unique_key": "x" * 256}, "unique_key"),
    ({"concurrency_limit": 3}, "concurrency_limit"),
    ({"concurrency_key": "k", "concurrency_limit": 0}, "concurrency_limit"),
    ({"after_failure": "run"}, "after_failure"),
    ({"after": "x"}, "after"),
    ({"after": [1]}, "after"),
])
def test_options_that_say_nothing_are_refused(guest, fields, at):
    refused = post(guest, dict(fields, type="shoal.noop"))
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith(at)


# --------------------------------------------------------------------- concurrency_key


def overlap(db):
    """The most tasks of one key that ran at one time, by PostgreSQL's clock."""
    return db.value(
        "SELECT max(n) FROM (SELECT (SELECT count(*) FROM shoal.task o"
        " WHERE o.concurrency_key = t.concurrency_key AND o.started_at <= t.started_at"
        " AND o.finished_at > t.started_at) AS n"
        " FROM shoal.task t WHERE t.concurrency_key IS NOT NULL) x")


def test_so_many_of_a_key_at_a_time(cluster, key, db):
    one, two = [Client(n.url, key) for n in cluster(2)]
    ids = [c.submit("shoal.sleep", {"seconds": 0.1}, concurrency_key="k", concurrency_limit=2)["id"]
           for c in (one, two) for _ in range(8)]
    for id in ids:
        assert one.wait(id)["state"] == "succeeded"
    assert overlap(db) <= 2
    assert db.value("SELECT count(*) FROM shoal.key_line") == 0


def test_other_keys_and_tasks_do_not_wait(client):
    client.submit("shoal.sleep", {"seconds": 5}, concurrency_key="k")
    held = client.submit("shoal.sleep", {"seconds": 5}, concurrency_key="k")["id"]
    assert client.run("shoal.noop", concurrency_key="other", at_most=2)["state"] == "succeeded"
    assert client.run("shoal.noop", at_most=2)["state"] == "succeeded"
    assert client.get(held)["state"] == "queued"


def test_a_resting_task_leaves_its_place(client):
    resting = client.submit("shoal.fail", {"times": 1, "message": "x"}, concurrency_key="k")["id"]
    client.wait_state(resting, "scheduled")
    assert client.run("shoal.noop", concurrency_key="k", at_most=5)["state"] == "succeeded"


def test_a_task_taken_up_again_stands_in_the_line_of_its_key(client):
    failed = client.wait(client.submit("shoal.fail", {"times": 1, "message": "x"}, max_attempts=1,
                                       concurrency_key="k")["id"])
    assert failed["state"] == "failed"
    client.wait_state(client.submit("shoal.sleep", {"seconds": 1}, concurrency_key="k")["id"], "running")
    client.retry(failed["id"])
    assert client.get(failed["id"])["state"] == "queued"
    why = client.why(failed["id"])
    assert why["reason"] == "concurrency_key", why
    assert client.wait(failed["id"])["state"] == "succeeded"


def test_a_killed_worker_s_keyed_tasks_go_on(cluster, key, db):
    node = cluster(1)[0]
    client = Client(node.url, key)
    ids = [client.submit("shoal.sleep", {"seconds": 0.2}, concurrency_key="k%d" % (i % 3))["id"]
           for i in range(12)]
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.task WHERE state = 2") > 0)
    node.kill_worker()
    for id in ids:
        assert client.wait(id, 40)["state"] == "succeeded"


# --------------------------------------------------------------------- tidying


def test_keys_that_are_free_again_are_removed(client, db):
    taken = post(client, {"type": "shoal.noop", "unique_key": "taken", "delay": 600}).json()["id"]
    client.wait(post(client, {"type": "shoal.noop", "unique_key": "done"}).json()["id"])
    post(client, {"type": "shoal.noop", "unique_key": "over", "unique_for": 60})
    post(client, {"type": "shoal.noop"}, "old")
    post(client, {"type": "shoal.noop"}, "young")
    client.run("shoal.noop", concurrency_key="unused")
    db.rows("UPDATE shoal.unique_key SET until = now() - interval '1 s' WHERE scope = 2 RETURNING 1")
    db.rows("UPDATE shoal.idempotency SET at = now() - interval '25 h' WHERE key = 'old' RETURNING 1")
    db.rows("UPDATE shoal.key_limit SET used_at = now() - interval '40 d' RETURNING 1")
    place, removed = (0, ""), 0
    while place[0] is not None:  # the walk, one key at a time
        app, key, n = db.rows("SELECT * FROM shoal.prune_keys(%s, %s, 1, 2592000000)", *place)[0]
        place, removed = (app, key), removed + n
    assert removed == 4
    assert db.rows("SELECT key, task_id::text FROM shoal.unique_key") == [("taken", taken)]
    assert db.rows("SELECT key FROM shoal.idempotency") == [("young",)]
    assert db.value("SELECT count(*) FROM shoal.key_limit") == 0

# SPDX-License-Identifier: BSD-2-Clause
"""Cancel, again by hand, delete and erase: from every state, on any node, and in races."""

import json
import os
import signal
import threading
import time

import pytest
import requests
from shoaltest import apps
from shoaltest.client import Client, Refused
from shoaltest.record import Recorder, patience, processes_of_group
from shoaltest.waits import stays, wait_for

RUNNING, CANCELLED = 2, 5  # src/model/task.h
CANCELLING_EVENT, CANCELLED_EVENT, RETRIED_EVENT, ERASED_EVENT = 7, 8, 10, 14  # src/model/event.h

# a command whose child does not hear TERM: only the death of the whole group ends it
STUBBORN = (
    '(trap "" TERM; exec sleep 300) & echo "$$ $!" >>$dir/pids; wait'
)


def row(db, id, columns="*"):
    return db.rows("SELECT %s FROM shoal.task WHERE id = %%s" % columns, id)[0]


def events(db, id):
    """(kind, detail) of the task, in order."""
    return [
        (kind, json.loads(detail) if detail else None)
        for kind, detail in db.rows(
            "SELECT kind, detail FROM shoal.event WHERE task_id = %s ORDER BY seq", id
        )
    ]


def refusal(call, *args, **kwargs):
    """(status, code, state) of what is refused."""
    with pytest.raises(Refused) as refused:
        call(*args, **kwargs)
    problem = refused.value.response.json()
    return refused.value.response.status_code, problem["code"], problem.get("state")


def public_id(key):
    return key.split("_")[2]


def node_id(node):
    return requests.get(node.dev_url + "/api/status", timeout=5).json()["node"]["id"]


def delete(client, id, what=""):
    return client.call("DELETE", "/v1/tasks/%s%s" % (id, what))


# --------------------------------------------------------------------- what waits


def test_what_waits_is_cancelled_at_once_and_never_runs(client, db, key):
    later = client.submit("shoal.noop", delay=3600)["id"]
    queued = client.submit("nobody.serves.this")["id"]
    for id in (later, queued):
        answer = client.request(
            "POST", "/v1/tasks/%s/cancel" % id, json={"reason": "not needed \u2713"}
        )
        assert answer.status_code == 200
        task = answer.json()
        assert (task["state"], task["error"]["code"], task["attempt"]) == ("cancelled", "cancelled", 0)
        assert task["finished_at"] is not None
        assert row(db, id, "order_at, due_at, expire_at, cancel_at") == (None,) * 4
        assert events(db, id) == [
            (CANCELLED_EVENT, {"by": public_id(key), "reason": "not needed \u2713"})
        ]
        # again: the same answer, and nothing more
        assert client.cancel(id, expect=200)["state"] == "cancelled"
        assert len(events(db, id)) == 1


def test_a_cancelled_id_that_lies_in_redis_is_not_run(cluster, key, db):
    (node,) = cluster(1, node__slots=1, node__workers=1)
    client = Client(node.url, key)
    busy = client.submit("shoal.sleep", {"seconds": 1.5})["id"]
    client.wait_state(busy, "running")
    id = client.submit("shoal.noop")["id"]
    client.cancel(id, expect=200)
    assert client.run("shoal.noop")["state"] == "succeeded"
    assert (client.get(id)["state"], client.get(id)["attempt"]) == ("cancelled", 0)


def test_bad_requests_change_nothing(client, db, key):
    id = client.submit("shoal.noop", delay=3600)["id"]
    for path, body, code in [
        ("cancel", '{"reson": "x"}', "unknown_field"),
        ("cancel", '{"reason": 5}', "invalid_field"),
        ("cancel", '{"reason": "%s"}' % ("x" * 1001), "invalid_field"),
        ("cancel", '{"attempts": 2}', "unknown_field"),
        ("cancel", "[]", "invalid_request"),
        ("cancel", "{", "invalid_json"),
        ("cancel?wait=61", "", "invalid_parameter"),
        ("cancel?wat=1", "", "unknown_parameter"),
        ("retry", '{"attempts": 0}', "invalid_field"),
        ("retry", '{"attempts": 1001}', "invalid_field"),
        ("retry", '{"attempts": 1.5}', "invalid_field"),
        ("retry?wait=1", "", "unknown_parameter"),
    ]:
        answer = client.request(
            "POST", "/v1/tasks/%s/%s" % (id, path), data=body,
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["code"]) == (400, code), path + body
    assert client.get(id)["state"] == "scheduled" and events(db, id) == []


def test_another_applications_task_is_not_there(client, node, db):
    id = client.submit("shoal.noop", delay=3600)["id"]
    other = Client(node.url, apps.make_key(db, "other"))
    for method, path in [
        ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", ""), ("DELETE", "/payload"),
    ]:
        answers = [
            other.request(method, "/v1/tasks/%s%s" % (name, path))
            for name in (id, "01935b1e-7c7a-7d33-9f0e-2a6f4c1d8b90", "nonsense")
        ]
        assert [a.status_code for a in answers] == [404] * 3
        assert len({a.content for a in answers}) == 1
    assert client.get(id)["state"] == "scheduled"


# --------------------------------------------------------------------- what runs


def test_a_sleep_is_cancelled_while_it_runs(client, db, key):
    id = client.submit("shoal.sleep", {"seconds": 60})["id"]
    client.wait_state(id, "running")
    answer = client.request("POST", "/v1/tasks/%s/cancel" % id)
    assert answer.status_code == 202 and answer.json()["state"] == "running"
    task = client.wait(id, at_most=5)
    assert (task["state"], task["error"]["code"], task["attempt"]) == ("cancelled", "cancelled", 1)
    assert [kind for kind, _ in events(db, id)] == [CANCELLING_EVENT, CANCELLED_EVENT]
    assert events(db, id)[0][1] == {"by": public_id(key)}
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.cancel_request") == 0,
             what="the request is removed")


def test_cancel_with_wait_answers_with_the_end(client):
    id = client.submit("shoal.sleep", {"seconds": 60})["id"]
    client.wait_state(id, "running")
    answer = client.request("POST", "/v1/tasks/%s/cancel?wait=10" % id)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_the_waiters_of_a_cancelled_task_are_told(cluster, key):
    one, two = cluster(2)
    here, there = Client(one.url, key), Client(two.url, key)
    for type, payload in [("nobody.serves.this", None), ("shoal.sleep", {"seconds": 60})]:
        id = here.submit(type, payload)["id"]
        if payload:
            here.wait_state(id, "running")
        told = []

        def wait():
            told.append(here.at(one).call("GET", "/v1/tasks/%s?wait=30" % id, expect=200))

        thread = threading.Thread(target=wait)
        thread.start()
        # the row names its waiter: from then on it is told by message
        wait_for(lambda: here.request("GET", "/v1/tasks/%s" % id).status_code == 200)
        time.sleep(0.3)
        began = time.monotonic()
        there.cancel(id, expect=(200, 202))
        thread.join(10)
        assert told and told[0]["state"] == "cancelled"
        assert time.monotonic() - began < patience(1.5)


def run_stubborn(cluster, key, nodedir, **options):
    """Two nodes, a command with a deaf child on one of them: (its client, the other's, id, group)."""
    recorder = Recorder(nodedir, "stubborn", STUBBORN, timeout="600s", grace="500ms")
    nodes = cluster(2, node__workers=1, settings=recorder.settings(), **options)
    clients = [Client(n.url, key) for n in nodes]
    id = clients[0].submit("stubborn")["id"]
    wait_for(lambda: len(recorder.text("pids").split()) == 2, what="the command runs")
    group = recorder.starts()[0].pid
    owner = clients[0].wait_state(id, "running")["worker"]
    there = [c for c, n in zip(clients, nodes) if node_id(n) != owner.split("-")[0]]
    assert len(there) == 1
    return nodes, there[0], id, group


def test_a_commands_whole_group_is_gone_within_2_s_of_a_cancel_on_another_node(
    cluster, key, nodedir
):
    _, there, id, group = run_stubborn(cluster, key, nodedir)
    assert len(processes_of_group(group)) >= 2
    began = time.monotonic()
    there.cancel(id, expect=202)
    wait_for(lambda: not processes_of_group(group), at_most=10, every=0.01, what="the group is gone")
    took = time.monotonic() - began
    print("gone after %.2f s" % took)
    assert took < patience(2)
    task = there.wait(id, at_most=5)
    assert (task["state"], task["error"]["code"]) == ("cancelled", "cancelled")
    assert task["attempt"] == 1


def test_the_same_without_redis(cluster, key, nodedir, private_redis):
    _, there, id, group = run_stubborn(
        cluster, key, nodedir, redis_url=private_redis.url()
    )
    private_redis.kill()
    began = time.monotonic()
    there.cancel(id, expect=202)
    wait_for(lambda: not processes_of_group(group), at_most=10, every=0.01, what="the group is gone")
    took = time.monotonic() - began
    print("gone after %.2f s without redis" % took)
    assert took < patience(2)
    assert there.wait(id, at_most=5)["state"] == "cancelled"


def test_a_lost_message_is_found_within_2_s(client, db):
    id = client.submit("shoal.sleep", {"seconds": 60})["id"]
    client.wait_state(id, "running")
    began = time.monotonic()
    # as cancel does, and nobody is told
    db.rows("SELECT * FROM shoal.cancel_task((SELECT app_id FROM shoal.task WHERE id = %s), %s, NULL)",
            id, id)
    assert client.wait(id, at_most=5)["state"] == "cancelled"
    assert time.monotonic() - began < patience(2)


def test_a_task_that_ended_otherwise_is_not_cancelled(client, db):
    done = client.run("shoal.noop")["id"]
    assert refusal(client.cancel, done) == (409, "already_ended", "succeeded")
    failed = client.run("shoal.fail", max_attempts=1)["id"]
    assert refusal(client.cancel, failed) == (409, "already_ended", "failed")
    assert client.get(done)["state"] == "succeeded" and client.get(failed)["state"] == "failed"
    assert row(db, done, "cancel_at") == (None,)


def test_an_attempt_that_ends_well_before_it_hears_has_succeeded(cluster, key, nodedir):
    # it takes TERM for a reason to finish early, and to finish well
    recorder = Recorder(
        nodedir, "polite", 'trap "echo 7; exit 0" TERM; echo >$dir/up; sleep 60 & wait',
        timeout="600s", grace="5s",
    )
    (node,) = cluster(1, settings=recorder.settings())
    client = Client(node.url, key)
    id = client.submit("polite")["id"]
    wait_for(lambda: os.path.exists(recorder.path("up")))
    answer = client.request("POST", "/v1/tasks/%s/cancel?wait=20" % id)
    assert (answer.status_code, answer.json()["code"], answer.json()["state"]) == (
        409, "already_ended", "succeeded")
    assert client.get(id)["result"] == 7


def test_cancel_racing_with_the_end_has_exactly_one_outcome(client, db):
    outcomes = {"cancelled": 0, "succeeded": 0}
    for i in range(200):
        id = client.submit("shoal.sleep", {"seconds": 0.002 * (i % 10)})["id"]
        answer = client.request("POST", "/v1/tasks/%s/cancel" % id)
        assert answer.status_code in (200, 202, 409), answer.text
        said = answer.json()["state"]
        task = client.wait(id, at_most=10)
        outcomes[task["state"]] += 1
        if answer.status_code == 200:
            assert task["state"] == said == "cancelled"
        if answer.status_code == 409:
            assert task["state"] == said == "succeeded"
        ends = [kind for kind, _ in events(db, id) if kind == CANCELLED_EVENT]
        assert len(ends) == (task["state"] == "cancelled")
        assert (task["error"] is None) == (task["state"] == "succeeded")
    print(outcomes)
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.cancel_request") == 0)
    # nothing moves any more
    before = db.rows("SELECT id, state, attempt, finished_at FROM shoal.task ORDER BY id")
    stays(lambda: db.rows("SELECT id, state, attempt, finished_at FROM shoal.task ORDER BY id")
          == before, for_seconds=1.5)


def test_a_killed_workers_cancelled_task_ends_cancelled(cluster, key, db):
    (node,) = cluster(1, node__workers=1)
    client = Client(node.url, key)
    id = client.submit("shoal.sleep", {"seconds": 60})["id"]
    client.wait_state(id, "running")
    # it cannot hear any more, and another says it of its row
    (pid,) = node.worker_pids()
    os.kill(pid, signal.SIGSTOP)
    db.rows("SELECT * FROM shoal.cancel_task((SELECT app_id FROM shoal.task WHERE id = %s), %s, NULL)",
            id, id)
    os.kill(pid, signal.SIGKILL)
    task = client.wait(id, at_most=15)
    assert (task["state"], task["attempt"]) == ("cancelled", 1)
    stays(lambda: client.get(id)["state"] == "cancelled")


def test_a_drained_worker_does_not_give_a_cancelled_task_to_others(cluster, key, nodedir):
    recorder = Recorder(
        nodedir, "slow", 'trap "" TERM; echo >>$dir/up; sleep 300', timeout="600s", grace="20s"
    )
    one, two = cluster(2, node__workers=1, node__shutdown_timeout="1s", settings=recorder.settings())
    here, there = Client(one.url, key), Client(two.url, key)
    id = here.submit("slow")["id"]
    owner = here.wait_state(id, "running")["worker"].split("-")[0]
    wait_for(lambda: os.path.exists(recorder.path("up")))
    node, other = (one, there) if owner == node_id(one) else (two, here)
    other.cancel(id, expect=202)
    node.stop()
    assert other.wait(id, at_most=15)["state"] == "cancelled"
    assert len(recorder.starts()) == 1


# --------------------------------------------------------------------- again by hand


def test_again_by_hand_from_each_state_keeps_growing_the_attempt(client, db, key):
    failed = client.run("shoal.fail", {"times": 2, "message": "no"}, max_attempts=1)
    assert failed["state"] == "failed"
    again = client.retry(failed["id"], expect=200, json={"reason": "the disk is back"})
    assert (again["state"], again["attempt"], again["max_attempts"]) == ("queued", 1, 2)
    assert (again["error"], again["finished_at"]) == (None, None)
    task = client.wait(failed["id"])
    assert (task["state"], task["attempt"], task["failures"]) == ("failed", 2, 2)
    client.retry(failed["id"])
    task = client.wait(failed["id"])
    assert (task["state"], task["attempt"]) == ("succeeded", 3)
    details = [d for kind, d in events(db, failed["id"]) if kind == RETRIED_EVENT]
    assert details == [
        {"by": public_id(key), "reason": "the disk is back"}, {"by": public_id(key)}
    ]

    cancelled = client.submit("shoal.sleep", {"seconds": 1.5})["id"]
    client.wait_state(cancelled, "running")
    client.call("POST", "/v1/tasks/%s/cancel?wait=10" % cancelled, expect=200)
    client.retry(cancelled)
    task = client.wait(cancelled)
    assert (task["state"], task["attempt"]) == ("succeeded", 2)
    assert row(db, cancelled, "cancel_at") == (None,)

    # expired: as the leader leaves it
    expired = client.submit("shoal.noop", delay=3600)["id"]
    db.rows(
        "UPDATE shoal.task SET state = 6, due_at = NULL, finished_at = now(), special = 8,"
        " deadline = now() - interval '1 minute', retry_until = now() - interval '1 minute'"
        " WHERE id = %s RETURNING 1", expired)
    client.retry(expired)
    task = client.wait(expired)
    assert (task["state"], task["attempt"]) == ("succeeded", 1)
    assert row(db, expired, "deadline, retry_until, expire_at") == (None,) * 3


def test_again_by_hand_starts_at_once(client):
    id = client.run("shoal.fail", {"times": 1}, max_attempts=1)["id"]
    began = time.monotonic()
    client.retry(id)
    assert client.wait(id)["state"] == "succeeded"
    assert time.monotonic() - began < patience(0.7)


def test_again_by_hand_gives_room_for_so_many(client):
    id = client.run("shoal.fail", {"retry_in": 0}, max_attempts=1)["id"]
    assert client.retry(id, json={"attempts": 3})["max_attempts"] == 4
    task = client.wait(id)
    assert (task["state"], task["attempt"], task["failures"]) == ("failed", 4, 4)


def test_again_by_hand_keeps_a_deadline_that_is_to_come(client, db):
    id = client.submit("nobody.serves.this")["id"]
    db.rows("UPDATE shoal.task SET special = 8, deadline = now() + interval '1 hour',"
            " expire_at = now() + interval '1 hour' WHERE id = %s RETURNING 1", id)
    client.cancel(id)
    client.retry(id)
    deadline, expire_at = row(db, id, "deadline, expire_at")
    assert deadline is not None and deadline == expire_at


def test_what_has_not_failed_is_not_run_again(client):
    later = client.submit("shoal.noop", delay=3600)["id"]
    assert refusal(client.retry, later) == (409, "not_ended", "scheduled")
    running = client.submit("shoal.sleep", {"seconds": 60})["id"]
    client.wait_state(running, "running")
    assert refusal(client.retry, running) == (409, "not_ended", "running")
    done = client.run("shoal.noop")["id"]
    assert refusal(client.retry, done) == (409, "succeeded", "succeeded")
    assert client.get(done)["attempt"] == 1


# --------------------------------------------------------------------- delete and erase


def test_only_what_has_ended_is_deleted(client, db):
    later = client.submit("shoal.noop", delay=3600)["id"]
    assert refusal(delete, client, later) == (409, "not_ended", "scheduled")
    client.cancel(later)
    answer = client.request("DELETE", "/v1/tasks/%s" % later)
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.request("GET", "/v1/tasks/%s" % later).status_code == 404
    assert client.request("DELETE", "/v1/tasks/%s" % later).status_code == 404
    assert events(db, later) == []


def test_erasing_leaves_no_byte_of_the_payload(client, db, key):
    secret = "Erika-Mustermann-4711"
    id = client.run("shoal.echo", {"who": secret}, metadata={"person": secret})["id"]
    assert secret in str(row(db, id))
    task = delete(client, id, "/payload")
    assert (task["state"], task["payload"], task["metadata"], task["result"]) == (
        "succeeded", None, None, None)
    failed = client.run("shoal.fail", {"message": secret, "retry_in": 0}, max_attempts=2)["id"]
    client.retry(failed, json={"reason": "once more"})
    client.wait(failed)
    delete(client, failed, "/payload")
    for one in (id, failed):
        assert secret not in str(row(db, one))
        assert secret not in str(db.rows("SELECT * FROM shoal.event WHERE task_id = %s", one))
        assert events(db, one)[-1] == (ERASED_EVENT, {"by": public_id(key)})
        delete(client, one, "/payload")  # again: nothing more
        assert [k for k, _ in events(db, one)].count(ERASED_EVENT) == 1
    task = client.get(failed)
    assert (task["state"], task["error"]["code"], task["attempt"]) == ("failed", "failed", 3)
    assert refusal(client.retry, failed) == (409, "payload_deleted", "failed")


def test_what_may_still_run_is_not_erased(client, db):
    id = client.submit("shoal.sleep", {"seconds": 60})["id"]
    client.wait_state(id, "running")
    assert refusal(delete, client, id, "/payload") == (409, "not_ended", "running")
    client.call("POST", "/v1/tasks/%s/cancel?wait=10" % id, expect=200)
    assert delete(client, id, "/payload")["payload"] is None


# --------------------------------------------------------------------- what it costs


def test_nothing_is_asked_for_while_nothing_runs_for_long(cluster, key, db):
    (node,) = cluster(1, node__workers=1)
    client = Client(node.url, key)
    for _ in range(50):
        client.run("shoal.noop")
    scans = "SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::int FROM" \
        " pg_stat_user_tables WHERE relname = 'cancel_request'"
    before = db.value(scans)
    stays(lambda: db.value(scans) == before, for_seconds=3, every=0.5)

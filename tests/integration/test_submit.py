# SPDX-License-Identifier: BSD-2-Clause
"""A task's ordinary life, on one node and across two."""

import json
import os
import stat
import time

import pytest
from shoaltest.client import Client, Refused
from shoaltest.waits import wait_for

KIB = 1024


@pytest.fixture
def client(guest):
    """What one node does is asked of the same one: each test has an application of its own."""
    return guest


def command_type(name, command, **more):
    """Settings of an exec type."""
    settings = {"type:%s.handler" % name: "exec", "type:%s.command" % name: command}
    settings.update({"type:%s.%s" % (name, k): v for k, v in more.items()})
    return settings


@pytest.fixture
def script(nodedir):
    """script("text") is the path of an executable with that text."""

    def write(text, name="script"):
        path = "%s/%s" % (nodedir, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        return path

    return write


def of_size(total):
    """A JSON string whose text in the request is exactly that many bytes."""
    return "x" * (total - 2)


# --------------------------------------------------------------------- one node


def test_echo_gives_back_the_payload(client):
    payload = {"hello": "world", "n": [1, 2.5, None, True], "é": "\U0001f41f"}
    task = client.run("shoal.echo", payload)
    assert task["state"] == "succeeded"
    assert task["result"] == payload
    assert task["payload"] == payload
    assert task["type"] == "shoal.echo"
    assert task["attempt"] == 1
    for field in ("id", "queue", "priority", "created_at", "run_at", "started_at", "finished_at"):
        assert task.get(field) is not None, field
    assert task["created_at"].endswith("Z")


def test_payload_bytes_are_not_rebuilt(client):
    # numbers beyond 64 bits, spelling and order survive only if nobody parses and prints them
    text = '{"type":"shoal.echo","payload":{"b":1.10,"a":123456789012345678901234567890,"a2":1e2}}'
    answer = client.request(
        "POST", "/v1/tasks", data=text, headers={"Content-Type": "application/json"},
        params={"wait": 10},
    )
    assert answer.status_code in (200, 201), answer.text
    assert '{"b":1.10,"a":123456789012345678901234567890,"a2":1e2}' in answer.text


def test_submit_with_wait_answers_with_the_result(client):
    task = client.call(
        "POST", "/v1/tasks", params={"wait": 10}, json={"type": "shoal.echo", "payload": 7}
    )
    assert (task["state"], task["result"]) == ("succeeded", 7)


def test_wait_ends_without_a_result_when_its_time_is_up(client):
    id = client.submit("shoal.sleep", {"seconds": 5})["id"]
    started = time.monotonic()
    task = client.call("GET", "/v1/tasks/%s" % id, params={"wait": 1})
    assert task["state"] in ("queued", "running")
    assert 0.9 < time.monotonic() - started < 4


def test_a_submitted_task_can_be_read_at_once(client):
    id = client.submit("shoal.sleep", {"seconds": 1})["id"]
    assert client.get(id)["id"] == id


def test_noop_succeeds(client):
    assert client.run("shoal.noop")["state"] == "succeeded"


def test_batch_is_accepted_in_order(client):
    tasks = [{"type": "shoal.echo", "payload": n} for n in range(250)]
    made = client.batch(tasks)
    assert len({t["id"] for t in made}) == 250
    for n, t in enumerate(made):
        assert client.wait(t["id"])["result"] == n


def test_batch_may_be_a_bare_array(client):
    made = client.call("POST", "/v1/tasks/batch", json=[{"type": "shoal.noop"}] * 3)["tasks"]
    assert len(made) == 3


def test_batch_is_all_or_none(client):
    with pytest.raises(Refused) as refused:
        client.batch([{"type": "shoal.noop"}, {"type": ""}])
    assert refused.value.response.status_code == 400
    assert client.list()["tasks"] == []


def test_batch_of_more_than_a_thousand_is_refused(client):
    with pytest.raises(Refused) as refused:
        client.batch([{"type": "shoal.noop"}] * 1001)
    assert refused.value.response.status_code in (400, 413)
    assert len(client.batch([{"type": "shoal.noop"}] * 1000)) == 1000


def test_payload_of_256_kib_is_the_edge(client):
    fits = client.run("shoal.echo", of_size(256 * KIB))
    assert fits["state"] == "succeeded" and fits["result"] == of_size(256 * KIB)
    with pytest.raises(Refused) as refused:
        client.submit("shoal.echo", of_size(256 * KIB + 1))
    assert refused.value.response.status_code == 413


def test_payload_may_be_configured_to_1_mib(cluster, key):
    (node,) = cluster(1, tasks__max_payload="1MiB")
    client = Client(node.url, key)
    fits = client.run("shoal.echo", of_size(KIB * KIB))
    assert fits["result"] == of_size(KIB * KIB)
    with pytest.raises(Refused) as refused:
        client.submit("shoal.echo", of_size(KIB * KIB + 1))
    assert refused.value.response.status_code == 413


def test_list_filters(client):
    done = client.run("shoal.echo", 1, queue="reports")
    failed = client.submit("shoal.fail", {"times": 99, "message": "no"}, max_attempts=1)["id"]
    client.wait(failed)
    later = client.submit("shoal.noop", delay=3600)["id"]

    def ids(**query):
        return {t["id"] for t in client.list(**query)["tasks"]}

    assert ids() == {done["id"], failed, later}
    assert ids(queue="reports") == {done["id"]}
    assert ids(state="failed") == {failed}
    assert ids(state="scheduled") == {later}
    assert ids(type="shoal.noop") == {later}
    assert ids(state="succeeded", type="shoal.noop") == set()
    assert ids(since=done["created_at"]) >= {failed, later}
    assert ids(until="2001-01-01T00:00:00Z") == set()


def test_cursor_walks_every_task_once(client):
    made = [t["id"] for t in client.batch([{"type": "shoal.noop"}] * 57)]
    seen = [t["id"] for t in client.list_all(limit=10)]
    assert sorted(seen) == sorted(made)
    assert len(client.list(limit=10)["tasks"]) == 10


def test_delay_holds_a_task_back(client):
    id = client.submit("shoal.noop", delay=2)["id"]
    assert client.get(id)["state"] == "scheduled"
    task = client.wait(id, at_most=15)
    assert task["state"] == "succeeded"
    assert task["started_at"] >= task["run_at"] > task["created_at"]


def test_run_at_in_the_past_runs_now(client):
    assert client.run("shoal.noop", run_at="2020-01-01T00:00:00Z")["state"] == "succeeded"


def test_a_failed_attempt_is_repeated_after_a_pause(client):
    id = client.submit("shoal.fail", {"times": 1, "message": "not yet"})["id"]
    resting = client.wait_state(id, "scheduled")
    assert resting["attempt"] == 1
    assert resting["run_at"] > resting["created_at"]
    assert resting["max_attempts"] == 25
    # n^4 + 15 seconds and jitter
    done = client.wait(id, at_most=60)
    assert done["state"] == "succeeded"
    assert done["attempt"] == 2
    assert done["started_at"] >= resting["run_at"]


def test_the_last_failed_attempt_fails_the_task(client):
    task = client.run("shoal.fail", {"times": 99, "message": "it broke"}, max_attempts=1)
    assert task["state"] == "failed"
    assert "it broke" in task["error"]["message"]
    assert task["error"]["code"]
    assert task["result"] is None


def test_cancel_of_a_scheduled_task(client):
    id = client.submit("shoal.noop", delay=3600)["id"]
    client.cancel(id)
    assert client.get(id)["state"] == "cancelled"


def test_cancel_of_a_running_task(client):
    id = client.submit("shoal.sleep", {"seconds": 60})["id"]
    client.wait_state(id, "running")
    client.cancel(id)
    assert client.wait(id, at_most=10)["state"] == "cancelled"


def test_a_finished_task_cannot_be_cancelled(client):
    id = client.run("shoal.noop")["id"]
    with pytest.raises(Refused) as refused:
        client.cancel(id)
    assert refused.value.response.status_code == 409
    assert client.get(id)["state"] == "succeeded"


def test_retry_by_hand_of_a_failed_task(client):
    task = client.run("shoal.fail", {"times": 1, "message": "once"}, max_attempts=1)
    assert task["state"] == "failed"
    client.retry(task["id"])
    again = client.wait(task["id"])
    assert again["state"] == "succeeded"
    assert again["attempt"] == 2


def test_a_type_that_nobody_serves_stays_queued(client):
    id = client.submit("nobody.serves.this", {})["id"]
    assert client.run("shoal.noop")["state"] == "succeeded"
    assert client.get(id)["state"] == "queued"


def test_metadata_and_priority_are_kept(client):
    task = client.run("shoal.noop", metadata={"order": "A-17"}, priority=2)
    assert task["metadata"] == {"order": "A-17"}
    assert task["priority"] == 2


# ----------------------------------------------------------------- real commands


def test_exec_runs_the_command(cluster, key):
    (node,) = cluster(1, settings=command_type("wordcount", "/usr/bin/wc -w"))
    task = Client(node.url, key).run("wordcount", "one two three")
    assert task["state"] == "succeeded"
    # wc prints a number: valid JSON
    assert int(task["result"]) == 3


def test_exec_output_that_is_json_is_the_result(cluster, key, script):
    path = script(
        "#!/usr/bin/python3\n"
        "import json, os, sys\n"
        "payload = json.load(sys.stdin)\n"
        "print(json.dumps({'sum': sum(payload), 'id': os.environ['SHOAL_TASK_ID'],\n"
        "                  'attempt': os.environ['SHOAL_ATTEMPT']}))\n"
    )
    (node,) = cluster(1, settings=command_type("sum", path))
    task = Client(node.url, key).run("sum", [1, 2, 39])
    assert task["result"] == {"sum": 42, "id": task["id"], "attempt": "1"}


def test_exec_output_that_is_text_is_a_string(cluster, key):
    (node,) = cluster(1, settings=command_type("say", '/bin/echo "hello there"'))
    assert Client(node.url, key).run("say")["result"].strip() == "hello there"


def test_exec_failure_carries_the_tail_of_stderr(cluster, key, script):
    path = script("#!/bin/sh\necho 'the reason' >&2\nexit 3\n")
    (node,) = cluster(1, settings=command_type("bad", path))
    task = Client(node.url, key).run("bad", max_attempts=1)
    assert task["state"] == "failed"
    assert "the reason" in task["error"]["message"]


def test_exec_timeout_ends_the_whole_group(cluster, key, script, nodedir):
    path = script("#!/bin/sh\nsleep 300 &\necho $! > %s/grandchild\nwait\n" % nodedir)
    (node,) = cluster(1, settings=command_type("slow", path, timeout="1s", grace="1s"))
    task = Client(node.url, key).run("slow", max_attempts=1)
    assert task["state"] == "failed"
    with open(nodedir + "/grandchild") as f:
        pid = int(f.read())
    from shoaltest.process import alive

    wait_for(lambda: not alive(pid), what="the grandchild is gone")


def test_exec_result_up_to_1_mib(cluster, key, script):
    path = script(
        "#!/usr/bin/python3\nimport json, sys\n"
        "print(json.dumps('x' * (json.load(sys.stdin) - 3)))\n"
    )
    (node,) = cluster(1, settings=command_type("big", path))
    client = Client(node.url, key)
    fits = client.run("big", KIB * KIB)
    assert fits["state"] == "succeeded" and len(fits["result"]) == KIB * KIB - 3
    assert client.run("big", KIB * KIB + 1)["state"] == "failed"


# -------------------------------------------------------------------- two nodes


def test_any_node_answers_for_any_task(cluster, key):
    one, two = cluster(2)
    here, there = Client(one.url, key), Client(two.url, key)
    for payload in range(20):
        id = here.submit("shoal.echo", payload)["id"]
        assert there.wait(id)["result"] == payload
        assert here.get(id) == there.get(id)


def test_work_submitted_here_runs_there(cluster, key):
    # the first node has no such command: only the other one can run it
    settings = command_type("only.there", "/bin/cat")
    (one,) = cluster(1)
    (two,) = cluster(1, settings=settings)
    task = Client(one.url, key).run("only.there", {"n": 1})
    assert task["result"] == {"n": 1}
    assert Client(two.url, key).get(task["id"])["state"] == "succeeded"


def test_both_nodes_take_part(cluster, key):
    one, two = cluster(2)
    client = Client(one.url, key)
    made = client.batch([{"type": "shoal.sleep", "payload": {"seconds": 0.05}}] * 400)
    nodes = {client.wait(t["id"], at_most=60)["worker"].split("-")[0] for t in made}
    assert len(nodes) == 2


def test_a_waiter_on_another_node_is_told(cluster, key):
    one, two = cluster(2)
    here, there = Client(one.url, key), Client(two.url, key)
    id = here.submit("shoal.sleep", {"seconds": 1})["id"]
    started = time.monotonic()
    task = there.call("GET", "/v1/tasks/%s" % id, params={"wait": 20})
    assert task["state"] == "succeeded"
    assert time.monotonic() - started < 5


def test_same_idempotency_key_is_one_task(cluster, key):
    one, two = cluster(2)
    headers = {"Idempotency-Key": "order-17"}
    body = {"type": "shoal.echo", "payload": 1}
    first = Client(one.url, key).call("POST", "/v1/tasks", json=body, headers=headers)
    second = Client(two.url, key).call("POST", "/v1/tasks", json=body, headers=headers)
    assert first["id"] == second["id"]
    other = Client(one.url, key).request(
        "POST", "/v1/tasks", data=json.dumps({"type": "shoal.echo", "payload": 2}),
        headers=dict(headers, **{"Content-Type": "application/json"}),
    )
    assert other.status_code == 422

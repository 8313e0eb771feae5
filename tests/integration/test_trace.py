# SPDX-License-Identifier: BSD-2-Clause
"""The trace that a task was made in goes with it: to every kind of handler, into logs, events and answers."""

import json
import re
import sys
import textwrap
import uuid

import pytest
from shoaltest.client import Client, Refused
from shoaltest.stream import Stream
from shoaltest.waits import wait_for

from test_cli import USAGE, shoal
from test_http_handler import Endpoint

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = "00-%s-%s-01" % (TRACE, SPAN)
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
HEADERS = {"traceparent": PARENT, "tracestate": STATE}

CHILD = """
    import json, sys
    for line in sys.stdin:
        message = json.loads(line)
        if "hello" in message:
            answer = {"hello": {"version": 1}}
        elif "task" in message:
            task = message["task"]
            answer = {"id": task["id"], "result": [task.get("traceparent"), task.get("tracestate")]}
        elif "ping" in message:
            answer = {"pong": message["ping"]}
        else:
            continue
        print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def endpoint(aftermath):
    made = Endpoint()
    aftermath.callback(made.close)
    return made


@pytest.fixture
def node(cluster, endpoint, tmp_path):
    """One node with a type of each kind."""
    texts = {
        "child.py": textwrap.dedent(CHILD),
        "told.sh": "echo ${TRACEPARENT-none} ${TRACESTATE-none}\n",
        "twice.sh": "echo $TRACEPARENT >&2\n[ $SHOAL_ATTEMPT -ge 2 ] || exit 75\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (made,) = cluster(1, settings={
        "node.workers": 1,
        "egress.allow_networks": "127.0.0.0/8",
        "egress.ports": str(endpoint.port),
        "type:command.handler": "exec",
        "type:command.command": "/bin/sh %s" % (tmp_path / "told.sh"),
        "type:twice.handler": "exec",
        "type:twice.command": "/bin/sh %s" % (tmp_path / "twice.sh"),
        "type:twice.backoff": "fixed delay=50ms",
        "type:child.handler": "stream",
        "type:child.command": "%s %s" % (sys.executable, tmp_path / "child.py"),
        "type:request.handler": "http",
        "type:request.url": endpoint.url + "/trace",
        "type:lease.handler": "pull",
    })
    return made


@pytest.fixture
def client(node, key):
    return Client(node.url, key)


def span_of(traceparent):
    """Of what a handler was told: the trace goes on, under a span of the attempt."""
    found = re.fullmatch("00-%s-([0-9a-f]{16})-01" % TRACE, traceparent)
    assert found, traceparent
    assert found.group(1) not in (SPAN, "0" * 16)
    return found.group(1)


def events(client, id):
    return client.call("GET", "/v1/tasks/%s/events" % id, expect=200)["events"]


def lease(client):
    held = wait_for(lambda: client.call(
        "POST", "/v1/leases", json={"queues": ["default"], "wait": 2})["leases"], what="a lease")[0]
    client.call("POST", "/v1/leases/%s/complete" % held["lease"], json={"result": None})
    return held["task"]


def told(client, endpoint, type, task):
    """The traceparent and tracestate that the attempt at the task was given."""
    if type == "lease":
        given = lease(client)
        assert given["id"] == task["id"]
        return given.get("traceparent"), given.get("tracestate")
    done = client.wait(task["id"])
    assert done["state"] == "succeeded", done
    if type == "command":
        return tuple(None if word == "none" else word for word in done["result"].split(" "))
    if type == "child":
        return tuple(done["result"])
    (request,) = endpoint.of(task["id"])
    return request.headers["traceparent"], request.headers["tracestate"]


def test_every_kind_of_handler_is_told_the_trace(client, endpoint):
    endpoint.answers["/trace"] = (200, {}, b"null")
    for type in ("command", "child", "request", "lease"):
        task = client.submit(type, headers=HEADERS)
        assert task["trace_id"] == TRACE
        traceparent, tracestate = told(client, endpoint, type, task)
        span = span_of(traceparent)
        assert tracestate == STATE, type
        assert client.get(task["id"])["trace_id"] == TRACE
        assert client.list(type=type)["tasks"][0]["trace_id"] == TRACE
        life = events(client, task["id"])
        assert {e["trace_id"] for e in life} == {TRACE}
        assert [e["kind"] for e in life] == ["created", "started", "succeeded"]
        assert [e.get("span_id") for e in life] == [None, span, span], type
        # one without a trace has none, and begins none
        task = client.submit(type)
        assert told(client, endpoint, type, task) == (None, None), type
        assert "trace_id" not in client.get(task["id"])
        assert "trace_id" not in client.list(type=type)["tasks"][0]
        assert not any("trace_id" in e or "span_id" in e for e in events(client, task["id"]))


def test_each_attempt_has_a_span_of_its_own_also_by_hand(client):
    task = client.submit("twice", headers={"traceparent": PARENT})
    done = client.wait(task["id"])
    assert done["state"] == "succeeded" and done["attempt"] == 2
    first, second = [e for e in events(client, task["id"]) if e["kind"] in ("retrying", "succeeded")]
    assert span_of(first["message"].strip()) == first["span_id"]
    assert first["span_id"] != second["span_id"]
    # a task that failed, again by hand
    task = client.submit("shoal.fail", {"times": 1}, max_attempts=1, headers={"traceparent": PARENT})
    assert client.wait(task["id"])["state"] == "failed"
    again = client.retry(task["id"])
    assert again["trace_id"] == TRACE
    done = client.wait(task["id"])
    assert done["state"] == "succeeded" and done["trace_id"] == TRACE


def test_what_is_no_trace_is_none(client):
    for wrong in ("", "x", PARENT.upper(), "00-%s-%s-01" % ("0" * 32, SPAN), PARENT + "-more", "ff" + PARENT[2:]):
        assert "trace_id" not in client.submit("shoal.noop", headers={"traceparent": wrong}), wrong
        assert "trace_id" not in client.submit("shoal.noop", traceparent=wrong), wrong
    # what a version to come may look like, and a state that is not kept
    task = client.submit("command", headers={"traceparent": "42" + PARENT[2:] + "-more", "tracestate": "NO"})
    assert client.wait(task["id"])["result"] == "00-%s-%s-01 none" % (
        TRACE, events(client, task["id"])[1]["span_id"])
    for value in (7, ["x"], {}):
        with pytest.raises(Refused) as refused:
            client.submit("shoal.noop", traceparent=value)
        assert refused.value.response.json()["code"] == "invalid_field"
    assert client.submit("shoal.noop", traceparent=None, headers=HEADERS)["trace_id"] == TRACE


def test_a_task_of_a_batch_may_have_a_trace_of_its_own(client):
    other = "00-%032x-%016x-00" % (1, 2)
    made = client.call("POST", "/v1/tasks/batch", headers=HEADERS, json={"tasks": [
        {"type": "command"}, {"type": "command", "traceparent": other, "tracestate": "a=b"},
        {"type": "command", "traceparent": other}, {"type": "command", "traceparent": "x"}]})["tasks"]
    done = [client.wait(t["id"]) for t in made]
    assert [t["trace_id"] for t in done] == [TRACE, "%032x" % 1, "%032x" % 1, TRACE]
    assert [t["result"].split(" ")[1] for t in done] == [STATE, "a=b", "none", STATE]
    assert [t["result"][-2:] for t in (dict(t, result=t["result"].split(" ")[0]) for t in done)] == [
        "01", "00", "00", "01"]


def test_special_tasks_callbacks_and_keys_keep_it(client):
    # a graph with a callback: all are made by this request
    group = client.call("POST", "/v1/groups", headers=HEADERS, json={
        "tasks": [{"type": "command", "ref": "a"}, {"type": "command", "after": ["a"]}],
        "on_success": {"type": "command"}})
    view = wait_for(lambda: (lambda g: g if g["success_task"] else None)(
        client.call("GET", "/v1/groups/%s" % group["id"])), what="the callback")
    ids = [t["id"] for t in group["tasks"]] + [view["success_task"]]
    done = [client.wait(id) for id in ids]
    assert len({span_of(t["result"].split(" ")[0]) for t in done}) == 3
    assert [t["result"].split(" ")[1] for t in done] == [STATE] * 3
    page = client.call("GET", "/v1/groups/%s/tasks" % group["id"])
    assert [t["trace_id"] for t in page["tasks"]] == [TRACE] * 2
    # a repeated request may come from another span: the header is no part of it
    keyed = dict(HEADERS, **{"Idempotency-Key": "k"})
    one = client.submit("shoal.noop", headers=keyed)
    again = client.submit("shoal.noop", headers=dict(keyed, traceparent="00-%032x-%016x-01" % (1, 1)))
    assert again["id"] == one["id"]
    assert client.get(one["id"])["trace_id"] == TRACE
    # who takes another's place brings the trace of what is run
    first = client.submit("shoal.noop", unique_key="u", on_conflict="replace", delay=3600)
    assert "trace_id" not in first
    second = client.submit("shoal.noop", {"n": 2}, unique_key="u", on_conflict="replace", delay=3600,
                           headers=HEADERS, expect=200)
    assert (second["id"], second["trace_id"]) == (first["id"], TRACE)


def test_each_fire_of_a_schedule_begins_a_trace(client):
    with pytest.raises(Refused) as refused:
        client.call("PUT", "/v1/schedules/tick", json={
            "cron": "@every 1s", "task": {"type": "command", "traceparent": PARENT}})
    assert "traceparent" in refused.value.response.json()["detail"]
    client.call("PUT", "/v1/schedules/tick", headers=HEADERS, json={
        "cron": "@every 1s", "task": {"type": "command"}})
    done = wait_for(lambda: [t for t in client.list(type="command", state="succeeded")["tasks"]][1:],
                    what="two fires", at_most=20)
    client.call("DELETE", "/v1/schedules/tick")
    for task in done:
        assert task["trace_id"] == uuid.UUID(task["id"]).hex
        result = client.get(task["id"])["result"]
        assert re.fullmatch("00-%s-[0-9a-f]{16}-01 none" % task["trace_id"], result)


def test_a_submit_from_sql_may_say_it(client, db):
    def submit(**options):
        return db.value("SELECT shoal.submit('test', 'command', NULL, %s::json)", json.dumps(options))

    done = client.wait(submit(traceparent=PARENT, tracestate=STATE))
    span_of(done["result"].split(" ")[0])
    assert done["result"].split(" ")[1] == STATE
    cases = (
        # traceparent, tracestate, what is kept
        (" cc" + PARENT[2:] + "-x ", None, PARENT),
        (PARENT[:-2] + "fd", "a=b , ,c=d", PARENT + " a=b,c=d"),
        (PARENT, "A=b", PARENT), (PARENT, "a=b=c", PARENT), (PARENT, "a", PARENT), (PARENT, "", PARENT),
        (PARENT, "a=" + "x" * 254, PARENT + " a=" + "x" * 254), (PARENT, "a=%s,b=%s" % ("x" * 256, "x" * 256), PARENT),
        (PARENT, ",".join(["a=1"] * 33), PARENT), (PARENT, "a=\u00e9", PARENT),
        (PARENT.upper(), STATE, None), (PARENT + "-x", STATE, None), ("ff" + PARENT[2:], STATE, None),
        ("00-%s-%s-01" % ("0" * 32, SPAN), STATE, None), ("00-%s-%s-01" % (TRACE, "0" * 16), STATE, None),
        ("", "", None),
    )
    for parent, state, kept in cases:
        id = submit(traceparent=parent, tracestate=state)
        assert db.value("SELECT trace FROM shoal.task WHERE id = %s", id) == kept, (parent, state)
    with pytest.raises(Exception, match="traceparent must be a string, not 7"):
        submit(traceparent=7)


def test_logs_and_the_stream_name_trace_and_span(client, node, key):
    stream = Stream(node.url, key).wait_open()
    task = client.submit("shoal.sleep", {"seconds": 60}, headers=HEADERS)
    client.wait_state(task["id"], "running")
    client.cancel(task["id"])
    client.wait(task["id"])
    stream.wait(3)
    stream.close()
    told_of = [e["data"] for e in stream.events if e["data"]["task"] == task["id"]]
    assert {e["trace_id"] for e in told_of} == {TRACE}
    span = events(client, task["id"])[1]["span_id"]
    assert {e["span_id"] for e in told_of if e["attempt"]} == {span}
    line = "task=%s a running task is told to end attempt=1 trace=%s span=%s" % (task["id"], TRACE, span)
    wait_for(lambda: line in node.log(), what="the line of the log")


def test_shoal_submit_hands_its_own_trace_on(client, node, key):
    def submit(*words, **env):
        return shoal("submit", "command", *words, env=dict(env, SHOAL_URL=node.url, SHOAL_API_KEY=key))

    id = submit(TRACEPARENT=PARENT, TRACESTATE=STATE).out.strip()
    done = client.wait(id)
    assert done["result"].split(" ")[1] == STATE and done["trace_id"] == TRACE
    id = submit("--traceparent", "00-%032x-%016x-01" % (1, 1), TRACEPARENT=PARENT, TRACESTATE=STATE).out.strip()
    done = client.wait(id)
    assert done["result"].split(" ")[1] == "none" and done["trace_id"] == "%032x" % 1
    assert "trace_id" not in client.get(submit(TRACEPARENT="what is no trace").out.strip())
    wrong = submit("--traceparent", "x")
    assert wrong.status == USAGE and "W3C Trace Context" in wrong.err

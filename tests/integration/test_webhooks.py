# SPDX-License-Identifier: BSD-2-Clause
"""Applications are told of their tasks' ends: each once, signed, and tried until it is taken."""

import base64
import json
import os
import re
import signal
import subprocess
import time

import pytest
import requests
from shoaltest import apps
from shoaltest.client import Client, Refused
from shoaltest.node import program, program_env
from shoaltest.waits import wait_for
from test_http_handler import Endpoint, signature

FINAL = ["succeeded", "failed", "cancelled", "expired"]
DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/webhooks.md")
KEY = "k1 " + base64.b64encode(bytes(range(32))).decode() + "\n"


class Receiver(Endpoint):
    """A receiver: its answer to all is .answer, (status, headers, body)."""

    def __init__(self):
        super().__init__()
        self.answer = (200, {}, b"")
        self.answers["/hook"] = lambda handler, request: self.answer
        self.secret = None

    def messages(self):
        return [json.loads(r.body) for r in list(self.requests)]

    def ids(self):
        return [r.headers["Webhook-Id"] for r in list(self.requests)]

    def told(self, id, at_most=20):
        """The first message about this task."""
        return wait_for(lambda: [m for m in self.messages() if m["data"].get("id") == id], at_most,
                        what="%s is told" % id)[0]


@pytest.fixture
def receiver(aftermath):
    made = Receiver()
    aftermath.callback(made.close)
    return made


@pytest.fixture
def nodes(cluster, receiver, nodedir):
    """nodes(n) are nodes that may call the receiver."""
    def make(count=1, **changes):
        path = os.path.join(nodedir, "secrets")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as f:
            f.write(KEY)
        return cluster(count, settings={
            "egress.allow_networks": "127.0.0.0/8", "egress.ports": str(receiver.port), "node.workers": 1,
            "secrets.key_file": path}, **changes)

    return make


def subscribe(client, receiver, name="hook", **fields):
    """A webhook for all ends, at an endpoint for the receiver."""
    made = client.call("PUT", "/v1/endpoints/receiver", json={"url": receiver.url + "/hook"})
    receiver.secret = made.get("secret") or receiver.secret
    return put(client, name, **fields)


def put(client, name="hook", expect=(200, 201), **fields):
    body = dict({"endpoint": "receiver", "states": FINAL}, **fields)
    return client.call("PUT", "/v1/webhooks/%s" % name, expect=expect, json=body)


def get(client, name="hook"):
    return client.call("GET", "/v1/webhooks/%s" % name, expect=200)


def deliveries(client, name="hook", **query):
    return client.call("GET", "/v1/webhooks/%s/deliveries" % name, expect=200, params=query)


@pytest.fixture
def app(nodes, key, receiver):
    """An application with a webhook for all ends, at a node of its own."""
    (node,) = nodes()
    client = Client(node.url, key)
    client.node = node
    subscribe(client, receiver)
    return client


def code_of(call):
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.response.status_code, refused.value.response.json()["code"]


def failing(**fields):
    return dict({"type": "shoal.fail", "payload": {"message": "broken"}, "max_attempts": 1}, **fields)


# --------------------------------------------------------------------- ends


def test_every_way_to_an_end_is_told_once(app, receiver, db):
    app.call("PUT", "/v1/types/outside", json={"handler": "pull"})
    for queue in ("held", "late"):
        app.call("PUT", "/v1/queues/%s" % queue, json={"priority": 5})
        app.call("POST", "/v1/queues/%s/pause" % queue)
    ends = {}

    def will(state, **fields):
        id = app.call("POST", "/v1/tasks", expect=201, json=fields)["id"]
        ends[id] = ends.get(id, []) + [state]
        return id

    good = will("succeeded", type="shoal.echo", payload={"a": [1, "\u00fc"]}, metadata={"order": 7})
    bad = will("failed", **failing())
    will("cancelled", type="shoal.noop", after=[bad])
    running = will("cancelled", type="shoal.sleep", payload={"seconds": 60})
    app.wait_state(running, "running")
    app.cancel(running)
    app.cancel(will("cancelled", type="shoal.noop", delay=600))
    will("expired", type="shoal.noop", queue="late", deadline=time.strftime(
        "%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2)))
    for _ in range(3):
        will("cancelled", type="shoal.noop", queue="held")
    app.call("POST", "/v1/operations", json={"action": "cancel", "filter": {"queue": "held", "state": ["queued"]}})
    done, undone = will("succeeded", type="outside"), will("failed", type="outside", max_attempts=1)
    held = []

    def lease():
        held.extend(app.call("POST", "/v1/leases", json={"queues": ["default"], "max": 2, "wait": 2})["leases"])
        return len(held) == 2

    wait_for(lease, what="two leases")
    for one in held:
        well = one["task"]["id"] == done
        app.call("POST", "/v1/leases/%s/%s" % (one["lease"], "complete" if well else "fail"),
                 json={"result": 1} if well else {"code": "no", "message": "no"})
    # again by hand: another end
    app.wait(bad)
    app.retry(bad)
    ends[bad].append("failed")
    for id in ends:
        app.wait(id)
    # what comes behind all of them is told behind all of them
    last = will("succeeded", type="shoal.noop")
    receiver.told(last)
    want = sorted((id, state) for id, states in ends.items() for state in states)
    wait_for(lambda: len(receiver.requests) >= len(want), what="%d messages" % len(want))
    assert sorted((m["data"]["id"], m["data"]["state"]) for m in receiver.messages()) == want
    assert len(set(receiver.ids())) == len(want)
    assert db.value("SELECT count(*) FROM shoal.webhook_delivery") == len(want)
    for request, message in zip(receiver.requests, receiver.messages()):
        assert signature(receiver.secret, request) in request.headers["Webhook-Signature"].split()
        assert message["type"] == "task." + message["data"]["state"]
        assert message["data"]["type"] != "shoal.webhook"
    # as the task is read, but for its payload
    read = app.get(good)
    assert read.pop("payload") == {"a": [1, "\u00fc"]}
    assert receiver.told(good)["data"] == read
    assert receiver.told(good)["timestamp"][:19] == read["finished_at"][:19]
    failed = receiver.told(undone)["data"]
    assert failed["error"] == {"code": "no", "message": "no"} and failed["worker"] == "lease"


def test_filters_payloads_and_long_results(app, receiver):
    put(app, states=["succeeded"], types=["shoal.echo"], queues=["a", "b"], payload=True)
    want = [app.submit("shoal.echo", "x" * 70000, queue="a")["id"], app.submit("shoal.echo", [1], queue="b")["id"]]
    app.submit("shoal.echo", 1, queue="c")
    app.submit("shoal.noop", queue="a")
    app.call("POST", "/v1/tasks", json=failing(queue="a"))
    last = app.submit("shoal.echo", "last", queue="a")["id"]
    receiver.told(last)
    wait_for(lambda: len(receiver.requests) >= 3)
    assert {m["data"]["id"] for m in receiver.messages()} == set(want + [last])
    long = receiver.told(want[0])["data"]
    assert long["result"] is None and long["result_omitted"] is True and len(long["payload"]) == 70000
    short = receiver.told(want[1])["data"]
    assert short["result"] == [1] and "result_omitted" not in short


def test_what_was_deleted_is_told_by_its_id(app, receiver, db):
    with db.server.connect(db.name) as c, c.cursor() as cursor:
        cursor.execute("SELECT txid_current()")  # open: nothing behind it is settled
        id = app.submit("shoal.noop")["id"]
        app.wait(id)
        app.call("DELETE", "/v1/tasks/%s" % id, expect=204)
        assert receiver.requests == []
        c.commit()
    assert receiver.told(id) == {
        "type": "task.succeeded", "timestamp": receiver.messages()[0]["timestamp"],
        "data": {"id": id, "state": "succeeded"}}
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.event WHERE task_id = %s", id) == 0)


def leading(nodes):
    """The node of the leader."""
    for node in nodes:
        answer = requests.get(node.dev_url + "/api/status", timeout=5).json()
        name = (answer["cluster"] or {}).get("leader")
        if name and name.startswith(answer["node"]["id"]):
            return node
    return None


@pytest.mark.alone
def test_leaders_that_die_lose_and_double_nothing(nodes, key, receiver, db):
    both = nodes(2)
    client = Client(both[0].url, key)
    subscribe(client, receiver)
    ids = []
    # whoever leads is killed in the middle, a worker of either node, again and again
    for _ in range(4):
        leader = wait_for(lambda: leading(both), 30, what="somebody leads")
        ids += [t["id"] for t in client.batch([{"type": "shoal.noop"}] * 100)]
        before = len(ids) - 100
        wait_for(lambda: db.value("SELECT count(*) FROM shoal.webhook_delivery") > before, 30)  # pylint: disable=W0640
        leader.kill_worker()
    wait_for(lambda: db.value("SELECT count(DISTINCT task_id) FROM shoal.webhook_delivery") == len(ids), 60)
    wait_for(lambda: len({m["data"]["id"] for m in receiver.messages()}) == len(ids), 60)
    assert {m["data"]["id"] for m in receiver.messages()} == set(ids)
    assert db.value("SELECT count(*) FROM shoal.webhook_delivery") == len(ids)
    # a worker that died may have sent one already: the same message again
    assert len(set(receiver.ids())) == len(ids)


# --------------------------------------------------------------------- delivery


def due(db, id):
    """The delivery is due now; how long it would have rested."""
    seconds = wait_for(lambda: db.value(
        "SELECT date_part('epoch', due_at - clock_timestamp()) FROM shoal.task WHERE id = %s AND state = 0", id))
    db.rows("UPDATE shoal.task SET due_at = now(), run_at = now() WHERE id = %s AND state = 0", id)
    return seconds


def test_a_receiver_that_fails_is_tried_by_the_schedule_and_resent_by_hand(app, receiver, db):
    receiver.answer = (500, {}, b"not now")
    task = app.submit("shoal.noop")["id"]
    receiver.told(task)
    (delivery,) = deliveries(app)["deliveries"]
    for number, rest in enumerate((5, 300, 1800, 7200), 1):
        one = app.wait_state(delivery["id"], "scheduled")
        assert one["attempt"] == number and one["error"] == {"code": "http_500", "message": "not now"}
        (shown,) = deliveries(app)["deliveries"]
        assert shown["state"] == "scheduled" and shown["next_attempt_at"] and shown["error"]["code"] == "http_500"
        if number == 4:
            receiver.answer = (204, {}, b"")
        assert 0.8 * rest - 3 < due(db, delivery["id"]) <= 1.2 * rest
        wait_for(lambda: len(receiver.requests) > number, what="attempt %d" % (number + 1))  # pylint: disable=W0640
    assert app.wait(delivery["id"])["attempt"] == 5
    assert len(set(receiver.ids())) == 1 and len({r.body for r in receiver.requests}) == 1
    assert receiver.ids()[0] == delivery["webhook_id"] == delivery["id"]
    wait_for(lambda: get(app)["last_success_at"] and get(app)["failing_since"] is None)
    # by hand: a delivery of its own, under the same id
    made = app.call("POST", "/v1/webhooks/hook/resend", expect=202, json={"task": task})
    assert made["webhook_id"] == delivery["webhook_id"] and made["id"] != delivery["id"]
    assert app.wait(made["id"])["state"] == "succeeded"
    assert receiver.ids()[-1] == delivery["webhook_id"] and receiver.messages()[-1]["data"]["id"] == task
    page = deliveries(app, limit=1)
    assert [d["id"] for d in page["deliveries"]] == [made["id"]]
    page = deliveries(app, limit=1, cursor=page["next_cursor"])
    assert [d["id"] for d in page["deliveries"]] == [delivery["id"]] and page["next_cursor"] is None
    ping = app.call("POST", "/v1/webhooks/hook/test", expect=202)
    assert app.wait(ping["id"])["state"] == "succeeded"
    assert receiver.messages()[-1]["type"] == "ping" and receiver.messages()[-1]["data"] == {"webhook": "hook"}
    assert receiver.ids()[-1] == ping["id"]


def test_ends_by_recovery_lost_leases_and_callbacks_are_told(app, receiver, db):
    app.call("PUT", "/v1/types/outside", json={"handler": "pull"})
    # its worker is killed after somebody wanted it cancelled: recovery ends it
    recovered = app.submit("shoal.sleep", {"seconds": 60})["id"]
    app.wait_state(recovered, "running")
    db.rows("UPDATE shoal.task SET cancel_at = now() WHERE id = %s", recovered)
    app.node.kill_worker()
    assert app.wait(recovered)["state"] == "cancelled"
    assert receiver.told(recovered)["type"] == "task.cancelled"
    # its worker crashes for the third time, with nothing beside it
    poison = app.submit("shoal.sleep", {"seconds": 60})["id"]
    app.wait_state(poison, "running", at_most=30)
    db.rows("UPDATE shoal.task SET crashes = 2 WHERE id = %s", poison)
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.task WHERE state = 2") == 1, what="it runs alone")
    app.node.kill_worker(sig=signal.SIGILL)
    assert app.wait(poison)["error"]["code"] == "poison"
    told = receiver.told(poison)
    assert (told["type"], told["data"]["error"]["code"], told["data"]["attempt"]) == ("task.failed", "poison", 1)
    # its fifth lease is lost
    lost = app.submit("outside")["id"]
    wait_for(lambda: app.call("POST", "/v1/leases", json={"queues": ["default"], "wait": 2})["leases"])
    db.rows("UPDATE shoal.task SET crashes = 4 WHERE id = %s", lost)
    db.rows("UPDATE shoal.lease SET expires_at = now()")
    assert app.wait(lost)["error"]["code"] == "lease_expired"
    assert receiver.told(lost)["data"]["error"]["code"] == "lease_expired"
    # what follows a group is a task as any other
    group = app.call("POST", "/v1/groups", json={
        "tasks": [failing()], "on_failure": {"type": "shoal.noop"}, "on_completion": failing()})["id"]
    read = wait_for(lambda: [g for g in (app.call("GET", "/v1/groups/" + group),)
                             if g["failure_task"] and g["completion_task"]])[0]
    assert receiver.told(read["failure_task"])["type"] == "task.succeeded"
    assert receiver.told(read["completion_task"])["type"] == "task.failed"


def test_deliveries_to_an_endpoint_that_is_left_alone_wait_and_arrive(nodes, key, receiver):
    (node,) = nodes(egress__breaker_faults=1, egress__breaker_pause="3s")
    app = Client(node.url, key)
    subscribe(app, receiver)
    receiver.answer = (500, {}, b"no")
    first = app.submit("shoal.noop")["id"]
    receiver.told(first)
    node.wait_log("an endpoint is left alone")
    second = app.submit("shoal.noop")["id"]

    def delivery(task):
        return [d for d in deliveries(app)["deliveries"] if d["task"] == task]

    (waits,) = wait_for(lambda: [d for d in delivery(second) if (d["error"] or {}).get("code") == "endpoint_resting"])
    assert waits["state"] == "scheduled" and second not in [m["data"]["id"] for m in receiver.messages()]
    receiver.answer = (200, {}, b"")
    receiver.told(second)
    assert app.wait(waits["id"])["state"] == "succeeded"
    assert app.wait(delivery(first)[0]["id"])["state"] == "succeeded"
    assert [m["data"]["id"] for m in receiver.messages()].count(second) == 1


def test_a_webhook_that_is_gone_or_fails_for_days_is_disabled(app, receiver, db):
    def disabled(reason):
        hook = wait_for(lambda: get(app)["disabled"] and get(app))
        assert reason in hook["disabled_reason"]
        assert db.value("SELECT count(*) FROM shoal.event WHERE kind = 23 AND message LIKE %s", "%" + reason + "%") == 1
        app.node.wait_log("a webhook is disabled")
        # an end meanwhile is not told, and neither is it later
        missed = app.submit("shoal.noop")["id"]
        app.wait(missed)
        assert code_of(lambda: app.call("POST", "/v1/webhooks/hook/resend", json={"task": missed})) == (
            409, "webhook_disabled")
        wait_for(lambda: db.value(
            "SELECT count(*) FROM shoal.event e JOIN shoal.webhook_place p ON p.app_id = e.app_id"
            " WHERE e.task_id = %s AND (e.xid, e.seq) > (p.xid, p.seq)", missed) == 0)
        receiver.answer = (200, {}, b"")
        app.call("PUT", "/v1/endpoints/receiver", json={"url": receiver.url + "/hook", "disabled": False})
        assert put(app)["disabled"] is False
        told = app.submit("shoal.noop")["id"]
        receiver.told(told)
        assert missed not in [m["data"]["id"] for m in receiver.messages()]

    receiver.answer = (410, {}, b"")
    app.submit("shoal.noop")
    disabled("410")
    wait_for(lambda: get(app)["last_success_at"])
    receiver.answer = (400, {}, b"no")
    app.submit("shoal.noop")
    wait_for(lambda: get(app)["failing_since"])
    assert get(app)["last_error"] == "http_400: no" and get(app)["disabled"] is False
    db.rows("UPDATE shoal.webhook SET failing_since = failing_since - interval '5 days'")
    app.submit("shoal.noop")
    disabled("no delivery has succeeded since")


def test_receivers_verify_by_the_document_and_by_the_standard(app, receiver, standardwebhooks):
    node, home = standardwebhooks
    app.call("POST", "/v1/webhooks/hook/test", expect=202)
    wait_for(lambda: receiver.requests)
    (request,) = receiver.requests
    headers = {k.lower(): v for k, v in request.headers.items()}
    with open(DOCUMENT, encoding="utf-8") as f:
        text = f.read()
    blocks = {kind: re.search(r"```%s\n(.*?)```" % kind, text, re.S).group(1) for kind in ("python", "js")}
    space = {}
    exec(blocks["python"], space)  # pylint: disable=exec-used

    def by_node(program_text, secret, headers, body):
        return subprocess.run(
            [node, "-e", program_text], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
            timeout=30, input=json.dumps({"secret": secret, "headers": headers, "body": body.decode()}).encode(),
        ).stdout.strip() == b"true"

    says = "console.log(%s)"
    read = "const w = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
    standard = ("const {Webhook} = require('standardwebhooks');" + read
                + "new Webhook(w.secret).verify(w.body, w.headers);" + says % "true")
    ours = blocks["js"] + read + says % "verify(w.secret, w.headers, Buffer.from(w.body))"
    other = "whsec_" + base64.b64encode(b"x" * 32).decode()
    old = dict(headers, **{"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)})
    cases = [(receiver.secret, headers, request.body, True), (other, headers, request.body, False),
             (receiver.secret, headers, request.body + b" ", False), (receiver.secret, old, request.body, False)]
    for secret, head, body, good in cases:
        assert space["verify"](secret, head, body) is good
        assert by_node(ours, secret, head, body) is good
        assert by_node(standard, secret, head, body) is good


# --------------------------------------------------------------------- the API


def test_what_is_asked_of_webhooks_is_judged(app, receiver, db):
    assert put(app, expect=200)["endpoint"] == "receiver"
    assert code_of(lambda: put(app, endpoint="nowhere")) == (422, "no_such_endpoint")
    assert code_of(lambda: put(app, states=["running"])) == (400, "invalid_field")
    assert code_of(lambda: put(app, stats=[])) == (400, "unknown_field")
    assert code_of(lambda: put(app, "-")) == (400, "invalid_parameter")
    assert code_of(lambda: get(app, "other")) == (404, "not_found")
    assert code_of(lambda: deliveries(app, "other")) == (404, "not_found")
    assert code_of(lambda: app.call("POST", "/v1/webhooks/other/test")) == (404, "not_found")
    assert code_of(lambda: deliveries(app, cursor="x")) == (400, "invalid_parameter")
    resend = "/v1/webhooks/hook/resend"
    waiting = app.submit("shoal.noop", delay=600)["id"]
    assert code_of(lambda: app.call("POST", resend, json={"task": waiting})) == (409, "not_ended")
    nobody = "01890000-0000-7000-8000-000000000000"
    assert code_of(lambda: app.call("POST", resend, json={"task": nobody})) == (422, "unknown_task")
    # only webhooks make deliveries
    assert code_of(lambda: app.submit("shoal.webhook", {})) == (400, "invalid_field")
    assert code_of(lambda: app.batch([{"type": "shoal.webhook"}])) == (400, "invalid_field")
    with pytest.raises(Exception, match="made by webhooks alone"):
        db.rows("SELECT shoal.submit('test', 'shoal.webhook')")
    # another application sees none of it
    foreign = Client(app.url, apps.make_key(db, "foreign"))
    assert foreign.call("GET", "/v1/webhooks")["webhooks"] == []
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/deliveries"), ("POST", "/test")):
        assert code_of(lambda: foreign.call(method, "/v1/webhooks/hook" + path)) == (  # pylint: disable=W0640
            404, "not_found")
    assert code_of(lambda: foreign.call("POST", resend, json={"task": waiting})) == (404, "not_found")
    # 50, and no more
    for n in range(49):
        put(app, "n%d" % n, expect=201, states=["expired"])
    assert code_of(lambda: put(app, "n49")) == (422, "too_many_webhooks")
    assert len(app.call("GET", "/v1/webhooks")["webhooks"]) == 50
    app.call("DELETE", "/v1/webhooks/n0", expect=204)
    assert code_of(lambda: app.call("DELETE", "/v1/webhooks/n0")) == (404, "not_found")
    put(app, "n49", expect=201, states=["expired"])


def test_those_without_webhooks_pay_nothing(app, receiver, db):
    other = Client(app.url, apps.make_key(db, "other"))
    for _ in range(3):
        other.run("shoal.noop")
    app_id = db.value("SELECT id FROM shoal.application WHERE name = 'other'")
    receiver.told(app.run("shoal.noop")["id"])
    assert db.value("SELECT count(*) FROM shoal.event WHERE app_id = %s", app_id) == 0
    assert db.value("SELECT count(*) FROM shoal.webhook_delivery WHERE app_id = %s", app_id) == 0
    # an endpoint that a webhook goes to stays
    assert code_of(lambda: app.call("DELETE", "/v1/endpoints/receiver")) == (409, "endpoint_in_use")
    # and when the last one is gone, nothing is walked any more
    app.call("DELETE", "/v1/webhooks/hook", expect=204)
    assert db.value("SELECT count(*) FROM shoal.webhook_place") == 0
    assert db.value("SELECT until < now() + interval '8 days' FROM shoal.watched") is True
    app.call("DELETE", "/v1/endpoints/receiver", expect=204)


def test_the_command_shows_and_sets_them(app, receiver):
    def shoal(*words):
        done = subprocess.run(
            program("shoal") + list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30, check=False,
            env=dict(program_env(), SHOAL_URL=app.url, SHOAL_API_KEY=app.key))
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    rc, out, _ = shoal("webhooks", "set", "orders", "receiver", "failed,succeeded", "--types", "shoal.noop,b")
    assert rc == 0 and "receiver" in out
    hook = get(app, "orders")
    assert sorted(hook["states"]) == ["failed", "succeeded"] and hook["types"] == ["shoal.noop", "b"]
    task = app.run("shoal.noop")["id"]
    receiver.told(task)
    rc, out, _ = shoal("webhooks", "resend", "orders", task)
    assert rc == 0 and app.wait(out.strip())["state"] == "succeeded"
    rc, out, _ = shoal("webhooks", "test", "orders")
    assert rc == 0 and app.wait(out.strip())["state"] == "succeeded"
    rc, out, _ = shoal("webhooks", "deliveries", "orders")
    assert rc == 0 and len(out.splitlines()) == 4 and task in out
    rc, out, _ = shoal("webhooks")
    assert rc == 0 and "orders" in out and "enabled" in out
    assert shoal("webhooks", "delete", "orders")[0] == 0
    assert shoal("webhooks", "get", "orders")[0] == 2
    rc, _, complaint = shoal("webhooks", "set", "orders", "nowhere", "failed")
    assert rc == 1 and "no_such_endpoint" in complaint

# SPDX-License-Identifier: BSD-2-Clause
"""Workers outside of Shoal: leases, what they outlive, and types made at run time."""

import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from shoaltest import apps
from shoaltest.client import Client, Refused
from shoaltest.node import program, program_env
from shoaltest.waits import stays, wait_for

TYPE = "mail.send"


@pytest.fixture
def app(client):
    """An application with a pull type of its own."""
    make_type(client)
    return client


def make_type(client, name=TYPE, expect=(200, 201), **fields):
    return client.call("PUT", "/v1/types/%s" % name, expect=expect, json=dict(fields, handler="pull"))


def lease(client, queues=("default",), expect=200, **fields):
    body = dict(fields, queues=list(queues))
    return client.call("POST", "/v1/leases", expect=expect, json=body)


def lease_one(client, at_most=10, **fields):
    """Waits until there is one."""
    return wait_for(lambda: lease(client, wait=2, **fields)["leases"], at_most, what="a lease")[0]


def tell(client, held, what, expect=200, **body):
    return client.call("POST", "/v1/leases/%s/%s" % (held["lease"], what), expect=expect, json=body)


def code_of(call):
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.response.status_code, refused.value.response.json()["code"]


def events(client, id):
    return client.call("GET", "/v1/tasks/%s/events" % id, expect=200)["events"]


class Waiting:
    """A request for leases that waits, on a bare socket."""

    def __init__(self, client, **body):
        host, port = client.url[len("http://"):].split(":")
        self.key = client.key
        self.socket = socket.create_connection((host, int(port)))
        self.lease(**body)

    def lease(self, **body):
        self.post("/v1/leases", dict({"queues": ["default"], "wait": 30}, **body))

    def post(self, path, body):
        text = json.dumps(body)
        self.socket.sendall((
            "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
            "Content-Length: %d\r\n\r\n%s" % (path, self.key, len(text), text)).encode())
        self.bytes = b""

    def answer(self):
        """What has come so far; None until all of it has."""
        while select.select([self.socket], [], [], 0)[0]:
            more = self.socket.recv(65536)
            assert more, "closed without an answer"
            self.bytes += more
        head, _, body = self.bytes.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:") and len(body) >= int(line.split(b":")[1]):
                assert head.startswith(b"HTTP/1.1 200"), head
                return json.loads(body).get("leases", [])
        return None

    def close(self):
        self.socket.close()


def metric(node, name):
    text = Client(node.dev_url, None).session.get(node.dev_url + "/metrics", timeout=10).text
    return sum(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith(name))


def waiting_now(*nodes):
    """How many requests wait at these nodes, as their metrics say."""
    return sum(metric(node, "shoal_lease_waiters") for node in nodes)


# ---------------------------------------------------------------- the life of a lease


def test_the_life_of_a_lease(app, db):
    made = app.submit(TYPE, {"to": "a"}, metadata={"m": 1})
    why = app.why(made["id"])
    assert (why["reason"], why["reasons"][0]["leased"], why["reasons"][0]["since"]) == ("waits_for_worker", 0, None)
    held = lease_one(app, worker="w1", ttl=30)
    task = held["task"]
    assert (task["id"], task["type"], task["queue"]) == (made["id"], TYPE, "default")
    assert (task["payload"], task["metadata"], task["attempt"]) == ({"to": "a"}, {"m": 1}, 1)
    assert held["fence"].startswith("1-")
    running = app.get(made["id"])
    assert (running["state"], running["worker"]) == ("running", "lease")
    why = app.why(made["id"])
    assert why["reason"] == "leased" and why["reasons"][0]["holder"] == "w1"
    assert app.call("GET", "/v1/queues/default")["running"] == 1
    assert not lease(app)["leases"]

    extended = tell(app, held, "extend", ttl=60, progress={"done": 0.5}, log=["one", "two"])
    assert not extended["cancelled"] and extended["expires_at"] > held["expires_at"]
    tell(app, held, "extend", log=["three"])
    assert app.get(made["id"])["progress"] == {"done": 0.5}
    log = app.session.get(app.url + "/v1/tasks/%s/log" % made["id"], timeout=10).text
    assert log.split("\n")[:3] == ["one", "two", "three"]

    ended = tell(app, held, "complete", result={"sent": True})
    assert ended == {"lease": held["lease"], "task": made["id"], "state": "succeeded"}
    done = app.wait(made["id"])
    assert (done["state"], done["result"]) == ("succeeded", {"sent": True})
    # an answer that was lost: the same again is no error, and changes nothing
    assert tell(app, held, "complete", result="other") == ended
    assert app.get(made["id"])["result"] == {"sent": True}
    assert code_of(lambda: tell(app, held, "extend")) == (409, "lease_lost")
    assert db.value("SELECT count(*) FROM shoal.lease") == 0
    assert db.value("SELECT count(*) FROM shoal.claim") == 0
    # who waits hears of those that are leased
    more = [app.submit(TYPE)["id"] for _ in range(2)]
    held = lease_one(app)
    (waits,) = set(more) - {held["task"]["id"]}
    why = app.why(waits)["reasons"][0]
    assert why["leased"] == 1 and why["since"] and "1 of that queue is leased now" in why["message"]


def test_a_task_is_leased_within_milliseconds_by_those_who_wait(app):
    lease(app)
    took = []
    for _ in range(10):
        waiting = Waiting(app)
        wait_for(lambda: waiting_now_at(app) == 1, 5)
        began = time.monotonic()
        app.submit(TYPE)
        held = wait_for(waiting.answer, 5, every=0.001)
        took.append(time.monotonic() - began)
        assert len(held) == 1
        waiting.close()
    assert sorted(took)[len(took) // 2] < 0.25, took


def waiting_now_at(client):
    return waiting_now(client.node)


@pytest.fixture
def client(node, key):
    made = Client(node.url, key)
    made.node = node
    return made


def test_a_failure_rests_by_the_rules_and_ends_at_the_last_attempt(app):
    make_type(app, backoff=[0.001, 300], max_attempts=3)
    made = app.submit(TYPE)
    assert made["id"] and app.get(made["id"])["max_attempts"] == 3
    held = lease_one(app)
    assert tell(app, held, "fail", code="smtp", message="no route")["state"] == "scheduled"
    assert tell(app, held, "fail")["state"] in ("scheduled", "queued")  # told again
    assert code_of(lambda: tell(app, held, "complete")) == (409, "lease_lost")
    held = lease_one(app)
    assert (held["task"]["attempt"], held["task"]["failures"]) == (2, 1)
    # its worker knows better than the rule
    assert tell(app, held, "fail", code="smtp", retry_in=0)["state"] == "scheduled"
    held = lease_one(app)
    assert tell(app, held, "fail", code="smtp", message="still none")["state"] == "failed"
    failed = app.get(made["id"])
    assert failed["error"] == {"code": "smtp", "message": "still none"}
    # for good, at once
    made = app.submit(TYPE)
    assert tell(app, lease_one(app), "fail", code="bad", retry=False)["state"] == "failed"
    assert app.get(made["id"])["attempt"] == 1


def test_a_lease_that_is_given_back_costs_nothing(app):
    made = app.submit(TYPE)
    held = lease_one(app)
    assert tell(app, held, "release")["state"] == "queued"
    again = lease_one(app)
    assert (again["task"]["attempt"], again["task"]["failures"]) == (2, 0)
    assert code_of(lambda: tell(app, held, "complete")) == (409, "lease_lost")
    tell(app, again, "complete")
    assert app.wait(made["id"])["state"] == "succeeded"


def test_many_are_completed_in_one_request(app):
    ids = [t["id"] for t in app.batch([{"type": TYPE, "payload": n} for n in range(30)])]
    held = wait_for(lambda: lease(app, max=100)["leases"], 10)
    while len(held) < 30:
        held += lease(app, max=100, wait=5)["leases"]
    assert sorted(h["task"]["id"] for h in held) == sorted(ids)
    gone = held[0]
    tell(app, gone, "release")
    answer = app.call("POST", "/v1/leases/complete", json={
        "leases": [{"lease": h["lease"], "result": h["task"]["payload"]} for h in held]})["leases"]
    assert [a["lease"] for a in answer] == [h["lease"] for h in held]
    assert answer[0]["code"] == "lease_lost" and answer[0]["state"] is None
    assert {a["state"] for a in answer[1:]} == {"succeeded"}
    # what came in one batch goes out in its order
    assert [h["task"]["id"] for h in held] == ids
    assert [app.get(i)["result"] for i in ids[1:]] == list(range(1, 30))


# ---------------------------------------------------------------- expiry and loss


def test_an_expired_lease_goes_to_a_second_worker_and_the_first_is_refused(app):
    made = app.submit(TYPE)
    first = lease_one(app, ttl=5, worker="w1")
    second = lease_one(app, at_most=20, worker="w2")
    assert second["task"]["id"] == made["id"]
    assert (second["task"]["attempt"], second["task"]["failures"]) == (2, 0)
    for what in ("complete", "fail", "extend", "release"):
        assert code_of(lambda: tell(app, first, what)) == (409, "lease_lost")
    tell(app, second, "complete", result=2)
    assert app.wait(made["id"])["result"] == 2
    lost = [e for e in events(app, made["id"]) if e.get("code") == "lease_expired"]
    assert len(lost) == 1 and "w1" in lost[0]["message"]


def test_a_task_whose_leases_run_out_again_and_again_fails(app, db):
    made = app.submit(TYPE)
    for attempt in (1, 2):
        held = lease_one(app, at_most=20)
        assert (held["task"]["attempt"], held["task"]["failures"]) == (attempt, 0)
        db.rows("UPDATE shoal.task SET crashes = %s", 3 if attempt == 1 else 4)  # so many were lost before
        db.rows("UPDATE shoal.lease SET expires_at = now()")
    failed = app.wait_state(made["id"], "failed")
    assert failed["error"]["code"] == "lease_expired"


def test_no_lease_is_extended_past_the_timeout(app, db):
    made = app.submit(TYPE, timeout=7, max_attempts=1)
    held = lease_one(app, ttl=60)
    assert held["expires_at"] == held["ends_at"]
    assert tell(app, held, "extend", ttl=3600)["expires_at"] == held["ends_at"]
    failed = app.wait_state(made["id"], "failed", at_most=20)
    assert failed["error"]["code"] == "timeout"


def test_killing_the_node_that_answered_runs_nothing_again(db, cluster, key):
    first, second = cluster(2)
    here, there = Client(first.url, key), Client(second.url, key)
    make_type(here)
    ids = {t["id"] for t in here.batch([{"type": TYPE} for _ in range(5)])}
    held = wait_for(lambda: lease(here, max=10, ttl=60)["leases"], 10)
    assert {h["task"]["id"] for h in held} == ids
    first.kill()
    # its incarnations are called dead and swept; the leases stand
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.incarnation WHERE state = 1") > 0, 40)
    stays(lambda: db.value("SELECT count(*) FROM shoal.task WHERE state = 2 AND attempt = 1") == 5, 3)
    for h in held:
        tell(there, h, "extend")
        tell(there, h, "complete", result=h["task"]["attempt"])
    assert {there.get(i)["result"] for i in ids} == {1}


def test_a_client_that_hangs_up_while_it_waits_loses_nothing(app):
    gone = [Waiting(app, max=100, ttl=3600) for _ in range(20)]
    wait_for(lambda: waiting_now(app.node) == 20, 10)
    for w in gone:
        w.close()
    # at once, before any sweep has seen it
    ids = {t["id"] for t in app.batch([{"type": TYPE} for _ in range(10)])}
    seen = {}
    while len(seen) < 10:
        for h in lease(app, max=100, wait=5)["leases"]:
            seen[h["task"]["id"]] = h["task"]["failures"]
    assert set(seen) == ids and set(seen.values()) == {0}
    wait_for(lambda: waiting_now(app.node) == 0, 10)


def test_a_thousand_hang_ups_leave_no_lease(app, db):
    for n in range(10):
        make_type(app, "round.%d" % n)
        gone = [Waiting(app, ttl=3600, types=["round.%d" % n]) for _ in range(100)]
        wait_for(lambda: waiting_now(app.node) >= 100, 20)
        # one after the other hangs up while tasks come
        for i, waits in enumerate(gone):
            waits.close()
            if i % 10 == 0:
                app.batch([{"type": "round.%d" % n}] * 5)
        wait_for(lambda: waiting_now(app.node) == 0, 20)
    # some were answered before they hung up, and may have read it: those leases are real.  All others were
    # undone at once, though they were for an hour
    given = metric(app.node, "shoal_leases_given_total")
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.lease") == given, 20)
    rest = db.value("SELECT count(*) FROM shoal.task WHERE state = 1")
    assert given + rest == 500
    taken = 0
    while taken < rest:
        taken += len(lease(app, max=100, wait=5)["leases"])
    assert taken == rest


def test_a_worker_that_was_frozen_past_its_lease_is_refused(app, tmp_path):
    program_of_worker = """
import json, os, sys, time, urllib.error, urllib.request
url, key, go = sys.argv[1:]
def call(path, body):
    request = urllib.request.Request(url + path, data=json.dumps(body).encode(), method="POST", headers={
        "Authorization": "Bearer " + key, "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)
_, got = call("/v1/leases", {"queues": ["default"], "wait": 30, "ttl": 5})
lease = got["leases"][0]["lease"]
print(lease, flush=True)
while not os.path.exists(go):
    call("/v1/leases/%s/extend" % lease, {"ttl": 5})
    time.sleep(0.2)
status, answer = call("/v1/leases/%s/complete" % lease, {"result": "mine"})
print(status, answer.get("code"))
"""
    go = tmp_path / "go"
    worker = subprocess.Popen([sys.executable, "-c", program_of_worker, app.url, app.key, str(go)],
                              stdout=subprocess.PIPE)
    try:
        id = app.submit(TYPE)["id"]
        assert worker.stdout.readline().startswith(id.encode())
        worker.send_signal(signal.SIGSTOP)
        held = lease_one(app, at_most=20)
        assert (held["task"]["id"], held["task"]["attempt"]) == (id, 2)
        go.touch()
        worker.send_signal(signal.SIGCONT)
        assert worker.stdout.readline().split() == [b"409", b"lease_lost"]
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
    tell(app, held, "complete", result="the other's")
    task = app.wait(id)
    assert (task["result"], task["attempt"], task["failures"]) == ("the other's", 2, 0)


# ---------------------------------------------------------------- cancel


def test_a_cancelled_task_is_told_to_its_worker_and_falls_with_its_lease(app):
    made = [app.submit(TYPE) for _ in range(3)]
    held = {h["task"]["id"]: h for h in wait_for(
        lambda: lease(app, max=3, ttl=6, wait=2)["leases"], 10)}
    while len(held) < 3:
        held.update({h["task"]["id"]: h for h in lease(app, max=3, ttl=6, wait=2)["leases"]})
    silent, done, stopped = (held[m["id"]] for m in made)
    for m in made:
        app.cancel(m["id"])
    assert tell(app, silent, "extend", ttl=600)["cancelled"]
    # what was done is done; what was not is cancelled, whatever it is called
    assert tell(app, done, "complete", result=1)["state"] == "succeeded"
    assert tell(app, stopped, "fail", code="stopped")["state"] == "cancelled"
    assert app.wait_state(made[0]["id"], "cancelled", at_most=20)["attempt"] == 1
    assert code_of(lambda: tell(app, silent, "complete")) == (409, "lease_lost")


# ---------------------------------------------------------------- who gets what


def test_those_who_wait_share_what_comes(cluster, key):
    node, = cluster(1, node__workers=1)
    app = Client(node.url, key)
    app.node = node
    make_type(app)
    waiting = [Waiting(app, max=10) for _ in range(5)]
    wait_for(lambda: waiting_now(app.node) == 5, 10)
    app.batch([{"type": TYPE} for _ in range(5)])
    got = wait_for(lambda: [a for a in (w.answer() for w in waiting) if a is not None] if all(
        w.answer() is not None for w in waiting) else None, 10)
    assert [len(g) for g in got] == [1] * 5
    for w in waiting:
        w.close()


def test_a_thousand_workers_wait_on_one_node(app):
    waiting = [Waiting(app, wait=60, worker="w%d" % n) for n in range(1000)]
    wait_for(lambda: waiting_now(app.node) == 1000, 30)
    ids = [t["id"] for t in app.batch([{"type": TYPE} for _ in range(1000)])]
    left, got = list(waiting), []

    def all_answered():
        for w in list(left):
            answer = w.answer()
            if answer is not None:
                assert len(answer) == 1
                got.append(answer[0]["task"]["id"])
                left.remove(w)
        return not left

    wait_for(all_answered, 30)
    assert sorted(got) == sorted(ids)
    for w in waiting:
        w.close()


class Worker(Waiting):
    """Leases a task, completes it, and asks again, on one connection."""

    def __init__(self, client):
        self.got = self.passed_by = self.most_passed_by = 0
        super().__init__(client)

    def go_on(self):
        """True: it was given a task."""
        held = self.answer()
        if held is None:
            return False
        if held:
            self.got += 1
            self.passed_by = 0
            self.post("/v1/leases/%s/complete" % held[0]["lease"], {})
        else:
            self.lease()
        return bool(held)


def test_those_who_wait_at_different_nodes_share_what_trickles_in(cluster, key):
    """One connection submits, so that one worker process knows of each task before all others."""
    count, rate = 300, 60
    nodes = cluster(2, node__workers=2)
    here = Client(nodes[0].url, key)
    make_type(here)
    workers = [Worker(Client(nodes[n % 2].url, key)) for n in range(24)]
    wait_for(lambda: waiting_now(*nodes) == len(workers), 20)
    stop = threading.Event()

    def submit():
        mine, began = Client(nodes[0].url, key), time.monotonic()
        for n in range(count):
            if stop.wait(max(0, began + n / rate - time.monotonic())):
                return
            mine.submit(TYPE)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        by_socket = {w.socket: w for w in workers}
        while sum(w.got for w in workers) < count:
            ready = select.select(list(by_socket), [], [], 20)[0]
            assert ready, "nobody gets anything any more"
            for worker in [by_socket[s] for s in ready]:
                if worker.go_on():
                    for other in workers:
                        if other is not worker:
                            other.passed_by += 1
                            other.most_passed_by = max(other.passed_by, other.most_passed_by)
    finally:
        stop.set()
        thread.join()
    got, passed_by = sorted(w.got for w in workers), max(w.most_passed_by for w in workers)
    of_nodes = [sum(w.got for w in workers[n::2]) for n in range(2)]
    print("each had %d to %d of %d, the nodes' %s; at most %d went to others meanwhile" % (
        got[0], got[-1], count, of_nodes, passed_by))
    assert got[0] >= count / len(workers) / 4
    assert min(of_nodes) >= count / 3
    assert passed_by <= count / 2
    for w in workers:
        w.close()


def test_pauses_limits_priorities_and_deadlines_hold_for_leases(app, db):
    app.call("PUT", "/v1/queues/q", expect=200, json={"concurrency": 2})
    made = [app.submit(TYPE, n, queue="q", priority=9 - n) for n in range(4)]
    held = wait_for(lambda: lease(app, ["q"], max=10, wait=1)["leases"], 10)
    while len(held) < 2:
        held += lease(app, ["q"], max=10, wait=1)["leases"]
    assert [h["task"]["payload"] for h in held] == [3, 2]
    assert not lease(app, ["q"], max=10)["leases"]
    app.call("POST", "/v1/queues/q/pause", expect=200, json={})
    tell(app, held[0], "complete")
    assert not lease(app, ["q"], max=10)["leases"]
    waiting = Waiting(app, queues=["q"], max=10)
    app.call("POST", "/v1/queues/q/resume", expect=200)
    got = wait_for(waiting.answer, 5)
    assert [h["task"]["payload"] for h in got] == [1]
    waiting.close()
    assert app.get(made[0]["id"])["state"] == "queued"
    late = app.submit(TYPE, deadline="2020-01-01T00:00:00Z", queue="late", expect=(201, 400, 422))
    if "id" in late:
        assert not lease(app, ["late"], wait=1)["leases"]
    keyed = [app.submit(TYPE, concurrency_key="k", queue="keyed") for _ in range(2)]
    one = lease_one(app, queues=["keyed"], max=10)
    assert not lease(app, ["keyed"])["leases"]
    tell(app, one, "complete")
    two = lease_one(app, queues=["keyed"])
    assert {one["task"]["id"], two["task"]["id"]} == {k["id"] for k in keyed}


def test_delayed_tasks_come_to_those_who_wait(app):
    waiting = Waiting(app)
    made = app.submit(TYPE, delay=0.5)
    got = wait_for(waiting.answer, 5)
    assert got[0]["task"]["id"] == made["id"]
    waiting.close()


def test_leases_go_on_without_redis(db, cluster, private_redis):
    node, = cluster(1, redis_url=private_redis.url())
    client = Client(node.url, apps.make_key(db, "test"))
    make_type(client)
    private_redis.flush()
    client.submit(TYPE)
    tell(client, lease_one(client, at_most=3), "complete")
    private_redis.stop()
    waiting = Waiting(client)
    made = client.submit(TYPE)
    held = wait_for(waiting.answer, 5)[0]
    assert held["task"]["id"] == made["id"]
    tell(client, held, "complete")
    assert client.get(made["id"])["state"] == "succeeded"
    waiting.close()


# ---------------------------------------------------------------- scopes


def test_a_key_may_be_for_work_alone(app, db):
    mail = Client(app.url, apps.make_key(db, "test", scopes=["work:mail"]))
    both = Client(app.url, apps.make_key(db, "test", scopes=["work"]))
    made = [app.submit(TYPE, queue=q) for q in ("mail", "other")]
    assert code_of(lambda: mail.submit(TYPE)) == (403, "out_of_scope")
    assert code_of(lambda: mail.get(made[0]["id"])) == (403, "out_of_scope")
    assert code_of(lambda: lease(mail, ["mail", "other"])) == (403, "out_of_scope")
    held = lease_one(mail, queues=["mail"])
    other = lease_one(both, queues=["other"])
    for what in ("complete", "extend", "release", "fail"):
        assert code_of(lambda: tell(mail, other, what)) == (403, "out_of_scope")
    tell(mail, held, "extend")
    tell(mail, held, "complete")
    tell(both, other, "complete")
    # another application's key finds nothing
    stranger = Client(app.url, apps.make_key(db, "stranger"))
    again = app.submit(TYPE, queue="mail")
    assert not lease(stranger, ["mail"])["leases"]
    held = lease_one(app, queues=["mail"])
    assert code_of(lambda: tell(stranger, held, "complete")) == (409, "lease_lost")
    assert app.get(again["id"])["state"] == "running"


# ---------------------------------------------------------------- types


def test_types_are_made_at_run_time_and_known_to_every_node(db, cluster, key):
    first, second = cluster(2, settings={"type:ours.handler": "exec", "type:ours.command": "/bin/true",
                                         "type:theirs.handler": "pull"})
    here, there = Client(first.url, key), Client(second.url, key)
    early = here.submit("late.type")
    made = make_type(here, "late.type", expect=201, timeout=60, max_attempts=2, backoff=[1, 5])
    assert (made["by"], made["timeout"], made["max_attempts"]) == ("application", 60, 2)
    assert make_type(there, "late.type", expect=200)["timeout"] is None
    waiting = Waiting(there)
    assert wait_for(waiting.answer, 5)[0]["task"]["id"] == early["id"]
    waiting.close()
    names = {t["name"]: t for t in there.call("GET", "/v1/types")["types"]}
    assert names["ours"]["handler"] == "exec" and names["ours"]["by"] == "operator"
    assert names["theirs"]["handler"] == "pull" and names["shoal.noop"]["handler"] == "builtin"
    assert code_of(lambda: make_type(here, "ours")) == (409, "type_taken")
    assert code_of(lambda: make_type(here, "shoal.noop")) == (409, "type_taken")
    assert code_of(lambda: here.call("PUT", "/v1/types/t", json={"handler": "exec"})) == (
        400, "handler_unavailable")
    # the operator's pull types are for every application, and never run on a node
    task = here.submit("theirs")
    assert lease_one(there)["task"]["id"] == task["id"]
    # a type is its application's alone
    stranger = Client(first.url, apps.make_key(db, "stranger"))
    assert "late.type" not in {t["name"] for t in stranger.call("GET", "/v1/types")["types"]}
    here.call("DELETE", "/v1/types/late.type", expect=204)
    here.call("DELETE", "/v1/types/late.type", expect=404)
    here.submit("late.type")
    assert not lease(there, wait=1)["leases"]
    for n in range(200):
        db.rows("INSERT INTO shoal.task_type (name) VALUES (%s)", "x%d" % n)
    db.rows("INSERT INTO shoal.app_type (app_id, type_id, handler) SELECT a.id, y.id, 4 FROM shoal.application a,"
            " shoal.task_type y WHERE a.name = 'test' AND y.name LIKE 'x%%'")
    assert code_of(lambda: make_type(here, "one.more")) == (422, "too_many_types")


def test_a_types_attempts_reach_what_is_made_of_it_in_every_way(cluster, key, db):
    (node,) = cluster(1, settings={"type:ops.handler": "pull", "type:ops.max_attempts": 4, "tasks.max_attempts": 9})
    app = Client(node.url, key)
    make_type(app, max_attempts=3)

    def attempts(id):
        return app.get(id)["max_attempts"]

    for name, most in ((TYPE, 3), ("ops", 4), ("another", 9)):
        assert attempts(app.submit(name)["id"]) == most
        assert attempts(app.submit(name, unique_key=name)["id"]) == most
        assert attempts(db.value("SELECT shoal.submit('test', %s)", name)) == most
        app.call("PUT", "/v1/schedules/" + name, json={"cron": "@every 1s", "task": {"type": name}})
        made = app.call("POST", "/v1/groups",
                        json={"tasks": [{"type": "shoal.noop"}], "on_completion": {"type": name}})["id"]
        callback = wait_for(lambda: app.call("GET", "/v1/groups/" + made)["completion_task"], 20)
        assert attempts(callback) == most
        fired = wait_for(lambda name=name: app.call("GET", "/v1/schedules/" + name)["last_task_id"], 20)
        assert attempts(fired) == most
        app.call("DELETE", "/v1/schedules/" + name, expect=204)


def test_types_and_keys_are_made_from_a_shell(app, db):
    def shoal(*args, **env):
        done = subprocess.run(program("shoal") + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(program_env(), SHOAL_URL=app.url, SHOAL_API_KEY=app.key,
                                       SHOAL_DATABASE_URL=db.url(), **env), timeout=30, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    code, out, err = shoal("types", "set", "from.shell", "timeout=15min", "max_attempts=3", "backoff=[1,2]")
    assert code == 0, err
    assert app.call("GET", "/v1/types/from.shell")["timeout"] == 900
    code, out, err = shoal("types")
    assert code == 0 and "from.shell" in out and "[1,2]" in out.replace(" ", ""), out + err
    assert shoal("types", "set", "from.shell", "timeout=soon")[0] == 64
    assert shoal("types", "delete", "from.shell")[0] == 0
    assert shoal("types", "get", "from.shell")[0] != 0
    assert shoal("keys", "create", "test", "--scope", "read")[0] == 64
    code, out, err = shoal("keys", "create", "test", "--scope", "work:mail,work:sms")
    assert code == 0, err
    mail = Client(app.url, out.strip())
    assert lease(mail, ["sms", "mail"]) == {"leases": []}
    assert code_of(lambda: lease(mail, ["other"])) == (403, "out_of_scope")
    assert "(work:mail work:sms)" in shoal("keys", "list", "test")[1]


def test_bad_requests_say_what_is_wrong(app):
    for body, code in (({}, "missing_field"), ({"queues": []}, "invalid_field"), ({"queues": ["a b"]}, "invalid_field"),
                       ({"queues": ["a"], "max": 101}, "invalid_field"),
                       ({"queues": ["a"], "ttl": 1}, "invalid_field"),
                       ({"queues": ["a"], "wait": 61}, "invalid_field"),
                       ({"queues": ["a"], "wiat": 1}, "unknown_field")):
        assert code_of(lambda: app.call("POST", "/v1/leases", json=body)) == (400, code)
    assert code_of(lambda: app.call("POST", "/v1/leases/none/complete", json={})) == (404, "not_found")
    assert code_of(lambda: app.call("POST", "/v1/leases/complete", json={"leases": []})) == (400, "invalid_field")
    assert code_of(lambda: app.call("PUT", "/v1/types/x", json={})) == (400, "missing_field")
    assert code_of(lambda: app.call("PUT", "/v1/types/x", json={"handler": "magic"})) == (400, "invalid_field")

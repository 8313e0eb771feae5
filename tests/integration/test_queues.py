# SPDX-License-Identifier: BSD-2-Clause
"""Queues at run time: pause and resume, limits, lengths, shedding, and why a task does not run.

What ran when is read from PostgreSQL, whose clock decides: started_at, and what is running at a moment.
"""

import contextlib
import random
import subprocess
import threading
import time

import pytest
from shoaltest import apps
from shoaltest.client import Client, Refused
from shoaltest.node import program, program_env
from shoaltest.waits import stays, wait_for

SLEEP = "shoal.sleep"


def ends_of(db, queue):
    return db.value("SELECT count(*) FROM shoal.task t JOIN shoal.queue q ON q.id = t.queue_id"
                    " WHERE q.name = %s AND t.state = 3", queue)


def leading(db, nodes):
    """The node whose worker leads: its registered incarnations are in its log."""
    leader = db.value("SELECT leader FROM shoal.cluster").replace("-", "")
    for node in nodes:
        if "incarnation=" + leader[:12] in node.log():
            return node
    raise AssertionError("nobody leads")


def pause(client, queue, **body):
    return client.call("POST", "/v1/queues/%s/pause" % queue, expect=200, json=body)


def resume(client, queue):
    return client.call("POST", "/v1/queues/%s/resume" % queue, expect=200)


def put(client, queue, expect=200, **settings):
    return client.call("PUT", "/v1/queues/%s" % queue, expect=expect, json=settings)


def read(client, queue):
    return client.call("GET", "/v1/queues/%s" % queue, expect=200)


class Watch:
    """Asks PostgreSQL over and over how many tasks of a queue run; .most is the highest answer."""

    def __init__(self, db, queue):
        self.db, self.queue = db, queue
        self.most = self.looks = 0
        self.error = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            with contextlib.closing(self.db.server.connect(self.db.name)) as c, c.cursor() as cursor:
                while not self.stop.is_set():
                    cursor.execute(
                        "SELECT count(*) FROM shoal.task t JOIN shoal.queue q ON q.id = t.queue_id"
                        " WHERE q.name = %s AND t.state = 2", (self.queue,))
                    self.most = max(self.most, cursor.fetchone()[0])
                    self.looks += 1
                    time.sleep(0.002)
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()
        assert self.error is None, self.error


@contextlib.contextmanager
def load(client, queue, pause_s=0.002, type=SLEEP, payload=None):
    """Submits to the queue without end; yields the ids that were accepted."""
    ids, stop, errors = [], threading.Event(), []

    def run():
        mine = Client(client.url, client.key)
        while not stop.is_set():
            try:
                ids.append(mine.submit(type, payload or {"seconds": 0.001}, queue=queue)["id"])
            except Exception as e:  # pylint: disable=broad-except
                errors.append(e)
                return
            time.sleep(pause_s)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        yield ids
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not errors, errors[0]


# ---------------------------------------------------------------- pause


def test_nothing_starts_after_the_answer_to_a_pause(db, cluster, key):
    """Under load on two nodes, however the tasks come: adopted, pushed or fed."""
    nodes = cluster(2)
    client = Client(nodes[0].url, key)
    client.submit(SLEEP, {"seconds": 0.001}, queue="q")
    with load(client, "q"), load(client.at(nodes[1]), "q"):
        for turn in range(3):
            wait_for(lambda: read(client, "q")["queued"] == 0 and ends_of(db, "q") > 50 * (turn + 1))
            answer = pause(client, "q", reason="too much")
            answered_at = db.value("SELECT clock_timestamp()")
            assert answer["paused"] and answer["paused_reason"] == "too much"
            assert answer["paused_by"] == key.split("_")[2] and answer["paused_at"]
            wait_for(lambda: read(client, "q")["queued"] > 100)
            late = db.value("SELECT count(*) FROM shoal.task WHERE started_at > %s", answered_at)
            assert late == 0
            # what ran goes on to its end
            wait_for(lambda: read(client, "q")["running"] == 0)
            resumed_at = time.monotonic()
            again = resume(client, "q")
            assert not again["paused"] and again["paused_by"] is None
            wait_for(lambda: db.value("SELECT count(*) FROM shoal.task WHERE started_at > %s", answered_at))
            assert time.monotonic() - resumed_at < 1
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.task WHERE state < 3") == 0, at_most=30)
    kinds = [r[0] for r in db.rows("SELECT kind FROM shoal.event WHERE kind IN (15, 16) ORDER BY seq")]
    assert kinds == [15, 16] * 3


def test_a_paused_queue_keeps_others_out_of_nothing(client):
    """The queue beside it runs on; and a pause of a queue that never was is told."""
    client.submit(SLEEP, {"seconds": 0.001}, queue="held")
    pause(client, "held")
    waiting = client.submit(SLEEP, {"seconds": 0.001}, queue="held")["id"]
    assert client.run("shoal.echo", {"n": 1}, queue="free")["state"] == "succeeded"
    assert client.get(waiting)["state"] == "queued"
    assert pause(client, "held", reason="again")["paused_reason"] is None  # it was paused already
    with pytest.raises(Refused) as e:
        pause(client, "never")
    assert e.value.response.status_code == 404 and e.value.response.json()["code"] == "not_found"
    resume(client, "held")
    assert client.wait(waiting)["state"] == "succeeded"


def test_queues_are_listed_page_by_page_and_belong_to_their_application(db, client, node):
    for n in range(5):
        put(client, "q%d" % n, priority=n)
    put(client, "q1", rate={"limit": 100, "per": "1s"}, concurrency=3, max_length=10, shed=0.25, shed_below=3,
        keep_finished="12h", keep_failed=0)
    page = client.call("GET", "/v1/queues", params={"limit": 3})
    assert [q["name"] for q in page["queues"]] == ["q0", "q1", "q2"] and page["next_cursor"] == "q2"
    q1 = page["queues"][1]
    assert q1["rate"] == {"limit": 100, "per": "1s"} and q1["concurrency"] == 3 and q1["max_length"] == 10
    assert q1["shed"] == 0.25 and q1["shed_below"] == 3 and q1["priority"] == 1
    assert q1["keep_finished"] == "12h" and q1["keep_failed"] == "0s" and q1["oldest_age"] is None
    rest = client.call("GET", "/v1/queues", params={"cursor": "q2"})
    assert [q["name"] for q in rest["queues"]] == ["q3", "q4"] and rest["next_cursor"] is None
    taken = put(client, "q1", rate=None, concurrency=None)
    assert taken["rate"] is None and taken["concurrency"] is None and taken["max_length"] == 10
    other = Client(node.url, apps.make_key(db, "other"))
    assert other.call("GET", "/v1/queues")["queues"] == []
    assert other.request("GET", "/v1/queues/q1").status_code == 404
    assert other.request("POST", "/v1/queues/q1/pause").status_code == 404
    assert db.value("SELECT count(*) FROM shoal.event WHERE kind = 17") == 7


@pytest.mark.parametrize("body, code", [
    ({"priority": 10}, "invalid_field"), ({"concurrency": 0}, "invalid_field"),
    ({"rate": {"limit": 5, "per": "100ms"}}, "invalid_field"), ({"rate": "5"}, "invalid_field"),
    ({"shed": 1.5}, "invalid_field"), ({"keep_finished": "5s"}, "invalid_field"),
    ({"max_length": 1000001}, "invalid_field"), ({"concurency": 1}, "unknown_field"), ({}, "missing_field"),
])
def test_settings_that_cannot_be_are_refused(guest, body, code):
    answer = guest.request("PUT", "/v1/queues/q", json=body)
    assert answer.status_code == 400 and answer.json()["code"] == code
    assert guest.request("GET", "/v1/queues/q").status_code == 404


# ---------------------------------------------------------------- limits


def test_a_concurrency_limit_is_never_exceeded(db, cluster, key, redis):
    """Two nodes; the leader is killed, Redis emptied; every look at PostgreSQL sees three at most."""
    nodes = cluster(2)
    client = Client(nodes[0].url, key)
    put(client, "lim", concurrency=3)
    with Watch(db, "lim") as watch:
        ids = [t["id"] for t in client.batch(
            [{"type": SLEEP, "payload": {"seconds": 0.1}, "queue": "lim"} for _ in range(60)])]
        wait_for(lambda: ends_of(db, "lim") > 10, at_most=30)
        redis.flush()
        wait_for(lambda: ends_of(db, "lim") > 20, at_most=30)
        lead = leading(db, nodes)
        if lead is nodes[0]:
            client = client.at(nodes[1])
        lead.kill()
        for id in random.sample(ids, 5):
            client.wait(id, at_most=120)
        wait_for(lambda: ends_of(db, "lim") == 60, at_most=120)
    assert watch.looks > 100
    assert watch.most == 3
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.holding") == 0)


def test_a_concurrency_limit_holds_without_redis(db, cluster, key, private_redis):
    nodes = cluster(2, redis_url=private_redis.url())
    client = Client(nodes[0].url, key)
    put(client, "lim", concurrency=2)
    private_redis.stop()
    with Watch(db, "lim") as watch:
        client.batch([{"type": SLEEP, "payload": {"seconds": 0.005}, "queue": "lim"} for _ in range(60)])
        wait_for(lambda: ends_of(db, "lim") == 60, at_most=60)
    assert watch.most == 2


def test_a_limit_counts_what_ran_before_it(db, client):
    before = [client.submit(SLEEP, {"seconds": 1.5}, queue="lim")["id"] for _ in range(3)]
    for id in before:
        client.wait_state(id, "running")
    put(client, "lim", concurrency=2)
    assert db.value("SELECT count(*) FROM shoal.holding") == 3
    after = client.submit(SLEEP, {"seconds": 0.001}, queue="lim")["id"]
    why = client.why(after)
    assert why["reason"] == "limited" and why["reasons"][0]["running"] == 2
    stays(lambda: client.get(after)["state"] == "queued" or len(
        [i for i in before if client.get(i)["state"] == "running"]) < 2)
    assert client.wait(after)["state"] == "succeeded"
    # taken away, the limit leaves nothing behind
    put(client, "lim", concurrency=None)
    assert db.value("SELECT count(*) FROM shoal.holding") == 0
    assert db.value("SELECT count(*) FROM shoal.limit_state") == 0


def test_a_claim_that_was_lost_holds_nothing(db, client):
    """A stale row in shoal.holding heals by itself, however it came there."""
    put(client, "lim", concurrency=1)
    app, queue = db.rows("SELECT app_id, id FROM shoal.queue WHERE name = 'lim'")[0]
    db.rows("INSERT INTO shoal.holding (kind, ref, app_id, task_id, attempt)"
            " VALUES (0, %s, %s, '01900000-0000-7000-8000-000000000001', 1)", queue, app)
    db.rows("UPDATE shoal.limit_state SET checked_at = now() - interval '1 minute'")
    assert client.run(SLEEP, {"seconds": 0.001}, queue="lim")["state"] == "succeeded"


def test_a_limit_of_a_type_holds_over_queues_and_nodes(db, cluster, key):
    nodes = cluster(2, settings={"type:shoal.sleep.handler": "builtin", "type:shoal.sleep.limit": "2"})
    client = Client(nodes[0].url, key)
    client.batch([{"type": SLEEP, "payload": {"seconds": 0.02}, "queue": "q%d" % (n % 3)} for n in range(60)])
    most = 0

    def ended():
        nonlocal most
        running, done = db.rows("SELECT count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 3)"
                                " FROM shoal.task")[0]
        most = max(most, running)
        return done == 60

    wait_for(ended, at_most=120, every=0.002)
    assert most == 2
    # other types have none
    assert client.run("shoal.echo", {"n": 1})["state"] == "succeeded"


def test_a_rate_limit_allows_one_window_more_at_most(db, cluster, key):
    nodes = cluster(2)
    client = Client(nodes[0].url, key)
    put(client, "rate", rate={"limit": 20, "per": "1s"})
    client.batch([{"type": SLEEP, "payload": {"seconds": 0.001}, "queue": "rate"} for _ in range(400)])
    wait_for(lambda: ends_of(db, "rate") > 120, at_most=30)
    starts = [float(r[0]) for r in db.rows(
        "SELECT extract(epoch FROM started_at) FROM shoal.task WHERE state > 1 ORDER BY started_at")]
    for i, at in enumerate(starts):
        within = [s for s in starts[i:] if s < at + 5]
        assert len(within) <= 5 * 20 + 20
    # and it is used, as far as the feeder's passes allow
    assert (len(starts) - 20) / (starts[-1] - starts[0]) > 5


# ---------------------------------------------------------------- length and shedding


def test_a_queue_takes_as_many_tasks_as_its_length(db, cluster, key):
    nodes = cluster(2)
    client = Client(nodes[0].url, key)
    put(client, "full", max_length=20)
    pause(client, "full")
    for n in range(20):
        client.at(nodes[n % 2]).submit(SLEEP, {"seconds": 0.001}, queue="full")
    for each in nodes:
        answer = client.at(each).request("POST", "/v1/tasks", json={"type": SLEEP, "queue": "full"})
        assert answer.status_code == 429 and answer.json()["code"] == "queue_full"
        assert int(answer.headers["Retry-After"]) > 0
    # a batch is taken as a whole or not at all; other queues are not concerned
    put(client, "full", max_length=25)
    batch = [{"type": SLEEP, "payload": {"seconds": 0.001}, "queue": "full"} for _ in range(6)]
    wait_for(lambda: client.request("POST", "/v1/tasks/batch", json={"tasks": batch[:1]}).status_code == 201)
    assert client.request("POST", "/v1/tasks/batch", json={"tasks": batch}).status_code == 429
    assert client.request("POST", "/v1/tasks/batch", json={"tasks": batch[:4]}).status_code == 201
    assert read(client, "full")["queued"] == 25
    client.submit(SLEEP, {"seconds": 0.001}, queue="other")
    resume(client, "full")
    wait_for(lambda: ends_of(db, "full") == 25)
    client.submit(SLEEP, {"seconds": 0.001}, queue="full")


def test_callers_at_once_do_not_overfill_a_queue(db, cluster, key):
    """Whichever worker of whichever node they ask: the last place is taken once."""
    nodes = cluster(2, node__workers=2)
    client = Client(nodes[0].url, key)
    put(client, "full", max_length=50)
    pause(client, "full")
    statuses = []

    def submit(n):
        mine = Client(nodes[n % 2].url, key)
        for k in range(20):
            body = {"type": SLEEP, "queue": "full"}
            if k % 2:
                answer = mine.request("POST", "/v1/tasks/batch", json={"tasks": [body] * 3})
            else:
                answer = mine.request("POST", "/v1/tasks", json=body)
            statuses.append((answer.status_code, 3 if k % 2 else 1))

    threads = [threading.Thread(target=submit, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {status for status, _ in statuses} == {201, 429}
    taken = sum(count for status, count in statuses if status == 201)
    assert taken == db.value("SELECT count(*) FROM shoal.task WHERE state = 1") <= 50
    # single tasks fill what a batch of three leaves
    assert taken == 50


def test_a_share_of_the_less_urgent_is_shed(client):
    put(client, "busy", shed=0.3, shed_below=4)
    counts = {4: [0, 0], 5: [0, 0]}
    for n in range(1000):
        priority = 5 if n % 10 else 4
        answer = client.request("POST", "/v1/tasks", json={
            "type": SLEEP, "payload": {"seconds": 0.001}, "queue": "busy", "priority": priority})
        assert answer.status_code in (201, 429)
        if answer.status_code == 429:
            assert answer.json()["code"] == "shed" and int(answer.headers["Retry-After"]) > 0
        counts[priority][answer.status_code == 429] += 1
    assert counts[4] == [100, 0]
    # 900 at 0.3: 270, and 4.5 standard deviations are 62
    assert 207 < counts[5][1] < 333


def test_the_priority_of_a_queue_is_that_of_tasks_that_say_none(client):
    put(client, "low", priority=8)
    assert client.submit(SLEEP, {"seconds": 0.001}, queue="low")["priority"] == 8
    assert client.submit(SLEEP, {"seconds": 0.001}, queue="low", priority=2)["priority"] == 2
    put(client, "low", priority=1)
    wait_for(lambda: client.submit(SLEEP, {"seconds": 0.001}, queue="low")["priority"] == 1)


# ---------------------------------------------------------------- why


def test_why_names_each_reason(db, cluster, key):
    (node,) = cluster(1, node__workers=1, node__slots=4)
    client = Client(node.url, key)

    def reasons(id):
        why = client.why(id)
        assert why["id"] == id and why["message"] == why["reasons"][0]["message"]
        assert why["reason"] == why["reasons"][0]["reason"]
        return {r["reason"]: r for r in why["reasons"]}

    done = client.run("shoal.echo", {"n": 1})["id"]
    assert client.why(done)["reason"] == "succeeded"

    later = client.submit(SLEEP, {"seconds": 0.001}, delay=3600)["id"]
    assert "until" in reasons(later)["scheduled"]

    failed = client.submit("shoal.fail", {"message": "no"}, max_attempts=5)["id"]
    client.wait_state(failed, "scheduled")
    resting = reasons(failed)["resting"]
    assert resting["failures"] == 1 and resting["max_attempts"] == 5 and resting["until"]

    client.submit(SLEEP, {"seconds": 0.001}, queue="held")
    pause(client, "held", reason="a flood of mail")
    held = [client.submit(SLEEP, {"seconds": 0.001}, queue="held")["id"] for _ in range(3)]
    told = reasons(held[2])
    assert list(told)[0] == "paused"
    assert told["paused"]["note"] == "a flood of mail" and told["paused"]["by"] == key.split("_")[2]
    assert told["in_line"]["ahead"] == 2 and not told["in_line"]["more"]
    client.batch([{"type": SLEEP, "payload": {"seconds": 0.001}, "queue": "held", "priority": 0} for _ in range(1000)])
    client.batch([{"type": SLEEP, "payload": {"seconds": 0.001}, "queue": "held", "priority": 0} for _ in range(100)])
    told = reasons(held[2])
    assert told["in_line"]["ahead"] == 1000 and told["in_line"]["more"]
    assert "More than 1000" in told["in_line"]["message"]

    stranger = client.submit("nobody.knows.it")["id"]
    assert list(reasons(stranger))[0] == "not_served"

    put(client, "lim", concurrency=1)
    first = client.submit(SLEEP, {"seconds": 3}, queue="lim")["id"]
    second = client.submit(SLEEP, {"seconds": 0.001}, queue="lim")["id"]
    client.wait_state(first, "running")
    running = reasons(first)["running"]
    assert running["worker"].endswith("-0") or "-" in running["worker"]
    limited = reasons(second)["limited"]
    assert limited["limit"] == "queue_concurrency" and limited["concurrency"] == 1 and limited["since"]

    put(client, "rate", rate={"limit": 1, "per": "1min"})
    client.run(SLEEP, {"seconds": 0.001}, queue="rate")
    slow = client.submit(SLEEP, {"seconds": 0.001}, queue="rate")["id"]
    limited = reasons(slow)["limited"]
    assert limited["limit"] == "queue_rate" and limited["until"] and limited["rate"] == {"limit": 1, "per": "1min"}

    other = Client(node.url, apps.make_key(db, "other"))
    assert other.request("GET", "/v1/tasks/%s/why" % slow).text == other.request(
        "GET", "/v1/tasks/no-id/why").text


# ---------------------------------------------------------------- retention


def test_a_queue_may_keep_its_tasks_for_a_time_of_its_own(db, cluster, key):
    """Of finished tasks of two hours ago one queue's are over, another's are kept for ever."""
    (node,) = cluster(1, node__workers=1, settings={"tasks.keep_finished": "1h", "tasks.keep_failed": "1h"})
    client = Client(node.url, key)
    put(client, "short", keep_finished="1min", keep_failed="1min")
    put(client, "ever", keep_finished=0)
    put(client, "day", keep_finished="1d")
    for queue in ("short", "ever", "day", "plain"):
        client.run("shoal.echo", {"n": 1}, queue=queue)

    def age(name, seconds):
        """A finished task of that queue, submitted and ended so long ago."""
        return db.value(
            "INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, priority, max_attempts, run_at, finished_at)"
            " SELECT (lpad(to_hex(((extract(epoch FROM now()) - %s) * 1000)::bigint), 12, '0')"
            " || '7' || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid,"
            " q.app_id, q.id, 1, 3, 5, 25, now(), now() - %s * interval '1 second'"
            " FROM shoal.queue q WHERE q.name = %s RETURNING id", seconds, seconds, name)

    old = {name: age(name, 7200) for name in ("short", "ever", "day", "plain")}
    young = {name: age(name, 600) for name in ("short", "ever", "day", "plain")}

    def there(ids):
        return {n for n, id in ids.items() if db.value("SELECT count(*) FROM shoal.task WHERE id = %s", id)}

    wait_for(lambda: there(young) == {"ever", "day", "plain"} and there(old) == {"ever", "day"}, at_most=90)


# ---------------------------------------------------------------- shoal


def test_the_commands_of_shoal(node, key, client):
    def shoal(*args, expect=0):
        done = subprocess.run(program("shoal") + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(program_env(), SHOAL_URL=node.url, SHOAL_API_KEY=key), timeout=20, check=False)
        assert done.returncode == expect, done.stderr.decode()
        return done.stdout.decode()

    out = shoal("queues", "set", "mail", "rate=100/1s", "concurrency=5", "keep_finished=12h", "shed=0.5",
                "shed_below=5")
    assert "rate=100/1s" in out and "concurrency=5" in out and "keep_finished=12h" in out and "shed=0.5" in out
    assert "concurrency" not in shoal("queues", "set", "mail", "concurrency=none")
    assert "a flood" in shoal("pause", "mail", "a flood")
    id = client.submit("shoal.echo", queue="mail", priority=0, expect=(201,))["id"]
    assert "is paused" in shoal("why", id)
    assert "paused" in shoal("queues")
    assert "paused" not in shoal("resume", "mail")
    shoal("pause", "nowhere", expect=2)
    shoal("queues", "set", "mail", "concurrency", expect=64)
    shoal("queues", "set", "mail", "concurrency=many", expect=64)

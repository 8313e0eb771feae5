# SPDX-License-Identifier: BSD-2-Clause
"""What follows a failed attempt: the rest that was asked for, and no attempt that would be too late or too many."""

import datetime
import json
import os
import subprocess
import time

import pytest
from shoaltest.client import Client
from shoaltest.plans import nodes_of, watched
from shoaltest.record import Recorder, patience
from shoaltest.waits import stays, wait_for

# conf/schema/0001-base.sql and src/model/event.h
SCHEDULED, QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED, EXPIRED = range(7)
EVENTS = {4: "retrying", 5: "failed", 6: "lost", 8: "cancelled", 9: "expired"}


class Event:
    def __init__(self, row):
        self.kind, self.at, self.state, self.attempt, self.owner, self.code, self.message, detail = row
        self.kind = EVENTS[self.kind]
        self.detail = json.loads(detail)

    @property
    def rest(self):
        """Seconds from the event to the next attempt."""
        return (moment(self.detail["next_at"]) - self.at).total_seconds()


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def events(db, id):
    return [Event(row) for row in db.rows(
        "SELECT kind, at, state, attempt, owner, code, message, detail FROM shoal.event"
        " WHERE task_id = %s ORDER BY seq", id)]


def kinds(db, id):
    return [e.kind for e in events(db, id)]


def column(db, id, name):
    return db.value("SELECT %s FROM shoal.task WHERE id = %%s" % name, id)


def in_seconds(db, seconds):
    """A time from now by the database's clock, as a request writes it."""
    return db.value("SELECT to_char((now() + %s * interval '1 second') AT TIME ZONE 'UTC',"
                    " 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')", seconds)


# --------------------------------------------------------------------- backoff

RULES = {
    # rule: the least and the most that the first rests may be
    "default": (None, [(15, 25)]),
    "polynomial": ({"kind": "polynomial"}, [(15, 25)]),
    "list": ([0.1, "PT0.3S", 600], [(0.1, 0.1), (0.3, 0.3), (600, 600)]),
    "fixed": ({"kind": "fixed", "delay": "PT5M", "jitter": 0.5}, [(150, 300)]),
    "exponential": ({"kind": "exponential", "base": 0.1, "factor": 100, "cap": 60},
                    [(0.1, 0.1), (10, 10)]),
    "capped": ({"kind": "exponential", "base": 0.2, "factor": 2, "cap": 0.3, "jitter": 0.1},
               [(0.18, 0.2), (0.27, 0.3), (0.27, 0.3)]),
}


@pytest.mark.parametrize("name", RULES)
def test_a_task_rests_as_its_own_rule_says(client, db, name):
    rule, rests = RULES[name]
    id = client.submit("shoal.fail", **({"backoff": rule} if rule else {}))["id"]
    found = wait_for(lambda: len(events(db, id)) >= len(rests) and events(db, id), what="it has failed")
    for event, (least, most) in zip(found, rests):
        assert event.kind == "retrying" and event.state == SCHEDULED
        # from the start of the transaction that recorded the failure
        assert least - 0.5 < event.rest <= most
    assert [e.attempt for e in found] == list(range(1, len(found) + 1))
    if len(found) == len(rests):
        due = column(db, id, "due_at")
        # (unless the next attempt has begun meanwhile)
        assert moment(found[-1].detail["next_at"]) == due or len(events(db, id)) > len(rests) or due is None
    # never early: the attempt after a rest began when it was over
    if len(rests) > 2:
        assert column(db, id, "started_at") >= moment(found[-2].detail["next_at"])


def test_a_short_rest_is_not_longer_than_it_was_asked_to_be(client):
    # for the feeder, what it has just pushed is on its way for a second or two: not so if it was tried meanwhile
    ids = [client.submit("shoal.fail", max_attempts=4, backoff={"kind": "fixed", "delay": 0.2})["id"] for _ in range(3)]
    for id in ids:
        task = client.wait(id)
        assert task["attempt"] == 4
        assert (moment(task["finished_at"]) - moment(task["created_at"])).total_seconds() < patience(1.5)


def test_a_type_has_a_rule_for_tasks_that_bring_none(cluster, db, key):
    (node,) = cluster(1, settings={"type:shoal.fail.handler": "builtin",
                                   "type:shoal.fail.backoff": "exponential base=10s factor=6 cap=1h jitter=10%"})
    client = Client(node.url, key)
    plain, own = client.submit("shoal.fail")["id"], client.submit("shoal.fail", backoff=[300])["id"]
    (first,) = wait_for(lambda: events(db, plain))
    assert 8.5 < first.rest <= 10
    (first,) = wait_for(lambda: events(db, own))
    assert 299 < first.rest <= 300
    # a handler that names a time is asked before any rule
    told = client.submit("shoal.fail", {"retry_in": 77}, backoff=[300])["id"]
    (first,) = wait_for(lambda: events(db, told))
    assert 76 < first.rest <= 77


def test_the_outcome_of_each_attempt_is_kept(cluster, db, key, nodedir):
    recorder = Recorder(nodedir, "moody", 'echo "trouble $attempt" >&2; sleep 0.2\n'
                        "case $attempt in 1) exit 75 ;; 2) kill -9 $$ ;; 3) exit 0 ;; esac")
    (node,) = cluster(1, settings=recorder.settings())
    client = Client(node.url, key)
    task = client.run("moody", backoff=[0])
    assert (task["state"], task["attempt"], task["failures"]) == ("succeeded", 3, 2)
    first, second = events(db, task["id"])
    assert (first.kind, first.attempt, first.code, first.message) == ("retrying", 1, "exit_75", "trouble 1")
    assert (second.kind, second.attempt, second.code, second.message) == ("retrying", 2, "signal", "trouble 2")
    for event in (first, second):
        assert 200 <= event.detail["duration_ms"] < 5000
        # node and worker are the first eight bytes of the owner
        node_id, worker = event.owner.replace("-", "")[:12], int(event.owner.replace("-", "")[12:16], 16)
        assert "%s-%d" % (node_id, worker) in {
            "%s-%d" % (task["worker"].split("-")[0], w["worker"]) for w in node.workers()}


def test_an_error_for_good_and_the_last_attempt_say_so(cluster, db, key, nodedir):
    recorder = Recorder(nodedir, "strict", "echo no >&2; exit 3")
    (node,) = cluster(1, settings=recorder.settings())
    client = Client(node.url, key)
    task = client.run("strict", max_attempts=9)
    assert task["error"] == {"code": "exit_3", "message": "no"} and task["attempt"] == 1
    (event,) = events(db, task["id"])
    assert (event.kind, event.code, event.detail["why"]) == ("failed", "exit_3", "permanent")
    task = client.run("shoal.fail", max_attempts=2, backoff=[0])
    assert kinds(db, task["id"]) == ["retrying", "failed"]
    assert events(db, task["id"])[1].detail["why"] == "max_attempts"


# --------------------------------------------------------------------- bounds in time


@pytest.mark.parametrize("bound", ["retry_until", "deadline"])
def test_no_retry_begins_past_retry_until_or_the_deadline(client, db, bound):
    task = client.run("shoal.fail", {"message": "not today"}, backoff=[0.1, 30],
                      **{bound: in_seconds(db, 10)})
    assert (task["state"], task["attempt"]) == ("failed", 2)
    assert task["error"] == {"code": "failed", "message": "not today"}
    assert kinds(db, task["id"]) == ["retrying", "failed"]
    last = events(db, task["id"])[1]
    assert (last.code, last.message, last.detail["why"]) == ("failed", "not today", bound)
    assert column(db, task["id"], "expire_at") is None


def test_retry_until_does_not_keep_the_first_attempt(client, db):
    task = client.run("shoal.noop", retry_until=in_seconds(db, -5))
    assert task["state"] == "succeeded"


@pytest.mark.parametrize("where", ["scheduled", "queued", "resting"])
def test_what_waits_past_its_deadline_expires_and_never_starts(cluster, db, key, where):
    (node,) = cluster(1)
    client = Client(node.url, key)
    client.run("shoal.noop", queue="held")
    if where == "queued":
        db.rows("UPDATE shoal.queue SET paused = true WHERE name = 'held'")
    fields = {"scheduled": {"delay": 60}, "queued": {}, "resting": {"backoff": [60]}}[where]
    deadline = 1.5 if where != "resting" else 3600  # a retry that would be late is none
    id = client.submit("shoal.noop" if where != "resting" else "shoal.fail", queue="held",
                       deadline=deadline, **fields)["id"]
    if where == "resting":
        wait_for(lambda: column(db, id, "state") == SCHEDULED and column(db, id, "failures") == 1)
        db.rows("UPDATE shoal.task SET deadline = now() + interval '1 second',"
                " expire_at = now() + interval '1 second' WHERE id = %s", id)
    task = client.wait(id)  # its waiter is told
    assert task["state"] == "expired" and task["error"]["code"] == "deadline"
    attempts = 1 if where == "resting" else 0
    assert (task["attempt"], task["started_at"] is None) == (attempts, attempts == 0)
    late = db.value("SELECT extract(epoch FROM finished_at - deadline) FROM shoal.task WHERE id = %s", id)
    assert 0 <= late < patience(1.2)
    event = events(db, id)[-1]
    assert (event.kind, event.state, event.code) == ("expired", EXPIRED, "deadline")
    assert moment(event.detail["deadline"]) == column(db, id, "deadline")
    assert db.rows("SELECT expire_at, due_at, order_at FROM shoal.task WHERE id = %s", id) == [(None, None, None)]
    db.rows("UPDATE shoal.queue SET paused = false WHERE name = 'held'")
    client.run("shoal.noop", queue="held")
    assert column(db, id, "attempt") == attempts


def test_a_deadline_that_is_past_is_taken_and_the_task_expires(client, db):
    task = client.run("shoal.noop", deadline="2020-01-01T00:00:00Z")
    assert (task["state"], task["attempt"]) == ("expired", 0)


def test_a_deadline_ends_nothing_that_runs(client, db):
    id = client.submit("shoal.sleep", {"seconds": 5}, deadline="PT2S")["id"]
    client.wait_state(id, "running")
    # it leaves the index that deadlines are looked for in, and runs on
    wait_for(lambda: column(db, id, "expire_at") is None, what="it is out of the index")
    assert column(db, id, "state") == RUNNING
    assert client.wait(id)["state"] == "succeeded"
    assert db.value("SELECT count(*) FROM shoal.task WHERE expire_at IS NOT NULL") == 0


def test_deadlines_pass_without_redis(cluster, db, key, private_redis):
    (node,) = cluster(1, redis_url=private_redis.url())
    client = Client(node.url, key)
    client.run("shoal.noop")
    private_redis.kill()
    id = client.submit("shoal.noop", delay=60, deadline=1)["id"]
    assert client.wait(id, 30)["state"] == "expired"


def test_a_command_is_told_its_deadline(cluster, db, key, nodedir):
    recorder = Recorder(nodedir, "told", 'echo "\\"$SHOAL_DEADLINE\\""', timeout="60s")
    (node,) = cluster(1, settings=recorder.settings())
    client = Client(node.url, key)
    soon = in_seconds(db, 30)
    assert client.run("told", deadline=soon)["result"] == soon
    # its own time is up earlier than that
    task = client.run("told", deadline=in_seconds(db, 3000))
    assert 59 < (moment(task["result"]) - moment(task["started_at"])).total_seconds() < 65


WRONG_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
#define OFFSET %d
int
clock_gettime(clockid_t id, struct timespec *ts)
{
	static int (*real)(clockid_t, struct timespec *);
	int rc;

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
	rc = real(id, ts);
	if (id == CLOCK_REALTIME)
		ts->tv_sec += OFFSET;
	return rc;
}
int
gettimeofday(struct timeval *tv, void *tz)
{
	struct timespec ts;

	(void)tz;
	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}
time_t
time(time_t *to)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (to != NULL)
		*to = ts.tv_sec;
	return ts.tv_sec;
}
"""


@pytest.mark.parametrize("hours", [-1, 1])
def test_on_a_node_whose_clock_is_wrong_all_times_are_the_databases(
    make_node, db, redis, key, nodedir, monkeypatch, hours
):
    source, library = os.path.join(nodedir, "clock.c"), os.path.join(nodedir, "clock.so")
    with open(source, "w") as f:
        f.write(WRONG_CLOCK % (hours * 3600))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    node = make_node({"cluster.name": db.name, "database.url": db.url(), "redis.url": redis.url()})
    monkeypatch.setenv("LD_PRELOAD", library)
    monkeypatch.setenv("ASAN_OPTIONS", "exitcode=99:verify_asan_link_order=0")
    node.start(ready=None)
    monkeypatch.undo()
    node.start_wait()
    assert abs(time.time() + hours * 3600 - log_time(node)) < 120, "the node's clock is not wrong"
    client = Client(node.url, key)
    resting = client.submit("shoal.fail", backoff=[2, 500])["id"]
    late = client.submit("shoal.noop", delay=1800, deadline="PT2S")["id"]
    bound = client.submit("shoal.fail", backoff=[900], retry_until=in_seconds(db, 1800))["id"]
    never = client.submit("shoal.fail", backoff=[2700], retry_until=in_seconds(db, 1800))["id"]
    assert client.wait(never)["state"] == "failed"
    client.wait_state(bound, "scheduled")
    assert client.wait(late)["state"] == "expired"
    off = db.value("SELECT extract(epoch FROM finished_at - deadline) FROM shoal.task WHERE id = %s", late)
    assert 0 <= off < patience(1.2)
    age = db.value("SELECT extract(epoch FROM deadline - e.at) FROM shoal.task t, LATERAL (SELECT min(at) AS at"
                   " FROM shoal.event) e WHERE id = %s", late)
    assert 0.5 < age < 3
    first, second = wait_for(lambda: len(events(db, resting)) == 2 and events(db, resting))
    assert 1.5 < first.rest <= 2 and 499 < second.rest <= 500
    start = column(db, resting, "started_at")
    assert 0 <= (start - moment(first.detail["next_at"])).total_seconds() < patience(1.2)


def log_time(node):
    """The time of the first line of its log, by its own clock."""
    line = next(l for l in node.log().splitlines() if l[:2] == "20")
    return moment(line.split()[0]).timestamp()


# --------------------------------------------------------------------- cancel, loss


def test_what_is_to_be_cancelled_is_not_tried_again(cluster, db, key, nodedir):
    recorder = Recorder(nodedir, "slow", "while [ ! -e $dir/go ]; do sleep 0.05; done; exit 75")
    (node,) = cluster(1, settings=recorder.settings())
    client = Client(node.url, key)
    id = client.submit("slow")["id"]
    wait_for(recorder.starts)
    db.rows("UPDATE shoal.task SET cancel_at = now() WHERE id = %s", id)
    recorder.touch("go")
    task = client.wait(id)
    assert (task["state"], task["attempt"], task["error"]["code"]) == ("cancelled", 1, "cancelled")
    assert kinds(db, id) == ["cancelled"]
    assert node.status()["totals"]["tasks_cancelled_total"] == 1


def test_what_was_to_be_cancelled_and_is_lost_is_cancelled(cluster, db, key):
    (node,) = cluster(1, node__workers=1)
    client = Client(node.url, key)
    doomed, other = (client.submit("shoal.sleep", {"seconds": 3})["id"] for _ in range(2))
    for id in (doomed, other):
        client.wait_state(id, "running")
    db.rows("UPDATE shoal.task SET cancel_at = now() WHERE id = %s", doomed)
    node.kill_worker()
    assert client.wait(doomed)["state"] == "cancelled"
    assert kinds(db, doomed) == ["cancelled"]
    task = client.wait(other)
    assert (task["state"], task["attempt"], task["failures"]) == ("succeeded", 2, 0)
    (lost,) = events(db, other)
    assert (lost.kind, lost.state, lost.attempt, lost.code) == ("lost", QUEUED, 1, "killed")
    assert lost.owner is not None


def test_an_orderly_leave_counts_against_nothing(cluster, db, key):
    one, two = cluster(2, node__shutdown_timeout="1s")
    client = Client(one.url, key)
    ids = [client.submit("shoal.sleep", {"seconds": 8})["id"] for _ in range(8)]
    for id in ids:
        client.wait_state(id, "running")
    one.stop()
    client = client.at(two)
    for id in ids:
        assert client.wait(id, 60)["state"] == "succeeded"
    assert db.value("SELECT max(attempt) FROM shoal.task") == 2
    assert db.value("SELECT max(crashes) FROM shoal.task") is None
    given = db.rows("SELECT kind, code, state FROM shoal.event")
    assert given and set(given) == {(6, "given_back", QUEUED)}


# --------------------------------------------------------------------- poison


@pytest.mark.parametrize("signal,code,crashes", [("ILL", "crashed", 3), ("KILL", "killed", 5)])
def test_a_task_that_kills_its_worker_is_poison_and_those_beside_it_succeed(
    cluster, db, key, nodedir, signal, code, crashes
):
    # above a command: its keeper, the spawner, the master
    poison = Recorder(
        nodedir, "poison",
        "above() { ps -o ppid= -p $1; }; master=$(above $(above $PPID))\n"
        "worker=$(pgrep -P $master -f '^shoald: worker'); sleep 0.1; kill -%s $worker; sleep 60"
        % signal)
    slow = Recorder(nodedir, "slow", "sleep 0.5; echo 1")
    (node,) = cluster(1, node__workers=1, settings=dict(poison.settings(), **slow.settings()))
    client = Client(node.url, key)
    began = time.monotonic()
    bad = client.submit("poison")["id"]
    good = [client.submit("slow")["id"] for _ in range(3)]
    good += [client.submit("shoal.sleep", {"seconds": 0.6})["id"] for _ in range(3)]
    task = client.wait(bad, 60)
    took = time.monotonic() - began
    print("poison after %.1f s" % took)
    assert (task["state"], task["error"]["code"]) == ("failed", "poison")
    assert task["error"]["message"] == (
        "its worker crashed %d times while it ran, the last time with nothing beside it" % crashes)
    assert took < patience(20)
    for id in good:
        assert client.wait(id, 60)["state"] == "succeeded"
    assert kinds(db, bad) == ["lost"] * (crashes - 1) + ["failed"]
    assert [e.code for e in events(db, bad)] == [code] * (crashes - 1) + ["poison"]
    assert column(db, bad, "crashes") == crashes
    assert db.value("SELECT coalesce(max(crashes), 0) FROM shoal.task WHERE id <> %s", bad) <= 2
    assert len(poison.starts()) == crashes
    # the last time it ran alone
    last = max(s.at for s in poison.starts())
    # (which kills its worker after 0.1 s: others may start right then)
    assert not [s for s in slow.starts() if last - 0.4 < s.at < last + 0.1]
    slow.check_fences()
    # and the worker takes others again
    assert client.run("shoal.noop")["state"] == "succeeded"


def test_suspects_that_are_innocent_run_alone_one_by_one(cluster, db, key, nodedir):
    recorder = Recorder(
        nodedir, "slow",
        "if [ -e $dir/alone ]; then mkdir $dir/busy || touch $dir/together; sleep 0.2; rmdir $dir/busy;\n"
        "else sleep 300; fi")
    (node,) = cluster(1, node__workers=1, settings=recorder.settings())
    client = Client(node.url, key)
    ids = [client.submit("slow")["id"] for _ in range(4)]
    for n in (1, 2):
        wait_for(lambda: len(recorder.starts()) == 4 * n, at_most=20, what="all run, time %d" % n)
        if n == 2:
            recorder.touch("alone")
        node.kill_worker()
    for id in ids:
        assert client.wait(id, 60)["state"] == "succeeded"
    assert not os.path.exists(recorder.path("together"))
    assert set(db.rows("SELECT crashes, failures FROM shoal.task")) == {(2, 0)}
    recorder.check_fences()


# --------------------------------------------------------------------- plans


def test_expiring_reads_what_is_past_and_nothing_else(db):
    db.rows("INSERT INTO shoal.application (name) VALUES ('a')")
    db.rows("ANALYZE shoal.task")
    with watched(db) as session:
        for _ in range(7):
            session.call("SELECT shoal.expire(1000)")
        db.rows("""
            INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, priority, max_attempts, run_at, due_at,
                                    deadline, expire_at)
            SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(g), 12, '0'))::uuid, 1, 1, 1, 0, 5, 25, now(),
                   now() + interval '1 hour', d, d
              FROM generate_series(1, 3000) g, LATERAL (SELECT now() + (g - 20) * interval '1 minute' AS d) x""")
        _, found = session.call("SELECT shoal.expire(1000)")
    assert db.value("SELECT count(*) FROM shoal.task WHERE state = 6") == 20
    assert found
    for plan in found:
        for node in nodes_of(plan):
            if node.get("Relation Name") != "task" or node["Node Type"] == "ModifyTable":
                continue
            assert node["Node Type"] in ("Index Scan", "Tid Scan"), node
            assert (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) <= 20, node

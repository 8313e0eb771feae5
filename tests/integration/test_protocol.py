# SPDX-License-Identifier: BSD-2-Clause
"""Exactly one outcome: fences, lost answers, dead workers and masters, and a Redis that lies."""

import contextlib
import os
import random
import re
import signal
import time
import uuid

import pytest
import requests
from shoaltest import apps, process
from shoaltest.client import Client
from shoaltest.record import Recorder, patience, processes_of_group
from shoaltest.waits import stays, wait_for
from shoaltest.wire import TO_CLIENT, TO_SERVER

SUCCEEDED = 3  # conf/schema/0001-base.sql
RUNNING = 2


def row(db, id):
    """(state, attempt, owner, finished_at) as PostgreSQL has it."""
    return db.rows(
        "SELECT state, attempt, owner, finished_at FROM shoal.task WHERE id = %s", id
    )[0]


def total(node, counter):
    return node.status()["totals"][counter]


def leads(node):
    """The leader's name, if it is one of this node."""
    answer = requests.get(node.dev_url + "/api/status", timeout=5).json()
    name = (answer["cluster"] or {}).get("leader")
    return name if name and name.startswith(answer["node"]["id"]) else None


def keys(db, what):
    return "shoal:%s:%s" % (db.name, what)


# --------------------------------------------------------------------- processes


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_workers_command_dies_whole_before_its_task_runs_again(
    cluster, key, nodedir, workers
):
    # the second attempt looks whether anything of the first is left: no matter how quick, it must not be
    recorder = Recorder(
        nodedir, "long",
        'if [ "$attempt" = 1 ]; then sleep 300 & echo "$$ $!" >$dir/pids; sleep 30; exit; fi\n'
        "for pid in $(cat $dir/pids); do\n"
        "  state=$(cut -d ' ' -f 3 /proc/$pid/stat 2>/dev/null)\n"
        '  case "$state" in ""|Z|X) ;; *) echo "$pid lives: $state" >>$dir/alive ;; esac\n'
        "done",
        timeout="60s",
    )
    (node,) = cluster(1, node__workers=workers, settings=recorder.settings())
    client = Client(node.url, key)
    id = client.submit("long")["id"]
    wait_for(lambda: len(recorder.text("pids").split()) == 2, what="the command runs")
    group = recorder.starts()[0].pid
    slot = int(client.wait_state(id, "running")["worker"].split("-")[1])
    (pid,) = [w["pid"] for w in node.workers() if w["worker"] == slot]
    killed = time.time()
    os.kill(pid, signal.SIGKILL)
    task = client.wait(id)
    assert task["state"] == "succeeded" and task["attempt"] == 2
    assert not os.path.exists(recorder.path("alive")), recorder.text("alive")
    assert not processes_of_group(group)
    recorder.check_fences()
    again = recorder.starts()[1].at - killed
    print("runs again after %.2f s with %d workers" % (again, workers))
    assert again < patience(1)


def test_a_worker_without_heartbeat_is_ended_with_its_commands_and_replaced(cluster, key, nodedir):
    recorder = Recorder(
        nodedir, "long", 'if [ "$attempt" = 1 ]; then sleep 300 & wait; fi', timeout="60s"
    )
    (node,) = cluster(1, node__workers=1, node__hang_timeout="2s", settings=recorder.settings())
    node.expected_dirt = ["AddressSanitizer: ABRT"]
    client = Client(node.url, key)
    id = client.submit("long")["id"]
    wait_for(recorder.starts)
    old = node.kill_worker(sig=signal.SIGSTOP)
    group = recorder.starts()[0].pid
    wait_for(lambda: not processes_of_group(group) and not process.alive(old), at_most=15)
    assert client.wait(id)["attempt"] == 2
    worker = node.workers()[0]
    assert worker["pid"] != old and worker["restarts"] == 1
    assert "no heartbeat" in worker["last_reason"]


def test_a_worker_that_was_called_dead_changes_nothing_when_it_wakes(cluster, key, db, nodedir):
    recorder = Recorder(
        nodedir, "slow", "while [ ! -e $dir/go$attempt ]; do sleep 0.05; done; echo $attempt"
    )
    # the master has patience, so that it is PostgreSQL that has to say no
    (node,) = cluster(1, node__workers=2, node__hang_timeout="120s", settings=recorder.settings())
    client = Client(node.url, key)
    leader = int(wait_for(lambda: leads(node)).split("-")[1])
    for _ in range(40):
        id = client.submit("slow")["id"]
        if int(client.wait_state(id, "running")["worker"].split("-")[1]) != leader:
            break
        recorder.touch("go1")
        client.wait(id)
        os.unlink(recorder.path("go1"))
    (worker,) = [w for w in node.workers() if w["worker"] != leader]
    os.kill(worker["pid"], signal.SIGSTOP)
    wait_for(lambda: row(db, id)[:2] == (RUNNING, 2), at_most=30, what="recovered from the sleeper")
    recorder.touch("go1")  # the first attempt's command ends, its worker does not know yet
    os.kill(worker["pid"], signal.SIGCONT)
    wait_for(lambda: not process.alive(worker["pid"]), at_most=15, what="the sleeper leaves")
    assert row(db, id)[:2] == (RUNNING, 2)
    recorder.touch("go2")
    task = client.wait(id)
    assert (task["state"], task["attempt"], task["result"]) == ("succeeded", 2, 2)
    wait_for(lambda: len(node.worker_pids()) == 2, what="the sleeper is replaced")
    recorder.check_fences()


def test_a_leader_that_is_frozen_keeps_no_tasks_from_starting(cluster, key, db, nodedir):
    """Commands are pushed by the feeder alone, which is the leader's; its lease lasts for nine seconds."""
    recorder = Recorder(nodedir, "quick", "echo 1")
    nodes = cluster(2, node__workers=1, node__hang_timeout="120s", settings=recorder.settings())
    wait_for(lambda: any(leads(n) for n in nodes), what="somebody leads")
    (frozen,) = [n for n in nodes if leads(n)]
    (other,) = [n for n in nodes if n is not frozen]
    client = Client(other.url, key)
    client.wait(client.submit("quick")["id"])
    lease = "SELECT leader, leader_epoch FROM shoal.cluster"
    led = db.rows(lease)
    frozen.pause()
    # all but the few ids that are on their way to the frozen one
    ids = [client.submit("quick")["id"] for _ in range(10)]
    wait_for(lambda: sum(row(db, i)[0] == SUCCEEDED for i in ids) >= 8, at_most=15, what="the other runs them")
    assert db.rows(lease) == led, "somebody else led by then"
    wait_for(lambda: leads(other), at_most=30, what="the other leads")
    assert "this redis is not the one" not in other.log()
    frozen.resume()
    assert all(client.wait(i)["state"] == "succeeded" for i in ids)


def test_what_a_leader_that_left_had_on_its_way_does_not_lead_again(cluster, db):
    (node,) = cluster(1, node__workers=1)
    leader = wait_for(lambda: db.value("SELECT leader FROM shoal.cluster"), what="somebody leads")
    node.stop()
    # the lease is free at once, and a pass of its last holder that comes behind that finds it so
    lease = "SELECT leader, lease_until FROM shoal.cluster"
    assert db.rows(lease) == [(None, None)]
    no = "'{}', '{}', 10, '{}', '{}', '{}', '{}', NULL, 0, NULL"
    assert not db.rows("SELECT * FROM shoal.feed(%%s, 9000, 30000, %s, true)" % no, leader)
    assert db.rows(lease) == [(None, None)]


def test_a_killed_masters_workers_and_commands_go_and_the_other_node_takes_over(
    cluster, key, nodedir
):
    recorder = Recorder(
        nodedir, "long",
        'if [ "$attempt" = 1 ]; then trap "" TERM; sleep 300 & echo $! >>$dir/children; wait; sleep 300; fi',
        timeout="600s",
    )
    (one,) = cluster(1, settings=recorder.settings())
    here = Client(one.url, key)
    wait_for(lambda: leads(one), what="the node that will die leads")
    made = [t["id"] for t in here.batch([{"type": "long"}] * 6)]
    wait_for(lambda: len(recorder.starts()) == 6)
    (two,) = cluster(1, settings=recorder.settings())
    there = Client(two.url, key)
    sleepers = [t["id"] for t in here.batch([{"type": "shoal.sleep", "payload": {"seconds": 8}}] * 20)]
    wait_for(lambda: len(here.list(state="running")["tasks"]) == 26)
    mine = set(one.family())
    groups = [s.pid for s in recorder.starts()]
    killed = time.monotonic()
    one.send(signal.SIGKILL)
    one.proc.wait()
    wait_for(
        lambda: not [p for p in mine if process.alive(p)]
        and not [p for g in groups for p in processes_of_group(g)],
        at_most=patience(5), what="workers, commands and their children are gone",
    )
    gone = time.monotonic() - killed
    wait_for(
        lambda: sum(s.attempt == 2 for s in recorder.starts()) == len(groups),
        at_most=max(1, 30 - (time.monotonic() - killed)), what="taken over",
    )
    took = time.monotonic() - killed
    print("all gone after %.1f s, taken over after %.1f s" % (gone, took))
    assert {there.wait(id, 60)["state"] for id in sleepers} == {"succeeded"}
    tasks = [there.wait(id) for id in made]
    assert {(t["state"], t["attempt"]) for t in tasks} == {("succeeded", 2)}
    recorder.check_fences()


def test_workers_killed_all_the_time_start_no_attempt_twice_and_lose_nothing(
    cluster, db, key, nodedir
):
    chance = random.Random(9)
    recorder = Recorder(nodedir, "short", "sleep 0.3; echo 1")
    one, two = cluster(2, node__exec_slots=8, settings=recorder.settings())
    client = Client(one.url, key)
    made, killed = [], 0

    def submit():
        with contextlib.suppress(requests.ConnectionError):
            made.extend(t["id"] for t in client.batch(
                [{"type": "short"}, {"type": "shoal.sleep", "payload": {"seconds": 0.2}}] * 8))
        return True

    for _ in range(20):
        submit()
        node = chance.choice([one, two])
        busy = wait_for(lambda: [w for w in node.workers() if w["tasks_running"] > 0], what="work")
        for worker in chance.sample(busy, chance.randrange(1, len(busy) + 1)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker["pid"], signal.SIGKILL)
                killed += 1
    for id in made:
        assert client.wait(id, 60)["state"] == "succeeded"
    recorder.check_fences()
    ids = {s.id for s in recorder.starts()}
    print("%d workers killed, %d tasks, %d starts of %d commands"
          % (killed, len(made), len(recorder.starts()), len(ids)))
    # an attempt that was lost cost nothing of the budget
    assert db.value("SELECT max(failures) FROM shoal.task") == 0
    # the last start of each is the one that was recorded
    last = {}
    for s in recorder.starts():
        last[s.id] = max(s.attempt, last.get(s.id, 0))
    recorded = dict(db.rows("SELECT id::text, attempt FROM shoal.task"))
    assert {id: recorded[id] for id in last} == last


# --------------------------------------------------------------------- lost answers


@pytest.fixture
def split(cluster, db, postgres, wire, key, nodedir):
    """A node that leads and cannot run "held", and one that can, whose way to PostgreSQL is a wire."""
    recorder = Recorder(
        nodedir, "held", "while [ ! -e $dir/go ]; do sleep 0.05; done; echo '\"done\"'"
    )
    link = wire(postgres.port)
    (front,) = cluster(1, node__workers=1)
    wait_for(lambda: leads(front), what="the first node leads")
    (back,) = cluster(
        1, node__workers=1, database_url=db.url(link.port), settings=recorder.settings()
    )
    return Client(front.url, key), back, link, recorder


def mend(link, back):
    link.reset_open()
    link.heal()
    wait_for(back.is_connected, what="connected again")


def check_one_outcome(db, back, client, recorder, id):
    task = client.wait(id)
    assert (task["state"], task["attempt"], task["result"]) == ("succeeded", 1, "done")
    before = row(db, id)
    recorder.check_fences()
    assert [(s.id, s.attempt) for s in recorder.starts()] == [(id, 1)]
    # what comes after goes through the same worker, and changes nothing of it
    assert client.run("held")["attempt"] == 1
    assert row(db, id) == before
    assert total(back, "tasks_succeeded_total") == 2
    assert total(back, "tasks_fenced_total") == 0
    assert db.value("SELECT count(*) FROM shoal.claim") <= 1


def test_a_claim_whose_answer_is_cut_off_starts_once(split, db):
    client, back, link, recorder = split
    recorder.touch("go")
    link.blackhole(TO_CLIENT)
    id = client.submit("held")["id"]
    wait_for(lambda: row(db, id)[:2] == (RUNNING, 1), what="PostgreSQL has committed the claim")
    assert not recorder.starts(), "nothing starts before the answer"
    mend(link, back)
    check_one_outcome(db, back, client, recorder, id)


def test_a_claim_that_never_arrives_is_made_again(split, db):
    client, back, link, recorder = split
    recorder.touch("go")
    link.blackhole(TO_SERVER)
    id = client.submit("held")["id"]
    stays(lambda: row(db, id)[1] == 0, 0.5)
    mend(link, back)
    check_one_outcome(db, back, client, recorder, id)


def test_a_finish_whose_answer_is_cut_off_is_recorded_once(split, db):
    client, back, link, recorder = split
    id = client.submit("held")["id"]
    wait_for(recorder.starts, what="it runs")
    link.blackhole(TO_CLIENT)
    recorder.touch("go")
    wait_for(lambda: row(db, id)[0] == SUCCEEDED, what="PostgreSQL has committed the outcome")
    finished_at = row(db, id)[3]
    mend(link, back)
    check_one_outcome(db, back, client, recorder, id)
    assert row(db, id)[3] == finished_at


def test_a_finish_that_never_arrives_is_sent_again(split, db):
    client, back, link, recorder = split
    id = client.submit("held")["id"]
    wait_for(recorder.starts, what="it runs")
    link.blackhole(TO_SERVER)
    recorder.touch("go")
    stays(lambda: row(db, id)[0] == RUNNING, 0.5)
    mend(link, back)
    check_one_outcome(db, back, client, recorder, id)


def test_a_finish_cut_off_twice_in_a_row_is_recorded_once(split, db):
    client, back, link, recorder = split
    id = client.submit("held")["id"]
    wait_for(recorder.starts, what="it runs")
    link.blackhole(TO_CLIENT)
    recorder.touch("go")
    wait_for(lambda: row(db, id)[0] == SUCCEEDED)
    accepted = link.connections
    link.reset_open()  # it connects again and asks into the void
    wait_for(lambda: link.connections > accepted, what="new connections")
    mend(link, back)
    check_one_outcome(db, back, client, recorder, id)


def test_a_link_to_postgres_that_keeps_breaking_starts_no_attempt_twice(
    cluster, db, postgres, wire, key, nodedir
):
    chance = random.Random(4)
    recorder = Recorder(nodedir, "quick", "echo 1")
    link = wire(postgres.port)
    (front,) = cluster(1, node__workers=1, node__slots=1)
    wait_for(lambda: leads(front))
    (back,) = cluster(
        1, node__workers=2, database_url=db.url(link.port), settings=recorder.settings()
    )
    client = Client(front.url, key)
    made = []
    for _ in range(15):
        made += [t["id"] for t in client.batch([{"type": "quick"}, {"type": "shoal.echo"}] * 8)]
        link.cut_after(chance.randrange(1, 3000), chance.choice([TO_CLIENT, TO_SERVER]))
        claimed = link.connections
        with contextlib.suppress(AssertionError):  # a cut that met nothing is fine
            wait_for(lambda: link.connections > claimed, at_most=1)
        link.heal()
    for id in made:
        assert client.wait(id, 40)["state"] == "succeeded"
    recorder.check_fences()
    recorded = [r[0] for r in db.rows("SELECT attempt FROM shoal.task")]
    assert len(recorded) == len(made)
    assert total(front, "tasks_succeeded_total") + total(back, "tasks_succeeded_total") == len(made)


# --------------------------------------------------------------------- a Redis that lies


def test_lists_of_yesterday_put_back_run_nothing_again(cluster, db, redis, key, nodedir):
    recorder = Recorder(nodedir, "held", "while [ ! -e $dir/go ]; do sleep 0.05; done; echo 1")
    (node,) = cluster(1, node__slots=2, node__exec_slots=2, settings=recorder.settings())
    client = Client(node.url, key)
    made = [t["id"] for t in client.batch([{"type": "held"}] * 10)]
    wait_for(lambda: len(recorder.starts()) == 4)
    made += [t["id"] for t in client.batch([{"type": "shoal.sleep", "payload": {"seconds": 0.5}}] * 20)]
    with contextlib.closing(redis.client()) as r:
        r.connection_pool.connection_kwargs["decode_responses"] = False

        def copy():
            kept = {k: v for k, v in ((k, r.dump(k)) for k in r.keys(keys(db, "*"))) if v}
            both = any(b":dispatch:" in k for k in kept) and any(b":proc:" in k for k in kept)
            return kept if both else None

        saved = wait_for(copy, what="ids are in the lists")
        recorder.touch("go")
        for id in made:
            assert client.wait(id)["state"] == "succeeded"
        before = {id: row(db, id) for id in made}
        for name, value in saved.items():
            r.restore(name, 0, value, replace=True)
        wait_for(lambda: r.llen(keys(db, "dispatch:main")) == 0, what="the old ids are gone")
    assert client.run("shoal.noop", at_most=10)["state"] == "succeeded"
    assert {id: row(db, id) for id in made} == before
    assert {r[1] for r in before.values()} == {1}
    recorder.check_fences()
    assert len(recorder.starts()) == 10


def test_ids_pushed_twice_run_once(cluster, db, redis, key, nodedir):
    recorder = Recorder(nodedir, "quick", "echo 1")
    (node,) = cluster(1, settings=recorder.settings())
    client = Client(node.url, key)
    assert client.run("quick")["state"] == "succeeded"
    app, kind = db.rows("SELECT app_id, type_id FROM shoal.task")[0]
    echo = db.value("SELECT id FROM shoal.task_type WHERE name = 'shoal.echo'")
    made = []
    with contextlib.closing(redis.client()) as r:
        for _ in range(20):
            for name, number in (("quick", kind), ("shoal.echo", echo)):
                id = client.submit(name, 1)["id"]
                made.append(id)
                r.lpush(keys(db, "dispatch:main"), *["%s/%d/%d" % (id, app, number)] * 20)
        # ids of a foreign application, of another type, of no task
        r.lpush(
            keys(db, "dispatch:main"), "%s/%d/%d" % (made[0], app + 1, kind),
            "%s/%d/%d" % (made[0], app, echo), "%s/%d/%d" % (uuid.uuid4(), app, kind),
            "%s/%d/%d" % (uuid.uuid4(), app, 2000000000),
        )
        for id in made:
            assert client.wait(id)["attempt"] == 1
        recorder.check_fences()
        assert len(recorder.starts()) == 21
        assert client.run("shoal.noop")["state"] == "succeeded"
        # nothing is kept either
        wait_for(
            lambda: all(r.llen(k) == 0 for k in r.scan_iter(keys(db, "proc:*"))), at_most=15
        )


GARBAGE = [
    b"", b"\x00\xff\xfe\r\n*1\r\n", b"x" * 1000000, b"../../etc/passwd", b"1/2/3",
    b"018f0000-0000-7000-8000-000000000000/1", b"018F0000-0000-7000-8000-000000000000/1/1",
    b"018f0000-0000-7000-8000-000000000000/01/1", b"018f0000-0000-7000-8000-000000000000/-1/1",
    b"018f0000-0000-7000-8000-000000000000/1/99999999999", b"%s%n%s", "é\U0001f41f".encode(),
]


def test_garbage_in_the_dispatch_list_is_dropped(cluster, db, redis, key):
    (node,) = cluster(1)
    client = Client(node.url, key)
    with contextlib.closing(redis.client()) as r:
        for _ in range(5):
            r.lpush(keys(db, "dispatch:main"), *GARBAGE)
            r.rpush(keys(db, "dispatch:main"), *GARBAGE)
            ids = [t["id"] for t in client.batch([{"type": "shoal.echo", "payload": 1}] * 20)]
            for id in ids:
                assert client.wait(id)["attempt"] == 1
        wait_for(
            lambda: r.llen(keys(db, "dispatch:main")) == 0
            and all(r.llen(k) == 0 for k in r.scan_iter(keys(db, "proc:*"))),
            what="none of it stays",
        )
        for channel in ("ctl", "done:" + node.status()["node"]):
            for text in GARBAGE:
                r.publish(keys(db, channel), text)
    assert client.run("shoal.noop")["state"] == "succeeded"
    assert len(node.worker_pids()) == 2 and not any(w["restarts"] for w in node.workers())


def spoil(r, name, kind):
    with r.pipeline() as p:
        p.delete(name)
        if kind == "string":
            p.set(name, b"\x00 no such thing")
        elif kind == "hash":
            p.hset(name, "a", "b")
        elif kind == "list":
            p.rpush(name, "a", "b")
        p.execute()


@pytest.mark.parametrize("what", ["dispatch:main", "proc", "places", "epoch", "beat", "leader"])
def test_a_key_of_the_wrong_type_stalls_nothing(cluster, db, redis, key, nodedir, what):
    recorder = Recorder(nodedir, "quick", "echo 1")
    (node,) = cluster(1, settings=recorder.settings())
    client = Client(node.url, key)
    assert client.run("quick")["state"] == "succeeded"
    ran = 1
    for kind in ("string", "hash", "list"):
        with contextlib.closing(redis.client()) as r:
            if what == "proc":
                owners = [o for (o,) in db.rows("SELECT id FROM shoal.incarnation WHERE state = 0")]
                for o in owners:
                    h = o.replace("-", "")
                    spoil(r, keys(db, "proc:%s-%d-%s" % (h[:12], int(h[12:16], 16), h[16:])), kind)
            else:
                spoil(r, keys(db, what), kind)
        made = [t["id"] for t in client.batch([{"type": "quick"}, {"type": "shoal.echo"}] * 4)]
        ran += 4
        for id in made:
            task = client.wait(id, 15)
            assert (task["state"], task["attempt"]) == ("succeeded", 1)
    recorder.check_fences()
    assert len(recorder.starts()) == ran


# --------------------------------------------------------------------- the start


def test_a_node_that_starts_has_nothing_compiled(cluster, make_db, private_postgres):
    # jit takes a second of a processor, of every worker, while names are asked for behind it
    db = make_db(private_postgres)
    with contextlib.closing(private_postgres.connect("postgres")) as c, c.cursor() as cursor:
        cursor.execute("LOAD 'auto_explain'")
        for name, value in (("session_preload_libraries", "auto_explain"), ("auto_explain.log_min_duration", "0"),
                            ("auto_explain.log_analyze", "on"), ("auto_explain.log_timing", "off")):
            cursor.execute("ALTER SYSTEM SET %s = %%s" % name, (value,))
        cursor.execute("SELECT pg_reload_conf()")
    wait_for(lambda: db.value("SHOW session_preload_libraries") == "auto_explain")
    (node,) = cluster(1, database_url=db.url(), cluster__name=db.name, node__workers=1)
    client = Client(node.url, apps.make_key(db, "test"))
    client.run("shoal.echo", 1, headers={"Idempotency-Key": "k"})
    client.run("shoal.noop")
    plans = private_postgres.log_text()
    assert "shoal.types_known" in plans and "shoal.finish_tasks" in plans
    compiled = re.findall(r"Query Text: (?:(?!Query Text:)[\s\S])*?^\s*JIT:", plans, re.M)
    assert not compiled, compiled[0][:2000]

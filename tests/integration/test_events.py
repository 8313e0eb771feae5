# SPDX-License-Identifier: BSD-2-Clause
"""What happened to a task can be told afterwards, and followed while it happens."""

import contextlib
import json
import random
import signal
import subprocess
import threading

import psycopg2
import pytest
import requests
from shoaltest import apps
from shoaltest.client import Client
from shoaltest.node import program, program_env
from shoaltest.plans import nodes_of, watched
from shoaltest.stream import Stream
from shoaltest.waits import stays, wait_for

CREATED, STARTED, SUCCEEDED, RETRYING, FAILED, LOST, CANCELLING, CANCELLED = range(1, 9)
ORDINARY = ["created", "started", "succeeded"]


def app_of(db, name="test"):
    return db.value("SELECT id FROM shoal.application WHERE name = %s", name)


def note(db, app_id, count, kind=RETRYING, message=None, task=None):
    """Events as anybody would write them, all in one transaction."""
    db.rows(
        "SELECT shoal.add_event(%s, %s::uuid, %s, NULL, NULL, NULL, 'note', coalesce(%s, g::text), NULL)"
        " FROM generate_series(1, %s) g", app_id, task, kind, message, count,
    )


@pytest.fixture
def follow(aftermath):
    """follow(node, key, ...) is a Stream that is open; closed at the end."""

    def open_stream(node, key, **kwargs):
        stream = Stream(node.url, key, **kwargs)
        aftermath.callback(stream.close)
        if kwargs.get("reads", True):
            stream.wait_open()
        return stream

    return open_stream


# ---------------------------------------------------------------- one task


def events_of(client, id, **query):
    return client.call("GET", "/v1/tasks/%s/events" % id, expect=200, params=query)


def test_the_life_of_a_task_is_told_in_order(client, db, node):
    task = client.run("shoal.noop")
    page = events_of(client, task["id"])
    assert [e["kind"] for e in page["events"]] == ORDINARY
    assert page["next_cursor"] is None
    created, started, ended = page["events"]
    assert created["id"] == "created" and created["at"] == task["created_at"]
    assert started["id"] == "started-1" and started["at"] == task["started_at"]
    assert started["state"] == "running" and started["attempt"] == 1
    assert started["worker"] == task["worker"]
    assert started["incarnation"].startswith(task["worker"] + "-")
    assert ended["state"] == "succeeded" and ended["at"] == task["finished_at"]
    assert all(e["task"] == task["id"] for e in page["events"])
    # nothing was written for it
    assert db.value("SELECT count(*) FROM shoal.event") == 0


def test_what_the_row_cannot_tell_stands_between(client, db):
    task = client.run("shoal.noop")
    db.rows(
        "SELECT shoal.add_event(a.app_id, a.id, %s, 0, 1, a.owner, 'exit_1', 'it broke', '{\"duration_ms\": 7}')"
        " FROM shoal.task a WHERE id = %s", RETRYING, task["id"],
    )
    db.rows("UPDATE shoal.event SET at = t.started_at + interval '1 microsecond' FROM shoal.task t")
    events = events_of(client, task["id"])["events"]
    assert [e["kind"] for e in events] == ["created", "started", "retrying", "succeeded"]
    retry = events[2]
    xid, seq = db.rows("SELECT xid, seq FROM shoal.event")[0]
    assert retry["id"] == "%d-%d" % (xid, seq)
    assert retry["state"] == "scheduled" and retry["attempt"] == 1
    assert (retry["code"], retry["message"], retry["detail"]) == ("exit_1", "it broke", {"duration_ms": 7})
    # page by page the same
    pages, cursor = [], None
    while True:
        page = events_of(client, task["id"], limit=1, **({"cursor": cursor} if cursor else {}))
        assert len(page["events"]) == 1
        pages += page["events"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == events


@pytest.mark.parametrize("what", ["events", "log"])
def test_events_and_log_of_others_are_not_there(client, node, db, what):
    task = client.run("shoal.noop")
    other = Client(node.url, apps.make_key(db, "other"))
    absent = client.request("GET", "/v1/tasks/01935b1e-7c7a-7d33-9f0e-2a6f4c1d8b90")
    for who, id in ((other, task["id"]), (client, "01935b1e-7c7a-7d33-9f0e-2a6f4c1d8b90"), (client, "nonsense")):
        answer = who.request("GET", "/v1/tasks/%s/%s" % (id, what))
        assert (answer.status_code, answer.content) == (404, absent.content)
    for bad in ("?cursor=x", "?limit=0", "?limit=1001", "?nonsense=1"):
        answer = client.request("GET", "/v1/tasks/%s/events%s" % (task["id"], bad))
        assert answer.status_code == 400, bad


def test_retry_and_loss_are_in_a_tasks_events(cluster, db):
    nodes = cluster(2, node__workers=1)
    client = Client(nodes[0].url, apps.make_key(db, "test"))
    task = client.run("shoal.fail", {"times": 1, "message": "not yet", "retry_in": 0})
    assert task["state"] == "succeeded"
    events = events_of(client, task["id"])["events"]
    retry = next(e for e in events if e["kind"] == "retrying")
    assert (retry["code"], retry["message"], retry["attempt"]) == ("failed", "not yet", 1)
    assert retry["worker"] and retry["detail"]["duration_ms"] >= 0
    assert [e["kind"] for e in events].count("succeeded") == 1

    long = client.submit("shoal.sleep", {"seconds": 2})
    running = client.wait_state(long["id"], "running")
    holder = next(n for n in nodes if running["worker"].startswith(node_id(n)))
    holder.kill_worker()
    task = client.wait(long["id"])
    assert task["state"] == "succeeded" and task["attempt"] == 2
    lost = next(e for e in events_of(client, task["id"])["events"] if e["kind"] == "lost")
    assert lost["worker"] == running["worker"] and lost["attempt"] == 1


def node_id(node):
    return requests.get(node.dev_url + "/api/status", timeout=5).json()["node"]["id"]


# ---------------------------------------------------------------- the stream


def test_a_stream_tells_what_happens_from_now_on(node, key, db, follow):
    app = app_of(db)
    note(db, app, 3)
    stream = follow(node, key)
    assert db.value("SELECT until > now() + interval '6 days' FROM shoal.watched WHERE app_id = %s", app)
    note(db, app, 5)
    note(db, app_of_new(db), 1)
    stream.wait(5)
    assert [e["data"]["message"] for e in stream.events[-5:]] == ["1", "2", "3", "4", "5"]
    assert len(stream.events) == 5
    assert all(e["id"] == e["data"]["id"] and e["event"] == "retrying" for e in stream.events)
    assert stream.retry and b"text/event-stream" in stream.head


def app_of_new(db):
    apps.make_key(db, "somebody else")
    return app_of(db, "somebody else")


def test_an_ordinary_life_is_told_where_somebody_follows(client, node, key, db, follow):
    before = client.run("shoal.noop")
    assert db.value("SELECT count(*) FROM shoal.event") == 0
    stream = follow(node, key)
    task = client.run("shoal.noop", queue="mail")
    stream.wait(3)
    assert stream.kinds() == ORDINARY
    assert {e["data"]["task"] for e in stream.events} == {task["id"]} != {before["id"]}
    assert [e["data"]["at"] for e in stream.events] == [
        task["created_at"], task["started_at"], task["finished_at"]]
    assert {(e["data"]["queue"], e["data"]["type"]) for e in stream.events} == {("mail", "shoal.noop")}
    # its own list has each of them once
    assert [e["kind"] for e in events_of(client, task["id"])["events"]] == ORDINARY


def test_ends_are_noted_for_those_who_are_followed_only(client, node, key, db, follow):
    """The function itself, by hand."""
    app = app_of(db)
    ids = [client.run("shoal.noop")["id"] for _ in range(3)]
    other = Client(node.url, apps.make_key(db, "other"))
    stranger = other.run("shoal.noop")["id"]
    args = ([app] * 3 + [app_of(db, "other")], ids + [stranger])
    db.rows("SELECT shoal.note_ended(%s::int[], %s::uuid[])", *args)
    assert db.value("SELECT count(*) FROM shoal.event") == 0
    db.rows("INSERT INTO shoal.watched VALUES (%s, now() + interval '1 hour')", app)
    db.rows("SELECT shoal.note_ended(%s::int[], %s::uuid[])", *args)
    db.rows("SELECT shoal.note_ended(%s::int[], %s::uuid[])", *args)  # its answer was lost
    rows = db.rows("SELECT task_id::text, kind FROM shoal.event ORDER BY xid, seq")
    assert rows == [(id, kind) for id in ids for kind in (CREATED, STARTED, SUCCEEDED)]


class Writers:
    """Threads that write numbered events, each in a transaction that stays open for a while."""

    def __init__(self, db, app_id, count=4):
        self.db, self.app_id = db, app_id
        self.written = set()
        self.lock = threading.Lock()
        self.stopping = False
        self.failed = None
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, writer):
        chance = random.Random(writer)
        number = 0
        try:
            with contextlib.closing(psycopg2.connect(self.db.url())) as connection:
                while not self.stopping:
                    names = []
                    with connection, connection.cursor() as cursor:
                        for _ in range(chance.randint(1, 8)):
                            number += 1
                            names.append("%d/%d" % (writer, number))
                            cursor.execute(
                                "SELECT shoal.add_event(%s, NULL, 4, NULL, NULL, NULL, NULL, %s, NULL)",
                                (self.app_id, names[-1]),
                            )
                            if chance.random() < 0.3:
                                cursor.execute("SELECT pg_sleep(%s)", (chance.random() * 0.03,))
                    with self.lock:
                        self.written.update(names)
        except Exception as e:  # pylint: disable=broad-except
            self.failed = e

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(20)
        assert self.failed is None, self.failed
        return self.written


def test_a_stream_goes_on_at_another_node_without_a_gap(cluster, db, follow):
    """Transactions commit in any order, the client connects again and again, now here, now there."""
    nodes = cluster(2, node__workers=1)
    key = apps.make_key(db, "test")
    first = follow(nodes[0], key)
    last_id = first.last_id
    writers = Writers(db, app_of(db))
    seen = []
    try:
        first.wait(20)
        first.close()
        seen += first.events
        last_id = first.last_id
        for turn in range(8):
            stream = follow(nodes[(turn + 1) % 2], key, last_id=last_id)
            stream.wait(30)
            stream.close()
            seen += stream.events
            last_id = stream.last_id
    finally:
        written = writers.stop()
    stream = follow(nodes[0], key, last_id=last_id)
    wait_for(lambda: len(seen) + len(stream.events) >= len(written), 20, "all that was written")
    stays(lambda: len(seen) + len(stream.events) == len(written), 1.2)
    seen += stream.close().events
    messages = [e["data"]["message"] for e in seen]
    assert len(messages) == len(set(messages)), "some were seen twice"
    assert set(messages) == written
    places = [tuple(int(n) for n in e["id"].split("-")) for e in seen]
    assert places == sorted(places)


def test_every_end_is_told_once_under_load(cluster, db, follow):
    nodes = cluster(2, node__workers=2)
    key = apps.make_key(db, "test")
    client = Client(nodes[0].url, key)
    stream = follow(nodes[0], key, query="?kind=succeeded")
    ids, seen = [], []
    for turn in range(10):
        ids += [t["id"] for t in client.batch([{"type": "shoal.noop"}] * 200)]
        if turn % 3 == 2:
            stream.wait(100)
            seen += stream.close().events
            stream = follow(nodes[turn % 2], key, last_id=stream.last_id, query="?kind=succeeded")
    wait_for(lambda: len(seen) + len(stream.events) >= len(ids), 60, "every end")
    seen += stream.close().events
    tasks = [e["data"]["task"] for e in seen]
    assert sorted(tasks) == sorted(ids)


def test_what_commits_late_is_delivered(node, key, db, follow):
    """A transaction that is open while others commit is passed by nobody."""
    app = app_of(db)
    stream = follow(node, key)
    with contextlib.closing(psycopg2.connect(db.url())) as late:
        with late.cursor() as cursor:
            cursor.execute(
                "SELECT shoal.add_event(%s, NULL, 4, NULL, NULL, NULL, NULL, 'late', NULL)", (app,))
        note(db, app, 2)
        stays(lambda: not stream.events, 1.2, "what is behind an open transaction waits")
        late.commit()
    stream.wait(3)
    assert [e["data"]["message"] for e in stream.events] == ["late", "1", "2"]


def test_a_stream_may_be_filtered(client, node, key, db, follow):
    app = app_of(db)
    task = client.run("shoal.noop", queue="mail")
    stream = follow(node, key, query="?kind=cancelled")
    of_task = follow(node, key, query="?task=%s" % task["id"])
    of_queue = follow(node, key, query="?queue=mail&type=shoal.noop")
    elsewhere = follow(node, key, query="?queue=default")
    note(db, app, 2)
    note(db, app, 1, kind=CANCELLED, task=task["id"])
    note(db, app, 2)
    for s in (stream, of_task, of_queue):
        s.wait(1)
        assert s.kinds() == ["cancelled"]
    everything = follow(node, key, last_id=elsewhere.last_id)
    everything.wait(5)
    assert not elsewhere.events


def test_a_page_of_the_stream_reads_a_page(db):
    """Whatever the planner believes: its session made the plan while the table was empty."""
    db.rows("ALTER TABLE shoal.event SET (autovacuum_enabled = off)")
    apps.make_key(db, "test")
    app = app_of(db)
    ask = "SELECT * FROM shoal.events_after(%s, %s, 0, 500)"
    with watched(db) as session:
        for _ in range(7):
            session.call(ask, (app, 0))
        note(db, app, 20000)
        note(db, app_of_new(db), 20000)
        note(db, app, 20000)
        middle = db.value("SELECT max(xid) FROM shoal.event WHERE app_id = %s", app)
        for place in (0, middle):
            rows, plans = session.call(ask, (app, place))
            assert len(rows) == 501
            found = [n for p in plans for n in nodes_of(p) if n.get("Relation Name") == "event"]
            assert [n["Index Name"] for n in found] == ["event_feed"], found
            assert found[0]["Actual Rows"] == 500 and not found[0].get("Rows Removed by Filter")
            assert not [n for p in plans for n in nodes_of(p) if n["Node Type"] == "Sort"]


@pytest.mark.parametrize("query, headers, code", [
    ("?after=nonsense", {}, "invalid_parameter"),
    ("?after=12", {}, "invalid_parameter"),
    ("", {"Last-Event-ID": "-1-2"}, "invalid_parameter"),
    ("?after=9000000000000-1", {}, "unknown_event"),
    ("?kind=nonsense", {}, "invalid_parameter"),
    ("?task=nonsense", {}, "invalid_parameter"),
    ("?queue=no+no", {}, "invalid_parameter"),
    ("?limit=1", {}, "unknown_parameter"),
])
def test_a_bad_stream_is_refused(guest, query, headers, code):
    answer = guest.request("GET", "/v1/events" + query, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["code"] == code


def test_streams_have_a_bound(cluster, db, follow):
    node, = cluster(1, node__workers=1)
    key = apps.make_key(db, "test")
    streams = [follow(node, key) for _ in range(200)]
    answer = Client(node.url, key).request("GET", "/v1/events")
    assert answer.status_code == 429
    assert answer.json()["code"] == "too_many_streams"
    assert int(answer.headers["Retry-After"]) > 0
    follow(node, apps.make_key(db, "other"))
    streams.pop().close()
    wait_for(lambda: Stream(node.url, key).wait_open().close(), what="room for another")


def is_sanitized():
    """AddressSanitizer keeps what was freed."""
    with open(program()[-1], "rb") as f:
        return b"__asan_" in f.read()


def test_a_slow_client_costs_little_and_goes_on(cluster, db, follow):
    node, = cluster(1, node__workers=1, http__write_timeout="3s")
    key = apps.make_key(db, "test")
    app = app_of(db)
    fast = follow(node, key)
    slow = Stream(node.url, key, last_id=fast.last_id, receive_buffer=4096, reads=False)
    before = node.workers()[0]["memory_bytes"]
    for _ in range(30):
        note(db, app, 1000, message="x" * 2000)
    fast.wait(30000, at_most=60)
    node.wait_log('reason="reply not taken"', at_most=20)
    if not is_sanitized():
        assert node.workers()[0]["memory_bytes"] < before + 24 * 1024 * 1024
    # it goes on by what it got, and misses nothing
    slow.read().wait_closed(at_most=30)
    assert not slow.ended
    assert len(slow.events) < 30000
    rest = follow(node, key, last_id=slow.last_id)
    rest.wait(30000 - len(slow.events), at_most=60)
    ids = [e["id"] for e in slow.events + rest.events]
    assert ids == [e["id"] for e in fast.events]


def test_a_node_that_leaves_ends_its_streams(cluster, db, follow):
    # longer than the test takes: nobody is waited for who takes nothing
    leaving, staying = cluster(2, node__workers=1, node__shutdown_timeout="100s")
    key = apps.make_key(db, "test")
    stream = follow(leaving, key)
    deaf = Stream(leaving.url, key, receive_buffer=4096, reads=False)
    note(db, app_of(db), 3000, message="x" * 1000)
    stream.wait(3000)
    assert leaving.stop(signal.SIGTERM, at_most=60) == 0
    stream.wait_closed()
    assert stream.ended and "leaves" in stream.comments[-1] and stream.retry == 100
    deaf.close()
    note(db, app_of(db), 1)
    assert follow(staying, key, last_id=stream.last_id).wait(1)[0]["data"]["message"] == "1"


# ---------------------------------------------------------------- progress and log


@pytest.fixture
def script(tmp_path):
    """script(text) is a Python program that says what it likes to fd 3, as say(text)."""

    def make(text):
        path = tmp_path / "report.py"
        path.write_text(
            "import json, os, sys, time\n"
            "out = os.fdopen(int(os.environ['SHOAL_PROGRESS_FD']), 'wb', 0)\n"
            "say = lambda text: out.write(text.encode() + b'\\n')\n" + text
        )
        tmp_path.chmod(0o755)
        return {"type:report.handler": "exec", "type:report.command": "/usr/bin/python3 %s" % path}

    return make


def test_progress_and_log_can_be_read_while_it_runs(cluster, db, script, tmp_path):
    gate = tmp_path / "gate"
    settings = script(
        "gate = json.load(sys.stdin)\n"
        "say('10')\n"
        "say('{\"progress\": {\"done\": 1, \"of\": 3}, \"log\": \"first\"}')\n"
        "say('plain \\u00e4')\n"
        "out.write(b'\\xff\\xfe garbage\\n')\n"
        "while not os.path.exists(gate): time.sleep(0.02)\n"
        "say('100'); say('last words')\n"
    )
    nodes = cluster(2, node__workers=1, settings=settings)
    client = Client(nodes[0].url, apps.make_key(db, "test"))
    other = client.at(nodes[1])
    id = client.submit("report", str(gate))["id"]
    wait_for(lambda: other.get(id)["progress"] == {"done": 1, "of": 3}, what="progress")
    answer = other.request("GET", "/v1/tasks/%s/log" % id)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.content.decode() == "first\nplain \u00e4\n?? garbage\n"
    assert client.get(id)["state"] == "running"
    gate.touch()
    assert client.wait(id)["state"] == "succeeded"
    wait_for(lambda: other.get(id)["progress"] == 100, what="the last progress")
    assert other.request("GET", "/v1/tasks/%s/log" % id).text.endswith("last words\n")
    # one that says nothing
    quiet = client.run("shoal.noop")
    assert quiet["progress"] is None
    silent = client.request("GET", "/v1/tasks/%s/log" % quiet["id"])
    assert (silent.status_code, silent.content) == (200, b"")


def test_a_flood_of_lines_is_bounded_and_hurts_nobody(cluster, db, script):
    settings = script(
        "for i in range(200000): say('line %d ' % i + 'x' * 40)\n"
        "out.write(b'y' * 100000 + b'\\n')\n"
        "say('the end')\n"
    )
    node, = cluster(1, node__workers=1, settings=settings)
    client = Client(node.url, apps.make_key(db, "test"))
    assert client.run("report", at_most=60)["state"] == "succeeded"
    id = client.list()["tasks"][0]["id"]

    def log():
        text = client.request("GET", "/v1/tasks/%s/log" % id).text
        return text if text.endswith("the end\n") else None

    text = wait_for(log, what="the end of the log")
    assert len(text) <= 16 * 1024
    assert len(max(text.split("\n"), key=len)) == 4095
    assert db.value("SELECT count(*) FROM shoal.task_report") == 1


def test_a_late_report_changes_nothing(client, db):
    """The function itself, by hand: another attempt, another owner, another claim."""
    task = client.run("shoal.noop")
    app, owner, claim = db.rows("SELECT app_id, owner::text, claim FROM shoal.task")[0]

    def report(owner=owner, attempt=1, claim=claim, progress="1"):
        db.rows("SELECT shoal.report_tasks(%s, %s, %s::uuid[], %s, %s, %s, %s::text[])", owner, [app],
                [task["id"]], [attempt], [claim], [progress], [None])

    for late in ({"attempt": 2}, {"claim": claim + 1}, {"owner": "0" * 32}):
        report(**late)
        assert client.get(task["id"])["progress"] is None
    report(progress="[1, 2]")
    assert client.get(task["id"])["progress"] == [1, 2]


def test_old_events_and_reports_of_gone_tasks_are_removed(cluster, db):
    key = apps.make_key(db, "test")
    app = app_of(db)
    node, = cluster(1, node__workers=1, tasks__keep_failed="1d")
    note(db, app, 3000)
    db.rows("UPDATE shoal.event SET at = now() - interval '2 days' WHERE message::int <= 2500")
    task = Client(node.url, key).run("shoal.noop")
    db.rows("INSERT INTO shoal.task_report VALUES (%s, %s, 1, '1', NULL)", app, task["id"])
    db.rows("INSERT INTO shoal.task_report SELECT %s, md5(g::text)::uuid, 1, '1', NULL"
            " FROM generate_series(1, 2500) g", app)
    db.rows("INSERT INTO shoal.watched VALUES (%s, now() - interval '1 second')", app)
    node.stop()
    node.start()
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.event") == 500, 20, "old events are gone")
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.task_report") == 1, 20, "so are reports")
    assert db.value("SELECT count(*) FROM shoal.watched") == 0


# ---------------------------------------------------------------- shoal


def shoal(node, key, *args):
    env = dict(program_env(), SHOAL_URL=node.url, SHOAL_API_KEY=key)
    return subprocess.Popen(program("shoal") + list(args), env=env, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def test_shoal_shows_events_and_log(cluster, db, script):
    settings = script("say('75'); say('hello')")
    node, = cluster(1, node__workers=1, settings=settings)
    key = apps.make_key(db, "test")
    client = Client(node.url, key)
    id = client.run("report")["id"]
    out, err = shoal(node, key, "events", id).communicate(timeout=20)
    assert [line.split()[1] for line in out.splitlines()] == ORDINARY, err

    def log():
        done = shoal(node, key, "log", id)
        return done.communicate(timeout=20)[0] == "hello\n" and done.returncode == 0

    wait_for(log, what="the log")
    missing = shoal(node, key, "log", "01935b1e-7c7a-7d33-9f0e-2a6f4c1d8b90")
    assert "not_found" in missing.communicate(timeout=20)[1]
    assert missing.returncode == 2


def test_shoal_follows_and_connects_again(cluster, db):
    node, = cluster(1, node__workers=1)
    key = apps.make_key(db, "test")
    app = app_of(db)
    follower = shoal(node, key, "events", "--follow", "--json")
    try:
        wait_for(lambda: db.value("SELECT count(*) FROM shoal.watched"), what="it follows")
        note(db, app, 2)
        assert [read_message(follower) for _ in range(2)] == ["1", "2"]
        node.stop()
        note(db, app, 3)
        node.start()
        assert [read_message(follower) for _ in range(3)] == ["1", "2", "3"]
    finally:
        follower.kill()
        follower.communicate()


def read_message(follower):
    line = follower.stdout.readline()
    assert line, follower.stderr.read()
    return json.loads(line)["message"]

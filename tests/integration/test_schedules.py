# SPDX-License-Identifier: BSD-2-Clause
"""Schedules fire each instant once, whoever leads and whatever was missed.

The clock is never waited for where days matter: next_at is moved in the database, or the rule is computed.
"""

import contextlib
import datetime
import json
import os
import shutil
import subprocess
import sys
import threading

import psycopg2
import pytest
import requests
from shoaltest import apps
from shoaltest.client import Client
from shoaltest.node import build_directory, program, program_env
from shoaltest.record import patience
from shoaltest.waits import stays, wait_for

NOBODY = {"type": "nobody.serves"}
NOOP = {"type": "shoal.noop"}
HERE = os.path.dirname(os.path.abspath(__file__))
ZONES = os.path.join(HERE, "../unit/zones")
HOUR = datetime.timedelta(hours=1)


def put(client, name, cron, task=None, expect=(200, 201), **fields):
    body = dict(fields, cron=cron, task=task or NOBODY)
    return client.call("PUT", "/v1/schedules/" + name, expect=expect, json=body)


def get(client, name):
    return client.call("GET", "/v1/schedules/" + name, expect=200)


def poke(client):
    """The leader looks now."""
    put(client, "poke", "@yearly")


def move_next(db, client, name, sql):
    """As if time had passed: the next instant is what the SQL says."""
    db.rows("UPDATE shoal.schedule SET next_at = %s, look_at = %s WHERE name = '%s'" % (sql, sql, name))
    poke(client)


def fires(db, name):
    """[(instant, outcome, task id)] in order."""
    return db.rows(
        "SELECT f.at, f.outcome, f.task_id FROM shoal.schedule_fire f JOIN shoal.schedule s"
        " ON s.id = f.schedule_id WHERE s.name = %s ORDER BY f.at", name)


def fired(db, name, count=1):
    return wait_for(
        lambda: len(fires(db, name)) >= count and fires(db, name), at_most=patience(10),
        what="%d fires of %s" % (count, name))


def leads(node):
    answer = requests.get(node.dev_url + "/api/status", timeout=5).json()
    name = (answer["cluster"] or {}).get("leader")
    return bool(name) and name.startswith(answer["node"]["id"])


def problem(answer, status, code):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json()["code"] == code, answer.text
    return answer.json()["detail"]


def when(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


# --------------------------------------------------------------------- the API


def test_put_makes_and_replaces(client, db):
    task = {"type": "mail", "queue": "post", "payload": {"to": "you"}, "metadata": {"a": 1}}
    made = put(client, "nightly", "30 2 * * *", task, expect=201, zone="Europe/Berlin")
    assert made["name"] == "nightly" and made["task"] == task
    assert (made["type"], made["queue"]) == ("mail", "post")
    assert (made["gap"], made["overlap"], made["missed"], made["missed_limit"]) == ("end", "first", "latest", 10)
    assert (made["while_open"], made["jitter"], made["paused"]) == ("allow", 0, False)
    assert made["counts"] == {"fired": 0, "skipped": 0, "missed": 0, "refused": 0}
    assert made["problem"] is None and made["last_at"] is None
    assert when(made["next_at"]) > datetime.datetime.now(datetime.timezone.utc)
    again = put(client, "nightly", "30 2 * * *", task, expect=200, zone="Europe/Berlin")
    for field in set(made) - {"updated_at"}:
        assert again[field] == made[field], field
    other = put(client, "nightly", "@hourly", expect=200, missed="all", missed_limit=7, while_open="skip",
                jitter=1.5, paused=True, gap="skip", overlap="both")
    assert other["next_at"] is None and other["paused"]
    assert (other["cron"], other["zone"], other["jitter"]) == ("@hourly", "UTC", 1.5)
    assert (other["missed"], other["missed_limit"], other["while_open"]) == ("all", 7, "skip")
    assert (other["gap"], other["overlap"]) == ("skip", "both")
    assert get(client, "nightly") == other
    changes = [r[0] for r in db.rows("SELECT detail FROM shoal.event WHERE kind = 18 ORDER BY seq")]
    assert len(changes) == 3 and '"created"' in changes[0] and '"replaced"' in changes[1]


def test_delete_forgets_it(client):
    put(client, "gone", "@daily")
    assert client.request("DELETE", "/v1/schedules/gone").status_code == 204
    problem(client.request("DELETE", "/v1/schedules/gone"), 404, "not_found")
    problem(client.request("GET", "/v1/schedules/gone"), 404, "not_found")
    assert client.call("GET", "/v1/schedules")["schedules"] == []


def test_a_list_goes_by_name_page_by_page(client):
    names = sorted(["a", "B", "b", "preview.", "z:1", "a/b", "a.b"])
    for name in reversed(names):
        put(client, name.replace("/", "%2F"), "@daily")
    found, cursor = [], None
    while True:
        page = client.call("GET", "/v1/schedules", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        found += [s["name"] for s in page["schedules"]]
        assert len(page["schedules"]) <= 2 and all("task" not in s for s in page["schedules"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == names
    assert get(client, "a%2Fb")["name"] == "a/b"
    for bad in ({"limit": 0}, {"limit": 101}, {"cursor": "zz"}, {"cursor": "00"}):
        problem(client.request("GET", "/v1/schedules", params=bad), 400, "invalid_parameter")


def test_nobody_sees_what_is_not_his(client, db):
    put(client, "mine", "@daily")
    other = Client(client.url, apps.make_key(db, "other"))
    gone = client.request("GET", "/v1/schedules/nothing")
    for method, path in [("GET", "mine"), ("DELETE", "mine"), ("POST", "mine/pause"), ("POST", "mine/resume"),
                         ("GET", "mine/preview")]:
        answer = other.request(method, "/v1/schedules/" + path)
        assert (answer.status_code, answer.text) == (404, gone.text)
    put(other, "mine", "@hourly", expect=201)
    assert get(client, "mine")["cron"] == "@daily"
    assert [s["cron"] for s in other.call("GET", "/v1/schedules")["schedules"]] == ["@hourly"]


BAD = [
    ("no cron", {"task": NOBODY}, "missing_field", "cron"),
    ("no task", {"cron": "@daily"}, "missing_field", "task"),
    ("a day that never comes", {"cron": "0 0 31 2 *", "task": NOBODY}, "invalid_field", "never comes"),
    ("a minute of 60", {"cron": "60 * * * *", "task": NOBODY}, "invalid_field", "0 to 59"),
    ("seven fields", {"cron": "* * * * * * *", "task": NOBODY}, "invalid_field", "7 fields"),
    ("a cron that is a number", {"cron": 5, "task": NOBODY}, "invalid_field", "cron"),
    ("an unknown zone", {"cron": "@daily", "zone": "Europe/Atlantis", "task": NOBODY}, "invalid_field", "Atlantis"),
    ("a path for a zone", {"cron": "@daily", "zone": "../../etc/passwd", "task": NOBODY}, "invalid_field", "zone"),
    ("an unknown gap", {"cron": "@daily", "gap": "jump", "task": NOBODY}, "invalid_field", '"end" or "skip"'),
    ("an unknown overlap", {"cron": "@daily", "overlap": 2, "task": NOBODY}, "invalid_field",
     '"first", "second" or "both"'),
    ("an unknown policy", {"cron": "@daily", "missed": "none", "task": NOBODY}, "invalid_field", '"latest"'),
    ("too many missed ones", {"cron": "@daily", "missed_limit": 1001, "task": NOBODY}, "invalid_field", "1000"),
    ("a jitter of two days", {"cron": "@daily", "jitter": 172800, "task": NOBODY}, "invalid_field", "to a day"),
    ("a misspelt field", {"cron": "@daily", "missd": "all", "task": NOBODY}, "unknown_field", '"missed"'),
    ("a task that is a text", {"cron": "@daily", "task": "mail"}, "invalid_field", "object"),
    ("a task without a type", {"cron": "@daily", "task": {}}, "missing_field", "type"),
    ("a task with a time", {"cron": "@daily", "task": {"type": "x", "delay": 5}}, "invalid_field", "task.delay"),
    ("a task with a wrong priority", {"cron": "@daily", "task": {"type": "x", "priority": 10}}, "invalid_field",
     "priority"),
    ("a misspelt field of the task", {"cron": "@daily", "task": {"type": "x", "que": "y"}}, "unknown_field",
     "queue"),
    ("a list", [], "invalid_request", "object"),
]


def test_what_is_wrong_is_refused_and_named(client):
    for what, body, code, word in BAD:
        detail = problem(client.request("PUT", "/v1/schedules/x", json=body), 400, code)
        assert word in detail, (what, detail)
    assert client.call("GET", "/v1/schedules")["schedules"] == []


def test_other_ways_of_being_wrong(client):
    put(client, "x", "@daily")
    problem(client.request("PUT", "/v1/schedules/x", data=b"{", headers={"Content-Type": "application/json"}),
            400, "invalid_json")
    problem(client.request("PUT", "/v1/schedules/x", data=b"{}", headers={"Content-Type": "text/plain"}),
            415, "unsupported_media_type")
    problem(client.request("PUT", "/v1/schedules/x%20y", json={"cron": "@daily", "task": NOBODY}),
            400, "invalid_field")
    problem(client.request("GET", "/v1/schedules/x%20y"), 404, "not_found")
    detail = problem(client.request("PUT", "/v1/schedules/preview", json={"cron": "@daily", "task": NOBODY}),
                     400, "invalid_field")
    assert "preview" in detail
    problem(client.request("GET", "/v1/schedules/x?deep=1"), 400, "unknown_parameter")
    problem(client.request("PATCH", "/v1/schedules/x"), 405, "method_not_allowed")
    for bad in ({"count": 0}, {"count": 101}, {"from": "tomorrow"}):
        problem(client.request("GET", "/v1/schedules/x/preview", params=bad), 400, "invalid_parameter")


def test_a_thousand_are_the_most(client, db):
    put(client, "first", "@daily")
    db.rows(
        "INSERT INTO shoal.schedule (app_id, name, cron, zone, gap, overlap, missed, missed_limit, while_open,"
        " jitter_ms, paused, type, queue, task, spec, marked)"
        " SELECT app_id, 's' || g, cron, zone, gap, overlap, missed, missed_limit, while_open, jitter_ms, true,"
        " type, queue, task, spec, marked FROM shoal.schedule, generate_series(1, 999) g")
    detail = problem(client.request("PUT", "/v1/schedules/more", json={"cron": "@daily", "task": NOBODY}),
                     422, "too_many_schedules")
    assert "1000" in detail
    put(client, "s7", "@hourly", expect=200)


# --------------------------------------------------------------------- preview


def test_preview_shows_both_nights(client):
    put(client, "nightly", "30 2 * * *", zone="America/New_York")
    found = client.call("GET", "/v1/schedules/nightly/preview",
                        params={"from": "2027-03-13T12:00:00-05:00", "count": 2})
    assert found["steady"] is False
    assert found["fires"] == [
        {"at": "2027-03-14T07:00:00.000000Z", "local": "2027-03-14T03:00:00-04:00", "offset": "-04:00",
         "named": "2027-03-14T02:30:00", "decision": "gap: run at its end"},
        {"at": "2027-03-15T06:30:00.000000Z", "local": "2027-03-15T02:30:00-04:00", "offset": "-04:00",
         "named": "2027-03-15T02:30:00", "decision": "normal"},
    ]
    rule = {"cron": "30 1 * * *", "zone": "America/New_York", "overlap": "both", "count": 3,
            "from": "2027-11-06T12:00:00-04:00"}
    found = client.call("POST", "/v1/schedules/preview", json=rule)
    assert [(f["local"], f["decision"]) for f in found["fires"]] == [
        ("2027-11-07T01:30:00-04:00", "overlap: first"),
        ("2027-11-07T01:30:00-05:00", "overlap: second"),
        ("2027-11-08T01:30:00-05:00", "normal"),
    ]
    rule.update(cron="30 2 * * *", gap="skip", count=2)
    rule["from"] = "2027-03-13T12:00:00-05:00"
    found = client.call("POST", "/v1/schedules/preview", json=rule)
    assert [(f["at"], f["named"], f["decision"]) for f in found["fires"]] == [
        (None, "2027-03-14T02:30:00", "gap: skipped"),
        ("2027-03-15T06:30:00.000000Z", "2027-03-15T02:30:00", "normal"),
    ]
    assert len(client.call("GET", "/v1/schedules/nightly/preview")["fires"]) == 10
    problem(client.request("POST", "/v1/schedules/preview", json={"cron": "@daily", "task": NOBODY}),
            400, "unknown_field")


def test_every_change_of_clocks_from_1970_to_2037():
    """50 zones of all kinds, against Python's zoneinfo."""
    done = subprocess.run([sys.executable, ZONES, "--many"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=dict(os.environ, SHOAL_BUILDDIR=build_directory()), check=False)
    if done.returncode == 77:
        pytest.skip("no zone data")
    print(done.stdout.decode())
    assert done.returncode == 0, done.stdout.decode()


# --------------------------------------------------------------------- the command


@pytest.fixture
def shoal(client):
    """shoal("list", ...) is (status, standard output, standard error) of shoal schedules list ..."""

    def run(*words, text=None):
        env = dict(program_env(), SHOAL_URL=client.url, SHOAL_API_KEY=client.key)
        done = subprocess.run(
            program("shoal") + ["schedules", *words], env=env, timeout=60, check=False,
            input=text, universal_newlines=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_command(client, shoal):
    assert shoal()[0] == 0
    status, out, err = shoal(
        "set", "nightly", "30 2 * * *", "report", "-", "--zone", "America/New_York", "--gap", "skip", "--overlap",
        "both", "--missed", "all", "--missed-limit", "5", "--while-open", "skip", "--jitter", "90s", "--queue", "q",
        "--priority", "1", "--timeout", "1500ms", "--max-attempts", "2", "--metadata", '{"a": 1}', text='{"b": 2}')
    assert (status, err) == (0, "")
    made = get(client, "nightly")
    assert out.strip() == made["next_at"]
    assert (made["zone"], made["gap"], made["overlap"]) == ("America/New_York", "skip", "both")
    assert (made["missed"], made["missed_limit"], made["while_open"]) == ("all", 5, "skip")
    assert made["jitter"] == 90
    assert made["task"] == {"type": "report", "queue": "q", "payload": {"b": 2}, "priority": 1, "timeout": 1.5,
                            "max_attempts": 2, "metadata": {"a": 1}}
    status, out, _ = shoal("list")
    assert status == 0 and "nightly" in out and "30 2 * * *" in out
    assert json.loads(shoal("list", "--json")[1])["schedules"][0]["name"] == "nightly"
    status, out, _ = shoal("get", "nightly")
    assert status == 0 and "America/New_York" in out
    status, out, _ = shoal("preview", "nightly", "--from", "2027-03-13T12:00:00Z", "-n", "2")
    assert status == 0 and "gap: skipped" in out and "2027-03-15T02:30:00-04:00" in out
    assert shoal("pause", "nightly")[:2] == (0, "paused\n")
    assert shoal("resume", "nightly")[:2] == (0, made["next_at"] + "\n")
    assert shoal("delete", "nightly") == (0, "", "")
    assert shoal("get", "nightly")[0] == 2
    assert shoal("set", "x", "60 * * * *", "t")[0] == 1
    assert shoal("set", "x", "@daily", "t", "{")[0] == 64
    for words in (["set", "x"], ["frob"], ["preview"], ["get", "x", "--zone", "UTC"], ["preview", "x", "--gap", "end"],
                  ["preview", "x", "--cron", "@daily"], ["list", "-n", "5"]):
        assert shoal(*words)[0] == 64, words


# --------------------------------------------------------------------- firing


def test_it_makes_its_task_and_says_so(client, db):
    put(client, "each", "@every 1s", {"type": "shoal.echo", "payload": [1, "é"], "priority": 2, "max_attempts": 3,
                                      "timeout": 5, "queue": "q", "metadata": {"mine": True}})
    at, outcome, id = fired(db, "each", 2)[0]
    assert outcome == 0
    task = client.wait(id)
    assert (task["state"], task["result"], task["priority"]) == ("succeeded", [1, "é"], 2)
    assert (task["queue"], task["max_attempts"]) == ("q", 3)
    assert task["metadata"] == {
        "schedule": {"name": "each", "at": at.strftime("%Y-%m-%dT%H:%M:%SZ")}, "mine": True}
    assert when(task["created_at"]) - at < datetime.timedelta(seconds=patience(1))
    put(client, "each", "@every 1s", {"type": "shoal.noop", "metadata": {"schedule": "my own"}})
    count = len(fires(db, "each"))
    at, outcome, id = fired(db, "each", count + 2)[-1]
    assert client.get(id)["metadata"] == {"schedule": "my own"}
    shown = get(client, "each")
    assert shown["counts"]["fired"] >= 4 and shown["last_task_id"] and when(shown["last_at"])


def test_a_schedule_put_on_any_node_fires_from_its_first_instant_on(cluster, db, key):
    nodes = cluster(2, node__workers=1)
    wait_for(lambda: any(leads(n) for n in nodes))
    for node in nodes:
        client = Client(node.url, key)
        name = "on-" + node.name
        made = put(client, name, "* * * * * *")
        assert fired(db, name)[0][0] == when(made["next_at"])
        late = db.value("SELECT max(extract(epoch FROM fired_at - at)) FROM shoal.schedule_fire f"
                        " JOIN shoal.schedule s ON s.id = f.schedule_id WHERE s.name = %s", name)
        print("%s: %.0f ms late" % (name, late * 1000))
        assert late < patience(1)


def test_changes_are_noticed_without_redis(cluster, db, key, private_redis):
    (node,) = cluster(1, redis_url=private_redis.url(), node__workers=1)
    client = Client(node.url, key)
    put(client, "before", "* * * * * *")
    fired(db, "before")
    private_redis.kill()
    client.call("POST", "/v1/schedules/before/pause")
    wait_for(lambda: not any(w["redis_up"] for w in node.workers()))
    wait_for(lambda: leads(node), at_most=patience(30))
    made = put(client, "during", "* * * * * *")
    first = fired(db, "during")[0][0]
    assert first == when(made["next_at"])
    late = db.value("SELECT min(extract(epoch FROM fired_at - at)) FROM shoal.schedule_fire f"
                    " JOIN shoal.schedule s ON s.id = f.schedule_id WHERE s.name = 'during' AND at = %s", first)
    assert late < patience(2)


class Rival:
    """Somebody else who leads as well: fires whatever is due, by the same statements."""

    def __init__(self, db):
        self.url = db.url()
        self.stopped = threading.Event()
        self.made = 0
        self.errors = []
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        assert not self.errors, self.errors

    def run(self):
        try:
            with contextlib.closing(psycopg2.connect(self.url)) as c:
                c.autocommit = True
                with c.cursor() as cursor:
                    while not self.stopped.is_set():
                        self.turn(cursor)
        except Exception as e:  # pylint: disable=broad-except
            self.errors.append(e)

    def turn(self, cursor):
        cursor.execute("SELECT id, rev, next_us, now_us FROM shoal.due_schedules(50)")
        now, *due = cursor.fetchall()
        for id, rev, next_us, _ in due:
            ats = list(range(next_us, now[3] + 1, 1000000))
            cursor.execute(
                "SELECT tasks FROM shoal.fire_schedules(%s::uuid, 30000, %s, %s, %s::bigint[], %s::bigint[], %s,"
                " %s::bigint[], %s::text[], %s, %s::bigint[], %s::bigint[])",
                ("00000000-0000-0000-0000-00000000000a", [id], [rev], [ats[-1] + 1000000], [0], [False], [None],
                 [None], [len(ats)], ats, ats))
            self.made += sum(r[0] for r in cursor.fetchall())
        if not due:
            self.stopped.wait(0.002)


def test_each_instant_once_whoever_leads(cluster, db, key):
    nodes = cluster(2, node__workers=1)
    client = Client(nodes[0].url, key)
    names = ["s%d" % n for n in range(5)]
    for name in names:
        put(client, name, "* * * * * *", NOOP, missed="all", missed_limit=1000)
    fired(db, names[0], 2)
    with Rival(db) as rival, Rival(db) as other:
        for _ in range(2):
            leader = wait_for(lambda: next((n for n in nodes if leads(n)), None), at_most=patience(30))
            before = len(fires(db, names[0]))
            leader.kill()
            fired(db, names[0], before + 3)
            leader.start(ready=None)
            leader.start_wait("stores")
    print("rivals made %d and %d" % (rival.made, other.made))
    leader = wait_for(lambda: next((n for n in nodes if leads(n)), None), at_most=patience(30))
    # nobody else fires now: the real leader is found again, and makes up for what is missing
    count = len(fires(db, names[0]))
    fired(db, names[0], count + 2)
    for name in names:
        found = fires(db, name)
        instants = [at for at, _, _ in found]
        assert all(b - a == datetime.timedelta(seconds=1) for a, b in zip(instants, instants[1:])), name
        ids = [id for _, _, id in found]
        assert None not in ids and len(set(ids)) == len(ids)
    # one task for each fire, and no other
    assert db.value("SELECT count(*) FROM shoal.task t WHERE NOT EXISTS"
                    " (SELECT 1 FROM shoal.schedule_fire f WHERE f.task_id = t.id)") == 0
    assert db.value("SELECT count(DISTINCT metadata) = count(*) FROM shoal.task")
    leaders = db.rows("SELECT DISTINCT leader FROM shoal.schedule_fire")
    assert len(leaders) >= 2
    total = sum(n.status()["totals"]["schedules_fired_total"] for n in nodes)
    assert total > 0


# --------------------------------------------------------------------- missed fires


@pytest.mark.parametrize("missed,limit,kept", [("latest", 10, 1), ("skip", 10, 0), ("all", 3, 3), ("all", 100, 5)])
def test_missed_fires_go_by_the_policy(client, db, missed, limit, kept):
    # at least a quarter of an hour from where it would be in time again
    minute = db.value("SELECT (extract(minute FROM now())::int + 30) %% 60")
    put(client, "hourly", "%d * * * *" % minute, missed=missed, missed_limit=limit)
    due = when(get(client, "hourly")["next_at"])
    move_next(db, client, "hourly", "next_at - interval '5 hours'")
    wait_for(lambda: when(get(client, "hourly")["next_at"]) == due, what="the next one is the one to come")
    found = fires(db, "hourly")
    assert [at for at, _, _ in found] == [due - n * HOUR for n in range(kept, 0, -1)]
    shown = get(client, "hourly")
    assert shown["counts"] == {"fired": kept, "missed": 5 - kept, "skipped": 0, "refused": 0}
    events = db.rows("SELECT detail FROM shoal.event WHERE kind = 19")
    assert len(events) == (1 if kept < 5 else 0)
    if events:
        assert '"missed":%d' % (5 - kept) in events[0][0]
    # the same instants never come back, not even if somebody moves the clock
    move_next(db, client, "hourly", "next_at - interval '5 hours'")
    wait_for(lambda: when(get(client, "hourly")["next_at"]) == due)
    again = fires(db, "hourly")
    assert len({at for at, _, _ in again}) == len(again)
    if missed != "skip":
        assert again == found


def test_a_long_outage_is_made_up_for_in_parts(client, db):
    put(client, "quick", "* * * * * *", missed="all", missed_limit=450, paused=True)
    db.rows("UPDATE shoal.schedule SET paused = false WHERE name = 'quick'")
    move_next(db, client, "quick", "date_trunc('second', now()) - interval '3 hours'")
    found = fired(db, "quick", 450)
    instants = [at for at, _, _ in found]
    assert all(b - a == datetime.timedelta(seconds=1) for a, b in zip(instants, instants[1:]))
    shown = get(client, "quick")
    assert shown["counts"]["missed"] >= 3 * 3600 - 451


def test_old_fires_are_forgotten(client, db):
    put(client, "quick", "* * * * * *", paused=True)
    db.rows("INSERT INTO shoal.schedule_fire (schedule_id, at, outcome, leader)"
            " SELECT id, now() - g * interval '1 minute', 0, '00000000-0000-0000-0000-000000000000'"
            " FROM shoal.schedule, generate_series(1, 5000) g")
    db.rows("UPDATE shoal.schedule SET fired = 5099")
    client.call("POST", "/v1/schedules/quick/resume")
    wait_for(lambda: len(fires(db, "quick")) <= 1002, what="the newest 1,000 are left")
    assert len(fires(db, "quick")) >= 1000


def test_what_it_did_is_read_page_by_page(client, db, node, shoal):
    put(client, "quick", "@every 1h", paused=True)
    assert client.call("GET", "/v1/schedules/quick/fires", expect=200) == {"fires": [], "next_cursor": None}
    db.rows("INSERT INTO shoal.schedule_fire (schedule_id, at, outcome, task_id, leader, message)"
            " SELECT id, timestamptz '2026-01-01 00:00Z' + g * interval '1 minute', g %% 3,"
            " CASE g %% 3 WHEN 0 THEN md5(g::text)::uuid END, '00000000-0000-0000-0000-000000000000',"
            " CASE g %% 3 WHEN 2 THEN 'too much' END FROM shoal.schedule, generate_series(1, 25) g")
    seen, cursor = [], None
    while True:
        page = client.call("GET", "/v1/schedules/quick/fires", expect=200,
                           params={"limit": 10, **({"cursor": cursor} if cursor else {})})
        seen += page["fires"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["fires"]) == 10
    assert [f["at"] for f in seen] == ["2026-01-01T00:%02d:00.000000Z" % g for g in range(25, 0, -1)]
    assert [f["outcome"] for f in seen[:3]] == ["skipped", "made", "refused"]
    assert [bool(f["task"]) for f in seen] == [g % 3 == 0 for g in range(25, 0, -1)]
    assert seen[2]["message"] == "too much"
    status, out, _ = shoal("fires", "quick")
    assert status == 0 and len(out.splitlines()) == 26 and "too much" in out
    for params, code in (({"cursor": "x"}, "invalid_parameter"), ({"limit": 101}, "invalid_parameter"),
                         ({"count": 1}, None)):
        answer = client.request("GET", "/v1/schedules/quick/fires", params=params)
        assert answer.status_code == 400 and code in (None, answer.json()["code"])
    assert client.request("GET", "/v1/schedules/none/fires").status_code == 404
    other = Client(node.url, apps.make_key(db, "other"))
    assert other.request("GET", "/v1/schedules/quick/fires").status_code == 404


# --------------------------------------------------------------------- choices


def test_pause_and_resume(client, db):
    put(client, "each", "* * * * * *", missed="all", missed_limit=1000)
    fired(db, "each", 2)
    paused = client.call("POST", "/v1/schedules/each/pause")
    assert paused["paused"] and paused["next_at"] is None
    count = len(fires(db, "each"))
    assert client.call("POST", "/v1/schedules/each/pause") == paused
    stays(lambda: len(fires(db, "each")) == count, for_seconds=2.5)
    resumed = client.call("POST", "/v1/schedules/each/resume")
    assert not resumed["paused"]
    # nothing is made up for
    assert fired(db, "each", count + 1)[count][0] == when(resumed["next_at"])
    assert client.call("POST", "/v1/schedules/each/resume")["paused"] is False
    for verb in ("pause", "resume"):
        problem(client.request("POST", "/v1/schedules/none/" + verb), 404, "not_found")


def test_while_one_is_open(client, db):
    put(client, "one", "* * * * * *", while_open="skip")
    found = fired(db, "one", 4)
    assert [o for _, o, _ in found] == [0, 1, 1, 1][:len(found)] + [1] * (len(found) - 4)
    assert [id is not None for _, _, id in found][:4] == [True, False, False, False]
    shown = get(client, "one")
    assert shown["counts"]["fired"] == 1 and shown["counts"]["skipped"] >= 3
    db.rows("UPDATE shoal.task SET state = 5, order_at = NULL, finished_at = now() WHERE id = %s", found[0][2])
    count = len(fires(db, "one"))
    wait_for(lambda: sum(o == 0 for _, o, _ in fires(db, "one")) == 2)
    assert len(fires(db, "one")) <= count + 2
    # of several that were missed, the first one keeps the others out
    put(client, "many", "0 * * * *", while_open="skip", missed="all")
    move_next(db, client, "many", "date_trunc('hour', now()) - interval '3 hours'")
    assert [o for _, o, _ in fired(db, "many", 3)][:3] == [0, 1, 1]


def test_jitter_stays_within_its_bounds(client, db):
    put(client, "spread", "* * * * * *", jitter=3600.5)
    found = fired(db, "spread", 5)
    waits = [(when(client.get(id)["run_at"]) - at).total_seconds() for at, _, id in found]
    assert all(0 <= w <= 3600.5 for w in waits), waits
    assert len({round(w, 3) for w in waits}) > 1
    assert client.get(found[0][2])["state"] in ("scheduled", "queued")


def test_a_task_that_cannot_be_made_does_not_stop_the_others(client, db):
    db.rows("INSERT INTO shoal.queue (app_id, name)"
            " SELECT (SELECT id FROM shoal.application), 'q' || g FROM generate_series(1, 1000) g")
    put(client, "bad", "* * * * * *", {"type": "nobody.serves", "queue": "one-more"})
    put(client, "good", "* * * * * *", {"type": "nobody.serves", "queue": "q1"})
    assert [o for _, o, _ in fired(db, "bad", 2)][:2] == [2, 2]
    assert [o for _, o, _ in fired(db, "good", 2)][:2] == [0, 0]
    shown = get(client, "bad")
    assert shown["counts"]["refused"] >= 2 and shown["counts"]["fired"] == 0
    assert "1000 queues" in shown["problem"]
    assert get(client, "good")["problem"] is None
    db.rows("DELETE FROM shoal.queue WHERE name = 'q2'")
    wait_for(lambda: get(client, "bad")["problem"] is None, what="it works again")


def test_zone_data_that_goes_is_reported_and_nothing_lost(cluster, db, key, tmp_path, monkeypatch):
    if not os.path.exists("/usr/share/zoneinfo/Asia/Tokyo"):
        pytest.skip("no zone data")
    here = tmp_path / "Here"
    os.chmod(tmp_path, 0o755)
    shutil.copy("/usr/share/zoneinfo/Asia/Tokyo", here)
    monkeypatch.setenv("TZDIR", str(tmp_path))
    (node,) = cluster(1)
    client = Client(node.url, key)
    put(client, "local", "0 * * * *", zone="Here")
    put(client, "utc", "* * * * * *")
    here.unlink()
    move_next(db, client, "local", "date_trunc('hour', now()) - interval '1 hour'")
    shown = wait_for(lambda: get(client, "local")["problem"] and get(client, "local"))
    assert "Here" in shown["problem"] and shown["next_at"]
    fired(db, "utc", len(fires(db, "utc")) + 2)
    assert fires(db, "local") == []
    problem(client.request("GET", "/v1/schedules/local/preview"), 409, "schedule_broken")
    client.call("POST", "/v1/schedules/local/pause")
    problem(client.request("POST", "/v1/schedules/local/resume"), 409, "schedule_broken")
    db.rows("UPDATE shoal.schedule SET paused = false WHERE name = 'local'")
    shutil.copy("/usr/share/zoneinfo/Asia/Tokyo", here)
    move_next(db, client, "local", "date_trunc('hour', now()) - interval '1 hour'")
    assert len(fired(db, "local")) == 1  # the latest
    assert get(client, "local")["problem"] is None
    assert node.log().count("a schedule cannot be computed") >= 1


def test_a_second_node_goes_on_when_the_leader_is_killed(cluster, db, key):
    nodes = cluster(2, node__workers=1)
    client = Client(nodes[0].url, key)
    put(client, "each", "* * * * * *", missed="all", missed_limit=1000)
    fired(db, "each", 2)
    leader = wait_for(lambda: next((n for n in nodes if leads(n)), None))
    before = len(fires(db, "each"))
    leader.kill()
    found = wait_for(lambda: len(fires(db, "each")) > before + 12 and fires(db, "each"), at_most=patience(40))
    instants = [at for at, _, _ in found]
    assert all(b - a == datetime.timedelta(seconds=1) for a, b in zip(instants, instants[1:]))

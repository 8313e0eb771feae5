# SPDX-License-Identifier: BSD-2-Clause
"""SELECT shoal.submit(...): a task in the transaction of a program that shares the database."""

import contextlib
import json

import psycopg2
import pytest
from shoaltest import apps
from shoaltest.waits import wait_for


@pytest.fixture
def connection(client, db):  # client: its application exists
    made = db.server.connect(db.name)
    made.autocommit = False
    yield made
    made.close()


def submit(connection, type, payload=None, application="test", **options):
    with connection.cursor() as cursor:
        cursor.execute("SELECT shoal.submit(%s, %s, %s::json, %s::json)",
                       (application, type, json.dumps(payload), json.dumps(options)))
        return cursor.fetchone()[0]


def test_the_task_runs_once_its_transaction_has_committed(client, connection):
    id = submit(connection, "shoal.echo", {"a": 1}, priority=2, metadata={"m": 1})
    assert client.request("GET", "/v1/tasks/%s" % id).status_code == 404
    connection.commit()
    task = client.wait(id)
    assert task["result"] == {"a": 1}
    assert (task["priority"], task["queue"], task["metadata"]) == (2, "default", {"m": 1})


def test_a_transaction_that_rolls_back_leaves_nothing(client, connection, db):
    id = submit(connection, "shoal.echo", 1)
    connection.rollback()
    assert db.value("SELECT count(*) FROM shoal.task") == 0
    assert client.request("GET", "/v1/tasks/%s" % id).status_code == 404


def test_it_starts_within_a_second_or_so(client, connection, db):
    id = submit(connection, "shoal.noop")
    connection.commit()
    client.wait(id)
    late = db.value("SELECT extract(epoch FROM started_at - run_at) FROM shoal.task WHERE id = %s", id)
    assert float(late) < 2.5


def test_all_options_are_understood(client, connection):
    parent = submit(connection, "shoal.noop")
    id = submit(connection, "shoal.noop", queue="mail", priority=9, delay="PT1H", timeout=5, max_attempts=3,
                backoff={"kind": "fixed", "delay": 5}, deadline="P30D",
                retry_until="2030-01-31T09:30:00+02:00", unique_key="u", unique_until="start",
                on_conflict="postpone", concurrency_key="k", concurrency_limit=4, after=[parent],
                after_failure="run", metadata={})
    connection.commit()
    task = client.get(id)
    assert (task["queue"], task["priority"], task["max_attempts"]) == ("mail", 9, 3)
    assert task["concurrency_key"] == "k"
    assert task["deadline"] is not None
    assert submit(connection, "shoal.noop", unique_key="u", on_conflict="replace") == id


DEEP = "[" * 40 + "]" * 40
YEARS = "2090-01-31T00:00:00Z"


WRONG = [
    ({"que": "x"}, 'there is no option "que"'),
    ({"queue": "no such name!"}, "queue must have"),
    ({"queue": 5}, "queue must have"),
    ({"priority": 10}, "priority must be a whole number from 0 to 9"),
    ({"priority": 1.5}, "priority must be"),
    ({"priority": "3"}, "priority must be"),
    ({"max_attempts": 0}, "max_attempts must be a whole number from 1 to 1000"),
    ({"timeout": 0}, "timeout must be seconds"),
    ({"timeout": 604801}, "timeout must be seconds"),
    ({"delay": "tomorrow"}, "delay must be seconds"),
    ({"delay": -1}, "delay must be seconds"),
    ({"delay": "5"}, "delay must be seconds"),
    ({"delay": "P1Y"}, "delay must be seconds"),
    ({"delay": 1e300}, "delay must be seconds"),
    ({"delay": "P367D"}, "delay must be seconds"),
    ({"run_at": "2030-01-31"}, "run_at must be a time with its offset"),
    ({"run_at": "2030-02-31T00:00:00Z"}, "run_at must be a time with its offset"),
    ({"run_at": YEARS}, "run_at is more than 366 days away"),
    ({"run_at": "2026-12-31T00:00:00Z", "delay": 1}, "run_at and delay exclude each other"),
    ({"deadline": "soon"}, "deadline must be a time with its offset, or a duration"),
    ({"deadline": YEARS}, "deadline is more than 732 days away"),
    ({"retry_until": 5}, "retry_until must be a time"),
    ({"metadata": [1]}, "metadata must be an object"),
    ({"metadata": {"a": "x" * 17000}}, "metadata must be an object of up to 16384 bytes"),
    ({"unique_key": ""}, "unique_key must be a string of 1 to 255 bytes"),
    ({"unique_key": 5}, "unique_key must be a string"),
    ({"on_conflict": "x", "unique_key": "u"}, 'on_conflict must be "existing" or'),
    ({"on_conflict": "reject"}, "on_conflict goes with unique_key"),
    ({"unique_key": "u", "unique_for": 5, "unique_until": "start"}, "exclude each other"),
    ({"unique_key": "u", "unique_for": 0}, "unique_for must be seconds"),
    ({"concurrency_limit": 2}, "concurrency_limit goes with concurrency_key"),
    ({"concurrency_key": "k", "concurrency_limit": 10001}, "concurrency_limit must be"),
    ({"after": "x"}, "after must be a list of up to 100 ids"),
    ({"after": ["x"]}, "after must be a list of ids"),
    ({"after": [str(n) for n in range(101)]}, "after must be a list of up to 100"),
    ({"after": ["01890000-0000-7000-8000-000000000000"]}, "there is no task"),
    ({"after_failure": "run"}, "after_failure goes with after"),
    ({"backoff": 5}, 'backoff must be an object with a "kind"'),
    ({"backoff": []}, "backoff as a list must have 1 to 16 delays"),
    ({"backoff": [1] * 17}, "backoff as a list must have"),
    ({"backoff": [1, "x"]}, "each delay of backoff must be seconds"),
    ({"backoff": {"kind": "cubic"}}, "the kind of backoff must be"),
    ({"backoff": {}}, "the kind of backoff must be"),
    ({"backoff": {"kind": "fixed"}}, "needs a delay"),
    ({"backoff": {"kind": "fixed", "delay": 5, "cap": 6}}, "knows kind, delay, jitter"),
    ({"backoff": {"kind": "polynomial", "jitter": 0.5}}, "knows kind, each once"),
    ({"backoff": {"kind": "exponential", "base": 0}}, "base of backoff must be seconds"),
    ({"backoff": {"kind": "exponential", "factor": 101}}, "factor of backoff must be a number from 1 to 100"),
    ({"backoff": {"kind": "exponential", "jitter": 1.5}}, "jitter of backoff must be a number from 0 to 1"),
    ({"backoff": {"kind": "exponential", "base": 60, "cap": 5}}, "must not be above its cap"),
]


def test_what_is_wrong_is_said(db):
    apps.make_key(db, "test")
    with contextlib.closing(db.server.connect(db.name)) as connection:
        for options, says in WRONG:
            with pytest.raises(psycopg2.Error) as refused:
                submit(connection, "shoal.noop", None, **options)
            assert says in str(refused.value), options
            assert refused.value.pgcode == ("SH002" if says == "there is no task" else "22023"), options


UNREADABLE = [
    ("no such name!", "1", "type must have"),
    ("shoal.noop", json.dumps("x" * 1100000), "payload has 1100002 bytes, and 1048576 are the most"),
    ("shoal.noop", DEEP, "payload is deeper than 31 levels"),
    ("shoal.noop", '"a\\u0000b"', "stands for no character"),
    ("shoal.noop", '["\\ud800"]', "stands for no character"),
]


def test_a_payload_that_nobody_could_read_is_refused(db):
    apps.make_key(db, "test")
    with contextlib.closing(db.server.connect(db.name)) as connection, connection.cursor() as cursor:
        for type, payload, says in UNREADABLE:
            with pytest.raises(psycopg2.Error) as refused:
                cursor.execute("SELECT shoal.submit('test', %s, %s)", (type, payload))
            assert says in str(refused.value) and refused.value.pgcode == "22023", says


def test_what_looks_odd_and_is_fine_is_taken(client, connection, db):
    """The same over HTTP is taken too."""
    brackets = '"' + "[{" * 60 + '"'
    with connection.cursor() as cursor:
        cursor.execute("SELECT shoal.submit('test', 'shoal.echo', %s)", (brackets,))
        first = cursor.fetchone()[0]
        cursor.execute("SELECT shoal.submit('test', 'shoal.echo', %s)", ("[" * 31 + "]" * 31,))
        cursor.execute("SELECT shoal.submit('test', 'shoal.echo', '1', '{\"delay\":null,\"queue\":\"q\"}')")
    late = submit(connection, "shoal.noop", run_at="2020-01-31T09:30:00Z")
    weeks = submit(connection, "shoal.noop", delay="P1W2DT3H4M5.5S", backoff=[0, "PT5M", 1.5])
    connection.commit()
    assert client.wait(first)["result"] == json.loads(brackets)
    # an older date buys no better place
    assert db.value("SELECT run_at > now() - interval '1 minute' FROM shoal.task WHERE id = %s", late)
    rest = db.value("SELECT extract(epoch FROM run_at - created_at) FROM (SELECT t.run_at, shoal.made_at(t.id)"
                    " AS created_at FROM shoal.task t WHERE t.id = %s) x", weeks)
    assert abs(float(rest) - (9 * 86400 + 3 * 3600 + 4 * 60 + 5.5)) < 1


def test_a_full_queue_and_one_that_sheds_refuse_it(client, connection, db):
    assert client.request("PUT", "/v1/queues/full", json={"max_length": 2}).status_code == 200
    assert client.request("POST", "/v1/queues/full/pause").status_code == 200
    assert client.request("PUT", "/v1/queues/busy", json={"shed": 1, "shed_below": 4}).status_code == 200
    for _ in range(2):
        submit(connection, "shoal.noop", queue="full")
    for options, code in (({"queue": "full"}, "SH005"), ({"queue": "full", "unique_key": "u"}, "SH005"),
                          ({"queue": "busy"}, "SH006")):
        with connection.cursor() as cursor:
            cursor.execute("SAVEPOINT s")
            with pytest.raises(psycopg2.Error) as refused:
                submit(connection, "shoal.noop", **options)
            assert refused.value.pgcode == code
            cursor.execute("ROLLBACK TO s")
    submit(connection, "shoal.noop", queue="busy", priority=4)
    connection.commit()
    assert client.request("POST", "/v1/tasks", json={"type": "shoal.noop", "queue": "full"}).status_code == 429


def test_an_application_that_is_not_there(connection):
    with pytest.raises(psycopg2.Error) as refused:
        submit(connection, "shoal.noop", application="nobody")
    assert 'there is no application "nobody"' in str(refused.value)


def test_the_role_may_do_this_and_nothing_else(client, connection, db):
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE shoal_submit")
        cursor.execute("SELECT shoal.submit('test', 'shoal.echo', '5')")
        id = cursor.fetchone()[0]
        connection.commit()
        for statement in ("SELECT * FROM shoal.task", "DELETE FROM shoal.task",
                          "SELECT * FROM shoal.api_key",
                          "SELECT * FROM shoal.make_task(1, '{\"type\":\"shoal.noop\"}', 0)"):
            cursor.execute("SET ROLE shoal_submit")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
            connection.rollback()
    assert client.wait(id)["result"] == 5


def test_a_unique_key_serves_both_ways_in(client, connection, db):
    id = client.submit("shoal.noop", delay=60, unique_key="u")["id"]
    assert submit(connection, "shoal.noop", unique_key="u") == id
    connection.rollback()
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.task") == 1)

# SPDX-License-Identifier: BSD-2-Clause
"""SELECT shoal.submit(...): a task in the transaction of a program that shares the database."""

import json

import psycopg2
import pytest
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
                backoff={"kind": "fixed", "delay": 5}, deadline="2030-01-31T09:30:00Z",
                retry_until="2030-01-31T09:30:00+02:00", unique_key="u", unique_until="start",
                on_conflict="postpone", concurrency_key="k", concurrency_limit=4, after=[parent],
                after_failure="run", metadata={})
    connection.commit()
    task = client.get(id)
    assert (task["queue"], task["priority"], task["max_attempts"]) == ("mail", 9, 3)
    assert task["concurrency_key"] == "k"
    assert task["deadline"].startswith("2030-01-31T09:30:00")
    assert submit(connection, "shoal.noop", unique_key="u", on_conflict="replace") == id


@pytest.mark.parametrize("type, payload, options, says", [
    ("no such name!", None, {}, "type must have"),
    ("shoal.noop", None, {"que": "x"}, 'there is no option "que"'),
    ("shoal.noop", None, {"priority": 10}, "priority must be a whole number from 0 to 9"),
    ("shoal.noop", None, {"priority": 1.5}, "priority must be"),
    ("shoal.noop", None, {"delay": "tomorrow"}, "delay must be seconds"),
    ("shoal.noop", None, {"delay": -1}, "delay must be seconds"),
    ("shoal.noop", None, {"run_at": "2030-01-31"}, "run_at must be a time with its offset"),
    ("shoal.noop", None, {"run_at": "2030-01-31T00:00:00Z", "delay": 1}, "exclude each other"),
    ("shoal.noop", None, {"metadata": [1]}, "metadata must be an object"),
    ("shoal.noop", None, {"on_conflict": "x", "unique_key": "u"}, "on_conflict"),
    ("shoal.noop", None, {"after": ["01890000-0000-7000-8000-000000000000"]}, "there is no task"),
    pytest.param("shoal.noop", "x" * 1100000, {}, "longer than 1 MiB", id="long"),
])
def test_what_is_wrong_is_said(connection, type, payload, options, says):
    with pytest.raises(psycopg2.Error) as refused:
        submit(connection, type, payload, **options)
    assert says in str(refused.value)


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

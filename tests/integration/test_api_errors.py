# SPDX-License-Identifier: BSD-2-Clause
"""What is refused, how it is said, and that nobody sees what is not his."""

import json
import uuid

import pytest
from shoaltest import apps
from shoaltest.client import Client
from shoaltest.standing import db, key, node, stranger  # noqa: F401


def post(client, body, path="/v1/tasks", **headers):
    if isinstance(body, str):
        body = body.encode()
    return client.request(
        "POST", path, data=body, headers=dict({"Content-Type": "application/json"}, **headers)
    )


def problem(answer, status):
    """An RFC 9457 problem with a stable code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    body = answer.json()
    assert body["status"] == status
    assert body["code"] and body["title"]
    for leak in ("SELECT", "INSERT", "/tmp/", ".c:", "shoal.task"):
        assert leak not in answer.text
    return body


BAD_TEXT = [
    ("invalid UTF-8", b'{"type":"shoal.echo","payload":"\xff\xfe"}'),
    ("overlong UTF-8", b'{"type":"shoal.echo","payload":"\xc0\xaf"}'),
    ("a surrogate in UTF-8", b'{"type":"shoal.echo","payload":"\xed\xa0\x80"}'),
    ("a raw NUL", b'{"type":"shoal.echo","payload":"a\x00b"}'),
    ("an escaped NUL", b'{"type":"shoal.echo","payload":"a\\u0000b"}'),
    ("an escaped NUL in a name", b'{"type":"shoal.echo","payload":{"a\\u0000b":1}}'),
    ("half a surrogate pair", b'{"type":"shoal.echo","payload":"\\ud800"}'),
    ("a raw control character", b'{"type":"shoal.echo","payload":"a\x01b"}'),
    ("a raw line break", b'{"type":"shoal.echo","payload":"a\nb"}'),
    ("single quotes", b"{'type':'shoal.echo'}"),
    ("NaN", b'{"type":"shoal.echo","payload":NaN}'),
    ("Infinity", b'{"type":"shoal.echo","payload":-Infinity}'),
    ("a leading zero", b'{"type":"shoal.echo","payload":01}'),
    ("a trailing comma", b'{"type":"shoal.echo","payload":[1,]}'),
    ("a comment", b'{"type":"shoal.echo"/* */}'),
    ("text after the end", b'{"type":"shoal.echo"} {}'),
    ("half a document", b'{"type":"shoal.echo","payload":[1,2'),
    ("nothing", b""),
    ("a byte order mark", b'\xef\xbb\xbf{"type":"shoal.echo"}'),
    ("a name twice", b'{"type":"shoal.echo","type":"shoal.noop"}'),
    ("nesting too deep", b'{"type":"shoal.echo","payload":' + b"[" * 200 + b"]" * 200 + b"}"),
    ("nesting without an end", b'{"type":"shoal.echo","payload":' + b"[" * 100000),
]


@pytest.mark.parametrize("body", [b for _, b in BAD_TEXT], ids=[n for n, _ in BAD_TEXT])
def test_bad_json_is_400_and_names_the_place(client, body):
    found = problem(post(client, body), 400)
    detail = found.get("detail", "")
    assert any(word in detail for word in ("byte", "offset", "line", "position", "empty")), found


def test_every_bad_text_leaves_the_node_well_and_nothing_stored(client):
    for _, body in BAD_TEXT:
        assert post(client, body).status_code == 400
    assert client.list()["tasks"] == []
    assert client.run("shoal.echo", "fine")["result"] == "fine"


BAD_FIELDS = [
    ("no type", {"payload": 1}),
    ("an empty type", {"type": ""}),
    ("a type that is a number", {"type": 7}),
    ("a type with a space", {"type": "a b"}),
    ("a type of 65 characters", {"type": "a" * 65}),
    ("an unknown field", {"type": "shoal.noop", "colour": "red"}),
    ("a field of ours", {"type": "shoal.noop", "state": "succeeded"}),
    ("another application's id", {"type": "shoal.noop", "app_id": 1}),
    ("priority 10", {"type": "shoal.noop", "priority": 10}),
    ("priority -1", {"type": "shoal.noop", "priority": -1}),
    ("priority as text", {"type": "shoal.noop", "priority": "5"}),
    ("a negative delay", {"type": "shoal.noop", "delay": -1}),
    ("an endless delay", {"type": "shoal.noop", "delay": 1e300}),
    ("delay and run_at", {"type": "shoal.noop", "delay": 1, "run_at": "2030-01-01T00:00:00Z"}),
    ("a date that is none", {"type": "shoal.noop", "run_at": "2030-02-30T00:00:00Z"}),
    ("a date without a zone", {"type": "shoal.noop", "run_at": "2030-01-01T00:00:00"}),
    ("no attempts", {"type": "shoal.noop", "max_attempts": 0}),
    ("too many attempts", {"type": "shoal.noop", "max_attempts": 10**9}),
    ("a queue with a quote", {"type": "shoal.noop", "queue": "a'b"}),
    ("metadata that is a list", {"type": "shoal.noop", "metadata": [1]}),
]


@pytest.mark.parametrize("body", [b for _, b in BAD_FIELDS], ids=[n for n, _ in BAD_FIELDS])
def test_bad_fields_are_400(client, body):
    problem(post(client, json.dumps(body)), 400)


def test_the_unknown_field_is_named(client):
    found = problem(post(client, '{"type":"shoal.noop","colour":"red"}'), 400)
    assert "colour" in json.dumps(found)


@pytest.mark.parametrize("body", ["[]", "7", '"text"', "null", "true"])
def test_a_body_that_is_no_object_is_400(client, body):
    problem(post(client, body), 400)


def test_a_body_that_is_no_json_is_415(client):
    answer = client.request(
        "POST", "/v1/tasks", data="type=shoal.noop",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    problem(answer, 415)


# ---------------------------------------------------------------------- whose is it


def test_a_foreign_task_looks_like_a_missing_one(node, db, client):
    other = Client(node.url, apps.make_key(db, stranger()))
    id = client.run("shoal.noop")["id"]
    calls = [("GET", ""), ("GET", "/events"), ("GET", "/why"), ("POST", "/cancel"), ("POST", "/retry")]
    for method, suffix in calls:
        foreign = other.request(method, "/v1/tasks/%s%s" % (id, suffix))
        missing = other.request(method, "/v1/tasks/%s%s" % (uuid.uuid4(), suffix))
        assert foreign.status_code == missing.status_code == 404, (method, suffix)
        assert _without_id(foreign) == _without_id(missing), (method, suffix)
    assert client.get(id)["state"] == "succeeded"


def _without_id(answer):
    body = answer.json()
    for key in ("request_id", "instance"):
        body.pop(key, None)
    return body


def test_a_list_shows_own_tasks_only(node, db, client):
    other = Client(node.url, apps.make_key(db, stranger()))
    mine = client.run("shoal.noop")["id"]
    theirs = other.run("shoal.noop")["id"]
    assert [t["id"] for t in client.list()["tasks"]] == [mine]
    assert [t["id"] for t in other.list()["tasks"]] == [theirs]


def test_a_cursor_of_another_application_shows_nothing_of_it(node, db, client):
    other = Client(node.url, apps.make_key(db, stranger()))
    made = {t["id"] for t in client.batch([{"type": "shoal.noop"}] * 5)}
    cursor = client.list(limit=2)["next_cursor"]
    answer = other.request("GET", "/v1/tasks", params={"cursor": cursor})
    assert answer.status_code in (200, 400)
    assert not made & {t["id"] for t in answer.json().get("tasks", [])}


@pytest.mark.parametrize("cursor", ["x", "%00", "' OR 1=1 --", "A" * 5000, "-1"])
def test_a_forged_cursor_is_400(client, cursor):
    problem(client.request("GET", "/v1/tasks", params={"cursor": cursor}), 400)


@pytest.mark.parametrize(
    "id", ["x", "1", "..", "%2e%2e", "0" * 36, "018f0000-0000-7000-8000-00000000000g", "a" * 300]
)
def test_an_id_that_is_none_is_404_or_400(client, id):
    assert client.request("GET", "/v1/tasks/" + id).status_code in (400, 404)


# ------------------------------------------------------------------------------- keys


def wrong_keys(key):
    return {
        "none": None,
        "empty": "",
        "a word": "secret",
        "the last digit changed": key[:-1] + ("0" if key[-1] != "0" else "1"),
        "another secret": key[:20] + ("A" * 10) + key[30:],
        "longer": key + "0",
        "very long": "shoal_live_" + "A" * 6000,
        "not ASCII": "shoal_live_\xe9",
    }


@pytest.mark.parametrize("case", list(wrong_keys("x" * 75)))
def test_a_wrong_key_is_401(node, key, case):
    text = wrong_keys(key)[case]
    headers = {} if text is None else {"Authorization": ("Bearer " + text).encode("latin-1")}
    answer = Client(node.url, None).request("GET", "/v1/tasks", headers=headers)
    problem(answer, 401)
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert key not in answer.text


def test_wrong_keys_all_get_the_same_answer(node, key):
    bodies = set()
    for case, text in wrong_keys(key).items():
        if text is None or case in ("very long", "not ASCII"):
            continue
        answer = Client(node.url, text).request("GET", "/v1/tasks")
        bodies.add(json.dumps(_without_id(answer), sort_keys=True))
    assert len(bodies) == 1


def test_a_key_in_the_url_is_refused_and_not_logged(node, key):
    answer = Client(node.url, None).request("GET", "/v1/tasks", params={"api_key": key})
    assert answer.status_code in (400, 401)
    assert key not in node.log()


def test_a_revoked_key_ends_within_five_seconds(node, db, key):
    from shoaltest.waits import wait_for

    client = Client(node.url, key)
    client.list()
    db.rows("UPDATE shoal.api_key SET revoked_at = now() WHERE public_id = %s", key.split("_")[2])
    wait_for(lambda: client.request("GET", "/v1/tasks").status_code == 401, at_most=6)


def test_an_expired_key_is_401(node, db):
    text = apps.make_key(db, stranger(), expires_at="2020-01-01T00:00:00Z")
    problem(Client(node.url, text).request("GET", "/v1/tasks"), 401)


def test_no_secret_is_logged(node, client, key):
    client.run("shoal.echo", {"canary": "payload-canary-71"})
    log = node.log()
    assert key not in log
    assert key[20:50] not in log
    assert "payload-canary-71" not in log


# ---------------------------------------------------------------------------- routes


def test_an_unknown_path_is_404(client):
    for path in ("/", "/v1", "/v1/nothing", "/v2/tasks", "/v1/tasks/"):
        assert client.request("GET", path).status_code == 404, path


def test_a_method_that_is_not_offered_is_405_with_allow(client):
    answer = client.request("DELETE", "/v1/tasks")
    problem(answer, 405)
    assert "POST" in answer.headers["Allow"]


def test_the_two_audiences_are_apart(node, client):
    developers = Client(node.dev_url, client.key)
    assert developers.request("GET", "/v1/tasks").status_code == 404
    assert client.request("GET", "/metrics").status_code == 404


def test_health_and_ready_need_no_key(node):
    anyone = Client(node.url, None)
    assert anyone.request("GET", "/health").status_code == 200
    assert anyone.request("GET", "/ready").status_code == 200


def test_a_body_beyond_the_limit_is_413(client):
    answer = client.request(
        "POST", "/v1/tasks", data=b"x" * (9 << 20), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413

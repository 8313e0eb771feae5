# SPDX-License-Identifier: BSD-2-Clause
"""Endpoints of applications: their types run there, their secrets are theirs alone."""

import base64
import hashlib
import hmac
import json
import os
import signal

import pytest
from shoaltest import apps
from shoaltest.client import Client, Refused
from shoaltest.waits import stays, wait_for
from test_cli import shoal
from test_http_handler import Endpoint

OVERLAP = 3600


def make_key_file(path, *ids):
    lines = ["%s %s\n" % (id, base64.b64encode(hashlib.sha256(id.encode()).digest()).decode()) for id in ids]
    path.write_text("# keys\n" + "".join(lines))
    os.chmod(str(path), 0o640)
    return str(path)


@pytest.fixture
def server(aftermath):
    made = Endpoint()
    aftermath.callback(made.close)
    return made


@pytest.fixture
def start(cluster, key, server, tmp_path):
    def make(count=1, **changes):
        settings = {
            "egress.allow_networks": "127.0.0.0/8",
            "egress.ports": str(server.port),
            "node.workers": 1,
            "secrets.key_file": make_key_file(tmp_path / "keys", "k1"),
        }
        settings.update(changes)
        nodes = cluster(count, settings=settings)
        client = Client(nodes[0].url, key)
        client.nodes = nodes
        return client

    return make


def code_of(call):
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.response.status_code, refused.value.response.json()["code"]


def put(client, name, **body):
    return client.call("PUT", "/v1/endpoints/" + name, json=body)


def make_type(client, name, endpoint, **body):
    return client.call("PUT", "/v1/types/" + name, json=dict(body, handler="http", endpoint=endpoint))


def signatures(request, *secrets):
    text = b"%s.%s.%s" % (
        request.headers["Webhook-Id"].encode(), request.headers["Webhook-Timestamp"].encode(), request.body)
    return ["v1," + base64.b64encode(hmac.new(base64.b64decode(s[6:]), text, hashlib.sha256).digest()).decode()
            for s in secrets]


def test_a_type_of_an_application_runs_at_its_endpoint(start, server, db):
    client = start(2)
    server.answers["/mail"] = (200, {}, b'{"sent":true}')
    made = put(client, "mail", url=server.url + "/mail", headers={"X-Team": "blue"}, timeout=10)
    assert made["secret"].startswith("whsec_") and not made["disabled"]
    shown = client.call("GET", "/v1/endpoints/mail")
    assert "secret" not in shown and shown["headers"] == {"X-Team": "blue"} and shown["timeout"] == 10
    kind = make_type(client, "mail.send", "mail", timeout=5, max_attempts=3)
    assert (kind["handler"], kind["endpoint"], kind["by"]) == ("http", "mail", "application")
    task = client.run("mail.send", {"to": "a"})
    assert task["state"] == "succeeded" and task["result"] == {"sent": True} and task["max_attempts"] == 3
    (request,) = server.of(task["id"])
    assert json.loads(request.body) == {"to": "a"} and request.headers["X-Team"] == "blue"
    assert request.headers["Webhook-Signature"].split() == signatures(request, made["secret"])
    # through the other node, many, delayed and retried ones
    other = Client(client.nodes[1].url, client.key)
    ids = [other.submit("mail.send", {"n": n})["id"] for n in range(40)]
    ids.append(other.submit("mail.send", {"n": -1}, delay=0.5)["id"])
    assert all(wait_for(lambda id=id: client.get(id)["state"] == "succeeded", 30) for id in ids)
    # nothing of the secret is in the database
    rows = db.rows("SELECT e::text FROM shoal.endpoint e") + db.rows("SELECT e::text FROM shoal.event e")
    assert rows and not any(made["secret"][6:] in str(row) for row in rows)


def test_another_application_sees_nothing_of_it(start, server, db):
    client = start()
    stranger = Client(client.nodes[0].url, apps.make_key(db, "stranger"))
    put(client, "mail", url=server.url + "/mail")
    make_type(client, "mail.send", "mail")
    for call in (lambda: stranger.call("GET", "/v1/endpoints/mail"),
                 lambda: stranger.call("POST", "/v1/endpoints/mail/rotate"),
                 lambda: stranger.call("DELETE", "/v1/endpoints/mail")):
        assert code_of(call) == (404, "not_found")
    assert stranger.call("GET", "/v1/endpoints")["endpoints"] == []
    assert code_of(lambda: make_type(stranger, "mail.send", "mail")) == (422, "no_such_endpoint")
    # the same name is a type of its own there, and its tasks go to nobody else's endpoint
    task = stranger.submit("mail.send", {})
    stays(lambda: not server.of(task["id"]) and stranger.get(task["id"])["state"] == "queued", 2)
    assert code_of(lambda: client.call("DELETE", "/v1/endpoints/mail")) == (409, "endpoint_in_use")
    client.call("DELETE", "/v1/types/mail.send")
    client.call("DELETE", "/v1/endpoints/mail")
    assert code_of(lambda: client.call("GET", "/v1/endpoints/mail")) == (404, "not_found")


def test_a_rotated_secret_signs_beside_the_one_before(start, server):
    client = start()
    server.answers["/x"] = (200, {}, b"1")
    first = put(client, "x", url=server.url + "/x")["secret"]
    make_type(client, "x.run", "x")
    client.run("x.run")
    answer = client.call("POST", "/v1/endpoints/x/rotate", json={"overlap": OVERLAP})
    second = answer["secret"]
    assert second != first and answer["old_secret_until"] is not None

    def signed_by(*secrets):
        task = client.run("x.run")
        (request,) = server.of(task["id"])
        return request.headers["Webhook-Signature"].split() == signatures(request, *secrets)

    assert wait_for(lambda: signed_by(second, first), 5)
    third = client.call("POST", "/v1/endpoints/x/rotate", json={"overlap": 0})["secret"]
    assert wait_for(lambda: signed_by(third), 5)


def test_410_disables_an_endpoint_until_it_is_enabled(start, server, db):
    client = start()
    server.answers["/gone"] = (410, {}, b"gone")
    put(client, "gone", url=server.url + "/gone")
    make_type(client, "gone.run", "gone", max_attempts=1)
    first = client.run("gone.run")
    assert (first["state"], first["error"]["code"]) == ("failed", "http_410")
    assert wait_for(lambda: client.call("GET", "/v1/endpoints/gone")["disabled"], 5)
    held = client.submit("gone.run")
    why = client.why(held["id"])
    assert why["reason"] == "endpoint_disabled" and "410" in why["message"]
    stays(lambda: not server.of(held["id"]), 1.5)
    assert client.get(held["id"])["attempt"] == 0
    server.answers["/gone"] = (200, {}, b"2")
    put(client, "gone", disabled=False)
    assert wait_for(lambda: client.get(held["id"])["state"] == "succeeded", 20)
    assert client.get(held["id"])["attempt"] == 1
    changes = [json.loads(d) for (d,) in db.rows("SELECT detail FROM shoal.event WHERE kind = 21 ORDER BY seq")]
    assert [c["change"] for c in changes] == ["created", "disabled", "enabled"]
    assert changes[0]["by"] and changes[1]["by"] is None


def test_an_endpoint_that_fails_costs_its_tasks_nothing_while_it_is_left_alone(start, server):
    client = start(**{"egress.breaker_faults": 2, "egress.breaker_pause": "300ms"})
    server.answers["/down"] = (503, {}, b"")
    put(client, "down", url=server.url + "/down")
    make_type(client, "down.run", "down", max_attempts=100, backoff={"kind": "fixed", "delay": 0.1})
    ids = [client.submit("down.run")["id"] for _ in range(5)]
    assert wait_for(lambda: len(server.requests) >= 2, 20)
    server.answers["/down"] = (200, {}, b"3")
    assert all(wait_for(lambda id=id: client.get(id)["state"] == "succeeded", 30) for id in ids)


def test_bad_endpoints_are_refused_with_the_reason(start, server, tmp_path):
    client = start()
    good = server.url + "/a"
    for body, code in (
        ({}, "missing_field"),
        ({"url": "ftp://a.example/"}, "invalid_field"),
        ({"url": "https://user@a.example/"}, "invalid_field"),
        ({"url": "http://a.example:22/"}, "invalid_field"),
        ({"url": good, "headers": {"Host": "b"}}, "invalid_field"),
        ({"url": good, "headers": {"Webhook-Id": "b"}}, "invalid_field"),
        ({"url": good, "headers": {"A": "b\r\nC: d"}}, "invalid_field"),
        ({"url": good, "headers": {"A%d" % n: "b" for n in range(17)}}, "invalid_field"),
        ({"url": good, "timeout": 0.1}, "invalid_field"),
        ({"url": good, "secret": "whsec_mine"}, "unknown_field"),
    ):
        assert code_of(lambda: put(client, "bad", **body)) == (400, code), body
    assert client.call("GET", "/v1/endpoints")["endpoints"] == []


def test_a_key_is_replaced_without_a_gap(start, server, db, tmp_path):
    client = start()
    server.answers["/k"] = (200, {}, b"4")
    secret = put(client, "k", url=server.url + "/k")["secret"]
    make_type(client, "k.run", "k")
    make_key_file(tmp_path / "keys", "k2", "k1")
    done = shoal("secrets", "rotate", str(tmp_path / "keys"), env={"SHOAL_DATABASE_URL": db.url()})
    assert done.status == 0 and "1 endpoints" in done.out and "k2" in done.out, done.err
    assert db.value("SELECT split_part(secret, ':', 1) FROM shoal.endpoint") == "k2"
    # a worker that has the new key alone can open what was sealed anew
    make_key_file(tmp_path / "keys", "k2")
    node, before = client.nodes[0], set(client.nodes[0].worker_pids())
    node.send(signal.SIGHUP)
    wait_for(lambda: node.worker_pids() and not before & set(node.worker_pids()) and node.is_connected(), 30)
    task = client.run("k.run")
    (request,) = server.of(task["id"])
    assert request.headers["Webhook-Signature"].split() == signatures(request, secret)


def test_the_command_makes_shows_and_deletes_endpoints(start, server):
    client = start()
    env = {"SHOAL_URL": client.url, "SHOAL_API_KEY": client.key}
    made = shoal("endpoints", "set", "c", "url=" + server.url + "/c", "header:X-A=b", "timeout=5s", env=env)
    assert made.status == 0 and made.out.startswith("whsec_"), made.err
    assert client.call("GET", "/v1/endpoints/c")["headers"] == {"X-A": "b"}
    assert shoal("endpoints", "set", "c", "disabled=true", "reason=moving", env=env).status == 0
    listed = shoal("endpoints", env=env)
    assert "disabled" in listed.out and "moving" in listed.out and "whsec_" not in listed.out
    assert shoal("endpoints", "rotate", "c", "overlap=1h", env=env).out.startswith("whsec_")
    assert shoal("endpoints", "delete", "c", env=env).status == 0
    assert client.call("GET", "/v1/endpoints")["endpoints"] == []


def test_without_a_key_file_there_are_no_endpoints(start, server):
    client = start(**{"secrets.key_file": ""})
    assert code_of(lambda: put(client, "a", url=server.url + "/a")) == (503, "secrets_unavailable")

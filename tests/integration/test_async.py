# SPDX-License-Identifier: BSD-2-Clause
"""Endpoints that answer later: 202 with Shoal-Async, and the end told under the lease that came with the task."""

import os
import socket
import subprocess
import sys
import threading

import pytest
import requests
from shoaltest import apps, contract
from shoaltest.client import Client
from shoaltest.waits import wait_for
from test_endpoints import make_key_file, make_type, put
from test_examples import EXAMPLES
from test_http_handler import ONE, Endpoint

LATER = (202, {"Shoal-Async": "1", "Shoal-Lease-TTL": "60"}, b"")


@pytest.fixture
def server(aftermath):
    made = Endpoint()
    aftermath.callback(made.close)
    return made


@pytest.fixture
def start(cluster, key, server, tmp_path):
    def make(count=1, keys=True, **changes):
        settings = {
            "egress.allow_networks": "127.0.0.0/8",
            "egress.ports": str(server.port),
            "node.workers": 1,
            "secrets.key_file": make_key_file(tmp_path / "keys", "k1") if keys else "",
            "type:ops.handler": "http",
            "type:ops.url": server.url + "/ops",
            "type:ops.backoff": "fixed delay=100ms",
        }
        settings.update(changes)
        nodes = cluster(count, settings=settings)
        client = Client(nodes[0].url, key)
        client.nodes = nodes
        return client

    return make


def tell(request, what, body=None, token=True, to=None):
    """As the endpoint does, from nothing but what the request had; to: another node than it says."""
    url = request.headers["Shoal-Lease-Url"] + "/" + what
    path = url[url.index("/v1/"):]
    token = request.headers["Shoal-Lease-Token"] if token is True else token
    answer = requests.post(
        (to + path) if to else url, json=body if body is not None else {}, timeout=30,
        headers={"Authorization": "Bearer " + token})
    contract.check("POST", path, answer)
    return answer


def requests_of(server, id, count):
    wait_for(lambda: len(server.of(id)) >= count, 20, what="request %d" % count)
    return server.of(id)


def test_the_death_of_the_node_that_asked_runs_nothing_again(start, server, db):
    # one request at a time: a slot that were kept would hold the second task back
    client = start(2, **{"egress.per_destination": 1})
    server.answers["/work"] = LATER
    put(client, "farm", url=server.url + "/work")
    make_type(client, "render", "farm")
    ids = [client.submit("render", {"n": n})["id"] for n in range(4)]
    first = [requests_of(server, id, 1)[0] for id in ids]
    wait_for(lambda: db.rows("SELECT count(*), min(worker) FROM shoal.lease") == [(4, "endpoint farm")], 10)
    assert all(client.get(id)["state"] == "running" for id in ids)
    assert "endpoint farm" in client.why(ids[0])["reasons"][0]["message"]
    # progress, by the token, from the other node
    other = client.nodes[1]
    said = tell(first[0], "extend", {"ttl": 60, "progress": {"done": 0.5}, "log": ["half"]}, to=other.url)
    assert said.status_code == 200 and said.json()["cancelled"] is False, said.text
    assert client.get(ids[0])["progress"] == {"done": 0.5}
    client.nodes[0].kill()
    survivor = client.at(other)
    assert tell(first[0], "complete", {"result": [1]}, to=other.url).json()["state"] == "succeeded"
    assert tell(first[1], "fail", {"code": "bad", "message": "no", "retry": False},
                to=other.url).json()["state"] == "failed"
    assert tell(first[2], "complete", {"result": 3}, to=other.url).status_code == 200
    # a lost answer, told again
    assert tell(first[2], "complete", {"result": 3}, to=other.url).json()["state"] == "succeeded"
    done = [survivor.wait(id) for id in ids[:3]]
    assert [t["state"] for t in done] == ["succeeded", "failed", "succeeded"]
    assert done[0]["result"] == [1] and done[1]["error"]["code"] == "bad"
    # the last one is to be cancelled, and hears of it when it asks
    survivor.cancel(ids[3])
    assert tell(first[3], "extend", {"ttl": 60}, to=other.url).json()["cancelled"] is True
    assert tell(first[3], "fail", {"code": "stopped", "message": "", "retry": True},
                to=other.url).json()["state"] == "cancelled"
    assert all(survivor.get(id)["attempt"] == 1 for id in ids)
    assert all(len(server.of(id)) == 1 for id in ids)
    assert db.rows("SELECT count(*) FROM shoal.lease") == [(0,)]


def test_an_end_that_comes_before_the_202_is_taken(start, server, db):
    said = {}

    def early(what, body, status=LATER):
        def answer(handler, request):
            said.setdefault(request.headers["Shoal-Task-Id"], []).append(tell(request, what, body))
            return status
        return answer

    client = start()
    server.answers["/ops"] = early("complete", {"result": "early"})
    task = client.run("ops", {})
    assert (task["state"], task["result"], task["attempt"]) == ("succeeded", "early", 1)
    # (the endpoint hears of it last)
    wait_for(lambda: task["id"] in said)
    assert [a.status_code for a in said[task["id"]]] == [200]
    # a failure rests by the type's rule, and the next attempt has a lease of its own
    server.answers["/ops"] = early("fail", {"code": "busy", "message": "not now", "retry": True})
    id = client.submit("ops", {}, max_attempts=2)["id"]
    task = client.wait(id)
    assert (task["state"], task["error"]["code"], task["attempt"]) == ("failed", "busy", 2)
    one, two = server.of(id)
    assert one.headers["Shoal-Lease"] != two.headers["Shoal-Lease"]
    # who has said something has taken it over: his answer is not the end any more
    server.answers["/ops"] = early("extend", {"ttl": 60, "progress": 1}, (200, {}, b'"not this"'))
    id = client.submit("ops", {})["id"]
    (request,) = requests_of(server, id, 1)
    wait_for(lambda: "late outcome refused" in client.nodes[0].log(), 10)
    assert client.get(id)["state"] == "running"
    assert tell(request, "complete", {"result": "this"}).status_code == 200
    assert client.wait(id)["result"] == "this"
    # by a key of the application, in a batch
    release = threading.Event()
    server.answers["/ops"] = lambda handler, request: (release.wait(30), LATER)[1]
    ids = [client.submit("ops", {})["id"] for _ in range(2)]
    leases = [requests_of(server, id, 1)[0].headers["Shoal-Lease"] for id in ids]
    done = client.call("POST", "/v1/leases/complete",
                       json={"leases": [{"lease": lease, "result": 1} for lease in leases]})
    assert [one["state"] for one in done["leases"]] == ["succeeded"] * 2
    release.set()
    assert all(client.wait(id)["result"] == 1 for id in ids)
    assert db.rows("SELECT count(*) FROM shoal.lease") == [(0,)]


def test_a_lease_ends_and_not_everybody_may_tell_of_it(start, server, db, tmp_path, aftermath):
    # examples/http/later.py is run beside
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    client = start(**{
        "type:later.handler": "http", "type:later.url": "http://127.0.0.1:%d/" % port, "type:later.secret": ONE,
        "type:later.backoff": "fixed delay=200ms", "egress.ports": "%d, %d" % (server.port, port)})
    (tmp_path / "secret").write_text(ONE)
    (tmp_path / "data").write_text("a\nb\n")
    example = subprocess.Popen([sys.executable, os.path.join(EXAMPLES, "http/later.py"), str(port),
                                str(tmp_path / "secret")])
    aftermath.callback(example.wait)
    aftermath.callback(example.kill)
    later = [client.submit("later", {"path": str(tmp_path / name)})["id"] for name in ("data", "missing")]
    server.answers["/ops"] = (202, {"Shoal-Async": "1", "Shoal-Lease-TTL": "1"}, b"")  # 5 s are the least
    lost = client.submit("ops", {})["id"]
    requests_of(server, lost, 1)
    wait_for(lambda: db.value("SELECT count(*) FROM shoal.lease") == 1, 10)
    server.answers["/ops"] = LATER
    ids = [client.submit("ops", {})["id"] for _ in range(2)]
    (one,), (two,) = (requests_of(server, id, 1) for id in ids)
    for token in ("shoal_lease_1_" + "0" * 32, "shoal_lease_1", two.headers["Shoal-Lease-Token"], "nothing",
                  one.headers["Shoal-Lease-Token"].replace("_lease_1", "_lease_2"),
                  apps.make_key(db, "stranger")):
        wanted = (401, 409) if token.startswith("shoal_live") else (401,)
        assert tell(one, "complete", {"result": 1}, token=token).status_code in wanted, token
    # a token opens its lease for these three, and nothing else
    assert tell(one, "release").status_code == 401
    for method, path in (("GET", "/v1/tasks/" + ids[0]), ("POST", "/v1/leases/complete"), ("GET", "/v1/tasks")):
        stranger = Client(client.url, one.headers["Shoal-Lease-Token"])
        assert stranger.request(method, path).status_code == 401
    assert tell(one, "complete", {"result": 1}, token=client.key).status_code == 200
    assert tell(two, "complete", {"result": 2}).status_code == 200
    assert [client.wait(id)["result"] for id in ids] == [1, 2]
    assert one.headers["Shoal-Lease-Token"] not in client.nodes[0].log()
    # one that nobody tells of in time is an attempt lost: it runs again, and who comes late is refused
    again, two = requests_of(server, lost, 2)
    assert (again.headers["Shoal-Attempt"], two.headers["Shoal-Attempt"]) == ("1", "2")
    assert tell(again, "complete", {"result": 1}).status_code == 409
    assert tell(two, "complete", {"result": 2}).status_code == 200
    task = client.wait(lost)
    assert (task["result"], task["attempt"], task["failures"]) == (2, 2, 0)
    done, missing = (client.wait(id) for id in later)
    assert (done["state"], done["result"]["lines"]) == ("succeeded", 2)
    assert missing["error"]["code"] == "digest"
    # 202 alone is a success
    server.answers["/ops"] = (202, {}, b'"taken"')
    assert client.run("ops", {})["result"] == "taken"


def test_without_a_key_file_no_answer_can_come_later(start, server):
    client = start(keys=False)
    server.answers["/ops"] = LATER
    task = client.run("ops", {})
    assert (task["state"], task["error"]["code"]) == ("failed", "async_unavailable")
    assert "secrets.key_file" in task["error"]["message"]
    assert not [name for name in server.of(task["id"])[0].headers if name.startswith("Shoal-Lease")]

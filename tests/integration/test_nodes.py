# SPDX-License-Identifier: BSD-2-Clause
"""Nodes are seen and ordered about from any node: what runs ends or goes back, nothing is lost."""

import requests
from shoaltest import contract
from shoaltest.client import Client
from shoaltest.waits import wait_for


def call(node, method, path, **kwargs):
    """On the developers' listener, held against api/openapi.yaml."""
    answer = requests.request(
        method, node.dev_url + path, timeout=10,
        headers={"Authorization": "Bearer " + node.token}, **kwargs,
    )
    contract.check(method, path, answer)
    return answer


def nodes_of(node):
    return {n["id"]: n for n in call(node, "GET", "/api/nodes").json()["nodes"]}


def id_of(node):
    return node.status()["node"]


def test_every_node_tells_of_all(cluster):
    nodes = cluster(2)
    ids = {id_of(n) for n in nodes}
    seen = wait_for(
        lambda: {
            i: n for i, n in nodes_of(nodes[0]).items()
            if n["beat_age_ms"] is not None and len(n["workers"]) == 2
        } if len(nodes_of(nodes[0])) == 2 else None,
        what="both have beaten",
    )
    wait_for(lambda: set(nodes_of(nodes[1])) == ids, what="the other tells the same")
    assert set(seen) == ids
    for n in seen.values():
        assert n["state"] == "running" and not n["draining"] and n["order"] is None
        assert n["generation"] == 1 and n["pools"] == ["main"] and n["beat_age_ms"] < 5000
        assert n["slots"] == sum(w["slots"] for w in n["workers"])
    wait_for(lambda: sum(n["leads"] for n in nodes_of(nodes[0]).values()) == 1, what="one leads")
    # and only to those who may know
    assert requests.get(
        nodes[0].dev_url + "/api/nodes", timeout=5, headers={"Authorization": "Bearer x"}
    ).status_code == 401


def workers_of(seen):
    return [w["takes_tasks"] for w in seen["workers"]]


def state(node, of):
    return nodes_of(node).get(of, {}).get("state")


def test_a_node_is_drained_from_another_and_resumed(cluster, key):
    """docs/semantics.md: a drain."""
    one, two = cluster(2, node__workers="1", node__shutdown_timeout="4s")
    target = id_of(one)
    at_one, at_two = Client(one.url, key), Client(two.url, key)
    # long ones at both nodes: those of one go back and are run again, at two
    long = [at_one.submit("shoal.sleep", {"seconds": 20})["id"] for _ in range(6)]
    for i in long:
        at_one.wait_state(i, "running")
    held = [i for i in long if at_one.get(i)["worker"].startswith(target)]
    assert held, "one runs some of them"

    answer = call(two, "POST", "/api/nodes/%s/drain" % target, json={"reason": "new disks"})
    assert answer.status_code == 202
    wait_for(lambda: requests.get(one.url + "/health", timeout=5).status_code == 503, what="/health 503")
    seen = wait_for(lambda: state(two, target) in ("draining", "drained") and nodes_of(two)[target],
                    what="it drains")
    assert seen["draining"] and seen["order"]["action"] == "drain"
    assert seen["order"]["reason"] == "new disks"
    seen = wait_for(lambda: state(two, target) == "drained" and nodes_of(two)[target], at_most=20,
                    what="it is drained")
    assert seen["running"] == 0 and workers_of(seen) == [False] and seen["slots"] == 0
    # it stays up, serves what comes, and others run it
    task = Client(one.url, key).run("shoal.echo", "x")
    assert task["result"] == "x" and not task["worker"].startswith(target)
    for i in held:
        task = wait_for(lambda i=i: at_two.get(i) if at_two.get(i)["attempt"] == 2 else None,
                        what="given back and run again")
        assert not task["worker"].startswith(target)
    assert id_of(one) == target and state(one, id_of(two)) == "running"

    # back again, by way of itself
    assert call(one, "POST", "/api/nodes/%s/resume" % target).status_code == 202
    wait_for(lambda: state(two, target) == "running" and any(workers_of(nodes_of(two)[target])),
             at_most=20, what="it runs tasks again")
    assert requests.get(one.url + "/health", timeout=5).status_code == 200
    two.pause()
    try:
        task = Client(one.url, key).run("shoal.echo", "y", at_most=60)
    finally:
        two.resume()
    assert task["result"] == "y" and task["worker"].startswith(target)


def test_maintenance_takes_no_tasks_and_serves_on(cluster, wire, redis, key):
    """The order needs no Redis, and a reload or an upgrade keeps the mode."""
    link = wire(redis.port)
    one, two = cluster(2, node__workers="1", redis_url=redis.url(port=link.port))
    target = id_of(one)
    link.refuse()
    link.reset_open()
    answer = call(two, "POST", "/api/nodes/%s/drain" % target, json={"tasks_only": True})
    assert answer.status_code == 202
    wait_for(lambda: state(two, target) == "maintenance" and workers_of(nodes_of(two)[target]) == [False],
             at_most=20, what="in maintenance without Redis")
    assert requests.get(one.url + "/health", timeout=5).status_code == 200
    link.heal()
    wait_for(lambda: one.is_connected() and two.is_connected(), at_most=20, what="Redis is back")
    for again in ("reload", "upgrade"):
        if again == "reload":
            old = one.worker_pids()
            one.send(1)
            wait_for(lambda: one.is_connected() and not set(old) & set(one.worker_pids()), at_most=20,
                     what="reloaded")
        else:
            one.upgrade()
            target = id_of(one)
        wait_for(lambda: state(two, target) == "maintenance", what="still in maintenance")
        tasks = [Client(one.url, key).run("shoal.echo", n) for n in range(5)]
        assert all(t["result"] is not None and not t["worker"].startswith(target) for t in tasks)
        assert requests.get(one.url + "/health", timeout=5).status_code == 200


def test_an_order_to_leave_ends_the_node(cluster):
    one, two = cluster(2, node__workers="1")
    target = id_of(one)
    assert call(two, "POST", "/api/nodes/%s/drain" % target, json={"leave": True}).status_code == 202
    assert one.proc.wait(30) == 0
    wait_for(lambda: target not in nodes_of(two), what="it is not among them any more")
    # what is refused, and why
    for path, body, status, code in (
        ("/api/nodes/%s/drain" % target, {}, 404, "not_found"),
        ("/api/nodes/one/drain", {}, 404, "not_found"),
        ("/api/nodes/%s/drain" % id_of(two), {"leav": True}, 400, "unknown_field"),
        ("/api/nodes/%s/drain" % id_of(two), {"leave": 1}, 400, "invalid_field"),
        ("/api/nodes/%s/drain" % id_of(two), {"leave": True, "tasks_only": True}, 400, "invalid_request"),
        ("/api/nodes/%s/resume" % id_of(two), {"leave": True}, 400, "unknown_field"),
    ):
        answer = call(two, "POST", path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert state(two, id_of(two)) == "running"

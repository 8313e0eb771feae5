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

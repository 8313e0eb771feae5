# SPDX-License-Identifier: BSD-2-Clause
"""A new program takes a node's place while it works: nothing fails, nothing is lost, or nothing happens."""

import os
import signal
import subprocess

import pytest
import requests
from shoaltest import process
from shoaltest.client import Client
from shoaltest.node import program, program_env
from shoaltest.waits import wait_for
from test_haproxy import Loop, assert_nothing_lost

FAILED = "the upgrade failed, this node goes on as before"


def settled(node):
    """The replaced masters have ended, and all workers of the new one serve."""
    return all(p.poll() is not None for p in node.replaced) and node.is_connected()


def test_nodes_are_upgraded_without_a_failed_request(cluster, haproxy, db, key):
    nodes = cluster(2)
    proxy = haproxy(nodes)
    wait_for(lambda: all(proxy.is_up(n) for n in nodes), what="HAProxy sees both")
    ids = set()
    with Loop(proxy.url, key) as loop:
        for n in range(5):
            node = nodes[n % 2]
            ids.add(node.status()["node"])
            node.upgrade()
            assert node.status()["node"] not in ids, "a new master is a new node"
            wait_for(lambda node=node: settled(node), at_most=30, what="the old one has left")
            loop.goes_on()
        # it never said that it drains: the balancer has not taken it out
        assert all(proxy.is_up(n) for n in nodes) and "is DOWN" not in proxy.log_text()
    assert_nothing_lost(loop, db, proxy)


def test_what_runs_ends_where_it_runs_or_goes_back(node, client):
    """docs/semantics.md: an upgrade."""
    node.write_conf(node__shutdown_timeout="6s")
    node.send(signal.SIGHUP)
    wait_for(lambda: node.status()["generation"] == 2 and node.is_connected() and
             node.status()["generations"] == 1, at_most=30, what="reloaded")
    short = client.submit("shoal.sleep", {"seconds": 3})["id"]
    long = client.submit("shoal.sleep", {"seconds": 12})["id"]
    for i in (short, long):
        client.wait_state(i, "running")
    # as an operator does it
    done = subprocess.run(
        program() + ["-c", node.conf, "-s", "upgrade"], env=program_env(), timeout=20, check=False,
        stderr=subprocess.PIPE,
    )
    assert done.returncode == 0, done.stderr
    wait_for(lambda: node.pid_of_file() not in (0, node.pid), at_most=60, what="upgraded")
    node.replaced.append(node.proc)
    node.proc = process.Adopted(node.pid_of_file())
    client.session.close()  # or the old one would keep it for us
    client = Client(node.url, client.key)
    task = client.wait(short)
    assert task["state"] == "succeeded" and task["attempt"] == 1
    task = client.wait(long, at_most=40)
    assert task["state"] == "succeeded" and task["attempt"] == 2
    assert node.replaced[0].wait(20) == 0


@pytest.fixture
def linked(cluster, nodedir, key):
    """A node that was started by a link, which the test may lead elsewhere, and a client."""
    node = cluster(1, ready=None, node__start_timeout="3s")[0]
    node.stop(signal.SIGINT)
    link = os.path.join(nodedir, "shoald")
    os.symlink(program()[-1], link)
    node.program = program()[:-1] + [link]
    node.start()
    return node, link, Client(node.url, key)


def script(link, text):
    """A package upgrade that went wrong."""
    new = link + ".new"
    with open(new, "w") as f:
        f.write("#!/bin/sh\n" + text + "\n")
    os.chmod(new, 0o755)
    os.rename(new, link)


def test_a_new_program_that_does_not_work_changes_nothing(linked):
    node, link, client = linked
    before = node.status()

    def fails(times, why, mend=lambda: None):
        node.send(signal.SIGUSR2)
        wait_for(lambda: node.log().count(FAILED) == times, at_most=30, what=why)
        mend()
        line = [x for x in node.log().splitlines() if FAILED in x][-1]
        assert why in line, line
        assert client.run("shoal.echo", times)["result"] == times
        now = node.status()
        assert now["node"] == before["node"] and now["pid"] == before["pid"] == node.pid_of_file()
        assert [w["pid"] for w in now["workers"]] == [w["pid"] for w in before["workers"]]
        assert now["upgrade_failures"] == times
        assert requests.get(node.url + "/health", timeout=5).status_code == 200

    script(link, "exit 1")
    fails(1, "exit status 1")
    script(link, "exec sleep 600")
    fails(2, "its workers do not serve after 6 s")
    os.unlink(link)
    fails(3, "cannot be executed")
    # the program works, and its configuration does not
    os.symlink(program()[-1], link)
    node.write_conf(node__workers="many")
    fails(4, "line 2: [node] workers: must be a whole number",
          mend=lambda: node.write_conf(node__workers="2"))
    # it works, and its workers do not
    node.send(signal.SIGUSR2)
    new = wait_for(
        lambda: [p for p in process.children_of(node.pid) if link in process.title(p)
                 or process.title(p).startswith("shoald: master")], what="the new master")[0]

    def kill_all():
        for pid in process.children_of(new):
            if process.title(pid).startswith("shoald: worker"):
                os.kill(pid, signal.SIGSEGV)
        return node.log().count(FAILED) == 5

    node.expected_dirt.append("Segmentation fault|AddressSanitizer|SEGV")
    wait_for(kill_all, at_most=60, what="the new workers crash all the time", every=0.005)
    assert client.run("shoal.echo", 5)["result"] == 5
    assert node.status()["pid"] == before["pid"]
    # and then one that works
    client.session.close()
    node.upgrade()
    wait_for(lambda: settled(node), at_most=30, what="the old one has left")
    assert Client(node.url, client.key).run("shoal.echo", 6)["result"] == 6


def test_an_idle_connection_outlives_reload_and_upgrade(node, key):
    """A balancer keeps connections: the next request on one is answered, whoever it meets."""
    for change in ("reload", "upgrade"):
        client = Client(node.url, key)
        client.submit("shoal.noop")
        released, closed = (node.log().count(x) for x in ("worker lingers", "closes its stores"))
        if change == "reload":
            node.send(signal.SIGHUP)
        else:
            node.upgrade()
        wait_for(lambda n=released: node.log().count("worker lingers") > n, at_most=30,
                 what="a worker keeps the connection")
        wait_for(lambda n=closed: node.log().count("closes its stores") > n, what="its stores are closed")
        port = client.session.get_adapter(client.url).poolmanager.connection_from_url(client.url)
        used = port.num_connections
        answer = client.request("POST", "/v1/tasks", json={"type": "shoal.noop"})
        assert answer.status_code == 201, answer.text
        assert answer.headers["Connection"] == "close"
        assert port.num_connections == used, "it was the same connection"
        task = Client(node.url, key).wait(answer.json()["id"])
        assert task["state"] == "succeeded"
        # and with it the last reason to stay is gone
        wait_for(lambda: node.status()["generations"] == 1 and settled(node), at_most=20,
                 what="what lingered has left")

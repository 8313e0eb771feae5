# SPDX-License-Identifier: BSD-2-Clause
"""A new program takes a node's place while it works: nothing fails, nothing is lost, or nothing happens."""

import glob
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess

import pytest
import requests
from shoaltest import process
from shoaltest.client import Client
from shoaltest.node import program, program_env
from shoaltest.pki import Pki
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
    node = cluster(1, ready="never", node__start_timeout="3s")[0]
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


class Kept:
    """A connection that is never made again: what is asked on it is answered by whom it was made to."""

    def __init__(self, sock, key):
        self._connection = http.client.HTTPConnection("node")
        self._connection.auto_open = 0
        self._connection.sock = sock
        self._headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}

    def submit(self):
        """(status, whether it stays open, the task)"""
        self._connection.request("POST", "/v1/tasks", b'{"type":"shoal.noop"}', self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.headers["Connection"] != "close", json.loads(answer.read())

    def close(self):
        self._connection.close()


def unix(path):
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(20)
    made.connect(path)
    return made


def test_an_idle_connection_outlives_reload_and_upgrade(cluster, nodedir, key):
    """A balancer keeps connections, of every kind: the next request on one is answered, whoever it meets.

    The node is a daemon, whose process file is right as soon as it is upgraded, and has one worker more
    than its configuration says.
    """
    pki = Pki(nodedir)
    plain, tls, path = process.free_port(), process.free_port(), os.path.join(nodedir, "api")
    node = cluster(
        1, ready="never", node__workers="1", tls__certificates="%s %s" % pki.issue("a", ["localhost"]),
        listen__applications="127.0.0.1:%d, 127.0.0.1:%d tls, unix:%s" % (plain, tls, path),
        log__file=os.path.join(nodedir, "node0", "log"),
    )[0]
    node.app_port = plain
    node.start_daemon()
    context = ssl.create_default_context(cafile=pki.ca)

    def connect():
        raw = socket.create_connection(("127.0.0.1", tls), 20)
        return [Kept(s, key) for s in (
            socket.create_connection(("127.0.0.1", plain), 20),
            context.wrap_socket(raw, server_hostname="localhost"), unix(path))]

    def count():
        return len(node.worker_pids())

    inode = os.stat(path).st_ino
    for change in ("reload", "upgrade"):
        node.send(signal.SIGTTIN)
        wait_for(lambda: count() == 2 and node.is_connected(), at_most=20, what="one worker more")
        kept = connect()
        assert all(k.submit()[:2] == (201, True) for k in kept)
        closed, told = (node.log().count(x) for x in ("closes its stores", "a lingering worker has submitted"))
        before = set(node.worker_pids())
        if change == "reload":
            node.send(signal.SIGHUP)
            wait_for(lambda b=before: not b & set(node.worker_pids()) and node.is_connected(),
                     at_most=30, what="new workers")
        else:
            node.upgrade()
            assert node.status()["pid"] == node.pid == node.pid_of_file()
            wait_for(node.is_connected, at_most=30)
        # the configuration's word counts again
        wait_for(lambda: count() == 1, what="as many workers as are configured")
        wait_for(lambda n=closed: node.log().count("closes its stores") > n, at_most=20,
                 what="the stores of the old are closed")
        for fresh in connect():
            assert fresh.submit()[0] == 201
            fresh.close()
        tasks = []
        for k in kept:
            status, stays, task = k.submit()
            assert (status, stays) == (201, False), task
            k.close()
            tasks.append(task["id"])
        client = Client(node.url, key)
        assert all(client.wait(id)["state"] == "succeeded" for id in tasks)
        # which the leader was told of, by way of the master
        wait_for(lambda n=told: node.log().count("a lingering worker has submitted") > n, what="a hint")
        client.session.close()
        # and with them the last reason to stay is gone
        wait_for(lambda: node.status()["generations"] == 1 and settled(node), at_most=20,
                 what="what lingered has left")
        assert os.stat(path).st_ino == inode
    assert node.stop() == 0
    assert not os.path.exists(path) and not os.path.exists(node.settings["node.pid_file"])


def test_a_master_that_is_killed_leaves_one_or_none(cluster, redis, key):
    """In the middle of an upgrade, at either side of it, either of the two."""
    node = cluster(1, node__workers="1", node__start_timeout="60s")[0]
    wait_for(lambda: node.status()["state"] == "running")
    client = Client(node.url, key)

    def upgrading():
        """Asks for it, and returns the new master's process as soon as there is one."""
        seen, old = node.log().count("upgrading pid="), set(process.children_of(node.pid))
        node.send(signal.SIGUSR2)
        wait_for(lambda: node.log().count("upgrading pid=") > seen, what="it begins", every=0.002)
        return int(node.log().split("upgrading pid=")[-1].split()[0]), old

    def alone(pid, strangers):
        """The node is this master's, and nobody else listens, or lives."""
        wait_for(lambda: node.pid_of_file() == pid and node.status()["pid"] == pid and node.is_connected() and
                 node.status()["state"] == "running", at_most=30, what="process %d has the node" % pid)
        wait_for(lambda: not any(process.alive(p) for p in strangers), at_most=20, what="the others are gone")
        assert listening(node.app_port) <= {pid} | set(process.children_of(pid))
        assert Client(node.url, key).run("shoal.noop")["state"] == "succeeded"
        # and no other can be started beside it
        beside = subprocess.run(program() + ["-c", node.conf], env=program_env(), timeout=20, check=False,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert beside.returncode != 0 and b"a node runs already: process %d" % pid in beside.stdout

    # the new one, before it serves, as it cannot by this file: nothing has changed
    node.write_conf(redis__url=redis.url(port=process.free_port()))
    new, _ = upgrading()
    os.kill(new, signal.SIGKILL)
    node.wait_log(FAILED)
    wait_for(lambda: not process.alive(new))
    alone(node.pid, [new])
    # the old one, before the new one serves: it goes on alone
    new, children = upgrading()
    old = node.proc
    node.send(signal.SIGKILL)
    node.proc = process.Adopted(new)
    node.wait_log("the old master is dead")
    old.wait(10)
    wait_for(lambda: node.pid_of_file() == new, what="it has the node")
    node.write_conf(redis__url=redis.url())
    node.send(signal.SIGHUP)
    alone(new, children - {new})
    # the old one, when the new one has the node
    task = client.submit("shoal.sleep", {"seconds": 30})["id"]
    client.wait_state(task, "running")
    children = set(process.children_of(node.pid))
    client.session.close()
    node.upgrade()
    os.kill(node.replaced.pop().pid, signal.SIGSEGV)  # of which a master tells, too
    alone(node.pid, children)
    assert re.search("master crash report signal=SIGSEGV", node.log()) and "crash report ends" in node.log()
    Client(node.url, key).cancel(task)
    # the new one, while what the old one runs is still there: all ends, and can be started again
    client = Client(node.url, key)
    task = client.submit("shoal.sleep", {"seconds": 30})["id"]
    client.wait_state(task, "running")
    client.session.close()
    children = set(process.children_of(node.pid))
    node.upgrade()
    children |= set(process.children_of(node.pid)) | {node.replaced.pop().pid}
    node.send(signal.SIGKILL)
    wait_for(lambda: not any(process.alive(p) for p in children), at_most=20, what="all have ended")
    assert not listening(node.app_port)
    node.start()
    alone(node.pid, children)
    Client(node.url, key).cancel(task)


def listening(port):
    """The processes that hold a socket which listens there."""
    with open("/proc/net/tcp") as f:
        inodes = {"socket:[%s]" % x[9] for x in (line.split() for line in f)
                  if x[1].endswith(":%04X" % port) and x[3] == "0A"}
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for fd in glob.glob("/proc/%s/fd/*" % pid):
            try:
                if os.readlink(fd) in inodes:
                    found.add(int(pid))
            except OSError:
                continue
    return found

# SPDX-License-Identifier: BSD-2-Clause
"""A reload is all or nothing: what does not work changes nothing, what works changes everything."""

import signal
import socket
import ssl

import pytest
from shoaltest import process
from shoaltest.client import Client
from shoaltest.pki import Pki
from shoaltest.waits import wait_for


def reload(node, **changes):
    node.write_conf(**changes)
    node.send(signal.SIGHUP)


def reloaded(node, old):
    pids = set(node.worker_pids())
    return len(pids) == int(node.settings["node.workers"]) and not pids & old and node.is_connected()


def test_stores_that_do_not_answer_are_not_gone_to(cluster, db, redis, key):
    """docs/semantics.md: a reload.  Neither by HUP, nor with a new program."""
    node = cluster(1, node__workers="1", node__start_timeout="3s")[0]
    good = {"database__url": db.url(), "redis__url": redis.url()}
    nobody = process.free_port()
    before, client = node.worker_pids(), Client(node.url, key)
    for failures, changes, name in (
        (1, {"database__url": db.url(nobody)}, "PostgreSQL"),
        (2, {"redis__url": redis.url(port=nobody)}, "Redis"),
    ):
        reload(node, **dict(good, node__start_timeout="2s", **changes))
        wait_for(lambda: node.status()["state"] == "reloading", what="it begins")
        assert client.run("shoal.echo", failures)["result"] == failures
        line = wait_for(
            lambda f=failures: [x for x in node.log().splitlines()
                                if "the new workers do not get ready" in x][f - 1:],
            at_most=30, what="it is given up")[0]
        assert "not all of them have %s, which the old ones have" % name in line, line
        wait_for(lambda: node.status()["state"] == "running")
        assert node.status()["reload_failures"] == failures and node.worker_pids() == before
        assert client.run("shoal.echo", failures)["result"] == failures
    # an upgrade reads the same file
    node.send(signal.SIGUSR2)
    node.wait_log("the upgrade failed, this node goes on as before", at_most=30)
    assert node.worker_pids() == before
    # and the next good one is taken
    reload(node, node__start_timeout="30s", **good)
    wait_for(lambda: reloaded(node, set(before)), at_most=30, what="new workers")
    assert client.run("shoal.echo", 3)["result"] == 3


def test_certificates_and_listeners_change_under_tls(cluster, nodedir, key):
    pki = Pki(nodedir)
    first, second = (pki.issue(name, ["localhost"]) for name in ("first", "second"))
    plain, stays, goes, comes = (process.free_port() for _ in range(4))
    context = ssl.create_default_context(cafile=pki.ca)

    def connect(port):
        return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20),
                                   server_hostname="localhost")

    def whose(port):
        with connect(port) as s:
            return dict(pair[0] for pair in s.getpeercert()["subject"])["commonName"]

    def ask(s):
        s.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        return s.recv(65536)

    def listen(*ports):
        return ", ".join(["127.0.0.1:%d" % plain] + ["127.0.0.1:%d tls" % p for p in ports])

    node = cluster(1, ready="never", node__workers="1", tls__certificates="%s %s" % first,
                   listen__applications=listen(stays, goes))[0]
    node.app_port = plain
    node.start()
    old = set(node.worker_pids())
    assert whose(stays) == whose(goes) == "first"
    with connect(stays) as kept, connect(goes) as kept_too:
        assert b" 200 " in ask(kept) and b" 200 " in ask(kept_too)
        reload(node, tls__certificates="%s %s" % second, listen__applications=listen(stays, comes))
        wait_for(lambda: reloaded(node, old), at_most=30, what="new workers")
        wait_for(lambda: whose(stays) == "second", what="nobody of the old accepts any more")
        assert whose(comes) == "second"

        def refused():
            with pytest.raises(ConnectionRefusedError):
                connect(goes)
            return True

        wait_for(refused, what="nobody listens where nobody is to")
        # what was connected is answered all the same, and goes by then
        for s in (kept, kept_too):
            answer = ask(s)
            assert b" 200 " in answer and b"Connection: close" in answer
            assert s.recv(10) == b""
    # the same address without TLS from now on, and one with it that was without
    old = set(node.worker_pids())
    reload(node, listen__applications="127.0.0.1:%d, 127.0.0.1:%d, 127.0.0.1:%d tls" % (plain, stays, comes))
    wait_for(lambda: reloaded(node, old), at_most=30, what="new workers")
    wait_for(lambda: Client("http://127.0.0.1:%d" % stays, key).run("shoal.echo", 1)["result"] == 1)
    assert whose(comes) == "second"

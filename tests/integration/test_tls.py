# SPDX-License-Identifier: BSD-2-Clause
"""TLS on a listener: who gets in how, what a reload changes, and that every bound still holds.

The node listens without TLS beside it, so that what it says of itself can be asked there.
"""

import base64
import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests
from shoaltest import process
from shoaltest.client import Client
from shoaltest.node import program, program_env
from shoaltest.pki import Pki
from shoaltest.stream import Stream
from shoaltest.waits import wait_for
from test_framing import ATTACKS, assert_refused, hidden, request


@pytest.fixture(scope="module")
def pki(workdir, tmp_path_factory):
    return Pki(str(tmp_path_factory.mktemp("pki")))


@pytest.fixture
def secure(cluster):
    """secure(certificates, **settings): a node with a TLS listener, .tls_port, beside the plain one."""

    def start(certificates, words="tls", **settings):
        port, plain = process.free_port(), process.free_port()
        node = cluster(
            1, tls__certificates=certificates,
            listen__applications="127.0.0.1:%d, 127.0.0.1:%d %s" % (plain, port, words), **settings,
        )[0]
        node.app_port, node.tls_port = plain, port
        return node

    return start


def context(pki, **changes):
    made = ssl.create_default_context(cafile=pki.ca)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@contextlib.contextmanager
def connected(node, pki, name="a.example.com", ctx=None, **kwargs):
    with socket.create_connection(("127.0.0.1", node.tls_port), 20) as raw:
        with (ctx or context(pki)).wrap_socket(raw, server_hostname=name, **kwargs) as s:
            yield s


def ask(s, path="/health", extra=b""):
    s.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (path.encode(), extra))
    return answer(s)


def answer(s):
    """One whole answer, head and body."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = s.recv(65536)
        assert more, "closed after %r" % received
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"Content-Length: (\d+)", head).group(1))
    while len(body) < length:
        body += s.recv(65536)
    return head, body


def subject(s):
    return dict(pair[0] for pair in s.getpeercert()["subject"])["commonName"]


def metric(node, name):
    text = requests.get(
        node.dev_url + "/metrics", headers={"Authorization": "Bearer " + node.token}, timeout=20
    ).text
    return {labels: float(value) for labels, value in
            re.findall(r"^shoal_%s(\{[^}]*\})? (\S+)$" % name, text, re.M)}


def test_versions_names_and_what_clients_must_show(secure, pki, key, db):
    a, a_key = pki.issue("a", ["a.example.com"])
    b, b_key = pki.issue("b", ["*.example.org", "b.example.com"])
    mine, mine_key = pki.issue("someone")
    ocsp = pki.ocsp("a")
    node = secure("%s %s %s, %s %s" % (a, a_key, ocsp, b, b_key),
                  tls__client_ca=pki.ca, tls__client_certificates="optional")
    for name, expected in (
        ("a.example.com", "a"), ("b.example.com", "b"), ("X.example.org", "b"), ("deep.x.example.org", "a"),
        ("nobody.example", "a"),
    ):
        ctx = context(pki, check_hostname=False)
        with connected(node, pki, name, ctx) as s:
            assert subject(s) == expected, name
            assert s.version() == "TLSv1.3"
            head, body = ask(s)
            assert b'{"status":"ok"}' in body
            assert b"Strict-Transport-Security: max-age=15552000\r\n" in head
    # what is spoken: HTTP/1.1, and no version before 1.2
    ctx = context(pki)
    ctx.set_alpn_protocols(["h2", "http/1.1"])
    with connected(node, pki, ctx=ctx) as s:
        assert s.selected_alpn_protocol() == "http/1.1"
    ctx = context(pki)
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    with connected(node, pki, ctx=ctx) as s:
        assert s.version() == "TLSv1.2" and s.cipher()[0].startswith("ECDHE-")
    ctx = context(pki)
    ctx.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        ctx.minimum_version = ssl.TLSVersion.TLSv1
        ctx.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        with connected(node, pki, ctx=ctx):
            pass
    # a staple comes with the certificate that it is of
    said = subprocess.run(
        ["openssl", "s_client", "-connect", "127.0.0.1:%d" % node.tls_port, "-servername",
         "a.example.com", "-status", "-CAfile", pki.ca], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False,
    ).stdout.decode()
    assert "OCSP Response Status: successful" in said and "Cert Status: good" in said, said
    # a certificate of somebody else's is refused, ours and none are not
    other = Pki(pki.directory, "other")
    bad, bad_key = other.issue("stranger")
    ctx = context(pki)
    ctx.load_cert_chain(bad, bad_key)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connected(node, pki, ctx=ctx) as s:
            ask(s)
    ctx = context(pki)
    ctx.load_cert_chain(mine, mine_key)
    with connected(node, pki, ctx=ctx) as s:
        assert b" 200 " in ask(s)[0]
    # required: the same question without one
    node.write_conf(tls__client_certificates="required", tls__min_version="1.3")
    reload(node)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connected(node, pki) as s:
            ask(s)
    with connected(node, pki, ctx=ctx) as s:
        assert b" 200 " in ask(s)[0]
        # links lead back the way that the client came
        node.write_conf(cluster__hostname="tasks.example.com")
    reload(node)
    with connected(node, pki, ctx=ctx) as s:
        body = b'{"type":"shoal.noop"}'
        s.sendall(b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"
                  b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                  % (key.encode(), len(body), body))
        head = answer(s)[0]
        assert b"Location: https://tasks.example.com:%d/v1/tasks/" % node.tls_port in head, head
    assert metric(node, "tls_failed_total")[""] >= 3
    left = metric(node, "tls_certificate_seconds_left")
    assert left['{number="1",name="*.example.org"}'] > 80 * 86400, left


def reload(node, works=True):
    old = set(node.worker_pids())
    node.send(signal.SIGHUP)
    if works:
        wait_for(
            lambda: len(node.worker_pids()) == len(old) and not old & set(node.worker_pids())
            and node.is_connected(),
            at_most=60, what="new workers",
        )


def test_a_session_is_resumed_by_another_worker_and_another_node(secure, cluster, pki, key):
    a, a_key = pki.issue("a", ["a.example.com"])
    tickets = pki.path("tickets")
    with open(tickets, "w") as f:
        f.write("# today's, and yesterday's\n")
        for size in (80, 48):
            f.write(base64.b64encode(os.urandom(size)).decode() + "\n")
    os.chmod(tickets, 0o600)
    nodes = [secure("%s %s" % (a, a_key), tls__ticket_key_file=tickets, node__workers=2)
             for _ in range(2)]
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        ctx = context(pki)
        ctx.maximum_version = version
        with connected(nodes[0], pki, ctx=ctx) as s:
            ask(s)
            session = s.session
        reused = 0
        for n in range(8):
            # (a session may be offered again here: tickets have no memory)
            with connected(nodes[n % 2], pki, ctx=ctx, session=session) as s:
                ask(s)
                reused += s.session_reused
        assert reused == 8, version
    assert sum(metric(n, "tls_resumed_total")[""] for n in nodes) == 16
    # without a file the workers of a node share a key that dies with the generation
    nodes[0].write_conf(tls__ticket_key_file="")
    reload(nodes[0])
    ctx = context(pki)
    with connected(nodes[0], pki, ctx=ctx) as s:
        ask(s)
        session = s.session
    for _ in range(6):
        with connected(nodes[0], pki, ctx=ctx, session=session) as s:
            ask(s)
            assert s.session_reused
    reload(nodes[0])
    with connected(nodes[0], pki, ctx=ctx, session=session) as s:
        ask(s)
        assert not s.session_reused


def check(node):
    done = subprocess.run(
        program() + ["-c", node.conf, "-t"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=60, env=program_env(), check=False,
    )
    return done.returncode, done.stdout.decode()


def test_a_bad_certificate_changes_nothing_and_a_good_one_is_taken(secure, pki, key):
    a, a_key = pki.issue("a", ["a.example.com"], days=10)
    node = secure("%s %s" % (a, a_key))
    node.wait_log("a certificate ends soon")
    new, new_key = pki.issue("new", ["a.example.com"])
    over, over_key = pki.issue("over", ["a.example.com"], days=-1)
    world = pki.path("world.key")
    with open(new_key, "rb") as f, open(world, "wb") as g:
        g.write(f.read())
    os.chmod(world, 0o644)
    text = pki.path("text.pem")
    with open(text, "w") as f:
        f.write("nothing\n")
    revoked = pki.ocsp("new", "R")
    old = set(node.worker_pids())
    for certificates, why in (
        ("%s %s" % (new, a_key), "the key is not that of the certificate"),
        ("%s %s" % (over, over_key), "the certificate ended at"),
        ("%s %s" % (new, world), "others than its owner and group may reach it"),
        ("%s %s" % (text, new_key), "it has no certificate"),
        ("%s %s" % (new, text), "others than its owner"),
        ("%s %s" % (pki.path("none.pem"), new_key), "No such file"),
    ):
        node.write_conf(tls__certificates=certificates)
        status, said = check(node)
        assert status == 78 and why in said, said
        before = node.log().count("reload refused")
        node.send(signal.SIGHUP)
        wait_for(lambda b=before: node.log().count("reload refused") > b, what="it is refused")
    assert set(node.worker_pids()) == old
    with connected(node, pki) as s:
        assert subject(s) == "a"
    # a bad OCSP response is no reason to refuse
    node.write_conf(tls__certificates="%s %s %s" % (new, new_key, revoked))
    status, said = check(node)
    assert status == 0 and "revoked" in said, said
    with connected(node, pki) as before:
        ask(before)
        node.send(signal.SIGHUP)

        def is_new():
            with connected(node, pki) as s:
                return subject(s) == "new" and b" 200 " in ask(s)[0]

        wait_for(is_new, at_most=60, what="the new certificate")
        # what was connected before ends when it likes
        assert b" 200 " in ask(before)[0]


def test_every_bound_holds_on_tls_too(secure, pki, key, db):
    a, a_key = pki.issue("a", ["a.example.com"])
    node = secure(
        "%s %s" % (a, a_key), node__workers=1, tls__handshake_timeout="2s", http__header_timeout="2s",
        http__body_timeout="2s", http__max_connections=12, http__max_body="400KiB",
    )
    client = Client("https://localhost:%d" % node.tls_port, key)
    client.session.verify = pki.ca
    a_host, host_key = pki.issue("localhost", ["localhost"])
    node.write_conf(tls__certificates="%s %s, %s %s" % (a, a_key, a_host, host_key))
    reload(node)
    # a whole task, a body that needs several records, and one that is too large
    assert client.run("shoal.echo", "x" * 200000)["result"] == "x" * 200000
    with connected(node, pki) as s:
        s.sendall(b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n")
        assert b" 413 " in answer(s)[0]
        assert s.recv(10) == b""  # a good-bye, not a cut
    # curl sends Expect: 100-continue for a large body, which is evhttp's to answer
    body = pki.path("body")
    with open(body, "w") as f:
        f.write('{"type":"shoal.echo","payload":"%s"}' % ("y" * 100000))
    said = subprocess.run(
        ["curl", "-sS", "--cacert", pki.ca, "-H", "Expect: 100-continue", "-H",
         "Authorization: Bearer " + key, "-H", "Content-Type: application/json", "-d", "@" + body,
         "https://localhost:%d/v1/tasks?wait=20" % node.tls_port,
         "https://localhost:%d/v1/tasks?wait=20" % node.tls_port],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90, check=False,
    ).stdout.decode()
    assert said.count('"state":"succeeded"') == 2, said[:500]
    # framing: the same answers as without TLS
    ran = db.value("SELECT count(*) FROM shoal.task")
    auth = [b"Authorization: Bearer " + key.encode(), b"Content-Type: application/json"]
    for what, headers, content in ATTACKS[::4]:
        with connected(node, pki) as s:
            s.settimeout(20)
            s.sendall(request(headers + auth, (content or b"") + hidden(key)))
            received, closed = b"", False
            try:
                while not closed:
                    more = s.recv(65536)
                    closed = not more
                    received += more
            except ConnectionError:
                closed = True
            assert_refused(received, closed, what)
    assert db.value("SELECT count(*) FROM shoal.task") == ran
    # pipelined, in order; and a client of HTTP/1.0 learns the end by a good-bye
    with connected(node, pki) as s:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        received = b""
        while received.count(b'{"status":"ok"}') < 3:
            received += s.recv(65536)
        s.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        while s.recv(65536):
            pass
    # slow handshakes, heads and bodies end; so do those who say nothing
    slow = []
    for sent in (None, b"", b"GET / HTTP/1.1\r\nX: ",
                 b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"):
        raw = socket.create_connection(("127.0.0.1", node.tls_port), 20)
        if sent is None:
            raw.sendall(b"\x16\x03\x01\x02\x00\x01")
        else:
            raw = context(pki).wrap_socket(raw, server_hostname="a.example.com")
            raw.sendall(sent)
        slow.append((sent, raw))
    for sent, raw in slow:
        if sent != b"":
            raw.settimeout(20)
            assert raw.recv(10) == b"", sent
        raw.close()
    # junk both ways
    with socket.create_connection(("127.0.0.1", node.tls_port), 20) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        received = b""
        while True:
            more = raw.recv(65536)
            if not more:
                break
            received += more
        assert b" 400 " in received and b"use https" in received
    with socket.create_connection(("127.0.0.1", node.app_port), 20) as raw:
        with pytest.raises(ssl.SSLError):
            context(pki).wrap_socket(raw, server_hostname="a.example.com")
    # a client that is gone while it waits is noticed; one that hangs up roughly too
    requests.put("http://127.0.0.1:%d/v1/types/pulled" % node.app_port, json={"handler": "pull"},
                 headers={"Authorization": "Bearer " + key}, timeout=20).raise_for_status()
    raw = socket.create_connection(("127.0.0.1", node.tls_port), 20)
    s = context(pki).wrap_socket(raw, server_hostname="a.example.com")
    lease = b'{"queues":["default"],"wait":50}'
    s.sendall(b"POST /v1/leases HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"
              b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
              % (key.encode(), len(lease), lease))
    wait_for(lambda: metric(node, "lease_waiters")[""] == 1, what="it waits")
    s.close()
    wait_for(lambda: metric(node, "lease_waiters")[""] == 0, what="the waiter is gone")
    # a stream of events
    with connected(node, pki) as s:
        s.sendall(b"GET /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n"
                  % key.encode())
        received = s.recv(65536)
        assert b" 200 " in received
        id = client.submit("shoal.noop")["id"]
        while id.encode() not in received:
            more = s.recv(65536)
            assert more, received
            received += more
    # at the most so many connections: the next waits until one leaves
    full = [socket.create_connection(("127.0.0.1", node.tls_port), 20) for _ in range(12)]
    other = Client(client.url, key)
    other.session.verify = pki.ca
    waits = threading.Thread(target=other.submit, args=("shoal.noop",))
    waits.start()
    node.wait_log("too many connections")
    for raw in full:
        raw.close()
    waits.join(30)
    assert not waits.is_alive()
    wait_for(lambda: metric(node, "http_connections")[""] < 8, what="all are gone")


def test_idle_and_stalled_clients_are_bounded_as_without_tls(secure, pki, key, db):
    """What waits is not idle, what is idle is closed with a good-bye, and who does not read is dropped."""
    node = secure("%s %s" % pki.issue("held", ["localhost"]), node__workers=1, http__idle_timeout="1s",
                  http__write_timeout="3s")
    url, ctx = "https://localhost:%d" % node.tls_port, context(pki)

    def client():
        """One that has no connection yet, which could be idle for too long."""
        made = Client(url, key)
        made.session.verify = pki.ca
        return made

    quiet = Stream(url, key, tls=ctx).wait_open()
    task = client().submit("shoal.sleep", {"seconds": 300})["id"]
    waited = []
    poll = threading.Thread(target=lambda: waited.append(
        client().call("GET", "/v1/tasks/%s" % task, params={"wait": 30})))
    poll.start()
    with connected(node, pki, "localhost", ctx) as idle:
        ask(idle)
        began = time.monotonic()
        assert idle.recv(10) == b""  # after a notice, or this raises
        assert 0.9 < time.monotonic() - began < 15
    assert poll.is_alive() and not quiet.closed
    client().cancel(task)
    poll.join(30)
    assert waited and waited[0]["state"] == "cancelled"
    # little came in that time: the stream is there, and goes on
    deaf = Stream(url, key, last_id=quiet.last_id, tls=ctx, receive_buffer=4096, reads=False)
    db.rows("SELECT shoal.add_event(a.id, NULL, 5::smallint, NULL, NULL, NULL, 'note', repeat('x', 2000), NULL)"
            " FROM shoal.application a, generate_series(1, 6000) WHERE a.name = 'test'")
    quiet.wait(6000, at_most=60)
    node.wait_log('reason="reply not taken"', at_most=20)
    deaf.read().wait_closed(at_most=30)
    assert not deaf.ended and len(deaf.events) < 6000 and not quiet.closed
    quiet.close()
    deaf.close()

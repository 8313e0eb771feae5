# SPDX-License-Identifier: BSD-2-Clause
"""Attacks on the framing of HTTP, with raw sockets against a real node.

Whatever is ambiguous gets one answer of 4xx or 5xx and the connection's end: a proxy in front and
the node must never disagree on where a request ends.  The canary is a second request
hidden in the first one's body; it must never be run.
"""

import contextlib
import json
import os
import re
import socket
import time

import pytest
from shoaltest.standing import db, key, node  # noqa: F401

with open(os.path.join(os.path.dirname(__file__), "../../api/openapi.yaml")) as f:
    DOCUMENTED = f.read()

CANARY = b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{\"type\":\"shoal.noop\"}"


def talk(port, data, patience=3.0, pieces=None):
    """Everything that comes back until the node closes; and whether it did."""
    received = b""
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), 5)) as s:
        s.settimeout(patience)
        try:
            for piece in pieces or [data]:
                s.sendall(piece)
            while True:
                more = s.recv(65536)
                if not more:
                    return received, True
                received += more
        except socket.timeout:
            return received, False
        except (ConnectionResetError, BrokenPipeError):
            return received, True


def statuses(received):
    """The status codes of all answers in the bytes."""
    return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]


def request(headers, body=b"", line=b"POST /v1/tasks HTTP/1.1"):
    return line + b"\r\n" + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body


def hidden(key):
    return CANARY % key.encode()


ATTACKS = [
    ("two equal lengths", [b"Host: a", b"Content-Length: 5", b"Content-Length: 5"], b"hello"),
    ("two different lengths", [b"Host: a", b"Content-Length: 0", b"Content-Length: 200"], None),
    ("a list of lengths", [b"Host: a", b"Content-Length: 5, 5"], b"hello"),
    ("a length with a plus", [b"Host: a", b"Content-Length: +3"], b"abc"),
    ("a negative length", [b"Host: a", b"Content-Length: -1"], None),
    ("a hexadecimal length", [b"Host: a", b"Content-Length: 0x3"], b"abc"),
    ("a length of twenty digits", [b"Host: a", b"Content-Length: " + b"9" * 20], None),
    ("an empty length", [b"Host: a", b"Content-Length: "], None),
    ("length and chunked", [b"Host: a", b"Content-Length: 4", b"Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    ("chunked and length", [b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 4"], b"0\r\n\r\n"),
    ("chunked", [b"Host: a", b"Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    ("a coding of gzip", [b"Host: a", b"Transfer-Encoding: gzip"], None),
    ("a coding of identity", [b"Host: a", b"Transfer-Encoding: identity"], None),
    ("xchunked", [b"Host: a", b"Transfer-Encoding: xchunked"], None),
    ("a coding after a vertical tab", [b"Host: a", b"Transfer-Encoding: \x0bchunked"], b"0\r\n\r\n"),
    ("a space before the colon", [b"Host: a", b"Transfer-Encoding : chunked"], b"0\r\n\r\n"),
    ("a space before the length's colon", [b"Host: a", b"Content-Length : 0"], None),
    ("two codings", [b"Host: a", b"Transfer-Encoding: chunked, identity"], None),
    ("no host", [b"Content-Length: 0"], None),
    ("two hosts", [b"Host: a", b"Host: b", b"Content-Length: 0"], None),
    ("a host with a space", [b"Host: a b", b"Content-Length: 0"], None),
    ("an empty header name", [b"Host: a", b": x", b"Content-Length: 0"], None),
    ("a header without a colon", [b"Host: a", b"nonsense", b"Content-Length: 0"], None),
    ("a header name with a bracket", [b"Host: a", b"x[y]: 1", b"Content-Length: 0"], None),
    ("a bare carriage return", [b"Host: a", b"X: a\rContent-Length: 3"], None),
    ("another expectation", [b"Host: a", b"Expect: 200-ok", b"Content-Length: 0"], None),
    ("a connection that stays without a length", [b"Host: a", b"Connection: keep-alive"], None),
    ("more than a hundred headers", [b"Host: a"] + [b"X%d: 1" % n for n in range(150)], None),
    ("headers of 20 KiB", [b"Host: a", b"X: " + b"a" * 20480], None),
]


def assert_refused(received, closed, what):
    codes = statuses(received)
    assert closed, "%s: the connection stayed open after %r" % (what, received[:200])
    assert len(codes) <= 1, "%s: %d answers: %r" % (what, len(codes), received[:400])
    for code in codes:
        assert 400 <= code < 600, "%s: %r" % (what, received[:400])
    if codes:
        head, _, body = received.partition(b"\r\n\r\n")
        assert b"application/problem+json" in head, "%s: %r" % (what, received[:400])
        problem = json.loads(body)
        assert problem["status"] == codes[0] and problem["code"] in DOCUMENTED, problem


@pytest.fixture
def count(db, key):
    """of the application's tasks"""
    return lambda: db.value("SELECT count(*) FROM shoal.task t JOIN shoal.api_key k USING (app_id)"
                            " WHERE k.public_id = %s", key.split("_")[2])


@pytest.mark.parametrize("what,headers,body", ATTACKS, ids=[a[0] for a in ATTACKS])
def test_ambiguous_framing_is_refused_and_closed(node, key, count, what, headers, body):
    auth = [b"Authorization: Bearer " + key.encode(), b"Content-Type: application/json"]
    data = request(headers + auth, (body or b"") + hidden(key))
    received, closed = talk(node.app_port, data)
    assert_refused(received, closed, what)
    assert count() == 0, "the hidden request was run"


LINES = [
    ("a space in the path", b"GET /v1/ tasks HTTP/1.1"),
    ("a path of raw bytes", b"GET /v1/\xff\xfe HTTP/1.1"),
    ("an encoded NUL", b"GET /v1/%00 HTTP/1.1"),
    ("a broken escape", b"GET /v1/%zz HTTP/1.1"),
    ("an absolute target", b"GET http://b/v1/tasks HTTP/1.1"),
    ("dots in the path", b"GET /v1/../v1/tasks HTTP/1.1"),
    ("encoded dots", b"GET /v1/%2e%2e/health HTTP/1.1"),
    ("a NUL in the line", b"GET /v1/\x00 HTTP/1.1"),
    ("no version", b"GET /v1/tasks"),
    ("version 2", b"GET /v1/tasks HTTP/2.0"),
    ("a lower-case version", b"GET /v1/tasks http/1.1"),
    ("CONNECT", b"CONNECT a:80 HTTP/1.1"),
    ("TRACE", b"TRACE / HTTP/1.1"),
    ("two slashes", b"GET //v1/tasks HTTP/1.1"),
    ("two slashes alone", b"GET // HTTP/1.1"),
    ("an asterisk", b"OPTIONS * HTTP/1.1"),
    ("version 1.2", b"GET /v1/tasks HTTP/1.2"),
    ("a made-up method", b"GOT / HTTP/1.1"),
    ("a path of 10 KiB", b"GET /" + b"a" * 10240 + b" HTTP/1.1"),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0"),
    ("a TLS handshake", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
]


@pytest.mark.parametrize("what,line", LINES, ids=[x[0] for x in LINES])
def test_a_strange_request_line_is_refused(node, what, line):
    received, closed = talk(node.app_port, request([b"Host: a", b"Connection: close"], line=line))
    assert_refused(received, closed, what)


def test_a_header_with_a_nul_never_means_half_of_it(node, key, count):
    data = request([b"Host: a", b"X: a\x00b", b"Content-Length: 0"], hidden(key))
    received, _ = talk(node.app_port, data, patience=1)
    assert all(code >= 400 for code in statuses(received)[:1])


def test_two_honest_requests_on_one_connection_are_both_answered(node, key, count):
    received, _ = talk(node.app_port, hidden(key) + hidden(key), patience=2)
    assert statuses(received) == [201, 201], received
    assert count() == 2


def test_a_request_in_single_bytes_is_answered(node, key, count):
    data = hidden(key)
    received, _ = talk(
        node.app_port, None, patience=2, pieces=[data[i : i + 1] for i in range(len(data))]
    )
    assert statuses(received) == [201], received


def test_headers_that_do_not_end_are_cut_at_the_deadline(cluster):
    (node,) = cluster(1, http__header_timeout="1s")
    started = time.monotonic()
    with contextlib.closing(socket.create_connection(("127.0.0.1", node.app_port), 5)) as s:
        s.settimeout(0.3)
        s.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n")
        # a byte now and then must not buy time
        while time.monotonic() - started < 10:
            try:
                s.sendall(b"X")
                if s.recv(4096) == b"":
                    break
            except socket.timeout:
                continue
            except OSError:
                break
    assert time.monotonic() - started < 6


def test_a_body_that_does_not_come_is_cut_at_the_deadline(cluster, key):
    (node,) = cluster(1, http__body_timeout="1s")
    started = time.monotonic()
    head = request(
        [b"Host: a", b"Content-Type: application/json", b"Content-Length: 1000",
         b"Authorization: Bearer " + key.encode()]
    )
    received, closed = talk(node.app_port, head + b"{", patience=8)
    assert closed and time.monotonic() - started < 6
    assert not [c for c in statuses(received) if c < 400]


def test_attacks_do_not_wear_the_node_out(node, client, key):
    before = sorted(node.worker_pids())
    for what, headers, body in ATTACKS:
        talk(node.app_port, request(headers, (body or b"")), patience=0.5)
    assert client.run("shoal.echo", 1)["result"] == 1
    assert sorted(node.worker_pids()) == before

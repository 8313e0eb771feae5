# SPDX-License-Identifier: BSD-2-Clause
"""Behind proxies: whose word on the client counts, and what follows from it.

The address decides who sees the inside of a node without a token; access.networks has
127.0.0.0/8, where all of these tests come from.
"""

import contextlib
import json
import re
import socket
import ssl
import struct
import subprocess

import pytest
import requests
from shoaltest import process
from shoaltest.client import Client
from shoaltest.node import program, program_env
from shoaltest.pki import Pki

V2 = b"\r\n\r\n\0\r\nQUIT\n"


def v1(client):
    return b"PROXY TCP4 %s 127.0.0.1 40000 443\r\n" % client.encode()


def v2(client, tlv=b""):
    body = socket.inet_aton(client) + socket.inet_aton("127.0.0.1") + struct.pack(">HH", 40000, 443)
    return V2 + b"\x21\x11" + struct.pack(">H", len(body) + len(tlv)) + body + tlv


def talk(port, data, tls=None, head=b""):
    """What comes back until the node closes, b"" if nothing; head goes before the handshake."""
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        try:
            s.sendall(head)
            if tls is not None:
                s = tls.wrap_socket(s, server_hostname="a.example.com")
            s.sendall(data)
            received = b""
            while True:
                more = s.recv(65536)
                if not more:
                    return received
                received += more
        except ConnectionError:
            return b""
        except ssl.SSLError:
            return b""
        finally:
            with contextlib.suppress(OSError):
                s.close()


def get(path, *headers):
    return b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n" % (
        path.encode(), b"".join(h.encode() + b"\r\n" for h in headers))


def status(received):
    match = re.match(rb"HTTP/1\.1 (\d{3})", received)
    return int(match.group(1)) if match else 0


def metric(node, name):
    text = requests.get(
        node.dev_url + "/metrics", headers={"Authorization": "Bearer " + node.token}, timeout=20
    ).text
    return int(re.search(r"^shoal_%s (\d+)" % name, text, re.M).group(1))


def test_only_trusted_proxies_say_whose_request_it_is(cluster, key):
    node = cluster(1, node__workers=1, http__trusted_proxies="127.0.0.2, 10.9.0.0/16",
                   cluster__hostname="tasks.example.com")[0]

    def inside(*headers, source="127.0.0.1"):
        """May it see /metrics without a token?"""
        with socket.create_connection(
            ("127.0.0.1", node.dev_port), 20, source_address=(source, 0)
        ) as s:
            s.sendall(get("/metrics", *headers))
            received = b""
            while more := s.recv(65536):
                received += more
            return status(received) == 200

    # who is not trusted names nobody, neither for himself nor for another
    assert inside()
    assert not inside("X-Forwarded-For: 127.0.0.1")
    assert not inside("X-Forwarded-For: 203.0.113.7")
    # a proxy on the same machine has an address of access.networks: its clients have not
    assert not inside(source="127.0.0.2")
    assert not inside("X-Forwarded-For: 203.0.113.7", source="127.0.0.2")
    assert not inside("X-Forwarded-For: 127.0.0.1, 203.0.113.7", source="127.0.0.2")
    assert not inside("X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 203.0.113.7", source="127.0.0.2")
    assert not inside("X-Forwarded-For: nonsense", source="127.0.0.2")
    assert inside("X-Forwarded-For: 127.0.0.9", source="127.0.0.2")
    assert inside("X-Forwarded-For: 127.0.0.9, 10.9.0.1", source="127.0.0.2")
    assert inside("X-Forwarded-For: 127.0.0.9", "Via: 1.1 proxy", source="127.0.0.2")

    # links and HSTS are as the proxy says that the client came
    def made(*headers, source):
        body = b'{"type":"shoal.noop"}'
        with socket.create_connection(
            ("127.0.0.1", node.app_port), 20, source_address=(source, 0)
        ) as s:
            s.sendall(b"POST /v1/tasks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s"
                      b"Authorization: Bearer %s\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n%s"
                      % (b"".join(h.encode() + b"\r\n" for h in headers), key.encode(), len(body), body))
            received = b""
            while more := s.recv(65536):
                received += more
        head = received.decode()
        return re.search(r"Location: (.*)/v1/tasks/", head).group(1), "Strict-Transport" in head

    https = ("X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https")
    assert made(*https, source="127.0.0.2") == ("https://tasks.example.com", True)
    assert made(*https, "X-Forwarded-Port: 8443", source="127.0.0.2") == (
        "https://tasks.example.com:8443", True)
    assert made("X-Forwarded-Proto: http", "X-Forwarded-Port: 81", source="127.0.0.2") == (
        "http://tasks.example.com:81", False)
    assert made(*https, source="127.0.0.1") == ("", False)
    assert made(source="127.0.0.2") == ("", False)


def test_a_listener_for_proxies_takes_their_header_and_nothing_else(cluster, key, tmp_path):
    pki = Pki(str(tmp_path))
    chain, secret = pki.issue("a", ["a.example.com"])
    ports = [process.free_port() for _ in range(5)]
    node = cluster(
        1, node__workers=1, http__trusted_proxies="127.0.0.1", tls__handshake_timeout="2s",
        tls__certificates="%s %s" % (chain, secret),
        listen__developers="127.0.0.1:%d, 127.0.0.1:%d proxy, 127.0.0.1:%d tls proxy, 127.0.0.2:%d proxy,"
        " unix:%s/s proxy" % (ports[0], ports[1], ports[2], ports[3], tmp_path),
        ready=False,
    )[0]
    node.dev_port = ports[0]
    node.start_wait()
    plain, tls = ports[1], ports[2]
    ctx = ssl.create_default_context(cafile=pki.ca)
    ask = get("/metrics")
    for head, allowed in (
        (v1("203.0.113.7"), False), (v2("203.0.113.7"), False), (v2("203.0.113.7", b"\x04\0\x02ab"), False),
        (v1("127.0.0.9"), True), (V2 + b"\x20\0\0\0", False), (b"PROXY UNKNOWN\r\n", False),
    ):
        for port, how in ((plain, None), (tls, ctx)):
            received = talk(port, ask, how, head)
            assert status(received) == (200 if allowed else 403), (head, received[:200])
    # no word of a client of theirs is believed, though
    assert status(talk(plain, get("/metrics", "X-Forwarded-For: 127.0.0.9"), None, v1("203.0.113.7"))) == 403
    # split anywhere, and with the first request in the same piece
    with socket.create_connection(("127.0.0.1", plain), 20) as s:
        for byte in v1("203.0.113.7"):
            s.sendall(bytes([byte]))
        s.sendall(get("/health"))
        assert status(s.recv(65536)) == 200
    assert status(talk(plain, v2("203.0.113.7") + get("/health"))) == 200
    # kept alive: the address stays the connection's
    with socket.create_connection(("127.0.0.1", plain), 20) as s:
        s.sendall(v1("203.0.113.7"))
        for _ in range(3):
            s.sendall(get("/metrics").replace(b"Connection: close\r\n", b""))
            assert status(s.recv(65536)) == 403
    refused = metric(node, "proxy_refused_total")
    # what is no header, and what comes from elsewhere, is closed without a word
    for data in (get("/health"), b"PROXY TCP4 1.2.3.4\r\n" + get("/health"), V2 + b"\x31\x11\0\0",
                 b"\x16\x03\x01\x02\0"):
        assert talk(plain, data) == b""
        assert talk(tls, data) == b""
    node.wait_log("connection closed at a listener for proxies")
    assert metric(node, "proxy_refused_total") == refused + 8
    with socket.create_connection(("127.0.0.2", ports[3]), 20, source_address=("127.0.0.2", 0)) as s:
        s.sendall(v1("203.0.113.7") + get("/health"))
        with contextlib.suppress(ConnectionError):
            assert s.recv(10) == b""
    # half a header has its time
    with socket.create_connection(("127.0.0.1", plain), 20) as s:
        s.sendall(b"PROXY TCP4 203")
        s.settimeout(20)
        assert s.recv(10) == b""
    # a unix socket: whoever may open it may speak
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect("%s/s" % tmp_path)
        s.sendall(v1("127.0.0.9") + get("/metrics"))
        assert status(s.recv(65536)) == 200


HAPROXY = """
frontend clear
    mode tcp
    bind 127.0.0.1:{clear}
    default_backend tls
frontend forwarding
    bind 127.0.0.1:{forwarding}
    option forwardfor
    http-request set-header X-Forwarded-Proto https
    default_backend plain
frontend first
    mode tcp
    bind 127.0.0.1:{first}
    default_backend first
backend tls
    mode tcp
    server n 127.0.0.1:{tls} send-proxy-v2
backend first
    mode tcp
    server n 127.0.0.1:{proxy} send-proxy
backend plain
    server n 127.0.0.1:{plain}
"""


def test_behind_haproxy_a_client_has_its_own_address(cluster, haproxy, key, tmp_path):
    pki = Pki(str(tmp_path))
    chain, secret = pki.issue("localhost", ["localhost"])
    names = ("plain", "proxy", "tls", "clear", "forwarding", "first")
    ports = {name: process.free_port() for name in names}
    node = cluster(
        1, node__workers=1, http__trusted_proxies="127.0.0.1",
        tls__certificates="%s %s" % (chain, secret), access__networks="127.0.0.3/32",
        listen__applications="127.0.0.1:{plain}, 127.0.0.1:{proxy} proxy, 127.0.0.1:{tls} tls proxy"
        .format(**ports),
    )[0]
    node.app_port = ports["plain"]
    haproxy([node], check=False, more=HAPROXY.format(**ports))

    def detail(port, source, tls=False):
        """Does it see the detail of /ready?"""
        s = socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0))
        if tls:
            s = ssl.create_default_context(cafile=pki.ca).wrap_socket(s, server_hostname="localhost")
        with s:
            s.sendall(get("/ready"))
            received = b""
            while more := s.recv(65536):
                received += more
        head, _, body = received.partition(b"\r\n\r\n")
        assert (b"strict-transport-security" in head.lower()) == (port != ports["first"]), head
        return "workers" in json.loads(body)

    for source, expected in (("127.0.0.3", True), ("127.0.0.4", False)):
        assert detail(ports["clear"], source, tls=True) == expected
        assert detail(ports["forwarding"], source) == expected
        assert detail(ports["first"], source) == expected
    client = Client("https://localhost:%d" % ports["clear"], key)
    client.session.verify = pki.ca
    assert client.run("shoal.echo", {"through": "all"})["result"] == {"through": "all"}


@pytest.mark.parametrize("options,why", [
    (["listen.applications=127.0.0.1:1 tsl"], "'tsl' is not known behind an address: it may be tls, proxy or both"),
    (["listen.applications=127.0.0.1:1 tls"], "needs tls.certificates"),
    (["listen.developers=127.0.0.1:1 proxy"], "needs http.trusted_proxies"),
    (["http.trusted_proxies=10.0.0.1/8"], "bits set beyond its prefix length"),
    (["tls.client_certificates=required"], "needs tls.client_ca"),
])
def test_what_cannot_work_is_said_at_once(options, why):
    argv = program() + ["-c", "/dev/null", "-t"]
    for option in options:
        argv += ["-o", option]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          env=program_env(), check=False)
    assert done.returncode == 78 and why in done.stdout.decode(), done.stdout

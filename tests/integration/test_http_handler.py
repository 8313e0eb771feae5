# SPDX-License-Identifier: BSD-2-Clause
"""Tasks as requests: what an endpoint says decides, and no endpoint can do harm to others."""

import base64
import contextlib
import email.utils
import gzip
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from shoaltest import process
from shoaltest.client import Client
from shoaltest.waits import stays, wait_for

ONE = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
TWO = "whsec_" + base64.b64encode(bytes(range(100, 124))).decode()


class _Request:
    def __init__(self, handler, body, connection):
        self.path = handler.path
        self.headers = handler.headers
        self.body = body
        self.connection = connection


class Endpoint:
    """A server whose answers the test decides; it remembers every request and counts connections."""

    def __init__(self, host="127.0.0.1", tls=None):
        self.requests = []
        self.connections = 0
        self.answers = {}  # path: (status, headers, body), or a function of (handler, request)
        self.released = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                endpoint.connections += 1
                self.number = endpoint.connections
                super().setup()

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = _Request(self, body, self.number)
                endpoint.requests.append(request)
                answer = endpoint.answers.get(self.path, (404, {}, b""))
                if callable(answer):
                    answer = answer(self, request)
                if answer is not None:
                    self.answer(*answer)

            def answer(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, address):
                pass  # clients that go away are part of the test

        self.server = Server((host, 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = "%s://%s:%d" % ("https" if tls else "http", host, self.port)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def hold(self, handler, request):
        """Answers when the test says so."""
        self.released.wait(60)
        return 200, {}, b"null"

    def of(self, id):
        return [r for r in self.requests if r.headers["Shoal-Task-Id"] == id]

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def endpoint(aftermath):
    made = Endpoint()
    aftermath.callback(made.close)
    return made


@pytest.fixture
def start(cluster, key, endpoint):
    """start({type: path or URL, ...}, settings) is a client of a node with these http types."""

    def make(types, settings=None, **changes):
        values = {
            "egress.allow_networks": "127.0.0.0/8",
            "egress.ports": str(endpoint.port),
            "node.workers": 1,
        }
        for name, where in types.items():
            values["type:%s.handler" % name] = "http"
            values["type:%s.url" % name] = endpoint.url + where if where[0] == "/" else where
            values["type:%s.backoff" % name] = "fixed delay=100ms"
        values.update(settings or {})
        (node,) = cluster(1, settings=values, **changes)
        client = Client(node.url, key)
        client.node = node
        return client

    return make


def metric(client, name):
    text = requests.get(client.node.dev_url + "/metrics", timeout=5).text
    return int([line for line in text.splitlines() if line.startswith("shoal_%s " % name)][0].split()[1])


def signature(secret, request):
    text = b"%s.%s.%s" % (
        request.headers["Webhook-Id"].encode(), request.headers["Webhook-Timestamp"].encode(),
        request.body,
    )
    digest = hmac.new(base64.b64decode(secret[6:]), text, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def seconds_left(db, id):
    return db.rows(
        "SELECT date_part('epoch', due_at - now()) FROM shoal.task WHERE id = %s", id
    )[0][0]


# --------------------------------------------------------------------- what goes out


def test_a_task_is_a_signed_request_and_its_answer_the_result(start, endpoint):
    endpoint.answers["/hook?x=1"] = (200, {}, b' {"done": [1, 2]}\n')
    client = start({"hook": "/hook?x=1"}, {
        "type:hook.secret": ONE + " " + TWO,
        "type:hook.headers": '"Authorization: Bearer abc" "X-Stage: a b"',
    })
    payload = {"name": "\u00e9\u2713", "n": [1, None]}
    task = client.run("hook", payload)
    assert (task["state"], task["result"]) == ("succeeded", {"done": [1, 2]})
    (request,) = endpoint.requests
    assert json.loads(request.body) == payload
    h = request.headers
    assert h["Webhook-Id"] == h["Shoal-Task-Id"] == task["id"]
    assert h["Webhook-Signature"].split() == [signature(ONE, request), signature(TWO, request)]
    assert abs(int(h["Webhook-Timestamp"]) - time.time()) < 60
    assert (h["Shoal-Type"], h["Shoal-Attempt"]) == ("hook", "1")
    assert h["Shoal-Fence"].startswith("1-") and h["Shoal-Deadline"].endswith("Z")
    assert h["User-Agent"].startswith("shoal/") and h["Content-Type"] == "application/json"
    assert (h["Authorization"], h["X-Stage"]) == ("Bearer abc", "a b")
    assert "Expect" not in h and "Accept-Encoding" not in h
    # the operator sees neither secret nor headers
    shown = subprocess.run(
        [os.path.join(os.environ["SHOAL_BUILDDIR"], "shoald"), "-T", "-c", client.node.conf],
        stdout=subprocess.PIPE, check=True, timeout=20,
    ).stdout.decode()
    assert ONE[6:] not in shown and "Bearer" not in shown and "secret = ********" in shown
    assert ONE[6:] not in client.node.log() and "Bearer abc" not in client.node.log()


def test_receivers_of_the_standard_accept_the_signature(start, endpoint, standardwebhooks):
    node, home = standardwebhooks
    endpoint.answers["/hook"] = (204, {}, b"")
    client = start({"hook": "/hook"}, {"type:hook.secret": ONE + " " + TWO})
    assert client.run("hook", {"text": "\u00fcber \"x\""})["result"] is None
    (request,) = endpoint.requests
    program = (
        "const {Webhook} = require('standardwebhooks');"
        "const w = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "console.log(JSON.stringify(new Webhook(w.secret).verify(w.body, w.headers)));"
    )
    for secret in (ONE, TWO):
        said = subprocess.run(
            [node, "-e", program], cwd=home, stdout=subprocess.PIPE, check=True, timeout=30,
            input=json.dumps({
                "secret": secret, "body": request.body.decode(),
                "headers": {k.lower(): v for k, v in request.headers.items()},
            }).encode(),
        ).stdout
        assert json.loads(said) == {"text": "\u00fcber \"x\""}
    wrong = subprocess.run(
        [node, "-e", program], cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        check=False, timeout=30,
        input=json.dumps({
            "secret": "whsec_" + base64.b64encode(b"x" * 24).decode(), "body": request.body.decode(),
            "headers": {k.lower(): v for k, v in request.headers.items()},
        }).encode(),
    )
    assert wrong.returncode != 0 and b"No matching signature" in wrong.stderr


def test_each_answer_has_its_meaning(start, endpoint, db):
    later = email.utils.formatdate(time.time() + 3600, usegmt=True)
    cases = {
        # path: answer, state, result or code, message, seconds until the next attempt
        "/json": ((200, {}, b"[1]"), "succeeded", [1], None, None),
        "/text": ((200, {"Content-Type": "text/html"}, b"hi\n"), "succeeded", "hi", None, None),
        "/bytes": ((201, {}, b"\xff!"), "succeeded", "\ufffd!", None, None),
        "/none": ((204, {}, b""), "succeeded", None, None, None),
        "/large": ((200, {}, b"x" * 3000), "failed", "result_too_large", None, None),
        "/400": ((400, {}, b"no such \xff thing\n"), "failed", "http_400", "no such ? thing", None),
        "/404": ((404, {}, b""), "failed", "http_404", "the endpoint answered with status 404", None),
        "/302": ((302, {"Location": endpoint.url + "/json"}, b""), "failed", "http_302", None, None),
        "/500": ((500, {}, b"e" * 9000), "scheduled", "http_500", "e" * 4096, (30, 61)),
        "/429": ((429, {"Retry-After": "1800"}, b""), "scheduled", "http_429", None, (1700, 1801)),
        "/503": ((503, {"Retry-After": later}, b""), "scheduled", "http_503", None, (3400, 3601)),
        "/408": ((408, {"Retry-After": "99999999"}, b""), "scheduled", "http_408", None, (86000, 86401)),
        "/425": ((425, {"Retry-After": "soon"}, b""), "scheduled", "http_425", None, (30, 61)),
    }
    for path, case in cases.items():
        endpoint.answers[path] = case[0]
    types = {"t" + path[1:]: path for path in cases}
    settings = {"type:tlarge.max_output": "1KiB"}
    settings.update({"type:%s.backoff" % name: "fixed delay=1min" for name in ("t500", "t425")})
    client = start(types, settings)
    ids = {path: client.submit("t" + path[1:])["id"] for path in cases}
    for path, (_, state, expected, message, wait) in cases.items():
        task = client.wait_state(ids[path], state)
        if state == "succeeded":
            assert task["result"] == expected, path
            continue
        assert task["error"]["code"] == expected, path
        if message:
            assert task["error"]["message"] == message, path
        if wait:
            left = seconds_left(db, ids[path])
            assert wait[0] <= left <= wait[1], (path, left)
    # nobody followed the redirect
    assert len(endpoint.of(ids["/302"])) == 1
    assert all(r.path != "/json" for r in endpoint.of(ids["/302"]))
    assert metric(client, "egress_requests_total") >= len(cases)
    assert metric(client, "egress_faults_total") == 0


# --------------------------------------------------------------------- what goes wrong


def test_faults_are_tried_again_and_told_without_detail(start, endpoint, aftermath):
    silent = socket.create_server(("127.0.0.1", 0))  # accepts, and says nothing
    aftermath.callback(silent.close)
    nobody = process.free_port()

    def drip(handler, request):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not endpoint.released.wait(0.05):
            handler.wfile.write(b"x")

    def stall(handler, request):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        endpoint.released.wait(60)

    def cut(handler, request):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx")
        handler.close_connection = True

    endpoint.answers.update({"/drip": drip, "/stall": stall, "/cut": cut})
    types = {
        "drip": "/drip", "stall": "/stall", "cut": "/cut",
        "silent": "http://127.0.0.1:%d/" % silent.getsockname()[1],
        "nobody": "http://127.0.0.1:%d/" % nobody,
        "unknown": "http://nobody.invalid:%d/" % nobody,
    }
    settings = {
        "egress.ports": ",".join(map(str, (endpoint.port, silent.getsockname()[1], nobody))),
        "egress.idle_timeout": "300ms", "egress.connect_timeout": "1s",
    }
    settings.update({"type:%s.timeout" % name: "700ms" for name in types})
    settings["type:cut.timeout"] = settings["type:nobody.timeout"] = "5s"
    client = start(types, settings)
    expected = {
        "drip": "timeout", "stall": "timeout", "cut": "broken_answer", "silent": "timeout",
        "nobody": "connect_failed", "unknown": "connect_failed",
    }
    ids = {name: client.submit(name, max_attempts=2)["id"] for name in expected}
    for name, code in expected.items():
        task = client.wait(ids[name])
        assert (task["state"], task["error"]["code"], task["attempt"]) == ("failed", code, 2), name
    told = {client.get(ids[name])["error"]["message"] for name in ("nobody", "unknown")}
    assert told == {"the endpoint cannot be reached"}
    assert metric(client, "egress_faults_total") == 2 * len(expected)


def test_answers_without_end_and_compressed_ones_are_bounded(start, endpoint):
    def endless(text):
        def answer(handler, request):
            while not endpoint.released.is_set():
                handler.wfile.write(text)  # ends when the node has hung up

        return answer

    bomb = gzip.compress(bytes(20 * 1024 * 1024))
    endpoint.answers.update({
        "/interim": endless(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 50),
        "/heads": endless(b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * 50),
        "/line": endless(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 8192),
        "/body": endless(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 8192),
        "/bomb": (200, {"Content-Encoding": "gzip"}, bomb),
    })
    client = start({path[1:]: path for path in endpoint.answers})
    ids = {path[1:]: client.submit(path[1:], max_attempts=1)["id"] for path in endpoint.answers}
    tasks = {name: client.wait(id) for name, id in ids.items()}
    assert {name: task["state"] for name, task in tasks.items() if name != "bomb"} == dict.fromkeys(
        ("interim", "heads", "line", "body"), "failed")
    assert {tasks[name]["error"]["code"] for name in ("interim", "heads", "line")} == {"broken_answer"}
    assert tasks["body"]["error"]["code"] == "result_too_large"
    # what was compressed stays so: the result is as large as what was sent
    assert tasks["bomb"]["state"] == "succeeded" and len(tasks["bomb"]["result"]) <= len(bomb)


class Wire:
    """Writes bytes of the test's as they are; behind an answer it closes the connection, unless told otherwise."""

    def __init__(self):
        self.scripts = {}  # path: bytes, or a function of (connection, number of the request on it)
        self.requests = []  # path, number of its connection
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection, self.connections), daemon=True).start()

    def serve(self, connection, number):
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as stream:
            count = 0
            while line := stream.readline():
                path, count, length = line.split()[1].decode(), count + 1, 0
                self.requests.append((path, number))
                script = self.scripts[path]
                while (header := stream.readline()) not in (b"\r\n", b""):
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                if callable(script) and script(connection, count):
                    stream.read(length)
                    continue
                stream.read(length)
                if not callable(script):
                    connection.sendall(script)
                return

    def close(self):
        self.listener.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def refusal(status, more=b""):
    return b"HTTP/1.1 %s No\r\n%sContent-Length: 0\r\n\r\n" % (status, more)


def test_answers_that_are_none_and_odd_ones(start, endpoint, aftermath, db):
    """What a server can do to a connection; each answer is told once, by its meaning or as no answer."""
    wire = Wire()
    aftermath.callback(wire.close)

    def early(connection, _):
        connection.sendall(refusal(b"422"))  # nothing of the body was read
        return True

    def keep(connection, _):
        connection.sendall(OK + b"6")
        return True

    def close_the_used(connection, count):
        if count == 1:
            connection.sendall(OK + b"7")
        return False

    answered = {
        "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"1", 1),
        "toend": (b"HTTP/1.1 200 OK\r\n\r\n[2]", [2]),  # no length: the end of the connection is the end
        "old": (b"HTTP/1.0 200 OK\r\n\r\n[3]", [3]),
        "longer": (OK + b"4" + OK + b"5", 4),  # what is behind the body is nobody's answer
        "nobody": (b"HTTP/1.1 204 None\r\n\r\n", None),
        "chunks": (CHUNKED + b"1\r\n[\r\n2;a=b\r\n5]\r\n0\r\nX-Trailer: 1\r\n\r\n", [5]),
    }
    refused = {
        "early": (early, "http_422"),
        **{"s%d" % n: (refusal(b"%d" % n), "http_%d" % n) for n in (300, 401, 403, 409)},
    }
    again = {
        "s599": (refusal(b"599"), "http_599"),
        "s600": (refusal(b"600"), "http_600"),
        "shorter": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[1]", "broken_answer"),
        "cutchunk": (CHUNKED + b"5\r\n[1", "broken_answer"),
        "cutchunks": (CHUNKED + b"3\r\n[1]\r\n", "broken_answer"),
        "nochunk": (CHUNKED + b"many\r\n[1]\r\n0\r\n\r\n", "broken_answer"),
        "cuthead": (b"HTTP/1.1 200 OK\r\nContent-Le", "broken_answer"),
        "s099": (refusal(b"099"), "broken_answer"),
        "s99": (refusal(b"99"), "broken_answer"),
        "http09": (b"[1]\r\n", "broken_answer"),
        "nothing": (b"", "broken_answer"),
        "onlyinterim": (b"HTTP/1.1 100 Continue\r\n\r\n", "broken_answer"),
        "headers": (b"HTTP/1.1 200 OK\r\n" + b"X-More: x\r\n" * 10000 + b"\r\n", "broken_answer"),
        "header": (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * (1 << 20) + b"\r\n\r\n", "broken_answer"),
    }
    waits = {
        "negative": (refusal(b"503", b"Retry-After: -5\r\n"), (30, 61)),  # as if it said nothing
        "past": (refusal(b"429", b"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), (-60, 2)),
        "huge": (refusal(b"429", b"Retry-After: 99999999999999999999\r\n"), (86000, 86401)),
    }
    wire.scripts = {"/" + name: case[0] for name, case in {**answered, **refused, **again, **waits}.items()}
    wire.scripts.update({"/keep": keep, "/used": close_the_used})
    types = {path[1:]: wire.url + path for path in wire.scripts}
    settings = {"egress.ports": wire.url.rpartition(":")[2], "egress.per_destination": 64}
    settings.update({"type:%s.backoff" % name: "fixed delay=1min" for name in waits})
    client = start(types, settings)
    ids = {name: client.submit(name, "x" * 200000 if name == "early" else None, max_attempts=2)["id"]
           for name in {**answered, **refused, **again, **waits}}
    expected = {name: ("succeeded", result, 1) for name, (_, result) in answered.items()}
    expected.update((name, ("failed", code, 1)) for name, (_, code) in refused.items())
    expected.update((name, ("failed", code, 2)) for name, (_, code) in again.items())
    found = {}
    for name in expected:
        task = client.wait(ids[name])
        told = task["error"]["code"] if task["error"] else task["result"]
        found[name] = (task["state"], told, task["attempt"])
    assert found == expected
    for name, (_, (least, most)) in waits.items():
        client.wait_state(ids[name], "scheduled", "queued", "running", "failed")
        if name != "past":
            assert least <= seconds_left(db, ids[name]) <= most, name
    # it comes again after a second, and fails
    assert client.wait(ids["past"])["attempt"] == 2
    assert metric(client, "egress_faults_total") == 2 * sum(code == "broken_answer" for _, code in again.values())

    # A connection is kept, and the server closes it as it reads the next request: that costs no attempt.
    assert client.run("keep")["result"] == 6
    task = client.run("used")
    assert (task["state"], task["result"], task["attempt"]) == ("succeeded", 7, 1), wire.requests[-3:]
    used = [number for path, number in wire.requests if path == "/used"]
    assert used[0] == [number for path, number in wire.requests if path == "/keep"][-1] and len(used) == 2


def test_addresses_inside_are_out_of_reach_by_default(start, endpoint, db):
    client = start({"inside": "http://localhost:%d/hook" % endpoint.port}, {"egress.allow_networks": ""})
    task = client.run("inside", max_attempts=2)
    # the same words as for an endpoint where nobody listens
    assert (task["state"], task["error"]["code"]) == ("failed", "connect_failed")
    assert task["error"]["message"] == "the endpoint cannot be reached"
    assert endpoint.connections == 0
    assert metric(client, "egress_blocked_total") == 2
    client.node.wait_log("127.0.0.1:%d is " % endpoint.port)


def test_settings_that_cannot_be_right_are_refused():
    def complaint(**changes):
        options = {
            "type:x.handler": "http", "type:x.url": "https://example.com/hook",
        }
        options.update({k.replace("__", "."): v for k, v in changes.items()})
        argv = [os.path.join(os.environ["SHOAL_BUILDDIR"], "shoald"), "-c", "/dev/null", "-t"]
        for k, v in options.items():
            argv += ["-o", "%s=%s" % (k.replace("type.", "type:"), v)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20,
                              check=False)
        return None if done.returncode == 0 else done.stdout.decode()

    assert complaint() is None
    assert complaint(**{"type.x.secret": ONE + " " + TWO}) is None
    for changes, words in [
        ({"type.x.url": ""}, "type:x.url is missing"),
        ({"type.x.url": "ftp://example.com/"}, "must begin with https:// or http://"),
        ({"type.x.url": "https://user@example.com/"}, "user name"),
        ({"type.x.url": "https://10.0.0.1/"}, "egress.allow_networks can allow it"),
        ({"type.x.url": "https://169.254.169.254/"}, "cloud metadata"),
        ({"type.x.url": "https://example.com:9999/"}, "port 9999 is not in egress.ports"),
        ({"type.x.secret": "hunter2"}, "a secret must be whsec_"),
        ({"type.x.headers": '"Host: inside"'}, "the header host is not yours to set"),
        ({"type.x.headers": "novalue"}, "Name: value"),
        ({"type.x.command": "/bin/true"}, "type:x.command is for exec and stream types"),
        ({"type.x.timeout": "50ms"}, "100ms at least"),
        ({"type.x.handler": "exec", "type.x.command": "/bin/true"}, "type:x.url is for http types"),
        ({"egress__allow_networks": "10.0.0.1/8"}, "bits set beyond"),
        ({"egress__deny_networks": "x"}, "egress: deny_networks"),
        ({"egress__ports": "http"}, "egress: ports"),
        ({"egress__ca_file": "ca.pem"}, "absolute path"),
        ({"egress__ca_file": "/nowhere/ca.pem"}, "No such file"),
    ]:
        said = complaint(**changes)
        assert said is not None and words in said, (changes, said)
        assert "hunter2" not in said


@pytest.fixture
def authority(nodedir):
    """ca.pem, and by it "good" for 127.0.0.1 and "other" for elsewhere; "self" has signed itself."""

    def openssl(*args):
        subprocess.run(("openssl",) + args, check=True, cwd=nodedir, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=test authority")
    for name, where in (("good", "IP:127.0.0.1"), ("other", "DNS:elsewhere.example")):
        with open(os.path.join(nodedir, name + ".ext"), "w") as f:
            f.write("subjectAltName=%s\n" % where)
        openssl("req", *new, "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=" + name)
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                "-CAcreateserial", "-out", name + ".pem", "-days", "2", "-extfile", name + ".ext")
    openssl("req", "-x509", *new, "-keyout", "self.key", "-out", "self.pem", "-days", "2",
            "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    return nodedir


def test_certificates_are_verified(start, endpoint, aftermath, authority):
    servers = {}
    for name in ("good", "other", "self"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(authority, name + ".pem"), os.path.join(authority, name + ".key"))
        servers[name] = Endpoint(tls=context)
        servers[name].answers["/"] = (200, {}, b"1")
        aftermath.callback(servers[name].close)
    types = {name: server.url + "/" for name, server in servers.items()}
    types["plain"] = "https://127.0.0.1:%d/" % endpoint.port  # speaks no TLS
    client = start(types, {
        "egress.ca_file": os.path.join(authority, "ca.pem"),
        "egress.ports": ",".join(str(s.port) for s in list(servers.values()) + [endpoint]),
    })
    for name in types:
        task = client.run(name, max_attempts=1)
        if name == "good":
            assert (task["state"], task["result"]) == ("succeeded", 1)
        else:
            assert (task["state"], task["error"]["code"]) == ("failed", "tls_failed"), name
    assert not servers["other"].requests and not servers["self"].requests


def test_http_2_is_spoken_where_it_is_offered(start, authority, aftermath):
    server = process.start(
        [shutil.which("node"), "-e", """
            const http2 = require('http2'), fs = require('fs');
            const server = http2.createSecureServer({
                key: fs.readFileSync('good.key'), cert: fs.readFileSync('good.pem')});
            let sessions = 0;
            server.on('session', () => { sessions++; });
            server.on('stream', (stream, headers) => {
                stream.respond({':status': 200});
                stream.end(JSON.stringify({id: headers['webhook-id'], sessions}));
            });
            server.listen(0, '127.0.0.1', () => console.log(server.address().port));
        """], cwd=authority, stdout=subprocess.PIPE,
    )
    aftermath.callback(server.wait)
    aftermath.callback(server.kill)
    port = int(server.stdout.readline())
    client = start({"two": "https://127.0.0.1:%d/hook" % port}, {
        "egress.ca_file": os.path.join(authority, "ca.pem"), "egress.ports": str(port),
    })
    # one after the other: over one connection
    for _ in range(3):
        task = client.run("two")
        assert task["result"] == {"id": task["id"], "sessions": 1}


# --------------------------------------------------------------------- many, and their ends


def test_connections_are_kept_and_shared(start, endpoint):
    endpoint.answers["/hook"] = (200, {}, b"null")
    client = start({"hook": "/hook"}, {"egress.per_destination": 4})
    ids = [t["id"] for t in client.batch([{"type": "hook"}] * 100)]
    for id in ids:
        assert client.wait(id)["state"] == "succeeded"
    assert len({r.headers["Webhook-Id"] for r in endpoint.requests}) == 100
    assert endpoint.connections <= 4


def test_cancel_ends_the_request(start, endpoint):
    closed = threading.Event()

    def wait_for_close(handler, request):
        handler.connection.settimeout(30)
        if handler.rfile.read(1) == b"":
            closed.set()

    endpoint.answers["/hook"] = wait_for_close
    client = start({"hook": "/hook"})
    id = client.submit("hook")["id"]
    wait_for(lambda: endpoint.of(id), what="the request")
    client.cancel(id, expect=(200, 202))
    assert client.wait(id)["state"] == "cancelled"
    assert closed.wait(10)


def test_a_silent_endpoint_takes_only_its_own_places(start, endpoint):
    endpoint.answers.update({"/slow": endpoint.hold, "/fast": (200, {}, b"null")})
    other = Endpoint()
    other.answers["/fast"] = (200, {}, b"null")
    try:
        client = start({"slow": "/slow", "fast": other.url + "/fast"}, {
            "egress.ports": "%d,%d" % (endpoint.port, other.port),
            "egress.per_destination": 4, "node.slots": 16,
        })
        slow = [t["id"] for t in client.batch([{"type": "slow"}] * 40)]
        wait_for(lambda: len(endpoint.requests) == 4, what="all of its places taken")
        for type in ("fast", "shoal.noop"):
            for t in client.batch([{"type": type}] * 100):
                assert client.wait(t["id"], at_most=20)["state"] == "succeeded"
        assert len(endpoint.requests) == 4
        endpoint.released.set()
        for id in slow:
            assert client.wait(id)["state"] == "succeeded"
    finally:
        other.close()


def test_types_share_a_servers_places(start, endpoint):
    endpoint.answers.update({"/a": endpoint.hold, "/b": endpoint.hold})
    client = start({"a": "/a", "b": "/b"}, {"egress.per_destination": 3})
    ids = [t["id"] for t in client.batch([{"type": "a"}, {"type": "b"}] * 6)]
    wait_for(lambda: len(endpoint.requests) == 3, what="three requests")
    wait_for(lambda: metric(client, "tasks_running") == 6, what="both types' places taken")
    # one that waits for its turn is cancelled without ever being sent
    waiting = [i for i in ids if client.get(i)["state"] == "running" and not endpoint.of(i)][0]
    client.cancel(waiting, expect=(200, 202))
    assert client.wait(waiting)["state"] == "cancelled"
    assert len(endpoint.requests) == 3
    endpoint.released.set()
    for id in ids:
        assert client.wait(id)["state"] == ("cancelled" if id == waiting else "succeeded")
    assert not endpoint.of(waiting)


def test_a_broken_endpoint_is_left_alone_and_tried_with_one(start, endpoint, db):
    endpoint.answers.update({"/hook": (500, {}, b""), "/well": (200, {}, b"null")})
    client = start({"hook": "/hook", "well": "/well"}, {
        "egress.breaker_faults": 3, "egress.breaker_pause": "1500ms",
        "type:hook.backoff": "fixed delay=1h",
    })
    ids = [t["id"] for t in client.batch([{"type": "hook", "max_attempts": 5}] * 30)]
    wait_for(lambda: metric(client, "egress_breakers_open") == 1, what="the breaker opens")
    sent = len([r for r in endpoint.requests if r.path == "/hook"])
    assert 3 <= sent <= 32  # those that were under way
    # what was not sent waits without cost; other endpoints of the same server go on
    assert client.run("well")["state"] == "succeeded"
    states = [client.get(i) for i in ids]
    assert sorted({t["state"] for t in states}) in (["queued", "scheduled"], ["scheduled"])
    more = [t["id"] for t in client.batch([{"type": "hook"}] * 5)]
    endpoint.answers["/hook"] = (200, {}, b"null")
    for id in more:
        assert client.wait(id)["state"] == "succeeded"
        assert db.rows("SELECT failures FROM shoal.task WHERE id = %s", id) == [(0,)]
    wait_for(lambda: metric(client, "egress_breakers_open") == 0, what="the breaker closes")
    for id in ids:
        task = client.get(id)
        assert task["state"] in ("succeeded", "scheduled") and len(endpoint.of(id)) <= 1


def test_while_half_open_only_one_request_goes(start, endpoint):
    endpoint.answers["/hook"] = (503, {}, b"")
    client = start({"hook": "/hook"}, {
        "egress.breaker_faults": 1, "egress.breaker_pause": "300ms",
        "type:hook.backoff": "fixed delay=1h", "type:hook.concurrency": 8,
    })
    first = client.submit("hook", max_attempts=5)["id"]
    client.wait_state(first, "scheduled")
    endpoint.answers["/hook"] = endpoint.hold
    ids = [t["id"] for t in client.batch([{"type": "hook"}] * 20)]
    wait_for(lambda: len(endpoint.requests) == 2, what="one is tried")
    stays(lambda: len(endpoint.requests) == 2, 1)
    endpoint.released.set()
    for id in ids:
        assert client.wait(id)["state"] == "succeeded"


def test_an_endpoint_that_is_gone_is_left_alone_for_long(start, endpoint):
    endpoint.answers["/hook"] = (410, {}, b"moved away")
    client = start({"hook": "/hook"}, {"type:hook.concurrency": 1, "egress.breaker_pause": "100ms"})
    task = client.run("hook")
    assert (task["state"], task["error"]["code"], task["error"]["message"]) == (
        "failed", "http_410", "moved away")
    client.node.wait_log("an endpoint says that it is gone for good")
    id = client.submit("hook")["id"]
    assert client.run("shoal.noop")["state"] == "succeeded"
    stays(lambda: client.get(id)["state"] == "queued" and len(endpoint.requests) == 1, 1)


def test_a_killed_workers_request_is_sent_again(start, endpoint):
    endpoint.answers["/hook"] = endpoint.hold
    client = start({"hook": "/hook"})
    id = client.submit("hook")["id"]
    wait_for(lambda: endpoint.of(id), what="the request")
    client.node.kill_worker(sig=signal.SIGKILL)
    wait_for(lambda: len(endpoint.of(id)) == 2, at_most=20, what="the request again")
    endpoint.released.set()
    assert client.wait(id)["state"] == "succeeded"
    first, second = endpoint.of(id)
    # the same delivery, another attempt
    assert first.headers["Webhook-Id"] == second.headers["Webhook-Id"]
    assert (first.headers["Shoal-Attempt"], second.headers["Shoal-Attempt"]) == ("1", "2")
    assert first.headers["Shoal-Fence"] != second.headers["Shoal-Fence"]


def test_a_leaving_worker_gives_requests_back(start, endpoint, db):
    endpoint.answers["/hook"] = endpoint.hold
    client = start({"hook": "/hook"}, {"egress.per_destination": 2, "node.shutdown_timeout": "500ms"})
    ids = [t["id"] for t in client.batch([{"type": "hook"}] * 5)]
    wait_for(lambda: len(endpoint.requests) == 2, what="two requests")
    assert client.node.stop() == 0
    rows = db.rows("SELECT state, failures FROM shoal.task ORDER BY id")
    assert rows == [(1, 0)] * len(ids)
    assert len(endpoint.requests) == 2  # those that waited were not sent on the way out

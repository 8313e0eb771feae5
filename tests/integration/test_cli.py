# SPDX-License-Identifier: BSD-2-Clause
"""shoal, the client: what it prints, and the exit status that scripts rely on.

The first half talks to a server of its own that answers as told, the second half to real nodes.
"""

import http.server
import json
import re
import signal
import ssl
import subprocess
import threading
import time

import pytest
from shoaltest import certificates, process
from shoaltest.node import DIRTY, program, program_env
from shoaltest.waits import wait_for

OK, FAILED, NOT_FOUND, USAGE, UNAVAILABLE, TIMEOUT, DENIED = 0, 1, 2, 64, 69, 75, 77
ID = "01900000-0000-7000-8000-000000000001"


class Done:
    def __init__(self, process_done):
        self.status = process_done.returncode
        self.out = process_done.stdout.decode()
        self.err = process_done.stderr.decode()
        assert not DIRTY.search(self.err), self.err

    @property
    def json(self):
        return json.loads(self.out)


def shoal(*words, env=None, text=None, timeout=30):
    clean = {k: v for k, v in program_env().items() if not k.startswith("SHOAL_")}
    clean.update(env or {})
    return Done(subprocess.run(
        program("shoal") + list(words), env=clean, timeout=timeout, check=False,
        input=None if text is None else text.encode(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL if text is None else None,
    ))


class Stub:
    """Answers as told, one (status, body, headers) a request; the last one again and again."""

    def __init__(self, port=0, tls=None):
        stub = self
        self.answers = [(200, {}, {})]
        self.requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("Content-Length", 0))
                stub.requests.append(
                    (self.command, self.path, dict(self.headers), self.rfile.read(length).decode())
                )
                status, body, headers = stub.next(self.path)
                if status is None:
                    self.close_connection = True
                    return
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Transfer-Encoding" not in headers:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.handle_error = lambda *_: None  # a client that hangs up is no news
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.env = {
            "SHOAL_URL": "http%s://127.0.0.1:%d" % ("s" if tls else "", self.port),
            "SHOAL_API_KEY": "k1",
        }
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def next(self, _path):
        if len(self.answers) > 1:
            return self.answers.pop(0)
        return self.answers[0]

    def say(self, *answers):
        self.answers = [(tuple(a) + ({},))[:3] for a in answers]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def stub():
    server = Stub()
    yield server
    server.close()


def task(state, **more):
    return dict({"id": ID, "type": "t", "queue": "default", "state": state, "attempt": 1}, **more)


def problem(status, code):
    return (status, {"title": "T", "status": status, "code": code, "detail": "Some detail."})


# ---- against the stub


def test_submit_prints_the_id_and_sends_what_was_said(stub):
    stub.say((201, task("queued")))
    done = shoal(
        "submit", "thumbnail", '{"a": 1.0,"b":[1e3]}', "--queue", "mail", "-p", "3", "--delay",
        "1500ms", "--timeout", "2min", "--max-attempts=4", "--metadata", '{"m":1}', env=stub.env,
    )
    assert (done.status, done.out) == (OK, ID + "\n"), done.err
    method, path, headers, body = stub.requests[0]
    assert (method, path) == ("POST", "/v1/tasks")
    assert headers["Authorization"] == "Bearer k1"
    assert headers["Host"] == "127.0.0.1:%d" % stub.port
    assert '"payload":{"a": 1.0,"b":[1e3]}' in body  # byte for byte
    assert json.loads(body) == {
        "type": "thumbnail", "payload": {"a": 1.0, "b": [1000.0]}, "queue": "mail", "priority": 3,
        "delay": 1.5, "timeout": 120, "max_attempts": 4, "metadata": {"m": 1},
    }


def test_a_payload_comes_from_standard_input_too(stub):
    stub.say((201, task("queued")))
    assert shoal("submit", "t", "-", env=stub.env, text=' {"big": true}\n').status == OK
    assert json.loads(stub.requests[0][3]) == {"type": "t", "payload": {"big": True}}


def test_what_is_no_json_is_refused_before_it_is_sent(stub):
    done = shoal("submit", "t", "hello", env=stub.env)
    assert done.status == USAGE and "not JSON" in done.err
    assert stub.requests == []


@pytest.mark.parametrize(
    "answer,status",
    [
        (problem(400, "invalid_field"), FAILED),
        (problem(401, "unauthorized"), DENIED),
        (problem(403, "forbidden"), DENIED),
        (problem(404, "not_found"), NOT_FOUND),
        (problem(429, "too_many"), UNAVAILABLE),
        (problem(503, "unavailable"), UNAVAILABLE),
        ((502, b"<html>bad gateway</html>"), UNAVAILABLE),
    ],
)
def test_a_refusal_is_one_line_and_a_status(stub, answer, status):
    stub.say(answer)
    done = shoal("get", ID, env=stub.env)
    assert done.status == status
    assert done.out == ""
    assert done.err.count("\n") == 1 and str(answer[0]) in done.err
    if isinstance(answer[1], dict):
        assert answer[1]["code"] in done.err and "Some detail." in done.err


def test_with_json_the_problem_is_passed_through(stub):
    stub.say(problem(404, "not_found"))
    done = shoal("get", ID, "--json", env=stub.env)
    assert done.status == NOT_FOUND
    assert done.json["code"] == "not_found"


def test_nothing_from_outside_reaches_the_terminal_raw(stub):
    stub.say((200, task("failed", error={"code": "x", "message": "\x1b[2Jgone\nline"})))
    for words in (["get", ID], ["wait", ID]):
        done = shoal(*words, env=stub.env)
        assert "\x1b" not in done.out + done.err
        assert "gone" in done.out + done.err


def test_wait_prints_the_result_and_follows_the_outcome(stub):
    stub.say((200, task("running")), (200, task("succeeded", result={"n": 1})))
    done = shoal("wait", ID, env=stub.env)
    assert (done.status, done.out) == (OK, '{"n":1}\n')
    assert all(r[1].startswith("/v1/tasks/%s?wait=" % ID) for r in stub.requests)
    stub.say((200, task("failed", error={"code": "exit", "message": "status 3"})))
    done = shoal("wait", ID, env=stub.env)
    assert (done.status, done.out) == (FAILED, "")
    assert "exit: status 3" in done.err


def test_wait_gives_up_at_its_time(stub):
    stub.say((200, task("running")))
    began = time.monotonic()
    done = shoal("wait", ID, "--timeout", "200ms", env=stub.env)
    assert done.status == TIMEOUT
    assert time.monotonic() - began >= 0.2


def test_wait_survives_a_node_that_is_restarted(stub):
    stub.say((None, b""), problem(503, "draining"), (200, task("succeeded", result=7)))
    done = shoal("wait", ID, env=stub.env)
    assert (done.status, done.out) == (OK, "7\n")


def test_submit_that_waits_goes_on_waiting_where_the_answer_ends(stub):
    stub.say((202, task("running")), (200, task("succeeded", result="x")))
    done = shoal("submit", "t", "--wait", env=stub.env)
    assert (done.status, done.out) == (OK, '"x"\n')
    assert stub.requests[0][1].startswith("/v1/tasks?wait=")
    assert stub.requests[1][1].startswith("/v1/tasks/" + ID)


def test_an_answer_that_never_came_leaves_the_outcome_open(stub):
    stub.say((None, b""))
    done = shoal("submit", "t", env=stub.env)
    assert done.status == UNAVAILABLE
    assert "may or may not have been accepted" in done.err
    assert len(stub.requests) == 1


def test_an_answer_in_chunks_is_refused(stub):
    stub.say((200, b"2\r\n{}\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"}))
    assert shoal("get", ID, env=stub.env).status == FAILED


def test_list_follows_pages_short_ones_too(stub):
    page = [task("queued", id="%036d" % n, created_at="2026-01-01T00:00:00Z") for n in range(3)]
    stub.say(
        (200, {"tasks": page[:2], "next_cursor": "a&b"}),
        (200, {"tasks": [], "next_cursor": "c"}),
        (200, {"tasks": page[2:], "next_cursor": None}),
    )
    done = shoal("list", "--all", "--state", "queued", env=stub.env)
    assert done.status == OK
    assert len(done.out.splitlines()) == 4
    paths = [r[1] for r in stub.requests]
    assert paths == [
        "/v1/tasks?limit=100&state=queued",
        "/v1/tasks?limit=100&state=queued&cursor=a%26b",
        "/v1/tasks?limit=100&state=queued&cursor=c",
    ]


def test_list_takes_no_more_than_its_limit(stub):
    stub.say((200, {"tasks": [task("queued")] * 5, "next_cursor": "more"}))
    done = shoal("list", "-n", "5", "--json", env=stub.env)
    assert done.status == OK and len(stub.requests) == 1
    assert len(done.json["tasks"]) == 5


def test_a_key_file_stands_for_the_variable(stub, tmp_path):
    path = tmp_path / "key"
    path.write_text("from-a-file\n")
    stub.say((200, task("queued")))
    shoal("get", ID, "--key-file", str(path), env=stub.env)
    assert stub.requests[0][2]["Authorization"] == "Bearer from-a-file"


def test_without_a_node_it_says_what_to_check():
    done = shoal("get", ID, env={"SHOAL_URL": "http://127.0.0.1:%d" % process.free_port()})
    assert done.status == UNAVAILABLE
    assert "refused" in done.err and "is a node up there" in done.err
    assert shoal("get", ID).status == USAGE


def test_a_full_disk_is_no_success(stub):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(program("shoal") + ["version"], stdout=full, check=False,
                              stderr=subprocess.DEVNULL, env=program_env())
    assert done.returncode == FAILED


@pytest.mark.parametrize("words", [
    ["nonsense"], ["submit"], ["get"], ["get", "a", "b"], ["list", "x"], ["submit", "t", "--prio"],
    ["submit", "t", "-p", "10"], ["wait", ID, "--timeout", "soon"], ["apps", "destroy"],
    ["keys", "create"], ["bench", "sideways"], ["list", "--all", "--limit", "3"],
    ["submit", "t", "--delay", "1s", "--run-at", "2030-01-01T00:00:00Z"],
])
def test_a_wrong_command_line_is_64_and_one_line(stub, words):
    done = shoal(*words, env=stub.env)
    assert done.status == USAGE
    assert done.err.count("\n") == 1 and done.out == ""
    assert stub.requests == []


def test_every_command_has_help():
    for name in ("submit", "get", "wait", "list", "apps", "keys", "bench", "help", "version"):
        done = shoal(name, "--help")
        assert done.status == OK and done.out.startswith("usage: shoal " + name)


def test_bench_counts_errors_and_ends_at_a_refusal(stub):
    stub.say(problem(503, "later"), (201, task("queued")))
    done = shoal("bench", "submit", "-n", "20", "-c", "2", "--json", env=stub.env)
    assert done.status == OK
    assert (done.json["accepted"], done.json["errors"]) == (20, 1)
    assert done.json["latency_us"]["p50"] > 0
    stub.say(problem(401, "unauthorized"))
    done = shoal("bench", "submit", "-n", "20", env=stub.env)
    assert done.status == FAILED and "unauthorized" in done.err


def test_bench_sends_batches_and_the_rest(stub):
    stub.say((201, {"tasks": []}))
    done = shoal("bench", "submit", "-n", "25", "-b", "10", "-c", "1", "--json", env=stub.env)
    assert done.json["accepted"] == 25
    sizes = [len(json.loads(r[3])["tasks"]) for r in stub.requests]
    assert sizes == [10, 10, 5]
    assert all(r[1] == "/v1/tasks/batch" for r in stub.requests)


class Counting(Stub):
    """A node that has finished each task by the time that it is asked."""

    accepted = 0
    counter = 1000

    def next(self, path):
        if path == "/v1/tasks":
            self.accepted += 1
            self.counter += 1
            return 201, task("queued"), {}
        text = 'shoal_tasks_succeeded_total{worker="1"} %d\n' % self.counter
        return 200, text.encode(), {}


def test_bench_ends_when_all_have_finished():
    stub = Counting()
    env = dict(stub.env, SHOAL_PORTAL_URL=stub.env["SHOAL_URL"])
    done = shoal("bench", "e2e", "-n", "40", "-c", "4", "--outstanding", "10", "--json", env=env)
    assert done.status == OK, done.err
    assert (done.json["accepted"], done.json["finished"]) == (40, 40)
    stub.close()


def test_bench_needs_to_know_where_the_counters_are(stub):
    done = shoal("bench", "e2e", env=stub.env)
    assert done.status == USAGE and "SHOAL_PORTAL_URL" in done.err
    done = shoal("bench", "e2e", "--metrics", "http://127.0.0.1:%d" % process.free_port(),
                 env=stub.env)
    assert done.status == UNAVAILABLE


@pytest.mark.parametrize("words", [
    ["e2e", "--hold", "5s"], ["drain", "--hold", "5s", "--held"], ["drain", "-b", "10"],
    ["start", "-b", "2"], ["drain", "-t", "1s"], ["drain", "--hold", "0"],
], ids=" ".join)
def test_bench_refuses_what_says_nothing_to_a_mode(words, stub):
    done = shoal("bench", *words, env=stub.env)
    assert done.status == USAGE and not stub.requests


class Holding(Counting):
    """Takes batches, and finishes them so many polls after all are there."""

    wanted = 0
    polls = 3

    def next(self, path):
        if path == "/v1/tasks/batch":
            self.accepted += len(json.loads(self.requests[-1][3])["tasks"])
            return 201, {"tasks": []}, {}
        if self.accepted >= self.wanted:
            self.polls -= 1
            if self.polls < 0:
                self.counter = 1000 + (self.accepted if self.polls < -1 else 10)
        return super().next(path)


def test_bench_drain_measures_what_follows_the_first_finishes():
    stub = Holding()
    stub.wanted = 250
    env = dict(stub.env, SHOAL_PORTAL_URL=stub.env["SHOAL_URL"])
    done = shoal("bench", "drain", "-n", "250", "-c", "1", "--held", "--json", env=env)
    assert done.status == OK, done.err
    assert "loaded 250 tasks" in done.err
    assert (done.json["loaded"], done.json["finished"]) == (250, 250)
    # ten were finished when it noticed
    assert abs(done.json["rate"] * done.json["seconds"] - 240) < 0.01
    assert all("run_at" not in r[3] for r in stub.requests)
    stub.close()


def test_bench_drain_ends_when_the_backlog_does_not_wait():
    stub = Holding()
    stub.polls = 0
    env = dict(stub.env, SHOAL_PORTAL_URL=stub.env["SHOAL_URL"])
    done = shoal("bench", "drain", "-n", "250", "-c", "1", "--hold", "20s", env=env)
    assert done.status == FAILED and "finished before" in done.err
    stub.close()


# ---- over TLS


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("pem"))
    return {
        "good": certificates.make(directory, "good", "IP:127.0.0.1"),
        "other": certificates.make(directory, "other", "DNS:elsewhere.example"),
        "expired": certificates.make(directory, "expired", "IP:127.0.0.1", days=-1),
    }


def test_https_is_spoken_to_a_server_that_is_who_it_says(pem):
    stub = Stub(tls=pem["good"])
    stub.say((200, task("queued")))
    done = shoal("get", ID, "--ca-file", pem["good"][0], env=stub.env)
    assert done.status == OK and ID in done.out, done.err
    assert stub.requests[0][2]["Host"] == "127.0.0.1:%d" % stub.port
    # several requests of one command, and by the variable
    stub.say((200, task("running")), (200, task("succeeded", result=7)))
    env = dict(stub.env, SHOAL_CA_FILE=pem["good"][0])
    assert shoal("wait", ID, env=env).out == "7\n"
    # a stream has a connection of another kind
    event = b"id: 1\nevent: failed\ndata: {\"id\":\"1\",\"kind\":\"failed\",\"task\":\"%s\"}\n\n" % ID.encode()
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event)
    stub.say((200, body, {"Transfer-Encoding": "chunked"}), problem(403, "enough"))
    done = shoal("events", "--follow", "--json", env=env)
    assert json.loads(done.out.splitlines()[0])["kind"] == "failed" and "enough" in done.err
    stub.say((201, task("queued")))
    done = shoal("bench", "submit", "-n", "20", "-c", "2", "--json", env=env)
    assert (done.status, done.json["accepted"], done.json["errors"]) == (OK, 20, 0), done.err
    stub.close()


@pytest.mark.parametrize("words", [["get", ID], ["events", "--follow"]], ids=["get", "events"])
def test_no_key_is_sent_to_a_server_that_is_not_verified(pem, words):
    for name, ca, says in (
        ("good", None, "certificate is refused"),
        ("good", pem["other"][0], "certificate is refused"),
        ("other", pem["other"][0], "address mismatch"),
        ("expired", pem["expired"][0], "expired"),
    ):
        stub = Stub(tls=pem[name])
        done = shoal(*words, *(["--ca-file", ca] if ca else []), env=stub.env)
        assert done.status == UNAVAILABLE and done.err.count("\n") == 1
        assert says in done.err, (name, done.err)
        assert stub.requests == []
        stub.close()


def test_a_port_without_tls_and_a_bad_authority_are_said(stub, pem, tmp_path):
    https = dict(stub.env, SHOAL_URL=stub.env["SHOAL_URL"].replace("http:", "https:"))
    done = shoal("get", ID, env=https)
    assert done.status == UNAVAILABLE and "does not speak TLS" in done.err
    done = shoal("get", ID, "--ca-file", str(tmp_path / "none.pem"), env=https)
    assert done.status == FAILED or done.status == USAGE
    assert "none.pem" in done.err and stub.requests == []


# ---- operators


def test_operators_commands_say_what_to_set(stub):
    for words in (["nodes"], ["drain", "0123456789ab"], ["top", "--once"]):
        done = shoal(*words, env=stub.env)  # no SHOAL_PORTAL_URL
        assert done.status == USAGE and "SHOAL_PORTAL_URL" in done.err
        stub.say(problem(401, "unauthorized"))
        done = shoal(*words, "--portal", stub.env["SHOAL_URL"])
        assert done.status == DENIED and "SHOAL_ACCESS_TOKEN" in done.err
    done = shoal("top", "--portal", stub.env["SHOAL_URL"])
    assert done.status == USAGE and "--once" in done.err
    stub.say((200, {"nodes": []}))
    shoal("nodes", env={"SHOAL_PORTAL_URL": stub.env["SHOAL_URL"], "SHOAL_ACCESS_TOKEN": "tok"})
    assert stub.requests[-1][2]["Authorization"] == "Bearer tok"


def test_the_tables_of_commands_can_be_read_by_programs():
    done = shoal("help", "--all", "--json")
    commands = {c["name"]: c for c in done.json["commands"]}
    assert {"submit", "doctor", "top", "nodes", "drain", "lease", "help"} <= set(commands)
    for command in commands.values():
        assert command["summary"].endswith(".")
        names = [o["name"] for o in command["options"]]
        assert len(names) == len(set(names)) and "json" in names
        assert all(o["takes"] in ("nothing", "value", "optional") for o in command["options"])
    text = shoal("help", "--all").out
    assert all("usage: shoal %s" % name in text for name in commands)


# ---- against real nodes


@pytest.fixture
def env(node, key):
    return {"SHOAL_URL": node.url, "SHOAL_API_KEY": key}


def test_a_task_goes_in_and_its_result_comes_out(env):
    done = shoal("submit", "shoal.echo", '{"hello": "world"}', "--wait=20s", env=env)
    assert (done.status, json.loads(done.out)) == (OK, {"hello": "world"}), done.err
    task_id = shoal("submit", "shoal.echo", "[1]", env=env).out.strip()
    assert shoal("wait", task_id, env=env).json == [1]
    shown = shoal("get", task_id, env=env)
    assert "succeeded" in shown.out and task_id in shown.out and "\nworker " in shown.out
    assert shoal("get", task_id, "--json", env=env).json["result"] == [1]
    assert task_id in shoal("list", "--type", "shoal.echo", env=env).out
    assert shoal("get", ID, env=env).status == NOT_FOUND
    assert shoal("list", env=dict(env, SHOAL_API_KEY="wrong")).status == DENIED


def test_a_task_that_fails_for_good_is_exit_status_1(env):
    done = shoal("submit", "shoal.fail", '{"times":9,"message":"broken"}', "--max-attempts", "1",
                 "--wait=20s", env=env)
    assert done.status == FAILED
    assert "broken" in done.err


def test_applications_and_keys_are_made_used_and_revoked(db, node):
    database = {"SHOAL_DATABASE_URL": db.url()}
    assert shoal("apps", "create", "shop", env=database).status == OK
    assert shoal("apps", "create", "shop", env=database).status == FAILED
    listed = shoal("apps", "list", "--json", env=database).json["applications"]
    assert [(a["name"], a["live_keys"]) for a in listed] == [("shop", 0)]
    assert shoal("keys", "create", "none", env=database).status == NOT_FOUND
    made = shoal("keys", "create", "shop", "--label", "ci", "--expires", "90d", env=database)
    assert made.status == OK and made.out.startswith("shoal_live_")
    client = {"SHOAL_URL": node.url, "SHOAL_API_KEY": made.out.strip()}
    assert shoal("submit", "shoal.noop", "--wait=20s", env=client).status == OK
    key = shoal("keys", "list", "shop", "--json", env=database).json["keys"][0]
    assert key["label"] == "ci" and key["expires_at"] and not key["revoked_at"]
    # the key itself is nowhere to be had again
    secret = made.out.strip().split("_", 3)[3].rsplit("_", 1)[0]
    assert len(secret) == 43 and secret not in shoal("keys", "list", env=database).out
    assert shoal("keys", "revoke", key["public_id"], env=database).status == OK
    assert shoal("keys", "revoke", key["public_id"], env=database).status == NOT_FOUND
    deadline = time.monotonic() + 8
    while shoal("list", env=client).status != DENIED:
        assert time.monotonic() < deadline, "a revoked key still works"


def test_an_application_is_weighed_and_that_is_on_record(db):
    database = {"SHOAL_DATABASE_URL": db.url()}
    assert shoal("apps", "create", "shop", env=database).status == OK
    for words in (["shop"], ["shop", "0"], ["shop", "1001"], ["shop", "x"]):
        assert shoal("apps", "weight", *words, env=database).status == USAGE
    assert shoal("apps", "weight", "none", "3", env=database).status == NOT_FOUND
    done = shoal("apps", "weight", "shop", "3", env=database)
    assert (done.status, done.out) == (OK, "shop has weight 3 (before: 1)\n")
    assert shoal("apps", "weight", "shop", "3", "--json", env=database).json == {"weight": 3, "before": 3}
    assert [a["weight"] for a in shoal("apps", "list", "--json", env=database).json["applications"]] == [3]
    ((kind, detail),) = db.rows("SELECT kind, detail::json FROM shoal.event")
    assert kind == 20 and (detail["weight"], detail["before"]) == (3, 1) and "shoal apps" in detail["by"]


def test_the_database_is_found_by_option_too(db):
    done = shoal("apps", "list", "-o", "database.url=" + db.url())
    assert done.status == OK, done.err
    gone = "postgresql://127.0.0.1:%d/x" % process.free_port()
    assert shoal("apps", "list", "-o", "database.url=" + gone).status == UNAVAILABLE


def test_bench_agrees_with_the_node(node, env):
    env = dict(env, SHOAL_PORTAL_URL=node.dev_url)
    done = shoal("bench", "e2e", "-n", "300", "-c", "8", "--outstanding", "50", "--json", env=env,
                 timeout=60)
    assert done.status == OK, done.err
    assert (done.json["accepted"], done.json["finished"], done.json["errors"]) == (300, 300, 0)
    for mode in ("wait", "latency", "start"):
        done = shoal("bench", mode, "-n", "20", "--json", env=env)
        assert done.status == OK and done.json["finished"] == 20, done.err
    for words in (["drain"], ["backlog", "-t", "1s", "-c", "4"]):
        done = shoal("bench", *words, "-n", "500", "--hold", "3s", "--json", env=env, timeout=60)
        assert done.status == OK, done.err
        assert done.json["loaded"] == 500 and done.json["finished"] == done.json["accepted"]


def test_a_task_is_cancelled_and_run_again(env):
    later = shoal("submit", "shoal.echo", "5", "--delay", "1h", env=env).out.strip()
    done = shoal("cancel", later, "--reason", "a mistake", env=env)
    assert (done.status, done.out) == (OK, "cancelled\n"), done.err
    assert shoal("cancel", later, "--json", env=env).json["state"] == "cancelled"
    assert shoal("retry", later, "--wait=20s", env=env).json == 5
    done = shoal("cancel", later, env=env)
    assert done.status == FAILED and "already_ended" in done.err
    done = shoal("retry", later, env=env)
    assert done.status == FAILED and "succeeded" in done.err
    running = shoal("submit", "shoal.sleep", '{"seconds":60}', env=env).out.strip()
    deadline = time.monotonic() + 10
    while "running" not in shoal("get", running, env=env).out:
        assert time.monotonic() < deadline
    done = shoal("cancel", running, "--wait=20s", env=env)
    assert (done.status, done.out) == (OK, "cancelled\n"), done.err
    assert shoal("retry", running, "--attempts", "2", env=env).out == "queued\n"
    assert shoal("cancel", running, "--wait", env=env).status == OK
    assert shoal("cancel", ID, env=env).status == shoal("retry", ID, env=env).status == NOT_FOUND
    assert shoal("cancel", env=env).status == shoal("retry", "a", "b", env=env).status == USAGE
    assert shoal("retry", running, "--attempts", "0", env=env).status == USAGE


def test_many_tasks_are_cancelled_deleted_and_run_again_by_filter(env):
    for queue in ("mail", "mail", "news"):
        shoal("submit", "shoal.noop", "--delay", "1h", "--queue", queue, env=env)
    done = shoal("operations", "cancel", "--queue", "mail", env=env, text="")
    assert done.status == USAGE and "--yes" in done.err
    assert shoal("operations", "cancel", "-y", env=env).status == USAGE  # which tasks?
    assert shoal("operations", "explode", "--all", "-y", env=env).status == USAGE
    done = shoal("operations", "cancel", "--queue", "mail", "-y", "--reason", "no", env=env)
    assert done.status == OK and "2 tasks to cancel" in done.err, done.err
    assert done.out.endswith(" done: 2 of 2\n")
    first = done.out.split()[0]
    done = shoal("operations", "retry", "--state", "cancelled", "--state", "failed", "-y", "--json",
                 env=env)
    assert (done.status, done.json["done"], done.json["state"]) == (OK, 2, "done"), done.err
    assert "scheduled" in shoal("list", "--queue", "news", env=env).out
    done = shoal("operations", "delete", "--state", "queued", "-y", env=env)
    assert done.status == FAILED and "invalid_field" in done.err
    deadline = time.monotonic() + 10
    while shoal("list", "--state", "succeeded", env=env).out.count("\n") < 3:
        assert time.monotonic() < deadline
    assert shoal("operations", "delete", "--all", "-y", env=env).out.endswith(" done: 2 of 2\n")
    assert shoal("list", env=env).out.count("\n") == 2  # the head, and the one of news
    listed = shoal("operations", "list", env=env).out.splitlines()
    assert len(listed) == 4 and first in listed[-1]
    assert shoal("operations", "get", first, env=env).out.endswith(" done: 2 of 2\n")
    assert shoal("operations", "stop", first, "--json", env=env).json["state"] == "done"
    assert shoal("operations", "get", ID, env=env).status == NOT_FOUND


def test_tasks_of_a_pull_type_are_worked_off_from_a_shell(cluster, key):
    (node,) = cluster(1, settings={"type:outside.handler": "pull"})
    env = {"SHOAL_URL": node.url, "SHOAL_API_KEY": key}

    def submit(payload):
        return shoal("submit", "outside", json.dumps(payload), "-q", "work", env=env).out.strip()

    def get(id):
        return shoal("get", id, "--json", env=env).json

    assert shoal("lease", "take", "work", "--json", env=env).json == {"leases": []}
    task_id = submit({"n": 1})
    shown = shoal("lease", "take", "work", "--wait", "20s", env=env).out
    lease = re.search(r"^lease +(\S+)", shown, re.M).group(1)
    assert task_id in shown and '"n":1' in shown
    assert shoal("lease", "extend", lease, "--ttl", "90s", "--progress", "[1]", env=env).status == OK
    assert get(task_id)["progress"] == [1]
    assert shoal("lease", "complete", lease, '{"ok":true}', env=env).status == OK
    assert get(task_id)["result"] == {"ok": True}
    done = shoal("lease", "release", lease, env=env)
    assert done.status == FAILED and "lease_lost" in done.err
    failed = submit({})
    lease = shoal("lease", "take", "work", "-w", "20s", "--json", env=env).json["leases"][0]["lease"]
    assert shoal("lease", "fail", lease, "no such page", "--code", "gone", "--permanent", env=env).status == OK
    assert get(failed)["error"] == {"code": "gone", "message": "no such page"}
    # a command, task after task: a result, and a failure
    ids = [submit(n) for n in (1, 2)]
    done = shoal(
        "lease", "take", "work", "--count", "2", "--run",
        'n=$(cat); [ "$n" = 1 ] || exit 3; echo "{\\"n\\":$n,\\"try\\":$SHOAL_ATTEMPT}"', env=env, timeout=60)
    assert done.status == OK, done.err
    assert get(ids[0])["result"] == {"n": 1, "try": 1}
    assert get(ids[1])["state"] == "scheduled" and "status 3" in get(ids[1])["error"]["message"]
    totals = node.status()["totals"]
    assert [totals["tasks_%s_total" % k] for k in ("succeeded", "failed", "retried")] == [2, 1, 1]
    # told to end, it gives the task back and leaves nothing behind
    held = submit("held")
    child = subprocess.Popen(
        program("shoal") + ["lease", "take", "work", "--run", "exec sleep 300"], env=dict(program_env(), **env))
    wait_for(lambda: get(held)["state"] == "running", at_most=20, what="it runs")
    (command,) = wait_for(lambda: process.children_of(child.pid), what="its command runs")
    child.send_signal(signal.SIGTERM)
    child.wait(20)
    assert get(held)["state"] == "queued" and not process.alive(command)

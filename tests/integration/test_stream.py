# SPDX-License-Identifier: BSD-2-Clause
"""Stream types: children that stay, what they answer, and what happens when they do not."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from shoaltest import apps
from shoaltest.client import Client
from shoaltest.waits import wait_for

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/stream")

# A child that does what the payload says.  Each task has a thread; gates are files.
CHILD = r"""
import json, os, sys, threading, time
lock = threading.Lock()
def write(text):
    with lock:
        sys.stdout.write(text)
        sys.stdout.flush()
def say(**line):
    write(json.dumps(line) + "\n")
def note(name, text):
    with open(os.path.join(os.environ["DIR"], name), "a") as f:
        f.write(text + "\n")
def gate(name):
    path = os.path.join(os.environ["DIR"], name)
    while not os.path.exists(path):
        time.sleep(0.01)
stuck = threading.Event()
cancelled = set()
def do(task):
    id, payload = task["id"], task["payload"] or {}
    what = payload.get("do", "echo")
    note("seen", "%s %s" % (id, what))
    if what == "echo":
        say(id=id, result=payload.get("value"))
    elif what == "task":
        say(id=id, result=dict(task, payload=None))
    elif what == "raw":
        write(payload["text"].replace("ID", id) + "\n")
    elif what == "pid":
        say(id=id, result=os.getpid())
    elif what == "size":
        say(id=id, result="x" * (payload["bytes"] - 2))
    elif what == "gate":
        gate(payload["name"])
        say(id=id, result=os.getpid())
    elif what == "wait":
        while id not in cancelled:
            time.sleep(0.01)
        say(id=id, error={"code": "stopped", "message": "as you wish"})
        say(id=id, result="late")
    elif what == "never":
        pass
    elif what == "once" and task["attempt"] > 1:
        say(id=id, result=os.getpid())
    elif what in ("crash", "once"):
        sys.stderr.write("no way\n")
        sys.stderr.flush()
        os._exit(3)
    elif what == "stop":
        stuck.set()
    elif what == "grow":
        do.kept = "x" * (64 << 20)
        say(id=id, result=os.getpid())
    elif what == "flood":
        sys.stderr.write("".join("line %d of a flood\n" % n for n in range(payload["lines"])))
        sys.stderr.flush()
        say(id=id, result=None)
    elif what == "report":
        say(id=id, progress={"done": 1}, log="first \u00e4")
        gate(payload["name"])
        say(id=id, log="last", result=True)
for line in sys.stdin:
    if stuck.is_set():
        time.sleep(600)
    m = json.loads(line)
    if "hello" in m:
        assert m["hello"]["version"] == 1 and m["hello"]["max_line"] > 65536
        note("born", str(os.getpid()))
        say(hello={"version": 1, "concurrency": int(os.environ.get("CONCURRENCY", "4"))})
    elif "task" in m:
        threading.Thread(target=do, args=(m["task"],), daemon=True).start()
        if m["task"]["payload"] and m["task"]["payload"].get("do") == "stop":
            stuck.wait()
    elif "ping" in m:
        say(pong=m["ping"])
    elif "cancel" in m:
        cancelled.add(m["cancel"])
    elif "drain" in m:
        note("drained", str(os.getpid()))
for t in threading.enumerate():
    if t is not threading.current_thread():
        t.join(20)
note("left", str(os.getpid()))
"""


@pytest.fixture
def place(nodedir):
    os.chmod(nodedir, 0o755)
    with open(os.path.join(nodedir, "child.py"), "w") as f:
        f.write(CHILD)
    return nodedir


@pytest.fixture
def stream(cluster, db, place):
    """stream(hang_timeout="1s", ...) is (node, client) with a type "work"; options= are the node's."""

    def start(environment="", options=None, **settings):
        values = {
            "type:work.handler": "stream",
            "type:work.command": "/usr/bin/python3 -u %s/child.py" % place,
            "type:work.environment": ("DIR=%s %s" % (place, environment)).strip(),
            "type:work.backoff": "fixed delay=0s",
        }
        values.update({"type:work." + k: v for k, v in settings.items()})
        values.update(options or {})
        node = cluster(1, node__workers=1, settings=values)[0]
        return node, Client(node.url, apps.make_key(db, "test"))

    return start


def lines(place, name):
    path = os.path.join(place, name)
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return f.read().split("\n")[:-1]


def open_gate(place, name):
    with open(os.path.join(place, name), "w"):
        pass


def seen(place, what):
    """How many such tasks have reached a child."""
    return sum(line.endswith(" " + what) for line in lines(place, "seen"))


def submit(client, do, **fields):
    options = {k: fields.pop(k) for k in ("max_attempts", "timeout") if k in fields}
    return client.submit("work", dict(fields, do=do), **options)["id"]


def run(client, do, **fields):
    return client.wait(submit(client, do, **fields))


def metric(node, name):
    import requests

    text = requests.get(node.dev_url + "/metrics", timeout=5,
                        headers={"Authorization": "Bearer " + node.token}).text
    return float(re.search(r"^shoal_%s(?:\{[^}]*\})? (\S+)$" % name, text, re.MULTILINE).group(1))


# --------------------------------------------------------------------- answers


def test_every_kind_of_answer(stream):
    node, client = stream(max_output="1KiB")
    task = run(client, "echo", value={"b": [1, None], "\u00e4": "\U0001f41f"})
    assert task["state"] == "succeeded" and task["result"] == {"b": [1, None], "\u00e4": "\U0001f41f"}
    told = run(client, "task")["result"]
    assert told["type"] == "work" and told["queue"] == "default"
    assert told["attempt"] == 1 and told["max_attempts"] > 1 and told["timeout"] == 900
    assert told["fence"].startswith("1-") and told["deadline"].endswith("Z")
    assert run(client, "raw", text='{"id":"ID","result":null}')["result"] is None
    # bytes as they were
    assert client.request("GET", "/v1/tasks/%s" % run(
        client, "raw", text='{"id":"ID","result":{"n":1.10,"big":123456789012345678901234567890}}')["id"]
    ).text.count('{"n":1.10,"big":123456789012345678901234567890}') == 1
    # a payload with line breaks between its values is one line all the same
    pretty = json.dumps({"do": "echo", "value": [1, 2]}, indent=1)
    answer = client.call("POST", "/v1/tasks", data='{"type":"work","payload":%s}' % pretty,
                         headers={"Content-Type": "application/json"}, expect=201)
    assert client.wait(answer["id"])["result"] == [1, 2]

    def failure(text, **fields):
        task = run(client, "raw", text=text, **fields)
        assert task["state"] == "failed", task
        return task["error"]["code"], task["error"]["message"], task["attempt"]

    assert failure('{"id":"ID","error":{"code":"no_such_image","message":"gone"},"retry":false}') == (
        "no_such_image", "gone", 1)
    assert failure('{"id":"ID","error":"a word","retry":true}', max_attempts=2) == ("failed", "a word", 2)
    assert failure('{"id":"ID","error":{},"retry_in":0}', max_attempts=3) == ("failed", "", 3)
    # contents that cannot be taken are that task's trouble, not the child's
    for bad in ('{"id":"ID","error":7}', '{"id":"ID","error":{"code":"no spaces"}}',
                '{"id":"ID","error":{},"retry":"yes"}', '{"id":"ID","error":{},"retry_in":-1}',
                '{"id":"ID","result":"\\ud800"}', '{"id":"ID","result":[1,}'):
        assert failure(bad, max_attempts=1)[0] == "bad_answer", bad
    task = run(client, "size", bytes=1025)
    assert task["error"]["code"] == "output_too_large" and task["attempt"] == 1
    assert run(client, "size", bytes=1024)["state"] == "succeeded"
    assert metric(node, "children") == 1 and metric(node, "children_failed_total") == 0


def test_progress_and_log_are_seen_while_it_runs(stream, place):
    _, client = stream()
    id = submit(client, "report", name="go")
    wait_for(lambda: client.get(id)["progress"] == {"done": 1}, what="progress")
    assert client.request("GET", "/v1/tasks/%s/log" % id).content.decode() == "first \u00e4\n"
    open_gate(place, "go")
    assert client.wait(id)["result"] is True
    wait_for(lambda: client.request("GET", "/v1/tasks/%s/log" % id).text.endswith("last\n"), what="the log")


def test_a_child_has_as_many_as_it_asked_for(stream, place):
    _, client = stream("CONCURRENCY=3", children=2)
    ids = [submit(client, "gate", name="go") for _ in range(8)]
    wait_for(lambda: seen(place, "gate") == 6, what="six at work")
    wait_for(lambda: all(client.get(id)["state"] == "running" for id in ids), what="all held by the worker")
    assert seen(place, "gate") == 6
    open_gate(place, "go")
    pids = {client.wait(id)["result"] for id in ids}
    assert len(pids) == 2


def test_concurrency_is_a_bound(stream, place):
    _, client = stream("CONCURRENCY=8", concurrency=2)
    ids = [submit(client, "gate", name="go") for _ in range(6)]
    wait_for(lambda: seen(place, "gate") == 2, what="two at work")
    states = [client.get(id)["state"] for id in ids]
    assert states.count("running") == 2 and states.count("queued") == 4
    open_gate(place, "go")
    assert all(client.wait(id)["state"] == "succeeded" for id in ids)


def test_long_tasks_are_not_hoarded(stream, cluster, place):
    node, client = stream("CONCURRENCY=1")
    ids = [t["id"] for t in client.batch([{"type": "work", "payload": {"do": "gate", "name": "go"}}] * 12)]
    wait_for(lambda: all(client.get(id)["state"] == "running" for id in ids[:2]), what="held by the one node")
    cluster(1, settings={k: v for k, v in node.settings.items() if k.startswith(("type:", "node.workers"))})
    # what it cannot begin soon goes back at no cost, and the other one begins something
    wait_for(lambda: seen(place, "gate") == 2, what="one at work on each")
    wait_for(lambda: sum(client.get(id)["state"] == "queued" for id in ids) >= 8, what="the others wait for both")
    # and other types have their slots
    assert client.run("shoal.echo", 1)["result"] == 1
    open_gate(place, "go")
    tasks = [client.wait(id) for id in ids]
    assert all(t["state"] == "succeeded" and t["failures"] == 0 for t in tasks)
    assert len({t["result"] for t in tasks}) == 2


# --------------------------------------------------------------------- children that end


def test_a_crash_fails_the_attempt_and_the_next_child_takes_over(stream, place):
    node, client = stream()
    first = run(client, "pid")["result"]
    beside = submit(client, "gate", name="go")
    wait_for(lambda: seen(place, "gate") == 1, what="one beside")
    task = run(client, "once")
    assert task["state"] == "succeeded" and task["failures"] == 1 and task["result"] != first
    open_gate(place, "go")
    task = client.wait(beside)  # nobody can tell whose fault it was
    assert task["state"] == "succeeded" and task["failures"] == 1
    task = run(client, "crash", max_attempts=2)
    assert task["state"] == "failed" and task["attempt"] == 2
    assert task["error"]["code"] == "child_crashed"
    assert "exit status 3" in task["error"]["message"] and "no way" in task["error"]["message"]
    # killed from outside
    pid = run(client, "pid")["result"]
    id = submit(client, "gate", name="later", max_attempts=1)
    wait_for(lambda: seen(place, "gate") == 3, what="at work")
    os.kill(pid, signal.SIGKILL)
    assert "killed by signal 9" in client.wait(id)["error"]["message"]
    assert metric(node, "children_failed_total") == 4
    assert "text=\"no way\"" in node.log()


def test_what_breaks_the_protocol_breaks_the_child(stream, place):
    node, client = stream()
    other = "019ac0de-0000-7000-8000-000000000000"
    for text, words in (
        ("this is no JSON", "no JSON"),
        ("[1]", "must be an object"),
        ('{"hello":{"version":1}}', "hello a second time"),
        ('{"hello":{"version":2}}', "another version"),
        ('{"id":"%s","result":1}\n{"id":"%s","result":1}' % (other, other), "did not have"),
        ("x" * (1200 * 1024), "more than 1114112 bytes"),
    ):
        # the long line is not to be in the payload
        if len(text) > 1000:
            task = run(client, "size", bytes=1200 * 1024, max_attempts=1)
        else:
            task = run(client, "raw", text=text, max_attempts=1)
        assert task["error"]["code"] == "child_broken", (text[:50], task)
        assert words in task["error"]["message"], task
    # one stranger, progress of nobody, and a line of nothing we know are borne
    before = run(client, "pid")["result"]
    text = '{"id":"%s","progress":1}\n{"id":"%s","error":{}}\n{"what":1}\n{"id":"ID","result":1}' % (other, other)
    assert run(client, "raw", text=text)["result"] == 1
    assert run(client, "pid")["result"] == before
    assert "a child wrote a line that says nothing" in node.log()
    assert len(lines(place, "born")) == 7


def test_a_silent_child_is_replaced(stream, place):
    node, client = stream(hang_timeout="1s")
    first = run(client, "pid")["result"]
    task = run(client, "stop", max_attempts=1)
    assert task["error"]["code"] == "child_silent"
    assert run(client, "pid")["result"] != first
    # an idle one that answers pings stays, for longer than its hang_timeout
    pings = time.monotonic()
    wait_for(lambda: time.monotonic() - pings > 1.5, what="a while")
    assert metric(node, "children_failed_total") == 1
    assert len(lines(place, "born")) == 2


def test_recycled_by_tasks_and_by_memory(stream, place):
    node, client = stream(recycle_tasks=3, hang_timeout="3s", recycle_memory="64MiB")
    pids = [run(client, "pid")["result"] for _ in range(7)]
    assert pids[0] == pids[1] == pids[2] != pids[3] == pids[5] != pids[6]
    wait_for(lambda: len(lines(place, "left")) == 2, what="two have left")
    large = run(client, "grow")["result"]
    assert large == pids[6]
    wait_for(lambda: str(large) in lines(place, "left"), what="the large one has left")
    assert "why=recycle_memory" in node.log() and "why=recycle_tasks" in node.log()
    assert run(client, "pid")["result"] != large
    assert metric(node, "children_failed_total") == 0


# --------------------------------------------------------------------- cancel, timeout, drain


def test_cancel_reaches_the_child(stream, place):
    node, client = stream()
    id = submit(client, "wait")
    wait_for(lambda: seen(place, "wait") == 1, what="at work")
    before = run(client, "pid")["result"]
    client.cancel(id)
    task = client.wait(id)
    assert task["state"] == "cancelled"
    # its late result, and the first stranger after it, have broken nothing
    assert run(client, "pid")["result"] == before
    assert "a task that it does not have" not in node.log()


def test_a_child_that_does_not_hear_cancel_is_replaced_and_the_others_go_back(stream, place):
    node, client = stream(grace="300ms")
    stubborn = submit(client, "never")
    beside = submit(client, "gate", name="go")
    wait_for(lambda: seen(place, "never") == 1 and seen(place, "gate") == 1, what="both at work")
    client.cancel(stubborn)
    assert client.wait(stubborn)["state"] == "cancelled"
    open_gate(place, "go")
    task = client.wait(beside)
    assert task["state"] == "succeeded" and task["failures"] == 0 and task["attempt"] == 2
    assert metric(node, "children_failed_total") == 1
    # the same by its own time
    task = run(client, "never", max_attempts=1, timeout=0.2)
    assert task["state"] == "failed" and task["error"]["code"] == "timeout"
    # and one that listens keeps its child
    before = run(client, "pid")["result"]
    task = run(client, "wait", max_attempts=1, timeout=0.2)
    assert task["error"]["code"] == "timeout" and task["error"]["message"] == "as you wish"
    assert run(client, "pid")["result"] == before


def test_a_node_that_leaves_drains_its_children(stream, db, place):
    node, client = stream("CONCURRENCY=2", options={"node.shutdown_timeout": "20s"})
    ids = [submit(client, "gate", name="go") for _ in range(5)]
    wait_for(lambda: seen(place, "gate") == 2, what="two at work")
    wait_for(lambda: all(client.get(id)["state"] == "running" for id in ids), what="all held")
    node.send(signal.SIGTERM)
    node.wait_log("worker drains")
    open_gate(place, "go")
    assert node.proc.wait(20) == 0
    states = db.rows("SELECT state, failures FROM shoal.task")
    assert states == [(3, 0)] * 5  # all have succeeded, in their first attempt
    assert len(lines(place, "drained")) == 1 and len(lines(place, "left")) == 1
    assert "unanswered=0 how=\"exit status 0\"" in node.log()


def test_a_node_that_cannot_wait_gives_tasks_back(stream, db, place):
    node, client = stream(options={"node.shutdown_timeout": "0"})
    for _ in range(3):
        submit(client, "never")
    wait_for(lambda: seen(place, "never") == 3, what="at work")
    assert node.stop(at_most=20) == 0
    rows = db.rows("SELECT state, failures FROM shoal.task")
    assert rows == [(1, 0)] * 3  # queued
    assert not db.rows("SELECT 1 FROM shoal.task WHERE finished_at IS NOT NULL")


# --------------------------------------------------------------------- children that do not come up


def test_a_type_whose_children_do_not_start_is_not_served(stream, place):
    with open(os.path.join(place, "mute.py"), "w") as f:
        f.write("import sys\nfor line in sys.stdin: pass\n")
    node, client = stream(options={
        "type:dead.handler": "stream",
        "type:dead.command": "/bin/false",
        "type:gone.handler": "stream",
        "type:gone.command": "/nonexistent/program",
        "type:mute.handler": "stream",
        "type:mute.command": "/usr/bin/python3 %s/mute.py" % place,
        "type:mute.hang_timeout": "1s",
    })
    ids = {name: client.submit(name)["id"] for name in ("dead", "gone", "mute")}
    node.wait_log("it did not say hello for ")
    for name, id in ids.items():
        wait_for(lambda name=name: "children do not stay type=%s" % name in node.log() or name == "mute",
                 what="%s given up" % name)
        why = client.why(id)
        assert why["reasons"][0]["reason"] == "not_served", why
        assert client.get(id)["state"] == "queued"
    assert "exit status 1" in node.log() and "No such file or directory" in node.log()
    # the others are none the worse for it
    assert all(run(client, "echo", value=n)["result"] == n for n in range(20))


def test_a_type_comes_back_with_its_children(stream, place):
    node, client = stream(options={
        "type:late.handler": "stream",
        "type:late.command": "/usr/bin/python3 %s/late.py" % place,
        "type:late.environment": "DIR=%s" % place,
    })
    node.wait_log("children do not stay type=late")
    id = client.submit("late", {"do": "echo", "value": 1})["id"]
    shutil.copy(os.path.join(place, "child.py"), os.path.join(place, "late.py"))
    assert client.wait(id)["result"] == 1
    assert client.get(id)["attempt"] == 1


def test_a_flood_on_standard_error_is_bounded(stream):
    node, client = stream()
    assert run(client, "flood", lines=30000)["state"] == "succeeded"
    assert run(client, "echo", value=1)["result"] == 1

    def left_out():
        return sum(int(n) for n in re.findall(r"left_out=(\d+)", node.log()))

    # told with the first line of a later second, in two parts if the flood took longer than one
    wait_for(lambda: run(client, "flood", lines=1) and left_out() > 25000, what="the rest is told")
    assert node.log().count("a child says") < 200


# --------------------------------------------------------------------- examples


def test_examples_count_words(cluster, db, place):
    counter = os.path.join(place, "wordcount")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "json-c"], check=True,
                           stdout=subprocess.PIPE).stdout.decode().split()
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", counter,
                    os.path.join(EXAMPLES, "wordcount.c")] + flags, check=True)
    commands = {
        "python": "/usr/bin/python3 %s/wordcount.py" % EXAMPLES,
        "shell": "/bin/sh %s/wordcount.sh" % EXAMPLES,
        "c": counter,
        "node": "%s %s/wordcount.mjs" % (shutil.which("node"), EXAMPLES),
    }
    settings = {}
    for name, command in commands.items():
        settings["type:%s.handler" % name] = "stream"
        settings["type:%s.command" % name] = command
    node = cluster(1, node__workers=1, settings=settings)[0]
    client = Client(node.url, apps.make_key(db, "test"))
    payloads = [{"text": "w " * n} for n in range(20)] + [{"text": " \u00e4\tb\n\u00a0c\r\n"}]
    for name in commands:
        tasks = client.batch([{"type": name, "payload": p} for p in payloads])
        counts = [client.wait(t["id"])["result"]["words"] for t in tasks]
        assert counts == list(range(20)) + [3], name
        bad = client.run(name, {"text": 7})
        assert bad["state"] == "failed" and bad["attempt"] == 1, name
        assert bad["error"] == {"code": "bad_text", "message": "the payload needs a text"}, name
    assert node.stop(at_most=20) == 0
    assert node.log().count('unanswered=0 how="exit status 0"') == 4

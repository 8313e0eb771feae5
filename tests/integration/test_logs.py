# SPDX-License-Identifier: BSD-2-Clause
"""Logs, the access log, spans and crash reports: what a node says of itself, and never says."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests
from shoaltest.client import Client
from shoaltest.collector import Collector
from shoaltest.node import program, program_env
from shoaltest.waits import wait_for

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = "00-%s-%s-01" % (TRACE, SPAN)


def once(pairs):
    """An object whose keys are there once."""
    found = dict(pairs)
    assert len(found) == len(pairs), pairs
    return found


def objects(text):
    """The lines of a log in JSON."""
    return [json.loads(line, object_pairs_hook=once) for line in text.splitlines() if line]


def tell_level(node, level):
    done = subprocess.run(program() + ["-c", node.conf, "--log-level", level], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=program_env(), timeout=20, check=False)
    return done.returncode, done.stdout.decode()


def metric(node, name):
    text = requests.get(node.dev_url + "/metrics", headers={"Authorization": "Bearer " + node.token}, timeout=10).text
    return int(re.search(r"^shoal_%s (\d+)" % name, text, re.M).group(1))


@pytest.fixture
def collector(aftermath):
    made = Collector()
    aftermath.callback(made.close)
    return made


# ------------------------------------------------------------------------------ the log


def test_json_lines_name_node_worker_and_task_and_the_level_changes_at_once(cluster, key):
    (node,) = cluster(1, settings={"log.format": "json", "log.level": "info"})
    client = Client(node.url, key)
    client.run("shoal.noop")
    failed = client.run("shoal.fail", {"code": "no\n\x1b[2Jway"}, max_attempts=1)
    assert failed["state"] == "failed"
    node.wait_log('"message":"task failed"')
    lines = objects(node.log())
    assert {l["level"] for l in lines} <= {"info", "warn", "error"}
    name = node.status()["node"]
    started = next(l for l in lines if l["message"] == "worker started")
    assert started["node"] == name and started["process"] == "master" and isinstance(started["pid"], int)
    (told,) = [l for l in lines if l["message"] == "task failed"]
    assert told["task"] == failed["id"] and told["attempt"] == 1 and told["node"] == name
    assert told["worker"] in (0, 1) and told["type"] == "shoal.fail"

    # one level for all processes, also for a worker that starts later
    assert tell_level(node, "debug") == (0, "log level: debug\n")
    client.run("shoal.noop")
    wait_for(lambda: any(l["message"] == "task succeeded" for l in objects(node.log())), what="debug")
    node.kill_worker(node.worker_pids()[0])
    wait_for(lambda: any(l["level"] == "debug" and l.get("worker") == 0 for l in objects(node.log())
                         if l["time"] > lines[-1]["time"]), what="the successor's debug")
    code, said = tell_level(node, "loud")
    assert code == 64 and "--log-level takes error" in said
    # until a reload
    node.send(signal.SIGHUP)
    wait_for(lambda: sum(l["message"] == "node ready" for l in objects(node.log())) == 2, what="the reload")
    wait_for(lambda: len(node.worker_pids()) == 2, what="the old workers have left")
    before = len(objects(node.log()))
    for _ in range(4):
        client.run("shoal.noop")
    assert not [l for l in objects(node.log())[before:] if l["level"] == "debug"]


def test_syslog_and_the_journal_get_lines_and_a_missing_daemon_is_told(cluster, make_node, nodedir, key):
    path = os.path.join(nodedir, "log.sock")
    got, reading = [], True
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        daemon.settimeout(0.2)

        def read():
            while reading:
                try:
                    got.append(daemon.recv(65536).decode())
                except socket.timeout:
                    pass

        reader = threading.Thread(target=read)
        reader.start()
        try:
            (node,) = cluster(1, settings={"log.target": "journald", "log.socket": path, "node.workers": 1,
                                           "log.level": "info"})
            wait_for(lambda: any("worker ready pid" in d for d in got), what="a worker's line")
        finally:
            reading = False
            reader.join()
        assert got[0].startswith("PRIORITY=") and "\nSYSLOG_IDENTIFIER=shoald\n" in got[0]
        assert any("\nSHOAL_WORKER=0\n" in d and "\nSHOAL_PID=" in d for d in got)
        assert node.log() == ""
        # nobody reads any more: the node goes on, and does not wait
        client = Client(node.url, key)
        assert tell_level(node, "debug")[0] == 0
        for _ in range(30):
            client.run("shoal.noop")
        wait_for(lambda: metric(node, "log_lines_dropped_total") > 0, what="dropped and counted")
    os.unlink(path)
    lonely = make_node({"log.target": "syslog", "log.socket": path})
    done = subprocess.run(program() + ["-c", lonely.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=program_env(), timeout=30, check=False)
    assert done.returncode == 1 and "log.socket" in done.stdout.decode()


def test_no_secret_and_no_payload_at_any_level(cluster, key, nodedir, collector):
    """Canaries in the configuration, payloads, headers, URLs and answers; everything is switched on."""
    access = os.path.join(nodedir, "access")
    (node,) = cluster(1, settings={
        "log.level": "debug", "log.access": access, "access.token": "canary-token-1",
        "traces.endpoint": collector.url, "traces.headers": '"Authorization: Bearer canary-collector-2"',
    })
    node.token = "canary-token-1"
    client = Client(node.url, key)
    task = client.run("shoal.echo", {"canary": "canary-payload-3"}, metadata={"canary": "canary-metadata-4"})
    assert "canary-payload-3" in json.dumps(task)
    client.run("shoal.fail", {"message": "canary-message-5"}, max_attempts=1)
    for query in ("api_key=canary-query-6", "canary-query-7", "wait=shoal_live_canary-8", "token=canary-query-9"):
        assert client.request("GET", "/v1/tasks?" + query).status_code == 400
    bare = Client(node.url, None)
    bare.request("GET", "/v1/tasks", headers={"Authorization": "Bearer canary-key-10", "Cookie": "a=canary-11"})
    bare.request("POST", "/v1/tasks", data="{canary-body-12", headers={"Authorization": "Bearer " + key})
    requests.get(node.dev_url + "/metrics", headers={"Authorization": "Bearer canary-token-1"}, timeout=10)
    requests.get(node.dev_url + "/metrics", headers={"Authorization": "Bearer canary-wrong-13"}, timeout=10)
    wait_for(lambda: sum("/metrics" in l for l in open(access)) >= 2, what="the last line")
    wait_for(lambda: any(s.kind == "consumer" for s in collector.spans), what="spans")
    assert collector.headers[0]["Authorization"] == "Bearer canary-collector-2"
    for text in (node.log(), open(access).read(), repr(collector.spans)):
        assert "canary" not in text and key not in text and key[20:50] not in text


def test_the_logs_are_never_in_the_way(cluster, key):
    """A log that is full, and an access log that is full: lines are dropped and counted, tasks run."""
    (node,) = cluster(1, settings={"log.file": "/dev/full", "log.access": "/dev/full", "node.workers": 1})
    client = Client(node.url, key)
    for _ in range(5):
        client.run("shoal.noop")
    wait_for(lambda: metric(node, "log_lines_dropped_total") > 10, what="dropped lines")
    # what waits for a disk is kept, up to a bound
    for _ in range(1200):
        client.request("GET", "/v1/tasks?limit=1&" + "x" * 300)
    wait_for(lambda: metric(node, "access_lines_dropped_total") > 0, what="dropped access lines")
    client.run("shoal.noop")


# ----------------------------------------------------------------------- the access log


def test_each_request_has_a_line_with_its_id_and_where_its_time_went(cluster, key, nodedir):
    path = os.path.join(nodedir, "access")
    (node,) = cluster(1, settings={"log.access": path, "log.format": "json", "node.workers": 1})
    client = Client(node.url, key)

    def lines():
        with open(path) as f:
            return [json.loads(l) for l in f]

    def line(id):
        return wait_for(lambda: next((l for l in lines() if l["request"] == id), None), what="the line of %s" % id)

    answer = client.request("POST", "/v1/tasks?wait=20", json={"type": "shoal.sleep", "payload": {"seconds": 0.3}},
                            headers={"X-Request-Id": "mine/1=a", "User-Agent": 'a "b"\\'})
    assert answer.status_code == 200 and answer.headers["X-Request-Id"] == "mine/1=a"
    told = line("mine/1=a")
    assert told["client"] == "127.0.0.1" and told["listener"] == "applications" and told["status"] == 200
    assert told["method"] == "POST" and told["target"] == "/v1/tasks?wait=20"
    assert told["task"] == answer.json()["id"] and told["application"] >= 1 and told["worker"] == 0
    assert told["agent"] == 'a "b"\\' and told["node"] == node.status()["node"]
    assert told["wait_us"] >= 250_000 and told["store_us"] > 0 and told["line_us"] > 0 and told["write_us"] > 0
    assert told["bytes_in"] > len(answer.request.body) and told["bytes_out"] > len(answer.content)

    # ids of ours for those that are none
    ids = set()
    for given in (None, "", "x" * 65, "a b", "a;b"):
        headers = {} if given is None else {"X-Request-Id": given}
        id = client.request("GET", "/v1/tasks?limit=1&secret=abc", headers=headers).headers["X-Request-Id"]
        assert re.fullmatch("[0-9a-f]{16}-[0-9a-f]+", id)
        ids.add(id)
    assert len(ids) == 5
    assert line(id)["target"] == "/v1/tasks?limit=1&secret=***" and line(id)["status"] == 400

    # a head that is refused unread, and a client that has hung up
    with socket.create_connection(("127.0.0.1", node.app_port)) as s:
        s.sendall(b"NONSENSE\r\n\r\n")
        refused = s.recv(4096).decode()
    id = re.search("X-Request-Id: (.*)\r\n", refused).group(1)
    assert line(id)["status"] == 400 and line(id)["method"] == "-"
    with socket.create_connection(("127.0.0.1", node.app_port)) as s:
        task = client.submit("shoal.sleep", {"seconds": 30})["id"]
        s.sendall(("GET /v1/tasks/%s?wait=30 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX-Request-Id: gone\r\n\r\n"
                   % (task, key)).encode())
        wait_for(lambda: metric(node, "waiters") == 1, what="it waits")
    assert line("gone")["status"] == 0 and line("gone")["task"] == task and line("gone")["target"].endswith("?wait=30")

    # a stream has its line at its end
    stream = client.request("GET", "/v1/events", stream=True, headers={"X-Request-Id": "stream"})
    assert stream.headers["X-Request-Id"] == "stream"
    client.cancel(task)
    next(stream.iter_lines())
    stream.close()
    assert line("stream")["bytes_out"] > 100

    # rotated
    os.rename(path, path + ".1")
    node.send(signal.SIGUSR1)
    wait_for(lambda: os.path.exists(path), what="the file is made anew")
    client.request("GET", "/v1/tasks", headers={"X-Request-Id": "after"})
    assert line("after")["status"] == 200


# --------------------------------------------------------------------------------- traces


def test_spans_of_request_wait_and_run_are_linked_across_workers(cluster, key, collector, tmp_path):
    (tmp_path / "told.sh").write_text("echo $TRACEPARENT\n[ $SHOAL_ATTEMPT -ge 2 ] || exit 75\n")
    (node,) = cluster(1, settings={
        "traces.endpoint": collector.url, "traces.headers": '"X-Key: abc"', "traces.service": "queue one",
        "type:told.handler": "exec", "type:told.command": "/bin/sh %s/told.sh" % tmp_path,
        "type:told.backoff": "[0]",
    })
    client = Client(node.url, key)
    began = time.time()
    answer = client.request("POST", "/v1/tasks?wait=20", json={"type": "told", "queue": "letters"},
                            headers={"traceparent": PARENT, "X-Request-Id": "r1"})
    task = answer.json()
    assert task["state"] == "succeeded" and task["trace_id"] == TRACE and task["attempt"] == 2
    request, *others = wait_for(lambda: len(collector.of(TRACE)) >= 5 and collector.of(TRACE), at_most=15, what="spans")
    runs = [s for s in others if s.kind == "consumer"]
    waits = [s for s in others if s.kind == "producer"]
    assert (len(runs), len(waits)) == (2, 2)
    assert request.kind == "server" and request.name == "POST /v1/tasks" and request.parent == SPAN
    assert request.attributes["http.response.status_code"] == 200 and request.attributes["shoal.request.id"] == "r1"
    assert request.attributes["shoal.task.id"] == task["id"] and request.attributes["http.route"] == "/v1/tasks"
    for n, (wait, run) in enumerate(zip(waits, runs), 1):
        assert wait.parent == request.id and run.parent == wait.id
        assert wait.name == "wait letters" and run.name == "run told"
        assert wait.end == run.start and run.attributes["shoal.task.attempt"] == n
        assert run.attributes["shoal.task.id"] == task["id"]
        assert began - 1 < wait.start <= run.end <= time.time() + 1
    assert runs[0].error == "exit_75" and runs[0].attributes["shoal.task.outcome"] == "retry"
    assert runs[1].error is None and runs[1].attributes["shoal.task.outcome"] == "succeeded"
    # a retry waits from when it was due, not from the submit
    assert waits[1].start >= runs[0].start
    # the run's span is what its handler got, and what the events say
    assert task["result"].strip() == "00-%s-%s-01" % (TRACE, runs[1].id)
    spans = [e["span_id"] for e in client.call("GET", "/v1/tasks/%s/events" % task["id"])["events"] if e.get("span_id")]
    assert {runs[0].id, runs[1].id} == set(spans)
    resource = request.resource
    assert resource["service.name"] == "queue one" and resource["service.instance.id"].startswith(node.status()["node"])
    assert collector.headers[0]["X-Key"] == "abc"

    # a delay is no wait; a trace begins with a request that has none; what is not sampled is not told
    late = client.submit("shoal.noop", delay=1.5)
    done = client.wait(late["id"])
    assert re.fullmatch("[0-9a-f]{32}", done["trace_id"])
    root, wait, run = wait_for(lambda: len(collector.of(done["trace_id"])) >= 3 and
                               [s for s in collector.of(done["trace_id"]) if s.name != "GET /v1/tasks/{id}"], what="spans")
    assert root.parent is None and wait.parent == root.id and run.parent == wait.id
    assert wait.start - root.start > 1.3
    quiet = client.submit("shoal.noop", headers={"traceparent": PARENT[:-2] + "00"})
    assert client.wait(quiet["id"])["trace_id"] == TRACE
    assert metric(node, "spans_exported_total") >= 8 and metric(node, "spans_dropped_total") == 0
    assert len(collector.of(TRACE)) == 5

    # a collector that is broken: counted, told, tried again; tasks know nothing of it
    collector.status = 503
    before = len(collector.spans)
    client.run("shoal.noop")
    node.wait_log("the collector does not take spans")
    wait_for(lambda: metric(node, "span_exports_failed_total") > 0, what="counted")
    collector.status = 200
    node.wait_log("the collector takes spans again")
    wait_for(lambda: len(collector.spans) >= before + 3, what="nothing was lost")
    collector.status = 400
    client.run("shoal.noop")
    wait_for(lambda: metric(node, "spans_dropped_total") > 0, what="dropped")
    # what is still there when the node leaves is sent
    collector.status = 200
    last = client.run("shoal.noop")
    assert node.stop(signal.SIGINT) == 0
    assert [s for s in collector.of(last["trace_id"]) if s.kind == "consumer"]


# -------------------------------------------------------------------------------- crashes


@pytest.mark.parametrize("sig", (signal.SIGSEGV, signal.SIGABRT))
def test_a_worker_that_crashes_names_its_tasks_and_requests(cluster, key, sig):
    (node,) = cluster(1, settings={"node.workers": 1, "log.format": "json", "log.level": "info"})
    client = Client(node.url, key)
    tasks = {client.submit("shoal.sleep", {"seconds": 60})["id"] for _ in range(3)}
    ended = client.run("shoal.noop")["id"]
    for id in tasks:
        client.wait_state(id, "running")

    def wait():
        with pytest.raises(requests.ConnectionError):
            client.request("GET", "/v1/tasks/%s?wait=60" % min(tasks), headers={"X-Request-Id": "waiting-one"})

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_for(lambda: metric(node, "waiters") == 1, what="a request waits")
    pid = node.kill_worker(sig=sig)
    waiting.join(20)
    assert not waiting.is_alive()
    node.wait_log('"message":"worker ended"')
    lines = objects(node.log())
    report = [l for l in lines if l["message"].startswith("crash report")]
    assert {l["worker"] for l in report} == {0} and {l["level"] for l in report} == {"error"}
    first, last = report[0], report[-1]
    assert first["signal"] == sig.name and first["pid"] == pid and first["from_pid"] == os.getpid()
    assert re.fullmatch("[0-9a-f]{40}", first["build_id"]) and int(first["base"], 16) > 0
    running = [l for l in report if l["message"] == "crash report: running"]
    assert {l["task"] for l in running} == tasks and {l["attempt"] for l in running} == {1}
    assert ended not in json.dumps(report)
    (request,) = [l for l in report if l["message"] == "crash report: request"]
    assert request["request"] == "waiting-one" and request["path"] == "/v1/tasks/" + min(tasks)
    frames = [l for l in report if l["message"] == "crash report: frame"]
    assert len(frames) > 5 and any(re.search(r"worker 0\(\+0x[0-9a-f]+\)", l["at"]) for l in frames)
    assert last["message"] == "crash report ends" and last["running"] == 3 and last["frames"] >= len(frames)
    # it died by the signal, and left no core
    (death,) = [l for l in lines if l["message"] == "worker ended"]
    assert "killed by signal %d" % sig in death["reason"] and "core" not in death["reason"]
    with open("/proc/%d/limits" % wait_for(node.worker_pids)[0]) as f:
        assert re.search(r"Max core file size\s+0\s+0", f.read())
    for id in tasks:
        client.cancel(id)


def test_core_dumps_are_as_the_configuration_says(cluster):
    (node,) = cluster(1, node__workers=1, node__core_dumps="yes")
    with open("/proc/%d/limits" % node.worker_pids()[0]) as f:
        soft, hard = re.search(r"Max core file size\s+(\S+)\s+(\S+)", f.read()).groups()
    assert soft == hard

# SPDX-License-Identifier: BSD-2-Clause
"""The laboratory of tests/lab, a few of its scenarios: real machines' worth of name spaces, under load.

Needs root and network name spaces; the whole of it is run by hand, docs/laboratory.md.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from shoaltest import process
from shoaltest.node import build_directory
from shoaltest.waits import wait_for

LAB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lab")
sys.path.append(LAB)

from lablib import net, record, wire  # noqa: E402


def run(*words):
    """Its status, and what it said."""
    done = subprocess.run([sys.executable, os.path.join(LAB, "run"), "--build", build_directory()] + list(words),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def left():
    """of a laboratory, on this machine"""
    names = os.listdir(net.NETNS) if os.path.isdir(net.NETNS) else []
    return [n for n in names if n.startswith(net.PREFIX)] + [d for d in (net.STATE, net.ETC) if os.path.exists(d)]


@pytest.fixture
def laboratory(tmp_path):
    try:
        net.check()
    except net.Missing as e:
        pytest.skip(str(e))
    if left():
        pytest.skip("another laboratory is on this machine")
    return tmp_path


@pytest.mark.alone
def test_the_laboratory_keeps_the_promises_and_leaves_nothing(laboratory):
    report = laboratory / "report.json"
    status, said = run("--only", "redis-dns", "--only", "postgres-promoted", "--seconds", "1", "--rate", "40", "--json",
                       str(report), "--keep", str(laboratory / "logs"))
    assert status == 0, said
    results = json.loads(report.read_text())["results"]
    assert [r["name"] for r in results] == ["redis-dns", "postgres-promoted"], said
    for result in results:
        assert result["accepted"] > 40 and result["lost"] == 0 and result["bounds"], result
    assert not left()


@pytest.mark.alone
def test_a_laboratory_that_was_killed_is_removed_by_the_next(laboratory):
    # as a crash of the run in the middle leaves it
    code = "import sys, time; sys.path.insert(0, sys.argv[1]); from lablib import net; net.make()"
    subprocess.run([sys.executable, "-c", code, LAB], check=True)
    try:
        net.run("n1", ["iptables", "-A", "INPUT", "-j", "DROP"])
        with subprocess.Popen(net.words("n1", ["sleep", "60"])) as sleeper:
            assert net.STATE in left()
            status, said = run("--clean")
            assert (status, said) == (0, "")
            assert sleeper.wait(10) == -9
        assert not left()
    finally:
        net.remove()


# --------------------------------------------------------------------- what it judges and cuts with


class Story:
    """A record of three tasks that went well, into which a test plants what did not."""

    def __init__(self, directory):
        self.directory = directory
        self.known = [
            {"n": n, "flavour": "keyed", "outcome": "accepted", "id": "id%d" % n, "asked_at": n, "known_at": n + 0.1,
             "requests": 1, "failures": []} for n in (1, 2, 3)]
        self.reads = [{"read": "id1", "outcome": "found", "requests": 1, "failures": []}]
        self.runs = [("S", 1, "id1", 1, "f1", 1.2), ("E", 1, "id1", 1, "f1", 1.3), ("S", 2, "id2", 1, "f2", 2.2),
                     ("E", 2, "id2", 1, "f2", 2.3), ("S", 3, "id3", 1, "f3", 3.2), ("E", 3, "id3", 1, "f3", 3.3)]
        self.rows = [["id%d" % n, record.SUCCEEDED, 1, json.dumps({"n": n, "ms": 1}),
                      json.dumps({"n": n, "attempt": 1, "fence": "f%d" % n})] for n in (1, 2, 3)]

    def account(self):
        lines = [{"begin": one["n"]} for one in self.known] + self.known + self.reads
        (self.directory / "load").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (self.directory / "executions").write_text("".join("%s %d %s %d %s %.6f w\n" % run for run in self.runs))
        return record.Account(record.Load(self.directory / "load").follow(),
                              *record.executions(self.directory / "executions"), self.rows)

    def faults(self):
        account = self.account()
        return [name for name in account.FAULTS if getattr(account, name)()]


def set_state(story, state):
    story.rows[0][1] = state


PLANTED = {
    "a row that is gone": (lambda s: s.rows.pop(), ["lost", "never_submitted"]),
    "a task that failed": (lambda s: set_state(s, 4), ["lost"]),
    "one that never ends": (lambda s: set_state(s, 2), ["lost", "unfinished"]),
    "an outcome nobody learned": (lambda s: s.known[2].update(outcome="unknown"), ["unknown"]),
    "a submit that is refused": (lambda s: s.known[2].update(outcome="refused"), ["refused"]),
    "a run that nobody asked for": (
        lambda s: s.runs.append(("S", 9, "id9", 1, "f9", 4.0)), ["never_submitted"]),
    "two tasks of one submit": (
        lambda s: s.rows.append(["id4", record.SUCCEEDED, 1, s.rows[0][3], s.rows[0][4].replace("f1", "f4")]),
        ["twins", "wrong_winner"]),
    "an attempt that began twice": (lambda s: s.runs.append(("S", 1, "id1", 1, "f1", 4.0)), ["started_twice"]),
    "an outcome of a run that never ended": (lambda s: s.runs.pop(1), ["wrong_winner"]),
    "an outcome of another attempt": (lambda s: s.rows[0].__setitem__(2, 2), ["wrong_winner"]),
    "an outcome that changed": (
        lambda s: s.known[0].update(told={"n": 1, "attempt": 1, "fence": "f0"}), ["wrong_winner"]),
    "a task that a node did not find": (lambda s: s.reads[0].update(outcome="missing"), ["missing"]),
}


@pytest.mark.parametrize("what", PLANTED)
def test_each_planted_fault_is_found(tmp_path, what):
    story = Story(tmp_path)
    assert story.faults() == []
    plant, expected = PLANTED[what]
    plant(story)
    assert story.faults() == expected


def test_pauses_waits_and_second_runs_are_measured(tmp_path):
    story = Story(tmp_path)
    # accepted at 2.1 and 3.1, begun at 7 and 7.5: nothing began from 2.1 to 7
    story.runs[2:] = [("S", 2, "id2", 1, "f2", 7.0), ("E", 2, "id2", 1, "f2", 7.1), ("S", 3, "id3", 1, "f3", 7.5),
                      ("S", 3, "id3", 2, "f4", 9.0), ("E", 3, "id3", 2, "f4", 9.1)]
    account = story.account()
    assert account.pause() == (pytest.approx(4.9), 7.0)
    assert account.slowest_start() == pytest.approx(4.9)
    assert account.slowest_start(after=5.0) == pytest.approx(2.5)
    assert account.again() == 1
    assert account.slowest_again(8.0) == pytest.approx(1.0)


class Echo(threading.Thread):
    """A server that sends back what it gets."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass


def test_the_wire_does_what_it_is_told(tmp_path):
    echo = Echo()
    echo.start()
    port = process.free_port()
    control = str(tmp_path / "wire.sock")
    proxy = process.start([sys.executable, wire.__file__, control, "echo=127.0.0.1:%d=127.0.0.1:%d" % (port, echo.port)])
    tell = wire.Wire(control).tell
    try:
        wait_for(wire.Wire(control).is_there, what="the wire listens")

        def call(connection, data, patience=5):
            connection.settimeout(patience)
            began = time.monotonic()
            connection.sendall(data)
            got = b""
            while len(got) < len(data) and (more := connection.recv(65536)):
                got += more
            return got, time.monotonic() - began

        def connect():
            return socket.create_connection(("127.0.0.1", port), timeout=5)

        with connect() as one:
            assert call(one, b"a")[0] == b"a"
            tell("echo", delay_ms=200)
            assert call(one, b"b")[1] >= 0.4
            tell("echo", heal=True, bytes_per_s=10000)
            assert call(one, b"c" * 5000)[1] >= 0.9
            tell("echo", heal=True, stalled=["to_client"])
            with pytest.raises(socket.timeout):
                call(one, b"d", patience=0.3)
            tell("echo", heal=True)
            assert one.recv(10) == b"d"  # late, and not lost
            tell("echo", cut={"to_client": 3})
            one.sendall(b"efghi")
            assert one.recv(10) == b"efg"
            with pytest.raises(ConnectionResetError):
                one.recv(10)
        tell("echo", reset=True)
        with pytest.raises(ConnectionResetError), connect() as two:
            two.recv(1)
        other = Echo()
        other.start()
        echo.socket.close()
        counts = tell("echo", heal=True, target="127.0.0.1:%d" % other.port)
        with connect() as three:
            assert call(three, b"j")[0] == b"j"
        assert counts["connections"] == 2 and counts["resets"] == 2
        with pytest.raises(ValueError, match="directions"):
            tell("echo", stalled=["sideways"])
    finally:
        proxy.kill()
        proxy.wait()

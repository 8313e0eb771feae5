#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Steady load of numbered tasks, and what became of each request.

Runs as a program of its own (main), so that nothing else delays it, until TERM; then what is unknown is
asked until it is known.  Each line of its record is one JSON object:

    {"begin": n}                     the number is about to be used
    {"n": n, "flavour": F, ...}      what became of it: "outcome" is "accepted", "unknown" or "refused";
                                     "id", "known_at" (monotonic), "requests", "failures": [[at, what]...]
    {"read": id, ...}                a look at an earlier task, on any node: "found", "missing" or "failed"
    {"stall": S, "at": T}            the machine let a thread that does nothing wait that long

Flavours: "keyed" has an Idempotency-Key and is sent again until its outcome is known; "waited" too, and waits
for the result; "plain" has no key, and is sent once: if that fails its outcome is unknown.
"""

import argparse
import http.client
import itertools
import json
import os
import random
import signal
import socket
import sys
import threading
import time

REQUEST_TIMEOUT_S = 15  # above the balancer's: the answer is then the balancer's
REPEAT_PAUSE_S = 0.25
STALL_TICK_S = 0.02
STALL_S = 0.1
LATE_S = 1.0  # a number that is not used by then is left out: the load does not catch up
WAIT_S = 4
MARK = "lab"


class Failure(Exception):
    """No answer, or one that a sound cluster does not give.  str() is a short kind."""


class Caller:
    """One kept connection to the balancer, made again when it breaks."""

    def __init__(self, host, port, key):
        self.host, self.port = host, port
        self.headers = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
        self.connection = None

    def ask(self, method, path, body=None, headers=None):
        """(status, JSON); Failure if there is no answer."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, self.port, timeout=REQUEST_TIMEOUT_S)
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection.request(method, path, body, dict(self.headers, **(headers or {})))
            answer = self.connection.getresponse()
            data = answer.read()
            if answer.will_close:
                self.close()
            try:
                return answer.status, json.loads(data) if data else None
            except ValueError:
                return answer.status, None  # the balancer's own pages
        except socket.timeout as e:
            self.close()
            raise Failure("timeout") from e
        except ConnectionRefusedError as e:
            self.close()
            raise Failure("refused") from e
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise Failure("closed") from e

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Load:
    def __init__(self, args):
        self.args = args
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.record = open(args.record, "a", encoding="ascii")  # pylint: disable=consider-using-with
        self.numbers = itertools.count(args.first)
        self.began = time.monotonic()
        self.recent = []  # ids of accepted tasks, some of the last ones

    def note(self, **what):
        line = json.dumps(what) + "\n"
        with self.lock:
            self.record.write(line)
            self.record.flush()

    def watch_machine(self):
        """what every time that is measured here is to be read beside"""
        while not self.over.is_set():
            before = time.monotonic()
            time.sleep(STALL_TICK_S)
            late = time.monotonic() - before - STALL_TICK_S
            if late > STALL_S:
                self.note(stall=late, at=before)

    def next(self):
        """The next number at its time; None when there are no more."""
        while not self.over.is_set():
            with self.lock:
                n = next(self.numbers)
            due = self.began + (n - self.args.first) / self.args.rate
            late = time.monotonic() - due
            if late > LATE_S:
                continue
            if late < 0 and self.over.wait(-late):
                break
            return n
        return None

    def work(self, seed):
        rng = random.Random(seed)
        caller = Caller(self.args.host, self.args.port, self.args.key)
        while (n := self.next()) is not None:
            self.submit(caller, n, rng)
            if n % 10 == 0:
                self.look(caller, rng)

    def flavour(self, n):
        if n % 10 == 3:
            return "waited"
        return "plain" if n % 10 in (0, 2, 5, 7) and not self.args.keyed else "keyed"

    def submit(self, caller, n, rng):
        flavour = self.flavour(n)
        # most are short, so that many go through; some are there whenever something happens
        ms = rng.choice((1500, 3000)) if n % 12 == 0 else rng.randrange(0, 20)
        body = json.dumps({"type": "lab.work", "payload": {"n": n, "ms": ms}})
        path = "/v1/tasks" + ("?wait=%d" % WAIT_S if flavour == "waited" else "")
        headers = {} if flavour == "plain" else {"Idempotency-Key": "%s-%d" % (MARK, n)}
        self.note(begin=n)
        began, failures, requests = time.monotonic(), [], 0
        said = {"n": n, "flavour": flavour, "outcome": "unknown", "id": None, "known_at": None}
        while True:
            requests += 1
            try:
                status, answer = caller.ask("POST", path, body, headers)
                if status in (200, 201, 202) and answer is not None and "id" in answer:
                    said.update(outcome="accepted", id=answer["id"], known_at=time.monotonic())
                    if answer.get("state") == "succeeded":
                        said["told"] = answer["result"]
                    break
                if 400 <= status < 500 and status not in (408, 429):
                    said.update(outcome="refused", answer=answer)
                    failures.append([time.monotonic(), str(status)])
                    break
                code = (answer or {}).get("code")
                raise Failure("%d %s" % (status, code) if code else "%d" % status)
            except Failure as e:
                failures.append([time.monotonic(), str(e)])
            if flavour == "plain" or time.monotonic() - began > self.args.patience:
                break
            time.sleep(REPEAT_PAUSE_S * rng.uniform(0.5, 1.5))
        self.note(**said, asked_at=began, requests=requests, failures=failures)
        if said["id"] is not None and n % 10 in (1, 5, 8):
            with self.lock:
                self.recent.append(said["id"])
                del self.recent[:-200]

    def look(self, caller, rng):
        """whatever was accepted is there, on any node"""
        with self.lock:
            if not self.recent:
                return
            id_ = rng.choice(self.recent)
        said, failures = "failed", []
        try:
            status, answer = caller.ask("GET", "/v1/tasks/" + id_)
            if status == 200:
                said = "found"
            elif status == 404:
                said = "missing"
            else:
                code = (answer or {}).get("code")
                failures.append([time.monotonic(), "%d %s" % (status, code) if code else "%d" % status])
        except Failure as e:
            failures.append([time.monotonic(), str(e)])
        self.note(read=id_, outcome=said, requests=1, failures=failures)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--host", required=True)
    p.add_argument("--port", type=int, default=80)
    p.add_argument("--rate", type=float, default=100, help="tasks a second")
    p.add_argument("--threads", type=int, default=24)
    p.add_argument("--first", type=int, default=1, help="number")
    p.add_argument("--keyed", action="store_true", help="no task without a key")
    p.add_argument("--patience", type=float, default=90, help="seconds that an outcome may stay unknown")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--record", required=True, help="file")
    args = p.parse_args()
    args.key = os.environ["LAB_KEY"]
    load = Load(args)
    signal.signal(signal.SIGTERM, lambda *_: load.over.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the run's, which ends us
    threads = [threading.Thread(target=load.work, args=(args.seed * 1000 + i,)) for i in range(args.threads)]
    threads.append(threading.Thread(target=load.watch_machine))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())

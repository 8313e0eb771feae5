# SPDX-License-Identifier: BSD-2-Clause
"""A worker as a stream child: docs/stream-protocol.md, line by line, over real pipes."""

import json
import signal
import unittest

from support import NodeTest, wait_for

PROGRAM = """
import os, subprocess, sys, threading, time
import shoal

worker = shoal.Worker()
started = threading.Semaphore(0)

@worker.task("work")
def work(payload, task):
    do = payload["do"]
    if do == "echo":
        return payload
    if do == "print":
        print("to print", flush=False)
        subprocess.run(["echo", "to a program"], check=True)
        return sys.stdin.read()
    if do == "tell":
        task.progress({"half": 0.5})
        task.log("one\\ntwo")
        return None
    if do == "retry":
        raise shoal.Retry("busy", after=2.5, code="busy")
    if do == "fail":
        raise shoal.Fail("no text", code="bad text!")
    if do == "raise":
        raise KeyError("missing")
    if do == "exit":
        sys.exit(3)
    if do == "nothing":
        return object()
    if do == "nul":
        return {"a": ["x\\0y"]}
    if do == "large":
        return "x" * payload["bytes"]
    if do == "wait":
        task.log("waits")
        task.wait_cancelled(60)
        task.raise_if_cancelled()
        return "not cancelled"
    if do == "meet":
        # both must be there at a time
        gate.wait(20)
        return "met"

@worker.task("async")
async def async_work(payload, task):
    return task.attempt

gate = threading.Barrier(2)
worker.run(concurrency=4)
print("after run")
"""


class Child:
    def __init__(self, test, hello=True, type="work", program=PROGRAM):
        self.process = test.program(program, SHOAL_TYPE=type, SHOAL_WORKER="node-1")
        self.got = []
        if hello:
            self.say({"hello": {"version": 1, "type": type, "worker": "node-1", "max_line": 5000, "later": 1}})
            test.assertEqual(self.next(), {"hello": {"version": 1, "concurrency": 4}})

    def say(self, *lines):
        self.process.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self.process.stdin.flush()

    def task(self, id, type="work", **payload):
        self.say({"task": {
            "id": id, "type": type, "queue": "default", "attempt": 2, "max_attempts": 25, "fence": "1-x",
            "deadline": None, "payload": payload}})

    def next(self):
        line = self.process.stdout.readline()
        assert line.endswith(b"\n"), (line, self.process.stderr.read())
        return json.loads(line)

    def ask(self, id, **payload):
        self.task(id, **payload)
        return self.next()

    def end(self):
        """What it wrote, and to standard error, until its end."""
        if self.process.stdin is not None:
            self.process.stdin.close()
            self.process.stdin = None
        # not communicate(): lines may lie in the reader's buffer already
        out, err = self.process.stdout.read(), self.process.stderr.read()
        self.process.wait(20)
        return [json.loads(line) for line in out.splitlines()], err.decode()


class Speaking(NodeTest):
    def test_results_errors_and_what_is_said_meanwhile(self):
        child = Child(self)
        self.assertEqual(child.ask("a", do="echo", text="ä"), {"id": "a", "result": {"do": "echo", "text": "ä"}})
        child.task("b", do="tell")
        self.assertEqual([child.next() for _ in range(4)], [
            {"id": "b", "progress": {"half": 0.5}}, {"id": "b", "log": "one"}, {"id": "b", "log": "two"},
            {"id": "b", "result": None}])
        self.assertEqual(child.ask("c", do="retry"), {
            "id": "c", "error": {"code": "busy", "message": "busy"}, "retry": True, "retry_in": 2.5})
        self.assertEqual(child.ask("d", do="fail"), {
            "id": "d", "error": {"code": "bad_text_", "message": "no text"}, "retry": False})
        told = child.ask("e", do="raise")
        self.assertEqual((told["retry"], told["error"]["code"]), (True, "KeyError"))
        self.assertTrue(told["error"]["message"].startswith("KeyError: 'missing'\n"), told)
        self.assertIn("in work", told["error"]["message"])
        self.assertEqual(child.ask("f", do="exit")["error"]["code"], "SystemExit")
        for id, do, words in (("g", "nothing", "not JSON serializable"), ("h", "nul", "NUL")):
            told = child.ask(id, do=do)
            self.assertEqual((told["retry"], told["error"]["code"]), (False, "bad_result"))
            self.assertIn(words, told["error"]["message"])
        told = child.ask("i", do="large", bytes=6000)
        self.assertEqual((told["retry"], told["error"]["code"]), (False, "output_too_large"))
        self.assertEqual(child.ask("j", do="large", bytes=4000)["result"], "x" * 4000)
        self.assertEqual(child.ask("k", type="async"), {"id": "k", "result": 2})
        told = child.ask("l", type="other")
        self.assertEqual((told["retry"], told["error"]["code"]), (True, "no_handler"))

    def test_print_and_programs_write_to_the_log_and_read_nothing(self):
        child = Child(self)
        self.assertEqual(child.ask("a", do="print"), {"id": "a", "result": ""})
        child.say({"drain": True})
        out, err = child.end()
        self.assertEqual((out, child.process.returncode), ([], 0))
        self.assertEqual(err.split("\n")[:3], ["to print", "to a program", "after run"])

    def test_several_at_a_time_and_heartbeats_between(self):
        child = Child(self)
        child.task("a", do="wait")
        self.assertEqual(child.next(), {"id": "a", "log": "waits"})
        child.say({"ping": 7}, {"what": "is this?"})
        self.assertEqual(child.next(), {"pong": 7})
        child.task("b", do="meet")
        child.task("c", do="meet")
        self.assertEqual({child.next()["id"] for _ in range(2)}, {"b", "c"})
        child.say({"cancel": "a"}, {"cancel": "nobody"})
        self.assertEqual(child.next()["error"]["code"], "cancelled")

    def test_half_lines_and_many_lines_at_once(self):
        child = Child(self)
        lines = b"".join(b'{"task":{"id":"%d","type":"work","payload":{"do":"echo","n":%d}}}\n' % (n, n) for n in range(500))
        for begin in range(0, len(lines), 7919):
            child.process.stdin.write(lines[begin:begin + 7919])
            child.process.stdin.flush()
        self.assertEqual(sorted(child.next()["result"]["n"] for _ in range(500)), list(range(500)))


class Leaving(NodeTest):
    def test_a_drain_finishes_what_is_there(self):
        for word in ("drain", "end", "TERM"):
            with self.subTest(word):
                child = Child(self)
                child.task("a", do="wait")
                child.next()
                if word == "drain":
                    child.say({"drain": True}, {"cancel": "a"})
                elif word == "end":
                    child.say({"cancel": "a"})
                    child.process.stdin.close()
                    child.process.stdin = None
                else:
                    child.process.send_signal(signal.SIGTERM)
                    child.say({"ping": 1}, {"cancel": "a"})
                    self.assertEqual(child.next(), {"pong": 1})
                out, _ = child.end()
                self.assertEqual([o["error"]["code"] for o in out], ["cancelled"])
                self.assertEqual(child.process.returncode, 0)

    def test_term_ends_a_child_that_has_nothing(self):
        child = Child(self)
        child.process.send_signal(signal.SIGTERM)
        self.assertEqual(child.process.wait(20), 0)

    def test_a_second_term_waits_for_nothing(self):
        child = Child(self)
        child.task("a", do="wait")
        child.next()
        wait_for(lambda: child.process.poll() is not None or child.process.send_signal(signal.SIGTERM))
        self.assertEqual(child.process.returncode, -signal.SIGTERM)

    def test_what_is_not_the_protocol_ends_it_with_a_reason(self):
        for lines, words in (
                ([{"hello": {"version": 0, "type": "work"}}], "version 0"),
                ([{"hello": {"version": 1, "type": "mail"}}], "no handler for tasks of type 'mail'; it has: async, work"),
                ([[1]], "no JSON object"),
                ([{"task": {"id": "a", "type": "work"}}], "before its hello")):
            child = Child(self, hello=False)
            child.say(*lines)
            out, err = child.end()
            self.assertEqual((out, child.process.returncode), ([], 1))
            self.assertIn(words, err)

    def test_without_handlers_there_is_nothing_to_run(self):
        child = Child(self, hello=False, program="import shoal; shoal.Worker().run()")
        _, err = child.end()
        self.assertIn("no handlers", err)
        self.assertEqual(child.process.returncode, 1)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: BSD-2-Clause
"""A worker that leases from a real node."""

import os
import signal
import threading
import time
import unittest

from support import NodeTest, Working, shoal, wait_for

PROGRAM = """
import os, threading, time
import shoal

def say(word):
    os.write(1, word.encode() + b"\\n")  # whole, beside other threads

worker = shoal.Worker(grace=%(grace)s, ttl=60)

@worker.task(%(type)r, queue=%(type)r)
def work(payload, task):
    say("started")
    if payload == "patient":
        time.sleep(1)
        return "finished"
    while not task.cancelled and payload == "endless":
        time.sleep(0.02)
    say("cancelled")
    noted.set()
    time.sleep(600)

noted = threading.Event()
worker.run(concurrency=4)
say("left")
if %(grace)s < 20:
    noted.wait(10)
"""


class PullTest(NodeTest):
    """type is a type and a queue of the test's own."""

    def setUp(self):
        super().setUp()
        self.type = self.unique

    def worker(self, function, concurrency=4, **options):
        made = shoal.Worker(options.pop("client", self.client), **options)
        made.handle(self.type, function, queue=self.type)
        return Working(self, made, concurrency)

    def submit(self, payload=None, **options):
        return self.client.submit(self.type, payload, queue=self.type, **options)

    def leaving(self, grace=20):
        return self.program(PROGRAM % {"type": self.type, "grace": grace})


class Outcomes(PullTest):
    def test_what_a_handler_does_is_what_becomes_of_its_task(self):
        def work(payload, task):
            if payload == "retry" and task.attempt == 1:
                raise shoal.Retry("not yet", after=0.1, code="busy")
            if payload == "fail":
                raise shoal.Fail("never", code="no_use")
            if payload == "raise":
                raise KeyError("what")
            if payload == "nothing":
                return object()
            if payload == "large":
                return "x" * 2000000
            return {"payload": payload, "attempt": task.attempt, "type": task.type, "who": (task.metadata or {}).get("who")}

        self.worker(work)
        tasks = {p: self.submit(p, metadata={"who": "me"}, max_attempts=2, backoff=[3600]) for p in (
            "good", "retry", "fail", "raise", "nothing", "large")}
        good = self.client.wait(tasks["good"], 20)
        self.assertEqual(good.result, {"payload": "good", "attempt": 1, "type": self.type, "who": "me"})
        again = self.client.wait(tasks["retry"], 20)
        self.assertEqual((again.result.attempt, again.failures), (2, 1))
        failed = self.client.wait(tasks["fail"], 20)
        self.assertEqual((failed.state, failed.error.code, failed.error.message), ("failed", "no_use", "never"))
        resting = wait_for(lambda: self._resting(tasks["raise"]), what="the task that raised rests")
        self.assertEqual((resting.error.code, resting.failures), ("KeyError", 1))
        self.assertRegex(resting.error.message, "^KeyError: 'what'\n(.|\n)*in work")
        for name, words in (("nothing", "not JSON serializable"), ("large", "result")):
            task = self.client.wait(tasks[name], 20)
            self.assertEqual((task.state, task.error.code), ("failed", "bad_result"))
            self.assertIn(words, task.error.message)

    def _resting(self, task):
        now = self.client.get(task)
        return now if now.error else None

    def test_progress_and_log_are_seen_while_it_runs(self):
        go_on = threading.Event()
        self.addCleanup(go_on.set)

        def work(_, task):
            task.progress({"done": 1})
            task.log("first\nsecond")
            for n in range(200):
                task.log("many %d %s" % (n, "x" * 500))
            go_on.wait(20)

        self.worker(work)
        task = self.submit()
        wait_for(lambda: self.client.get(task).progress == {"done": 1}, what="progress")
        wait_for(lambda: "many 199" in self.client.log(task), what="log")
        go_on.set()
        self.assertEqual(self.client.wait(task, 20).state, "succeeded")

    def test_so_many_at_a_time_and_all_of_them(self):
        lock = threading.Lock()
        now, most, seen = [], [], []

        def work(payload, _):
            with lock:
                now.append(payload)
                most.append(len(now))
            time.sleep(0.01)
            with lock:
                now.remove(payload)
                seen.append(payload)

        made = self.client.submit_batch([{"type": self.type, "queue": self.type, "payload": n} for n in range(100)])
        self.worker(work, concurrency=5)
        for task in made:
            self.assertEqual(self.client.wait(task, 20).state, "succeeded")
        self.assertEqual(sorted(seen), list(range(100)))
        self.assertEqual(max(most), 5)

    def test_a_cancelled_task_is_told_within_a_third_of_its_lease(self):
        def work(_, task):
            if not task.wait_cancelled(20):
                return "was not told"
            task.raise_if_cancelled()

        self.worker(work, ttl=5)
        task = self.submit()
        wait_for(lambda: self.client.get(task).state == "running", what="it runs")
        self.client.cancel(task)
        ended = self.client.wait(task, 20)
        self.assertEqual(ended.state, "cancelled")


class Keeping(PullTest):
    def test_a_lease_is_kept_as_long_as_the_task_runs(self):
        # longer than the lease: it was extended
        self.worker(lambda _, task: task.wait_cancelled(6), ttl=5)
        task = self.client.wait(self.submit(), 30)
        self.assertEqual((task.result, task.attempt), (False, 1))

    def test_an_outage_of_the_network_is_borne_and_the_result_told_later(self):
        wire = self.wire()
        started, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)

        def work(*_):
            started.set()
            go_on.wait(20)
            return "done meanwhile"

        working = self.worker(work, ttl=30, client=self.connect(url=wire.url))
        task = self.submit()
        self.assertTrue(started.wait(20))
        wire.open = False
        wire.drop()
        go_on.set()
        refused = wire.refused
        wait_for(lambda: wire.refused > refused + 1, what="tries in the outage")
        wire.open = True
        ended = self.client.wait(task, 30)
        self.assertEqual((ended.result, ended.attempt), ("done meanwhile", 1))
        self.assertEqual(self.client.wait(self.submit(), 30).state, "succeeded")
        self.assertIsNone(working.end())

    def test_a_lease_that_is_lost_ends_the_attempt_and_its_outcome_counts_no_more(self):
        wire = self.wire()
        started = threading.Event()
        told = threading.Event()

        def first(_, task):
            started.set()
            if task.wait_cancelled(30):
                told.set()
            return "too late"

        slow = self.worker(first, ttl=5, client=self.connect(url=wire.url))
        task = self.submit()
        self.assertTrue(started.wait(20))
        wire.open = False
        wire.drop()
        self.worker(lambda _, task: "attempt %d" % task.attempt)
        ended = self.client.wait(task, 30)
        self.assertEqual((ended.result, ended.attempt, ended.failures), ("attempt 2", 2, 0))
        wire.open = True
        self.assertTrue(told.wait(20))
        self.assertIsNone(slow.end())
        self.assertEqual(self.client.get(task).result, "attempt 2")


class Leaving(PullTest):
    def said(self, program, *words):
        """Reads a line for each word, in any order."""
        got = [program.stdout.readline().decode().strip() for _ in words]
        self.assertEqual(sorted(got), sorted(words))

    def test_term_finishes_what_runs_and_gives_back_the_rest_at_no_cost(self):
        program = self.leaving(grace=3)
        patient, endless = self.submit("patient"), self.submit("endless")
        self.said(program, "started", "started")
        program.send_signal(signal.SIGTERM)
        self.assertEqual(self.client.wait(patient, 20).result, "finished")
        # given back, and free for another at once
        self.worker(lambda _, task: task.attempt)
        ended = self.client.wait(endless, 20)
        self.assertEqual((ended.state, ended.failures), ("succeeded", 0))
        out, err = program.communicate(timeout=20)
        self.assertEqual((program.returncode, sorted(out.split())), (0, [b"cancelled", b"left"]), err)

    def test_a_second_term_waits_for_nothing(self):
        program = self.leaving()
        self.submit("endless")
        self.said(program, "started")
        wait_for(lambda: program.poll() is not None or program.send_signal(signal.SIGTERM), what="its end")
        self.assertEqual(program.returncode, -signal.SIGTERM)

    def test_a_worker_that_waits_leaves_at_once_and_takes_nothing_with_it(self):
        program = self.leaving()
        self.client.wait(self.submit("patient"), 20)
        self.said(program, "started")
        program.send_signal(signal.SIGINT)
        began = time.monotonic()
        out, err = program.communicate(timeout=20)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual((program.returncode, out), (0, b"left\n"), err)
        task = self.submit()
        self.worker(lambda _, task: task.attempt)
        self.assertEqual(self.client.wait(task, 20).result, 1)


    def test_what_arrives_while_it_leaves_is_given_back(self):
        wire = self.wire()
        ran = []
        leaving = self.worker(lambda _, task: ran.append(task.id), client=self.connect(url=wire.url))
        wait_for(lambda: wire.connections, what="the worker")
        # the type is there, and the request that waits for tasks is under way
        self.client.wait(self.submit(), 20)
        wire.flowing.clear()
        task = self.submit()
        wait_for(lambda: wire.held, what="the lease is on its way")
        leaving.worker.stop()
        wait_for(lambda: wire.hung_up, what="the worker hangs up")
        wire.flowing.set()
        self.assertIsNone(leaving.join(10))
        self.assertEqual(len(ran), 1)
        self.worker(lambda _, task: task.attempt)
        ended = self.client.wait(task, 20)
        self.assertEqual((ended.result, ended.failures), (2, 0))


class Refusing(PullTest):
    @unittest.skipUnless("SHOAL_TEST_NARROW_KEY" in os.environ, "needs SHOAL_TEST_NARROW_KEY")
    def test_a_key_for_one_queue_works_on_that_one(self):
        self.client.call("PUT", "/v1/types/" + self.type, {"handler": "pull"})
        narrow = self.connect(key=os.environ["SHOAL_TEST_NARROW_KEY"])
        worker = self._of(self.type, narrow)
        worker.queues = ["narrow"]
        Working(self, worker)
        self.assertIsNone(self.client.run(self.type, queue="narrow", timeout=20))
        with self.assertRaises(shoal.Forbidden):
            narrow.submit(self.type)
        error = Working(self, self._of(self.type, narrow)).join()
        self.assertIsInstance(error, shoal.Forbidden)
        self.assertEqual(error.code, "out_of_scope")

    def test_what_cannot_work_is_said_at_the_start(self):
        for made, kind, words in (
                (self._of("shoal.echo"), shoal.Conflict, "run by the nodes themselves"),
                (self._of(self.type, client=self.connect(key="shoal_live_nobody")), shoal.Unauthorized, "API key"),
                (self._of(self.type, client=self.connect(url="http://127.0.0.1:1", retries=0)), shoal.Unreachable,
                 "cannot connect")):
            error = Working(self, made).join()
            self.assertIsInstance(error, kind)
            self.assertIn(words, str(error))
        with self.assertRaisesRegex(ValueError, "no handlers"):
            shoal.Worker(self.client).run()
        with self.assertRaisesRegex(TypeError, "two arguments"):
            shoal.Worker().handle("x", lambda payload: 1)
        with self.assertRaisesRegex(ValueError, "ttl"):
            shoal.Worker(ttl=1)

    def _of(self, type, client=None):
        made = shoal.Worker(client or self.client)
        made.handle(type, lambda payload, task: None)
        return made


if __name__ == "__main__":
    unittest.main()

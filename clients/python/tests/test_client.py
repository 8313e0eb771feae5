# SPDX-License-Identifier: BSD-2-Clause
"""The client against a real node."""

import datetime
import os
import threading
import unittest

from support import NodeTest, shoal, wait_for


class Submitting(NodeTest):
    def test_a_result_comes_back_as_it_was_made(self):
        payload = {"text": "ä€\U0001f41f", "n": 12345678901234567, "none": None, "list": [1, 2.5, {"a": []}]}
        self.assertEqual(self.client.run("shoal.echo", payload, timeout=20), payload)

    def test_submit_wait_and_get_show_the_task(self):
        task = self.client.submit("shoal.echo", [1], queue=self.unique, priority=2, metadata={"who": "me"})
        self.assertIn(task.state, ("queued", "running", "succeeded"))
        ended = self.client.wait(task, timeout=20)
        self.assertTrue(ended.ended and ended.succeeded)
        self.assertEqual((ended.result, ended.priority, ended.metadata.who, ended.queue), ([1], 2, "me", self.unique))
        self.assertEqual(self.client.get(task.id).finished_at, ended.finished_at)
        self.assertLessEqual(shoal.parse_time(ended.created_at), shoal.parse_time(ended.finished_at))

    def test_times_are_datetimes_and_durations_timedeltas(self):
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=2)
        task = self.client.submit("shoal.noop", queue=self.unique, run_at=at, backoff=[datetime.timedelta(seconds=5), 9])
        self.assertEqual(task.state, "scheduled")
        self.assertLess(abs(shoal.parse_time(task.run_at) - at), datetime.timedelta(milliseconds=2))
        later = self.client.submit("shoal.noop", queue=self.unique, delay=datetime.timedelta(hours=1))
        self.assertEqual(later.state, "scheduled")
        with self.assertRaisesRegex(ValueError, "run_at: a datetime needs a time zone"):
            self.client.submit("shoal.noop", run_at=datetime.datetime(2030, 1, 1))
        for t in (task, later):
            self.client.cancel(t)

    def test_a_batch_is_in_order_and_may_refer_to_itself(self):
        made = self.client.submit_batch([
            {"type": "shoal.echo", "payload": 1, "queue": self.unique, "ref": "a"},
            {"type": "shoal.echo", "payload": 2, "queue": self.unique, "after": ["a"]}])
        self.assertEqual([self.client.wait(t, 20).result for t in made], [1, 2])

    def test_one_unique_key_is_one_task(self):
        first = self.client.submit("shoal.noop", queue=self.unique, unique_key=self.unique, delay=3600)
        second = self.client.submit("shoal.noop", queue=self.unique, unique_key=self.unique, delay=3600)
        self.assertEqual((first.unique, second.unique, second.id), (None, "existing", first.id))
        with self.assertRaises(shoal.Conflict) as caught:
            self.client.submit("shoal.noop", unique_key=self.unique, on_conflict="reject")
        self.assertEqual(caught.exception.code, "unique_key_taken")
        self.client.cancel(first)

    def test_an_idempotency_key_of_the_callers(self):
        first = self.client.submit("shoal.noop", 1, idempotency_key=self.unique)
        again = self.client.submit("shoal.noop", 1, idempotency_key=self.unique)
        self.assertEqual((first.replayed, again.replayed, again.id), (False, True, first.id))
        with self.assertRaises(shoal.IdempotencyKeyReused):
            self.client.submit("shoal.noop", 2, idempotency_key=self.unique)


class Failing(NodeTest):
    def test_a_task_that_fails_is_an_exception_with_its_error(self):
        with self.assertRaises(shoal.TaskFailed) as caught:
            self.client.run("shoal.fail", {"times": 9, "message": "no luck"}, max_attempts=1, timeout=20)
        self.assertEqual(caught.exception.task.state, "failed")
        self.assertIn("no luck", str(caught.exception))
        self.assertEqual(caught.exception.code, caught.exception.task.error.code)

    def test_waiting_has_an_end_and_the_task_goes_on(self):
        task = self.client.submit("shoal.noop", delay=3600)
        with self.assertRaises(shoal.WaitTimeout) as caught:
            self.client.wait(task, timeout=0.2)
        self.assertEqual((caught.exception.task.id, caught.exception.task.state), (task.id, "scheduled"))
        self.assertIsInstance(caught.exception, TimeoutError)
        self.client.cancel(task)
        with self.assertRaises(shoal.TaskFailed) as caught:
            self.client.run("shoal.sleep", {"seconds": 60}, deadline=0, timeout=20)
        self.assertEqual(caught.exception.task.state, "expired")

    def test_errors_have_classes_codes_and_words(self):
        for call, kind, code in (
                (lambda: self.client.get("01935b1e-7c7a-7d33-9f0e-2a6f4c1d8b90"), shoal.NotFound, "not_found"),
                (lambda: self.client.submit("no good"), shoal.BadRequest, "invalid_field"),
                (lambda: self.client.submit("shoal.noop", "x" * 300000), shoal.TooLarge, "payload_too_large"),
                (lambda: self.client.call("GET", "/v1/nothing"), shoal.NotFound, "not_found"),
                (lambda: self.connect(key="shoal_live_nobody").why("x"), shoal.Unauthorized,
                 "unauthorized")):
            with self.assertRaises(kind) as caught:
                call()
            self.assertEqual(caught.exception.code, code)
            self.assertIn(code, str(caught.exception))

    def test_a_misspelt_option_is_told_before_anything_is_sent(self):
        with self.assertRaisesRegex(TypeError, "'max_attemts'; did you mean 'max_attempts'"):
            self.client.submit("shoal.noop", max_attemts=3)
        with self.assertRaises(ValueError):
            self.client.submit("shoal.echo", float("nan"))
        with self.assertRaisesRegex(ValueError, "SHOAL_URL|http"):
            shoal.Shoal(url="tasks.example.com")
        with self.assertRaisesRegex(ValueError, "API key"):
            shoal.Shoal(key="two words")


class Operating(NodeTest):
    def test_lists_go_on_over_pages(self):
        ids = [t.id for t in self.client.submit_batch(
            [{"type": "shoal.noop", "queue": self.unique} for _ in range(7)])]
        seen = [t.id for t in self.client.list(queue=self.unique, page_size=3)]
        self.assertEqual(sorted(seen), sorted(ids))

    def test_cancel_retry_why_log_history_and_delete(self):
        task = self.client.submit("shoal.echo", 5, queue=self.unique, delay=3600)
        self.assertEqual(self.client.why(task).reason, "scheduled")
        self.assertEqual(self.client.cancel(task, reason="not now").state, "cancelled")
        # the answer is read after the retry: it may have run by then
        self.assertIn(self.client.retry(task).state, ("queued", "running", "succeeded"))
        self.assertEqual(self.client.wait(task, 20).result, 5)
        with self.assertRaises(shoal.Conflict) as caught:
            self.client.retry(task)
        self.assertEqual((caught.exception.code, caught.exception.state), ("succeeded", "succeeded"))
        kinds = [e.kind for e in self.client.history(task, page_size=2)]
        self.assertEqual((kinds[0], kinds[-1]), ("created", "succeeded"))
        self.assertIn("cancelled", kinds)
        self.assertEqual(self.client.log(task), "")
        self.client.delete(task)
        with self.assertRaises(shoal.NotFound):
            self.client.get(task)


class Following(NodeTest):
    def test_events_go_on_where_they_were_after_a_break(self):
        wire = self.wire()
        followed = self.connect(url=wire.url).events(queue=self.unique, kind="succeeded")
        got = []

        def follow():
            for event in followed:
                got.append(event)

        followed.open()
        wait_for(lambda: wire.connections == 1, what="the stream")
        reader = threading.Thread(target=follow)
        reader.start()
        first = self.client.submit("shoal.noop", queue=self.unique)
        wait_for(lambda: got, what="the first event")
        wire.drop()
        second = self.client.submit("shoal.noop", queue=self.unique)
        wait_for(lambda: len(got) == 2, what="the second event")
        self.assertGreaterEqual(wire.connections, 2)
        followed.close()
        reader.join(10)
        self.assertFalse(reader.is_alive())
        self.assertEqual([e.task for e in got], [first.id, second.id])
        # and from a place that was kept
        with self.client.events(after=got[0].id, queue=self.unique, kind="succeeded") as events:
            self.assertEqual(next(iter(events)).task, second.id)

    def test_what_is_refused_is_raised(self):
        with self.assertRaises(shoal.BadRequest):
            next(iter(self.client.events(kind="nonsense")))


class Breaking(NodeTest):
    def test_a_lost_answer_is_asked_for_again_and_makes_one_task(self):
        wire = self.wire()
        client = self.connect(url=wire.url)
        wire.cuts = 2
        task = client.submit("shoal.noop", queue=self.unique)
        self.assertEqual(wire.cuts, 0)
        self.assertEqual([t.id for t in self.client.list(queue=self.unique)], [task.id])
        wire.cuts = 1
        self.assertEqual(len(client.submit_batch([{"type": "shoal.noop", "queue": self.unique}] * 2)), 2)
        self.assertEqual(len(list(self.client.list(queue=self.unique))), 3)
        wire.cuts = 1
        self.assertEqual(client.run("shoal.echo", 7, queue=self.unique, timeout=20), 7)
        self.assertEqual(len(list(self.client.list(queue=self.unique))), 4)

    def test_without_a_key_a_lost_answer_is_the_callers_to_judge(self):
        wire = self.wire()
        wire.cuts = 1
        with self.assertRaises(shoal.Unreachable) as caught:
            self.connect(url=wire.url).submit("shoal.noop", queue=self.unique, idempotency_key=None)
        self.assertTrue(caught.exception.sent)

    def test_nobody_listens(self):
        wire = self.wire()
        wire.close()
        with self.assertRaises(shoal.Unreachable) as caught:
            self.connect(url=wire.url, retries=1).submit("shoal.noop")
        self.assertFalse(caught.exception.sent)

    def test_a_connection_that_was_closed_meanwhile_is_not_used(self):
        wire = self.wire()
        client = self.connect(url=wire.url, retries=0)
        client.submit("shoal.noop", idempotency_key=None)
        wire.drop()
        client.submit("shoal.noop", idempotency_key=None)
        self.assertEqual(wire.connections, 2)

    def test_waiting_outlives_a_node_that_is_away(self):
        wire = self.wire()
        client = self.connect(url=wire.url, retries=0)
        task = client.submit("shoal.sleep", {"seconds": 1})
        wire.open = False
        wire.drop()
        threading.Timer(0.5, lambda: setattr(wire, "open", True)).start()
        self.assertTrue(client.wait(task, timeout=20).succeeded)


class Sharing(NodeTest):
    def test_threads_share_connections_that_are_kept(self):
        wire = self.wire()
        client = self.connect(url=wire.url)
        wrong = []

        def use():
            for n in range(10):
                if client.run("shoal.echo", n, timeout=20) != n:
                    wrong.append(n)

        threads = [threading.Thread(target=use) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        self.assertLessEqual(wire.connections, 8)

    @unittest.skipUnless(hasattr(os, "fork"), "needs fork")
    def test_a_forked_child_uses_connections_of_its_own(self):
        wire = self.wire()
        client = self.connect(url=wire.url)
        client.submit("shoal.noop")
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if client.run("shoal.echo", 1, timeout=20) == 1 else 1)
            finally:
                os._exit(2)
        self.assertEqual(client.run("shoal.echo", 2, timeout=20), 2)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(wire.connections, 2)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: BSD-2-Clause
"""A worker that leases tasks over HTTP.

Four kinds of threads: one leases, for exactly as many tasks as there are free places; as many as there are places run
handlers; one keeps leases, by extending each at a third of its ttl, and takes progress and log lines along; one
reports how attempts ended, all that have ended meanwhile in one request.  The main thread waits for signals.

A place is free when its handler has ended; what is not reported yet is bounded too, so an outage fills
the outbox and no more is leased.  A lease is kept until its end is reported: during an outage both go on trying,
until the node says that the lease is lost, or it must be, by our own clock, and nobody has answered for
LATE_MOST since.

Leaving (SIGTERM, SIGINT, stop()): the request that waits for tasks is hung up, so that the node takes back what it
would have given us; what runs may end within the grace; the rest is told that it is cancelled and given
back at no cost; then run() returns.  A second signal ends the process at once.
"""

import json
import logging
import os
import queue
import socket
import threading
import time
from urllib.parse import quote

from . import errors, transport
from . import task as tasks
from .bell import Bell
from .encode import dumps
from .transport import pause

MAX_LEASES = 100  # of one request
BATCH_MOST = 100  # outcomes in one request
BATCH_BYTES = 4 * 1024 * 1024  # of results in one request, well below a node's http.max_body
LATE_MOST = 60.0  # seconds beyond a lease's certain end in which its outcome is still offered
TELL_EVERY = 1.0  # seconds between two requests for one task's progress
LOG_LINES = 100  # that wait to be sent; the oldest go
LOG_BYTES = 16 * 1024  # of them, each with its end; nodes keep no more of an attempt
NAMES_MOST = 32  # queues, and types, in one request
PAUSE_MOST = 5.0
LEAVE_MOST = 10.0  # seconds that the last reports may take
STALE_MOST = 30.0  # seconds that one request about a lease may take

log = logging.getLogger("shoal.worker")


class Held:
    """One lease.  Its state is changed under the lock of Pull."""

    __slots__ = ("lease", "task", "lost_at", "extend_at", "outcome", "refused", "gone", "progress", "lines", "told_at")

    def __init__(self, lease, task, lost_at, extend_at):
        self.lease = lease
        self.task = task
        self.lost_at = lost_at  # it has certainly ended then, unless it is extended
        self.extend_at = extend_at
        self.outcome = None  # set by the handler's thread, or RELEASE
        self.refused = False  # what was said of its end was not acceptable
        self.gone = False  # nothing is said for it any more
        self.progress = None  # [value] that is to be sent
        self.lines = []
        self.told_at = 0.0

    def due_at(self):
        """When the keeper has something to do for it."""
        if self.outcome is None and (self.progress is not None or self.lines):
            return min(self.extend_at, self.told_at + TELL_EVERY)
        return self.extend_at


RELEASE = object()


def _latest(lines):
    """The last of them that one request may carry."""
    size, first = 0, len(lines)
    while first > 0 and len(lines) - first < LOG_LINES:
        size += len(lines[first - 1].encode()) + 1
        if size > LOG_BYTES:
            break
        first -= 1
    return lines[first:]


class Pull:
    def __init__(self, worker, client, concurrency):
        self._handlers = worker.handlers
        self._queues = worker.queues or ["default"]
        if len(self._queues) > NAMES_MOST or len(self._handlers) > NAMES_MOST:
            raise ValueError("%d queues and %d types; a worker can lease from %d, and of %d" % (
                len(self._queues), len(self._handlers), NAMES_MOST, NAMES_MOST))
        self._name = (worker.name or "%s-%d" % (socket.gethostname(), os.getpid()))[:64]
        self._ttl = worker.ttl
        self._grace = worker.grace
        self._poll = worker.poll
        self._client = client
        self._concurrency = concurrency
        self._bell = Bell()
        self._todo = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._free = concurrency
        self._leasing = True  # the thread lives
        self._proved = False  # a request for leases was answered well
        self._held = {}  # lease: Held, of all that is not reported yet
        self._running = {}  # RunningTask: Held, of what runs and is ours
        self._outbox = []
        self._leaving = False
        self._ended = False
        self._error = None  # why the worker cannot go on
        self._line = transport.Line()
        self._lease_wanted = threading.Condition(self._lock)
        self._keep_wanted = threading.Condition(self._lock)
        self._report_wanted = threading.Condition(self._lock)

    def stop(self):
        self._bell.stop()

    # -- the main thread

    def run(self):
        """Returns when the worker was told to leave and has left; raises what makes work impossible."""
        self._bell.signals()
        try:
            self._claim_types()
            threads = [threading.Thread(target=self._guard, args=(f,), name="shoal-" + n, daemon=True)
                       for n, f in (("lease", self._leases), ("keep", self._keeps), ("report", self._reports))]
            threads += [threading.Thread(target=self._work, name="shoal-%d" % n, daemon=True)
                        for n in range(self._concurrency)]
            for thread in threads:
                thread.start()
            log.info("worker %s takes %s from %s, %d at a time", self._name, ", ".join(sorted(self._handlers)),
                     ", ".join(self._queues), self._concurrency)
            while not self._bell.stops and self._error is None:
                self._bell.wait()
            self._leave()
        finally:
            with self._lock:
                self._leaving = self._ended = True
                self._wake()
            self._line.hang_up()
            self._bell.close()
        if self._error is not None:
            raise self._error

    def _wake(self):
        self._lease_wanted.notify_all()
        self._keep_wanted.notify_all()
        self._report_wanted.notify_all()

    def _guard(self, function):
        """A thread that ends by a mistake ends the worker, instead of leaving it lame."""
        try:
            function()
        except BaseException as e:  # pylint: disable=broad-except
            self._error = self._error or e
            self._bell.ring()

    def _leave(self):
        with self._lock:
            self._leaving = True
            self._wake()
            running = len(self._running)
        self._line.hang_up()
        log.info("leaving; %d tasks run", running)
        # whose lease is lost may clean up, too
        self._wait_until(lambda: not self._leasing and not self._held and self._free == self._concurrency, self._grace)
        with self._lock:
            rest = list(self._running.values())
            for held in rest:
                self._end(held, RELEASE)
        for held in rest:
            log.warning("task %s did not end within the grace of %g s, and is given back", held.task.id, self._grace)
            held.task.cancel()
        if not self._wait_until(lambda: not self._held, LEAVE_MOST):
            log.warning("%d leases could not be reported, and expire", len(self._held))
        log.info("left")

    def _wait_until(self, done, seconds):
        deadline = time.monotonic() + seconds
        while True:
            with self._lock:
                if done():
                    return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._bell.wait(left)

    def _claim_types(self):
        """Each type must be one that outside workers run; those that nobody has made yet are made."""
        for name in self._handlers:
            path = "/v1/types/" + quote(name, safe="")
            try:
                kind = self._client.call("GET", path)["handler"]
            except errors.NotFound:
                try:
                    kind = self._client.call("PUT", path, {"handler": "pull"})["handler"]
                    log.info("type %s is new, and is run by outside workers from now on", name)
                except errors.Forbidden:
                    log.warning("type %s is not known and this key may not make it", name)
                    continue
            except errors.Forbidden:
                continue  # a key that may only work; the node decides
            if kind != "pull":
                raise errors.Conflict(
                    "type %r is run by the nodes themselves (handler = %s); this worker would never get one" % (name, kind),
                    code="not_a_pull_type")

    # -- leasing

    def _leases(self):
        try:
            self._lease_on()
        finally:
            with self._lock:
                self._leasing = False
            self._bell.ring()

    def _lease_on(self):
        failures = 0
        while True:
            with self._lock:
                while not self._leaving and (self._free == 0 or len(self._outbox) > 2 * self._concurrency):
                    self._lease_wanted.wait()
                if self._leaving:
                    return
                want = min(self._free, MAX_LEASES)
            try:
                given = self._client.call(
                    "POST", "/v1/leases", {
                        "queues": self._queues, "types": sorted(self._handlers), "max": want, "wait": self._poll,
                        "ttl": self._ttl, "worker": self._name},
                    timeout=self._poll + 15, retries=0, line=self._line)["leases"]
            except errors.ShoalError as e:
                if self._leaving:
                    return
                # a key or a configuration that never worked is said at once; what breaks later is borne
                if failures == 0 and not self._proved and isinstance(
                        e, (errors.BadRequest, errors.Unauthorized, errors.Forbidden, errors.NotFound)):
                    raise
                failures += 1
                log.log(logging.WARNING if failures in (1, 10) or failures % 100 == 0 else logging.DEBUG,
                        "no tasks can be leased (%d times): %s", failures, e)
                with self._lock:
                    self._lease_wanted.wait_for(
                        lambda: self._leaving, max(e.retry_after or 0, pause(failures, most=PAUSE_MOST)))
                continue
            if failures:
                log.info("tasks are leased again")
            failures = 0
            self._proved = True
            self._take(given)

    def _take(self, given):
        now = time.monotonic()
        with self._lock:
            for one in given:
                given_task = dict(one["task"], fence=one.get("fence"), ends_at=one.get("ends_at"))
                task = tasks.RunningTask(given_task, self)
                held = Held(one["lease"], task, now + self._ttl, now + self._ttl / 3)
                self._held[held.lease] = held
                self._running[task] = held
                if self._leaving:
                    self._end(held, RELEASE)
                else:
                    self._free -= 1
                    self._todo.put(held)
            self._keep_wanted.notify()

    # -- handlers

    def _work(self):
        while True:
            held = self._todo.get()
            task = held.task
            if held.outcome is None:
                outcome = tasks.run(self._handlers[task.type], task)
                level = logging.DEBUG if outcome.code is None else logging.INFO
                log.log(level, "task %s of type %s, attempt %s: %s", task.id, task.type, task.attempt,
                        outcome.code or "succeeded")
            else:
                outcome = None  # given back before it began
            with self._lock:
                self._free += 1
                if held.outcome is None:
                    self._end(held, outcome)
                self._lease_wanted.notify()
                if self._leaving:
                    self._bell.ring()
            held = task = outcome = None  # an idle thread keeps nothing alive

    def _end(self, held, outcome):
        """Under the lock: the attempt is over for us, and its end is to be told."""
        held.outcome = outcome
        self._running.pop(held.task, None)
        if not held.gone:
            self._outbox.append(held)
            self._report_wanted.notify()

    def _forget(self, held):
        """Under the lock: nothing more is said for this lease."""
        held.gone = True
        self._held.pop(held.lease, None)
        if self._leaving:
            self._bell.ring()

    def _lose(self, held, why):
        with self._lock:
            if held.gone:
                return
            self._forget(held)
            self._running.pop(held.task, None)
            if held in self._outbox:
                self._outbox.remove(held)
        log.warning("the lease of task %s, attempt %s, is lost: %s", held.task.id, held.task.attempt, why)
        held.task.cancel()

    # -- what running tasks say

    def progress(self, task, value):
        with self._lock:
            held = self._running.get(task)
            if held is not None:
                held.progress = [value]
                self._keep_wanted.notify()

    def log(self, task, line):
        with self._lock:
            held = self._running.get(task)
            if held is not None:
                held.lines = _latest(held.lines + [line])
                self._keep_wanted.notify()

    # -- keeping leases

    def _keeps(self):
        failures = 0
        while True:
            with self._lock:
                if self._ended:
                    return
                now = time.monotonic()
                due = min(self._held.values(), key=Held.due_at, default=None)
                wait = None if due is None else due.due_at() - now
                if wait is None or wait > 0:
                    self._keep_wanted.wait(wait)
                    continue
                progress, lines = due.progress, due.lines
                due.progress, due.lines, due.told_at = None, [], now
                overdue = now > due.lost_at + LATE_MOST
            if overdue:
                self._lose(due, "nobody could be reached for %g s after its end" % LATE_MOST)
                continue
            if now > due.lost_at and due.outcome is None and not due.task.cancelled:
                log.warning("the lease of task %s has run out while no node could be reached", due.task.id)
                due.task.cancel()
            body = {"ttl": self._ttl}
            if progress is not None:
                body["progress"] = progress[0]
            if lines:
                body["log"] = lines
            try:
                answer = self._about(due, "extend", dumps(body))
                failures = 0
            except (errors.LeaseLost, errors.NotFound) as e:
                self._lose(due, e)
                continue
            except errors.BadRequest as e:
                # what it carried is dropped, so that it cannot keep the lease from being extended
                log.error("the progress or log of task %s was refused: %s", due.task.id, e)
                with self._lock:
                    due.extend_at = max(due.extend_at, time.monotonic() + TELL_EVERY)
                continue
            except errors.ShoalError as e:
                failures += 1
                log.log(logging.WARNING if failures == 1 else logging.DEBUG, "a lease cannot be extended now: %s", e)
                with self._lock:
                    due.progress = due.progress or progress
                    due.lines = _latest(lines + due.lines)
                    self._put_off(pause(failures, most=PAUSE_MOST))
                continue
            now = time.monotonic()
            with self._lock:
                if not answer.get("cancelled"):  # else its time stays as it was
                    due.lost_at = now + self._ttl
                due.extend_at = now + self._ttl / 3
            if answer.get("cancelled"):
                due.task.cancel()

    def _put_off(self, seconds):
        """Under the lock: the node is away for all of them."""
        at = time.monotonic() + seconds
        for held in self._held.values():
            held.extend_at = max(held.extend_at, at)
            held.told_at = max(held.told_at, at - TELL_EVERY)

    def _about(self, held, what, body):
        return self._post("/v1/leases/%s/%s" % (held.lease, what), body)

    def _post(self, path, body):
        """One try, because the loops here do the waiting; all that is said of a lease may be said again."""
        answer = self._client.transport.request(
            "POST", path, body=body, repeatable=True, retries=0, timeout=min(STALE_MOST, max(5.0, self._ttl / 3)))
        return json.loads(answer.body) if answer.body else {}

    # -- reporting

    def _reports(self):
        failures = 0
        while True:
            with self._lock:
                while not self._outbox and not self._ended:
                    self._report_wanted.wait()
                if not self._outbox:
                    return
                batch = self._next_batch()
            try:
                self._report(batch)
                failures = 0
            except errors.ShoalError as e:
                failures += 1
                log.log(logging.WARNING if failures == 1 else logging.DEBUG, "outcomes cannot be told now: %s", e)
                with self._lock:
                    # the keeper may have lost some of them meanwhile
                    self._outbox[:0] = [h for h in batch if not h.gone]
                    if self._ended:
                        return
                    # news of others do not make a node come back sooner
                    until = time.monotonic() + max(e.retry_after or 0, pause(failures, most=PAUSE_MOST))
                    while not self._ended and time.monotonic() < until:
                        self._report_wanted.wait(until - time.monotonic())

    def _next_batch(self):
        """Under the lock: results that go in one request, or the first one of another kind alone."""
        batch, size = [], 0
        for held in self._outbox[:BATCH_MOST]:
            done = held.outcome is not RELEASE and held.outcome.code is None
            if batch and (not done or size + len(held.outcome.result) > BATCH_BYTES):
                break
            batch.append(held)
            if not done:
                break
            size += len(held.outcome.result)
        del self._outbox[:len(batch)]
        return batch

    def _report(self, batch):
        first = batch[0]
        if first.outcome is RELEASE:
            self._told(first, "release", {})
        elif first.outcome.code is not None:
            body = {"code": first.outcome.code, "message": first.outcome.message, "retry": first.outcome.retry}
            if first.outcome.after is not None and first.outcome.retry:
                body["retry_in"] = first.outcome.after
            self._told(first, "fail", body)
        elif len(batch) == 1:
            self._told(first, "complete", _result_of(first))
        else:
            self._completed(batch)

    def _told(self, held, what, body):
        try:
            self._about(held, what, body if isinstance(body, bytes) else dumps(body))
        except (errors.Conflict, errors.NotFound) as e:
            self._lose(held, e)
        except errors.BadRequest as e:
            self._refused(held, e.code, e.detail)
        else:
            with self._lock:
                self._forget(held)

    def _completed(self, batch):
        body = b",".join(b'{"lease":"%s","result":%s}' % (h.lease.encode(), h.outcome.result) for h in batch)
        try:
            answer = self._post("/v1/leases/complete", b'{"leases":[' + body + b"]}")
        except errors.BadRequest:
            # one of them is not acceptable, and all were refused with it
            for held in batch:
                self._told(held, "complete", _result_of(held))
            return
        by_lease = {h.lease: h for h in batch}
        for one in answer["leases"]:
            held = by_lease[one["lease"]]
            code = one.get("code")
            if code is None:
                with self._lock:
                    self._forget(held)
            elif code in ("lease_lost", "not_found"):
                self._lose(held, one.get("detail") or code)
            else:
                self._refused(held, code, one.get("detail") or code)

    def _refused(self, held, code, detail):
        """The node does not take such an end: the attempt has failed by that, and is told so once."""
        log.error("the outcome of task %s was refused: %s", held.task.id, detail)
        with self._lock:
            if held.refused or held.outcome is RELEASE:
                self._forget(held)
                return
            held.refused = True
            succeeded = held.outcome.code is None
            held.outcome = tasks.Outcome(
                code="bad_result" if succeeded else "failed", retry=held.outcome.retry and not succeeded,
                message="what the handler ended with was refused: %s (%s)" % (detail, code))
            self._outbox.append(held)


def _result_of(held):
    return b'{"result":' + held.outcome.result + b"}"

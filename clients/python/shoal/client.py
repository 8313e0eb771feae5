# SPDX-License-Identifier: BSD-2-Clause
"""The client: submit tasks, wait for them, read and change them.

One Shoal object is for a whole program: it may be used by many threads at once, and keeps its
connections.  Options and fields have the names of the API (api/openapi.yaml); times may be given as
datetime with a zone and durations as timedelta.

A submit carries an Idempotency-Key that is made here unless one is given, so that it can be tried again
when its answer is lost and still makes one task.  idempotency_key=None sends none: a little faster, and
a lost answer is then an Unreachable or OutcomeUnknown for the caller to judge.
"""

import json
import os
import time
import uuid
from urllib.parse import quote

from . import errors, events, transport
from .encode import dumps, plain, task_id, task_request
from .records import Record, Task

WAIT_MOST = 60  # seconds that a node holds one answer back
AUTO = object()  # "make an idempotency key"


class Shoal:
    """url and key: SHOAL_URL and SHOAL_API_KEY unless given.

    timeout: seconds that one step of a request may take beyond what the node was asked to wait; retries: how
    often what may be repeated is; ssl_context: for https with an authority of your own.
    """

    def __init__(self, url=None, key=None, *, timeout=30.0, retries=5, ssl_context=None):
        url = url or os.environ.get("SHOAL_URL")
        key = key or os.environ.get("SHOAL_API_KEY")
        if not url:
            raise ValueError("no url: give one, or set SHOAL_URL")
        if not key:
            raise ValueError("no key: give one, or set SHOAL_API_KEY")
        self.transport = transport.Transport(url, key, timeout, retries, ssl_context)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the connections that are kept; the client must not be used any more."""
        self.transport.close()

    # -- submitting

    def submit(self, type, payload=None, *, idempotency_key=AUTO, **options):
        """The new Task, committed.  Options: queue, priority, delay, run_at, max_attempts, unique_key, ...

        traceparent and tracestate: the trace that it is made in (W3C Trace Context), which its handler is told.
        """
        return self._submit(type, payload, idempotency_key, options, 0, None)

    def submit_batch(self, tasks, *, idempotency_key=AUTO):
        """Up to 1,000 tasks, all or none; each is a dict with type, payload and options.

        Answered with as many Tasks in the same order, of which only id, state and unique are known.
        """
        body = []
        for task in tasks:
            options = dict(task)
            body.append(task_request(options.pop("type", None), options.pop("payload", None), options))
        headers, repeatable = _idempotency(idempotency_key)
        answer = self.transport.request(
            "POST", "/v1/tasks/batch", body=dumps({"tasks": body}), headers=headers, repeatable=repeatable)
        made = [Task(t) for t in _json(answer)["tasks"]]
        for task in made:
            task.replayed = "Idempotent-Replayed" in answer.headers
        return made

    def run(self, type, payload=None, *, timeout=None, idempotency_key=AUTO, **options):
        """Submits, waits for the end and returns the result; TaskFailed, or WaitTimeout, otherwise.

        timeout is that of the waiting; for that of an attempt write task_timeout.
        """
        if "task_timeout" in options:
            options["timeout"] = options.pop("task_timeout")
        deadline = None if timeout is None else time.monotonic() + timeout
        first = WAIT_MOST if timeout is None else max(0, min(WAIT_MOST, int(timeout)))
        task = self._submit(type, payload, idempotency_key, options, first, deadline)
        if not task.ended:
            task = self._wait(task["id"], deadline, task)
        if not task.succeeded:
            raise errors.TaskFailed(task)
        return task["result"]

    def _submit(self, type, payload, idempotency_key, options, wait, deadline):
        headers, repeatable = _idempotency(idempotency_key)
        headers.update(_trace(options))
        body = dumps(task_request(type, payload, options))
        answer = self.transport.request(
            "POST", "/v1/tasks", query={"wait": wait or None}, body=body, headers=headers,
            repeatable=repeatable, timeout=self.transport.timeout + wait, deadline=deadline)
        task = _json(answer, Task)
        task.unique = answer.headers.get("Shoal-Unique")
        task.replayed = "Idempotent-Replayed" in answer.headers
        return task

    # -- reading

    def get(self, task):
        """The Task as it stands, by its id."""
        return self.call("GET", "/v1/tasks/%s" % _segment(task), repeatable=True, kind=Task)

    def wait(self, task, timeout=None):
        """The Task once it has ended, however; WaitTimeout if that takes longer than timeout seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._wait(task_id(task), deadline, None)

    def _wait(self, id, deadline, last):
        """With a deadline, nodes that are away are borne until then; else as long as for any request."""
        while True:
            left = WAIT_MOST if deadline is None else deadline - time.monotonic()
            step = max(0, min(WAIT_MOST, int(left)))
            if 0 < left < 1:
                time.sleep(left)
            try:
                last = self.call(
                    "GET", "/v1/tasks/%s" % _segment(id), query={"wait": step or None}, repeatable=True,
                    kind=Task, timeout=self.transport.timeout + step, deadline=deadline)
                if last.ended:
                    return last
            except (errors.Unreachable, errors.Unavailable) as e:
                if deadline is None:
                    raise
                if left > 1:
                    time.sleep(min(left, max(e.retry_after or 0, transport.pause(3))))
            if left < 1:
                raise errors.WaitTimeout("task %s has not ended in time; it is %s" % (
                    id, "not known how it stands" if last is None else last["state"]), last)

    def list(self, *, state=None, queue=None, type=None, since=None, until=None, page_size=100):
        """All tasks that fit, the newest first, page by page; without payload and result."""
        query = {"state": state, "queue": queue, "type": type, "since": plain(since, "since"),
                 "until": plain(until, "until")}
        return self._pages("/v1/tasks", "tasks", query, page_size, Task)

    def why(self, task):
        """Why it does not run: reason, message, reasons."""
        return self.call("GET", "/v1/tasks/%s/why" % _segment(task), repeatable=True)

    def log(self, task):
        """The last lines that the task's latest attempt wrote, as one text."""
        path = "/v1/tasks/%s/log" % _segment(task)
        return self.transport.request("GET", path, repeatable=True).body.decode("utf-8", "replace")

    def history(self, task, page_size=100):
        """The events of one task, in order."""
        return self._pages("/v1/tasks/%s/events" % _segment(task), "events", {}, page_size, Record)

    def events(self, *, after=None, queue=None, type=None, kind=None, task=None):
        """Follows the application's events: an iterator without an end; see Events."""
        query = {"queue": queue, "type": type, "kind": kind, "task": None if task is None else task_id(task)}
        return events.Events(self.transport, query, after)

    # -- changing

    def cancel(self, task, *, reason=None, wait=None):
        """The Task: cancelled, or told to end if it runs.  wait: seconds to hold the answer until it has."""
        return self.call(
            "POST", "/v1/tasks/%s/cancel" % _segment(task), {"reason": reason} if reason else {},
            query={"wait": wait}, repeatable=True, kind=Task, timeout=self.transport.timeout + (wait or 0))

    def retry(self, task, *, attempts=None, reason=None):
        """The Task, queued again; Conflict if it runs, waits or has succeeded."""
        body = {k: v for k, v in (("attempts", attempts), ("reason", reason)) if v is not None}
        return self.call("POST", "/v1/tasks/%s/retry" % _segment(task), body, kind=Task)

    def delete(self, task):
        """Removes a task that has ended."""
        self.call("DELETE", "/v1/tasks/%s" % _segment(task))

    # -- everything else of the API

    def call(self, method, path, body=None, *, query=None, headers=None, repeatable=None, kind=Record, timeout=None,
             deadline=None, retries=None, line=None):
        """Any request of api/openapi.yaml; the JSON of the answer, None without one.

        repeatable: may it be sent again when nobody knows whether it was done?  GET and PUT may.
        """
        answer = self.transport.request(
            method, path, query=query, body=None if body is None else dumps(body), headers=headers,
            repeatable=method in ("GET", "PUT") if repeatable is None else repeatable,
            timeout=timeout, deadline=deadline, retries=retries, line=line)
        return _json(answer, kind) if answer.body else None

    def _pages(self, path, name, query, page_size, kind):
        cursor = None
        while True:
            page = self.call("GET", path, query=dict(query, limit=page_size, cursor=cursor))
            for item in page[name]:
                yield kind(item)
            cursor = page["next_cursor"]
            if cursor is None:
                return


def _idempotency(key):
    """The header, and whether a lost answer may be asked for again."""
    if key is AUTO:
        key = str(uuid.uuid4())
    return ({}, False) if key is None else ({"Idempotency-Key": key}, True)


def _trace(options):
    """Taken out of the options, the headers: they are no part of what an Idempotency-Key stands for."""
    headers = {}
    for name in ("traceparent", "tracestate"):
        value = options.pop(name, None)
        if value is None:
            continue
        # what no header can hold is no trace
        if not isinstance(value, str):
            raise TypeError("%s: a text, not %r" % (name, value))
        if value.isascii() and value.isprintable():
            headers[name] = value
    return headers


def _segment(task):
    return quote(task_id(task), safe="")


def _json(answer, kind=Record):
    """The outermost object is of that kind, those inside are Records."""
    try:
        value = json.loads(answer.body, object_hook=Record)
    except ValueError as e:
        raise errors.ServerError("an answer is no JSON: %s" % e, answer.status, "bad_answer") from e
    return kind(value) if isinstance(value, dict) and kind is not Record else value

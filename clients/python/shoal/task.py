# SPDX-License-Identifier: BSD-2-Clause
"""What a handler sees of the attempt that it runs, and how it says what came of it.

The same for both ways in which a worker gets tasks: pull.py and stream.py each bring a Reporter.
"""

import asyncio
import inspect
import json
import re
import threading
import traceback

from .encode import dumps
from .records import Record

CODE_MOST = 47  # characters
MESSAGE_MOST = 4096  # bytes
PROGRESS_MOST = 4095  # bytes
LOG_LINE_MOST = 4096  # bytes


class Retry(Exception):
    """Raised by a handler: this attempt failed, try again.  after: seconds until then, else the task's backoff."""

    def __init__(self, message="the handler asked for another attempt", *, after=None, code="retry"):
        super().__init__(message)
        self.after = after
        self.code = code


class Fail(Exception):
    """Raised by a handler: the task has failed for good, whatever attempts are left."""

    def __init__(self, message, *, code="failed"):
        super().__init__(message)
        self.code = code


class Cancelled(Exception):
    """Raised by task.raise_if_cancelled(): nobody wants this attempt any more."""


class RunningTask:
    """One attempt at a task.

    id, type, queue, payload, attempt, max_attempts, deadline, metadata, fence, traceparent, tracestate: as the node
    gave them, None for what it did not give.  fence tells this attempt from every other; stores downstream can use
    it.  traceparent is the trace that the task was made in, with the span of this attempt.
    """

    def __init__(self, given, reporter):
        given = Record(given)
        self.raw = given
        self.id = given["id"]
        self.type = given["type"]
        self.payload = given.get("payload")
        self.queue = given.get("queue")
        self.attempt = given.get("attempt")
        self.max_attempts = given.get("max_attempts")
        self.deadline = given.get("deadline")
        self.metadata = given.get("metadata")
        self.fence = given.get("fence")
        self.traceparent = given.get("traceparent")
        self.tracestate = given.get("tracestate")
        self._reporter = reporter
        self._cancelled = threading.Event()

    def progress(self, value):
        """Shows any JSON of up to 4 KB as the task's progress; the newest counts, about once a second."""
        text = dumps(value)
        if len(text) > PROGRESS_MOST:
            raise ValueError("progress is %d bytes of JSON, and may be %d" % (len(text), PROGRESS_MOST))
        self._reporter.progress(self, value)

    def log(self, text):
        """Adds lines to the task's log."""
        for line in str(text).splitlines():
            self._reporter.log(self, clean(line, LOG_LINE_MOST))

    @property
    def cancelled(self):
        """True once somebody has cancelled the task, its time is over, or the lease is lost: stop, and clean up."""
        return self._cancelled.is_set()

    def wait_cancelled(self, timeout=None):
        """Sleeps until cancelled, for so many seconds at most; a sleep that a cancel cuts short."""
        return self._cancelled.wait(timeout)

    def raise_if_cancelled(self):
        if self._cancelled.is_set():
            raise Cancelled("task %s was cancelled" % self.id)

    def cancel(self):
        """Of the worker: sets cancelled."""
        self._cancelled.set()


class Outcome:
    """How an attempt ended: result is its JSON as bytes, or there is a code and a message."""

    __slots__ = ("result", "code", "message", "retry", "after")

    def __init__(self, result=None, code=None, message=None, retry=True, after=None):
        self.result = result
        self.code = code
        self.message = message
        self.retry = retry
        self.after = after


def clean(text, most):
    """Text that every node takes: no NUL, no half surrogates, most bytes at most."""
    data = text.replace("\0", "\ufffd").encode("utf-8", "replace")
    return data.decode() if len(data) <= most else data[:most].decode("utf-8", "ignore")


def code_of(text):
    """A stable word: letters, digits, _ - and . only."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:CODE_MOST] or "failed"


def check_handler(function):
    """TypeError unless it can be called as handler(payload, task)."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise TypeError("%s: a handler is called with two arguments, payload and task" % (
            getattr(function, "__name__", function),)) from None


def run(handler, task):
    """Calls the handler; whatever it does, an Outcome."""
    try:
        value = handler(task.payload, task)
        if inspect.isawaitable(value):
            value = asyncio.run(_await(value))
    except Retry as e:
        return Outcome(code=code_of(e.code), message=clean(str(e), MESSAGE_MOST), after=e.after)
    except Fail as e:
        return Outcome(code=code_of(e.code), message=clean(str(e), MESSAGE_MOST), retry=False)
    except Cancelled as e:
        # a task that somebody cancelled is not tried again whatever is said here; one that ran too long may be
        return Outcome(code="cancelled", message=clean(str(e), MESSAGE_MOST))
    except BaseException as e:  # pylint: disable=broad-except
        # SystemExit too: one task does not end the worker of the others
        return Outcome(code=code_of(type(e).__name__), message=_describe(e))
    try:
        return Outcome(result=_result(value))
    except (TypeError, ValueError, RecursionError) as e:
        return Outcome(code="bad_result", retry=False, message=clean(
            "the handler of %s returned what is no JSON: %s" % (task.type, e), MESSAGE_MOST))


async def _await(value):
    return await value


def _result(value):
    text = dumps(value)
    # nodes refuse it; JSON's own escape of it is six bytes that may also stand behind a backslash
    if b"\\u0000" in text and "\0" in _texts(json.loads(text)):
        raise ValueError("it holds a NUL character")
    return text


def _texts(value):
    """All text in it, joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "".join(k + _texts(v) for k, v in value.items())
    if isinstance(value, list):
        return "".join(map(_texts, value))
    return ""


def _describe(error):
    """What it is, and then as much as fits of where it came from, the innermost last."""
    head = clean("%s: %s" % (type(error).__name__, error), 1024)
    trace = clean("".join(traceback.format_tb(error.__traceback__)).rstrip(), 1 << 20)
    room = MESSAGE_MOST - len(head.encode()) - 1
    tail = trace.encode()[-room:].decode("utf-8", "ignore")
    return head + "\n" + tail if tail else head

# SPDX-License-Identifier: BSD-2-Clause
"""A worker as the child of a node: docs/stream-protocol.md, version 1, from the child's side.

The main thread reads; each handler thread writes its own line in one call.  Standard output belongs to the
protocol: it is moved away before the first handler runs, and what print() and started programs write goes to
standard error, which is the child's log.  Standard input is moved away too, so that nobody reads a task by mistake.
"""

import json
import logging
import os
import queue
import sys
import threading

from . import task as tasks
from .bell import Bell
from .encode import dumps

VERSION = 1
READ_BYTES = 256 * 1024
LINE_MOST = 64 * 1024 * 1024  # of the node's lines: far above what one sends
ANSWER_MOST = 1024 * 1024  # bytes of an answer, if the node does not say

log = logging.getLogger("shoal.worker")


class Broken(Exception):
    """The node does not speak the protocol; the child ends with it as its last words."""


class Stream:
    def __init__(self, worker, concurrency):
        self._handlers = worker.handlers
        self._concurrency = concurrency
        self._bell = Bell()
        self._todo = queue.SimpleQueue()
        self._lock = threading.Lock()  # of what follows
        self._running = {}  # id: RunningTask
        self._write_lock = threading.Lock()
        self._out = None
        self._line_most = ANSWER_MOST
        self._greeted = False
        self._last = False  # no more tasks come
        self._deaf = False  # nobody reads our answers any more

    def stop(self):
        self._bell.stop()

    def run(self):
        given, self._out = _take_stdio()
        threads = [threading.Thread(target=self._work, name="shoal-%d" % n, daemon=True)
                   for n in range(self._concurrency)]
        try:
            self._bell.signals()
            for thread in threads:
                thread.start()
            self._read(given)
        finally:
            self._bell.close()

    # -- the node's lines

    def _read(self, given):
        """Until no more tasks come and none is in work; pings and cancels are heard to the end."""
        rest = b""
        ended = False  # the node's lines have
        while not self._deaf:
            if ended or self._last or self._bell.stops:
                self._last = True
                with self._lock:
                    if not self._running:
                        return
            if given not in self._bell.wait(None, [] if ended else [given]):
                continue
            data = os.read(given, READ_BYTES)
            ended = not data
            lines = (rest + data).split(b"\n") if b"\n" in data else [rest + data]
            rest = lines.pop()
            if len(rest) > LINE_MOST:
                raise Broken("a line of the node has no end after %d bytes" % len(rest))
            for line in lines:
                self._line(line)

    def _line(self, line):
        try:
            told = json.loads(line)
        except ValueError as e:
            raise Broken("a line of the node is no JSON: %s" % e) from e
        if not isinstance(told, dict):
            raise Broken("a line of the node is no JSON object")
        if "task" in told:
            self._task(told["task"])
        elif "ping" in told:
            self._write({"pong": told["ping"]})
        elif "cancel" in told:
            with self._lock:
                task = self._running.get(told["cancel"])
            if task is not None:
                task.cancel()
        elif "drain" in told:
            self._last = True
        elif "hello" in told:
            self._hello(told["hello"])
        # what later nodes say beside that is not for us

    def _hello(self, hello):
        if hello.get("version", 0) < VERSION:
            raise Broken("the node speaks version %r of the protocol, and we %d" % (hello.get("version"), VERSION))
        if hello.get("type") is not None and hello["type"] not in self._handlers:
            raise Broken("this program has no handler for tasks of type %r; it has: %s" % (
                hello["type"], ", ".join(sorted(self._handlers))))
        self._line_most = hello.get("max_line") or ANSWER_MOST
        self._greeted = True
        self._write({"hello": {"version": VERSION, "concurrency": self._concurrency}})

    def _task(self, given):
        if not self._greeted:
            raise Broken("the node sent a task before its hello")
        task = tasks.RunningTask(given, self)
        with self._lock:
            self._running[task.id] = task
        self._todo.put(task)

    # -- handlers

    def _work(self):
        while True:
            task = self._todo.get()
            handler = self._handlers.get(task.type)
            if handler is None:
                outcome = tasks.Outcome(code="no_handler", message="this program has no handler for it")
            else:
                outcome = tasks.run(handler, task)
            with self._lock:
                del self._running[task.id]
            self._answer(task, outcome)
            del task
            if self._last:
                self._bell.ring()

    def _answer(self, task, outcome):
        head = b'{"id":' + dumps(task.id)
        if outcome.code is None:
            line = head + b',"result":' + outcome.result + b"}"
            if len(line) < self._line_most:
                self._write_line(line)
                return
            outcome = tasks.Outcome(code="output_too_large", retry=False, message="the result has %d bytes of JSON" % (
                len(outcome.result)))
        answer = {"id": task.id, "error": {"code": outcome.code, "message": outcome.message}, "retry": outcome.retry}
        if outcome.after is not None and outcome.retry:
            answer["retry_in"] = outcome.after
        self._write(answer)

    def progress(self, task, value):
        self._write({"id": task.id, "progress": value})

    def log(self, task, line):
        self._write({"id": task.id, "log": line})

    # -- our lines

    def _write(self, value):
        self._write_line(dumps(value))

    def _write_line(self, line):
        data = line + b"\n"
        with self._write_lock:
            try:
                while data and not self._deaf:
                    data = data[os.write(self._out, data):]
            except OSError as e:
                self._deaf = True
                self._bell.ring()
                log.warning("the node does not read any more: %s", e)


def _take_stdio():
    """The protocol's two descriptors, of our own; 0 is empty from now on and 1 is standard error."""
    sys.stdout.flush()
    given, out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    # lines are to be seen when they are written, as on any standard error
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    return given, out

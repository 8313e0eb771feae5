# SPDX-License-Identifier: BSD-2-Clause
"""A worker: functions that run tasks.

    import shoal

    worker = shoal.Worker()

    @worker.task("thumbnail", queue="images")
    def thumbnail(payload, task):
        return {"width": payload["width"]}

    worker.run(concurrency=8)

The same program runs in two ways.  Started by you, it leases tasks over HTTP (pull.py); started by a node as
the command of a `stream` type, it talks to that node in lines (stream.py).  run() sees which by the
environment that a node gives its children.

A handler runs in a thread, so many at a time as concurrency says; `async def` is welcome, each call in a
loop of its own.  What it returns is the result (any JSON).  shoal.Retry has the task tried again,
shoal.Fail ends it for good, any other exception is a failed attempt with its name and traceback.
"""

import os

from .task import check_handler


class Worker:
    """client: a Shoal to lease with; made from SHOAL_URL and SHOAL_API_KEY when it is needed, unless given.

    queues: to look in, beside those of the handlers.  name: what nodes show as this worker.  ttl: seconds for which
    a task is leased and again extended; a worker that dies keeps its tasks back for so long.  grace: seconds that
    running tasks have to end after SIGTERM.  poll: seconds that a node lets us wait for tasks.
    """

    def __init__(self, client=None, *, queues=(), name=None, ttl=60, grace=30.0, poll=20):
        if not 5 <= ttl <= 3600:
            raise ValueError("ttl: %r s is outside 5 to 3600" % (ttl,))
        if not 1 <= poll <= 60:
            raise ValueError("poll: %r s is outside 1 to 60" % (poll,))
        if grace < 0:
            raise ValueError("grace: %r s is negative" % (grace,))
        self.client = client
        self.name = name
        self.ttl = ttl
        self.grace = grace
        self.poll = poll
        self.handlers = {}
        self.queues = [queues] if isinstance(queues, str) else list(queues)
        self._running = None
        self._stopped = False

    def task(self, type, *, queue=None):
        """Decorator: the function runs tasks of that type, handler(payload, task).

        queue adds to the worker's queues (a text or several); the type is looked for in all of them.
        """

        def register(function):
            self.handle(type, function, queue=queue)
            return function

        return register

    def handle(self, type, function, *, queue=None):
        """The same as a call."""
        check_handler(function)
        if type in self.handlers:
            raise ValueError("type %r has a handler already" % type)
        for name in [queue] if isinstance(queue, str) else queue or ():
            if name not in self.queues:
                self.queues.append(name)
        self.handlers[type] = function

    def run(self, concurrency=8):
        """Runs tasks until SIGTERM, SIGINT or stop(); then finishes what runs, and returns."""
        if not self.handlers:
            raise ValueError("no handlers: there is nothing that this worker can run")
        if not 1 <= concurrency <= 256:
            raise ValueError("concurrency: %r is outside 1 to 256" % (concurrency,))
        if _is_stream_child():
            return self.stream(concurrency)
        return self.pull(concurrency)

    def pull(self, concurrency=8):
        """run(), by leases over HTTP."""
        from . import pull  # pylint: disable=import-outside-toplevel
        from .client import Shoal  # pylint: disable=import-outside-toplevel

        self._go(pull.Pull(self, self.client or Shoal(), concurrency))

    def stream(self, concurrency=8):
        """run(), as the child of a node: on standard input and output."""
        from . import stream  # pylint: disable=import-outside-toplevel

        self._go(stream.Stream(self, concurrency))

    def _go(self, runner):
        self._running = runner
        if self._stopped:
            runner.stop()
        try:
            runner.run()
        finally:
            self._running = None

    def stop(self):
        """What SIGTERM does, from any thread."""
        self._stopped = True
        running = self._running
        if running is not None:
            running.stop()


def _is_stream_child(environment=None):
    """A node's stream child has the first two; a command that a node starts for one task has the third as well."""
    environment = os.environ if environment is None else environment
    return ("SHOAL_TYPE" in environment and "SHOAL_WORKER" in environment
            and "SHOAL_TASK_ID" not in environment)

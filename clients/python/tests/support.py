# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of the Python client share.

They need a node: SHOAL_URL and SHOAL_API_KEY, as `shoald --dev=DIR` writes them into DIR/env.

    cd clients/python && python3 -m unittest discover -s tests

SHOAL_TEST_NARROW_KEY: another key of the same application, with the scope work:narrow alone.
"""

import os
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
LIBRARY = os.path.dirname(HERE)
sys.path.insert(0, LIBRARY)

import shoal  # noqa: E402  pylint: disable=wrong-import-position


def wait_for(predicate, at_most=20.0, what="a condition"):
    deadline = time.monotonic() + at_most
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("%s: not within %g s" % (what, at_most))
        time.sleep(0.02)


class NodeTest(unittest.TestCase):
    """client is connected to the node; unique is a name that no other test has."""

    def setUp(self):
        self.client = shoal.Shoal(timeout=20)
        self.addCleanup(self.client.close)
        self.unique = "t%s-%d" % (self.id().rsplit(".", 1)[-1][-30:].replace("_", "-"), time.time_ns())

    def connect(self, **options):
        """Another client."""
        made = shoal.Shoal(**options)
        self.addCleanup(made.close)
        return made

    def wire(self):
        made = Wire(os.environ["SHOAL_URL"])
        self.addCleanup(made.close)
        return made

    def program(self, text, **environment):
        """Starts a Python program with the library on its path; killed at the end if it is still there."""
        made = subprocess.Popen(
            [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, PYTHONPATH=LIBRARY, PYTHONDONTWRITEBYTECODE="1", **environment))

        def end():
            if made.poll() is None:
                made.kill()
            made.communicate()

        self.addCleanup(end)
        return made


class Wire:
    """A way to the node that can be cut: after a request has passed, and before its answer does."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self._to = (parts.hostname, parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self._listener.getsockname()[1]
        self.cuts = 0  # so many answers are withheld
        self.connections = 0
        self.refused = 0
        self.hung_up = 0  # clients that ended their half
        self.flowing = threading.Event()  # cleared: answers stay in the wire
        self.flowing.set()
        self.held = 0  # pieces of answers that do
        self.open = True
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.open:
                self.refused += 1
                client.close()
                continue
            self.connections += 1
            node = socket.create_connection(self._to)
            self._sockets += [client, node]
            threading.Thread(target=self._carry, args=(client, node, False), daemon=True).start()
            threading.Thread(target=self._carry, args=(node, client, True), daemon=True).start()

    def _carry(self, source, sink, answers):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if answers and self.cuts > 0:
                    self.cuts -= 1
                    source.shutdown(socket.SHUT_RDWR)
                    sink.shutdown(socket.SHUT_RDWR)
                    return
                if answers and not self.flowing.is_set():
                    self.held += 1
                    self.flowing.wait()
                sink.sendall(data)
            # one half has ended; the other may go on
            self.hung_up += not answers
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def drop(self):
        """All connections end now."""
        for end in self._sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listener.close()
        self.flowing.set()
        self.drop()
        for end in self._sockets:
            end.close()


class Working:
    """A worker that runs in a thread of the test."""

    def __init__(self, test, worker, concurrency=4):
        self.worker = worker
        self.error = None
        self._thread = threading.Thread(target=self._run, args=(concurrency,), daemon=True)
        self._thread.start()
        test.addCleanup(self.end)

    def _run(self, concurrency):
        try:
            self.worker.run(concurrency)
        except Exception as e:  # pylint: disable=broad-except
            self.error = e

    def join(self, at_most=20):
        self._thread.join(at_most)
        assert not self._thread.is_alive(), "the worker has not ended"
        return self.error

    def end(self):
        self.worker.stop()
        return self.join()

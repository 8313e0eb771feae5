# SPDX-License-Identifier: BSD-2-Clause
"""HTTP to one address: connections that are kept, time limits, and what is tried again.

A connection is used by one thread at a time and lies in the pool in between, the latest on top.  One
that the other end has closed is noticed before it is used; one that lay longer than IDLE_MOST is not
used again, because load balancers drop such connections without a word.  After a fork the child begins
with an empty pool: two processes on one connection would read each other's answers.

What is tried again, after a pause with jitter that grows, or what Retry-After says if that is longer:

- a request that cannot have arrived: the connection was refused, the name not found;
- one that a node refused with 503, unless the node does not know whether it was done;
- anything else without an answer only if the caller says that it may be repeated.

Redirects are never followed and proxies of the environment not used: a key is sent to the address that
it was given for.
"""

import http.client
import os
import random
import select
import socket
import ssl
import threading
import time
import urllib.parse
import weakref

from . import errors
from .version import __version__

IDLE_MOST = 240.0  # seconds; a node keeps them for 350, a common load balancer for 300
IDLE_COUNT = 32  # connections that are kept
ANSWER_MOST = 160 * 1024 * 1024  # bytes: a hundred tasks with the largest payloads
PAUSE_FIRST = 0.1
PAUSE_MOST = 5.0


def pause(attempt, first=PAUSE_FIRST, most=PAUSE_MOST):
    """Seconds before try number attempt + 2: doubled each time, somewhere in its upper half."""
    return min(most, first * 2 ** min(attempt, 16)) * (0.5 + random.random() / 2)


class Answer:
    __slots__ = ("status", "headers", "body")

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


class Line:
    """A request that another thread may want to give up: hang_up() while it is under way."""

    def __init__(self):
        self._lock = threading.Lock()
        self._socket = None
        self.hung_up = False

    def opened(self, connection):
        with self._lock:
            self._socket = connection.sock
            if self.hung_up:
                self._shut()

    def closed(self):
        with self._lock:
            self._socket = None

    def hang_up(self):
        """Ends our half: the node sees that nobody waits, and what it had sent already can still be read."""
        with self._lock:
            self.hung_up = True
            self._shut()

    def _shut(self):
        if self._socket is None:
            return
        try:
            self._socket.settimeout(2.0)
            # with TLS too: the ssl module's own shutdown could not read any more
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
        except OSError:
            pass  # it is closed already


class Transport:
    def __init__(self, url, key, timeout, retries, ssl_context=None):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url %r: it must be like http://tasks.example.com" % url)
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("url: no user, query or fragment belongs there; the key is an argument of its own")
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("key: an API key is wanted, such as `shoal keys create` prints")
        self.url = url
        self.timeout = timeout
        self.retries = retries
        self._https = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._path = parts.path.rstrip("/")
        self._ssl = ssl_context or (ssl.create_default_context() if self._https else None)
        self._headers = {
            "Authorization": "Bearer " + key,
            "Accept": "application/json",
            "User-Agent": "shoal-python/" + __version__,
        }
        self._lock = threading.Lock()
        self._idle = []  # (connection, since)
        self._closed = False
        if hasattr(os, "register_at_fork"):
            us = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: us() is not None and us()._forked())

    def close(self):
        """Closes what lies in the pool; requests under way end as they end."""
        with self._lock:
            idle, self._idle, self._closed = self._idle, [], True
        for connection, _ in idle:
            connection.close()

    def _forked(self):
        self._lock = threading.Lock()  # whoever held it is not in this process
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.sock.close()  # our copy alone: nothing is said on it

    # -- connections

    def connect(self, timeout):
        """A new connection, connected."""
        if self._https:
            made = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._ssl)
        else:
            made = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            made.connect()
        except (OSError, ssl.SSLError) as e:
            made.close()
            raise errors.Unreachable("cannot connect to %s: %s" % (self.url, e), sent=False) from e
        return made

    def _take(self, timeout):
        while True:
            with self._lock:
                connection, since = self._idle.pop() if self._idle else (None, 0)
            if connection is None:
                return self.connect(timeout)
            if time.monotonic() - since < IDLE_MOST and not _has_news(connection.sock):
                connection.sock.settimeout(timeout)
                return connection
            connection.close()

    def _give(self, connection):
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_COUNT:
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()

    # -- requests

    def target(self, path, query=None):
        pairs = [(k, v) for k, v in (query or {}).items() if v is not None]
        return self._path + path + ("?" + urllib.parse.urlencode(pairs) if pairs else "")

    def headers(self, more=None, body=None):
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers.update(more or {})
        return headers

    def once(self, method, target, body, headers, timeout, line=None):
        """One try: an Answer, whatever its status, or Unreachable."""
        connection = self._take(timeout)
        try:
            if line is not None:
                line.opened(connection)
            try:
                connection.request(method, target, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                if body is None:
                    raise
                # a node that refuses a large body says why before it closes
            response = connection.getresponse()
            data = _read(response)
        except (OSError, http.client.HTTPException) as e:
            connection.close()
            raise errors.Unreachable(
                "no answer from %s to %s %s: %s" % (self.url, method, target.split("?")[0], e or type(e).__name__),
                sent=True) from e
        except BaseException:
            connection.close()  # half an answer may be in it
            raise
        finally:
            if line is not None:
                line.closed()
        if response.will_close or (line is not None and line.hung_up):
            connection.close()
        else:
            self._give(connection)
        return Answer(response.status, response.headers, data)

    def request(self, method, path, query=None, body=None, headers=None, repeatable=False, timeout=None,
                retries=None, deadline=None, line=None):
        """The Answer of a success; ShoalError otherwise.

        timeout: seconds for each step on the wire, the client's unless given; deadline: on the monotonic
        clock, no pause goes beyond it.
        """
        target = self.target(path, query)
        headers = self.headers(headers, body)
        retries = self.retries if retries is None else retries
        attempt = 0
        while True:
            try:
                answer = self.once(method, target, body, headers, timeout or self.timeout, line)
                if 200 <= answer.status < 300:
                    return answer
                error = errors.from_answer(answer.status, answer.headers, answer.body)
            except errors.Unreachable as e:
                error = e
            wait = max(pause(attempt), error.retry_after or 0)
            if (attempt >= retries or not _may_repeat(error, repeatable) or (line is not None and line.hung_up)
                    or (deadline is not None and time.monotonic() + wait >= deadline)):
                raise error
            time.sleep(wait)
            attempt += 1


def _may_repeat(error, repeatable):
    if isinstance(error, errors.Unreachable):
        return repeatable or not error.sent
    if isinstance(error, errors.OutcomeUnknown):
        return repeatable
    return isinstance(error, errors.Unavailable) or (repeatable and error.status in (502, 504))


def _read(response):
    """The whole body; in pieces if nobody says how long it is, for a read takes room for all that it may get."""
    if response.length is not None and response.length <= ANSWER_MOST:
        return response.read()
    parts, size = [], response.length or 0
    while size <= ANSWER_MOST:
        part = response.read(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
    raise http.client.HTTPException("the answer is longer than %d bytes" % ANSWER_MOST)


def _has_news(sock):
    """Something can be read although nothing was asked: an end, or what does not belong to us."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])

# SPDX-License-Identifier: BSD-2-Clause
"""Server-sent events that go on where they were, whatever breaks in between."""

import http.client
import json
import logging
import socket
import threading
import time

from . import errors
from .records import Record
from .transport import pause

# a node says something every 15 s; silence for three times as long is a dead connection
SILENCE_MOST = 45.0
LINE_MOST = 8 * 1024 * 1024

log = logging.getLogger("shoal.events")


class Events:
    """Iterate to get events, each a Record with id, kind, at, task, state, ...; close() from any thread ends it.

        with client.events(kind="failed") as events:
            for event in events:
                print(event.task, event.code)

    last_id is the place in the stream: kept and given as `after` another day, it goes on without a gap.  A
    connection that ends is made anew, as often as it takes; what is refused for good is raised.
    """

    def __init__(self, transport, query, after=None):
        self._transport = transport
        self._query = query
        self.last_id = after
        self._lock = threading.Lock()
        self._socket = None
        self._closed = threading.Event()
        self._response = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._closed.set()
        with self._lock:
            if self._socket is not None:
                try:
                    # wakes whoever reads; the reader closes
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:
                    pass

    def open(self):
        """Connects now, if it is not: what happens from here on will be seen.  Raises what is refused."""
        attempt = 0
        while self._response is None and not self._closed.is_set():
            try:
                self._connect()
            except (errors.Unreachable, errors.Unavailable, errors.RateLimited) as e:
                self._closed.wait(max(pause(attempt), e.retry_after or 0))
                attempt += 1
        return self

    def __iter__(self):
        try:
            while not self._closed.is_set():
                self.open()
                if self._response is None:
                    return
                began = time.monotonic()
                try:
                    for event in self._read():
                        yield event
                        if self._closed.is_set():
                            return
                except (OSError, http.client.HTTPException, ValueError) as e:
                    if not self._closed.is_set():
                        log.info("the stream of events broke, and is taken up again: %s", e)
                self._drop()
                # one that ends at once shall not make a loop without a pause
                if time.monotonic() - began < 1:
                    self._closed.wait(pause(2))
        finally:
            self._drop()

    def _connect(self):
        t = self._transport
        connection = t.connect(t.timeout)
        # of our own, because http.client lets go of it: the answer has no end but the connection's
        stream = connection.sock
        with self._lock:
            self._socket = stream
        headers = t.headers({"Accept": "text/event-stream"})
        if self.last_id is not None:
            headers["Last-Event-ID"] = self.last_id
        try:
            connection.request("GET", t.target("/v1/events", self._query), headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise errors.from_answer(response.status, response.headers, response.read(65536))
            stream.settimeout(SILENCE_MOST)
            self._response = response
        except (OSError, http.client.HTTPException) as e:
            raise errors.Unreachable("no events from %s: %s" % (t.url, e), sent=True) from e
        finally:
            if self._response is None:
                self._drop()
                connection.close()

    def _drop(self):
        with self._lock:
            stream, self._socket = self._socket, None
        response, self._response = self._response, None
        if response is not None:
            response.close()
        if stream is not None:
            stream.close()

    def _read(self):
        """Blocks until the stream ends; an id counts when its block is complete, as browsers do it."""
        data, id = [], None
        while True:
            line = self._response.readline(LINE_MOST)
            if not line.endswith(b"\n"):
                return
            line = line.rstrip(b"\r\n").decode("utf-8")
            if not line:
                event = Record(json.loads("\n".join(data), object_hook=Record)) if data else None
                if id is not None:
                    self.last_id = id
                data, id = [], None
                if event is not None:
                    yield event
                continue
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "data":
                data.append(value)
            elif name == "id":
                id = value

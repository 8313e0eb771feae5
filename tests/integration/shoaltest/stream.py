# SPDX-License-Identifier: BSD-2-Clause
"""A client of server-sent events that keeps what it got, as a browser's EventSource would read it."""

import json
import socket
import threading
import urllib.parse

from .waits import wait_for


class Stream:
    """Follows /v1/events of a node until closed or ended.

    events are {"id", "event", "data"} in order; last_id is what a client would send to go on.
    tls: the context for a node that speaks it.
    """

    def __init__(self, url, key, last_id=None, query="", receive_buffer=None, reads=True, tls=None):
        parts = urllib.parse.urlsplit(url)
        self.events = []
        self.comments = []
        self.last_id = last_id
        self.retry = None
        self.status = None
        self.head = b""
        self.ended = False  # the last chunk has come
        self.closed = False  # the connection is gone, whoever closed it
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.connect((parts.hostname, parts.port))
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname=parts.hostname)
        request = "GET /v1/events%s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n" % (query, key)
        if last_id is not None:
            request += "Last-Event-ID: %s\r\n" % last_id
        self._socket.sendall((request + "\r\n").encode())
        self._buffer = b""
        self._text = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._go = threading.Event()
        if reads:
            self.read()
        self._thread.start()

    def read(self):
        self._go.set()
        return self

    def wait_open(self):
        """The reply has begun, and the application is followed."""
        wait_for(lambda: self.status, what="an answer to the stream")
        assert self.status == 200, self.head
        wait_for(lambda: self.last_id, what="the stream's first id")
        return self

    def wait(self, count, at_most=20):
        wait_for(lambda: len(self.events) >= count, at_most, what="%d events" % count)
        return self.events

    def wait_closed(self, at_most=10):
        wait_for(lambda: self.closed, at_most, what="the end of the stream")
        return self

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._go.set()
        self._thread.join(10)
        self._socket.close()
        return self

    def kinds(self):
        return [e["event"] for e in self.events]

    # -- the bytes

    def _run(self):
        self._go.wait()
        try:
            self._read_head()
            if self.status == 200:
                assert b"transfer-encoding: chunked" in self.head.lower(), self.head
                while self._read_chunk():
                    pass
                self.ended = True
        except (EOFError, OSError):
            pass
        self.closed = True

    def _more(self):
        data = self._socket.recv(65536)
        if not data:
            raise EOFError
        self._buffer += data

    def _take(self, n):
        while len(self._buffer) < n:
            self._more()
        taken, self._buffer = self._buffer[:n], self._buffer[n:]
        return taken

    def _line(self):
        while b"\r\n" not in self._buffer:
            self._more()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _read_head(self):
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        self.head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        self.status = int(self.head.split(b" ")[1])

    def _read_chunk(self):
        size = int(self._line(), 16)
        data = self._take(size)
        assert self._take(2) == b"\r\n"
        self._text += data
        while b"\n\n" in self._text:
            block, self._text = self._text.split(b"\n\n", 1)
            self._block(block.decode())
        return size > 0

    def _block(self, block):
        event = {"event": "message"}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "":
                self.comments.append(value)
            elif name == "id":
                self.last_id = event["id"] = value
            elif name == "retry":
                self.retry = int(value)
            elif name == "data":
                event["data"] = json.loads(value)
            else:
                event[name] = value
        if "data" in event:
            self.events.append(event)

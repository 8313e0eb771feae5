#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A TCP proxy that delays, narrows, stalls, resets, cuts and switches links while they are in use.

    wire.py CONTROL NAME=LISTEN_HOST:PORT=TARGET_HOST:PORT...

CONTROL is a unix socket; each line there is one JSON object, answered by one.  {"link": NAME, ...}
with any of these changes the link at once, for connections that are open too:

    "delay_ms": 200            each piece is held for that long, in both directions
    "bytes_per_s": 20000       no more than that, in each direction; 0: no limit
    "stalled": ["to_server"]   nothing passes in these directions, and everything stays open: both of
                               them are a black hole, one a half-open connection
    "reset": true              open connections get RST, and new ones as soon as they are made
    "cut": {"to_client": 100}  each connection is reset after that many bytes of that direction, counted from
                               now: in the middle of an answer.  null: no more
    "orderly": true            what is cut ends with FIN, as a program does that ends, and not with RST
    "every_cut": 37            with cut: each connection gets its own, so many bytes later than the one before
    "target": "10.77.0.6:6379" new connections lead there
    "heal": true               first of all, everything as at the start but for the target

The answer has "connections", "bytes" and "resets", as counted from the start.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys

DIRECTIONS = ("to_server", "to_client")
PIECE_BYTES = 65536
CONNECT_TIMEOUT_S = 5
LINE_MAX_BYTES = 65536


class Link:
    """One listening port and all its connections."""

    def __init__(self, name, listen, target):
        self.name = name
        self.listen = address_of(listen)
        self.target = address_of(target)
        self.changed = None  # a condition, made in the loop
        self.open = set()  # pairs of writers
        self.connections = 0
        self.resets = 0
        self.bytes = dict.fromkeys(DIRECTIONS, 0)
        self.heal()

    def heal(self):
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.stalled = frozenset()
        self.resetting = False
        self.budget = None
        self.budget_grows = 0
        self.orderly = False

    async def start(self):
        self.changed = asyncio.Condition()
        await asyncio.start_server(self._accepted, *self.listen, backlog=512)

    async def change(self, words):
        if words.get("heal"):
            self.heal()
        if "delay_ms" in words:
            self.delay_s = words["delay_ms"] / 1000
        self.bytes_per_s = words.get("bytes_per_s", self.bytes_per_s)
        if "stalled" in words:
            self.stalled = frozenset(words["stalled"])
            if not self.stalled <= set(DIRECTIONS):
                raise ValueError("stalled names directions: %s" % ", ".join(DIRECTIONS))
        self.resetting = words.get("reset", self.resetting)
        if "cut" in words:
            # a new object: connections see that it was said anew
            self.budget = dict(words["cut"]) if words["cut"] else None
            self.budget_grows = words.get("every_cut", 0)
        self.orderly = words.get("orderly", self.orderly)
        if "target" in words:
            self.target = address_of(words["target"])
        async with self.changed:
            self.changed.notify_all()
        if self.resetting:
            for pair in list(self.open):
                self._reset(pair)

    def counts(self):
        return {"connections": self.connections, "resets": self.resets, "bytes": self.bytes}

    def _reset(self, pair):
        if pair not in self.open:
            return
        self.open.discard(pair)
        self.resets += 1
        for writer in pair:
            with contextlib.suppress(OSError, AttributeError):
                # a linger of zero makes close send RST
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _accepted(self, reader, writer):
        self.connections += 1
        pair = (writer,)
        self.open.add(pair)
        try:
            if self.resetting:
                return
            server_reader, server_writer = await asyncio.wait_for(
                asyncio.open_connection(*self.target), CONNECT_TIMEOUT_S)
            self.open.discard(pair)
            pair = (writer, server_writer)
            self.open.add(pair)
            await asyncio.gather(self._pump(pair, reader, server_writer, "to_server"),
                                 self._pump(pair, server_reader, writer, "to_client"))
            self.open.discard(pair)
            for one in pair:
                one.close()
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            self._reset(pair)

    async def _passes(self, direction):
        async with self.changed:
            await self.changed.wait_for(lambda: direction not in self.stalled)

    async def _pump(self, pair, reader, writer, direction):
        told, left = None, None
        while True:
            data = await reader.read(PIECE_BYTES)
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.bytes_per_s:
                await asyncio.sleep(len(data) / self.bytes_per_s)
            await self._passes(direction)
            if not data:
                with contextlib.suppress(OSError, RuntimeError):
                    writer.write_eof()
                return
            if self.budget is not told:
                told, left = self.budget, (self.budget or {}).get(direction)
                if left is not None:
                    self.budget[direction] += self.budget_grows
            if left is not None and len(data) >= left:
                writer.write(data[:left])
                with contextlib.suppress(OSError):
                    await writer.drain()
                # let it arrive: RST would throw away what the peer has not read
                await asyncio.sleep(0.02)
                if self.orderly:
                    self.resets += pair in self.open
                    self.open.discard(pair)
                    for one in pair:
                        one.close()
                else:
                    self._reset(pair)
                return
            if left is not None:
                left -= len(data)
            self.bytes[direction] += len(data)
            writer.write(data)
            await writer.drain()


def address_of(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


async def answer(links, reader, writer):
    while line := await reader.readline():
        try:
            words = json.loads(line)
            link = links[words["link"]]
            await link.change(words)
            said = link.counts()
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            said = {"error": "%s: %s" % (type(e).__name__, e)}
        writer.write(json.dumps(said).encode() + b"\n")
        await writer.drain()
    writer.close()


async def serve(control, links):
    for link in links.values():
        await link.start()
    server = await asyncio.start_unix_server(
        lambda r, w: answer(links, r, w), control, limit=LINE_MAX_BYTES)
    await server.serve_forever()


class Wire:
    """The other end of the control socket."""

    def __init__(self, control):
        self.control = control

    def tell(self, link, **words):
        """The link's counts, after the change."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.control)
            s.sendall(json.dumps(dict(words, link=link)).encode() + b"\n")
            with s.makefile("rb") as f:
                said = json.loads(f.readline())
        if "error" in said:
            raise ValueError("wire %s: %s" % (link, said["error"]))
        return said

    def is_there(self):
        return os.path.exists(self.control)


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    links = {}
    for text in sys.argv[2:]:
        name, listen, target = text.split("=")
        links[name] = Link(name, listen, target)
    asyncio.run(serve(sys.argv[1], links))


if __name__ == "__main__":
    main()

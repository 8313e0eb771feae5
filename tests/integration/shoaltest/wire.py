# SPDX-License-Identifier: BSD-2-Clause
"""A TCP proxy that can cut, stall, slow or switch a link."""

import asyncio
import contextlib
import socket
import struct
import threading

TO_SERVER = "to_server"
TO_CLIENT = "to_client"


class _Link:
    def __init__(self, client, server):
        self.client = client  # StreamWriter
        self.server = server


class Wire:
    """Listens on 127.0.0.1 and forwards to a target, in a thread of its own.

    Passes until told otherwise; every method takes effect at once, on connections that are open too:

        wire.delay(0.2)              each piece is held for that long, in both directions
        wire.blackhole()             everything stays open, nothing passes (and nothing is lost)
        wire.blackhole(TO_CLIENT)    one direction only: a half-open connection
        wire.reset()                 open connections get RST, new ones too
        wire.refuse()                open connections get RST, nobody listens any more
        wire.cut_after(n, TO_CLIENT) each connection is reset after n bytes of that direction,
                                     counted from now: inside a reply, if n says so
        wire.switch("127.0.0.1", p)  new connections lead elsewhere: a failover
        wire.heal()                  pass again
    """

    def __init__(self, target_port, target_host="127.0.0.1"):
        self.target = (target_host, target_port)
        self.connections = 0  # accepted so far
        self.bytes = {TO_SERVER: 0, TO_CLIENT: 0}
        self._delay = 0.0
        self._stalled = set()
        self._resetting = False
        self._budget = {}
        self._links = set()
        self._tasks = set()
        self._loop = asyncio.new_event_loop()
        self._changed = None
        self._server = None
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._call(self._listen())

    # -- what tests say

    def delay(self, seconds):
        self._call(self._set(delay=seconds))

    def blackhole(self, *directions):
        self._call(self._set(stalled=set(directions) or {TO_SERVER, TO_CLIENT}))

    def reset(self):
        self._call(self._set(resetting=True))

    def refuse(self):
        self._call(self._refuse())

    def cut_after(self, count, direction):
        self._call(self._set(budget={direction: count}))

    def switch(self, host, port):
        self.target = (host, port)

    def reset_open(self):
        """Open connections are reset; new ones pass."""
        self._call(self._abort_all())

    def heal(self):
        self._call(self._set(delay=0.0, stalled=set(), resetting=False, budget={}))
        self._call(self._listen())

    def close(self):
        if not self._loop.is_closed():
            self._call(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._socket.close()
            self._loop.close()

    # -- in the thread

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self):
        if self._changed is None:
            self._changed = asyncio.Condition()
        if self._server is None:
            if self._socket.fileno() < 0:
                self._socket = socket.socket()
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self._socket.bind(("127.0.0.1", self.port))
            self._server = await asyncio.start_server(
                self._accepted, sock=self._socket, backlog=256
            )

    async def _refuse(self):
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket.close()
        await self._abort_all()

    async def _set(self, delay=None, stalled=None, resetting=None, budget=None):
        if delay is not None:
            self._delay = delay
        if stalled is not None:
            self._stalled = stalled
        if resetting is not None:
            self._resetting = resetting
        if budget is not None:
            self._budget = budget
        async with self._changed:
            self._changed.notify_all()
        if self._resetting:
            await self._abort_all()

    async def _abort_all(self):
        for link in list(self._links):
            self._abort(link)

    def _abort(self, link):
        self._links.discard(link)
        for writer in (link.client, link.server):
            if writer is None:
                continue
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                # a linger of zero makes close send RST
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _accepted(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.connections += 1
        link = _Link(writer, None)
        self._links.add(link)
        try:
            if self._resetting:
                return
            server_reader, link.server = await asyncio.open_connection(*self.target)
            await asyncio.gather(
                self._pump(link, reader, link.server, TO_SERVER),
                self._pump(link, server_reader, writer, TO_CLIENT),
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._abort(link)
            self._tasks.discard(asyncio.current_task())

    async def _pump(self, link, reader, writer, direction):
        left = None  # bytes before the cut; counted from when the cut was asked for
        told = None
        while True:
            data = await reader.read(65536)
            if not data:
                async with self._changed:
                    await self._changed.wait_for(lambda: direction not in self._stalled)
                with contextlib.suppress(OSError, RuntimeError):
                    writer.write_eof()
                return
            if self._delay:
                await asyncio.sleep(self._delay)
            async with self._changed:
                await self._changed.wait_for(lambda: direction not in self._stalled)
            if self._budget is not told:
                told, left = self._budget, self._budget.get(direction)
            if left is not None and len(data) >= left:
                writer.write(data[:left])
                with contextlib.suppress(OSError):
                    await writer.drain()
                # let it arrive: RST would throw away what the peer has not read
                await asyncio.sleep(0.02)
                self._abort(link)
                return
            if left is not None:
                left -= len(data)
            self.bytes[direction] += len(data)
            writer.write(data)
            await writer.drain()

    async def _close(self):
        if self._server is not None:
            self._server.close()
        await self._abort_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

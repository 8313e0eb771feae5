# SPDX-License-Identifier: BSD-2-Clause
"""Signals and other news for a thread that waits: a pipe, because a signal handler may take no lock."""

import os
import select
import signal
import threading


class Bell:
    """ring() from any thread or signal handler; wait() in one thread.

    With signals(), SIGTERM and SIGINT count in `stops` and ring; the second one ends the process at once, as
    the signal does by itself.  Only in the main thread; elsewhere the program stops us by stop().
    """

    def __init__(self):
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)
        self.stops = 0
        self._before = {}
        self._closed = False  # threads that outlive the wait may ring for nobody

    def ring(self):
        try:
            if not self._closed:
                os.write(self._writer, b"!")
        except BlockingIOError:
            pass  # it rings already

    def stop(self):
        self.stops += 1
        self.ring()

    def wait(self, timeout=None, others=()):
        """Until it rang, or one of the other descriptors can be read: those that can.  None: it rang."""
        ready, _, _ = select.select([self.reader, *others], [], [], timeout)
        if self.reader in ready:
            try:
                while os.read(self.reader, 512):
                    pass
            except BlockingIOError:
                pass
        return [fd for fd in ready if fd != self.reader]

    def signals(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number, _frame):
        if self.stops > 0:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.stop()

    def close(self):
        """Signals are as before; the pipe goes with the object, when nobody can ring any more."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._closed = True

    def __del__(self):
        os.close(self.reader)
        os.close(self._writer)

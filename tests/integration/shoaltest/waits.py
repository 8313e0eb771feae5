# SPDX-License-Identifier: BSD-2-Clause
"""Wait for conditions, never for time."""

import time


class Hopeless(AssertionError):
    """Raised by a predicate that knows that waiting will not help."""


def wait_for(predicate, at_most=10, what=None, every=0.02):
    """Returns the predicate's first true value; fails with its last one after at_most seconds.

    An exception of the predicate counts as "not yet" (a node that is starting refuses
    connections), and is shown if it is the last word.
    """
    deadline = time.monotonic() + at_most
    while True:
        error = None
        value = None
        try:
            value = predicate()
        except Hopeless:
            raise
        except Exception as e:  # pylint: disable=broad-except
            error = e
        if value:
            return value
        if time.monotonic() >= deadline:
            last = repr(error) if error is not None else repr(value)
            raise AssertionError(
                "%s: not within %g s, last: %s"
                % (what or getattr(predicate, "__name__", "condition"), at_most, last)
            ) from error
        time.sleep(every)


def stays(predicate, for_seconds=1.0, what=None, every=0.05):
    """The predicate holds now and goes on holding for that long."""
    deadline = time.monotonic() + for_seconds
    while time.monotonic() < deadline:
        value = predicate()
        assert value, "%s: did not stay, became %r" % (what or "condition", value)
        time.sleep(every)

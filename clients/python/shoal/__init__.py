# SPDX-License-Identifier: BSD-2-Clause
"""Shoal for Python: submit background tasks, wait for them, and run them.

    import shoal

    client = shoal.Shoal()                      # SHOAL_URL and SHOAL_API_KEY
    print(client.run("shoal.echo", {"hello": "world"}))

A worker is shoal.Worker: see worker.py.  Only the standard library is needed.
"""

from .client import AUTO, Shoal
from .errors import (
    BadRequest,
    Conflict,
    Forbidden,
    IdempotencyKeyReused,
    LeaseLost,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    ServerError,
    ShoalError,
    TaskFailed,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    WaitTimeout,
)
from .events import Events
from .records import FINAL_STATES, Record, Task, parse_time
from .task import Cancelled, Fail, Retry, RunningTask
from .version import __version__
from .worker import Worker

__all__ = [
    "AUTO", "BadRequest", "Cancelled", "Conflict", "Events", "FINAL_STATES", "Fail", "Forbidden",
    "IdempotencyKeyReused", "LeaseLost", "NotFound", "OutcomeUnknown", "RateLimited", "Record", "Retry",
    "RunningTask", "ServerError", "Shoal", "ShoalError", "Task", "TaskFailed", "TooLarge", "Unauthorized",
    "Unavailable", "Unreachable", "WaitTimeout", "Worker", "__version__", "parse_time",
]

# SPDX-License-Identifier: BSD-2-Clause
"""What can go wrong, as classes.

Every answer that is not a success becomes a ShoalError with the status, the stable `code` and the
`detail` of the node's problem document (RFC 9457).  The class goes by the code where one has a class
of its own, else by the status: new codes of later nodes find a class that old programs catch.

A new code with a class?  A class here, a row in BY_CODE, and a name in __init__.py.
"""

import json

RETRY_AFTER_MOST = 60.0  # seconds; what a node asks for beyond it is not slept through


class ShoalError(Exception):
    """status: of the answer, None without one; code: a stable word; detail: text for people."""

    def __init__(self, detail, status=None, code=None, problem=None, retry_after=None):
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.problem = problem or {}  # the whole document, with what it says beside the four
        self.retry_after = retry_after  # seconds, or None

    def __str__(self):
        if self.status is None:
            return self.detail
        return "%s (%d %s)" % (self.detail, self.status, self.code)


class Unreachable(ShoalError):
    """No answer came: refused, broken, or too late.  sent: the request may have arrived all the same."""

    def __init__(self, detail, sent):
        super().__init__(detail, code="unreachable")
        self.sent = sent


class BadRequest(ShoalError):
    """The request is not acceptable; detail names the field.  The same again gets the same answer."""


class TooLarge(BadRequest):
    """The body, or a payload in it, is larger than the node takes."""


class IdempotencyKeyReused(BadRequest):
    """The idempotency_key belongs to another request of the last 24 hours."""


class Unauthorized(ShoalError):
    """The key is missing, unknown, expired or revoked."""


class Forbidden(ShoalError):
    """The key is valid and may not do that."""


class NotFound(ShoalError):
    """There is no such thing, not any more, or it is another application's."""


class Conflict(ShoalError):
    """The state does not allow that; nothing was changed."""

    @property
    def state(self):
        """The task's state, if the node said it."""
        return self.problem.get("state")


class LeaseLost(Conflict):
    """The lease has expired, or its task was cancelled or given to another: this attempt counts no more."""


class RateLimited(ShoalError):
    """Too much at a time, or the queue is full: nothing was accepted.  retry_after: seconds, or None."""


class ServerError(ShoalError):
    """The node made a mistake; its log says more."""


class Unavailable(ServerError):
    """The node cannot do it now, and nothing was done."""


class OutcomeUnknown(Unavailable):
    """The node does not know whether it was done."""


class WaitTimeout(ShoalError, TimeoutError):
    """The task has not ended in time; task is how it was seen last (None: never), and it goes on."""

    def __init__(self, detail, task):
        super().__init__(detail, code="wait_timeout")
        self.task = task


class TaskFailed(ShoalError):
    """The task has ended without success: task.state says how, code and detail are its last error's."""

    def __init__(self, task):
        error = task.get("error") or {}
        super().__init__(
            "task %s %s: %s" % (task["id"], task["state"], error.get("message") or "no error was recorded"),
            code=error.get("code") or task["state"],
        )
        self.task = task


BY_CODE = {
    "idempotency_key_reused": IdempotencyKeyReused,
    "lease_lost": LeaseLost,
    "outcome_unknown": OutcomeUnknown,
}
BY_STATUS = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: RateLimited,
    503: Unavailable,
}


def _seconds(text):
    try:
        return min(max(float(text), 0.0), RETRY_AFTER_MOST)
    except (TypeError, ValueError):
        return None  # absent, or a date, which nodes do not send


def from_answer(status, headers, body):
    """The error that an answer is.  What is no problem document (a proxy's page) is shown by its beginning."""
    problem = {}
    if "json" in (headers.get("Content-Type") or ""):
        try:
            problem = json.loads(body)
        except ValueError:
            pass
    if not isinstance(problem, dict):
        problem = {}
    code = problem.get("code")
    if not isinstance(code, str):
        code = "http_%d" % status
    detail = problem.get("detail")
    if not isinstance(detail, str):
        text = " ".join(body[:200].decode("utf-8", "replace").split())
        detail = "HTTP status %d, which is not a node's answer: %s" % (status, text or "(empty)")
    kind = BY_CODE.get(code) or BY_STATUS.get(status)
    if kind is None:
        kind = ServerError if status >= 500 else BadRequest if status >= 400 else ShoalError
    return kind(detail, status, code, problem, _seconds(headers.get("Retry-After")))

# SPDX-License-Identifier: BSD-2-Clause
"""Python values as the JSON that a node takes."""

import datetime
import difflib
import json

# what a task may be submitted with, beside type and payload; api/openapi.yaml, TaskRequest
TASK_OPTIONS = frozenset((
    "queue", "priority", "run_at", "delay", "timeout", "max_attempts", "backoff", "retry_until", "deadline",
    "metadata", "unique_key", "unique_until", "unique_for", "on_conflict", "concurrency_key",
    "concurrency_limit", "after", "after_failure", "ref", "traceparent", "tracestate",
))


def dumps(value):
    """Compact and strict: NaN and what JSON cannot say are ValueError and TypeError here, not a 400 later."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def plain(value, name="value"):
    """An option with datetime and timedelta in the API's words.  Payloads do not come through here."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise ValueError(
                "%s: a datetime needs a time zone, such as datetime.now(timezone.utc)" % name)
        return value.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, dict):
        return {k: plain(v, "%s.%s" % (name, k)) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, name) for v in value]
    return value


def task_request(type, payload, options):
    """The body of one task; options that are None are left out, unknown ones are a TypeError with the nearest."""
    if not isinstance(type, str) or not type:
        raise TypeError("a task's type is a text such as 'thumbnail', not %r" % (type,))
    body = {"type": type}
    if payload is not None:
        body["payload"] = payload
    for name, value in options.items():
        if name not in TASK_OPTIONS:
            near = difflib.get_close_matches(name, TASK_OPTIONS, 1)
            raise TypeError("a task has no option %r%s" % (
                name, "; did you mean %r?" % near[0] if near else ""))
        if value is None:
            continue
        # metadata is the caller's own JSON; ids of tasks may be given as tasks
        if name == "metadata":
            body[name] = value
        elif name == "after":
            body[name] = [task_id(v) for v in value]
        else:
            body[name] = plain(value, name)
    return body


def task_id(task):
    """The id of a task, or the text itself."""
    if isinstance(task, dict):
        return task["id"]
    if not isinstance(task, str) or not task:
        raise TypeError("a task's id is a text, not %r" % (task,))
    return task

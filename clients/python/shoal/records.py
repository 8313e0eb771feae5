# SPDX-License-Identifier: BSD-2-Clause
"""What a node answers, as dictionaries that can also be read with a dot."""

import datetime

FINAL_STATES = frozenset(("succeeded", "failed", "cancelled", "expired"))


class Record(dict):
    """record["state"] and record.state are the same; nested objects are Records too."""

    __slots__ = ()

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError("%s has no %r; there is: %s" % (
                type(self).__name__, name, ", ".join(self) or "nothing")) from None


class Task(Record):
    """A task as the API shows it: id, type, queue, state, payload, result, error, attempt, ...

    unique: "existing", "replaced" or "postponed" if a submit was answered with another task that has the
    unique_key; replayed: the submit had been done before, under the same idempotency_key.
    """

    __slots__ = ("unique", "replayed")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.unique = self.pop("unique", None)
        self.replayed = False

    @property
    def ended(self):
        return self["state"] in FINAL_STATES

    @property
    def succeeded(self):
        return self["state"] == "succeeded"


def parse_time(text):
    """A time of the API ("2026-11-26T03:00:00.000Z") as a datetime in UTC; None stays None."""
    if text is None:
        return None
    text = text[:-1] + "+00:00" if text.endswith("Z") else text
    return datetime.datetime.fromisoformat(text)

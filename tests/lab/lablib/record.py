# SPDX-License-Identifier: BSD-2-Clause
"""What a scenario leaves, held against what was promised: the record of the load, what ran, what the database has."""

import collections
import json
import math

SUCCEEDED = 3  # conf/schema/0001-base.sql
FINISHED = (3, 4, 5, 6)

Run = collections.namedtuple("Run", "n id attempt fence at worker")


class Load:
    """The record that load.py writes, read while it is written."""

    def __init__(self, path):
        self.path = path
        self.begun = set()
        self.others = set()  # numbers that a scenario has submitted itself
        self.known = []  # of each number what became of it
        self.reads = collections.Counter()
        self.read_failures = []
        self.stalls = []  # seconds
        self._offset = 0

    def follow(self):
        with open(self.path, "rb") as f:
            f.seek(self._offset)
            data = f.read()
        whole = data[:data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            one = json.loads(line)
            if "begin" in one:
                self.begun.add(one["begin"])
            elif "read" in one:
                self.reads[one["outcome"]] += 1
                self.read_failures += one["failures"]
            elif "stall" in one:
                self.stalls.append(one["stall"])
            else:
                self.known.append(one)
        return self

    def accepted(self):
        return [one for one in self.known if one["outcome"] == "accepted"]


def executions(path):
    """(starts, ends) in the order of time"""
    starts, ends = [], []
    with open(path, encoding="ascii") as f:
        for line in f:
            letter, n, id_, attempt, fence, at, worker = line.split()
            (starts if letter == "S" else ends).append(
                Run(int(n), id_, int(attempt), fence, float(at), worker))
    return sorted(starts, key=lambda r: r.at), sorted(ends, key=lambda r: r.at)


class Account:
    """All of it together.  rows: (id, state, attempt, payload, result) of every task of the application."""

    def __init__(self, load, starts, ends, rows):
        self.load = load
        self.starts = starts
        self.ends = ends
        self.accepted = {one["id"]: one for one in load.accepted()}
        self.rows = {str(row[0]): row for row in rows}
        self.first_start = {}
        for run in starts:
            self.first_start.setdefault(run.id, run.at)

    # -- what must not be: each a list of examples

    def lost(self):
        """accepted, and not done"""
        return [id_ for id_ in self.accepted if id_ not in self.rows or self.rows[id_][1] != SUCCEEDED]

    def unfinished(self):
        return [id_ for id_, row in self.rows.items() if row[1] not in FINISHED]

    def unknown(self):
        """asked for again and again, and no answer; those without a key may stay unknown"""
        return [one["n"] for one in self.load.known if one["outcome"] == "unknown" and one["flavour"] != "plain"]

    def refused(self):
        return [one["n"] for one in self.load.known if one["outcome"] == "refused"]

    def never_told(self):
        """begun, and the load does not say what became of it"""
        return sorted(self.load.begun - {one["n"] for one in self.load.known})

    def never_submitted(self):
        """in the database, or run, and nobody asked for it"""
        numbers = {json.loads(row[3])["n"]: id_ for id_, row in self.rows.items()}
        asked = self.load.begun | self.load.others
        return [id_ for n, id_ in numbers.items() if n not in asked] + [
            run.id for run in self.starts if run.id not in self.rows or run.n not in asked]

    def twins(self):
        """two tasks of one submit"""
        count = collections.Counter(json.loads(row[3])["n"] for row in self.rows.values())
        other = [one["n"] for one in self.accepted.values()
                 if one["id"] in self.rows and json.loads(self.rows[one["id"]][3])["n"] != one["n"]]
        return [n for n, many in count.items() if many > 1] + other

    def started_twice(self):
        """one attempt, begun more than once"""
        count = collections.Counter((run.id, run.attempt) for run in self.starts)
        return [key for key, many in count.items() if many > 1]

    def wrong_winner(self):
        """the outcome on record is not one whole run of one attempt, or changed after somebody was told it"""
        ended = {(run.id, run.attempt, run.fence) for run in self.ends}
        wrong = []
        for id_, (_, state, attempt, _, result) in self.rows.items():
            if state != SUCCEEDED:
                continue
            told = json.loads(result)
            if told["attempt"] != attempt or (id_, attempt, told["fence"]) not in ended:
                wrong.append(id_)
            elif "told" in self.accepted.get(id_, ()) and self.accepted[id_]["told"] != told:
                wrong.append(id_)
        return wrong

    def missing(self):
        """accepted, and a node said that there is no such task"""
        return ["read"] * self.load.reads["missing"]

    FAULTS = ("lost", "unfinished", "unknown", "refused", "never_told", "never_submitted", "twins", "started_twice",
              "wrong_winner", "missing")

    # -- what is counted

    def requests(self):
        return sum(one["requests"] for one in self.load.known) + sum(self.load.reads.values())

    def failures(self):
        """[(at, kind)] of requests that had no answer, or one that a sound cluster does not give"""
        return sorted(tuple(f) for one in self.load.known for f in one["failures"]) + [
            tuple(f) for f in self.load.read_failures]

    def again(self):
        """runs beyond the first of a task"""
        return len(self.starts) - len(self.first_start)

    def pause(self):
        """(longest time in which accepted tasks waited and none began, when it ended)"""
        waiting = sorted(((self.first_start.get(id_, math.inf), one["known_at"])
                          for id_, one in self.accepted.items()), reverse=True)
        times = sorted(self.first_start.values())
        longest, when, earliest, at = 0.0, None, math.inf, 0
        # from the last start to the first: earliest is when the first of those was accepted that began then or later
        for i in range(len(times) - 1, -1, -1):
            while at < len(waiting) and waiting[at][0] >= times[i]:
                earliest = min(earliest, waiting[at][1])
                at += 1
            since = max(earliest, times[i - 1] if i > 0 else earliest)
            if times[i] - since > longest:
                longest, when = times[i] - since, times[i]
        return longest, when

    def slowest_start(self, after=0.0, before=math.inf):
        """longest wait of an accepted task for its first start, counted from `after` at the earliest, of those
        that waited then or came before `before`"""
        waits = [self.first_start[id_] - max(one["known_at"], after) for id_, one in self.accepted.items()
                 if id_ in self.first_start and self.first_start[id_] > after and one["known_at"] < before]
        return max(waits + [0.0])

    def slowest_again(self, after, before=math.inf, alone=None):
        """from then until the last task began again that had begun before.  alone: only of those (False: of the others)
        that had begun twice, since after a second crash a task waits for a worker to itself"""
        seen, last = collections.Counter(), 0.0
        for run in self.starts:
            times = seen[run.id]
            if times > 0 and after < run.at < before and alone in (None, times > 1):
                last = run.at - after
            seen[run.id] += 1
        return last

    def slowest_answer(self, after=0.0, before=math.inf):
        """of submits that did not wait for the end and had their answer at the first try"""
        return max([one["known_at"] - one["asked_at"] for one in self.accepted.values()
                    if one["flavour"] != "waited" and one["requests"] == 1 and after < one["asked_at"] < before]
                   + [0.0])

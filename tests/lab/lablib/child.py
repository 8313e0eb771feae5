# SPDX-License-Identifier: BSD-2-Clause
"""A stream child (docs/stream-protocol.md) whose work is to write down that it ran, and when.

[type:lab.work]
handler = stream
command = /usr/bin/python3 -IS child.py
environment = LAB_LOG=FILE

{"n": 17, "ms": 20} takes 20 ms.  One line in FILE at the start and one at the end, each by a single
write: S or E, n, id, attempt, fence, the monotonic clock of the machine, the worker.
"""

import heapq
import json
import os
import select
import sys
import time

CONCURRENCY = 64


def main():
    log = os.open(os.environ["LAB_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    worker = os.environ.get("SHOAL_WORKER", "-")
    running = {}  # id: task
    ends = []  # heap of (time, id, attempt)
    begun = b""
    open_ = True

    def note(letter, task):
        os.write(log, ("%s %d %s %d %s %.6f %s\n" % (
            letter, task["payload"]["n"], task["id"], task["attempt"], task["fence"], time.monotonic(),
            worker)).encode())

    def hear(line, answers):
        message = json.loads(line)
        if "task" in message:
            task = message["task"]
            note("S", task)
            running[task["id"]] = task
            heapq.heappush(ends, (time.monotonic() + task["payload"]["ms"] / 1000, task["id"], task["attempt"]))
        elif "hello" in message:
            answers.append({"hello": {"version": 1, "concurrency": CONCURRENCY}})
        elif "ping" in message:
            answers.append({"pong": message["ping"]})
        elif message.get("cancel") in running:
            task = running.pop(message["cancel"])
            answers.append({"id": task["id"], "error": {"code": "told_to_stop"}, "retry": True})

    while open_ or running:
        wait = max(0, ends[0][0] - time.monotonic()) if ends else None
        answers = []
        if open_:
            if select.select([0], [], [], wait)[0]:
                chunk = os.read(0, 65536)
                open_ = chunk != b""
                *lines, begun = (begun + chunk).split(b"\n")
                for line in lines:
                    hear(line, answers)
        else:
            time.sleep(wait or 0)
        while ends and ends[0][0] <= time.monotonic():
            _, id_, attempt = heapq.heappop(ends)
            task = running.get(id_)
            if task is None or task["attempt"] != attempt:
                continue  # cancelled
            del running[id_]
            note("E", task)
            answers.append({"id": id_, "result": {
                "n": task["payload"]["n"], "attempt": attempt, "fence": task["fence"]}})
        if answers:
            sys.stdout.write("".join(json.dumps(a) + "\n" for a in answers))
            sys.stdout.flush()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: BSD-2-Clause
"""The modes that are measured, and one run of one of them."""

import json
import os
import subprocess
import threading

from . import machine
from .cluster import QUEUE


class Mode:
    """name: as in tables; words: for shoal bench.

    held: the queue is paused before, and released once a backlog is loaded (a drain) or when
    the run is over (submits alone, with nothing that runs them beside).
    """

    def __init__(self, name, *words, held=False, counts="rate"):
        self.name, self.words, self.held, self.counts = name, list(words), held, counts

    @property
    def is_latency(self):
        return self.words[0] in ("wait", "start")


def modes(quick=False, backlog=None, million=False):
    time = "2s" if quick else "4s"
    drain = 60000 if quick else 200000
    backlog = backlog if backlog is not None else (0 if quick else 500000)
    chosen = [
        Mode("submit, 64", "submit", "-c", "64", "-t", time, held=True),
        Mode("submit, batches of 100", "submit", "-c", "16", "-b", "100", "-t", "1s", held=True),
        Mode("e2e, 32", "e2e", "-c", "32", "-t", time),
        Mode("e2e, 64", "e2e", "-c", "64", "-t", time),
        Mode("e2e, 256", "e2e", "-c", "256", "-t", time),
        Mode("e2e, batches of 100", "e2e", "-c", "16", "-b", "100", "-t", time,
             "--outstanding", "10000"),
        Mode("drain", "drain", "-c", "8", "-n", str(drain), "--held", held=True),
        Mode("drain, due at once", "drain", "-c", "8", "-n", str(drain), "--hold",
             "4s" if quick else "10s"),
        Mode("start, idle", "start", "-t", time),
        Mode("wait, idle", "wait", "-t", time),
    ]
    if backlog:
        chosen.append(Mode("submit beside %d" % backlog, "backlog", "-c", "64", "-n", str(backlog),
                           "-t", time, "--held", held=True, counts="submit_rate"))
        chosen.append(Mode("drain beside submits", "backlog", "-c", "64", "-n", str(backlog),
                           "-t", time, "--held", held=True))
    if million:
        # long enough that checkpoints fall into it, as they do in earnest
        chosen.append(Mode("million e2e", "e2e", "-c", "256", "-n", "1000000"))
        chosen.append(Mode("million drain", "drain", "-c", "8", "-n", "1000000",
                           "--held", held=True))
    return chosen


def choose(chosen, names):
    """those whose name begins with one of names; all if there is none"""
    return [m for m in chosen if not names or any(m.name.startswith(n) for n in names)]


def run(cluster, mode, payload=200, client=None):
    """One run: what shoal bench says, and what it cost.  Nothing else runs before or after."""
    cluster.wait_idle()
    cluster.sql("CHECKPOINT")  # or one of the run before falls into this one
    if mode.held:
        cluster.pause(True)
    words = [os.path.join(client or cluster.build, "shoal"), "bench"] + mode.words
    words += ["--json", "--payload", str(payload), "-q", QUEUE]
    words += cluster.client_words(mode.words[0] in ("e2e", "drain", "backlog"))
    before = {"sample": cluster.sample()}
    load = machine.load()
    process = subprocess.Popen(words, env=cluster.program_env(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    complaints = []

    def watch():
        for line in process.stderr:
            if b"bench: loaded" not in line:
                complaints.append(line.decode(errors="replace"))
            elif mode.held:
                cluster.sql("CHECKPOINT")
                before["sample"] = cluster.sample()
                cluster.pause(False)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        out = process.stdout.read()
        watcher.join()
    except BaseException:
        process.kill()
        raise
    if process.wait() != 0 or not out:
        raise SystemExit("%s: %s" % (" ".join(words), "".join(complaints) or "no answer"))
    result = json.loads(out)
    cost = cluster.cost(before["sample"])
    if mode.held:
        cluster.pause(False)
        cluster.wait_idle()  # what it left must not run beside another cluster's next mode
    cost["cpu"]["client"] = result["cpu_seconds"]
    return {
        "mode": mode.name,
        "value": result["latency_us"]["p50"] / 1000 if mode.is_latency else result[mode.counts],
        "unit": "ms p50" if mode.is_latency else "tasks/s",
        "tasks": result["finished"] or result["accepted"],
        "result": result,
        "cost": cost,
        "load": load,
    }

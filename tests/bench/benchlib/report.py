# SPDX-License-Identifier: BSD-2-Clause
"""Tables and files of results."""

import datetime
import json
import os
import statistics
import subprocess

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
GROUPS = ("client", "workers", "master", "postgres", "redis")


def number(n):
    if abs(n) >= 100:
        return "{:,.0f}".format(n)
    return "%.2f" % n


def median(values):
    return statistics.median(values)


def spread(values, form=number):
    """median (least to most)"""
    return "%s (%s to %s)" % (form(statistics.median(values)), form(min(values)),
                              form(max(values)))


def table(head, rows):
    """in the form of Markdown, aligned"""
    widths = [max(len(str(row[i])) for row in [head] + rows) for i in range(len(head))]

    def line(row):
        return "| " + " | ".join(str(c).ljust(w) for c, w in zip(row, widths)) + " |"

    return "\n".join([line(head), line(["-" * w for w in widths])] + [line(r) for r in rows])


def by_mode(runs):
    found = {}
    for run in runs:
        found.setdefault(run["mode"], []).append(run)
    return found


def _median(runs, value):
    return statistics.median(value(r) for r in runs)


def rates(runs):
    rows = []
    for name, group in by_mode(runs).items():
        latency = [g["result"]["latency_us"] for g in group]
        rows.append([
            name, spread([g["value"] for g in group]), group[0]["unit"],
            "%.2f" % (statistics.median(x["p50"] for x in latency) / 1000),
            "%.2f" % (statistics.median(x["p99"] for x in latency) / 1000),
            spread([g["load"] for g in group]),
        ])
    return table(["mode", "median (min to max)", "", "p50 ms", "p99 ms", "load before"], rows)


def costs(runs):
    rows = []
    for name, group in by_mode(runs).items():
        row = [name]
        for part in GROUPS:
            row.append("%.1f" % _median(
                group, lambda r, p=part: 1e6 * r["cost"]["cpu"].get(p, 0) / max(r["tasks"], 1)))
        row.append(number(_median(group, lambda r: r["cost"]["wal_bytes"] / max(r["tasks"], 1))))
        counted = "statements" if "statements" in group[0]["cost"] else "batches"
        row.append("%.3f" % _median(group, lambda r: r["cost"][counted] / max(r["tasks"], 1)))
        row.append("%.3f" % _median(
            group, lambda r: r["cost"]["transactions"] / max(r["tasks"], 1)))
        row.append("%.1f / %.1f" % (_median(group, lambda r: r["cost"]["worker_rss_mib"]),
                                    _median(group, lambda r: r["cost"]["worker_private_mib"])))
        rows.append(row)
    return table(
        ["microseconds a task:"] + list(GROUPS) + ["WAL bytes/task", "statements/task",
                                                   "transactions/task", "worker RSS / private MiB"],
        rows)


def commit():
    done = subprocess.run(["git", "-C", TOP, "describe", "--always", "--dirty"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode().strip() or "unknown"


def keep(kind, document):
    """writes build/bench/results/TIME-KIND.json and returns its name"""
    folder = os.path.join(TOP, "build/bench/results")
    os.makedirs(folder, exist_ok=True)
    now = datetime.datetime.now(datetime.timezone.utc)
    name = os.path.join(folder, "%s-%s.json" % (now.strftime("%Y%m%dT%H%M%SZ"), kind))
    with open(name, "w", encoding="utf-8") as f:
        json.dump(dict({"kind": kind, "time": now.isoformat()}, **document), f, indent=1)
        f.write("\n")
    return name

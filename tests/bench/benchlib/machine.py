# SPDX-License-Identifier: BSD-2-Clause
"""What the machine says: processor time by process group, memory, and facts for the record."""

import os
import platform
import subprocess

TICK = os.sysconf("SC_CLK_TCK")
GROUPS = ("workers", "master", "postgres", "redis")


def _stat(pid):
    """(parent, name, seconds of its own and of the children that it has buried, of its own)"""
    with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as f:
        text = f.read()
    name = text[text.index("(") + 1:text.rindex(")")]
    fields = text[text.rindex(")") + 2:].split()
    ticks = [int(n) for n in fields[11:15]]
    return int(fields[1]), name, sum(ticks) / TICK, sum(ticks[:2]) / TICK


def processes():
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found[int(entry)] = _stat(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                pass  # gone meanwhile
    return found


def descendants(root, found=None):
    found = found or processes()
    children = {}
    for pid, (parent, _, _, _) in found.items():
        children.setdefault(parent, []).append(pid)
    todo, below = [root], []
    while todo:
        for child in children.get(todo.pop(), ()):
            below.append(child)
            todo.append(child)
    return below


def groups_of(dev, masters=(), found=None):
    """{group: [pid]} of a cluster: what shoald --dev (its pid) has started, and further nodes."""
    found = found or processes()
    groups = {name: [] for name in GROUPS}
    for pid in masters:
        if pid in found:
            groups["master"].append(pid)
        groups["workers"] += descendants(pid, found)
    for pid in descendants(dev, found):
        parent, name, _, _ = found[pid]
        if name == "postgres":
            groups["postgres"].append(pid)
        elif name.startswith("redis"):
            groups["redis"].append(pid)
        else:
            groups["master" if parent == dev else "workers"].append(pid)
    return groups


def cpu_of(groups, found=None):
    """{group: seconds}; a process that has gone is in its parent's sum."""
    found = found or processes()
    return {
        name: sum(found[pid][2] for pid in pids if pid in found) for name, pids in groups.items()
    }


def busy():
    """(seconds that all processors were busy, seconds that there were), since the start"""
    with open("/proc/stat", encoding="ascii") as f:
        ticks = [int(n) for n in f.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICK, sum(ticks) / TICK


def title_of(pid):
    """as ps shows it, without its tail"""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().replace(b"\0", b" ").decode(errors="replace").strip()[:60]
    except (FileNotFoundError, ProcessLookupError):
        return "?"


def descriptors_of(pid):
    """how many are open"""
    try:
        return len(os.listdir("/proc/%d/fd" % pid))
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def memory_of(pid):
    """(resident, private) in MiB"""
    rss = private = 0
    try:
        with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
            for line in f:
                if line.startswith("Rss:"):
                    rss = int(line.split()[1])
                elif line.startswith(("Private_Clean:", "Private_Dirty:")):
                    private += int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0.0, 0.0
    return rss / 1024, private / 1024


def _first(command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=False)
    except OSError:
        return ""
    return (done.stdout.decode(errors="replace").strip().splitlines() or [""])[0]


def load():
    return round(os.getloadavg()[0], 2)


def facts(directory):
    """What a figure means nothing without.  directory: where the stores' files are."""
    cpu = ""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": cpu,
        "processors": os.cpu_count(),
        "memory_gib": round(pages / 2 ** 30, 1),
        "kernel": platform.release(),
        "filesystem": _first(["stat", "-f", "-c", "%T", directory]),
        "redis": _first(["redis-server", "--version"]),
        "load": load(),
    }

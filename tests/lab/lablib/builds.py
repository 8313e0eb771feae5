# SPDX-License-Identifier: BSD-2-Clause
"""The build that is tried, and an older one to run beside it."""

import os
import re
import shutil
import subprocess

from benchlib import build as bench_build
from benchlib.report import TOP

current = bench_build.current
check = bench_build.check


def _git(*words):
    done = subprocess.run(("git", "-C", TOP) + words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode().strip() if done.returncode == 0 else ""


def previous_tag():
    """the newest release before this tree; "" if there is none"""
    return _git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")


def old(ref):
    """The directory of a build of that commit, in build/lab/old-HASH; made once."""
    commit = _git("rev-parse", "--verify", "--short=12", ref + "^{commit}")
    if not re.fullmatch("[0-9a-f]{12}", commit):
        raise SystemExit("--old %s: no such commit here" % ref)
    where = os.path.join(TOP, "build/lab/old-" + commit)
    if os.path.exists(os.path.join(where, "shoald")):
        return where
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    with subprocess.Popen(["git", "-C", TOP, "archive", commit], stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", where], stdin=archive.stdout, check=True)
    subprocess.run(["autoreconf", "-fi"], cwd=where, check=True)
    # the compiler is the one of the build that is tried, with its cache
    compiler = os.environ.get("CC") or _compiler()
    subprocess.run(["./configure", "--quiet", "CFLAGS=-O2 -g"] + (["CC=" + compiler] if compiler else []), cwd=where,
                   check=True)
    subprocess.run(["make", "-s", "-j2", "shoal", "shoald"], cwd=where, check=True, stdout=subprocess.DEVNULL)
    return where


def _compiler():
    try:
        with open(os.path.join(TOP, "build/bench/current/Makefile"), encoding="utf-8") as f:
            return re.search(r"^CC = (.*)$", f.read(), re.M).group(1)
    except FileNotFoundError:
        return ""

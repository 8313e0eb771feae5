# SPDX-License-Identifier: BSD-2-Clause
"""The build that is measured: -O2, without sanitizers, in build/bench/current."""

import os
import subprocess

from .report import TOP


def current():
    where = os.path.join(TOP, "build/bench/current")
    os.makedirs(where, exist_ok=True)
    if not os.path.exists(os.path.join(TOP, "configure")):
        subprocess.run(["autoreconf", "-fi"], cwd=TOP, check=True)
    if not os.path.exists(os.path.join(where, "Makefile")):
        subprocess.run([os.path.join(TOP, "configure"), "--quiet", "CFLAGS=-O2 -g"], cwd=where,
                       check=True)
    subprocess.run(["make", "-s", "-j2", "shoal", "shoald"], cwd=where, check=True,
                   stdout=subprocess.DEVNULL)
    check(where)
    return where


def check(where):
    """refuses what is no build, or one with sanitizers"""
    for name in ("shoal", "shoald"):
        if not os.access(os.path.join(where, name), os.X_OK):
            raise SystemExit("%s: no %s there" % (where, name))
    try:
        with open(os.path.join(where, "config.h"), encoding="utf-8") as f:
            if "#define SHOAL_SANITIZED 1" in f.read():
                raise SystemExit("%s: a build with sanitizers measures the sanitizers" % where)
    except FileNotFoundError:
        pass  # installed programs

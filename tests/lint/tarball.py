#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks that every file of the repository is named by a Makefile.am or an .am file, which is how it gets into
the tarball: a test that is left out there is missed by nobody until make distcheck.

Outside a repository, as in the tarball itself, there is nothing to compare.
"""
import fnmatch
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# what only a repository needs, and what automake takes along by itself
OWN = ("*/.gitignore", ".gitignore", ".git-blame-ignore-revs", "*.am", "configure.ac")


def main():
    if not os.path.exists(os.path.join(ROOT, ".git")):
        print("no repository: nothing to compare")
        return 0
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], stdout=subprocess.PIPE, check=True)
    files = listed.stdout.decode().split("\n")[:-1]
    named = set()
    for name in files:
        if name.endswith(".am"):
            with open(os.path.join(ROOT, name)) as f:
                text = f.read()
            # $(srcdir)/x, dir/*.x in a wildcard and plain words
            named |= set(re.split(r"[\s=()]+", text.replace("\\\n", " ").replace("$(srcdir)/", "")))
    patterns = [n for n in named if "*" in n]
    wrong = [
        "%s is in no .am file: it would be missing from the tarball" % f for f in files
        if f not in named and os.path.dirname(f) not in named  # a whole directory
        and not any(fnmatch.fnmatch(f, p) for p in OWN)
        and not any(fnmatch.fnmatch(f, p) for p in patterns)
    ]
    print("\n".join(wrong) if wrong else "%d files" % len(files))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

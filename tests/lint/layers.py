#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Prints every #include in src and lib that points against the rows of tests/lint/layers."""
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def read_rows(path):
    rows, allowed = {}, set()
    number = 0
    with open(path) as f:
        for line in f:
            words = line.split("#")[0].split()
            if not words:
                continue
            if words[0] == "allow":
                allowed.add((words[1], words[2]))
                continue
            for folder in words:
                rows[folder] = number
            number += 1
    return rows, allowed


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    rows, allowed = read_rows(os.path.join(here, "layers"))
    wrong = []
    for top in ("src", "lib"):
        for where, _, names in sorted(os.walk(os.path.join(root, top))):
            for name in sorted(names):
                if not name.endswith((".c", ".h")):
                    continue
                path = os.path.relpath(os.path.join(where, name), root)
                parts = path.split(os.sep)
                folder = parts[1] if len(parts) > 2 else "main"
                if folder not in rows:
                    wrong.append("%s: folder %s has no row in tests/lint/layers" % (path, folder))
                    continue
                with open(os.path.join(root, path)) as f:
                    for number, line in enumerate(f, 1):
                        found = INCLUDE.match(line)
                        if not found or "/" not in found.group(1):
                            continue
                        header = found.group(1)
                        target = header.split("/")[0]
                        if target == folder or (folder, header) in allowed:
                            continue
                        if rows.get(target, -1) <= rows[folder]:
                            wrong.append(
                                "%s:%d: %s may not include \"%s\": only its own folder and rows below"
                                % (path, number, folder, header)
                            )
    print("\n".join(wrong) if wrong else "includes point downward")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every guarantee in docs/semantics.md names a test, and every test named there exists."""

import os
import re
import sys

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


def tests_of(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return set(re.findall(r"^(?:def|static void\n)\s*(test_\w+|\w+)\(", f.read(), re.MULTILINE))


def main():
    with open(os.path.join(TOP, "docs/semantics.md"), encoding="utf-8") as f:
        text = f.read()
    wrong = []
    for path, name in re.findall(r"`(tests/[\w/.]+?)(?:::(\w+))?`", text):
        if not os.path.exists(os.path.join(TOP, path)):
            wrong.append("there is no %s" % path)
        elif name and name not in tests_of(path):
            wrong.append("%s has no %s" % (path, name))
    # a guarantee is a paragraph that begins in bold
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("**") and "`tests/" not in paragraph:
            wrong.append("no test is named for: %s" % paragraph[:60].replace("\n", " "))
    for line in wrong:
        print("docs/semantics.md: %s" % line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

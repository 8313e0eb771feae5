#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Prints calls in src and lib that we do not use, with what to use instead, and files that lack
their SPDX line or the essay at their head."""
import os
import re
import sys

INSTEAD = {
    "sprintf": "snprintf or strbuf_printf",
    "vsprintf": "vsnprintf",
    "strcpy": "str_copy",
    "strcat": "strbuf_puts",
    "strncpy": "str_copy",
    "strncat": "strbuf_put",
    "strtok": "strsep",
    "atoi": "str_to_i64",
    "atol": "str_to_i64",
    "atof": "strtod with its end checked",
    "gets": "getline",
    "system": "child_spawn",
    "popen": "child_spawn",
    "sleep": "a timer of the loop",
    "usleep": "a timer of the loop",
}
CALL = re.compile(r"(?<![\w.>])(%s)\s*\(" % "|".join(INSTEAD))
# comments and texts, which may speak of anything
NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(found):
    return re.sub(r"[^\n]", " ", found.group(0))


def complaints(path, text):
    code = NOISE.sub(blank, text)
    for number, line in enumerate(code.split("\n"), 1):
        for name in CALL.findall(line):
            yield "%s:%d: %s is not used here: %s" % (path, number, name, INSTEAD[name])
    if not text.startswith("/* SPDX-License-Identifier: BSD-2-Clause */\n"):
        yield "%s:1: the SPDX line is missing" % path
    elif not text.split("\n", 1)[1].startswith("/*"):
        yield "%s:2: the opening comment is missing" % path


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    wrong = []
    for top in ("src", "lib"):
        for where, _, names in sorted(os.walk(os.path.join(root, top))):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.join(where, name)
                    with open(path) as f:
                        wrong += complaints(os.path.relpath(path, root), f.read())
    print("\n".join(wrong) if wrong else "no banned calls")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

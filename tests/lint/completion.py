#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks that the completions of shoald name the options and signals of src/shoald.c, all of them
and no other; and, with bash there, that bash's function really offers them.

shoal's own completions ask the program, which tests/unit/test_complete.c holds to its tables.
"""
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BASH = "conf/completion/bash/shoald"
ZSH = "conf/completion/zsh/_shoald"

# completes one line and prints what is offered; $1: the file, the rest: the words
DRIVER = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_shoald "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def read(name):
    with open(os.path.join(ROOT, name)) as f:
        return f.read()


def program():
    """The long options, the letters and the names for -s."""
    text = read("src/shoald.c")
    table = re.search(r"long_options\[\] = \{(.*?)\n\};", text, re.S)
    letters = re.search(r'getopt_long\(\s*argc, argv, "([^"]+)"', text)
    signals = re.search(r"signal_names\[\] = \{(.*?)\n\};", text, re.S)
    if table is None or letters is None or signals is None:
        sys.exit("src/shoald.c: its options cannot be read; look at tests/lint/completion.py")
    longs = {"--" + name for name in re.findall(r'\{"([^"]+)",', table.group(1))}
    shorts = {"-" + letter for letter in letters.group(1).replace(":", "")}
    return longs | shorts, set(re.findall(r'\{"([^"]+)",', signals.group(1)))


def in_bash():
    text = read(BASH)
    options = set(re.search(r"options='([^']*)'", text).group(1).split())
    return options, set(re.search(r"signals='([^']*)'", text).group(1).split())


def in_zsh():
    text = read(ZSH)
    options = set(re.findall(r"[{,](--?[A-Za-z-]+)(?=[,}])", text))
    options |= set(re.findall(r"^\t'(--[a-z-]+?)(?:=-?)?\[", text, re.M))
    return options, set(re.search(r"name:\(([a-z0-9 -]+)\)", text).group(1).split())


def offered(*words):
    done = subprocess.run(
        ["bash", "-c", DRIVER, "bash", os.path.join(ROOT, BASH)] + list(words),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False,
    )
    return set(done.stdout.decode(errors="replace").split())


def compare(name, what, expected, found):
    wrong = ["%s: lacks the %s %s" % (name, what, x) for x in sorted(expected - found)]
    return wrong + [
        "%s: names %s, which is no %s of shoald" % (name, x, what) for x in sorted(found - expected)
    ]


def main():
    options, signals = program()
    wrong = []
    for name, (found, names) in ((BASH, in_bash()), (ZSH, in_zsh())):
        wrong += compare(name, "option", options, found)
        wrong += compare(name, "signal", signals, names)
    if shutil.which("bash") and not wrong:
        wrong += compare(BASH + ", when run", "option", options, offered("shoald", "-"))
        wrong += compare(BASH + ", when run", "signal", signals, offered("shoald", "-s", ""))
    print("\n".join(wrong) if wrong else "%d options" % len(options))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

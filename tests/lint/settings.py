#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks that conf/shoald.conf and man/shoald.conf.5 name the settings of src/model/settings.c,
all of them and no other, with the same defaults.

Read from the table's source rather than from the program, so that it needs no build.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ROW = re.compile(r'\{\s*\.section = "([^"]+)",\s*\.name = "([^"]+)",(.*?)\},\n', re.S)
DEFAULT = re.compile(r'\.def = ((?:SHOAL_\w+\s*)?"[^"]*")')
# where the build decides, the documents use the usual place
PLACES = {"SHOAL_RUNDIR": "/run/shoal", "SHOAL_SYSCONFDIR": "/etc/shoal"}


def table():
    with open(os.path.join(ROOT, "src/model/settings.c")) as f:
        text = f.read()
    found = {}
    for section, name, rest in ROW.findall(text):
        default = DEFAULT.search(rest)
        if default is None:
            sys.exit("settings.c: %s.%s has no .def that this check can read" % (section, name))
        value = default.group(1)
        for macro, place in PLACES.items():
            value = value.replace(macro, '"%s"' % place)
        found[section + "." + name] = "".join(re.findall(r'"([^"]*)"', value))
    if text.count(".section =") != len(found):
        sys.exit("settings.c: only %d of its rows can be read" % len(found))
    return found


def family(section):
    """[type:wordcount] is of the family "type:"."""
    head, colon, _ = section.partition(":")
    return head + colon


def sample(path):
    found, section = {}, None
    with open(path) as f:
        for line in f:
            head = re.match(r"[;#]?\[([^\]]+)\]", line)
            pair = re.match(r"[;#]?([a-z_]+)\s*=\s*(.*?)\s*$", line)
            if head:
                section = family(head.group(1))
            elif pair and section:
                found[section + "." + pair.group(1)] = pair.group(2)
    return found


def manual(path):
    """.Ss [section], then .It Ic key, then .Dl default on the line after "Default:"."""
    found, section, key, due = {}, None, None, False
    with open(path) as f:
        for line in f:
            line = line.rstrip("\n")
            head = re.match(r'\.Ss "?\[([^\]]+)\]', line)
            item = re.match(r"\.It Ic (\w+)$", line)
            if head:
                section = family(head.group(1))
            elif item and section:
                key = section + "." + item.group(1)
            elif line == "Default:":
                due = True
            elif due:
                value = re.sub(r"^\.Ql ?", "", line)
                value = re.sub(r" [.,]$", "", value).replace("\\&", "").replace("\\-", "-").strip('"')
                found[key] = "" if line.startswith("none") else value
                due = False
    return found


def compare(name, expected, found):
    wrong = []
    for key in sorted(expected.keys() - found.keys()):
        wrong.append("%s does not name %s" % (name, key))
    for key in sorted(found.keys() - expected.keys()):
        wrong.append("%s names %s, which is no setting" % (name, key))
    for key in sorted(expected.keys() & found.keys()):
        if expected[key] != found[key]:
            wrong.append(
                "%s says %s = '%s', the default is '%s'" % (name, key, found[key], expected[key])
            )
    return wrong


def main():
    expected = table()
    wrong = []
    for name, read in (("conf/shoald.conf", sample), ("man/shoald.conf.5", manual)):
        path = os.path.join(ROOT, name)
        if not os.path.exists(path):
            wrong.append("%s is missing" % name)
        else:
            wrong += compare(name, expected, read(path))
    print("\n".join(wrong) if wrong else "%d settings, each documented twice" % len(expected))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

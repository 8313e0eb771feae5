# SPDX-License-Identifier: BSD-2-Clause
"""A command that writes down each of its starts, so that a test can count what really ran."""

import collections
import os
import stat

from . import process
from .node import build_directory

Start = collections.namedtuple("Start", "id attempt fence pid at")


class Recorder:
    """An exec type whose command appends one line a start, then runs a body of shell.

    In the body: $ran, the file; $dir, a directory of its own; $attempt.
    """

    def __init__(self, directory, name, body="", **settings):
        self.name = name
        self.directory = os.path.join(directory, name)
        os.makedirs(self.directory)
        self.ran = os.path.join(self.directory, "ran")
        open(self.ran, "w").close()
        self.script = os.path.join(self.directory, "command")
        with open(self.script, "w") as f:
            f.write(
                "#!/bin/bash\n"
                "dir=%s\nran=%s\nattempt=$SHOAL_ATTEMPT\n"
                'echo "$SHOAL_TASK_ID $SHOAL_ATTEMPT $SHOAL_FENCE $$ $EPOCHREALTIME" >>"$ran"\n'
                "%s\n" % (self.directory, self.ran, body)
            )
        os.chmod(self.script, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        self._settings = dict(settings, handler="exec", command=self.script)

    def settings(self):
        return {"type:%s.%s" % (self.name, k): v for k, v in self._settings.items()}

    def starts(self):
        found = []
        with open(self.ran) as f:
            for line in f.read().splitlines():
                id, attempt, fence, pid, at = line.split()
                found.append(Start(id, int(attempt), fence, int(pid), float(at)))
        return found

    def path(self, name):
        return os.path.join(self.directory, name)

    def text(self, name):
        with open(self.path(name)) as f:
            return f.read()

    def touch(self, name):
        open(self.path(name), "w").close()

    def check_fences(self):
        """No two starts of a task ever shared a fence, or an attempt's number."""
        starts = self.starts()
        fences = collections.Counter((s.id, s.fence) for s in starts)
        assert not [f for f, n in fences.items() if n > 1], "a fence was used twice"
        tries = collections.Counter((s.id, s.attempt) for s in starts)
        assert not [t for t, n in tries.items() if n > 1], "an attempt was started twice"


def processes_of_group(group):
    """Living members of a process group; zombies are dead."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.getpgid(int(name)) == group and process.alive(int(name)):
                found.append(int(name))
        except OSError:
            continue
    return found


def patience(seconds):
    """A promise in seconds, stretched for a build with sanitizers, which starts its processes slowly."""
    with open(os.path.join(build_directory(), "shoald"), "rb") as f:
        slow = b"__asan_init" in f.read() or os.environ.get("SHOAL_WRAP")
    return seconds * 3 if slow else seconds

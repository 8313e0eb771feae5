# SPDX-License-Identifier: BSD-2-Clause
"""The client libraries, by their own tests, against a node."""

import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from shoaltest import apps, process
from shoaltest.node import program_env

CLIENTS = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../clients"))
NODE = shutil.which("node") or shutil.which("nodejs")


def start(argv, directory, node, key, narrow):
    environment = {k: v for k, v in program_env().items() if k not in ("SHOAL_TYPE", "SHOAL_WORKER")}
    environment.update(SHOAL_URL=node.url, SHOAL_API_KEY=key, SHOAL_TEST_NARROW_KEY=narrow, PYTHONDONTWRITEBYTECODE="1")
    return process.start(argv, cwd=os.path.join(CLIENTS, directory), env=environment, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_the_libraries_keep_what_their_readmes_promise(cluster, db):
    if NODE is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("missing: node")
    node = cluster(1)[0]
    key = apps.make_key(db, "clients")
    narrow = apps.make_key(db, "clients", scopes=["work:narrow"])
    files = sorted(glob.glob(os.path.join(CLIENTS, "node/test/*.test.js")))
    # side by side: both mostly wait
    runs = [start([sys.executable, "-W", "error", "-m", "unittest", "discover", "-s", "tests"], "python", node, key,
                  narrow),
            start([NODE, "--test", "--test-reporter=tap", *files], "node", node, key, narrow)]
    said = []
    try:
        for run in runs:
            said.append(run.communicate(timeout=150)[0].decode(errors="replace"))
    finally:
        for run in runs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)  # and what its tests started
    assert runs[0].returncode == 0 and int(re.search(r"^Ran (\d+) tests", said[0], re.M).group(1)) >= 40, said[0][-6000:]
    assert runs[1].returncode == 0 and int(re.search(r"^# pass (\d+)", said[1], re.M).group(1)) >= 35, said[1][-6000:]


def test_both_have_the_version_of_the_program():
    """A release changes the three together."""
    top = os.path.dirname(CLIENTS)
    found = {}
    for path, pattern in (
            ("configure.ac", r"AC_INIT\(\[[^]]*\], *\[([^]]+)\]"),
            ("clients/python/pyproject.toml", r'^version = "([^"]+)"'),
            ("clients/python/shoal/version.py", r'^__version__ = "([^"]+)"'),
            ("clients/node/package.json", r'"version": "([^"]+)"'),
            ("clients/node/src/version.js", r'VERSION = "([^"]+)"')):
        with open(os.path.join(top, path), encoding="utf-8") as f:
            found[path] = re.search(pattern, f.read(), re.M).group(1)
    assert len(set(found.values())) == 1, found

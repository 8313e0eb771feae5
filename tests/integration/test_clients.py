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
from shoaltest.client import Client
from shoaltest.node import program_env

CLIENTS = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../clients"))
NODE = shutil.which("node") or shutil.which("nodejs")


def start(argv, directory, node, key, narrow):
    environment = {k: v for k, v in program_env().items() if k not in ("SHOAL_TYPE", "SHOAL_WORKER")}
    environment.update(SHOAL_URL=node.url, SHOAL_API_KEY=key, SHOAL_TEST_NARROW_KEY=narrow,
                       PYTHONPATH=os.path.join(CLIENTS, "python/tests"), PYTHONDONTWRITEBYTECODE="1")
    return process.start(argv, cwd=os.path.join(CLIENTS, directory), env=environment, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_the_libraries_keep_what_their_readmes_promise(cluster, db):
    if NODE is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("missing: node")
    node = cluster(1)[0]
    key = apps.make_key(db, "clients")
    narrow = apps.make_key(db, "clients", scopes=["work:narrow"])
    # side by side, because they mostly wait
    runs = {}
    for library, files, argv in (
            ("python", "tests/test_*.py", [sys.executable, "-W", "error", "-m", "unittest", "-v"]),
            ("node", "test/*.test.js", [NODE, "--test", "--test-reporter=tap"])):
        found = sorted(glob.glob(os.path.join(CLIENTS, library, files)))
        assert len(found) >= 4, found
        if library == "python":
            found = [os.path.basename(f)[:-3] for f in found]
        slow = [f for f in found if "pull" in f]
        for part in (slow, [f for f in found if f not in slow]):
            runs[library, len(part)] = start(argv + part, library, node, key, narrow)
    said = {}
    try:
        for name, run in runs.items():
            said[name] = run.communicate(timeout=120)[0].decode(errors="replace")
    finally:
        for run in runs.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)  # and what its tests started
    for name, run in runs.items():
        done = re.search(r"^Ran (\d+) tests|^# pass (\d+)", said[name], re.M)
        assert run.returncode == 0 and done and int(done.group(1) or done.group(2)) >= 12, said[name]


def test_a_worker_is_a_child_of_a_node_as_it_stands(cluster, db, nodedir):
    """The programs of the READMEs, which lease when they are started by hand."""
    if NODE is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("missing: node")
    settings = {}
    for library, program, command, environment in (
            ("python", "worker.py", "/usr/bin/python3", "PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=%s/python" % CLIENTS),
            ("node", "worker.mjs", NODE, "")):
        with open(os.path.join(CLIENTS, library, "README.md"), encoding="utf-8") as f:
            text = re.search(r"```\w+\n(?:#|//) %s\n(.*?)```" % re.escape(program), f.read(), re.DOTALL).group(1)
        with open(os.path.join(nodedir, program), "w", encoding="utf-8") as f:
            f.write(text.replace('"greet"', '"%s"' % library))
        settings["type:%s.handler" % library] = "stream"
        settings["type:%s.command" % library] = "%s %s/%s" % (command, nodedir, program)
        settings["type:%s.environment" % library] = environment
    os.mkdir(os.path.join(nodedir, "node_modules"))
    os.symlink(os.path.join(CLIENTS, "node"), os.path.join(nodedir, "node_modules/shoal"))
    node = cluster(1, settings=settings)[0]
    client = Client(node.url, apps.make_key(db, "test"))
    made = client.batch([{"type": t, "payload": {"name": str(n)}} for n in range(50) for t in ("python", "node")])
    assert [client.wait(t["id"])["result"] for t in made] == ["Hello, %d!" % (n // 2) for n in range(100)]
    for library, code, words in (("python", "KeyError", "in greet"), ("node", "TypeError", "worker.mjs")):
        failed = client.run(library, {} if library == "python" else None, max_attempts=1)
        assert failed["state"] == "failed" and failed["error"]["code"] == code
        assert words in failed["error"]["message"]


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

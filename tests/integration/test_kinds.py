# SPDX-License-Identifier: BSD-2-Clause
"""Every kind of handler does the same work, loses nothing when it is killed, and works as the README shows it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys

from shoaltest import process
from shoaltest.node import DIRTY, build_directory, program_env
from shoaltest.waits import Hopeless, wait_for

TOP = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
KINDS = ["exec", "stream", "http", "pull"]


def test_a_kill_of_any_handler_loses_nothing_and_shows(nodedir):
    """tests/bench/kinds, with a tenth of its tasks and without its runs in peace, which are for figures."""
    os.chmod(nodedir, 0o755)
    log = os.path.join(nodedir, "log")
    done = subprocess.run(
        [sys.executable, os.path.join(TOP, "tests/bench/kinds"), "--tasks", "100", "--kills", "--json", "--log", log,
         "--build", build_directory(), "--sanitized", "-o", "dev.fsync=no"],
        env=program_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    runs = json.loads(done.stdout)["runs"]
    assert [(r["kind"], r["killed"]) for r in runs] == [
        ("exec", "command"), ("exec", "spawner"), ("stream", "child"), ("http", "endpoint"), ("pull", "worker")]
    for run in runs:
        assert (run["tasks"], run["lost"], run["errors"], run["untold"]) == (100, 0, [], 0), run
        assert run["retried"] > 0 and run["causes"], run
        assert run["handlers_mib"] > 0 and run["workers_mib"] > 0, run
    with open(log, encoding="utf-8", errors="replace") as f:
        said = f.read()
    assert not DIRTY.search(said), said


def readme():
    """The programs and the two scripts of its section on handlers."""
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
        section = re.search(r"^## Handlers in any language\n(.*?)^## ", f.read(), re.M | re.DOTALL).group(1)
    programs = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", section, re.DOTALL))
    return programs, re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_the_readmes_handlers_work_as_they_stand(nodedir):
    os.chmod(nodedir, 0o755)
    programs, (node_script, client_script) = readme()
    assert sorted(programs) == ["endpoint.py", "stream.py", "worker.py"]
    for name, text in programs.items():
        with open(os.path.join(nodedir, name), "w", encoding="utf-8") as f:
            f.write(text)
    # other places and ports than everybody's; nothing else is changed
    dev, port = os.path.join(nodedir, "dev"), process.free_port()

    def here(script):
        places = {"/tmp/count": nodedir, "/tmp/shoal": dev, "9000": str(port)}
        return re.sub("|".join(places), lambda found: places[found.group()], script)

    words = " ".join("-o listen.%s=127.0.0.1:%d" % (name, process.free_port())
                     for name in ("applications", "developers"))
    environment = dict(program_env(), PATH="%s:%s" % (build_directory(), os.environ["PATH"]),
                       PYTHONDONTWRITEBYTECODE="1")
    log_path = os.path.join(nodedir, "log")
    with open(log_path, "wb") as log:
        node = process.start(
            ["bash", "-c", "exec " + here(node_script).strip() + " -o dev.fsync=no " + words], env=environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def said():
        with open(log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def is_up():
        if node.poll() is not None:
            raise Hopeless("the node has ended:\n" + said())
        return os.path.exists(os.path.join(dev, "env"))

    answers_path = os.path.join(nodedir, "answers")

    def answers():
        with open(answers_path, encoding="utf-8") as f:
            return f.read().splitlines()

    client = None
    try:
        wait_for(is_up, at_most=60, what="the node is up")
        with open(answers_path, "wb") as out:
            client = process.start(["bash", "-e", "-c", here(client_script)], cwd=TOP, env=environment,
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        assert client.wait(60) == 0, (answers(), said())
        assert answers() == ["5"] * len(KINDS), said()
    finally:
        if client is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(client.pid, signal.SIGKILL)  # with what it left in the background
        node.send_signal(signal.SIGINT)
        node.wait(40)
    assert not DIRTY.search(said()), said()

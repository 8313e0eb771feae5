# SPDX-License-Identifier: BSD-2-Clause
"""Commands: who starts them, what they may, and that nothing of one is left after its end."""

import os
import signal
import subprocess
import tempfile
import time

import pytest
from shoaltest import process
from shoaltest.client import Client
from shoaltest.node import build_directory
from shoaltest.record import Recorder, patience
from shoaltest.waits import wait_for

# a process in a session of its own, twice removed, that hears nothing
ESCAPE = (
    "setsid setsid bash -c 'trap \"\" TERM HUP INT; echo $$ >>'$dir'/escaped; exec sleep 300' "
    "</dev/null >/dev/null 2>&1 & while [ ! -s $dir/escaped ]; do sleep 0.02; done"
)

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as another user")


def pids(recorder, name="escaped"):
    try:
        return [int(p) for p in recorder.text(name).split()]
    except FileNotFoundError:
        return []


def gone(found):
    return not any(process.alive(pid) for pid in found)


def helpers(node, name="spawner"):
    return [h["pid"] for h in node.status()["helpers"] if h["helper"] == name and h["pid"]]


def commands_of(spawner):
    """The keepers' children: what the configuration calls a command."""
    return [pid for keeper in process.children_of(spawner) for pid in process.children_of(keeper)]


@pytest.mark.parametrize("how", ["end", "timeout", "cancel"])
def test_who_left_group_and_session_is_dead_at_the_end(cluster, key, nodedir, how):
    body = ESCAPE + ("; echo '\"done\"'" if how == "end" else "; trap '' TERM; sleep 300; sleep 300")
    recorder = Recorder(
        nodedir, "escapes", body, grace="200ms", timeout="2s" if how == "timeout" else "600s")
    (node,) = cluster(1, node__workers=1, settings=recorder.settings())
    client = Client(node.url, key)
    id = client.submit("escapes", max_attempts=1)["id"]
    wait_for(lambda: pids(recorder), what="it runs")
    if how == "cancel":
        client.wait_state(id, "running")
        client.cancel(id, expect=202)
    task = client.wait(id)
    # the end is told when the last process is dead
    assert gone(pids(recorder)) and gone([s.pid for s in recorder.starts()])
    assert task["state"] == {"end": "succeeded", "timeout": "failed", "cancel": "cancelled"}[how]
    if how == "end":
        assert task["result"] == "done"
    wait_for(lambda: not process.children_of(helpers(node)[0]), what="no keeper is left")


def test_floods_refused_input_and_private_directories(cluster, key, nodedir):
    temporary = tempfile.mkdtemp(prefix="dirs-", dir=nodedir)
    os.chmod(temporary, 0o711)
    flood = Recorder(nodedir, "flood", "exec cat /dev/zero", timeout="1s", max_output="4KiB")
    deaf = Recorder(nodedir, "deaf", "exec <&-; sleep 0.1; echo '\"heard nothing\"'")
    dirs = Recorder(
        nodedir, "dirs",
        "umask; pwd; echo $TMPDIR; echo $HOME; mkdir -p a/b/c; touch a/b/c/d .e; chmod 0 a/b; "
        "ln -s / out; stat -c %a .")
    mute = Recorder(nodedir, "mute", "exec >&- 2>&-; sleep 300", timeout="1s")
    settings = dict(flood.settings(), **deaf.settings(), **dirs.settings(), **mute.settings())
    settings["node.temporary"] = temporary
    (node,) = cluster(1, node__workers=1, settings=settings)
    client = Client(node.url, key)
    told = client.submit("flood", max_attempts=1)["id"]
    silent = client.submit("mute", max_attempts=1)["id"]
    assert client.run("deaf", "x" * 200000)["result"] == "heard nothing"
    mask, here, tmpdir, home, mode = client.run("dirs")["result"].split("\n")
    assert (mask, mode) == ("0077", "700")
    assert here == tmpdir == home and os.path.dirname(here) == temporary
    assert client.wait(told)["error"]["code"] == "timeout"
    # one that closes its outputs has not ended
    assert client.wait(silent)["error"]["code"] == "timeout"
    wait_for(lambda: os.listdir(temporary) == [], what="the directories are removed")


def status_of(path="/proc/self/status"):
    return "grep -E '^(Uid|Gid|Groups|NoNewPrivs|CapEff|CapAmb|Seccomp):' %s" % path


@root
def test_user_limits_and_niceness(cluster, key, nodedir):
    recorder = Recorder(
        nodedir, "bound",
        status_of() + "; ulimit -t; ulimit -v; ulimit -f; ulimit -u; ulimit -n; ulimit -c; nice",
        user="nobody", group="nogroup", max_cpu="7s", max_memory="1GiB", max_file_size="1MiB",
        max_processes=99, max_open_files=64, nice=5)
    os.chmod(recorder.ran, 0o666)
    wide = Recorder(nodedir, "wide", "head -c 2000000 /dev/zero >big; echo $?", user="nobody",
                    max_file_size="1MiB")
    os.chmod(wide.ran, 0o666)
    os.chmod(nodedir, 0o755)
    (node,) = cluster(1, node__workers=1, settings=dict(recorder.settings(), **wide.settings()))
    client = Client(node.url, key)
    lines = client.run("bound")["result"].split("\n")
    status = dict((line.split(":")[0], line.split()[1:]) for line in lines if ":" in line)
    assert status["Uid"] == ["65534"] * 4 and status["Gid"] == ["65534"] * 4
    assert status["Groups"] == [] and status["NoNewPrivs"] == ["1"]
    assert status["CapEff"] == ["0" * 16] and status["CapAmb"] == ["0" * 16]
    # seconds, KiB, KiB, processes, files, blocks of a core, niceness
    assert lines[-7:] == ["7", str(1 << 20), "1024", "99", "64", "0", str(os.nice(0) + 5)]
    # XFSZ, and what there was went with its directory
    assert client.run("wide")["result"] == 153


@root
def test_a_fork_bomb_within_its_limit_is_contained_and_killed(cluster, key, nodedir):
    bomb = Recorder(
        nodedir, "bomb", "b() { setsid bash -c 'echo $$ >>'$dir'/escaped; exec sleep 300' & b & b; }; "
        "b 2>/dev/null; sleep 300", user="daemon", max_processes=60, timeout="2s", grace="100ms")
    bomb.touch("escaped")
    for path in (bomb.ran, bomb.path("escaped")):
        os.chmod(path, 0o666)
    os.chmod(nodedir, 0o755)
    (node,) = cluster(1, node__workers=1, settings=bomb.settings())
    client = Client(node.url, key)
    id = client.submit("bomb", max_attempts=1)["id"]
    wait_for(lambda: len(pids(bomb)) > 5, what="it has exploded")
    # others go on meanwhile
    assert client.run("shoal.noop")["state"] == "succeeded"
    assert client.wait(id, at_most=patience(15))["error"]["code"] == "timeout"
    owned = subprocess.run(["pgrep", "-u", "daemon"], stdout=subprocess.PIPE, check=False)
    assert owned.stdout == b""


def test_workers_have_no_children_and_what_a_killed_one_ran_is_dead_within_a_second(
    cluster, key, nodedir
):
    recorder = Recorder(
        nodedir, "escapes", ESCAPE + "; while [ ! -e $dir/go ]; do sleep 0.05; done; echo 1")
    (node,) = cluster(1, node__workers=2, node__exec_slots=4, settings=recorder.settings())
    client = Client(node.url, key)
    ids = [client.submit("escapes")["id"] for _ in range(4)]
    wait_for(lambda: len(recorder.starts()) == 4 and len(pids(recorder)) >= 4, what="they run")
    assert [process.children_of(pid) for pid in node.worker_pids()] == [[], []]
    assert len(commands_of(helpers(node)[0])) >= 4
    first = [s.pid for s in recorder.starts()]
    escaped = pids(recorder)
    began = time.monotonic()
    for pid in node.worker_pids():
        node.kill_worker(pid)
    wait_for(lambda: gone(first + escaped), what="all that they ran is dead")
    assert time.monotonic() - began < patience(1)
    recorder.touch("go")
    for id in ids:
        task = client.wait(id)
        # (its number is used up, its budget is not)
        assert (task["state"], task["attempt"]) == ("succeeded", 2)
    recorder.check_fences()


def test_a_killed_spawner_costs_no_task_and_is_back(cluster, key, nodedir):
    recorder = Recorder(nodedir, "short", "sleep 0.1; echo 1")
    (node,) = cluster(1, node__workers=2, node__exec_slots=8, settings=recorder.settings())
    client = Client(node.url, key)
    ids = [t["id"] for t in client.batch([{"type": "short", "max_attempts": 1}] * 150)]
    killed = set()
    for round in range(3):
        (spawner,) = wait_for(lambda: [p for p in helpers(node) if p not in killed])
        # (what loses its spawner again and again is poison: each time it works at other tasks)
        wait_for(lambda: len({start.id for start in recorder.starts()}) > 24 * round and process.children_of(spawner),
                 what="it works")
        os.kill(spawner, signal.SIGKILL)
        killed.add(spawner)
    for id in ids:
        # one attempt only: what was lost was given back at no cost
        task = client.wait(id, at_most=60)
        assert task["state"] == "succeeded", task
    assert len(recorder.starts()) >= 150
    recorder.check_fences()
    assert helpers(node)[0] not in killed


def test_a_command_that_kills_its_spawner_each_time_fails(cluster, key, nodedir):
    recorder = Recorder(nodedir, "killer", "kill -9 $(ps -o ppid= -p $PPID); exec sleep 60")
    (node,) = cluster(1, node__workers=1, settings=recorder.settings())
    client = Client(node.url, key)
    task = client.wait(client.submit("killer", max_attempts=1)["id"], at_most=patience(60))
    assert (task["state"], task["error"]["code"], task["attempt"]) == ("failed", "spawner_lost", 6)


def test_a_group_limit_that_cannot_be_kept_stops_the_start(tmp_path):
    with open("/proc/self/cgroup", encoding="ascii") as f:
        if len(f.readlines()) == 1:
            pytest.skip("control groups are all of version 2 here, and may be kept")
    done = subprocess.run(
        [os.path.join(build_directory(), "shoald"), "-o", "node.pid_file=", "-o",
         "node.control_socket=%s" % (tmp_path / "c"), "-o", "listen.applications=unix:%s" % (tmp_path / "a"),
         "-o", "listen.developers=unix:%s" % (tmp_path / "d"), "-o", "type:x.command=/bin/true",
         "-o", "type:x.group_processes=5"],
        stderr=subprocess.PIPE, timeout=60, check=False)
    said = done.stderr.decode()
    assert done.returncode == 78 and "group_processes" in said and "Delegate=yes" in said, said


def test_a_hanging_spawner_is_replaced_and_costs_no_task(cluster, key, nodedir):
    recorder = Recorder(nodedir, "held", "while [ ! -e $dir/go ]; do sleep 0.05; done; echo 1")
    (node,) = cluster(1, node__workers=1, node__hang_timeout="4s", settings=recorder.settings())
    client = Client(node.url, key)
    id = client.submit("held", max_attempts=1)["id"]
    wait_for(recorder.starts, what="it runs")
    (hung,) = helpers(node)
    os.kill(hung, signal.SIGSTOP)
    wait_for(lambda: not process.alive(hung) and helpers(node), at_most=patience(10), what="the next one")
    wait_for(lambda: gone([recorder.starts()[0].pid]), what="what the old one ran is dead")
    recorder.touch("go")
    task = client.wait(id)
    assert (task["state"], task["attempt"]) == ("succeeded", 2)
    recorder.check_fences()


def test_the_node_stops_and_reloads_with_its_spawner(cluster, key, nodedir):
    recorder = Recorder(
        nodedir, "held", "while [ ! -e $dir/go ]; do sleep 0.05; done; echo 1")
    (node,) = cluster(1, node__workers=1, settings=recorder.settings())
    client = Client(node.url, key)
    (old,) = helpers(node)
    id = client.submit("held")["id"]
    wait_for(recorder.starts, what="it runs")
    new = Recorder(nodedir, "new", "echo '\"new\"'")
    node.write_conf(**new.settings())
    node.send(signal.SIGHUP)
    # the new generation has its own, and the old one's serves on
    wait_for(lambda: len(helpers(node)) == 2, what="a second spawner")
    assert client.run("new")["result"] == "new"
    assert process.alive(old)
    recorder.touch("go")
    assert client.wait(id)["state"] == "succeeded"
    wait_for(lambda: not process.alive(old), what="the old one leaves")
    (left,) = helpers(node)
    assert node.stop(signal.SIGINT) == 0
    assert not process.alive(left)


@root
def test_the_executable_must_be_roots_where_users_change(cluster, make_node, db, redis, nodedir):
    recorder = Recorder(nodedir, "loose", "echo 1", user="nobody")
    os.chmod(recorder.script, 0o777)
    settings = dict({"cluster.name": db.name, "database.url": db.url(), "redis.url": redis.url()},
                    **recorder.settings())
    node = make_node(settings)
    node.expected_dirt.append("")
    node.start(ready=False)
    wait_for(lambda: not node.is_running(), what="it refuses")
    assert "is writable by everybody" in node.log()


def test_a_command_sees_only_the_paths_that_it_is_allowed(cluster, key, nodedir):
    os.chmod(nodedir, 0o755)
    os.makedirs(os.path.join(nodedir, "out"))
    secret = os.path.join(nodedir, "secret")
    with open(secret, "w") as f:
        f.write("secret")
    out = os.path.join(nodedir, "out")
    tried = Recorder(
        nodedir, "tried",
        "cat %s; touch %s/x; touch here; echo > /tmp/shoal-no; ls / >/dev/null; "
        "for f in %s/x here; do [ -e $f ] && echo made $f; done; exit 0" % (secret, out, out),
    )
    settings = tried.settings()
    settings.update({
        "type:tried.allow_read": "%s" % tried.script,
        "type:tried.allow_write": '"%s" %s' % (out, tried.directory),
    })
    try:
        (node,) = cluster(1, node__workers=1, settings=settings)
    except AssertionError as e:
        if "Landlock" not in str(e):
            raise
        pytest.skip("this kernel has no Landlock: what it confines cannot be tried here")
    client = Client(node.url, key)
    assert client.run("tried")["result"] == "made %s/x\nmade here" % out
    assert not os.path.exists("/tmp/shoal-no")


def has_seccomp():
    with open(os.path.join(build_directory(), "config.h")) as f:
        return "#define HAVE_SECCOMP 1" in f.read()


def test_system_calls_that_a_profile_refuses_fail(cluster, key, nodedir):
    if not has_seccomp():
        pytest.skip("built without libseccomp")
    probe = (
        "python3 - <<'END'\n"
        "import ctypes, socket\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def works(f):\n"
        "    try:\n"
        "        return f()\n"
        "    except OSError as e:\n"
        "        return e.errno\n"
        "inet = works(lambda: bool(socket.socket(socket.AF_INET)))\n"
        "local = works(lambda: bool(socket.socket(socket.AF_UNIX)))\n"
        "space = libc.unshare(0x10000000)\n"
        "print([inet, local, space, ctypes.get_errno()] if space else [inet, local, space])\n"
        "END"
    )
    profiles = {}
    settings = {}
    for profile in ("none", "default", "no-network"):
        r = profiles[profile] = Recorder(nodedir, "probe-" + profile, probe, seccomp=profile)
        settings.update(r.settings())
    (node,) = cluster(1, node__workers=1, settings=settings)
    client = Client(node.url, key)
    found = {p: client.run("probe-" + p)["result"] for p in profiles}
    assert found["none"].startswith("[True, True, ")
    assert found["default"] == "[True, True, -1, 1]"
    assert found["no-network"] == "[1, True, -1, 1]"


def test_a_command_that_is_not_there_says_so(cluster, key, nodedir):
    recorder = Recorder(nodedir, "fine", "echo 1")
    (node,) = cluster(1, node__workers=1, settings=recorder.settings())
    client = Client(node.url, key)
    assert client.run("fine")["result"] == 1
    os.remove(recorder.script)
    task = client.wait(client.submit("fine")["id"])
    assert (task["state"], task["error"]["code"]) == ("failed", "handler_missing")
    assert task["error"]["message"] == "the command cannot be run (exec): No such file or directory"

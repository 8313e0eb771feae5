# SPDX-License-Identifier: BSD-2-Clause
"""The network of the laboratory: name spaces at one bridge, names, and rules that cut.

All addresses are inside the name spaces, the bridge too; the machine's own network is not touched.
What is made here is named shoal-lab-*, so that remove() finds it after any end of a run.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time

PREFIX = "shoal-lab-"
STATE = "/run/shoal-lab"
NETNS = "/run/netns"
ETC = "/etc/netns"
SWITCH = "switch"
NODES = ["n%d" % i for i in range(1, 11)]
# the last number of each address
HOSTS = {"client": 2, "lb": 3, "wire": 4, "ra": 5, "rb": 6, "pa": 7, "pb": 8,
         **{name: 10 + i for i, name in enumerate(NODES, 1)}}
# where the two names lead that nodes are given
NAMES = {"postgres": "pa", "redis": "ra"}
CLONE_NEWNET = 0x40000000
KILL_WITHIN_S = 10


class Missing(Exception):
    """What the laboratory needs and does not find here."""


def address(host):
    return "10.77.0.%d" % HOSTS[host]


def check():
    """Missing, with what to do, unless this machine can have a laboratory."""
    if os.geteuid() != 0:
        raise Missing("the laboratory makes network name spaces: run it as root")
    for program, package in (("ip", "iproute2"), ("iptables", "iptables"), ("haproxy", "haproxy"),
                             ("setpriv", "util-linux"), ("redis-server", "redis-server")):
        if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None:
            raise Missing("%s: apt-get install %s" % (program, package))
    done = subprocess.run(["unshare", "-n", "true"], stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise Missing("no network name spaces here: " + done.stderr.decode().strip())


def _ip(*words, check=True):
    done = subprocess.run(("ip",) + words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if check and done.returncode != 0:
        raise RuntimeError("ip %s: %s" % (" ".join(words), done.stdout.decode().strip()))


def _batch(lines):
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines).encode() + b"\n",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise RuntimeError("ip -batch: " + done.stdout.decode().strip())


def make():
    """Name spaces, cables, addresses and names.  What an earlier run has left is removed first."""
    remove()
    # not /tmp: everybody could have been there before us
    os.mkdir(STATE, 0o711)
    everywhere = [SWITCH] + list(HOSTS)
    _batch(["netns add " + PREFIX + name for name in everywhere])
    _batch(["link add bridge netns %s%s type bridge forward_delay 0" % (PREFIX, SWITCH)]
           + ["link add eth0 netns %s%s type veth peer name to-%s netns %s%s"
              % (PREFIX, name, name, PREFIX, SWITCH) for name in HOSTS])
    for name in HOSTS:
        subprocess.run(["ip", "-n", PREFIX + name, "-batch", "-"], check=True, input=(
            "addr add %s/24 dev eth0\nlink set eth0 up\nlink set lo up\n" % address(name)).encode())
    subprocess.run(["ip", "-n", PREFIX + SWITCH, "-batch", "-"], check=True, input="".join(
        ["link set bridge up\n"]
        + ["link set to-%s master bridge up\n" % name for name in HOSTS]).encode())
    for name in HOSTS:
        os.makedirs(os.path.join(ETC, PREFIX + name))
        # nobody there: a name that is in no hosts file is soon known to be none
        with open(os.path.join(ETC, PREFIX + name, "resolv.conf"), "w", encoding="ascii") as f:
            f.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    point()


def point(hosts=None, **names):
    """point(redis="rb"): the name leads there from now on, in all of these hosts' files.

    The files are written in place: programs see them through a mount, which a new file would not be under.
    """
    lines = ["127.0.0.1 localhost"]
    lines += ["%s %s" % (address(host), host) for host in HOSTS]
    lines += ["%s %s" % (address(host), name) for name, host in dict(NAMES, **names).items()]
    text = ("\n".join(lines) + "\n").encode()
    for name in hosts or HOSTS:
        fd = os.open(os.path.join(ETC, PREFIX + name, "hosts"), os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(fd, text, 0)
            os.ftruncate(fd, len(text))
        finally:
            os.close(fd)


def enter(host):
    """This process, and what it starts, is there from now on.  Before any thread is made."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(os.path.join(NETNS, PREFIX + host), os.O_RDONLY)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns " + host)
    finally:
        os.close(fd)


def words(host, argv):
    """argv, run there with its names; the process id stays that of the start"""
    return ["ip", "netns", "exec", PREFIX + host] + list(argv)


def run(host, argv):
    done = subprocess.run(words(host, argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise RuntimeError("%s in %s: %s" % (" ".join(argv), host, done.stdout.decode().strip()))
    return done.stdout.decode()


# -- rules that cut


def cut(host, peers, how="drop"):
    """Between the host and its peers nothing passes: silently ("drop"), or refused ("reject")."""
    verdict = {"drop": ["-j", "DROP"],
               "reject": ["-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset"]}[how]
    for peer in peers:
        run(host, ["iptables", "-w", "-A", "OUTPUT", "-d", address(peer)] + verdict)
        run(host, ["iptables", "-w", "-A", "INPUT", "-s", address(peer)] + verdict)


def mend(host):
    run(host, ["iptables", "-w", "-F"])


# -- processes


def pids(host):
    """All that run there, this process left out."""
    try:
        inode = os.stat(os.path.join(NETNS, PREFIX + host)).st_ino
    except FileNotFoundError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if (entry.isdigit() and int(entry) != os.getpid()
                    and os.stat("/proc/%s/ns/net" % entry).st_ino == inode
                    and _state(entry) not in "ZX"):
                found.append(int(entry))
    return found


def _state(pid):
    with open("/proc/%s/stat" % pid, "rb") as f:
        return f.read().rpartition(b")")[2].split()[0].decode()


def tell_all(host, sig):
    for pid in pids(host):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)


def kill_all(host):
    """As a power cut: all at once, so that nobody can react to another's end."""
    deadline = time.monotonic() + KILL_WITHIN_S
    tell_all(host, signal.SIGSTOP)
    while pids(host):
        if time.monotonic() > deadline:
            raise RuntimeError("%s: processes do not end: %s" % (host, pids(host)))
        tell_all(host, signal.SIGKILL)
        time.sleep(0.01)


def remove():
    """Everything that any run has made, whatever its end was."""
    names = []
    with contextlib.suppress(FileNotFoundError):
        names = [n[len(PREFIX):] for n in os.listdir(NETNS) if n.startswith(PREFIX)]
    for name in names:
        kill_all(name)
    for name in names:
        _ip("netns", "del", PREFIX + name, check=False)
        if os.path.exists(os.path.join(NETNS, PREFIX + name)):
            # made and not mounted: its run was killed in between
            os.unlink(os.path.join(NETNS, PREFIX + name))
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(ETC):
            if name.startswith(PREFIX):
                shutil.rmtree(os.path.join(ETC, name))
        with contextlib.suppress(OSError):
            os.rmdir(ETC)  # others may have theirs there
    shutil.rmtree(STATE, ignore_errors=True)

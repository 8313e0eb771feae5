# SPDX-License-Identifier: BSD-2-Clause
"""HAProxy in front of nodes: one port, kept connections, what fails is repeated."""

import os
import re
import shutil
import signal
import socket
import subprocess

from . import process
from .stores import Missing, Server
from .waits import Hopeless, wait_for

CONF = """
global
    log stdout format raw local0
    stats socket {directory}/stats mode 600
    nbthread 1

defaults
    mode http
    log global
    option httplog
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout check 2s
    retries 3
    retry-on all-retryable-errors
    option redispatch 1
    http-reuse always

frontend applications
    bind 127.0.0.1:{port}
    default_backend nodes

backend nodes
    balance roundrobin
    option httpchk
    http-check send meth GET uri /health ver HTTP/1.1 hdr Host shoal
    http-check expect status 200
{servers}
"""


def find_haproxy():
    """SHOAL_TEST_HAPROXY, else haproxy in PATH or where Debian puts it."""
    path = os.environ.get("SHOAL_TEST_HAPROXY") or shutil.which(
        "haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin"
    )
    if path is None:
        raise Missing("HAProxy (apt-get install haproxy)")
    return path


class Haproxy(Server):
    """One port in front of the nodes' applications; keeps and shares connections to them.

    check: ask /health five times a second; without, nothing but requests reaches the nodes.
    more: sections of its configuration, as they are.
    """

    name = "haproxy"

    def __init__(self, directory, nodes, check=True, more=""):
        self.program = find_haproxy()
        super().__init__(directory)
        self.user = None
        self.nodes = list(nodes)
        servers = "\n".join(
            "    server %s 127.0.0.1:%d%s"
            % (n.name, n.app_port, " check inter 200ms fall 2 rise 2" if check else "")
            for n in self.nodes
        )
        self.conf = os.path.join(directory, "haproxy.conf")
        with open(self.conf, "w") as f:
            f.write(CONF.format(directory=directory, port=self.port, servers=servers) + more)

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def start(self):
        with self._log() as log:
            self.proc = process.start(
                [self.program, "-db", "-f", self.conf], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=self.directory,
            )
        wait_for(self.answers, what="HAProxy answers")
        return self

    def answers(self):
        if not self.is_running():
            raise Hopeless("haproxy ended:\n" + self.log_text()[-2000:])
        return self.ask("show info")

    def stop(self):
        self._end(signal.SIGTERM)

    def ask(self, command):
        """The answer of its control socket."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(os.path.join(self.directory, "stats"))
            s.sendall(command.encode() + b"\n")
            answer = b""
            while True:
                more = s.recv(65536)
                if not more:
                    return answer.decode()
                answer += more

    def is_up(self, node):
        """By its own checks: requests go there."""
        for line in self.ask("show stat").splitlines():
            fields = line.split(",")
            if fields[:2] == ["nodes", node.name]:
                return fields[17] == "UP"
        return False

    def forwarded(self):
        """How often a request was sent to a node, repetitions included."""
        sent = 0
        for line in self.log_text().splitlines():
            # applications nodes/node0 0/0/1/2/3 201 ... 1/1/0/0/repetitions
            match = re.search(r" nodes/(\S+) \S+ \S+ .* \d+/\d+/\d+/\d+/\+?(\d+) ", line)
            if match and match.group(1) != "<NOSRV>":
                sent += 1 + int(match.group(2))
        return sent

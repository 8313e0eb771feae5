# SPDX-License-Identifier: BSD-2-Clause
"""HAProxy as the reference deployment's balancer: its health check and its times, twenty-five times as fast.

It repeats nothing, as a classic balancer: what a node fails is seen by the client.
"""

import os
import re
import signal
import socket

from shoaltest.balancer import find_haproxy
from shoaltest.waits import Hopeless, wait_for

from . import net, procs

# of the reference: 300 s idle, a check each 60 s, twice
IDLE_S = 12
CHECK_MS = 500
# time for a node to be taken out: two checks and the one under way
OUT_S = 1.5

CONF = """
global
    log stdout format raw local0
    stats socket {directory}/stats mode 600
    nbthread 1
    maxconn 2000

defaults
    mode http
    log global
    option httplog
    timeout connect 2s
    timeout client {idle_ms}ms
    timeout server {idle_ms}ms
    timeout http-keep-alive {idle_ms}ms
    timeout check {check_ms}ms
    {repeating}

frontend applications
    bind {address}:80
    default_backend nodes

backend nodes
    balance roundrobin
    http-reuse always
    option httpchk
    http-check send meth GET uri /health ver HTTP/1.1 hdr Host shoal
    http-check expect status 200
    default-server check inter {check_ms}ms fall 2 rise 2 pool-purge-delay {idle_ms}ms
{servers}
"""
NOTHING = "retries 0"
EVERYTHING = "retries 3\n    retry-on all-retryable-errors\n    option redispatch 1"


class Haproxy:
    """instead: {name: "host:port"}, for nodes that are behind a wire"""

    def __init__(self, directory, names, repeats=False, idle_s=IDLE_S, instead=None):
        self.directory = os.path.join(directory, "lb")
        os.makedirs(self.directory)
        self.log = os.path.join(self.directory, "haproxy.log")
        self.conf = os.path.join(self.directory, "haproxy.conf")
        self.process = None
        servers = "\n".join(
            "    server %s %s" % (name, (instead or {}).get(name, "%s:80" % net.address(name))) for name in names)
        with open(self.conf, "w", encoding="ascii") as f:
            f.write(CONF.format(
                directory=self.directory, address=net.address("lb"), servers=servers, check_ms=CHECK_MS,
                idle_ms=int(1000 * idle_s), repeating=EVERYTHING if repeats else NOTHING))

    def start(self):
        self.process = procs.start("lb", [find_haproxy(), "-db", "-f", self.conf], self.log)
        wait_for(self.answers, what="HAProxy answers")
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise Hopeless("haproxy ended" + procs.tail(self.log))
        return self.ask("show info")

    def stop(self):
        if self.process is not None:
            procs.end(self.process, signal.SIGTERM)

    def ask(self, command):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(os.path.join(self.directory, "stats"))
            s.sendall(command.encode() + b"\n")
            said = b""
            while more := s.recv(65536):
                said += more
        return said.decode()

    def state(self, name):
        """"UP" or "DOWN", with a fraction on its way to the other"""
        for line in self.ask("show stat").splitlines():
            fields = line.split(",")
            if fields[:2] == ["nodes", name]:
                return fields[17]
        raise KeyError(name)

    def is_up(self, name):
        return self.state(name) == "UP"

    def is_down(self, name):
        return self.state(name) == "DOWN"

    def repeated(self):
        """requests that it sent more than once"""
        # ... 1/1/0/0/repetitions, with a + if another server got it
        return len(re.findall(r" \d+/\d+/\d+/\d+/\+?[1-9]\d* ", procs.text(self.log)))

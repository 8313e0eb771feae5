# SPDX-License-Identifier: BSD-2-Clause
"""Private PostgreSQL and Redis servers that a test may do anything to."""

import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess

import psycopg2
import redis as redis_module

from . import process
from .waits import Hopeless, wait_for


class Missing(Exception):
    """The server is not installed."""


def find_postgres():
    """The directory with initdb and postgres: SHOAL_TEST_PG_BIN, else the newest installed."""
    told = os.environ.get("SHOAL_TEST_PG_BIN")
    if told:
        return told
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if found:
        newest = max(found, key=lambda p: float(p.split("/")[4]))
        return os.path.dirname(newest)
    path = shutil.which("initdb")
    if path is None:
        raise Missing("PostgreSQL (apt-get install postgresql)")
    return os.path.dirname(os.path.realpath(path))


def find_redis():
    """SHOAL_TEST_REDIS_SERVER, else redis-server in PATH."""
    path = os.environ.get("SHOAL_TEST_REDIS_SERVER") or shutil.which("redis-server")
    if path is None:
        raise Missing("Redis (apt-get install redis-server)")
    return path


class Server:
    """One process with a log that can be killed, paused and started again."""

    name = "server"

    def __init__(self, directory):
        self.directory = directory
        self.user = process.store_user()
        self.port = process.free_port()
        self.proc = None
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)

    def _own(self, path):
        os.makedirs(path, mode=0o700, exist_ok=True)
        if self.user:
            os.chown(path, *self.user)
        return path

    def _log(self):
        return open(os.path.join(self.directory, self.name + ".log"), "ab")

    def log_text(self):
        with open(os.path.join(self.directory, self.name + ".log"), errors="replace") as f:
            return f.read()

    def is_running(self):
        return self.proc is not None and self.proc.poll() is None

    def pause(self):
        """The server hangs: connections stay open, nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self):
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, sig):
        """To children too: a backend of PostgreSQL leads a session of its own."""
        family = [self.proc.pid]
        for pid in family:  # all of it, before one of them can lose its parent
            family += process.children_of(pid)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        return family

    def kill(self):
        """As a power cut: SIGKILL to all of it."""
        self._end(signal.SIGKILL)

    def _end(self, sig, at_most=20):
        if self.proc is None:
            return
        family = self._signal_all(signal.SIGSTOP if sig == signal.SIGKILL else signal.SIGCONT)
        if sig == signal.SIGKILL:
            self._signal_all(sig)  # stopped before, so that nobody reacts to another's end
        else:
            self.proc.send_signal(sig)
        try:
            self.proc.wait(at_most)
        except subprocess.TimeoutExpired:
            os.killpg(self.proc.pid, signal.SIGKILL)
            self.proc.wait()
        # what is left of it would hold its shared memory
        wait_for(lambda: not any(process.alive(p) for p in family), what="all of it ended")
        self.proc = None


class Postgres(Server):
    """A cluster of its own.  durable: fsync on, for what is measured or pulled the plug of."""

    name = "postgres"

    def __init__(self, directory, durable=False, settings=()):
        super().__init__(directory)
        self.bin = find_postgres()
        self.durable = durable
        self.settings = dict(settings)
        self.data = os.path.join(directory, "data")
        self.sockets = self._own(os.path.join(directory, "s"))

    def _initdb(self):
        # initdb refuses a parent that it cannot make the data directory in
        self._own(self.data)
        with self._log() as log:
            subprocess.run(
                [
                    os.path.join(self.bin, "initdb"), "-D", self.data, "-U", "shoal",
                    "-A", "trust", "-E", "UTF8", "--locale=C", "-N",
                ],
                check=True, stdout=log, stderr=log, cwd=self.directory,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                **({"user": self.user[0], "group": self.user[1], "extra_groups": []}
                   if self.user else {}),
            )

    def start(self):
        if not os.path.exists(os.path.join(self.data, "PG_VERSION")):
            self._initdb()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.sockets,
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "synchronous_commit": "on",
            "max_connections": 200,
            "shared_buffers": "64MB",
            "log_line_prefix": "%m [%p] %a ",
        }
        options.update(self.settings)
        argv = [os.path.join(self.bin, "postgres"), "-D", self.data]
        for key, value in options.items():
            argv += ["-c", "%s=%s" % (key, value)]
        with self._log() as log:
            self.proc = process.start(
                argv, user=self.user, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.directory, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            )
        wait_for(self.answers, at_most=60, what="PostgreSQL answers")
        return self

    def answers(self):
        if not self.is_running():
            raise Hopeless("postgres ended:\n" + self.log_text()[-2000:])
        with contextlib.closing(self.connect("postgres")):
            return True

    def stop(self, mode="fast"):
        self._end({"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def url(self, database, port=None):
        """port: of a wire that leads here, instead of our own."""
        return "postgresql://shoal@127.0.0.1:%d/%s" % (port or self.port, database)

    def connect(self, database):
        connection = psycopg2.connect(self.url(database), connect_timeout=5)
        connection.autocommit = True
        return connection


class Database:
    """One database of a Postgres, with short ways to ask it something."""

    def __init__(self, server, name, template=None):
        """template: another one of this server, of which it is a copy"""
        self.server = server
        self.name = name
        assert re.fullmatch("[a-z0-9_]+", name)
        with contextlib.closing(server.connect("postgres")) as c, c.cursor() as cursor:
            cursor.execute("CREATE DATABASE %s TEMPLATE %s" % (name, template.name if template else "template1"))

    def url(self, port=None):
        return self.server.url(self.name, port)

    def rows(self, sql, *params):
        with contextlib.closing(self.server.connect(self.name)) as c, c.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql, *params):
        return self.rows(sql, *params)[0][0]

    def drop(self):
        with contextlib.closing(self.server.connect("postgres")) as c, c.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (self.name,),
            )
            cursor.execute("DROP DATABASE IF EXISTS " + self.name)


class Redis(Server):
    """A Redis without persistence unless told: restarted, it is empty."""

    name = "redis"

    def __init__(self, directory, password=None, settings=()):
        super().__init__(directory)
        self.program = find_redis()
        self.password = password
        self.settings = dict(settings)
        self.data = self._own(os.path.join(directory, "data"))

    def start(self):
        lines = {
            "bind": "127.0.0.1", "port": self.port, "dir": self.data, "save": '""',
            "appendonly": "no", "daemonize": "no", "maxmemory-policy": "noeviction",
        }
        if self.password:
            lines["requirepass"] = self.password
        lines.update(self.settings)
        text = "".join("%s %s\n" % item for item in lines.items())
        with self._log() as log:
            self.proc = process.start(
                [self.program, "-"], user=self.user, stdin=subprocess.PIPE, stdout=log,
                stderr=log, cwd=self.data,
            )
        self.proc.stdin.write(text.encode())
        self.proc.stdin.close()
        wait_for(self.answers, what="Redis answers")
        return self

    def answers(self):
        if not self.is_running():
            raise Hopeless("redis ended:\n" + self.log_text()[-2000:])
        with contextlib.closing(self.client()) as c:
            return c.ping()

    def client(self):
        return redis_module.Redis(
            "127.0.0.1", self.port, password=self.password, decode_responses=True,
            socket_timeout=5,
        )

    def url(self, port=None):
        return "redis://%s127.0.0.1:%d/0" % (
            ":%s@" % self.password if self.password else "", port or self.port,
        )

    def flush(self):
        with contextlib.closing(self.client()) as c:
            c.flushall()

    def stop(self):
        self._end(signal.SIGTERM)

    def restart_empty(self):
        self.kill()
        for name in os.listdir(self.data):
            os.unlink(os.path.join(self.data, name))
        return self.start()

    def save(self):
        """A snapshot to be restored later: the stale replica that becomes the master."""
        with contextlib.closing(self.client()) as c:
            c.save()
        shutil.copy(os.path.join(self.data, "dump.rdb"), os.path.join(self.directory, "kept.rdb"))

    def restart_restored(self):
        """Comes back with what save() kept."""
        self.kill()
        target = os.path.join(self.data, "dump.rdb")
        shutil.copy(os.path.join(self.directory, "kept.rdb"), target)
        if self.user:
            os.chown(target, *self.user)
        return self.start()

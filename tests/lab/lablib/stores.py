# SPDX-License-Identifier: BSD-2-Clause
"""PostgreSQL with a standby, Redis with a replica and sentinels, each as on a machine of its own.

The switching is what a managed service does: it kills or cuts, promotes, and changes the name.
Without fsync, and all the same durable here: processes are killed, the kernel goes on.
"""

import contextlib
import os
import shutil
import subprocess

import psycopg2
import redis as redis_module
from shoaltest import process
from shoaltest.stores import find_postgres, find_redis
from shoaltest.waits import Hopeless, wait_for

from . import net, procs

DATABASE = "lab"
USER = "shoal"
REDIS_PORT = 6379
SENTINEL_PORT = 26379
SENTINEL_NAME = "lab"
SENTINEL_DOWN_MS = 1500
SENTINELS = ("ra", "rb", "lb")
PATIENCE_S = 60


class Postgres:
    """The server of one host, "pa" or "pb"."""

    def __init__(self, directory, host):
        self.host = host
        self.home = os.path.join(directory, host)
        self.data = os.path.join(self.home, "data")
        self.log = os.path.join(self.home, "postgres.log")
        self.user = process.store_user()
        self.bin = find_postgres()
        self.process = None
        self.settings = {}
        os.makedirs(self.home)
        os.chown(self.home, *self.user)

    def _run(self, *words):
        done = subprocess.run(
            net.words(self.host, procs.as_user(self.user, [os.path.join(self.bin, words[0])] + list(words[1:]))),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.home, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"})
        if done.returncode != 0:
            raise RuntimeError("%s: %s%s" % (words[0], done.stdout.decode(), procs.tail(self.log)))

    def create(self):
        self._run("initdb", "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        with open(os.path.join(self.data, "pg_hba.conf"), "a", encoding="ascii") as f:
            f.write("host all,replication all 10.77.0.0/24 trust\n")

    def copy_of(self, template):
        """template: the data directory of one that was stopped in order"""
        subprocess.run(["cp", "-a", template, self.data], check=True)

    def standby_of(self, primary):
        self._run("pg_basebackup", "-h", net.address(primary.host), "-U", USER, "-D", self.data, "-R", "-X", "stream",
                  "-c", "fast")

    def start(self, **settings):
        self.settings.update(settings)
        options = dict({
            "listen_addresses": "*", "unix_socket_directories": self.home, "fsync": "off",
            "synchronous_commit": "on", "max_connections": 200, "shared_buffers": "64MB",
            "wal_keep_size": "256MB", "log_line_prefix": "%m [%p] %a ", "wal_sender_timeout": "5s",
            "wal_receiver_timeout": "5s", "logging_collector": "off", "log_lock_waits": "on",
            "deadlock_timeout": "500ms", "log_min_duration_statement": "500ms"}, **self.settings)
        argv = [os.path.join(self.bin, "postgres"), "-D", self.data]
        for key, value in options.items():
            argv += ["-c", "%s=%s" % (key, value)]
        self.process = procs.start(self.host, argv, self.log, user=self.user, cwd=self.home)
        wait_for(self.answers, at_most=PATIENCE_S, what="PostgreSQL at %s answers" % self.host)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise Hopeless("postgres ended" + procs.tail(self.log))
        return self.rows("SELECT 1", database="postgres")

    def rows(self, sql, *params, database=DATABASE):
        connection = psycopg2.connect(host=net.address(self.host), user=USER, dbname=database, connect_timeout=5)
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    def value(self, sql, *params):
        return self.rows(sql, *params)[0][0]

    def stop(self, mode="fast"):
        procs.end(self.process, {"fast": 2, "immediate": 3}[mode])

    def kill(self):
        """the machine of it is gone"""
        net.kill_all(self.host)
        self.process.wait()

    def promote(self):
        self._run("pg_ctl", "promote", "-D", self.data, "-w")
        wait_for(lambda: self.value("SELECT NOT pg_is_in_recovery()"), what="the standby is promoted")

    def standby_follows(self):
        """asked of the primary"""
        return self.rows("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'")


class Redis:
    """The server of one host, "ra" or "rb".  Nothing is kept on disk: started again, it is empty."""

    def __init__(self, directory, host):
        self.host = host
        self.home = os.path.join(directory, host)
        self.log = os.path.join(self.home, "redis.log")
        self.user = process.store_user()
        self.program = find_redis()
        self.process = None
        os.makedirs(self.home, exist_ok=True)
        os.chown(self.home, *self.user)

    def start(self, replica_of=None, **settings):
        lines = dict({"bind": "0.0.0.0", "protected-mode": "no", "port": REDIS_PORT, "dir": self.home, "save": '""',
                      "appendonly": "no", "maxmemory-policy": "noeviction", "repl-diskless-sync-delay": 0,
                      "repl-timeout": 5, "repl-ping-replica-period": 1}, **settings)
        if replica_of is not None:
            lines["replicaof"] = "%s %d" % (net.address(replica_of.host), REDIS_PORT)
        self.process = procs.start(self.host, [self.program, "-"], self.log, user=self.user, cwd=self.home,
                                   stdin=subprocess.PIPE)
        self.process.stdin.write("".join("%s %s\n" % item for item in lines.items()).encode())
        self.process.stdin.close()
        wait_for(self.answers, what="Redis at %s answers" % self.host)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise Hopeless("redis ended" + procs.tail(self.log))
        return self.ask("PING")

    def ask(self, *words, port=REDIS_PORT):
        with contextlib.closing(redis_module.Redis(
                net.address(self.host), port, socket_timeout=5, decode_responses=True)) as client:
            return client.execute_command(*words)

    def replication(self):
        return self.ask("INFO", "replication")

    def is_synced(self):
        """a replica that has all of its primary"""
        return self.replication()["master_link_status"] == "up"

    def is_primary(self):
        return self.replication()["role"] == "master"

    def promote(self):
        self.ask("REPLICAOF", "NO", "ONE")

    def follow(self, primary):
        self.ask("REPLICAOF", net.address(primary.host), str(REDIS_PORT))

    def kill(self):
        net.kill_all(self.host)
        self.process.wait()


class Sentinel:
    """One of the three, beside what else its host runs."""

    def __init__(self, directory, host, primary):
        self.host = host
        home = os.path.join(directory, "sentinel-" + host)
        user = process.store_user()
        os.makedirs(home)
        conf = os.path.join(home, "sentinel.conf")
        with open(conf, "w", encoding="ascii") as f:  # it writes into it
            f.write(
                "port %d\nbind 0.0.0.0\nprotected-mode no\ndir %s\n"
                "sentinel monitor %s %s %d 2\nsentinel down-after-milliseconds %s %d\n"
                "sentinel failover-timeout %s 6000\nsentinel parallel-syncs %s 1\n"
                % (SENTINEL_PORT, home, SENTINEL_NAME, net.address(primary.host), REDIS_PORT, SENTINEL_NAME,
                   SENTINEL_DOWN_MS, SENTINEL_NAME, SENTINEL_NAME))
        os.chown(home, *user)
        os.chown(conf, *user)
        self.log = os.path.join(home, "sentinel.log")
        self.process = procs.start(host, [find_redis(), conf, "--sentinel"], self.log, user=user, cwd=home)

    def knows(self, replicas, sentinels):
        """it has found the others"""
        with contextlib.closing(redis_module.Redis(
                net.address(self.host), SENTINEL_PORT, socket_timeout=5, decode_responses=True)) as client:
            found = client.sentinel_masters()[SENTINEL_NAME]
        return (found["num-slaves"], found["num-other-sentinels"] + 1) == (replicas, sentinels)


class Stores:
    """What one scenario has: names lead to pa and ra at the start."""

    def __init__(self, directory, template, standby=False, replica=False, sentinels=False):
        self.pa = Postgres(directory, "pa")
        self.pb = Postgres(directory, "pb") if standby else None
        self.ra = Redis(directory, "ra")
        self.rb = Redis(directory, "rb") if replica or sentinels else None
        self.primary = self.pa
        self.template = template
        self.directory = directory
        self.with_sentinels = sentinels
        self.sentinels = []

    def start(self):
        self.pa.copy_of(self.template)
        self.pa.start()
        if self.pb is not None:
            self.pb.standby_of(self.pa)
            self.pb.start()
            wait_for(self.pa.standby_follows, at_most=PATIENCE_S, what="the standby follows")
            # what is answered is on both: a failover to a standby that lags loses tasks, and nobody could help it
            self.pa.rows("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self.pa.rows("SELECT pg_reload_conf()")
        self.ra.start()
        if self.rb is not None:
            self.rb.start(replica_of=self.ra)
            wait_for(self.rb.is_synced, at_most=PATIENCE_S, what="the replica follows")
        if self.with_sentinels:
            self.sentinels = [Sentinel(self.directory, host, self.ra) for host in SENTINELS]
            for one in self.sentinels:
                wait_for(lambda one=one: one.knows(1, len(SENTINELS)), at_most=PATIENCE_S, what="sentinels agree")
        return self

    def stop(self):
        for host in ("pa", "pb", "ra", "rb"):
            net.kill_all(host)


def make_template(directory, migrate):
    """A stopped data directory with the schema, made once a run; migrate(): brings it up to date."""
    server = Postgres(directory, "pa")
    server.create()
    server.start()
    server.rows("CREATE DATABASE " + DATABASE, database="postgres")
    made = migrate(server)
    server.stop()
    template = os.path.join(directory, "template")
    shutil.move(server.data, template)
    shutil.rmtree(server.home)
    return template, made

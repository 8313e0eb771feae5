# SPDX-License-Identifier: BSD-2-Clause
"""What stands around stores that fail over: standbys, sentinels, poolers, certificates, names."""

import contextlib
import os
import shutil
import subprocess

import psycopg2
import redis as redis_module

from . import process
from .stores import Missing, Postgres, Server, find_redis
from .waits import Hopeless, wait_for


class Authority:
    """A certificate authority of its own: certificate(name) makes files for a server or a client."""

    def __init__(self, directory, owner=None):
        self.directory = directory
        self.owner = owner
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o755)
        self.ca = self._path("ca.crt")
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                      "-nodes", "-days", "2", "-subj", "/CN=test authority",
                      "-keyout", self._path("ca.key"), "-out", self.ca)

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _openssl(self, *args):
        done = subprocess.run(["openssl", *args], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=30, check=False)
        assert done.returncode == 0, done.stdout.decode(errors="replace")

    def certificate(self, name, owner=None):
        """(certificate, key) for the DNS name; the key belongs to owner."""
        key, request, crt, ext = (self._path(name + e) for e in (".key", ".csr", ".crt", ".ext"))
        with open(ext, "w") as f:
            f.write("subjectAltName=DNS:%s\n" % name)
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                      "-subj", "/CN=" + name, "-keyout", key, "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey",
                      self._path("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", ext,
                      "-out", crt)
        os.chmod(key, 0o600)
        if owner:
            os.chown(key, *owner)
        return crt, key


class Standby(Postgres):
    """A streaming copy of a running primary, which it is promoted instead of."""

    def __init__(self, directory, primary, **kwargs):
        super().__init__(directory, durable=primary.durable, **kwargs)
        self.primary = primary

    def _initdb(self):
        self._own(self.data)
        with self._log() as log:
            subprocess.run(
                [os.path.join(self.bin, "pg_basebackup"), "-D", self.data, "-h", "127.0.0.1",
                 "-p", str(self.primary.port), "-U", "shoal", "-X", "stream", "-c", "fast", "-R"],
                check=True, stdout=log, stderr=log, cwd=self.directory, timeout=60,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                **({"user": self.user[0], "group": self.user[1], "extra_groups": []}
                   if self.user else {}),
            )

    def promote(self):
        subprocess.run(
            [os.path.join(self.bin, "pg_ctl"), "promote", "-w", "-D", self.data], check=True,
            stdout=subprocess.DEVNULL, timeout=60, cwd=self.directory,
            **({"user": self.user[0], "group": self.user[1], "extra_groups": []}
               if self.user else {}),
        )


class Sentinel(Server):
    """One Redis Sentinel that watches a primary, by default under the name "shoal"."""

    name = "sentinel"

    def __init__(self, directory, primary, quorum, name="shoal", port=None, lines=()):
        """port: of the primary, where it has several; lines: more of the configuration."""
        super().__init__(directory)
        self.program = find_redis()
        self.data = self._own(os.path.join(directory, "data"))
        self.conf = os.path.join(self.data, "sentinel.conf")
        self.watched = name
        with open(self.conf, "w") as f:
            f.write(
                "bind 127.0.0.1\nport {port}\ndir {dir}\nprotected-mode no\n"
                "sentinel monitor {name} 127.0.0.1 {primary} {quorum}\n"
                "sentinel down-after-milliseconds {name} 800\n"
                "sentinel failover-timeout {name} 4000\n".format(
                    port=self.port, dir=self.data, name=name, primary=port or primary.port, quorum=quorum)
            )
            f.writelines(line + "\n" for line in lines)
        if self.user:
            os.chown(self.conf, *self.user)  # which it writes to

    def start(self):
        with self._log() as log:
            self.proc = process.start(
                [self.program, self.conf, "--sentinel"], user=self.user,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.data,
            )
        wait_for(self.answers, what="a sentinel answers")
        return self

    def client(self):
        return redis_module.Redis("127.0.0.1", self.port, decode_responses=True, socket_timeout=5)

    def answers(self):
        if not self.is_running():
            raise Hopeless("sentinel ended:\n" + self.log_text()[-2000:])
        with contextlib.closing(self.client()) as c:
            return c.ping()

    def primary_port(self):
        with contextlib.closing(self.client()) as c:
            found = c.execute_command("SENTINEL", "get-master-addr-by-name", self.watched)
        return int(found[1])

    def sees(self, sentinels, replicas):
        """Knows that many others, and replicas that are fit to be promoted."""
        with contextlib.closing(self.client()) as c:
            state = c.sentinel_master(self.watched)
        return state["num-other-sentinels"] >= sentinels and state["num-slaves"] >= replicas

    def kill_hard(self):
        self.kill()


def find_pgbouncer():
    """SHOAL_TEST_PGBOUNCER, else pgbouncer in PATH or where Debian puts it."""
    path = os.environ.get("SHOAL_TEST_PGBOUNCER") or shutil.which(
        "pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        raise Missing("PgBouncer (apt-get install pgbouncer)")
    return path


class PgBouncer(Server):
    """In transaction mode in front of a PostgreSQL, with few sessions for many clients."""

    name = "pgbouncer"

    def __init__(self, directory, postgres, pool=4):
        super().__init__(directory)
        self.program = find_pgbouncer()
        self.data = self._own(os.path.join(directory, "data"))
        self.conf = os.path.join(self.data, "pgbouncer.ini")
        users = os.path.join(self.data, "users")
        with open(users, "w") as f:
            f.write('"shoal" ""\n')
        with open(self.conf, "w") as f:
            f.write(
                "[databases]\n* = host=127.0.0.1 port=%d\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
                "listen_port = %d\nunix_socket_dir =\nauth_type = trust\nauth_file = %s\n"
                "pool_mode = transaction\ndefault_pool_size = %d\nmax_client_conn = 200\n"
                "ignore_startup_parameters = extra_float_digits\n"
                % (postgres.port, self.port, users, pool)
            )

    def start(self):
        with self._log() as log:
            self.proc = process.start(
                [self.program, self.conf], user=self.user, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=self.data,
            )
        wait_for(self.answers, what="PgBouncer answers")
        return self

    def answers(self):
        if not self.is_running():
            raise Hopeless("pgbouncer ended:\n" + self.log_text()[-2000:])
        with contextlib.closing(psycopg2.connect(
                "postgresql://shoal@127.0.0.1:%d/postgres" % self.port, connect_timeout=5)):
            return True


class Hosts:
    """An /etc/hosts that one node alone sees; needs the right to make a mount namespace."""

    def __init__(self, directory, **names):
        self.path = os.path.join(directory, "hosts")
        self.names = {}
        self.set(**names)

    def set(self, **names):
        """name=address; "_" in a name stands for "."."""
        self.names.update({k.replace("_", "."): v for k, v in names.items()})
        with open(self.path, "w") as f:  # in place: it is mounted
            f.write("127.0.0.1 localhost\n")
            f.writelines("%s %s\n" % (v, k) for k, v in self.names.items())

    def wrap(self):
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                'mount --bind "$0" /etc/hosts && exec "$@"', self.path]

    def works(self):
        return subprocess.run(self.wrap() + ["true"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=10, check=False).returncode == 0

# SPDX-License-Identifier: BSD-2-Clause
"""shoal doctor names what is wrong with a set-up, and what to do about it."""

import glob
import json
import os
import socket
import subprocess

import pytest
from shoaltest import certificates, process, stores
from shoaltest.node import ini
from shoaltest.pki import Pki

from test_cli import shoal

FINE, STRICT, FAULTS = 0, 1, 2


class SetUp:
    """A good configuration; each test breaks one thing of it."""

    def __init__(self, directory, db, redis):
        self.directory = directory
        self.settings = {
            "cluster.name": db.name, "database.url": db.url(), "redis.url": redis.url(),
            "node.workers": 2, "node.pid_file": directory + "/shoald.pid",
            "node.control_socket": directory + "/shoald.sock", "node.temporary": directory,
            "listen.applications": "127.0.0.1:%d" % process.free_port(),
            "listen.developers": "127.0.0.1:%d" % process.free_port(),
            "http.max_connections": 1000,
        }

    def path(self, name, text=None, mode=0o640):
        path = os.path.join(self.directory, name)
        if text is not None:
            with open(path, "w") as f:
                f.write(text)
            os.chmod(path, mode)
        return path

    def doctor(self, *words, env=None, **changes):
        self.settings.update({k.replace("__", "."): v for k, v in changes.items()})
        conf = self.path("shoald.conf", ini(self.settings))
        return shoal("doctor", "-c", conf, *words, env=env)

    def found(self, *words, env=None, **changes):
        """Everything that is not fine: [(weight, part, text, remedy)]."""
        done = self.doctor("--json", *words, env=env, **changes)
        findings = done.json["findings"]
        assert all(bool(f["remedy"]) == (f["weight"] != "fine") for f in findings), findings
        faults = [f for f in findings if f["weight"] == "fault"]
        assert done.status == (FAULTS if faults else FINE)
        assert done.json["faults"] == len(faults)
        return [(f["weight"], f["part"], f["text"], f["remedy"]) for f in findings if f["weight"] != "fine"]


@pytest.fixture
def setup(nodedir, shared_db, redis):
    return SetUp(nodedir, shared_db, redis)


@pytest.fixture
def own_setup(nodedir, db, redis):
    return SetUp(nodedir, db, redis)


def only(found, weight, part, text, remedy):
    """Exactly one fault (or, for a warning, one of that part) says this, and what to do."""
    matching = [f for f in found if f[0] == weight and (weight == "fault" or f[1] == part)]
    assert len(matching) == 1, found
    assert matching[0][1] == part and text in matching[0][2] and remedy in matching[0][3], matching[0]


def test_a_good_set_up_has_no_fault(setup):
    done = setup.doctor()
    assert done.status == FINE, done.out
    parts = {line.split()[1] for line in done.out.splitlines()[:-1] if not line.startswith(" ")}
    assert parts >= {"configuration", "machine", "ports", "postgresql", "redis"}
    assert "FAULT" not in done.out and "the schema is at step" in done.out
    # this machine may well have a warning, such as a clock that nothing keeps right
    warned = "\nwarning" in done.out
    assert setup.doctor("--strict").status == (STRICT if warned else FINE)
    quiet = setup.doctor("--quiet").out
    assert not any(line.startswith("ok ") for line in quiet.splitlines())


def test_a_line_that_means_nothing_is_named(setup):
    only(setup.found(node__wrokers=3), "fault", "configuration", "unknown", "mend that line")


def test_stores_that_do_not_answer_are_two_faults(setup):
    port = process.free_port()
    found = setup.found(database__url="postgresql://shoal@127.0.0.1:%d/x" % port,
                        redis__url="redis://127.0.0.1:%d/0" % port)
    faults = {f[1]: f for f in found if f[0] == "fault"}
    assert set(faults) == {"postgresql", "redis"}
    assert "refused" in faults["postgresql"][2] and "listen_addresses" in faults["postgresql"][3]
    assert "refused" in faults["redis"][2] and "redis.url" in faults["redis"][3]


def test_a_wrong_password_is_named(setup, private_postgres, redis):
    app = stores.Database(private_postgres, "app")
    app.rows("CREATE ROLE app LOGIN PASSWORD 'right'")
    with open(os.path.join(private_postgres.data, "pg_hba.conf"), "w") as f:
        f.write("host app app 127.0.0.1/32 md5\nhost all shoal 127.0.0.1/32 trust\n")
    app.rows("SELECT pg_reload_conf()")
    found = setup.found(
        database__url="postgresql://app@127.0.0.1:%d/app" % private_postgres.port,
        database__password_file=setup.path("password", "wrong\n"))
    only(found, "fault", "postgresql", "password authentication failed", "database.password_file")
    # and of Redis: "wrong" replaces what is in the url of the fixture
    url = redis.url().replace(redis.password, "wrong")
    setup.settings["database.password_file"] = setup.path("password", "right\n")
    found = setup.found(redis__url=url)
    assert [f[1] for f in found if f[0] == "fault" and "password" in f[3]] == ["redis"], found


def test_a_redis_that_evicts_is_named(setup, private_redis):
    with private_redis.client() as c:
        c.config_set("maxmemory", "100mb")
        c.config_set("maxmemory-policy", "allkeys-lru")
    found = setup.found(redis__url=private_redis.url())
    only(found, "warning", "redis", "allkeys-lru", "noeviction")


def test_a_database_with_too_few_connections_is_named(setup):
    found = setup.found(node__workers=64)
    only(found, "fault", "postgresql", "this node alone may need 256 connections", "max_connections")


def test_a_schema_that_is_too_new_and_one_that_is_missing(own_setup, db):
    db.rows("INSERT INTO shoal.schema_step (step, name, program) VALUES (9000, 'later', '9.0')")
    db.rows("UPDATE shoal.schema_floor SET step = 9000")
    only(own_setup.found(), "fault", "postgresql", "9000", "upgrade this node")
    db.rows("DROP SCHEMA shoal CASCADE")
    only(own_setup.found(database__migrate="no"), "fault", "postgresql", "step 0", "shoald --migrate")
    assert not [f for f in own_setup.found(database__migrate="yes") if f[0] == "fault"]


def test_another_clusters_stores_are_named(own_setup, db, redis):
    found = own_setup.found(cluster__name="other")
    only(found, "fault", "postgresql", "belongs to the cluster '%s'" % db.name, "cluster.name")
    with redis.client() as c:
        c.set("shoal:%s:epoch" % db.name, "00000000-0000-0000-0000-000000000000:1")
    only(own_setup.found(cluster__name=db.name), "fault", "redis", "another database", "same")


def test_secrets_that_others_can_read_are_named(setup):
    path = setup.path("token", "secret-token\n", mode=0o644)
    only(setup.found(access__token_file=path), "fault", "files", "everybody", "chmod 0640 " + path)
    os.chmod(path, 0o640)
    assert not [f for f in setup.found() if f[0] == "fault"]
    del setup.settings["access.token_file"]
    setup.settings["access.token"] = "inline-token"
    conf = setup.path("shoald.conf", ini(setup.settings), mode=0o644)
    done = shoal("doctor", "-c", conf, "--json")
    assert [f["text"] for f in done.json["findings"] if f["weight"] == "fault" and "access.token" in f["text"]]
    setup.settings["access.token_file"] = setup.path("gone")
    del setup.settings["access.token"]
    only(setup.found(), "fault", "configuration", "access", "")


def test_commands_that_are_not_there_or_not_safe_are_named(setup):
    found = setup.found(**{"type:gone.command": "/usr/bin/no-such-program"})
    only(found, "fault", "files", "no-such-program", "install")


def test_a_clock_that_is_off_is_named(setup):
    library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not library:
        pytest.skip("missing: libfaketime (apt-get install faketime)")
    env = {"LD_PRELOAD": library[0], "FAKETIME": "-1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
           "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}
    found = setup.found(env=env)
    faults = [f for f in found if f[0] == "fault"]
    assert {f[1] for f in faults} == {"postgresql", "redis"}, found
    assert all("clock is 3600." in f[2] and "behind" in f[2] and "source of time" in f[3] for f in faults)


def test_a_port_that_is_taken_is_named_with_its_holder(setup):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        found = setup.found(listen__applications="127.0.0.1:%d" % s.getsockname()[1])
    only(found, "fault", "ports", "process %d" % os.getpid(), "port")


def test_a_certificate_that_has_expired_is_named(setup):
    path, _ = certificates.make(setup.directory, "expired", "IP:127.0.0.1", days=-1)
    only(setup.found(egress__ca_file=path), "fault", "tls", "has expired (expired)", "certificate")


def test_certificates_of_listeners_are_judged_as_the_node_loads_them(setup):
    pki = Pki(setup.directory)
    good, good_key = pki.issue("good", ["localhost"])
    soon, soon_key = pki.issue("soon", ["localhost"], days=5)
    over, over_key = pki.issue("over", ["localhost"], days=-1)
    with open(good_key) as f:
        world = setup.path("world.key", f.read(), mode=0o644)
    with open(good) as f:
        blocks = f.read().split("-----BEGIN")[1:]
    reversed_chain = setup.path("reversed.pem", "".join("-----BEGIN" + b for b in reversed(blocks)))
    locked = setup.path("locked.key")
    subprocess.run(["openssl", "pkey", "-in", good_key, "-aes256", "-passout", "pass:x", "-out", locked],
                   check=True, timeout=30)
    os.chmod(locked, 0o600)
    tickets = setup.path("tickets", "no key\n", mode=0o600)
    listen = "127.0.0.1:%d tls" % process.free_port()

    def found(pair, **changes):
        return setup.found(tls__certificates=pair, listen__applications=listen, **changes)

    assert not [f for f in found("%s %s" % (good, good_key), tls__client_ca=pki.ca) if f[1] == "tls"]
    only(found("%s %s" % (soon, soon_key)), "warning", "tls", "expires in 4 days", "renew")
    for pair, text, remedy in (
        ("%s %s" % (over, over_key), "has expired (over)", "HUP"),
        ("%s %s" % (good, soon_key), "is not that of the certificate", "made with"),
        ("%s %s" % (good, world), "everybody on this machine may reach " + world, "chmod 0640"),
        ("%s %s" % (good, setup.path("none.key")), "No such file", "reach it"),
        ("%s %s" % (reversed_chain, good_key), "is not that of the certificate", "made with"),
        ("%s %s" % (good, locked), "no key that can be read", "without a password"),
    ):
        faults = [f for f in found(pair) if f[0] == "fault"]
        assert faults and all(f[1] == "tls" and "tls.certificates" in f[2] for f in faults), faults
        assert any(text in f[2] and remedy in f[3] for f in faults), faults
    pair = "%s %s" % (good, good_key)
    only(found(pair, tls__client_ca=setup.path("gone.pem")), "fault", "tls", "tls.client_ca", "mend the path")
    only(found(pair, tls__client_ca=pki.ca, tls__ticket_key_file=tickets), "fault", "tls",
         "tls.ticket_key_file", "shoald -t")
    del setup.settings["tls.ticket_key_file"]
    only(found("%s %s" % (pair, pki.ocsp("good", "R"))), "warning", "tls", "revoked", "authority")
    # more than can be shown hides no fault
    many = ", ".join([pair] * 20 + ["%s %s" % (over, over_key)])
    only(found(many), "fault", "tls", "has expired (over)", "HUP")


def test_of_a_node_that_runs_the_ports_are_its_own(node):
    os.chmod(node.conf, 0o640)  # its token is in it
    done = shoal("doctor", "-c", node.conf, "--json")
    ports = [f for f in done.json["findings"] if f["part"] == "ports"]
    assert len(ports) == 2 and all(
        f["weight"] == "fine" and "process %d" % node.pid in f["text"] for f in ports), ports
    assert not [f for f in done.json["findings"] if f["weight"] == "fault"], json.dumps(done.json, indent=1)

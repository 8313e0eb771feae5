# SPDX-License-Identifier: BSD-2-Clause
"""Stores fail over, move, hide behind TLS and change their passwords, and nobody has to help."""

import contextlib
import os
import threading
import time

import pytest
import redis as redis_module
import requests
from shoaltest import apps, process, stores
from shoaltest.client import Client, Refused
from shoaltest.failover import Authority, Hosts, PgBouncer, Sentinel, Standby
from shoaltest.waits import stays, wait_for


@pytest.fixture
def place(workdir, nodedir):
    """place(name) is a new short directory."""

    def make(name):
        path = os.path.join(nodedir, name)
        os.makedirs(path)
        os.chmod(nodedir, 0o755)
        os.chmod(path, 0o755)
        return path

    return make


@pytest.fixture
def authority(place):
    return Authority(place("ca"))


@pytest.fixture
def make_redis(place, aftermath):
    def make(name, **settings):
        server = stores.Redis(place(name), settings={k.replace("_", "-"): v for k, v in settings.items()})
        aftermath.callback(server.kill)
        return server

    return make


@contextlib.contextmanager
def load(node, key, threads=3):
    """Submits all the time; yields the ids that were accepted so far."""
    accepted, stop = [], threading.Event()

    def submit():
        mine = Client(node.url, key)
        while not stop.is_set():
            try:
                accepted.append(mine.submit("shoal.echo", 1)["id"])
            except (Refused, requests.RequestException):
                stop.wait(0.05)

    running = [threading.Thread(target=submit) for _ in range(threads)]
    for t in running:
        t.start()
    try:
        yield accepted
    finally:
        stop.set()
        for t in running:
            t.join()


def all_succeeded(client, ids, at_most=60):
    deadline = time.monotonic() + at_most
    for id in ids:
        assert client.wait(id, max(1, deadline - time.monotonic()))["state"] == "succeeded"


# ------------------------------------------------------------------------- Redis


def test_tls_to_redis_is_verified(cluster, make_redis, authority, place, key):
    other = Authority(place("other"))
    server = make_redis("tls")
    crt, server_key = authority.certificate("localhost", server.user)
    mine, mine_key = authority.certificate("node")
    tls_port = stores.process.free_port()
    server.settings.update({
        "tls-port": tls_port, "tls-cert-file": crt, "tls-key-file": server_key,
        "tls-ca-cert-file": authority.ca, "tls-auth-clients": "yes",
    })
    server.start()
    known = {"redis.ca_file": authority.ca, "redis.certificate": mine, "redis.key": mine_key}
    by_name = "rediss://localhost:%d/0" % tls_port

    def start(url, **settings):
        return cluster(1, node__workers=1, redis_url=url, ready="health",
                       settings=dict(known, **settings))[0]

    good = start(by_name)
    wrong_name = start("rediss://127.0.0.1:%d/0" % tls_port)
    untrusted = start(by_name, **{"redis.ca_file": other.ca})
    nobody = start(by_name, **{"redis.certificate": "", "redis.key": ""})
    wait_for(good.is_connected, what="the good one has Redis")
    assert Client(good.url, key).run("shoal.echo", 7)["result"] == 7
    assert "redis.url is encrypted and verified" in wait_for(
        lambda: "redis was looked at" in good.log() and good.log(), at_most=20)
    wrong_name.wait_log("certificate is refused: IP address mismatch")
    untrusted.wait_log("certificate is refused: self-signed certificate in certificate chain")
    nobody.wait_log("certificate required")
    for node in (wrong_name, untrusted, nobody):
        assert not node.workers()[0]["redis_up"]
        # and tasks are accepted and run all the same
        assert Client(node.url, key).run("shoal.noop")["state"] == "succeeded"


def test_sentinels_lead_to_the_new_primary(cluster, make_redis, place, aftermath, key):
    primary = make_redis("one").start()
    replica = make_redis("two", replicaof="127.0.0.1 %d" % primary.port).start()
    sentinels = []
    for n in range(3):
        sentinels.append(Sentinel(place("s%d" % n), primary, quorum=2))
        aftermath.callback(sentinels[-1].kill)
        sentinels[-1].start()
    wait_for(lambda: all(s.sees(2, 1) for s in sentinels), at_most=30, what="sentinels know all")
    # the first that is asked is dead, and the url leads nowhere
    sentinels[0].kill()
    (node,) = cluster(1, redis_url="redis://nowhere.invalid/0", settings={
        "redis.sentinels": ", ".join("127.0.0.1:%d" % s.port for s in sentinels),
        "redis.sentinel_master": "shoal",
    })
    client = Client(node.url, key)
    with load(node, key, 2) as accepted:
        wait_for(lambda: len(accepted) > 20)
        primary.kill()
        wait_for(lambda: sentinels[1].primary_port() == replica.port, at_most=40,
                 what="the sentinels have promoted")
        promoted = time.monotonic()
        wait_for(lambda: node.is_connected() and client.run("shoal.noop")["state"] == "succeeded",
                 at_most=20, what="dispatch by the new primary")
        took = time.monotonic() - promoted
    assert took < 8, "%.1f s" % took
    with contextlib.closing(replica.client()) as c:
        wait_for(lambda: c.exists("shoal:%s:epoch" % node.settings["cluster.name"]))
    all_succeeded(client, accepted)


def test_sentinels_are_asked_over_tls_by_a_user_of_their_own(cluster, place, aftermath, authority, key):
    primary = stores.Redis(place("one"), password="of-the-operator")
    crt, server_key = authority.certificate("redis.test", primary.user)
    tls = {"tls-cert-file": crt, "tls-key-file": server_key, "tls-ca-cert-file": authority.ca,
           "tls-auth-clients": "no"}
    data_port, asked_port = process.free_port(), process.free_port()
    primary.settings.update(tls, **{
        "tls-port": data_port, "user": "node on >of-the-node ~shoal:* &* +@all"})
    aftermath.callback(primary.kill)
    primary.start()
    sentinel = Sentinel(place("s"), primary, 1, port=data_port, lines=["%s %s" % x for x in tls.items()] + [
        "tls-port %d" % asked_port, "tls-replication yes", "sentinel auth-pass shoal of-the-operator",
        "user default on nopass allchannels -@all +ping",
        "user asks on >of-who-asks allchannels -@all +ping +sentinel|get-master-addr-by-name",
    ])
    aftermath.callback(sentinel.kill)
    sentinel.start()
    secrets = place("secrets")

    def secret(name, text):
        path = os.path.join(secrets, name)
        with open(path, "w") as f:
            f.write(text + "\n")
        os.chmod(path, 0o600)
        return path

    def start(**settings):
        values = {
            "redis.sentinels": "127.0.0.1:%d" % asked_port, "redis.sentinel_master": "shoal",
            "redis.ca_file": authority.ca, "redis.username": "node",
            "redis.password_file": secret("node", "of-the-node"),
            "redis.sentinel_username": "asks",
            "redis.sentinel_password_file": secret("asks", "of-who-asks"),
        }
        values.update({k.replace("__", "."): v for k, v in settings.items()})
        values = {k: v for k, v in values.items() if v}
        # the name in the certificates of all of them; nobody resolves it
        return cluster(1, node__workers=1, redis_url="rediss://redis.test/0", ready="health", settings=values)[0]

    good = start()
    wrong = start(redis__sentinel_password_file=secret("wrong", "of-nobody"))
    anybody = start(redis__sentinel_username="", redis__sentinel_password_file="")
    untrusted = start(redis__ca_file="")
    wait_for(good.is_connected, at_most=20, what="the good one has Redis")
    assert Client(good.url, key).run("shoal.echo", 7)["result"] == 7
    with contextlib.closing(primary.client()) as c:
        assert "user=node" in c.execute_command("CLIENT", "LIST").replace("name=node", "")
    wrong.wait_log("WRONGPASS", at_most=20)
    line = wait_for(lambda: [x for x in anybody.log().splitlines() if "NOPERM" in x], at_most=20)[0]
    assert "mend redis.sentinel_username and redis.sentinel_password" in line, line
    untrusted.wait_log("certificate is refused", at_most=20)
    for node in (wrong, anybody, untrusted):
        assert not node.workers()[0]["redis_up"]


def test_names_that_move_are_followed(make_node, make_redis, place, aftermath, postgres, db, key):
    hosts = Hosts(place("hosts"), db_shoal_test="127.0.0.1", redis_shoal_test="127.0.0.2")
    if not hosts.works():
        pytest.skip("no right to make a mount namespace")
    one = make_redis("one", bind="127.0.0.1 127.0.0.2").start()
    # the same port at another address
    two = make_redis("two", bind="127.0.0.1 127.0.0.3")
    two.port = one.port
    two.settings["bind"] = "127.0.0.3"
    two.client = lambda: redis_module.Redis("127.0.0.3", two.port, decode_responses=True,
                                            socket_timeout=5)
    two.start()
    link = {"host": "db.shoal.test", "port": postgres.port, "dbname": db.name, "user": "shoal"}
    node = make_node({
        "cluster.name": db.name,
        "database.url": " ".join("%s=%s" % pair for pair in link.items()),
        "redis.url": "redis://redis.shoal.test:%d/0" % one.port,
        "node.resolve_interval": "1s",
        "node.workers": 1,
    })
    node.wrap = hosts.wrap()
    node.start()
    client = Client(node.url, key)
    assert client.run("shoal.noop")["state"] == "succeeded"
    ours = ("SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND "
            "application_name LIKE 'shoal %%' AND host(client_addr) <> '127.0.0.1'")

    with load(node, key, 2) as accepted:
        # both old servers stay as they were: nothing but their names changes
        hosts.set(redis_shoal_test="127.0.0.3")
        node.wait_log("redis has moved")
        wait_for(lambda: node.is_connected() and [
            c for c in two.client().client_list() if c["cmd"] == "brpoplpush"],
            what="the worker pops from the other")
        assert client.run("shoal.noop")["state"] == "succeeded"
        # not answered any more where it listens: the healthy connection is left all the same
        refused = len(node.log())
        hosts.set(db_shoal_test="127.0.0.99")
        node.wait_log("postgresql has moved")
        hosts.set(db_shoal_test="127.0.0.1")
        # which may be a lane that the node is ready without
        wait_for(lambda: "database connected" in node.log()[refused:], at_most=20, what="it is made again")
        wait_for(lambda: node.is_connected() and client.run("shoal.noop")["state"] == "succeeded",
                 at_most=20)
        # the primary becomes a replica under the same name: left, and resolved anew
        count = node.log().count("redis connected")
        with contextlib.closing(two.client()) as c:
            c.replicaof("127.0.0.2", one.port)
        wait_for(lambda: "READONLY" in node.log() or "is a replica" in node.log(), at_most=15)
        hosts.set(redis_shoal_test="127.0.0.2")
        wait_for(lambda: node.log().count("redis connected") > count and node.is_connected(),
                 at_most=15)
    assert db.value(ours, db.name) == 0
    all_succeeded(client, accepted)


# -------------------------------------------------------------------- PostgreSQL


def test_tls_to_postgresql_is_verified_and_the_budget_is_told(make_db, cluster, authority, place, aftermath):
    server = stores.Postgres(place("pg"), settings={"max_connections": 20})
    crt, server_key = authority.certificate("localhost", server.user)
    server.settings.update({"ssl": "on", "ssl_cert_file": crt, "ssl_key_file": server_key})
    aftermath.callback(lambda: server.stop("immediate"))
    server.start()
    database = make_db(server)
    url = "postgresql://shoal@%s:%d/%s?sslmode=verify-full&sslrootcert=%s"

    def start(host, ready):
        return cluster(1, node__workers=4, database_url=url % (host, server.port, database.name, authority.ca),
                       ready=ready, settings={"cluster.name": database.name})[0]

    good = start("localhost", "stores")
    client = Client(good.url, apps.make_key(database, "test"))
    assert client.run("shoal.echo", 3)["result"] == 3
    assert database.value(
        "SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) "
        "WHERE a.application_name LIKE 'shoal %%'")
    log = good.log()
    assert "database.url is encrypted and verified" in log
    assert "1 node x 4 workers x 4 = 16, the leader 2, others now " in log
    assert "of 17 (max_connections 20 - 3 reserved): too few" in log
    wrong = start("127.0.0.1", None)
    wrong.wait_log('does not match host name \\"127.0.0.1\\"', at_most=20)


def test_a_promoted_standby_takes_over_and_no_task_is_lost(make_db, make_node, place, aftermath, redis):
    # what is committed is on the standby, so that the test may ask for all of it
    primary = stores.Postgres(place("a"), durable=True, settings={"synchronous_standby_names": "*"})
    aftermath.callback(lambda: primary.stop("immediate"))
    primary.settings["synchronous_standby_names"] = ""
    primary.start()
    standby = Standby(place("b"), primary)
    aftermath.callback(lambda: standby.stop("immediate"))
    standby.start()
    with contextlib.closing(primary.connect("postgres")) as c, c.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.settings.pop("synchronous_standby_names")
    primary.restart()
    database = make_db(primary)
    key = apps.make_key(database, "test")
    wait_for(lambda: database.value("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"),
             at_most=30, what="the standby is synchronous")
    # the standby is named first: it is read-only, and passed over
    node = make_node({
        "cluster.name": database.name, "redis.url": redis.url(),
        "database.url": "postgresql://shoal@127.0.0.1:%d,127.0.0.1:%d/%s"
                        % (standby.port, primary.port, database.name),
    })
    node.start()
    client = Client(node.url, key)
    assert client.run("shoal.noop")["state"] == "succeeded"
    with load(node, key) as accepted:
        wait_for(lambda: len(accepted) > 50)
        primary.kill()
        standby.promote()
        before = len(accepted)
        wait_for(lambda: len(accepted) > before + 30, at_most=40, what="submits go on")
    all_succeeded(client, accepted)
    node.wait_log("the database is another than before")
    database.server = standby


def test_a_server_that_becomes_read_only_is_left_by_all(cluster, make_db, private_postgres):
    database = make_db(private_postgres)
    (node,) = cluster(1, node__workers=1, settings={"cluster.name": database.name},
                      database_url=database.url())
    client = Client(node.url, apps.make_key(database, "test"))
    assert client.run("shoal.noop")["state"] == "succeeded"
    with contextlib.closing(private_postgres.connect("postgres")) as c, c.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        cursor.execute("SELECT pg_reload_conf()")
        for lane in ("submit", "work", "read"):
            wait_for(lambda lane=lane: 'lane=%s reason="postgresql connection' % lane in node.log(),
                     what="%s is left" % lane)
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute("ALTER SYSTEM RESET default_transaction_read_only")
        cursor.execute("SELECT pg_reload_conf()")
    wait_for(lambda: client.run("shoal.noop")["state"] == "succeeded", at_most=20)


def test_pgbouncer_in_transaction_mode_carries_the_load(cluster, db, postgres, place, aftermath, key):
    try:
        pooler = PgBouncer(place("pb"), postgres)
    except stores.Missing as e:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("missing: %s" % e)
    aftermath.callback(pooler.kill)
    pooler.start()
    (node,) = cluster(1, database_url=db.url(pooler.port), settings={
        "database.migrate_url": db.url(), "database.prepared_statements": "no"})
    client = Client(node.url, key)
    made = []
    for _ in range(5):
        made += client.batch([{"type": "shoal.echo", "payload": n} for n in range(100)])
    all_succeeded(client, [t["id"] for t in made])
    assert client.run("shoal.echo", 5, unique_key="one")["result"] == 5
    log = node.log()
    assert "prepared statements are off" not in log
    assert "database connection lost" not in log
    # few sessions for many connections
    assert db.value("SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND "
                    "application_name LIKE 'shoal %%'", db.name) <= 5


# --------------------------------------------------------------------- passwords


def test_rotated_passwords_need_no_reload(cluster, make_db, make_redis, private_postgres, place):
    database = make_db(private_postgres)
    key = apps.make_key(database, "test")
    server = make_redis("rd").start()
    secrets = place("secrets")
    paths = {name: os.path.join(secrets, name) for name in ("pg", "redis")}

    def write(text):
        for path in paths.values():
            with open(path, "w") as f:
                f.write(text + "\n")

    def rotate(text):
        with contextlib.closing(private_postgres.connect("postgres")) as c, c.cursor() as cursor:
            cursor.execute("ALTER ROLE rotated PASSWORD '%s'" % text)
        with contextlib.closing(redis_module.Redis("127.0.0.1", server.port, socket_timeout=5)) as c:
            c.execute_command("ACL", "SETUSER", "shoal", "on", "resetpass", ">" + text, "~*", "&*", "+@all")

    with contextlib.closing(private_postgres.connect("postgres")) as c, c.cursor() as cursor:
        cursor.execute("CREATE ROLE rotated LOGIN SUPERUSER PASSWORD 'first'")
    hba = os.path.join(private_postgres.data, "pg_hba.conf")
    with open(hba) as f:
        rest = f.read()
    with open(hba, "w") as f:
        f.write("host all rotated 127.0.0.1/32 scram-sha-256\n" + rest)
    with contextlib.closing(private_postgres.connect("postgres")) as c, c.cursor() as cursor:
        cursor.execute("SELECT pg_reload_conf()")
    write("first")
    rotate("first")
    (node,) = cluster(1, node__workers=1, redis_url="redis://127.0.0.1:%d/0" % server.port,
                      database_url=database.url().replace("shoal@", "rotated@"), settings={
                          "cluster.name": database.name, "database.password_file": paths["pg"],
                          "redis.username": "shoal", "redis.password_file": paths["redis"]})
    client = Client(node.url, key)
    assert client.run("shoal.noop")["state"] == "succeeded"
    # the stores first: until the files follow, nothing can connect
    rotate("second")
    with contextlib.closing(private_postgres.connect("postgres")) as c, c.cursor() as cursor:
        cursor.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                       "WHERE usename = 'rotated'")
    with contextlib.closing(redis_module.Redis("127.0.0.1", server.port, socket_timeout=5)) as c:
        c.execute_command("CLIENT", "KILL", "USER", "shoal")
    wait_for(lambda: "password authentication failed" in node.log() and "WRONGPASS" in node.log())
    stays(lambda: not node.is_connected(), for_seconds=0.5)
    write("second")
    wait_for(node.is_connected, what="connected by the new passwords")
    assert client.run("shoal.noop")["state"] == "succeeded"
    assert "second" not in node.log().replace("seconds", "").replace("a second", "")

# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the integration tests.

    postgres, redis     one server each for the whole run
    db                  a fresh, migrated database on it, and an empty Redis
    shared_db           one for a module whose tests only look
    cluster(n, **s)     n nodes on db and redis; settings with "__" for "."
    node, client        one node, and an application with a key on it
    wire(port)          a proxy that can cut, stall or slow a link to that port
    private_postgres, private_redis    servers that the test may kill, empty or restore

A test that starts nodes through cluster() has their logs read at the end: a sanitizer report or
an assertion in one of them fails it.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from shoaltest import apps, stores  # noqa: E402
from shoaltest.balancer import Haproxy  # noqa: E402
from shoaltest.client import Client  # noqa: E402
from shoaltest.node import Node, build_directory, program, program_env  # noqa: E402
from shoaltest.wire import Wire  # noqa: E402

MUST = os.environ.get("CI") == "true"


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "alone: measures, or uses all of the machine: no other test runs beside it")


def _missing(what):
    if MUST:
        pytest.exit("missing: %s" % what, returncode=1)
    # automake's word for a skipped test
    pytest.exit("missing: %s" % what, returncode=77)


@pytest.fixture(scope="session")
def workdir():
    """Short, because unix sockets live in it."""
    try:
        build_directory()
    except RuntimeError as e:
        pytest.exit(str(e), returncode=1)
    path = tempfile.mkdtemp(prefix="shoal-test-", dir="/tmp")
    os.chmod(path, 0o755)
    yield path
    if os.environ.get("SHOAL_TEST_KEEP") != "1":
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(workdir):
    try:
        server = stores.Postgres(os.path.join(workdir, "pg"))
    except stores.Missing as e:
        _missing(e)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis(workdir):
    try:
        server = stores.Redis(os.path.join(workdir, "redis"), password="test-password")
    except stores.Missing as e:
        _missing(e)
    server.start()
    yield server
    server.stop()


class _Counter:
    value = 0

    @classmethod
    def next(cls):
        cls.value += 1
        return cls.value


@pytest.fixture
def aftermath():
    """Undone after the nodes of the test came down: they leave in order while their stores live."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def make_db(postgres, aftermath):
    """make_db(server) is a fresh migrated database; dropped at the end."""

    def make(server=None):
        database = stores.Database(server or postgres, "t%d" % _Counter.next())
        aftermath.callback(lambda: database.server.is_running() and database.drop())
        migrate(database)
        return database

    return make


def migrate(database):
    """What an operator does: shoald --migrate."""
    done = subprocess.run(
        program() + ["-c", "/dev/null", "--migrate", "-o", "database.url=" + database.url(),
                     "-o", "cluster.name=" + database.name],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=program_env(), timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")


@pytest.fixture
def db(make_db):
    return make_db()


@pytest.fixture(scope="module")
def shared_db(postgres):
    """One for all of a module's tests that only look."""
    database = stores.Database(postgres, "m%d" % _Counter.next())
    migrate(database)
    yield database
    database.drop()


@pytest.fixture
def nodedir(workdir):
    return tempfile.mkdtemp(prefix="n", dir=workdir)


@pytest.fixture
def make_node(nodedir, aftermath):
    """make_node({settings}) is a node that is not started; it is finished and its log read at the end."""
    made = []

    def make(settings):
        made.append(Node(nodedir, "node%d" % len(made), settings))
        return made[-1]

    yield make
    # every node comes down before one of them is complained about
    complaints = []
    for node in made:
        node.begin_end()
    for node in made:
        try:
            node.finish()
        except AssertionError as e:
            complaints.append(str(e))
    assert not complaints, "\n".join(complaints)


@pytest.fixture
def cluster(make_node, db, redis):
    """cluster(3, node__workers=1) starts three nodes on the same stores.

    database_url and redis_url stand for a wire or a private server.  ready: "stores" waits until every
    worker is connected to both, "health" until they listen, None for nothing, "never": not started.
    """

    def start(count=1, database_url=None, redis_url=None, ready="stores", settings=None, **changes):
        values = {
            "cluster.name": db.name,
            "database.url": database_url or db.url(),
            "redis.url": redis_url or redis.url(),
        }
        values.update({k.replace("__", "."): v for k, v in changes.items()})
        values.update(settings or {})
        nodes = [make_node(dict(values)) for _ in range(count)]
        if ready == "never":
            return nodes
        for node in nodes:
            node.start(ready=False)
        for node in nodes:
            node.start_wait(ready)
        return nodes

    return start


@pytest.fixture
def node(cluster):
    return cluster(1)[0]


@pytest.fixture
def key(db):
    return apps.make_key(db, "test")


@pytest.fixture
def client(node, key):
    return Client(node.url, key)


@pytest.fixture
def wire(aftermath):
    """wire(port) leads to 127.0.0.1:port until told otherwise."""

    def make(port, host="127.0.0.1"):
        made = Wire(port, host)
        aftermath.callback(made.close)
        return made

    return make


@pytest.fixture
def private_postgres(workdir, aftermath):
    """Durable, since it is there to be killed."""
    directory = tempfile.mkdtemp(prefix="pg", dir=workdir)
    os.chmod(directory, 0o755)
    try:
        server = stores.Postgres(directory, durable=True)
    except stores.Missing as e:
        _missing(e)
    aftermath.callback(lambda: server.stop("immediate"))
    return server.start()


@pytest.fixture
def private_redis(workdir, aftermath):
    directory = tempfile.mkdtemp(prefix="rd", dir=workdir)
    os.chmod(directory, 0o755)
    try:
        server = stores.Redis(directory)
    except stores.Missing as e:
        _missing(e)
    aftermath.callback(server.kill)
    return server.start()


@pytest.fixture
def haproxy(workdir, aftermath):
    """haproxy(nodes) runs in front of them; without HAProxy the test is skipped, or fails if CI=true."""

    def make(nodes, **options):
        try:
            made = Haproxy(tempfile.mkdtemp(prefix="ha", dir=workdir), nodes, **options)
        except stores.Missing as e:
            (pytest.fail if MUST else pytest.skip)("missing: %s" % e)
        aftermath.callback(made.stop)
        return made.start()

    return make

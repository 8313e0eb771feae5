# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the integration tests.

    postgres, redis     one server each for the whole run
    db                  a fresh, migrated database on it, and an empty Redis
    shared_db           one for a module whose tests only look
    cluster(n, **s)     n nodes on db and redis; settings with "__" for "."
    node, client        one node, and an application with a key on it
    standing, guest     one node for all tests of a module that leave it as it was, and an application there
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
import uuid

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from shoaltest import apps, stores  # noqa: E402
from shoaltest.balancer import Haproxy  # noqa: E402
from shoaltest.client import Client  # noqa: E402
from shoaltest.node import Node, build_directory, program, program_env  # noqa: E402
from shoaltest.standing import stranger  # noqa: E402
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


@pytest.fixture(scope="session")
def standardwebhooks(workdir):
    """Node.js, and where it finds the standard's own library."""
    npm, node = shutil.which("npm"), shutil.which("node")
    assert npm and node, "Node.js and npm are missing: scripts/install-deps test"
    home = os.path.join(workdir, "standardwebhooks")
    os.makedirs(home)
    subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", home,
         "standardwebhooks@1.0.0"],
        check=True, timeout=300, stdout=subprocess.DEVNULL, cwd=home,
    )
    return node, home


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


@pytest.fixture(scope="session")
def template(postgres):
    """Migrated once; each test's database begins as a copy, which is made in a tenth of the time."""
    database = stores.Database(postgres, "template")
    migrate(database)
    return database


@pytest.fixture
def make_db(template, aftermath):
    """make_db(server) is a fresh migrated database; dropped at the end."""

    def make(server=None):
        database = stores.Database(server, "t%d" % _Counter.next()) if server else copy_of(template)
        aftermath.callback(lambda: database.server.is_running() and database.drop())
        if server:
            migrate(database)
        return database

    return make


def copy_of(template):
    """For a cluster of its own."""
    database = stores.Database(template.server, "t%d" % _Counter.next(), template)
    database.rows("UPDATE shoal.cluster SET name = %s, database_id = %s", database.name, str(uuid.uuid4()))
    return database


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
def shared_db(template):
    """One for all of a module's tests that only look."""
    database = copy_of(template)
    yield database
    database.drop()


@pytest.fixture
def nodedir(workdir):
    return tempfile.mkdtemp(prefix="n", dir=workdir)


@contextlib.contextmanager
def nodes_under(directory):
    """Nodes that are finished at the end, when their logs are read."""
    made = []

    def make(settings):
        made.append(Node(directory, "node%d" % len(made), settings))
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
def make_node(nodedir, aftermath):
    """make_node({settings}) is a node that is not started; it is finished and its log read at the end."""
    with nodes_under(nodedir) as make:
        yield make


@pytest.fixture(scope="module")
def lasting_node(workdir, template, redis):
    """One node for a module; .database is its own."""
    database = copy_of(template)
    with nodes_under(tempfile.mkdtemp(prefix="n", dir=workdir)) as make:
        node = make({"cluster.name": database.name, "database.url": database.url(), "redis.url": redis.url()})
        node.database = database
        yield node.start()
    database.drop()


@pytest.fixture
def standing(lasting_node):
    """The module's node, for tests that leave it as it was: see shoaltest/standing.py."""
    assert lasting_node.is_connected()
    yield lasting_node
    lasting_node.check_log()


@pytest.fixture
def guest(standing):
    """An application of its own on the module's node."""
    return Client(standing.url, apps.make_key(standing.database, stranger()))


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

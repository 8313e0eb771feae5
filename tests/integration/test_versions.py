# SPDX-License-Identifier: BSD-2-Clause
"""Two versions of the program share one schema, or one of them is told why not."""

import re
import subprocess

import pytest
from shoaltest import stores
from shoaltest.client import Client
from shoaltest.node import program, program_env
from shoaltest.waits import Hopeless, wait_for


def shoald_migrate(database):
    done = subprocess.run(
        program() + ["-c", "/dev/null", "--migrate", "-o", "database.url=" + database.url(),
                     "-o", "cluster.name=" + database.name],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=program_env(), timeout=60, check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def test_a_newer_schema_is_used_until_it_says_that_it_is_too_new(cluster, make_node, db, key):
    newest = db.value("SELECT max(step) FROM shoal.schema_step")
    # what a node of the next version leaves behind: its step, which this program does not know
    db.rows("INSERT INTO shoal.schema_step (step, name, program) VALUES (%s, 'later', '9.9.0')"
            " RETURNING 1", newest + 1)
    node = cluster(1)[0]
    client = Client(node.url, key)
    assert client.run("shoal.echo", 1)["result"] == 1
    # also of one that begins anew on it
    killed = node.kill_worker()
    wait_for(lambda: killed not in node.worker_pids() and node.is_connected(), what="a successor")
    assert client.run("shoal.echo", 2)["result"] == 2
    status, said = shoald_migrate(db)
    assert status == 0 and "the schema is at step %d" % (newest + 1) in said

    # the next version has taken away what this one needs
    db.rows("UPDATE shoal.schema_floor SET step = %s RETURNING 1", newest + 1)
    late = make_node(dict(node.settings, **{
        "node.pid_file": node.settings["node.pid_file"] + "2",
        "node.control_socket": node.settings["node.control_socket"] + "2",
        "listen.applications": "127.0.0.1:0", "listen.developers": "127.0.0.1:0",
    }))
    with pytest.raises((Hopeless, AssertionError)):
        late.start(ready=False)
        late.proc.wait(20)
        raise Hopeless("ended")
    assert late.proc.returncode == 78
    why = ("the database's schema is at step %d, on which only programs that know step %d may run "
           "(shoal 9.9.0 or later), and this one" % (newest + 1, newest + 1))
    assert why in late.log() and "upgrade this node" in late.log()
    status, said = shoald_migrate(db)
    assert status == 78 and why in said
    # who runs goes on
    assert client.run("shoal.echo", 3)["result"] == 3


def test_a_step_that_would_break_nodes_that_run_is_not_applied(postgres, aftermath):
    database = stores.Database(postgres, "contract")
    aftermath.callback(database.drop)
    # the last step contracts, while a worker lives that knows nothing of it
    database.rows(
        "CREATE SCHEMA shoal;"
        "CREATE TABLE shoal.schema_step (step int PRIMARY KEY, name text NOT NULL, program text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT clock_timestamp());"
        "CREATE FUNCTION contract() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        "  IF new.step >= 20 THEN"
        "    UPDATE shoal.schema_floor SET step = new.step;"
        "    INSERT INTO shoal.incarnation (id, host, version, slots, knows)"
        "      VALUES ('00000000-0000-0000-0000-000000000001', 'old.example', '0.0.9', 1, 19);"
        "  END IF;"
        "  RETURN new; END $$;"
        "CREATE TRIGGER t BEFORE INSERT ON shoal.schema_step FOR EACH ROW EXECUTE PROCEDURE contract();"
        "SELECT 1"
    )
    status, said = shoald_migrate(database)
    assert status == 78, said
    assert re.search(r"schema step 0020-nodes would break nodes that still run \(1 workers, version 0\.0\.9 "
                     r"on host old\.example\): upgrade these to a version between first", said), said
    assert database.value("SELECT max(step) FROM shoal.schema_step") < 20
    assert database.value("SELECT to_regclass('shoal.schema_floor') IS NULL")
    # they have left
    database.rows("DROP TRIGGER t ON shoal.schema_step; SELECT 1")
    status, said = shoald_migrate(database)
    assert status == 0, said

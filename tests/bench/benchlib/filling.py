# SPDX-License-Identifier: BSD-2-Clause
"""Millions of tasks by SQL, each a copy of a real one but for its id, its times and its queue.

A copy has every column that a real row has, whatever columns the schema gets; same_as_real shows
that nothing else differs.
"""

import json

from .cluster import QUEUE

PIECE = 200000  # rows a statement
# what may differ between a filled row and the real one that it was copied from
OWN = ("id", "queue_id", "run_at", "order_at", "started_at", "finished_at")

# a UUIDv7 of a time: 48 bits of milliseconds, the rest random
ID = ("(substr(h.ms, 1, 8) || '-' || substr(h.ms, 9) || '-7'"
      " || substr(gen_random_uuid()::text, 16))::uuid")


def columns(cluster):
    rows = cluster.sql(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'shoal.task'::regclass AND attnum > 0"
        " AND NOT attisdropped ORDER BY attnum")
    return [row[0] for row in rows]


def model(cluster, state):
    """the newest real task in a state, as {column: value}; it was made by shoal bench"""
    rows = cluster.sql("SELECT row_to_json(t) FROM shoal.task t WHERE state = %d"
                       " AND payload LIKE '{\"pad%%' ORDER BY id DESC LIMIT 1" % state)
    if not rows:
        raise SystemExit("there is no task in state %d to make more of" % state)
    return json.loads(rows[0][0])


def queue_id(cluster, name):
    """of a queue of the client's application, made if need be"""
    cluster.sql("INSERT INTO shoal.queue (app_id, name) SELECT app_id, '%s' FROM shoal.queue q"
                " WHERE name = '%s' AND NOT EXISTS (SELECT 1 FROM shoal.queue"
                "  WHERE app_id = q.app_id AND name = '%s')" % (name, QUEUE, name))
    return int(cluster.sql("SELECT id FROM shoal.queue WHERE name = '%s'" % name)[0][0])


def keep_models(cluster):
    """real rows, to be copied when the table is empty"""
    cluster.sql("CREATE SCHEMA IF NOT EXISTS bench;"
                " CREATE TABLE IF NOT EXISTS bench.model AS SELECT * FROM shoal.task WHERE false;"
                " TRUNCATE bench.model;")
    for state in (1, 3):
        real = model(cluster, state)
        cluster.sql("INSERT INTO bench.model SELECT * FROM shoal.task WHERE id = '%s'"
                    % real["id"])


def fill(cluster, state, count, queue, minutes, tell):
    """count tasks in a state (1 queued, 3 succeeded), submitted evenly over the last minutes.

    In the order of their ids, as they would have come.  tell: called with the rows so far.
    """
    names = columns(cluster)
    at = "(now() - interval '2 seconds' - (%d - g.n) * interval '%.9f seconds')" % (
        count, minutes * 60 / count)
    values = {
        "id": ID,
        "queue_id": str(queue),
        "run_at": "h.at",
        "order_at": "h.at + (m.order_at - m.run_at)",
        "started_at": "h.at + (m.started_at - m.run_at)",
        "finished_at": "h.at + (m.finished_at - m.run_at)",
    }
    done = 0
    while done < count:
        last = min(done + PIECE, count)
        cluster.sql(
            "INSERT INTO shoal.task (%s) SELECT %s FROM bench.model m,"
            " generate_series(%d, %d) AS g (n), LATERAL (SELECT %s AS at) a,"
            " LATERAL (SELECT a.at,"
            "  lpad(to_hex((extract(epoch FROM a.at) * 1000)::bigint), 12, '0') AS ms) h"
            " WHERE m.state = %d" % (
                ", ".join(names), ", ".join(values.get(n, "m." + n) for n in names),
                done + 1, last, at, state))
        done = last
        tell(done)


def same_as_real(cluster, state, queue):
    """refuses filled rows that a reader could tell from real ones; returns the columns compared"""
    real = json.loads(cluster.sql(
        "SELECT row_to_json(m) FROM bench.model m WHERE state = %d" % state)[0][0])
    filled = json.loads(cluster.sql(
        "SELECT row_to_json(t) FROM shoal.task t WHERE queue_id = %d AND state = %d%s LIMIT 1"
        % (queue, state, " AND order_at IS NOT NULL" if state == 1 else ""))[0][0])
    for name, value in real.items():
        other = filled.get(name)
        if (value is None) != (other is None) or (name not in OWN and value != other):
            raise SystemExit("filled rows differ from real ones: %s is %r, not %r" % (
                name, other, value))
    if filled["id"][14] != "7":
        raise SystemExit("filled ids are not of version 7: " + filled["id"])
    return len(real)


def empty(cluster):
    """no task, no claim, as new; the cluster must be idle"""
    cluster.sql("TRUNCATE shoal.task, shoal.claim")
    cluster.forget_counts()

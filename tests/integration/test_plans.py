# SPDX-License-Identifier: BSD-2-Clause
"""No statement of the hot path reads more of the table than it has to, whatever the planner believes of it.

A plan that was made for an empty table is kept by its session, and the table may have a million rows a
minute later.
"""

import os
import re
import uuid

import pytest
from shoaltest import apps
from shoaltest.plans import nodes_of, watched

BATCH = 64
OWNER = str(uuid.UUID(int=7))
ROWS = """
INSERT INTO shoal.task (id, app_id, queue_id, type_id, state, attempt, claim, owner, priority, max_attempts,
                        run_at, order_at, due_at, finished_at, payload)
SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(%(first)s + g), 12, '0'))::uuid, %(app)s, %(queue)s, 1, %(state)s, 1,
       1, %(owner)s, 5, 25, now(), CASE WHEN %(state)s IN (1, 2) THEN now() + g * interval '1 microsecond' END,
       CASE WHEN %(state)s = 0 THEN now() + g * interval '1 microsecond' END,
       CASE WHEN %(state)s > 2 THEN now() END, '{}'
  FROM generate_series(1, %(count)s) g
"""
QUEUED, RUNNING, SCHEDULED, SUCCEEDED, FAILED = 1, 2, 0, 3, 4


class Table:
    def __init__(self, db):
        self.db = db
        db.rows("ALTER TABLE shoal.task SET (autovacuum_enabled = off)")
        apps.make_key(db, "plans")
        self.app = db.value("SELECT id FROM shoal.application WHERE name = 'plans'")
        self.queue = db.value("INSERT INTO shoal.queue (app_id, name) VALUES (%s, 'q') RETURNING id", self.app)
        db.rows("INSERT INTO shoal.incarnation (id, host, version, slots) VALUES (%s, 'h', 'v', 1)", OWNER)
        self.first = 0

    def fill(self, state, count):
        """ids of so many new rows"""
        self.first += 1000000
        with self.db.server.connect(self.db.name) as c, c.cursor() as cursor:
            cursor.execute(ROWS, {"first": self.first, "app": self.app, "queue": self.queue,
                                  "state": state, "count": count,
                                  "owner": OWNER if state == RUNNING else None})
            c.commit()
        return ["01900000-0000-7000-8000-%012x" % (self.first + g) for g in range(1, count + 1)]


@pytest.fixture
def table(db):
    # (a pass keeps its leader's lease, and takes none)
    db.rows("SELECT * FROM shoal.lead(%s, 9000)", OWNER)
    return Table(db)


def check(found, most, index="task_pkey"):
    """every look at the table is by this index, with a condition, or by place, and sees at most so many rows"""
    seen = False
    for plan in found:
        for node in nodes_of(plan):
            if node.get("Relation Name") != "task" or node["Node Type"] == "ModifyTable":
                continue
            seen = True
            assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Tid Scan"), node
            if node["Node Type"] != "Tid Scan":
                assert node["Index Name"] == index, node
                assert node.get("Index Cond"), node
            rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            assert rows <= most, node
    assert seen


def calls(table):
    """name: (what it needs, statement, its parameters for these ids)"""
    app = table.app

    def arrays(ids):
        return [app] * len(ids), ids

    return {
        "claim": (QUEUED, "SELECT * FROM shoal.claim_tasks(%s, 5, %s, %s::uuid[], %s)",
                  lambda ids: (OWNER, *arrays(ids), [1] * len(ids))),
        "finish": (RUNNING, "SELECT * FROM shoal.finish_tasks(%s, %s, %s::uuid[], %s, %s, NULL, NULL, NULL,"
                            " NULL, NULL, NULL)",
                   lambda ids: (OWNER, *arrays(ids), [1] * len(ids), [1] * len(ids))),
        "finish with results": (
            RUNNING, "SELECT * FROM shoal.finish_tasks(%s, %s, %s::uuid[], %s, %s, %s::smallint[],"
                     " %s::bigint[], %s::text[], %s::text[], %s::text[], NULL)",
            lambda ids: (OWNER, *arrays(ids), [1] * len(ids), [1] * len(ids), [3] * len(ids),
                         [None] * len(ids), ["1"] * len(ids), [None] * len(ids), [None] * len(ids))),
        "finish failing": (
            RUNNING, "SELECT * FROM shoal.finish_tasks(%s, %s, %s::uuid[], %s, %s, %s::smallint[],"
                     " %s::bigint[], %s::text[], %s::text[], %s::text[], NULL)",
            lambda ids: (OWNER, *arrays(ids), [1] * len(ids), [1] * len(ids),
                         [(0, 1, 3, 4)[i % 4] for i in range(len(ids))], [1000] * len(ids),
                         [None] * len(ids), ["failed"] * len(ids), ["text"] * len(ids))),
        "suspects": (RUNNING, "SELECT * FROM shoal.suspects(%s, %s::uuid[])", arrays),
        "finished": (SUCCEEDED, "SELECT * FROM shoal.finished_tasks(%s, %s, %s::uuid[], %s, %s)",
                     lambda ids: (OWNER, *arrays(ids), [1] * len(ids), [1] * len(ids))),
        "ended": (SUCCEEDED, "SELECT * FROM shoal.ended_tasks(%s, %s::uuid[])", arrays),
        "cancel": (QUEUED, "SELECT * FROM shoal.cancel_tasks(%s, %s::uuid[], '{0,1,2}', '{}')",
                   lambda ids: (app, ids)),
        "cancel what runs": (RUNNING, "SELECT * FROM shoal.cancel_tasks(%s, %s::uuid[], '{0,1,2}', '{}')",
                             lambda ids: (app, ids)),
        "retry": (FAILED, "SELECT * FROM shoal.retry_tasks(%s, %s::uuid[], '{4}', 1, 30000, '{}')",
                  lambda ids: (app, ids)),
        "delete": (SUCCEEDED, "SELECT * FROM shoal.delete_tasks(%s, %s::uuid[], '{3}')",
                   lambda ids: (app, ids)),
        "erase": (SUCCEEDED, "SELECT * FROM shoal.erase_task(%s, %s, '{}')", lambda ids: (app, ids[0])),
        "filter by ids": (
            FAILED, "SELECT unnest(fit) FROM shoal.look_through(%s, '{4}', NULL, NULL, %s::uuid[],"
                    " '00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 100)",
            lambda ids: (app, ids)),
        "filter": (
            FAILED, "SELECT unnest(fit) FROM shoal.look_through(%s, '{4}', NULL, 1, NULL,"
                    " (%s::uuid[])[1], 'ffffffff-ffff-ffff-ffff-ffffffffffff', 64)",
            lambda ids: (app, ids)),
        "one task": (SUCCEEDED, "SELECT * FROM shoal.task_of(%s, %s)", lambda ids: (app, ids[0])),
    }


@pytest.mark.parametrize("name", ["claim", "finish", "finish with results", "finish failing", "suspects",
                                  "finished", "ended", "cancel",
                                  "cancel what runs", "retry", "delete", "erase", "filter by ids", "filter",
                                  "one task"])
def test_batches_go_by_the_primary_key(db, table, name):
    state, sql, params = calls(table)[name]
    db.rows("ANALYZE shoal.task")  # known to be empty
    with watched(db) as session:
        for _ in range(7):  # from the sixth on a plan is kept
            session.call(sql, params([str(uuid.uuid4()) for _ in range(BATCH)]))
        ids = table.fill(state, 3000)
        rows, found = session.call(sql, params(ids[:BATCH]))
        check(found, BATCH)
        assert rows or name in ("finished", "suspects")
        db.rows("ANALYZE shoal.task")
        db.rows("DELETE FROM shoal.claim")  # the same batch is claimed again
        rows, found = session.call(sql, params(ids[BATCH:2 * BATCH]))
        check(found, BATCH)


def test_finishing_works_with_the_array_position_that_is_made_for_9_4(db, table):
    """What 0007 does there and nowhere else, done here."""
    path = os.path.join(os.path.dirname(__file__), "../../conf/schema/0007-retries.sql")
    with open(path) as f:
        (branch,) = re.findall(r"< 90500 THEN\n(.*?)\tEND IF;", f.read(), re.S)
    assert "CREATE FUNCTION shoal.array_position" in branch
    # under another name, since the server's own takes the same arguments
    db.rows(branch.replace("array_position", "position_9_4"))
    for name in ("finish_tasks", "finish_others"):
        text = db.value("SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE p.proname = %s", name)
        assert "array_position(" in text and "SET search_path TO 'shoal', 'pg_catalog'" in text
        db.rows(text.replace("array_position", "position_9_4"))
    ids = table.fill(RUNNING, BATCH)
    _, sql, params = calls(table)["finish failing"]
    db.rows(sql, *params(ids))
    found = dict(db.rows("SELECT state, count(*) FROM shoal.task GROUP BY state"))
    assert found == dict.fromkeys((0, 1, 3, 4), BATCH // 4)
    assert db.value("SELECT count(*) FROM shoal.event WHERE detail ~ 'next_at'") == BATCH // 4


def test_recovery_and_audit_go_by_the_notes(db, table):
    db.rows("ANALYZE shoal.task")
    with watched(db) as session:
        for _ in range(7):
            session.call("SELECT * FROM shoal.take_tasks(%s::uuid[])", ([str(uuid.uuid4())],))
            session.call("SELECT * FROM shoal.held_tasks(%s, 9)", (OWNER,))
            session.call("SELECT * FROM shoal.claimed_tasks(%s, 1)", (OWNER,))
        ids = table.fill(RUNNING, 3000)
        with db.server.connect(db.name) as c, c.cursor() as cursor:
            cursor.execute("INSERT INTO shoal.claim (owner, batch, apps, ids) VALUES (%s, 1, %s, %s::uuid[])",
                           (OWNER, [table.app] * BATCH, ids[:BATCH]))
            c.commit()
        for sql in ("SELECT * FROM shoal.claimed_tasks(%s, 1)", "SELECT * FROM shoal.held_tasks(%s, 9)"):
            rows, found = session.call(sql, (OWNER,))
            assert len(rows) == BATCH
            check(found, BATCH)
        rows, found = session.call("SELECT * FROM shoal.take_tasks(%s::uuid[])", ([OWNER],))
        assert len(rows) == BATCH
        check(found, BATCH)


def feed(session, room, lanes=(), due_from=None, fresh_ms=None):
    """lanes: (queue, type, where to begin, rows); 0 rows: only not looked for"""
    queues, types, since, takes = ([lane[n] for lane in lanes] for n in range(4))
    return session.call(
        "SELECT * FROM shoal.feed(%s, 9000, 30000, '{1}', %s, %s, %s::int[], %s::int[], %s::bigint[], %s::int[], %s,"
        " %s, NULL, true)", (OWNER, [room], room, queues, types, since, takes, due_from, fresh_ms))


def test_the_feeder_reads_a_lane_on_without_a_look_at_what_was_drained(db, table):
    """3,000 of 6,000 are gone, and no vacuum has come yet."""
    db.rows("ANALYZE shoal.task")
    with watched(db) as session:
        for _ in range(7):
            feed(session, 10)
        ids = table.fill(QUEUED, 6000)
        with db.server.connect(db.name) as c, c.cursor() as cursor:
            cursor.execute("UPDATE shoal.task SET state = 3, order_at = NULL, finished_at = now()"
                           " WHERE app_id = %s AND id = ANY (%s::uuid[])", (table.app, ids[:3000]))
            c.commit()
        rows, _ = feed(session, 10)
        (pass_row,) = [r for r in rows if r[0] == 0]
        assert pass_row[6] is not None
        due = [r for r in rows if r[0] == 2]
        assert [r[2] for r in due] == ids[3000:3010]
        rows, found = feed(session, 10, [(table.queue, 1, due[-1][9], 10)])
        # the last one that was seen, and those behind it
        assert [r[2] for r in rows if r[0] == 2] == ids[3009:3019]
        for plan in found:
            for node in nodes_of(plan):
                if node.get("Relation Name") == "task":
                    assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
                    assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) <= 11, node
                    # a search for other lanes ends at those that are known
                    assert node["Shared Hit Blocks"] + node["Shared Read Blocks"] < 30, node
        # a lane that is not known is found in the gap, and read from its head
        other = db.value("INSERT INTO shoal.queue (app_id, name) VALUES (%s, 'r') RETURNING id", table.app)
        table.queue, known = other, (table.queue, 1, due[-1][9], 3500)
        more = table.fill(QUEUED, 5)
        rows, _ = feed(session, 3500, [known])
        assert set(more) <= {r[2] for r in rows if r[0] == 2}


def test_beside_what_is_dead_a_pass_looks_only_where_something_can_have_come_in(db, table):
    """3,000 of 6,000 were claimed, and a transaction that is open still sees them queued."""
    ids = table.fill(QUEUED, 6000)
    with db.server.connect(db.name) as holder, holder.cursor() as held:
        held.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        held.execute("SELECT count(*) FROM shoal.queue")
        with db.server.connect(db.name) as c, c.cursor() as cursor:
            # due an hour ago, as of priority 5
            cursor.execute("UPDATE shoal.task SET order_at = order_at - interval '1 hour'")
            cursor.execute("UPDATE shoal.task SET state = 3, order_at = NULL, finished_at = now()"
                           " WHERE app_id = %s AND id = ANY (%s::uuid[])", (table.app, ids[:3000]))
            cursor.execute("SELECT (extract(epoch FROM min(order_at)) * 1000000)::bigint FROM shoal.task")
            low = cursor.fetchone()[0]
            # comes in now: its order_at is behind those; and one that was due long ago, in front of them
            cursor.execute("UPDATE shoal.task SET order_at = now() - interval '100 ms' WHERE id = %s", (ids[5000],))
        with watched(db) as session:
            rows, found = feed(session, 10, [(table.queue, 1, low, 10)], fresh_ms=2000)
            assert [r[2] for r in rows if r[0] == 2] == ids[3000:3010]
            touched = [n for plan in found for n in nodes_of(plan) if n.get("Relation Name") == "task"]
            assert touched
            for node in touched:
                assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
                assert node["Shared Hit Blocks"] + node["Shared Read Blocks"] < 100, node
            # where the lane begins far behind the clock, what has just come in is found in front of it
            cursor = db.value("SELECT ((extract(epoch FROM now()) + 3600) * 1000000)::bigint")
            rows, _ = feed(session, 10, [(table.queue, 1, cursor, 10)], fresh_ms=2000)
            assert [r[2] for r in rows if r[0] == 2] == [ids[5000]]


def test_many_lanes_are_searched_by_one_statement(db, table):
    """The gaps between 200 known lanes: two short looks each, and the new lane is found."""
    first = table.queue
    lanes = []
    for n in range(200):
        table.queue = db.value("INSERT INTO shoal.queue (app_id, name) VALUES (%s, %s) RETURNING id",
                               table.app, "lane%d" % n)
        lanes.append((table.queue, 1, None, 0))
        table.fill(QUEUED, 2)
    table.queue = first
    new = table.fill(QUEUED, 3)
    with watched(db) as session:
        for _ in range(6):
            feed(session, 10, lanes)
        rows, found = feed(session, 10, lanes)
    assert [r[2] for r in rows if r[0] == 2] == new
    for plan in found:
        for node in nodes_of(plan):
            if node.get("Relation Name") == "task":
                assert node["Node Type"] in ("Index Scan", "Index Only Scan"), node
                assert node["Actual Rows"] * node["Actual Loops"] <= 4, node


def test_tasks_due_at_one_instant_are_promoted_apart(db, table):
    ids = table.fill(SCHEDULED, 50)
    with db.server.connect(db.name) as c, c.cursor() as cursor:
        cursor.execute("UPDATE shoal.task SET due_at = now() - interval '1 second', run_at = now() - interval '1 second'")
        c.commit()
    with watched(db) as session:
        rows, found = feed(session, 100)
    assert sorted(r[2] for r in rows if r[0] == 1) == ids
    assert db.value("SELECT count(DISTINCT order_at) FROM shoal.task") > 40
    spread = db.value("SELECT extract(epoch FROM max(order_at) - min(order_at)) FROM shoal.task")
    assert float(spread) < 0.005


# ---------------------------------------------------------------- queues


def rows_seen(found):
    """how many rows of the table all statements together looked at; none by a walk over the whole"""
    seen = 0
    for plan in found:
        for node in nodes_of(plan):
            if node.get("Relation Name") == "task" and node["Node Type"] != "ModifyTable":
                assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Tid Scan"), node
                seen += (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return seen


def test_a_claim_under_limits_goes_by_the_primary_key(db, table):
    """Of a batch as many as fit; the rest of the table is not looked at."""
    db.rows("ANALYZE shoal.task")
    _, sql, params = calls(table)["claim"]
    with watched(db) as session:
        db.rows("SELECT shoal.set_limit(0, %s, 4, 10, NULL, NULL)", table.queue)
        for _ in range(7):
            session.call(sql, params([str(uuid.uuid4()) for _ in range(BATCH)]))
        ids = table.fill(QUEUED, 3000)
        rows, found = session.call(sql, params(ids[:BATCH]))
        assert len(rows) == 10
        check(found, BATCH)
        db.rows("ANALYZE shoal.task")
        db.rows("DELETE FROM shoal.claim")
        db.rows("UPDATE shoal.limit_state SET checked_at = '-infinity'")
        rows, found = session.call(sql, params(ids[:BATCH]))
        assert rows == []
        check(found, BATCH)  # what holds the limit is verified, each by its key
        assert db.value("SELECT shoal.lane_room(%s, 1)", table.queue) == 0
        assert db.value("SELECT shoal.lane_room(%s, 1)", table.queue + 1) is None
        # one ends, and one more may start
        session.call("SELECT * FROM shoal.finish_tasks(%s, %s, %s::uuid[], %s, %s, NULL, NULL, NULL, NULL, NULL, NULL)",
                     (OWNER, [table.app], ids[:1], [2], [5]))
        assert db.value("SELECT shoal.lane_room(%s, 1)", table.queue) == 1


def test_leases_are_taken_and_ended_by_their_lane_and_key(db, table):
    """In a lane of 3,000, as many rows are read as are leased; and each ends by its key."""
    db.rows("INSERT INTO shoal.task_type (id, name) VALUES (1, 'pulled')")
    db.rows("INSERT INTO shoal.node_type (type_id, handler) VALUES (1, 4)")
    db.rows("ANALYZE shoal.task")
    few = 4  # the session keeps the plans of the last 50 statements
    due = "SELECT id FROM shoal.pull_due(%s, '{1}', %s)"
    take = ("SELECT task_id FROM shoal.lease_tasks(%s, %s, %s, %s, %s, '{1}', '{}', '{}', %s::uuid[], %s,"
            " %s::text[])")
    end = ("SELECT outcome FROM shoal.end_leases(%s, %s::uuid[], %s::uuid[], %s::smallint[], %s::bigint[],"
           " %s::text[], %s::text[], %s::text[], NULL)")

    def leases(n):
        held = [str(uuid.uuid4()) for _ in range(few)]
        return held, (OWNER, -n, [table.app], [few], [table.queue], held, [60000] * few, [None] * few)

    def ends(ids, held):
        return (table.app, ids, held, [3, 0, 4, 1], [0] * few, [None] * few, ["x"] * few, [None] * few)

    with watched(db) as session:
        for n in range(1, 8):
            session.call(due, ([table.queue], BATCH))
            session.call(take, leases(n)[1])
            session.call(end, ends([str(uuid.uuid4())] * few, [str(uuid.uuid4())] * few))
        table.fill(QUEUED, 3000)
        for n in (8, 9):
            rows, found = session.call(due, ([table.queue], BATCH))
            assert len(rows) == BATCH
            # what was leased, and its dead entry, may lie in front
            check(found, BATCH + 2 * few, index="task_lane")
            held, params = leases(n)
            rows, found = session.call(take, params)
            ids = [row[0] for row in rows]
            assert len(ids) == few
            by_key = [p for p in found if all(x.get("Index Name") != "task_lane" for x in nodes_of(p))]
            check(by_key, few)
            rows, found = session.call(end, ends(ids, held))
            assert {row[0] for row in rows} == {0}
            check(found, 1)
            db.rows("ANALYZE shoal.task")


def test_questions_about_queues_look_at_what_they_count(db, table):
    db.rows("ANALYZE shoal.task")
    lists = "SELECT * FROM shoal.list_queues(%s, NULL, NULL, 10, 100)"
    with watched(db) as session:
        for _ in range(7):
            session.call(lists, (table.app,))
            session.call("SELECT * FROM shoal.queue_lengths(%s, '{100}')", ([table.queue],))
            session.call("SELECT * FROM shoal.why_task(%s, %s, 1001)", (table.app, str(uuid.uuid4())))
        ids = table.fill(QUEUED, 3000)
        table.fill(SUCCEEDED, 3000)
        rows, found = session.call(lists, (table.app,))
        assert (rows[0][7], rows[0][10]) == (100, True)
        assert rows_seen(found) <= 101
        rows, found = session.call("SELECT * FROM shoal.queue_lengths(%s, '{100}')", ([table.queue],))
        assert rows[0][1] == 100
        assert rows_seen(found) <= 101
        rows, found = session.call("SELECT * FROM shoal.why_task(%s, %s, 1001)", (table.app, ids[50]))
        assert rows[0][25] == 50
        assert rows_seen(found) <= 60
        rows, found = session.call("SELECT * FROM shoal.why_task(%s, %s, 1001)", (table.app, ids[2500]))
        assert rows[0][25] == 1001
        assert rows_seen(found) <= 1010


def test_cancels_and_events_are_found_by_their_own_indexes(db, table):
    """Beside many of both, and with plans from a time when there were none."""
    with watched(db) as session:
        for _ in range(7):
            session.call("SELECT * FROM shoal.cancels_of(%s)", (OWNER,))
            session.call("SELECT * FROM shoal.delete_tasks(%s, %s::uuid[], '{3}')",
                         (table.app, [str(uuid.uuid4())]))
        ids = table.fill(RUNNING, 1000)
        gone = table.fill(SUCCEEDED, 10)
        with db.server.connect(db.name) as c, c.cursor() as cursor:
            cursor.execute("INSERT INTO shoal.cancel_request (owner, app_id, task_id, attempt, claim)"
                           " SELECT CASE WHEN n <= 5 THEN %s::uuid ELSE md5(n::text)::uuid END, %s, u.id, 1, 1"
                           " FROM unnest(%s::uuid[]) WITH ORDINALITY AS u (id, n)", (OWNER, table.app, ids))
            cursor.execute("INSERT INTO shoal.event (app_id, task_id, kind) SELECT %s, id, 4 FROM shoal.task,"
                           " generate_series(1, 3)", (table.app,))
            c.commit()
        rows, found = session.call("SELECT * FROM shoal.cancels_of(%s)", (OWNER,))
        assert len(rows) == 5
        check(found, 5)
        rows, _ = session.call("SELECT * FROM shoal.delete_tasks(%s, %s::uuid[], '{3}')",
                               (table.app, gone[:5]))
        assert len(rows) == 5
        assert session.told("shoal.event") <= 15
        session.connection.rollback()


def test_schedules_and_groups_are_read_by_their_own_indexes(db, table):
    """Beside many of both, and with plans from a time when there were none."""
    fires = "SELECT * FROM shoal.schedule_fires(%s, 'one', NULL, 11)"
    due = "SELECT * FROM shoal.due_schedules(100)"
    tasks = "SELECT * FROM shoal.group_tasks(%s, %s, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 11)"
    group = str(uuid.UUID(int=9))
    assert db.value("SELECT n.id FROM shoal.names_of(%s, '{}', '{t}', 10) n", table.app) == 1
    with watched(db) as session:
        for _ in range(7):
            session.call(fires, (table.app,))
            session.call(due)
            session.call("SELECT shoal.schedule_is_open(1, %s)", (table.app,))
            session.call(tasks, (table.app, group))
        with db.server.connect(db.name) as c, c.cursor() as cursor:
            cursor.execute(
                "INSERT INTO shoal.schedule (app_id, name, cron, zone, gap, overlap, missed, missed_limit, while_open,"
                " jitter_ms, paused, type, queue, task, spec, marked, next_at, look_at)"
                " SELECT %s, CASE g WHEN 1 THEN 'one' ELSE 's' || g END, '@daily', 'UTC', 0, 0, 0, 1, 1, 0, false, 't',"
                " 'q', '{}', '{\"type\":\"t\"}', false, now() + (g - 5) * interval '1 hour',"
                " now() + (g - 5) * interval '1 hour' FROM generate_series(1, 1000) g", (table.app,))
            ids = table.fill(QUEUED, 3000)
            cursor.execute("UPDATE shoal.task SET group_id = CASE WHEN id = ANY (%s::uuid[]) THEN %s::uuid"
                           " ELSE md5(id::text)::uuid END", (ids[:100], group))
            cursor.execute("INSERT INTO shoal.task_group (app_id, id, open, total) VALUES (%s, %s, false, 100)",
                           (table.app, group))
            cursor.execute("INSERT INTO shoal.schedule_fire (schedule_id, at, outcome, task_id, leader)"
                           " SELECT s.id, now() - g * interval '1 minute', 0, (%s::uuid[])[g], %s"
                           " FROM shoal.schedule s, generate_series(1, 200) g WHERE s.id <= 20", (ids, OWNER))
        rows, _ = session.call(fires, (table.app,))
        assert len(rows) == 11 and session.told("shoal.schedule_fire") <= 11
        assert session.told("shoal.schedule") <= 1
        rows, _ = session.call(due)
        assert len(rows) == 6 and session.told("shoal.schedule") <= 6
        rows, found = session.call("SELECT shoal.schedule_is_open(id, app_id) FROM shoal.schedule WHERE name = 'one'")
        assert rows == [(True,)] and session.told("shoal.schedule_fire") <= 100
        check(found, 100)
        rows, found = session.call(tasks, (table.app, group))
        assert [r[0] for r in rows] == ids[99:88:-1]
        check(found, 11, "task_in_group")

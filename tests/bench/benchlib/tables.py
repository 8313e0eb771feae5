# SPDX-License-Identifier: BSD-2-Clause
"""What the tables of tasks and claims take on disk, and how tidy they are."""

# a table and, should tasks lie in several, its children
FAMILY = ("SELECT c.oid, p.name FROM (VALUES ('task'), ('claim')) AS p (name), pg_class c"
          " WHERE c.oid = ('shoal.' || p.name)::regclass"
          " OR c.oid IN (SELECT inhrelid FROM pg_inherits"
          " WHERE inhparent = ('shoal.' || p.name)::regclass)")


def sizes(cluster):
    """{name: bytes}: "task" and "claim" in all, each one's heap, and each index of task"""
    found = {}
    for name, total, heap in cluster.sql(
            "SELECT f.name, sum(pg_total_relation_size(f.oid)), sum(pg_relation_size(f.oid))"
            " FROM (%s) f GROUP BY f.name ORDER BY f.name DESC" % FAMILY):
        found[name] = int(total)
        found[name + " heap"] = int(heap)
    for name, size in cluster.sql(
            "SELECT regexp_replace(c.relname, '.*(pkey|lane|due).*', 'task \\1'),"
            " sum(pg_relation_size(c.oid)) FROM (%s) f JOIN pg_index i ON i.indrelid = f.oid"
            " JOIN pg_class c ON c.oid = i.indexrelid WHERE f.name = 'task' GROUP BY 1 ORDER BY 1"
            % FAMILY):
        found[name] = int(size)
    return found


def tidiness(cluster):
    """{counter: sum over task's tables}: live and dead rows, vacuums and analyzes"""
    row = cluster.sql(
        "SELECT sum(n_live_tup), sum(n_dead_tup), sum(autovacuum_count), sum(autoanalyze_count)"
        " FROM pg_stat_all_tables s JOIN (%s) f ON f.oid = s.relid WHERE f.name = 'task'"
        % FAMILY)[0]
    return dict(zip(("live", "dead", "autovacuums", "autoanalyzes"), (int(n or 0) for n in row)))

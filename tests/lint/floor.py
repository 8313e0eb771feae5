#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Prints SQL in conf/schema and src that PostgreSQL 9.4 does not know, with its first version.

What stands in a branch that asks for server_version_num, from there to its END IF, is let through.  A
statement of a C file that is sent to such servers only is named for it, as in identify_since_10.  A
function that calls array_position is given shoal's own where there is none, by such a branch: see 0007."""
import os
import re
import sys

NEWER = (
    # what is written, what is searched for, since when
    # IS binds closer than -> there
    ("json -> key IS without parentheses", r"->>?\s*\w*\s+IS\b", "9.5"),
    ("ON CONFLICT", r"\bON\s+CONFLICT\b", "9.5"),
    ("SKIP LOCKED", r"\bSKIP\s+LOCKED\b", "9.5"),
    ("UPDATE SET (..) = (SELECT ..)", r"\bSET\s*\([^()=]*,[^()=]*\)\s*=\s*\(\s*SELECT\b", "9.5"),
    ("CREATE INDEX IF NOT EXISTS", r"\bINDEX\s+(CONCURRENTLY\s+)?IF\s+NOT\s+EXISTS\b", "9.5"),
    ("GROUPING SETS, CUBE, ROLLUP", r"\b(GROUPING\s+SETS|CUBE|ROLLUP)\s*\(", "9.5"),
    ("TABLESAMPLE", r"\bTABLESAMPLE\b", "9.5"),
    ("an argument by name with =>", r"\b[a-z_]\w*\s*=>\s*[\w'$(]", "9.5"),
    ("ASSERT", r"^\s*ASSERT\s", "9.5"),
    ("ROW LEVEL SECURITY", r"\bROW\s+LEVEL\s+SECURITY\b", "9.5"),
    ("CREATE POLICY", r"\bCREATE\s+POLICY\b", "9.5"),
    ("BRIN", r"\bUSING\s+brin\b", "9.5"),
    ("regrole, regnamespace", r"::\s*(regrole|regnamespace)\b", "9.5"),
    ("array_position, array_positions", r"\barray_positions?\s*\(", "9.5"),
    ("jsonb of 9.5", r"\b(jsonb_set|jsonb_build_\w+|jsonb_object|jsonb_strip_nulls|jsonb_pretty|jsonb_agg|"
                     r"jsonb_object_agg|to_jsonb|json_strip_nulls)\s*\(", "9.5"),
    ("|| or - on jsonb", r"::\s*jsonb\s*(\|\||-)", "9.5"),
    ("ADD COLUMN IF NOT EXISTS", r"\bADD\s+(COLUMN\s+)?IF\s+NOT\s+EXISTS\b", "9.6"),
    ("an open array slice", r"\w\[\s*:\s*[\w(]|\w\[\s*[\w()]+\s*:\s*\]", "9.6"),
    ("current_setting(.., true)", r"\bcurrent_setting\s*\([^()]*,", "9.6"),
    ("functions of 9.6", r"\b(parse_ident|num_nulls|num_nonnulls|pg_blocking_pids|jsonb_insert|"
                         r"pg_notification_queue_usage)\s*\(", "9.6"),
    ("settings of 9.6", r"\b(max_parallel_workers_per_gather|idle_in_transaction_session_timeout|"
                        r"parallel_\w+_cost)\b", "9.6"),
    ("PARALLEL SAFE", r"\bPARALLEL\s+(SAFE|UNSAFE|RESTRICTED)\b", "9.6"),
    ("AS IDENTITY", r"\bAS\s+IDENTITY\b", "10"),
    ("PARTITION OF, partitioned tables", r"\bPARTITION\s+OF\b|\)\s*PARTITION\s+BY\b", "10"),
    ("REFERENCING transition tables", r"\bREFERENCING\s+(NEW|OLD)\b", "10"),
    ("CREATE STATISTICS", r"\bCREATE\s+STATISTICS\b", "10"),
    ("names of 10", r"\b(pg_current_wal_\w+|pg_wal_\w+|pg_sequence|regexp_match|xmltable)\b", "10"),
    ("CREATE PROCEDURE, CALL", r"\b(CREATE\s+(OR\s+REPLACE\s+)?PROCEDURE\b|CALL\s+shoal\.)", "11"),
    ("EXECUTE FUNCTION of a trigger", r"\bEXECUTE\s+FUNCTION\b", "11"),
    ("INCLUDE of an index", r"\bINCLUDE\s*\(", "11"),
    ("functions of 11", r"\b(sha224|sha256|sha384|sha512|starts_with)\s*\(", "11"),
    ("SET jit", r"\bjit\s*=", "11"),
    ("AS MATERIALIZED", r"\bAS\s+(NOT\s+)?MATERIALIZED\b", "12"),
    ("GENERATED .. STORED", r"\)\s*STORED\b", "12"),
    ("functions of 13", r"\b(gen_random_uuid|pg_current_xact_id|pg_current_snapshot|pg_snapshot_\w+|xid8|"
                        r"trim_scale|min_scale)\b", "13"),
    ("functions of 14", r"\b(date_bin|string_to_table|trim_array|bit_count)\s*\(", "14"),
    ("MERGE INTO", r"\bMERGE\s+INTO\b", "15"),
    ("NULLS NOT DISTINCT", r"\bNULLS\s+NOT\s+DISTINCT\b", "15"),
    ("functions of 15", r"\b(regexp_(count|instr|like|substr)|range_agg)\s*\(", "15"),
    ("SQL/JSON of 16", r"\bIS\s+JSON\b|\bJSON_(ARRAY|OBJECT)(AGG)?\s*\(", "16"),
)
RULES = [(name, re.compile(pattern, re.I | re.M if name != "SQL/JSON of 16" else re.M), since)
         for name, pattern, since in NEWER]
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.S)
TEXT = re.compile(r"'(?:[^'\n]|'')*'")
BRANCH = re.compile(r"\bIF\s+current_setting\('server_version_num'\).*?\bEND\s+IF\s*;", re.S | re.I)
C_STRINGS = re.compile(r'"((?:\\.|[^"\\\n])*)"(?=((?:\s|/\*.*?\*/)*))', re.S)
SINCE = re.compile(r"\bstruct pgstmt \w+_since_\d+(_\d+)? = \{.*?\};", re.S)
CALLS_POSITION = re.compile(r"CREATE (?:OR REPLACE )?FUNCTION (shoal\.\w+)\(.*?AS \$\$(.*?)\$\$;", re.S)


def blank(found):
    return re.sub(r"[^\n]", " ", found.group(0))


def own_position(sql):
    """Blanks array_position in functions that have a search_path with shoal's own in 9.4."""
    found = set(re.findall(r"ALTER FUNCTION (shoal\.\w+)\([^;]*SET search_path = shoal, pg_catalog", sql))

    def one(function):
        text = function.group(0)
        return text.replace("array_position(", "               ") if function.group(1) in found else text

    return CALLS_POSITION.sub(one, sql)


def complaints(path, sql):
    for name, rule, since in RULES:
        for found in rule.finditer(sql):
            yield "%s:%d: PostgreSQL 9.4 does not know %s, which is of %s" % (
                path, sql.count("\n", 0, found.start()) + 1, name, since)


def schema(text):
    text = own_position(COMMENT.sub(blank, text))
    return TEXT.sub(blank, BRANCH.sub(blank, text))


def program(text):
    """The strings of a C file, where they stand; those that follow each other are one."""
    text = SINCE.sub(blank, text)
    made = list(re.sub(r"[^\n]", " ", text))
    for found in C_STRINGS.finditer(re.sub(r"/\*.*?\*/", blank, text, flags=re.S)):
        made[found.start(1):found.end(1)] = found.group(1)
    return TEXT.sub(blank, "".join(made))


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    wrong = []
    for where, _, names in sorted(os.walk(os.path.join(root, "conf", "schema"))):
        for name in sorted(names):
            if name.endswith(".sql"):
                path = os.path.join(where, name)
                with open(path) as f:
                    wrong += complaints(os.path.relpath(path, root), schema(f.read()))
    for name in sorted(os.listdir(os.path.join(root, "src", "store"))):
        if name.endswith(".c"):
            path = os.path.join(root, "src", "store", name)
            with open(path) as f:
                wrong += complaints(os.path.relpath(path, root), program(f.read()))
    print("\n".join(wrong) if wrong else "nothing newer than PostgreSQL 9.4")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: BSD-2-Clause
"""The plans that PostgreSQL really runs inside our functions."""

import contextlib
import json
import re

import psycopg2
import pytest


class Plans:
    """One session that is told the plan of each statement, with what it did."""

    def __init__(self, connection):
        self.connection = connection
        self.cursor = connection.cursor()
        try:
            self.cursor.execute("LOAD 'auto_explain'")
        except psycopg2.Error:
            pytest.skip("auto_explain is not installed")
        for name, value in {
            "auto_explain.log_min_duration": "0", "auto_explain.log_nested_statements": "on",
            "auto_explain.log_format": "json", "auto_explain.log_analyze": "on",
            "auto_explain.log_buffers": "on", "client_min_messages": "log",
        }.items():
            self.cursor.execute("SET %s = %s" % (name, value))

    def call(self, sql, params=None):
        """(rows, plans of the statements inside that touch shoal.task)"""
        del self.connection.notices[:]
        self.cursor.execute(sql, params)
        rows = self.cursor.fetchall()
        found = [json.loads(re.search(r"plan:\s*(\{.*\})", n, re.S).group(1))
                 for n in self.connection.notices if "plan:" in n]
        return rows, [p["Plan"] for p in found if "shoal.task " in p["Query Text"]]


    def told(self, table):
        """How many rows of another table one statement of the last call read at most."""
        most = 0
        for notice in self.connection.notices:
            if "plan:" not in notice:
                continue
            plan = json.loads(re.search(r"plan:\s*(\{.*\})", notice, re.S).group(1))["Plan"]
            for node in nodes_of(plan):
                if "shoal.%s" % node.get("Relation Name") == table and "Scan" in node["Node Type"]:
                    most = max(most, (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
                               * node["Actual Loops"])
        return most


@contextlib.contextmanager
def watched(db):
    with contextlib.closing(db.server.connect(db.name)) as c:
        yield Plans(c)


def nodes_of(plan):
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)

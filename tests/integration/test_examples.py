# SPDX-License-Identifier: BSD-2-Clause
"""The scripts in examples/ do what they say, run as their heads say."""

import os
import re
import subprocess

import pytest
from shoaltest import apps
from shoaltest.node import build_directory, program_env

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples")


@pytest.fixture
def run(cluster, db, redis):
    node = cluster(1)[0]
    environment = dict(
        program_env(), SHOAL_URL=node.url, SHOAL_API_KEY=apps.make_key(db, "demo"),
        SHOAL_DATABASE_URL=db.url(), SHOAL_REDIS_URL=redis.url(), PATH="%s:%s" % (build_directory(), os.environ["PATH"]))

    def call(name, *words):
        done = subprocess.run([os.path.join(EXAMPLES, name), *words], env=environment, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        text = done.stdout.decode()
        assert done.returncode == 0, text
        return text

    return call


def test_debounce_runs_once_with_the_last_payload(run):
    text = run("debounce")
    assert len({line.split()[-1] for line in text.splitlines() if line.startswith("request")}) == 1
    assert '{"request":5}' in text


def test_group_is_followed_by_its_callback(run):
    text = run("group")
    assert '"succeeded":3' in text
    assert "all three have succeeded" in text


def test_graph_runs_in_order(run):
    rows = dict((line.split()[0], line.split()) for line in run("graph").splitlines())
    assert [rows[n][1] for n in ("fetch", "resize", "label", "publish", "announce")] == ["succeeded"] * 5
    assert rows["fetch"][5] <= min(rows["resize"][3], rows["label"][3])
    assert max(rows["resize"][5], rows["label"][5]) <= rows["publish"][3] <= rows["announce"][3]


def test_sql_submit_goes_with_its_transaction(run):
    text = run("sql-submit")
    assert "rolled back: there is no task" in text
    assert '{"order":17}' in text


def test_schedule_dst_shows_both_nights(run):
    text = run("schedule-dst")
    for decision in ("gap: run at its end", "gap: skipped", "overlap: first", "overlap: second", "normal"):
        assert decision in text
    assert "2027-03-14T03:00:00-04:00" in text and "2027-11-07T01:30:00-05:00" in text


def test_retries_rest_and_leave_events(run):
    assert "retrying" in run("retries")


def test_fairness_shares_starts(run):
    text = run("fairness")
    waits = [float(line.split()[-2]) for line in text.splitlines() if line.startswith("  shop's task")]
    # a slot is free every 0.2 s, whatever bulk has queued
    assert len(waits) == 5 and max(waits) < 10, text
    assert "bulk has weight 3 (before: 1)" in text
    counts = re.search(r"bulk started (\d+), shop (\d+); (\d+) and (\d+) wait", text)
    bulk, shop, bulk_left, shop_left = map(int, counts.groups())
    assert bulk_left > 0 and shop_left > 0, text
    assert 2 < bulk / shop < 4.5, text


def test_schedule_over_both_nights_by_computation(run):
    text = run("schedule-dst")
    assert "gap: run at its end" in text
    assert "overlap: both" in text

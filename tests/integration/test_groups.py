# SPDX-License-Identifier: BSD-2-Clause
"""Tasks that are counted together, and tasks that run after others."""

import pytest
from shoaltest.client import Client, Refused
from shoaltest.waits import wait_for

NOBODY = "01890000-0000-7000-8000-000000000000"


def group(client, tasks, **fields):
    return client.call("POST", "/v1/groups", expect=201, json=dict(fields, tasks=tasks))


def read(client, id):
    return client.call("GET", "/v1/groups/%s" % id, expect=200)


def ended(client, id, at_most=20):
    def look():
        g = read(client, id)
        return g if g["state"] == "ended" else None

    return wait_for(look, at_most, what="group %s ended" % id)


def failing(message="broken"):
    return {"type": "shoal.fail", "payload": {"times": 99, "message": message}, "max_attempts": 1}


# --------------------------------------------------------------------- groups


def test_callbacks_of_a_group_that_succeeds(client):
    made = group(client, [{"type": "shoal.noop"}] * 5,
                 on_success={"type": "shoal.echo", "payload": "all well"},
                 on_completion={"type": "shoal.echo", "payload": "all over"},
                 on_failure={"type": "shoal.echo", "payload": "never"},
                 metadata={"order": 17})
    assert len(made["tasks"]) == 5
    g = ended(client, made["id"])
    assert (g["total"], g["succeeded"], g["pending"], g["failed"]) == (5, 5, 0, 0)
    assert g["metadata"] == {"order": 17}
    assert g["failure_task"] is None
    assert client.wait(g["success_task"])["result"] == "all well"
    assert client.wait(g["completion_task"])["result"] == "all over"
    assert client.get(made["tasks"][0]["id"])["group"] == made["id"]


def test_the_first_failure_is_told_while_others_run(client):
    made = group(client, [failing(), {"type": "shoal.sleep", "payload": {"seconds": 30}}],
                 on_failure={"type": "shoal.echo", "payload": "oh"},
                 on_success={"type": "shoal.echo", "payload": "never"})
    g = wait_for(lambda: read(client, made["id"])["failure_task"] and read(client, made["id"]))
    assert g["state"] == "running"
    assert client.wait(g["failure_task"])["result"] == "oh"
    assert g["success_task"] is None


def test_a_completed_group_with_failures_has_no_success(client):
    made = group(client, [failing(), {"type": "shoal.noop"}],
                 on_success={"type": "shoal.noop"},
                 on_completion={"type": "shoal.echo", "payload": 1})
    g = ended(client, made["id"])
    assert (g["succeeded"], g["failed"]) == (1, 1)
    assert g["success_task"] is None
    assert client.wait(g["completion_task"])["state"] == "succeeded"


def test_an_open_group_waits_until_it_is_closed(client):
    made = group(client, [{"type": "shoal.noop"}], open=True,
                 on_completion={"type": "shoal.echo", "payload": "end"})
    id = made["id"]
    wait_for(lambda: read(client, id)["succeeded"] == 1)
    assert read(client, id)["state"] == "open"
    client.call("POST", "/v1/groups/%s/tasks" % id, expect=200,
                json={"tasks": [{"type": "shoal.noop"}] * 2})
    client.call("POST", "/v1/groups/%s/close" % id, expect=200)
    g = ended(client, id)
    assert (g["total"], g["succeeded"]) == (3, 3)
    assert client.wait(g["completion_task"])["result"] == "end"
    with pytest.raises(Refused) as refused:
        client.call("POST", "/v1/groups/%s/tasks" % id, json={"tasks": [{"type": "shoal.noop"}]})
    assert refused.value.response.status_code == 409
    assert refused.value.response.json()["code"] == "group_closed"


def test_an_empty_group_ends_at_once(client):
    g = ended(client, group(client, [], on_completion={"type": "shoal.noop"})["id"])
    assert g["total"] == 0
    assert g["completion_task"] is not None


def test_ten_thousand_tasks_in_one_group(cluster, key, db):
    one, two = [Client(n.url, key) for n in cluster(2)]
    id = group(one, [], open=True, on_success={"type": "shoal.echo", "payload": "10k"})["id"]
    for i in range(10):
        (one, two)[i % 2].call("POST", "/v1/groups/%s/tasks" % id, expect=200,
                               json={"tasks": [{"type": "shoal.noop"}] * 1000, "close": i == 9})
    g = ended(two, id, 120)
    assert (g["total"], g["succeeded"]) == (10000, 10000)
    assert two.wait(g["success_task"])["result"] == "10k"
    assert db.value("SELECT count(*) FROM shoal.ended") == 0


def test_a_task_that_is_taken_up_again_counts_as_not_ended(client):
    fails_once = {"type": "shoal.fail", "payload": {"times": 1, "message": "x"}, "max_attempts": 1}
    made = group(client, [fails_once], on_completion={"type": "shoal.noop"})
    g = ended(client, made["id"])
    assert (g["failed"], g["succeeded"]) == (1, 0)
    client.retry(made["tasks"][0]["id"])
    client.wait(made["tasks"][0]["id"])
    after = wait_for(lambda: read(client, made["id"])["succeeded"] == 1 and read(client, made["id"]))
    assert (after["failed"], after["pending"]) == (0, 0)
    # what followed once does not follow again
    assert after["completion_task"] == g["completion_task"]


def test_a_group_s_tasks_are_read_page_by_page(client, node, db):
    from shoaltest import apps

    made = group(client, [{"type": "shoal.noop"}] * 25)
    group(client, [{"type": "shoal.noop"}] * 3)  # another's are not among them
    path = "/v1/groups/%s/tasks" % made["id"]
    seen, cursor = [], None
    while True:
        page = client.call("GET", path, expect=200,
                           params={"limit": 10, **({"cursor": cursor} if cursor else {})})
        seen += [t["id"] for t in page["tasks"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted((t["id"] for t in made["tasks"]), reverse=True)
    assert client.call("GET", "/v1/groups/%s/tasks" % group(client, [])["id"], expect=200)["tasks"] == []
    assert client.request("GET", "/v1/groups/%s/tasks" % NOBODY).status_code == 404
    assert client.request("GET", path, params={"cursor": "x"}).status_code == 400
    other = Client(node.url, apps.make_key(db, "other"))
    assert other.request("GET", path).status_code == 404


def test_groups_are_an_application_s_own(client, node, db):
    from shoaltest import apps

    id = group(client, [{"type": "shoal.noop"}])["id"]
    other = Client(node.url, apps.make_key(db, "other"))
    for method, path in (("GET", ""), ("POST", "/close")):
        answer = other.request(method, "/v1/groups/%s%s" % (id, path))
        assert answer.status_code in (404, 409)
    assert other.request("GET", "/v1/groups/%s" % id).text == \
        other.request("GET", "/v1/groups/%s" % NOBODY).text


@pytest.mark.parametrize("body, detail", [
    ({"tasks": [{"type": "shoal.noop", "typ": 1}]}, "tasks[0].typ"),
    ({"tasks": {}}, "tasks"),
    ({"task": []}, "There are the fields"),
    ({"tasks": [], "open": "yes"}, "open"),
    ({"tasks": [], "on_success": {"payload": 1}}, "on_success"),
    ({"tasks": [], "on_success": {"type": "shoal.noop", "after": [NOBODY]}}, "on_success"),
])
def test_bad_groups_are_refused(guest, body, detail):
    refused = guest.request("POST", "/v1/groups", json=body)
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith(detail)


# --------------------------------------------------------------------- dependencies


def batch(client, *tasks, expect=201):
    return client.call("POST", "/v1/tasks/batch", expect=expect, json={"tasks": list(tasks)})["tasks"]


def test_a_graph_runs_in_its_order(client):
    sleep = {"type": "shoal.sleep", "payload": {"seconds": 0.1}}
    # given in an order that is not the one they run in
    made = batch(client,
                 dict(sleep, ref="last", after=["left", "right"]),
                 dict(sleep, ref="left", after=["first"]),
                 dict(sleep, ref="right", after=["first"]),
                 dict(sleep, ref="first"),
                 dict(sleep, after=["last"]))
    tasks = [client.wait(t["id"]) for t in made]
    last, left, right, first, end = tasks
    assert {t["state"] for t in tasks} == {"succeeded"}
    assert first["finished_at"] <= min(left["started_at"], right["started_at"])
    assert max(left["finished_at"], right["finished_at"]) <= last["started_at"]
    assert last["finished_at"] <= end["started_at"]


def test_a_task_can_run_after_one_that_runs(client):
    parent = client.submit("shoal.sleep", {"seconds": 2})["id"]
    client.wait_state(parent, "running")
    child = client.submit("shoal.noop", after=[parent])
    assert child["state"] == "scheduled"
    assert client.get(child["id"])["waits_for"] == 1
    assert client.wait(child["id"])["started_at"] >= client.get(parent)["finished_at"]


def test_a_task_after_one_that_has_succeeded_runs_at_once(client):
    parent = client.run("shoal.noop")["id"]
    assert client.submit("shoal.noop", after=[parent])["state"] == "queued"


def test_children_of_a_failed_parent_are_cancelled_down_the_line(client):
    made = batch(client, dict(failing(), ref="p"), {"type": "shoal.noop", "ref": "c", "after": ["p"]},
                 {"type": "shoal.noop", "after": ["c"]})
    tasks = [client.wait(t["id"]) for t in made]
    assert [t["state"] for t in tasks] == ["failed", "cancelled", "cancelled"]
    assert tasks[1]["error"]["code"] == "parent_failed"
    assert made[0]["id"] in tasks[1]["error"]["message"]


def test_after_failure_run_goes_on(client):
    made = batch(client, dict(failing(), ref="p"),
                 {"type": "shoal.echo", "payload": 1, "after": ["p"], "after_failure": "run"})
    assert client.wait(made[1]["id"])["result"] == 1


def test_a_child_of_a_parent_that_failed_before_is_cancelled_too(client):
    parent = client.wait(client.submit(**failing())["id"])
    assert parent["state"] == "failed"
    child = client.submit("shoal.noop", after=[parent["id"]])
    assert child["state"] == "cancelled"
    assert client.submit("shoal.noop", after=[parent["id"]], after_failure="run")["state"] == "queued"


def test_a_delay_counts_beside_the_parents(client):
    made = batch(client, {"type": "shoal.noop", "ref": "p"},
                 {"type": "shoal.noop", "after": ["p"], "delay": 3600})
    client.wait(made[0]["id"])
    child = wait_for(lambda: client.get(made[1]["id"])["waits_for"] == 0 and client.get(made[1]["id"]))
    assert child["state"] == "scheduled"


def test_a_thousand_children_and_one_parent(client):
    parent = client.submit("shoal.sleep", {"seconds": 1})["id"]
    made = {t["id"] for _ in range(3)
            for t in batch(client, *[{"type": "shoal.noop", "after": [parent]}] * 500)}
    client.wait(parent)
    wait_for(lambda: {t["id"] for t in client.list_all(state="succeeded", limit=100)} == made | {parent}, 60, every=0.5)


def test_circles_and_strangers_are_refused(client):
    with pytest.raises(Refused) as refused:
        batch(client, {"type": "shoal.noop", "ref": "a", "after": ["b"]},
              {"type": "shoal.noop", "ref": "b", "after": ["a"]})
    assert refused.value.response.json()["code"] == "dependency_cycle"
    for after in ("nobody", NOBODY):
        with pytest.raises(Refused) as refused:
            client.submit("shoal.noop", after=[after])
        assert refused.value.response.status_code == 422
        assert refused.value.response.json()["code"] == "unknown_parent"
    with pytest.raises(Refused) as refused:
        batch(client, {"type": "shoal.noop", "ref": "a"}, {"type": "shoal.noop", "ref": "a"})
    assert refused.value.response.status_code == 400


def test_parents_that_end_while_children_are_submitted(cluster, key):
    """The end of a parent is seen by the submit of its child, or sees the child: none waits for ever."""
    one, two = [Client(n.url, key) for n in cluster(2)]
    ids = []
    for i in range(150):
        parent = one.submit("shoal.noop")["id"]
        ids.append(two.submit("shoal.noop", after=[parent])["id"])
    for id in ids:
        assert one.wait(id, 30)["state"] == "succeeded"

# SPDX-License-Identifier: BSD-2-Clause
"""An application that talks to Shoal over HTTP."""

import time

import requests

from . import contract
from .waits import wait_for

FINISHED = ("succeeded", "failed", "cancelled", "expired")


class Refused(AssertionError):
    """An answer that is not the expected one; .response has it."""

    def __init__(self, response):
        self.response = response
        super().__init__(
            "%s %s: %d %s"
            % (response.request.method, response.request.path_url, response.status_code,
               response.text[:500])
        )


class Client:
    """One application's key against one node; at(node) is the same application elsewhere."""

    def __init__(self, url, key):
        self.url = url
        self.key = key
        self.session = requests.Session()
        self.session.trust_env = False
        if key is not None:
            self.session.headers["Authorization"] = "Bearer " + key

    def at(self, node):
        return Client(node.url, self.key)

    def request(self, method, path, timeout=40, **kwargs):
        """The bare answer, whatever it is; it must be one that api/openapi.yaml describes."""
        response = self.session.request(method, self.url + path, timeout=timeout, **kwargs)
        if not kwargs.get("stream"):
            contract.check(method, path, response)
        return response

    def call(self, method, path, expect=(200, 201, 202, 204), **kwargs):
        """The JSON of an expected answer; Refused otherwise."""
        response = self.request(method, path, **kwargs)
        if isinstance(expect, int):
            expect = (expect,)
        if response.status_code not in expect:
            raise Refused(response)
        return response.json() if response.content else None

    def submit(self, type, payload=None, expect=201, headers=None, **fields):
        body = dict(fields, type=type)
        if payload is not None:
            body["payload"] = payload
        return self.call("POST", "/v1/tasks", expect=expect, json=body, headers=headers)

    def run(self, type, payload=None, at_most=30, **fields):
        """Submits and waits for the end."""
        return self.wait(self.submit(type, payload, **fields)["id"], at_most)

    def batch(self, tasks, expect=201):
        return self.call("POST", "/v1/tasks/batch", expect=expect, json={"tasks": tasks})["tasks"]

    def get(self, id):
        return self.call("GET", "/v1/tasks/%s" % id, expect=200)

    def list(self, **query):
        return self.call("GET", "/v1/tasks", expect=200, params=query)

    def list_all(self, **query):
        """Every page."""
        tasks, cursor = [], None
        while True:
            page = self.list(**(dict(query, cursor=cursor) if cursor else query))
            tasks += page["tasks"]
            cursor = page.get("next_cursor")
            if not cursor:
                return tasks

    def cancel(self, id, **kwargs):
        return self.call("POST", "/v1/tasks/%s/cancel" % id, **kwargs)

    def retry(self, id, **kwargs):
        return self.call("POST", "/v1/tasks/%s/retry" % id, **kwargs)

    def why(self, id):
        return self.call("GET", "/v1/tasks/%s/why" % id, expect=200)

    def wait(self, id, at_most=30):
        """The task once it has finished, by long polls; a node or store that goes away meanwhile is borne."""
        deadline = time.monotonic() + at_most
        last = None
        while True:
            left = max(0, min(20, int(deadline - time.monotonic())))
            try:
                last = self.call("GET", "/v1/tasks/%s" % id, params={"wait": left}, expect=200)
                if last["state"] in FINISHED:
                    return last
            except requests.ConnectionError as e:
                last = e
            except Refused as e:
                if e.response.status_code != 503:
                    raise
                last = e
            if time.monotonic() >= deadline:
                raise AssertionError("not finished within %g s: %r" % (at_most, last))
            time.sleep(0.05)

    def wait_state(self, id, *states, at_most=10):
        def reached():
            task = self.get(id)
            return task if task["state"] in states else None

        return wait_for(reached, at_most, what="task %s is %s" % (id, " or ".join(states)))

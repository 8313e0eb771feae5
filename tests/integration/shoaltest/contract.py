# SPDX-License-Identifier: BSD-2-Clause
"""Holds the answers that tests get against api/openapi.yaml.

An operation that the file does not name, a status that it does not list for it, a media type or a
body that is not as it says: each fails the test that got the answer.
"""

import functools
import os
import re

import jsonschema
import yaml

FILE = os.path.join(os.path.dirname(__file__), "../../../api/openapi.yaml")
# of each operation and status; what comes later is taken to be alike
MOST = 100
# said before a path is looked at, or for what is no path of ours
ANYWHERE = {400, 401, 403, 404, 405, 411, 413, 414, 415, 417, 431, 501, 503, 505}

_seen = {}


@functools.lru_cache(maxsize=None)
def _document():
    with open(FILE, encoding="utf-8") as f:
        return yaml.safe_load(f)


@functools.lru_cache(maxsize=None)
def _paths():
    """Patterns, those with fewer parameters first: /v1/tasks/batch before /v1/tasks/{id}."""
    def pattern(path):
        parts = re.split(r"(\{[^}]+\})", path)
        return re.compile("".join("[^/]+" if p.startswith("{") else re.escape(p) for p in parts) + "$")

    paths = sorted(_document()["paths"], key=lambda p: (p.count("{"), p))
    return [(pattern(p), p) for p in paths]


def _resolve(node):
    while "$ref" in node:
        found = _document()
        for part in node["$ref"][2:].split("/"):
            found = found[part]
        node = found
    return node


def _operation(method, path):
    for pattern, name in _paths():
        if pattern.match(path):
            return _document()["paths"][name].get("get" if method == "HEAD" else method.lower()), name
    return None, None


@functools.lru_cache(maxsize=None)
def _validator(pointer):
    node = _document()
    for part in pointer:
        node = _resolve(node)[part]
    resolver = jsonschema.RefResolver.from_schema(_document())
    return jsonschema.Draft202012Validator(node, resolver=resolver)


def check(method, path, response):
    """AssertionError when the answer is not one that api/openapi.yaml describes."""
    path = path.split("?")[0]
    status = response.status_code
    operation, name = _operation(method, path)
    if operation is None:
        assert status in ANYWHERE, "%s %s answers %d and is not in api/openapi.yaml" % (
            method, path, status)
        return
    key = (method, name, status)
    _seen[key] = _seen.get(key, 0) + 1
    if _seen[key] > MOST:
        return
    answers = operation["responses"]
    assert str(status) in answers or status in ANYWHERE, (
        "%s %s answers %d, which api/openapi.yaml does not list" % (method, name, status))
    if str(status) not in answers or method == "HEAD":
        return
    content = _resolve(answers[str(status)]).get("content")
    media = response.headers.get("Content-Type", "").split(";")[0]
    if content is None or not response.content:
        assert not response.content, "%s %s: %d has a body" % (method, name, status)
        return
    assert media in content, "%s %s: %d is %r" % (method, name, status, media)
    if "json" not in media:
        return
    pointer = ("paths", name, "get" if method == "HEAD" else method.lower(), "responses", str(status),
               "content", media, "schema")
    errors = list(_validator(pointer).iter_errors(response.json()))
    assert not errors, "%s %s: %d is not as api/openapi.yaml says: %s" % (
        method, name, status, "; ".join("%s: %s" % ("/".join(map(str, e.path)), e.message[:300])
                                        for e in errors[:3]))

# SPDX-License-Identifier: BSD-2-Clause
"""For modules of many small tests that leave a node as it was: one node for all of them.

    from shoaltest.standing import db, key, node  # noqa: F401

Each test has an application of its own; the database is everybody's.
"""

import secrets

import pytest

from . import apps


@pytest.fixture
def node(standing):
    return standing


@pytest.fixture
def db(standing):
    return standing.database


@pytest.fixture
def key(db):
    return apps.make_key(db, stranger())


def stranger():
    """The name of an application that no other test has."""
    return "app-" + secrets.token_hex(8)

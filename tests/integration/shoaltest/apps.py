# SPDX-License-Identifier: BSD-2-Clause
"""Applications and their keys, straight into the database."""

import base64
import hashlib
import os
import secrets
import string
import zlib


def make_key(database, application, **columns):
    """A new key of the application (made if missing), in the form of src/store/apikey.h."""
    alphabet = string.ascii_letters + string.digits
    public = "".join(secrets.choice(alphabet) for _ in range(8))
    secret = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
    text = "shoal_live_%s_%s" % (public, secret)
    text += "_%06x" % (zlib.crc32(text.encode()) & 0xFFFFFF)
    names = database.rows("SELECT id FROM shoal.application WHERE name = %s", application)
    app_id = names[0][0] if names else database.value(
        "INSERT INTO shoal.application (name) VALUES (%s) RETURNING id", application
    )
    row = dict(columns, public_id=public, app_id=app_id,
               secret_hash=hashlib.sha256(text.encode()).digest(), label="test")
    database.rows(
        "INSERT INTO shoal.api_key (%s) VALUES (%s)"
        % (", ".join(row), ", ".join(["%s"] * len(row))),
        *row.values(),
    )
    return text

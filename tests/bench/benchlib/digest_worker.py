# SPDX-License-Identifier: BSD-2-Clause
"""examples/digest as a worker of clients/python: a pull worker, or a stream type's child.

    digest_worker.py TYPE CONCURRENCY
"""

import hashlib
import sys

import shoal

# the shortest lease there is: a worker that is killed keeps its tasks back for so long
worker = shoal.Worker(ttl=5)


@worker.task(sys.argv[1])
def digest(payload, task):
    try:
        with open(payload["path"], "rb") as f:
            data = f.read()
    except OSError as e:
        raise shoal.Fail(str(e), code="unreadable") from e
    return {"sha256": hashlib.sha256(data).hexdigest(), "lines": data.count(b"\n")}


worker.run(concurrency=int(sys.argv[2]))

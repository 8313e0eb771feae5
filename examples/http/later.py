#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""An endpoint that answers at once and does the work later: {"path": ...} is posted, 202 comes back,
and the result goes to the lease that came with the request.

    later.py PORT [FILE_WITH_THE_SECRET]

    [type:digest-later]
    handler = http
    url = http://127.0.0.1:9001/digest
    secret_file = /etc/shoal/digest.secret

    [egress]
    allow_networks = 127.0.0.0/8      ; because it is not out on the internet
    ports = 9001

    [secrets]
    key_file = /etc/shoal/secrets.key ; nodes that have one give leases

While it works it extends the lease, which tells it when somebody wants the task cancelled.  What it
had taken when it was killed is posted again when the lease is over.
"""
import json
import queue
import sys
import threading
import time
import urllib.error
import urllib.request

import digest

TTL = 60  # seconds; at least 5
WORKERS = 4


class Lease:
    """What the request had with it: enough to tell any node how its task ends."""

    def __init__(self, headers):
        self.url = headers["Shoal-Lease-Url"]
        self.token = headers["Shoal-Lease-Token"]

    def tell(self, what, body):
        """The answer; None if the task is not ours any more.  Repeating is safe, so it is repeated."""
        request = urllib.request.Request(
            "%s/%s" % (self.url, what), data=json.dumps(body).encode(), method="POST",
            headers={"Authorization": "Bearer " + self.token, "Content-Type": "application/json"})
        for pause in (0.2, 1, 5, 15, None):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as e:
                if e.code < 500:
                    print("%s: %s" % (what, e.read().decode()), file=sys.stderr)
                    return None
            except OSError:
                pass
            if pause is not None:
                time.sleep(pause)
        return None


def keep(lease, done, stop):
    """Extends the lease until done; sets stop when there is no use in going on."""
    while not done.wait(TTL / 3):
        answer = lease.tell("extend", {"ttl": TTL})
        if answer is None or answer["cancelled"]:
            stop.set()


def work(tasks):
    while True:
        lease, body = tasks.get()
        done, stop = threading.Event(), threading.Event()
        threading.Thread(target=keep, args=(lease, done, stop), daemon=True).start()
        try:
            # (work that takes long looks at stop now and then)
            result = digest.digest(body)
            lease.tell("complete", {"result": result})
        except (ValueError, KeyError, TypeError, OSError) as e:
            lease.tell("fail", {"code": "digest", "message": str(e), "retry": False})
        finally:
            done.set()


class Endpoint(digest.Endpoint):
    tasks = queue.Queue(maxsize=100)  # more wait better at Shoal than here

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if self.secret is not None:
                digest.verify(self.secret, self.headers, body)
            if "Shoal-Lease-Url" not in self.headers:
                self.answer(501, "no lease came with the task: the nodes have no secrets.key_file")
                return
            self.tasks.put_nowait((Lease(self.headers), body))
        except digest.Refused as e:
            self.answer(401, str(e))
        except queue.Full:
            self.answer(503, "busy")
        else:
            self.send_response(202)
            self.send_header("Shoal-Async", "1")
            self.send_header("Shoal-Lease-TTL", str(TTL))
            self.send_header("Content-Length", "0")
            self.end_headers()


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    if len(sys.argv) == 3:
        Endpoint.secret = digest.read_secret(sys.argv[2])
    for _ in range(WORKERS):
        threading.Thread(target=work, args=(Endpoint.tasks,), daemon=True).start()
    digest.Server(("127.0.0.1", int(sys.argv[1])), Endpoint).serve_forever()


if __name__ == "__main__":
    main()

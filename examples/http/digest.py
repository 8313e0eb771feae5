#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""An endpoint for an http type: {"path": ...} is posted, a JSON result is the answer's body.

    digest.py PORT [FILE_WITH_THE_SECRET]

    [type:digest]
    handler = http
    url = http://127.0.0.1:9000/digest
    secret_file = /etc/shoal/digest.secret

    [egress]
    allow_networks = 127.0.0.0/8      ; because it is not out on the internet
    ports = 9000

With a secret it takes only what was signed with it, in the last five minutes, as Standard Webhooks
has it.  200 is success; 4xx ends the task for good, 5xx asks for another attempt.
"""
import base64
import binascii
import hashlib
import hmac
import http.server
import json
import sys
import time

TOLERANCE = 300  # seconds between the node's clock and ours


class Refused(Exception):
    pass


def verify(secret, headers, body):
    """Raises Refused unless a signature of the body is right; there are two while secrets change."""
    id, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > TOLERANCE:
        raise Refused("the time of the signature is not now")
    signed = b"%s.%s.%s" % (id.encode(), sent.encode(), body)
    wanted = hmac.new(secret, signed, hashlib.sha256).digest()
    for one in headers.get("webhook-signature", "").split(" "):
        version, _, text = one.partition(",")
        try:
            if version == "v1" and hmac.compare_digest(base64.b64decode(text, validate=True), wanted):
                return
        except (ValueError, binascii.Error):
            pass
    raise Refused("no signature is right")


def read_secret(path):
    with open(path, encoding="ascii") as f:
        return base64.b64decode(f.read().strip()[len("whsec_"):])


def digest(body):
    with open(json.loads(body)["path"], "rb") as f:
        data = f.read()
    return {"sha256": hashlib.sha256(data).hexdigest(), "lines": data.count(b"\n")}


class Endpoint(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # nodes keep their connections
    disable_nagle_algorithm = True
    wbufsize = -1  # the answer leaves in one piece
    secret = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if self.secret is not None:
                verify(self.secret, self.headers, body)
            self.answer(200, json.dumps(digest(body)))
        except Refused as e:
            self.answer(401, str(e))
        except (ValueError, KeyError, TypeError, OSError) as e:
            self.answer(422, "digest: %s" % e)

    def answer(self, status, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status == 200 else "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass  # one line a task is too much


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    if len(sys.argv) == 3:
        Endpoint.secret = read_secret(sys.argv[2])
    Server(("127.0.0.1", int(sys.argv[1])), Endpoint).serve_forever()


if __name__ == "__main__":
    main()

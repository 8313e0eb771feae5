# SPDX-License-Identifier: BSD-2-Clause
"""A collector of OpenTelemetry: takes spans by OTLP/HTTP in JSON, and looks closely at them."""

import http.server
import json
import re
import threading

KINDS = {2: "server", 4: "producer", 5: "consumer"}


def text_of(attributes):
    """A list of attributes as a dict; each has one value of a type that the mapping knows."""
    found = {}
    for a in attributes:
        assert set(a) == {"key", "value"} and len(a["value"]) == 1, a
        ((kind, value),) = a["value"].items()
        assert kind in ("stringValue", "intValue") and isinstance(value, str), a
        assert a["key"] not in found, a
        found[a["key"]] = int(value) if kind == "intValue" else value
    return found


class Span:
    def __init__(self, raw, resource):
        assert re.fullmatch("[0-9a-f]{32}", raw["traceId"]) and int(raw["traceId"], 16), raw
        assert re.fullmatch("[0-9a-f]{16}", raw["spanId"]) and int(raw["spanId"], 16), raw
        if "parentSpanId" in raw:
            assert re.fullmatch("[0-9a-f]{16}", raw["parentSpanId"]), raw
        for at in ("startTimeUnixNano", "endTimeUnixNano"):
            assert isinstance(raw[at], str) and raw[at].isdigit() and len(raw[at]) == 19, raw
        assert raw["status"].get("code", 0) in (0, 2) and raw["flags"] & 1, raw
        assert set(raw) <= {"traceId", "spanId", "parentSpanId", "flags", "name", "kind", "status", "attributes",
                            "startTimeUnixNano", "endTimeUnixNano"}, raw
        self.trace, self.id, self.parent = raw["traceId"], raw["spanId"], raw.get("parentSpanId")
        self.name, self.kind = raw["name"], KINDS[raw["kind"]]
        self.start, self.end = int(raw["startTimeUnixNano"]) / 1e9, int(raw["endTimeUnixNano"]) / 1e9
        assert self.start <= self.end, raw
        self.error = raw["status"].get("message", "") if raw["status"].get("code") == 2 else None
        self.attributes = text_of(raw["attributes"])
        self.resource = resource

    def __repr__(self):
        return "%s %s %s<-%s %s" % (self.kind, self.name, self.id, self.parent, self.attributes)


class Collector:
    """.spans are those that were taken; .status is what it answers from now on."""

    def __init__(self):
        self.spans, self.headers, self.status, self.requests = [], [], 200, 0
        self.problem = None
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests += 1
                if collector.status == 200:
                    try:
                        collector.take(self.path, dict(self.headers.items()), body)
                    except Exception as e:  # told by the test, not by a thread
                        collector.problem = "%r in %r" % (e, body[:2000])
                answer = b"{}"
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return "http://127.0.0.1:%d/v1/traces" % self.server.server_address[1]

    def take(self, path, headers, body):
        assert path == "/v1/traces" and headers["Content-Type"] == "application/json", (path, headers)
        self.headers.append(headers)
        (told,) = json.loads(body).values()
        for of_resource in told:
            resource = text_of(of_resource["resource"]["attributes"])
            for of_scope in of_resource["scopeSpans"]:
                assert of_scope["scope"]["name"] == "shoal"
                self.spans += [Span(raw, resource) for raw in of_scope["spans"]]

    def of(self, trace):
        assert self.problem is None, self.problem
        return sorted((s for s in list(self.spans) if s.trace == trace), key=lambda s: s.start)

    def close(self):
        self.server.shutdown()
        self.server.server_close()

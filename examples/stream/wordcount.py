#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A stream child (docs/stream-protocol.md): counts the words of {"text": "..."}.

[type:wordcount]
handler = stream
command = /usr/bin/python3 /srv/app/wordcount.py

It does one task after another.  It asks for 64 at a time all the same: they wait in the pipe, and
what one read brings is answered by one write, so that thousands a second go through.
"""

import json
import re
import sys

WORD = re.compile(r"[^ \t\n\r\f\v]+")


class Hopeless(Exception):
    """An error that no retry would mend."""


def count(task):
    payload = task["payload"]
    if not isinstance(payload, dict) or not isinstance(payload.get("text"), str):
        raise Hopeless("the payload needs a text")
    return {"words": len(WORD.findall(payload["text"]))}


def answer(line):
    message = json.loads(line)
    if "task" in message:
        task = message["task"]
        try:
            return {"id": task["id"], "result": count(task)}
        except Hopeless as e:
            return {"id": task["id"], "error": {"code": "bad_text", "message": str(e)}, "retry": False}
        except Exception as e:  # one task's trouble is no other's
            return {"id": task["id"], "error": {"code": type(e).__name__, "message": str(e)}}
    if "hello" in message:
        return {"hello": {"version": 1, "concurrency": 64}}
    if "ping" in message:
        return {"pong": message["ping"]}
    return None  # cancel: it is done before we would hear of it; drain: the input ends behind it


def main():
    begun = b""
    while chunk := sys.stdin.buffer.read1(65536):
        *lines, begun = (begun + chunk).split(b"\n")
        answers = [json.dumps(a) + "\n" for a in map(answer, lines) if a is not None]
        sys.stdout.write("".join(answers))
        sys.stdout.flush()


if __name__ == "__main__":
    main()

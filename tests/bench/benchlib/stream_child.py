# SPDX-License-Identifier: BSD-2-Clause
"""The stream child that tests/bench/stream measures: reads much, answers much, does nothing else."""

import json
import sys


def main():
    read, write, loads = sys.stdin.buffer.read1, sys.stdout.buffer.write, json.loads
    begun = b""
    while chunk := read(65536):
        *lines, begun = (begun + chunk).split(b"\n")
        answers = []
        for line in lines:
            message = loads(line)
            if "task" in message:
                answers.append('{"id":"%s","result":%d}\n' % (
                    message["task"]["id"], len(message["task"]["payload"])))
            elif "ping" in message:
                answers.append('{"pong":%d}\n' % message["ping"])
            elif "hello" in message:
                answers.append('{"hello":{"version":1,"concurrency":%s}}\n' % sys.argv[1])
        write("".join(answers).encode())
        sys.stdout.flush()


if __name__ == "__main__":
    main()

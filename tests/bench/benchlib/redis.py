# SPDX-License-Identifier: BSD-2-Clause
"""What a Redis says of itself, over one connection that is kept: INFO, and no more."""

import socket
import urllib.parse


class Redis:
    """Asks the server of a redis:// URL.  Its own commands are counted there too: one INFO each."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port or 6379), timeout=10)
        self.file = self.socket.makefile("rb")
        if parts.password:
            words = [urllib.parse.unquote(w) for w in (parts.username, parts.password) if w]
            self.command("AUTH", *words)

    def close(self):
        self.file.close()
        self.socket.close()

    def command(self, *words):
        """the answer of a command that is answered with one line or one text"""
        out = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word.encode()
            out.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.socket.sendall(b"".join(out))
        line = self.file.readline().decode()
        if line[:1] == "$":
            text = self.file.read(int(line[1:]) + 2)
            return text[:-2].decode()
        if line[:1] not in ("+", ":"):
            raise SystemExit("redis answers %s: %s" % (words[0], line.strip() or "nothing"))
        return line[1:].strip()

    def info(self, section):
        """{field: text}"""
        lines = self.command("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def calls(self):
        """{command: how often it was called}, without those of this class"""
        calls = {}
        for field, text in self.info("commandstats").items():
            name = field[len("cmdstat_"):]
            if name not in ("info", "auth"):
                calls[name] = int(text.split(",")[0].split("=")[1])
        return calls

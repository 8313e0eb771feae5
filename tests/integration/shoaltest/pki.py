# SPDX-License-Identifier: BSD-2-Clause
"""Certificates of an authority of our own, made by openssl."""

import os
import subprocess


def openssl(*argv, data=None):
    done = subprocess.run(
        ("openssl",) + argv, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=60, check=False,
    )
    assert done.returncode == 0, "%s: %s" % (argv, done.stderr.decode(errors="replace"))
    return done.stdout


class Pki:
    """An authority in a directory; issue() makes NAME.pem (with the authority's) and NAME.key."""

    def __init__(self, directory, name="authority"):
        self.directory = directory
        self.name = name
        self.ca = self.path(name + ".pem")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", self.path(name + ".key"), "-out", self.ca, "-days", "365",
                "-subj", "/CN=" + name)

    def path(self, name):
        return os.path.join(self.directory, name)

    def issue(self, name, names=(), days=90, serial=None):
        """days: from now; a certificate of -1 days is over."""
        key, csr, out = (self.path(name + end) for end in (".key", ".csr", ".pem"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", key, "-out", csr, "-subj", "/CN=" + name)
        extensions = self.path(name + ".ext")
        with open(extensions, "w") as f:
            f.write("basicConstraints = CA:false\n")
            if names:
                f.write("subjectAltName = %s\n" % ",".join("DNS:" + n for n in names))
        openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey",
                self.path(self.name + ".key"), "-days", str(days), "-extfile", extensions,
                "-out", out, "-set_serial", str(serial or int.from_bytes(os.urandom(8), "big") >> 1))
        with open(out, "ab") as chain, open(self.ca, "rb") as ca:
            chain.write(ca.read())
        os.chmod(key, 0o600)
        return out, key

    def ocsp(self, name, status="V"):
        """The authority's response about what it issued: V(alid) or R(evoked)."""
        out = self.path(name + ".ocsp")
        serial = openssl("x509", "-in", self.path(name + ".pem"), "-noout", "-serial")
        with open(self.path("index"), "w") as f:
            f.write("%s\t350101000000Z\t%s\t%s\tunknown\t/CN=%s\n" % (
                status, "200101000000Z" if status == "R" else "",
                serial.decode().strip().split("=")[1], name))
        openssl("ocsp", "-index", self.path("index"), "-rsigner", self.ca, "-rkey",
                self.path(self.name + ".key"), "-CA", self.ca, "-issuer", self.ca,
                "-cert", self.path(name + ".pem"), "-ndays", "2", "-respout", out)
        return out

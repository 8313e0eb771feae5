# SPDX-License-Identifier: BSD-2-Clause
"""Certificates for tests, made by the openssl command: self-signed, so that each is its own authority."""

import os
import subprocess


def make(directory, name, san, days=30):
    """(certificate, key) as PEM files; san such as "DNS:localhost" or "IP:127.0.0.1"; days < 0: expired."""
    cert, key = (os.path.join(directory, "%s.%s" % (name, kind)) for kind in ("pem", "key"))
    argv = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", key, "-out", cert, "-subj", "/CN=" + name, "-addext", "subjectAltName=" + san,
        "-days", str(days if days > 0 else 1),
    ]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if days < 0:
        # openssl req knows no end in the past: a request, signed for a time that is over
        request = cert + ".csr"
        base = ["openssl", "x509", "-x509toreq", "-copy_extensions", "copy", "-in", cert,
                "-signkey", key, "-out", request]
        subprocess.run(base, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(
            ["openssl", "ca", "-selfsign", "-batch", "-notext", "-in", request, "-out", cert, "-keyfile", key,
             "-startdate", "20200101000000Z", "-enddate", "20210101000000Z",
             "-md", "sha256", "-config", _ca_config(directory)],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
    return cert, key


def _ca_config(directory):
    path = os.path.join(directory, "ca.conf")
    index, serial = (os.path.join(directory, name) for name in ("ca.index", "ca.serial"))
    open(index, "w").close()
    with open(serial, "w") as f:
        f.write("01\n")
    with open(path, "w") as f:
        f.write(
            "[ca]\ndefault_ca = d\n[d]\ndatabase = %s\nnew_certs_dir = %s\npolicy = p\n"
            "unique_subject = no\nserial = %s\ncopy_extensions = copy\n[p]\ncommonName = supplied\n"
            % (index, directory, serial)
        )
    return path

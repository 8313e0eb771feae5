# SPDX-License-Identifier: BSD-2-Clause
"""The examples in deploy/, run: the load balancers as they stand, but for addresses and certificates, in front of real
nodes; the scripts of an image and of its machines, with the cloud's own answers.

tests/deploy/run holds all of them against the programs that read them and the published schemas.
"""

import http.server
import os
import re
import shutil
import subprocess
import threading

import pytest
import requests
from shoaltest import process
from shoaltest.waits import Hopeless, wait_for

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEPLOY = os.path.join(TOP, "deploy")


def example(name):
    with open(os.path.join(DEPLOY, name)) as f:
        return f.read()


def changed(text, changes):
    """Each pattern stands in the example: else the test would try something else than it."""
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text, flags=re.M)
        assert count > 0, pattern
    return text


class Balancer:
    """One of the examples, running; url and portal_url are its two frontends."""

    def __init__(self, name, directory, nodes):
        self.directory = directory
        ports = [process.free_port(), process.free_port()]
        self.url, self.portal_url = ("https://127.0.0.1:%d" % p for p in ports)
        self.certificate = os.path.join(directory, "fullchain.pem")
        key = os.path.join(directory, "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", self.certificate],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
        )
        conf = os.path.join(directory, name + ".conf")
        with open(conf, "w") as f:
            f.write(getattr(self, name)(ports, nodes, key))
        program = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            pytest.skip("no " + name)
        argv = {"haproxy": ["-db", "-f", conf], "nginx": ["-c", conf, "-g", "daemon off;"]}[name]
        self.log = open(os.path.join(directory, name + ".log"), "ab")
        self.proc = process.start([program, *argv], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_for(self.serves, what=name + " answers")

    def haproxy(self, ports, nodes, key):
        certs = os.path.join(self.directory, "certs")
        os.makedirs(certs)
        with open(os.path.join(certs, "one.pem"), "w") as out:
            for part in (self.certificate, key):
                with open(part) as f:
                    out.write(f.read())
        return changed(example("haproxy.cfg"), [
            (r"^\t(user|group) haproxy\n", ""),
            (r"bind :443 ssl crt \S+", "bind 127.0.0.1:%d ssl crt %s" % (ports[0], certs)),
            (r"bind :8443 ssl crt \S+", "bind 127.0.0.1:%d ssl crt %s" % (ports[1], certs)),
            (r"^\tserver node3 .*\n", ""),
            (r"server (node1) \S+:80$", r"server \1 127.0.0.1:%d" % nodes[0].app_port),
            (r"server (node2) \S+:80$", r"server \1 127.0.0.1:%d" % nodes[1].app_port),
            (r"server (node1) \S+:8080$", r"server \1 127.0.0.1:%d" % nodes[0].dev_port),
            (r"server (node2) \S+:8080$", r"server \1 127.0.0.1:%d" % nodes[1].dev_port),
        ])

    def nginx(self, ports, nodes, key):
        return changed(example("nginx.conf"), [
            (r"/etc/nginx/tls", self.directory),
            (r"/run/nginx.pid", self.directory + "/pid"),
            (r"/var/log/nginx", self.directory),
            (r"^worker_processes auto;", "user %s;\nworker_processes 1;" % ("root" if os.geteuid() == 0 else "nobody")),
            (r"worker_connections \d+", "worker_connections 400"),
            (r"^\t\tlisten \[::\].*\n", ""),
            (r"listen 443 ssl", "listen 127.0.0.1:%d ssl" % ports[0]),
            (r"listen 8443 ssl", "listen 127.0.0.1:%d ssl" % ports[1]),
            (r"^\t\tserver \S+\.13:\d+ .*\n", ""),
            (r"server \S+\.11:80 ", "server 127.0.0.1:%d " % nodes[0].app_port),
            (r"server \S+\.12:80 ", "server 127.0.0.1:%d " % nodes[1].app_port),
            (r"server \S+\.11:8080 ", "server 127.0.0.1:%d " % nodes[0].dev_port),
            (r"server \S+\.12:8080 ", "server 127.0.0.1:%d " % nodes[1].dev_port),
        ])

    def serves(self):
        if self.proc.poll() is not None:
            with open(self.log.name, errors="replace") as f:
                raise Hopeless(f.read()[-2000:])
        try:
            return requests.get(self.url + "/health", verify=self.certificate, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def stop(self):
        self.proc.terminate()
        self.proc.wait(20)
        self.log.close()


@pytest.mark.parametrize("name", ["haproxy", "nginx"])
def test_a_load_balancer_of_the_examples(name, cluster, key, nodedir, aftermath):
    nodes = cluster(2, node__workers=1, node__drain_delay="0s")
    balancer = Balancer(name, nodedir, nodes)
    aftermath.callback(balancer.stop)
    session = requests.Session()
    session.trust_env = False  # of certificates only this one counts
    session.verify = balancer.certificate
    session.headers["Authorization"] = "Bearer " + key

    def run():
        answer = session.post(balancer.url + "/v1/tasks", params={"wait": 20}, timeout=30,
                              json={"type": "shoal.echo", "payload": {"a": 1}})
        assert answer.status_code == 200, (answer.status_code, answer.text)
        assert answer.json()["result"] == {"a": 1}

    # both listeners, each with its own audience
    run()
    token = {"Authorization": "Bearer " + nodes[0].token}
    metrics = requests.get(balancer.portal_url + "/metrics", verify=balancer.certificate, headers=token, timeout=10)
    assert metrics.status_code == 200 and "shoal_tasks_running" in metrics.text
    assert session.get(balancer.url + "/metrics", timeout=10).status_code == 404
    # a node that is gone costs no request: what reaches no node goes to the other
    assert nodes[0].stop() == 0
    for _ in range(12):
        run()


class Cloud(http.server.BaseHTTPRequestHandler):
    """The machine's metadata, with a session as AWS wants it."""

    state = "InService"

    def do_PUT(self):
        self._say("token" if self.path == "/latest/api/token" else None)

    def do_GET(self):
        known = {"/latest/meta-data/autoscaling/target-lifecycle-state": type(self).state,
                 "/latest/meta-data/instance-id": "i-0123"}
        self._say(known.get(self.path) if self.headers.get("X-aws-ec2-metadata-token") == "token" else None)

    def _say(self, text):
        self.send_response(404 if text is None else 200)
        self.send_header("Content-Length", str(len(text or "")))
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def machine(tmp_path):
    """A directory for PATH: what the cloud's image has, written down instead of done."""
    told = tmp_path / "told"
    told.touch()
    for name, answer in (("aws", 'case "$*" in *database*) echo \'{"username":"shoal","password":"from the cloud"}\' ;; '
                                 "*get-secret*) echo hidden ;; esac"), ("systemctl", ""), ("chgrp", "")):
        path = tmp_path / name
        path.write_text('#!/bin/sh\necho "%s $*" >>%s\n%s\n' % (name, told, answer))
        path.chmod(0o755)
    return tmp_path


def script(machine, name, **env):
    return subprocess.Popen(
        [os.path.join(DEPLOY, "aws", name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(env, PATH="%s:%s" % (machine, os.environ["PATH"])),
    )


def test_a_machine_that_its_group_ends_drains_before_it_says_so(machine):
    class Ours(Cloud):
        pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ours)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    leaving = script(machine, "leave", SHOAL_METADATA="http://127.0.0.1:%d" % server.server_port,
                     SHOAL_PAUSE="0.1", SHOAL_GROUP="g-nodes", SHOAL_HOOK="leave")
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            leaving.wait(0.5)
        assert (machine / "told").read_text() == ""
        Ours.state = "Terminated"
        assert leaving.wait(20) == 0, leaving.stdout.read()
    finally:
        leaving.kill()
        leaving.wait()
        leaving.stdout.close()
        server.shutdown()
        server.server_close()
    assert (machine / "told").read_text().splitlines() == [
        "systemctl stop shoald.service",
        "aws autoscaling complete-lifecycle-action --auto-scaling-group-name g-nodes --lifecycle-hook-name leave "
        "--instance-id i-0123 --lifecycle-action-result CONTINUE",
    ]


def test_a_machine_fetches_its_secrets_before_the_node_starts(machine):
    directory = machine / "shoal"
    directory.mkdir()
    (directory / "shoald.conf").touch()
    done = script(machine, "boot", SHOAL_DIRECTORY=str(directory), SHOAL_DATABASE_SECRET="arn:database",
                  SHOAL_REDIS_SECRET="arn:redis", SHOAL_TOKEN_SECRET="arn:token")
    output, _ = done.communicate(timeout=20)
    assert done.returncode == 0, output
    assert (directory / "database.password").read_text() == "from the cloud\n"
    for name in ("redis.password", "access.token"):
        assert (directory / name).read_text() == "hidden\n"
        assert (directory / name).stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(directory)) == ["access.token", "database.password", "redis.password", "shoald.conf"]
    assert (machine / "told").read_text().splitlines()[-1] == "systemctl start shoald.service shoal-leave.service"
    # one that is not there: nothing is started
    (machine / "told").write_text("")
    (machine / "aws").write_text("#!/bin/sh\nexit 254\n")
    done = script(machine, "boot", SHOAL_DIRECTORY=str(directory), SHOAL_DATABASE_SECRET="arn:database",
                  SHOAL_REDIS_SECRET="arn:redis", SHOAL_TOKEN_SECRET="arn:token")
    done.communicate(timeout=20)
    assert done.returncode != 0 and "systemctl" not in (machine / "told").read_text()
    assert (directory / "redis.password").read_text() == "hidden\n"


def test_an_image_has_nothing_of_one_machine(tmp_path):
    def check():
        done = subprocess.run([os.path.join(DEPLOY, "image/check"), str(tmp_path)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=20, check=False)
        return done.returncode, done.stdout.decode()

    for name in ("etc/shoal", "etc/ssh", "var/lib/cloud/instances", "root/.ssh", "run/shoal"):
        (tmp_path / name).mkdir(parents=True)
    conf = tmp_path / "etc/shoal/shoald.conf"
    # as it is installed, and with the names of what is elsewhere
    shutil.copyfile(os.path.join(TOP, "conf/shoald.conf"), conf)
    (tmp_path / "etc/machine-id").write_text("")
    assert check() == (0, "")
    conf.write_text("[database]\nurl = postgresql://shoal@db/shoal\npassword_file = /etc/shoal/database.password\n")
    assert check() == (0, "")
    for name in ("etc/ssh/ssh_host_ed25519_key", "etc/shoal/database.password", "etc/hostname",
                 "var/lib/cloud/instances/i-0123", "run/shoal/shoald.pid"):
        path = tmp_path / name
        path.write_text("of this machine")
        status, text = check()
        assert status == 1 and "/" + name in text, name
        path.unlink()
    (tmp_path / "etc/machine-id").write_text("0123\n")
    assert check()[0] == 1
    (tmp_path / "etc/machine-id").write_text("uninitialized\n")
    assert check()[0] == 0
    for secret in ("password = hidden", "token = hidden", "url = postgresql://shoal:hidden@db/shoal",
                   "#url = postgresql://shoal:hidden@db/shoal",
                   "url = host=db password=hidden"):
        conf.write_text("[x]\n%s\n" % secret)
        status, text = check()
        assert status == 1 and "holds secrets" in text, secret

# SPDX-License-Identifier: BSD-2-Clause
"""What comes with the programs: completion in real shells, and the bill of materials.

Packages themselves are installed, upgraded and purged by tests/package/run.
"""

import json
import os
import re
import shutil
import subprocess

import pytest
from shoaltest.node import build_directory, program_env

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

BASH = """
source "$1"; function=$2; shift 2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
"$function" "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""
# what zsh's own functions would show
ZSH = """
_describe() { local -a shown; shown=("${(P@)@[-1]}"); print -l -- "${(@)shown%%:*}" }
_default() { : }
file=$1; shift
words=("$@") CURRENT=$#
source "$file"
"""


def run(*command):
    env = dict(program_env(), PATH=build_directory() + ":" + os.environ["PATH"])
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, check=False)
    assert done.returncode == 0, (command, done.stderr.decode())
    return done.stdout.decode()


def in_bash(name, *words):
    path = os.path.join(TOP, "conf/completion/bash", name)
    return run("bash", "-c", BASH, "bash", path, "_" + name, name, *words).split()


def in_zsh(*words):
    if shutil.which("zsh") is None:
        pytest.skip("no zsh")
    path = os.path.join(TOP, "conf/completion/zsh/_shoal")
    return run("zsh", "-fc", ZSH, "zsh", path, "shoal", *words).split()


def commands():
    text = run("shoal", "help")
    return re.findall(r"^  ([a-z]+) +\S", text.split("commands:")[1].split("\n\n")[0], re.M)


@pytest.mark.parametrize("shell", [lambda *w: in_bash("shoal", *w), in_zsh], ids=["bash", "zsh"])
def test_a_shell_offers_what_may_come_next(shell):
    assert len(commands()) > 20 and sorted(shell("")) == sorted(commands())
    assert shell("sub") == ["submit"]
    assert set(shell("keys", "")) == {"create", "list", "revoke"}
    assert {"--url", "--key-file", "--json", "--help"} <= set(shell("get", "--"))
    # a value may be anything: the shell's own completion of file names has its turn
    assert shell("keys", "--label", "") == []
    assert shell("get", "") == []


def test_bash_puts_together_what_it_took_apart():
    assert "create" in in_bash("shoal", "keys", "--label", "=", "web", "")
    assert in_bash("shoal", "keys", "--label", "=", "w") == []


def test_bash_offers_every_setting_to_shoald():
    offered = in_bash("shoald", "-o", "")
    assert {"node.workers=", "database.url=", "redis.url=", "listen.applications="} <= set(offered)
    assert in_bash("shoald", "-o", "node.work") == ["node.workers="]
    assert len(offered) > 60 and all(re.fullmatch(r"[a-z]+\.[a-z_]+=", o) for o in offered)


def test_the_bill_of_materials_names_what_is_linked():
    programs = [os.path.join(build_directory(), name) for name in ("shoald", "shoal")]
    command = [os.path.join(TOP, "scripts/sbom"), "--version", "1.2.3", *programs]
    text = run(*command)
    assert text == run(*command)  # nothing in it is of the moment
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    names = {c["name"] for c in bill["components"]}
    assert {"shoald", "shoal"} <= names
    for library in ("libevent", "libhiredis", "libpq", "libjson-c", "libinih", "libssl", "libcurl",
                    "libseccomp", "libc6"):
        assert any(n.startswith(library) for n in names), library
    refs = {c["bom-ref"] for c in bill["components"]}
    needs = {d["ref"]: set(d["dependsOn"]) for d in bill["dependencies"]}
    assert len(needs["shoald@1.2.3"]) >= 7
    assert all(n <= refs for n in needs.values()) and refs <= set(needs)
    for c in bill["components"]:
        if c["type"] == "library":
            assert c["version"] and c["purl"].startswith("pkg:"), c

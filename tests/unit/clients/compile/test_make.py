"""Under a real make: never more local processes than slots, and one jobserver for all."""

import sys
from pathlib import Path

import pytest

from .conftest import Stub

MAKE = Path("/usr/bin/make")


def make(stub: Stub, makefile: str, *arguments: str, **variables: str) -> str:
    (stub.home / "Makefile").write_text(makefile)
    ended, stdout, stderr = stub.run(*arguments, program=MAKE, **variables)
    assert ended == 0, stdout + stderr
    return stdout + stderr


def test_local_work_never_exceeds_the_slots_whatever_j_says(stub: Stub) -> None:
    log = stub.home / "log"
    stub.script("compilers/link", f"echo begin >> {log}; /bin/true; /bin/true; echo end >> {log}")
    names = " ".join(f"t{number}" for number in range(40))
    makefile = f"all: {names}\n{names}:\n\t@{stub.path} link program $@\n"
    make(stub, makefile, "-j20", REAPI_CC_LOCAL_SLOTS="2")
    running = most = 0
    for line in log.read_text().split():
        running += 1 if line == "begin" else -1
        most = max(most, running)
    assert log.read_text().split().count("end") == 40
    assert most <= 2


def test_the_compiler_takes_part_in_the_jobserver(stub: Stub) -> None:
    script = stub.home / "take_token.py"
    script.write_text(
        "import os, re\n"
        "found = re.search(r'--jobserver-(?:auth|fds)=(\\d+),(\\d+)', os.environ['MAKEFLAGS'])\n"
        "read, write = map(int, found.groups())\n"
        "token = os.read(read, 1)\n"
        "os.write(write, token)\n"
        "print('token', len(token))\n"
    )
    makefile = f"all:\n\t+@{stub.path} {sys.executable} {script}\n"
    assert make(stub, makefile, "-j3") == "token 1\n"


@pytest.mark.parametrize("compiler", ["gcc"])
def test_a_link_with_lto_uses_the_jobserver(stub: Stub, compiler: str) -> None:
    (stub.home / "a.c").write_text("int main(void) { return 0; }\n")
    makefile = (
        f"a: a.c\n\t{stub.path} {compiler} -flto -c a.c -o a.o\n"
        f"\t+{stub.path} {compiler} -flto=jobserver a.o -o a\n"
    )
    told = make(stub, makefile, "-j3")
    assert "jobserver" not in told.replace("-flto=jobserver", "")
    assert stub.run(program=stub.home / "a")[0] == 0

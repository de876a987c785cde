"""A project of forty C and C++ files with a Makefile, built plainly and through `reapi-cc`."""

import asyncio
import json
import os
import select
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from reapi.clients.compile.control import ask_daemon
from reapi.clients.compile.stub_build import build_stub, place_stub, this_installation

C_FILES = 28
CXX_FILES = 12
FILES = C_FILES + CXX_FILES

_MAKEFILE = """
FLAGS = -O1 -g -Wall -Iinclude -MD
C := $(patsubst src/%.c,out/%.o,$(wildcard src/*.c))
CXXS := $(patsubst src/%.cc,out/%.o,$(wildcard src/*.cc))
all: $(C) $(CXXS)
out/%.o: src/%.c
\t@$(CC) $(FLAGS) -c $< -o $@ && echo made $@
out/%.o: src/%.cc
\t@$(CXX) $(FLAGS) -c $< -o $@ && echo made $@
"""
_C_SOURCE = """
#include <stdio.h>
#include "shared.h"
int number_{n}(void) {{ return printf("%d %s", SHARED + {n}, __FILE__); }}
"""
_CXX_SOURCE = """
#include <string>
#include "shared.h"
std::string text_{n}(int x) {{ return std::to_string(SHARED + x * {n}) + __FILE__; }}
"""


class FortyFiles:
    """The project, `reapi-cc`, and the daemon, which lives until `end_daemon`.

    `folder` has all that they write, and must have a short path: there is a socket in it.
    """

    def __init__(self, folder: Path) -> None:
        self._project = folder / "project"
        self._stub = folder / "reapi-cc"
        self._temporary = folder / "tmp"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self._temporary),
            "REAPI_CC_CACHE_DIR": str(folder / "cc"),
            "REAPI_CC_ROOT": str(self._project),
            "REAPI_CC_LOCAL_SLOTS": "2",
        }
        for path in (self._project / "include", self._project / "src", self._temporary):
            path.mkdir(parents=True)
        (self._project / "Makefile").write_text(_MAKEFILE)
        self.write("include/shared.h", "#define SHARED 1000\n")
        for n in range(C_FILES):
            self.write(f"src/c{n}.c", _C_SOURCE.format(n=n))
        for n in range(CXX_FILES):
            self.write(f"src/x{n}.cc", _CXX_SOURCE.format(n=n))
        installation = this_installation()
        self._socket = str(folder / "cc" / "reapi-cc" / f"{installation.key}.socket")
        place_stub(build_stub(installation, folder / "cc"), self._stub)

    def use(self, server: str) -> None:
        """The server of all calls from now on."""
        self._environment["REAPI_SERVER"] = server

    def write(self, path: str, text: str) -> None:
        """Writes a file of the project."""
        (self._project / path).write_text(text)

    def build_plainly(self) -> dict[str, bytes]:
        """What the compilers make by themselves, which is not left behind."""
        self._out.mkdir()
        subprocess.run(
            ["make", "-s", "-j4", "CC=gcc", "CXX=g++"],
            cwd=self._project,
            env=self._environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        made = self.made()
        self.forget()
        return made

    @asynccontextmanager
    async def build(self) -> AsyncIterator["Build"]:
        """`make -j8` through `reapi-cc`, in a session of its own; its end is waited for."""
        process = await asyncio.create_subprocess_exec(
            *("make", "-j8", f"CC={self._stub} gcc", f"CXX={self._stub} g++"),
            cwd=self._project,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Build(process)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    @property
    def _out(self) -> Path:
        return self._project / "out"

    def made(self) -> dict[str, bytes]:
        """Objects and depfiles, and whatever else is beside them."""
        return {path.name: path.read_bytes() for path in self._out.iterdir()}

    def forget(self) -> None:
        """Deletes them."""
        for path in self._out.iterdir():
            path.unlink()

    def leftovers(self) -> list[str]:
        """Temporary files of the project's sources and of all processes."""
        sources = {*self._project.glob("src/*.c*"), self._project / "include" / "shared.h"}
        found = {path for path in self._project.rglob("*") if path.is_file()}
        found -= {*sources, *self._out.iterdir(), self._project / "Makefile"}
        return sorted(map(str, found | set(self._temporary.iterdir())))

    def statistics(self) -> dict[str, Any]:
        """What `reapi-cc --stats --json` says."""
        command = [str(self._stub), "--stats", "--json"]
        found: dict[str, Any] = json.loads(subprocess.check_output(command, env=self._environment))
        return found

    def daemon_pid(self) -> int:
        """Of the daemon, which runs."""
        facts = ask_daemon(self._socket, "flush")
        assert facts is not None, "no daemon runs"
        return int(facts["pid"])

    def kill_daemon(self) -> None:
        """kill -9, and waits for its end."""
        pidfd = os.pidfd_open(pid := self.daemon_pid())
        try:
            os.kill(pid, signal.SIGKILL)
            select.select([pidfd], [], [])
        finally:
            os.close(pidfd)

    def end_daemon(self) -> None:
        """If one runs."""
        if ask_daemon(self._socket, "flush") is not None:
            self.kill_daemon()


class Build:
    """A make under way."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._lines: list[str] = []

    async def has_made(self, count: int) -> None:
        """Returns when so many objects are there."""
        assert self._process.stdout is not None
        while sum(line.startswith("made ") for line in self._lines) < count:
            line = await self._process.stdout.readline()
            assert line, f"make ended: {''.join(self._lines)}"
            self._lines.append(line.decode())

    def interrupt(self) -> None:
        """Ctrl-C: all processes of the terminal's foreground get it."""
        os.killpg(self._process.pid, signal.SIGINT)

    async def end(self) -> tuple[int, str]:
        """Its exit code, and all that it printed."""
        assert self._process.stdout is not None
        rest = await self._process.stdout.read()
        return await self._process.wait(), "".join(self._lines) + rest.decode()

"""Projects, and clients that have caches of their own, beside the plain compiler."""

import os
import shutil
import stat
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from reapi.clients.compile.engines import Engines
from reapi.clients.compile.local_slots import LocalSlots
from reapi.clients.compile.making import make_engines
from reapi.clients.compile.model import Answer, Invocation, Local
from reapi.clients.compile.outcome import OutcomeKind
from reapi.clients.compile.settings import CompileSettings

COMPILERS = ("gcc", "clang")
_LONG_AGO_NS = 60_000_000_000


@dataclass(frozen=True)
class Ended:
    """What a call printed and ended with, and the files that it made: their rights and contents."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    files: Mapping[str, tuple[int, bytes]]


@dataclass
class Checkout:
    """A directory with sources, and what its user's calls of compilers have in common."""

    root: Path
    server: str
    settings: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def write(self, path: str, text: str) -> Path:
        """Makes a file that was there long ago."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        then = time.time_ns() - _LONG_AGO_NS
        os.utime(target, ns=(then, then))
        return target

    def write_all(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            self.write(path, text)

    def call(
        self,
        *arguments: str,
        directory: str = "",
        wants_colour: bool = False,
        umask: int = 0o022,
        **variables: str,
    ) -> Invocation:
        """A call of a compiler; `HERE` in its arguments is the checkout."""
        at = os.path.normpath(self.root / directory)
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "REAPI_SERVER": self.server}
        environment["REAPI_CC_ROOT"] = str(self.root)
        environment |= {f"REAPI_CC_{key.upper()}": text for key, text in self.settings.items()}
        return Invocation(
            tuple(argument.replace("HERE", str(self.root)) for argument in arguments),
            os.path.realpath(at),
            {**environment, "PWD": at, **self.variables, **variables},
            umask=umask,
            wants_colour=wants_colour,
        )

    def plain(self, call: Invocation) -> Ended:
        """What the compiler itself does; nothing of it is left."""
        before = self._contents()
        arguments = list(call.arguments)
        if call.wants_colour:
            arguments.append("-fdiagnostics-color=always")
        done = subprocess.run(
            arguments,
            cwd=call.working_directory,
            env=call.environment,
            umask=call.umask,
            capture_output=True,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr, self._take(before))

    async def through(self, client: "Client", call: Invocation) -> tuple[Ended, Answer]:
        """What becomes of the call with a client; nothing of it is left."""
        before = self._contents()
        answer = await client.answer(call)
        if isinstance(answer, Local):
            return Ended(-1, b"", b"", self._take(before)), answer
        return (
            Ended(answer.exit_code, answer.stdout, answer.stderr, self._take(before)),
            answer,
        )

    def _contents(self) -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(self.root)): (
                stat.S_IMODE(path.stat().st_mode),
                path.read_bytes(),
            )
            for path in self.root.rglob("*")
            if path.is_file() and not path.is_symlink()
        }

    def _take(self, before: Mapping[str, tuple[int, bytes]]) -> dict[str, tuple[int, bytes]]:
        """The files that are new or other ones; the new ones are removed."""
        now = self._contents()
        made = {name: content for name, content in now.items() if before.get(name) != content}
        for name in made:
            assert name not in before, f"{name} was overwritten"
            (self.root / name).unlink()
        return made

    def remove(self) -> None:
        shutil.rmtree(self.root)


class Client:
    """One user's engines, with a cache of their own."""

    def __init__(self, engines: Engines, cache: Path) -> None:
        self.engines = engines
        self.cache = cache

    async def answer(self, call: Invocation) -> Answer:
        """As the daemon does it: at once, if nobody has to be asked."""
        return self.engines.answer_now(call) or await self.engines.answer(call)

    async def shared(self, call: Invocation) -> None:
        """Returns when what was made so far is in the cache and on the server."""
        await self.engines.of(call).finish()


@asynccontextmanager
async def open_client(
    cache: Path, *, slots: int = 2, cache_max_size_bytes: int = 1 << 30
) -> AsyncIterator[Client]:
    settings = CompileSettings(cache_dir=str(cache), cache_max_size_bytes=cache_max_size_bytes)
    async with make_engines(
        settings, LocalSlots(slots), list[str]().append, tool_name="test"
    ) as engines:
        yield Client(engines, cache)


def kind_of(answer: Answer) -> OutcomeKind:
    assert answer.outcome is not None
    return answer.outcome.kind

"""Whether this machine's compilers work remotely: a real compile, compared with one made here."""

import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from reapi.clients.doctor import Check
from reapi.clients.settings import Settings

from .bounded_process import run_process
from .engines import Engines
from .local_slots import LocalSlots
from .making import make_engines
from .model import Finished, Invocation, Local
from .outcome import OutcomeKind
from .settings import CompileSettings

_COMPILERS = {"cc": "doctor.c", "c++": "doctor.cc", "clang": "doctor.c"}
_SOURCES = {
    "doctor.c": '#include <stdio.h>\nint doctor(void) {{ return puts("{0}"); }}\n',
    "doctor.cc": '#include <string>\nstd::string doctor() {{ return "{0}"; }}\n',
}
_LARGEST_TEXT_BYTES = 1 << 20
_ADVICE = (
    "compiles stay on this machine until this works: an executor with bubblewrap, or one that runs "
    "as root, can have an input root as / (docs/root-modes.md)"
)


async def examine_compiles(settings: Settings) -> AsyncIterator[Check]:
    """A check for each usual compiler that this machine has."""
    with tempfile.TemporaryDirectory(prefix="reapi-doctor-") as scratch:
        mine = replace(CompileSettings(), cache_dir=os.path.join(scratch, "cache"))
        async with make_engines(
            mine, LocalSlots(1), lambda failure: None, tool_name="reapi-doctor"
        ) as engines:
            for compiler, source in _COMPILERS.items():
                if shutil.which(compiler) is not None:
                    yield await _examine(engines, compiler, source, scratch, settings)


async def _examine(
    engines: Engines, compiler: str, source: str, scratch: str, settings: Settings
) -> Check:
    begun = time.monotonic()
    _write_source(scratch, source)
    invocation = Invocation(
        (compiler, "-g", "-O1", "-c", source, "-o", "remote.o"),
        scratch,
        _environment(scratch, settings),
    )
    message = await _compile(engines, invocation)
    if not message:
        done = await run_process(
            [*invocation.arguments[:-1], "here.o"],
            scratch,
            invocation.environment,
            largest_output_bytes=_LARGEST_TEXT_BYTES,
        )
        if done.exit_code or not _is_same(scratch, "remote.o", "here.o"):
            message = "the object that came is not the one that is made here"
    seconds = time.monotonic() - begun
    if message:
        return Check(compiler, False, message, seconds, _ADVICE)
    return Check(compiler, True, "what it makes remotely is what it makes here", seconds)


async def _compile(engines: Engines, invocation: Invocation) -> str:
    """What keeps it from being made remotely."""
    answer = await engines.answer(invocation)
    outcome = answer.outcome
    if isinstance(answer, Finished) and outcome is not None:
        if outcome.kind is OutcomeKind.MISS_REMOTE and not answer.exit_code:
            return ""
        return outcome.trouble or answer.stderr.decode(errors="replace") or outcome.reason
    return answer.reason if isinstance(answer, Local) else "it did not compile"


def _environment(scratch: str, settings: Settings) -> dict[str, str]:
    """That of the caller, for whom nothing below the scratch directory is temporary."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("REAPI_CC_")}
    return found | {"REAPI_CC_ROOT": scratch} | settings.variables()


def _write_source(scratch: str, name: str) -> None:
    """One that nobody has compiled: its text is another each time."""
    Path(scratch, name).write_text(_SOURCES[name].format(time.time_ns()))


def _is_same(scratch: str, one: str, other: str) -> bool:
    return Path(scratch, one).read_bytes() == Path(scratch, other).read_bytes()

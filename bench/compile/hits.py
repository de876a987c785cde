"""What one call costs whose result is in the cache of this machine."""

import contextlib
import os
import statistics
import time
from pathlib import Path

from bench.comparison import compare

from .findings import CompileError, Findings
from .reapi_cc import reapi_cc
from .sources import Unit, write_units
from .tools import Tool, ccache, plain, program, sccache

_MEASURE = "ccache"
"""All other tools are compared with this one, round by round."""
_OURS = "reapi-cc"
_PRIMING_CALLS = 3
_MOST_OF_PLAIN = 0.7
"""A call that takes a larger part of the plain one's time has compiled."""


def measure_hits(folder: Path, findings: Findings, rounds: int) -> None:
    """Units of three sizes, each compiled by all tools in turn, again and again."""
    sources = folder / "sources"
    units = write_units(sources)
    tools: list[Tool] = []
    with contextlib.ExitStack() as stack:
        for make_tool in (ccache, sccache):
            with findings.noting(make_tool.__name__):
                tools.append(stack.enter_context(make_tool(folder / make_tool.__name__)))
        with findings.noting("reapi-cc"):
            ours = stack.enter_context(reapi_cc(folder / "reapi-cc", sources))
            tools += [ours.tool, ours.python_tool]
        compiler = stack.enter_context(plain(folder / "plain"))
        stack.enter_context(contextlib.chdir(sources))
        for unit in units:
            _measure_unit(unit, compiler, tools, findings, rounds)


def _measure_unit(
    unit: Unit, compiler: Tool, tools: list[Tool], findings: Findings, rounds: int
) -> None:
    ready = [compiler]
    for tool in tools:
        with findings.noting(f"{tool.name}, {unit.name}"):
            for _ in range(_PRIMING_CALLS):
                _call(tool, unit)
            ready.append(tool)
    taken: dict[str, list[float]] = {tool.name: [] for tool in ready}
    for number in range(rounds):
        for tool in ready:
            if tool is not compiler or number < unit.plain_rounds:
                taken[tool.name].append(1000 * _call(tool, unit))
    for name, milliseconds in taken.items():
        if name != compiler.name and _is_compiled(milliseconds, taken[compiler.name]):
            findings.troubles.append(f"{name}, {unit.name}: not answered from the cache")
        is_rival = _MEASURE in taken and name not in (compiler.name, _MEASURE)
        findings.rows.append(
            compare(
                f"one warm call, {unit.name}: {name}",
                "ms",
                milliseconds,
                taken[_MEASURE] if is_rival else [],
                _MEASURE if is_rival else "",
                aim=1 if is_rival and name == _OURS else 0,
                is_ceiling=True,
            )
        )


def _is_compiled(milliseconds: list[float], without: list[float]) -> bool:
    return statistics.median(milliseconds) > _MOST_OF_PLAIN * statistics.median(without)


def _call(tool: Tool, unit: Unit) -> float:
    """Seconds; raises CompileError."""
    output = unit.source.with_suffix(".o")
    output.unlink(missing_ok=True)
    command = [*tool.launcher, program(unit.compiler), "-O2", "-c", unit.source.name]
    command += ["-o", output.name]
    started = time.perf_counter()
    pid = os.posix_spawn(command[0], command, tool.environment)
    _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - started
    if status or not output.exists():
        raise CompileError(f"ended with {os.waitstatus_to_exitcode(status)}")
    return seconds

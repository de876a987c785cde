"""`make bench`: starts the server on one core, loads it from the other, prints tables and JSON.

Figures from one run compare with each other and with the limits of that run; machines differ.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from reapi.core.digest import digest_of

from .comparison import table
from .limits import measure_limits
from .load import measure, measure_burst
from .parts import measure_parts
from .scenarios import SCENARIOS, Scenario, no_op_actions
from .servers import ALL_CORES, RunningServer, pin, running_server
from .wire import FreshBlob, Wire

LARGE_BLOB_BYTES = 2 << 30


def main() -> None:
    """Parses the command line and runs what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="run the rows whose name has this")
    parser.add_argument("--seconds", type=float, default=4, help="measured per scenario")
    parser.add_argument("--scale", type=int, default=1_000_000, help="rows of the large index")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    chosen = [each for each in SCENARIOS if arguments.only.lower() in each.name.lower()]
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="reapi-bench-") as folder:
        # As data directories are: only what other users can reach gives actions uids of their own.
        Path(folder).chmod(0o711)
        if chosen:
            report = _measure_calls(Path(folder), chosen, arguments)
            print("\n".join(_closing_lines(report)))
        rows = measure_parts(Path(folder), arguments.only, arguments.scale)
    if rows:
        print("\n" + "\n".join(table(rows, "storage, scheduler and executor")))
    report["parts"] = [asdict(row) for row in rows]
    print(json.dumps(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def _measure_calls(
    folder: Path, chosen: list[Scenario], arguments: argparse.Namespace
) -> dict[str, Any]:
    """The calls of `chosen` to a server as it is without settings."""
    server_core, load_core = ALL_CORES[0], ALL_CORES[-1]
    limits = measure_limits(server_core, folder)
    with running_server(folder / "calls", [server_core]) as server:
        pin([load_core])
        uvloop.run(_wait_for_executor(server.target))
        memory_before = server.resident_mib()
        print(f"server on core {server_core}, load on core {load_core}")
        growth = {} if arguments.only else uvloop.run(_run_large_blob(server))
        rows = uvloop.run(_run_all(server, chosen, arguments.seconds, limits))
        memory_after = server.resident_mib()
    return {
        "large_blob_growth_mib": growth,
        "limits": limits,
        "rows": rows,
        "resident_mib": {"before": memory_before, "after": memory_after},
    }


async def _wait_for_executor(target: str) -> None:
    """Returns when an action has run: all processes are up."""
    async with Wire(target) as wire:
        run = await no_op_actions(wire, count=1)
        await run(0)


async def _run_large_blob(server: RunningServer) -> dict[str, float]:
    """How much more memory the server has at most while a blob of 2 GiB goes up, and down."""
    blob = FreshBlob(LARGE_BLOB_BYTES)
    growth = {}
    async with Wire(server.target) as wire:
        server.forget_peak()
        before = server.peak_mib()
        await wire.write_stream(blob, 0)
        growth["up"] = server.peak_mib() - before
        digest = digest_of(blob.data)
        server.forget_peak()
        await wire.read_stream(digest)
        growth["down"] = server.peak_mib() - before
    return growth


async def _run_all(
    server: RunningServer, scenarios: list[Scenario], seconds: float, limits: dict[str, float]
) -> list[dict[str, Any]]:
    header = f"{'':32}{'in flight':>10}{'':>22}{'p50 ms':>10}{'p95 ms':>10}{'server µs':>11}"
    print(header + "   limit of this run")
    rows = []
    for scenario in scenarios:
        async with Wire(server.target) as wire:
            row = await _run(server, wire, scenario, seconds)
        limit = ""
        if scenario.limit:
            bound = limits[scenario.limit] / scenario.limit_share
            limit = f"{bound:,.0f} {scenario.unit}  {scenario.limit.rpartition(',')[0]}"
        print(
            f"{scenario.name:32}{scenario.in_flight:>10,}{row['rate']:>12,.1f} {scenario.unit:9}"
            f"{row['p50_ms']:>10.2f}{row['p95_ms']:>10.2f}{row['server_cpu_us']:>11,.0f}   {limit}"
        )
        rows.append(row)
    return rows


async def _run(
    server: RunningServer, wire: Wire, scenario: Scenario, seconds: float
) -> dict[str, Any]:
    operation = await scenario.prepare(wire)
    cpu_before = server.cpu_seconds()
    if scenario.burst:
        measured = await measure_burst(operation, count=scenario.burst)
    else:
        measured = await measure(operation, in_flight=scenario.in_flight, seconds=seconds)
    cpu = server.cpu_seconds() - cpu_before
    return {
        "name": scenario.name,
        "in_flight": scenario.in_flight,
        "rate": measured.per_second * scenario.units,
        "unit": scenario.unit,
        "p50_ms": measured.quantile_ms(0.5),
        "p95_ms": measured.quantile_ms(0.95),
        "server_cpu_us": 1e6 * cpu / len(measured.latencies),
    }


def _closing_lines(report: dict[str, Any]) -> Iterator[str]:
    yield "\nlimits of this machine, one core"
    for name, figure in report["limits"].items():
        yield f"  {name:40}{figure:>12,.0f}"
    before, after = report["resident_mib"]["before"], report["resident_mib"]["after"]
    if growth := report["large_blob_growth_mib"]:
        yield "more memory while a blob of 2 GiB goes by, MiB: up {up:.0f}, down {down:.0f}".format(
            **growth
        )
    yield "resident memory, MiB: before and after"
    for name, mib in after.items():
        yield f"  {name:40}{before.get(name, 0):>12,.0f}{mib:>12,.0f}"


if __name__ == "__main__":
    main()

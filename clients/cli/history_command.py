"""`reapi-cli history`: finished actions, the latest first."""

from typing import TYPE_CHECKING, Any

import click

from .parameters import TimeType, json_option
from .report import print_columns, print_json, usage_json
from .session import with_client

if TYPE_CHECKING:
    from datetime import datetime

    from reapi.clients.client import Client
    from reapi.clients.model import HistoryEntry


@click.command(
    epilog="\b\nT is a time such as 2026-11-21T08:00:00Z, or how long ago: 90s, 30m, 2h, 7d."
    "\nExample:\n  reapi-cli history --failed --worker build-7 --since 2h"
)
@click.option("--instance", "instance_name", default="", help="Of this instance.")
@click.option("--target", default="", help="Of this target, as the client named it.")
@click.option("--worker", default="", help="Of which an attempt was on this worker.")
@click.option("--since", type=TimeType(), metavar="T", help="Finished then or later.")
@click.option("--failed", is_flag=True, help="Only those that failed, in whatever way.")
@click.option("--limit", default=100, type=click.IntRange(1, 1000), help="At most so many.")
@json_option
def history(as_json: bool, **conditions: Any) -> None:
    """List finished actions of all instances, the latest first.

    `reapi-cli explain` with an operation of the list says more about it.
    """
    from reapi.clients.model import HistoryQuery

    query = HistoryQuery(**conditions)

    async def work(client: "Client") -> "list[HistoryEntry]":
        return await client.list_history(query)

    found = with_client(work)
    if as_json:
        print_json([entry_json(entry) for entry in found])
        return
    rows = [("FINISHED", "ENDED", "SECONDS", "CPU", "MIB", "WORKER", "TARGET", "OPERATION")]
    rows += [
        (
            entry.finished.strftime("%Y-%m-%dT%H:%M:%SZ") if entry.finished else "-",
            _end(entry),
            "-" if entry.duration_seconds is None else f"{entry.duration_seconds:.3f}",
            *_used(entry),
            entry.attempts[-1].worker if entry.attempts else "-",
            f"{entry.target} {entry.mnemonic}".strip() or "-",
            entry.operation,
        )
        for entry in found
    ]
    print_columns(rows)


def _used(entry: "HistoryEntry") -> tuple[str, str]:
    """Seconds of processors and peak of memory."""
    usage = entry.usage
    if usage is None:
        return "-", "-"
    seconds = usage.user_seconds + usage.system_seconds
    return f"{seconds:.3f}", f"{usage.peak_memory_bytes / (1 << 20):.1f}"


def entry_json(entry: "HistoryEntry") -> dict[str, Any]:
    """An operation of the past, or one that goes on."""
    return {
        "operation": entry.operation,
        "instance_name": entry.instance_name,
        "action_digest": str(entry.action_digest),
        "tenant": entry.tenant,
        "invocation": entry.invocation,
        "target": entry.target,
        "mnemonic": entry.mnemonic,
        "queued": _time(entry.queued),
        "started": _time(entry.started),
        "finished": _time(entry.finished),
        "duration_seconds": entry.duration_seconds,
        "cached": entry.cached,
        "cache_state": entry.cache_state,
        "exit_code": entry.exit_code,
        "status_code": entry.status_code,
        "message": entry.message,
        "usage": usage_json(entry.usage),
        "attempts": [
            {
                "worker": attempt.worker,
                "epoch": attempt.epoch,
                "leased": _time(attempt.leased),
                "reason": attempt.reason,
                "end": attempt.end or None,
                "ended": _time(attempt.ended),
            }
            for attempt in entry.attempts
        ],
    }


def _end(entry: "HistoryEntry") -> str:
    from google.rpc import code_pb2

    if entry.cached:
        return "cached"
    if entry.status_code == code_pb2.OK:
        return f"exit {entry.exit_code}"
    is_known = entry.status_code in code_pb2.Code.values()
    return code_pb2.Code.Name(entry.status_code) if is_known else f"code {entry.status_code}"


def _time(time: "datetime | None") -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

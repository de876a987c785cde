"""`reapi-cli workers`: who works, and how to take workers out and back."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from .parameters import json_option
from .report import print_columns, print_json
from .session import with_client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reapi.clients.client import Client
    from reapi.clients.fleet import DrainProgress
    from reapi.clients.model import Worker

_pattern_argument = click.argument("pattern", metavar="NAME|PATTERN")
_MOST_SHOWN = 5


@click.group(
    invoke_without_command=True, epilog="\b\nExample:\n  reapi-cli workers drain 'rack-3-*' --wait"
)
@json_option
@click.pass_context
def workers(context: click.Context, /, as_json: bool) -> None:
    """List the workers that the scheduler knows, or say which shall work."""
    if context.invoked_subcommand is None:
        _list(as_json)


@workers.command("list", epilog="\b\nExample:\n  reapi-cli workers list --json")
@json_option
def list_command(as_json: bool) -> None:
    """List the workers that the scheduler knows."""
    _list(as_json)


@workers.command("drain", epilog="\b\nExample:\n  reapi-cli workers drain builder-7 --wait")
@_pattern_argument
@click.option("--wait", is_flag=True, help="Return when nothing runs there any more.")
def drain_command(pattern: str, wait: bool) -> None:
    """Give workers no more actions; what they run goes on.

    Later workers of such a name get none either, until `workers uncordon PATTERN`. Exit code 125
    if no worker matches now.
    """

    async def work(client: "Client") -> "list[str]":
        if not wait:
            return await client.fleet.cordon(pattern)
        found: list[str] = []
        async with aclosing(client.fleet.drain(pattern)) as words:
            async for progress in words:
                found = found or list(progress.workers)
                if found:
                    click.echo(_progress(progress), err=True)
        return found

    _print_matching(with_client(work), pattern)


@workers.command("uncordon", epilog="\b\nExample:\n  reapi-cli workers uncordon 'rack-3-*'")
@_pattern_argument
def uncordon_command(pattern: str) -> None:
    """Let drained workers have actions again.

    Exit code 125 if no worker matches now.
    """

    async def work(client: "Client") -> "list[str]":
        return await client.fleet.uncordon(pattern)

    _print_matching(with_client(work), pattern)


@workers.command("expect", epilog="\b\nExample:\n  reapi-cli workers expect 16")
@click.argument("number", type=click.IntRange(min=0), metavar="N")
def expect_command(number: int) -> None:
    """Say how many workers there shall be: for health, and for placement by modulo."""

    async def work(client: "Client") -> int:
        return await client.fleet.expect(number)

    former = with_client(work)
    click.echo(f"{number} workers expected, before {former}")


def _list(as_json: bool) -> None:
    async def work(client: "Client") -> "list[Worker]":
        return await client.list_workers()

    found = with_client(work)
    if as_json:
        print_json([_worker_json(worker) for worker in found])
        return
    rows = [("NAME", "STATE", "BUSY", "BOOKED", "PLATFORM")]
    for worker in found:
        busy = f"{len(worker.operations)}/{worker.slots}"
        platform = " ".join(f"{key}={value}" for key, value in worker.platform)
        rows.append((worker.name, _state(worker), busy, _booked(worker) or "-", platform or "-"))
    print_columns(rows)


def _print_matching(names: "list[str]", pattern: str) -> None:
    for name in names:
        click.echo(name)
    if not names:
        raise click.ClickException(
            f"no worker matches {pattern!r} now; the order holds for those that come"
        )


def _progress(progress: "DrainProgress") -> str:
    if not progress.running:
        return "nothing runs there"
    names = ", ".join(progress.busy_workers[:_MOST_SHOWN])
    more = len(progress.busy_workers) - _MOST_SHOWN
    others = f" and {more} more" if more > 0 else ""
    return f"{progress.running} still run on {names}{others}"


def _worker_json(worker: "Worker") -> "Mapping[str, Any]":
    return {
        "name": worker.name,
        "slots": worker.slots,
        "state": _state(worker),
        "platform": [{"name": key, "value": value} for key, value in worker.platform],
        "operations": list(worker.operations),
        "resources": dict(worker.resources),
        "booked": dict(worker.booked),
        "ordinal": worker.ordinal,
        "last_heard": worker.last_heard.isoformat() if worker.last_heard else None,
    }


def _booked(worker: "Worker") -> str:
    """What of its resources is booked, as `cpu 1.5/4`; those of which nothing is are left out."""
    return " ".join(
        f"{name} {_amount(name, worker.booked[name])}/{_amount(name, total)}"
        for name, total in worker.resources.items()
        if worker.booked.get(name)
    )


def _amount(name: str, amount: int) -> str:
    if name == "cpu":
        return f"{amount / 1000:g}"
    return f"{amount / (1 << 30):.3g}Gi" if name == "memory" else str(amount)


def _state(worker: "Worker") -> str:
    if not worker.is_connected:
        return "lost"
    if worker.is_draining:
        return "draining"
    return "cordoned" if worker.is_cordoned else "ready"

"""`reapi-cli action results` and `revoke`: where cached results are from, out with bad ones."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .parameters import TimeType, json_option
from .report import print_columns, print_json
from .session import with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.model import ResultQuery, StoredResult

F = TypeVar("F", bound=Callable[..., Any])

_CONDITIONS = (
    click.option("--instance", "instance_name", help="Of this instance."),
    click.option("--worker", help="Of actions that this worker ran."),
    click.option("--writer", help="Stored by this writer, as `results` shows it."),
    click.option("--since", type=TimeType(), metavar="T", help="Stored then or later."),
    click.option("--until", type=TimeType(), metavar="T", help="Stored then or earlier."),
)


def _conditions(command: F) -> F:
    for option in reversed(_CONDITIONS):
        command = option(command)
    return command


@click.command(
    epilog="\b\nT is a time such as 2026-11-21T08:00:00Z, or how long ago: 90s, 30m, 2h, 7d."
    "\nExample:\n  reapi-cli action results --worker build-7 --since 2h"
)
@_conditions
@json_option
def results(as_json: bool, **conditions: Any) -> None:
    """List cached results of all instances, with worker and writer.

    The worker ran the action. The writer is `scheduler` or a client's address and tool.
    """
    query = _query(conditions)

    async def work(client: "Client") -> "list[StoredResult]":
        return await client.list_results(query)

    _print(with_client(work), as_json)


@click.command(
    epilog="\b\nT is a time such as 2026-11-21T08:00:00Z, or how long ago: 90s, 30m, 2h, 7d."
    "\nExample:\n  reapi-cli action revoke --worker build-7 --since 2h --dry-run"
)
@_conditions
@click.option("--dry-run", is_flag=True, help="Only show what would be revoked.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def revoke(as_json: bool, dry_run: bool, yes: bool, **conditions: Any) -> None:
    """Take cached results out, at once for everybody; the actions run anew.

    At least one condition is needed, and all of them must hold. Asks first on a terminal.
    """
    if all(value is None for value in conditions.values()):
        raise click.UsageError("revoke needs a condition, such as --worker or --since")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise click.UsageError("revoke needs --yes where nobody can be asked; see --dry-run")
    query = _query(conditions)

    async def look(client: "Client") -> "list[StoredResult]":
        return await client.revoke_results(query, dry_run=True)

    async def work(client: "Client") -> "list[StoredResult]":
        return await client.revoke_results(query)

    if not (dry_run or yes):
        click.confirm(f"Revoke {_count(len(with_client(look)))}?", abort=True, err=True)
    found = with_client(look if dry_run else work)
    _print(found, as_json)
    click.echo(f"{_count(len(found))} {'would be ' if dry_run else ''}revoked", err=True)


def _query(conditions: dict[str, Any]) -> "ResultQuery":
    from reapi.clients.model import ResultQuery

    return ResultQuery(**conditions)


def _print(found: "Sequence[StoredResult]", as_json: bool) -> None:
    if as_json:
        print_json([_result_json(result) for result in found])
        return
    rows = [("ACTION", "INSTANCE", "STORED", "WORKER", "WRITER")]
    rows += [
        (
            str(result.action_digest),
            result.instance_name or "-",
            _time(result),
            result.worker or "-",
            result.writer or "-",
        )
        for result in found
    ]
    print_columns(rows)


def _result_json(result: "StoredResult") -> dict[str, Any]:
    return {
        "action_digest": str(result.action_digest),
        "instance_name": result.instance_name,
        "stored": _time(result),
        "worker": result.worker,
        "writer": result.writer,
    }


def _time(result: "StoredResult") -> str:
    return result.stored.strftime("%Y-%m-%dT%H:%M:%SZ")


def _count(number: int) -> str:
    return f"{number} result{'' if number == 1 else 's'}"

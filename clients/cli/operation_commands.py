"""`reapi-cli operations`: what runs, what ran, and how to stop it."""

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click

from .parameters import json_option
from .report import print_columns, print_json
from .session import with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.model import Operation


@click.group(epilog="\b\nExample:\n  reapi-cli operations list")
def operations() -> None:
    """List, show and cancel operations, and see what they print."""


@operations.command(
    "list", epilog="\b\nExample:\n  reapi-cli operations list 'stage=QUEUED AND tenant=main'"
)
@click.argument("wanted", metavar="[FILTER]", default="")
@json_option
def list_command(wanted: str, as_json: bool) -> None:
    """List the operations that the server knows: waiting, running and lately done.

    FILTER names those of interest by stage, done, worker, tenant, invocation and target.
    """

    async def work(client: "Client") -> "list[Operation]":
        return await client.list_operations(wanted)

    found = [_operation_json(operation) for operation in with_client(work)]
    if as_json:
        print_json(found)
        return
    rows = [("NAME", "STATE", "WORKER", "ACTION", "REASON")]
    rows += [
        (
            one["name"],
            _state(one),
            *(one[key] or "-" for key in ("worker", "action_digest", "reason")),
        )
        for one in found
    ]
    print_columns(rows)


@operations.command("show", epilog="\b\nExample:\n  reapi-cli operations show NAME --json")
@click.argument("name")
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Show one operation."""

    async def work(client: "Client") -> "Operation":
        return await client.get_operation(name)

    found = _operation_json(with_client(work))
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        if value not in (None, ""):
            click.echo(f"{key:<14} {value}")


@operations.command("cancel", epilog="\b\nExample:\n  reapi-cli operations cancel NAME")
@click.argument("name")
def cancel_command(name: str) -> None:
    """Cancel an operation; one that is done stays as it is."""

    async def work(client: "Client") -> None:
        await client.cancel_operation(name)

    with_client(work)


@operations.command("logs", epilog="\b\nExample:\n  reapi-cli operations logs -f NAME")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until the operation ends.")
@click.option("--stderr", "is_stderr", is_flag=True, help="Its stderr in place of its stdout.")
def logs_command(name: str, follow: bool, is_stderr: bool) -> None:
    """Print what the command of an operation has printed by now."""

    async def work(client: "Client") -> None:
        log = client.read_log(name, "stderr" if is_stderr else "stdout", follows=follow)
        async with aclosing(log) as chunks:
            async for chunk in chunks:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()

    with_client(work)


def _operation_json(operation: "Operation") -> dict[str, Any]:
    response = operation.response
    has_result = response is not None and response.HasField("result")
    return {
        "name": operation.name,
        "stage": operation.stage.name,
        "done": operation.is_done,
        "action_digest": str(operation.action_digest) if operation.action_digest else None,
        "worker": operation.worker,
        "position": operation.position or None,
        "expected_start": operation.expected_start and operation.expected_start.isoformat(),
        "attempts": operation.attempts or None,
        "reason": operation.reason,
        "invocation": operation.invocation,
        "target": operation.target,
        "cached": response.cached_result if response else None,
        "exit_code": response.result.exit_code if response and has_result else None,
        "error": _error_text(operation),
    }


def _error_text(operation: "Operation") -> str | None:
    """What went wrong with the operation itself, by code and message."""
    from google.rpc import code_pb2

    status = operation.response.status if operation.response else None
    if status is None or status.code == code_pb2.OK:
        return None
    return f"{code_pb2.Code.Name(status.code)}: {status.message}"


def _state(found: dict[str, Any]) -> str:
    if not found["done"]:
        stage = str(found["stage"]).lower()
        return f"{stage} #{found['position']}" if found["position"] else stage
    error: str | None = found["error"]
    return error.partition(":")[0] if error else f"exit {found['exit_code']}"

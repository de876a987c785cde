"""`reapi-cli workers|status`: the server and who works for it."""

from typing import TYPE_CHECKING

import click

from .parameters import json_option
from .report import print_columns, print_json
from .session import with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.model import ServerStatus, Worker


@click.command(epilog="\b\nExample:\n  reapi-cli workers --json")
@json_option
def workers(as_json: bool) -> None:
    """List the workers that the scheduler knows."""

    async def work(client: "Client") -> "list[Worker]":
        return await client.list_workers()

    found = with_client(work)
    if as_json:
        print_json(
            [
                {
                    "name": worker.name,
                    "slots": worker.slots,
                    "state": _state(worker),
                    "platform": [{"name": key, "value": value} for key, value in worker.platform],
                    "operations": list(worker.operations),
                }
                for worker in found
            ]
        )
        return
    rows = [("NAME", "STATE", "BUSY", "PLATFORM")]
    for worker in found:
        busy = f"{len(worker.operations)}/{worker.slots}"
        platform = " ".join(f"{key}={value}" for key, value in worker.platform)
        rows.append((worker.name, _state(worker), busy, platform or "-"))
    print_columns(rows)


def _state(worker: "Worker") -> str:
    if not worker.is_connected:
        return "lost"
    return "draining" if worker.is_draining else "ready"


@click.command(epilog="\b\nExample:\n  reapi-cli --server grpc://host:8980 status")
@json_option
def status(as_json: bool) -> None:
    """Say whether the server answers, and what it can do."""

    async def work(client: "Client") -> "ServerStatus":
        return await client.get_status()

    found = with_client(work)
    facts = {
        "server": found.server,
        "instance": found.instance_name,
        "api_versions": f"{found.low_api_version} to {found.high_api_version}",
        "digest_functions": list(found.digest_functions),
        "max_batch_total_size_bytes": found.max_batch_total_size_bytes,
        "can_update_action_cache": found.can_update_action_cache,
        "can_execute": found.can_execute,
        "latency_ms": round(found.latency_seconds * 1000, 2),
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{name:<27} {text}".rstrip())

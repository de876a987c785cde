"""`reapi-cli status`: the server, and the queues of its scheduler."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .parameters import json_option
from .report import print_columns, print_json
from .session import with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.fleet import ClusterStatus
    from reapi.clients.model import ServerStatus

_SCHEDULER_SECONDS = 5.0


@click.command(epilog="\b\nExample:\n  reapi-cli --server grpc://host:8980 status")
@json_option
def status(as_json: bool) -> None:
    """Say whether the server answers, and what it can do."""

    async def work(client: "Client") -> "tuple[ServerStatus, ClusterStatus | str]":
        return await client.get_status(), await _cluster(client)

    found, cluster = with_client(work)
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
        shown = {"error": cluster} if isinstance(cluster, str) else asdict(cluster)
        print_json(facts | {"scheduler": shown})
        return
    for name, value in facts.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{name:<27} {text}".rstrip())
    _print_cluster(cluster)


async def _cluster(client: "Client") -> "ClusterStatus | str":
    """The scheduler's view, or why there is none: storage alone is a server, too."""
    from reapi.core.errors import ReapiError, Unimplemented

    try:
        return await client.fleet.status(timeout=_SCHEDULER_SECONDS)
    except Unimplemented:
        return "none here, or one that does not tell"
    except ReapiError as error:
        return error.message


def _print_cluster(cluster: "ClusterStatus | str") -> None:
    if isinstance(cluster, str):
        click.echo(f"{'scheduler':<27} {cluster}")
        return
    click.echo(f"{'scheduler':<27} {cluster.queued} queued, {cluster.executing} executing")
    if cluster.expected_workers:
        click.echo(f"{'expected_workers':<27} {cluster.expected_workers}")
    if cluster.absent_workers:
        click.echo(f"{'absent_workers':<27} {', '.join(cluster.absent_workers)}")
    if not cluster.queues:
        return
    rows = [("QUEUED", "EXECUTING", "WORKERS", "FREE SLOTS", "OLDEST", "PLATFORM", "REASON")]
    for queue in cluster.queues:
        rows.append(
            (
                str(queue.queued),
                str(queue.executing),
                str(queue.workers),
                f"{queue.free_slots}/{queue.slots}",
                f"{queue.oldest_wait_seconds:.0f}s" if queue.queued else "-",
                " ".join(f"{key}={value}" for key, value in queue.platform) or "-",
                queue.reason or "-",
            )
        )
    click.echo()
    print_columns(rows)

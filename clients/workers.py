"""The workers that a scheduler knows."""

from datetime import UTC

from reapi.protos.reapi.worker.v1.worker_pb2 import ListWorkersRequest

from .channel import CALL_SECONDS, Channel
from .methods import LIST_WORKERS
from .model import Worker


async def list_workers(channel: Channel, *, timeout: float | None = CALL_SECONDS) -> list[Worker]:
    """All workers, by name. Unimplemented on servers that do not have our worker protocol."""
    reply = await channel.unary(LIST_WORKERS, ListWorkersRequest(), timeout=timeout)
    return [
        Worker(
            name=worker.worker_id,
            slots=worker.slots,
            platform=[(item.name, item.value) for item in worker.platform.properties],
            is_connected=worker.connected,
            is_draining=worker.draining,
            operations=list(worker.operations),
            is_cordoned=worker.cordoned,
            resources={one.name: one.amount for one in worker.resources},
            booked={one.name: one.amount for one in worker.booked},
            ordinal=worker.ordinal if worker.HasField("ordinal") else None,
            last_heard=(
                worker.last_heard.ToDatetime(UTC) if worker.HasField("last_heard") else None
            ),
        )
        for worker in reply.workers
    ]

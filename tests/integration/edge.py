"""Edge frontends in this process, in front of systems of this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reapi.clients.channel import Channel
from tests.integration.system import System, open_system


@asynccontextmanager
async def open_edge_of(folder: Path, *servers: System, **upstream: Any) -> AsyncIterator[System]:
    """An edge frontend of these servers, with a client that does not try again what fails.

    `upstream` are further settings of that section.
    """
    opened = open_system(
        folder,
        server={
            "listen": "127.0.0.1:0",
            "roles": ("frontend",),
            "instance_names": ("", "main", "buck2"),
        },
        upstream={"servers": [{"endpoint": server.address} for server in servers], **upstream},
    )
    async with opened as edge, Channel(edge.address, patience_seconds=0) as channel:
        yield replace(edge, channel=channel)

"""The Python API of the remote execution service.

    async with Client("grpc://localhost:8980") as client:
        result = await client.run(["make"], inputs=["src", "Makefile"], outputs=["out"])

`SyncClient` is the same without async. Errors are those of `reapi.core.errors`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reapi.core.digest import Digest
    from reapi.core.errors import ReapiError

    from .client import Client
    from .fleet import ClusterStatus, DrainProgress, Fleet, QueueStatus
    from .image import ImportedImage
    from .model import (
        ActionDetails,
        Activity,
        Attempt,
        CommandSpec,
        CommandTimedOut,
        Difference,
        Entry,
        EntryKind,
        Explanation,
        HistoryEntry,
        HistoryQuery,
        Operation,
        Output,
        Progress,
        ResultQuery,
        RunProgress,
        RunResult,
        ServerStatus,
        Stage,
        StoredResult,
        Timings,
        Transfer,
        Usage,
        Worker,
    )
    from .sync_client import SyncClient
    from .tls import ClientTls

__all__ = [
    "ActionDetails",
    "Activity",
    "Attempt",
    "Client",
    "ClientTls",
    "ClusterStatus",
    "CommandSpec",
    "CommandTimedOut",
    "Difference",
    "Digest",
    "DrainProgress",
    "Entry",
    "EntryKind",
    "Explanation",
    "Fleet",
    "HistoryEntry",
    "HistoryQuery",
    "ImportedImage",
    "Operation",
    "Output",
    "Progress",
    "QueueStatus",
    "ReapiError",
    "ResultQuery",
    "RunProgress",
    "RunResult",
    "ServerStatus",
    "Stage",
    "StoredResult",
    "SyncClient",
    "Timings",
    "Transfer",
    "Usage",
    "Worker",
]

_MODULES = {
    "Client": "reapi.clients.client",
    "ClientTls": "reapi.clients.tls",
    "SyncClient": "reapi.clients.sync_client",
    "ClusterStatus": "reapi.clients.fleet",
    "DrainProgress": "reapi.clients.fleet",
    "Fleet": "reapi.clients.fleet",
    "QueueStatus": "reapi.clients.fleet",
    "ImportedImage": "reapi.clients.image",
    "Digest": "reapi.core.digest",
    "ReapiError": "reapi.core.errors",
}


def __getattr__(name: str) -> Any:
    """Imports on first use: gRPC costs 0.1 s, which `reapi-cli --help` need not pay."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES.get(name, "reapi.clients.model")), name)

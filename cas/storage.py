"""An open storage: what the services use, and what looks after it."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reapi.core.interfaces import BlobStore

from .action_cache import IndexedActionCache
from .blob_store import IndexedBlobStore
from .chunk_records import ChunkRecords
from .eviction import Evictor
from .hash_filter import AbsenceFilter
from .invocations import Invocations
from .objects.interface import ObjectStore
from .presence import Presence
from .quarantine import Quarantine
from .state.interface import BlobIndex, ResultTable
from .upload import Uploads
from .write_health import WriteHealth

if TYPE_CHECKING:
    from reapi.core.postgresql.pool import PostgresqlPool
    from reapi.core.postgresql.term import Term


@dataclass(frozen=True, slots=True)
class Storage:
    """What an open storage offers."""

    parts: "Parts"
    blobs: IndexedBlobStore
    reads: BlobStore
    """The same blobs, large ones through the cache on the local disk, if there is one."""
    action_cache: IndexedActionCache
    action_cache_in: "Callable[[Term], AbstractAsyncContextManager[IndexedActionCache]]"
    """The same results for one who may write them only in a term of office, if there are terms:
    afterwards `put` raises Aborted."""
    uploads: Uploads
    chunk_records: ChunkRecords
    invocations: Invocations
    health: WriteHealth
    presence: Presence
    filter: AbsenceFilter
    postgresql: "PostgresqlPool | None"
    """The database of the state, if it is not in the data directory."""
    recovery: asyncio.Task[None] | None
    """What is left to do after a start; everything is served meanwhile."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What it is made of, for those who look after it."""

    index: BlobIndex
    objects: ObjectStore
    results: ResultTable
    presence: Presence
    quarantine: Quarantine
    evictor: Evictor

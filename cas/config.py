"""The settings of the storage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .objects.s3_config import S3Config


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where blobs and action results live, and for how long."""

    data_dir: Path
    """The databases and the directories blobs/, incoming/ and quarantine/."""

    dsn_file: Path | None = None
    """Holds the connection string of PostgreSQL, which then has the state instead of databases in
    `data_dir`: any number of servers may share it."""

    s3: S3Config | None = None
    """The bucket that has the objects, which else are files in `data_dir`."""

    processes: int = 1
    """So many processes of one server use it at a time."""

    max_size_bytes: int = 32 << 30
    """Of all blobs and action results together, as their own bytes count; eviction keeps below."""

    quotas: Mapping[str, int] = field(default_factory=dict)
    """Of the blobs that an instance has stored first, in bytes, by its name. A blob that another
    instance stores as well counts for the first one, until it is evicted."""

    high_watermark: float = 0.95
    low_watermark: float = 0.9
    """Shares of `max_size_bytes`: above the one, eviction begins in the background, and ends at the
    other."""

    retention_seconds: int = 24 * 3600
    """How long a blob stays readable after it was reported present or named in a result."""

    pin_idle_seconds: int = 3600
    pin_max_seconds: int = 7 * 24 * 3600
    pin_max_share: float = 0.5
    """Blobs that an invocation uses stay while it calls at least every `pin_idle_seconds`, for
    `pin_max_seconds` at most. Of `max_size_bytes` so much may be kept beyond its retention."""

    result_ttl_seconds: int | None = None
    """An action result that was stored longer ago is a miss; None for no bound."""

    results_since: Mapping[str, int] = field(default_factory=dict)
    """By instance name: results stored before, in seconds since 1970, are misses."""

    inline_max_bytes: int = 16 << 10
    """Blobs up to this size live in the database, larger ones in files."""

    survives_power_loss: bool = False
    """Whether what is acknowledged is synced to the disk before."""

    compresses: bool = False
    """Whether large blobs are compressed at rest, where that saves."""

    cache_max_size_bytes: int = 0
    """Of a cache in `data_dir`/cache in front of objects that lie elsewhere; 0 for none."""

    is_cache: bool = False
    """Whether this is such a cache: what comes into it is about to be read."""

    free_disk_share: float = 0.0
    """Of the disk of `data_dir`, which files leave free if it is more than what they always do."""

    memory_bytes: int = 64 << 20
    """Of small blobs that are kept in memory."""

    upload_deadline_seconds: int = 3600
    """How long a partial upload waits for a stream that continues it."""

    upload_idle_seconds: float = 600
    """After how long without a message the stream of an upload is ended."""

"""The settings of the embedded storage."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """Where blobs and action results live, and for how long."""

    data_dir: Path
    """The databases and the directories blobs/, incoming/ and quarantine/. One process at a time
    uses it."""

    max_size_bytes: int = 32 << 30
    """Of all blobs and action results together, as their own bytes count; eviction keeps below."""

    retention_seconds: int = 24 * 3600
    """How long a blob stays readable after it was reported present or named in a result."""

    inline_max_bytes: int = 16 << 10
    """Blobs up to this size live in the database, larger ones in files."""

    memory_bytes: int = 64 << 20
    """Of small blobs that are kept in memory."""

    upload_deadline_seconds: int = 3600
    """After how long without a byte a partial upload is given up."""

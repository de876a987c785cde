"""What storage counts."""

from prometheus_client import CollectorRegistry, Counter


class StorageMetrics:
    """Counters of the rare events that somebody should look at. Register once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.quarantined_blobs = Counter(
            "reapi_storage_quarantined_blobs",
            "Blobs whose stored bytes turned out to be damaged or gone.",
            registry=registry,
        )
        self.evicted_bytes = Counter(
            "reapi_storage_evicted_bytes",
            "Bytes of blobs that were evicted to make room.",
            registry=registry,
        )
        self.refused_writes = Counter(
            "reapi_storage_refused_writes",
            "Writes refused because the store is full of promised blobs.",
            registry=registry,
        )
        self.unpinned_invocations = Counter(
            "reapi_storage_unpinned_invocations",
            "Live invocations whose blobs may be evicted after their retention: too many of them.",
            registry=registry,
        )

"""What combinators of stores count."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class TierMetrics:
    """Of stores with a fast and a slow tier; all of a process share it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        hits = Counter(
            "reapi_tier_hits",
            "Blobs that were read, by the tier that had them.",
            ("tier",),
            registry=registry,
        )
        self.fast_hits = hits.labels("fast")
        self.slow_hits = hits.labels("slow")
        self.fills = Counter(
            "reapi_tier_fills",
            "Blobs that were copied into the fast tier while they were read or written.",
            registry=registry,
        )
        self.fill_failures = Counter(
            "reapi_tier_fill_failures",
            "Blobs that the fast tier refused or was too slow for.",
            registry=registry,
        )
        self.fast_read_failures = Counter(
            "reapi_tier_fast_read_failures",
            "Reads that the fast tier failed, other than by not having the blob.",
            registry=registry,
        )
        self.owed_bytes = Gauge(
            "reapi_tier_owed_bytes",
            "Bytes that were acknowledged and are in the fast tier only.",
            registry=registry,
        )
        self.copy_failures = Counter(
            "reapi_tier_copy_failures",
            "Attempts to copy an owed blob to the slow tier that failed and are repeated.",
            registry=registry,
        )
        self.lost_blobs = Counter(
            "reapi_tier_lost_blobs",
            "Acknowledged blobs that the fast tier lost before the slow tier had them.",
            registry=registry,
        )


class MirrorMetrics:
    """Of mirrored stores; all of a process share it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.repairs = Counter(
            "reapi_mirror_repairs",
            "Blobs that were copied from one mirror to the other, which lacked them.",
            registry=registry,
        )
        self.repair_failures = Counter(
            "reapi_mirror_repair_failures",
            "Blobs that one mirror lacks and that could not be copied from the other.",
            registry=registry,
        )

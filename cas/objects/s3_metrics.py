"""What is counted of a bucket."""

from prometheus_client import CollectorRegistry, Counter


class S3Metrics:
    """Counters of events that should be rare. Register once per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.failed_requests = Counter(
            "reapi_s3_failed_requests",
            "Requests to the bucket that failed for good, after retries.",
            registry=registry,
        )
        self.resumed_reads = Counter(
            "reapi_s3_resumed_reads",
            "Reads that went on with another request after the first broke off.",
            registry=registry,
        )
        self.aborted_uploads = Counter(
            "reapi_s3_aborted_uploads",
            "Multipart uploads of killed processes that were aborted.",
            registry=registry,
        )
        self.failed_sweeps = Counter(
            "reapi_s3_failed_sweeps",
            "Searches for abandoned multipart uploads that failed.",
            registry=registry,
        )

"""The scheduler's settings, as plain values with their defaults; server/ fills them from TOML."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SchedulerConfig:
    """Durations are in seconds; all numbers are positive."""

    # How often a worker says that it is alive.
    heartbeat_seconds: float = 5.0
    # A worker that is silent this long is lost, and one whose stream broke after half of it.
    worker_timeout_seconds: float = 20.0
    # How long an action that nobody watches goes on; clients come back within a minute (Q-SISO2).
    unwatched_seconds: float = 120.0
    # How long queued actions wait after the last worker that could run them has gone.
    unmatched_seconds: float = 60.0
    # How many workers one action may lose before it is given up.
    max_attempts: int = 3
    # Actions that wait for a worker; more are refused with RESOURCE_EXHAUSTED.
    max_queued: int = 100_000
    # The time that a command may take: when its Action names none, and at most (EX17).
    default_timeout_seconds: float = 3600.0
    max_timeout_seconds: float = 86400.0
    # Finished operations are found by name for this long, and at most so many of them.
    finished_retention_seconds: float = 3600.0
    max_finished: int = 20_000
    # A quiet Execute stream repeats its state this often: no proxy must take it for dead (EX16).
    update_interval_seconds: float = 20.0
    # So much of the input tree travels with a lease; the worker fetches the rest itself.
    lease_max_blob_bytes: int = 512 << 10
    lease_max_directories: int = 1000
    # The journal is folded into a snapshot after at least so many events.
    snapshot_interval_events: int = 20_000

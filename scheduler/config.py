"""The scheduler's settings, as plain values with their defaults; server/ fills them from TOML."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .model import Resources
from .platform_rewriting import PlatformRewriting
from .policy import RENDEZVOUS, PoolRow, TenantRow


@dataclass(frozen=True)
class SchedulerConfig:
    """Durations are in seconds; all numbers are positive."""

    # Of several schedulers that share the work: stands in the names of its operations.
    shard_name: str = ""
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
    # Actions that wait for a worker; more are refused with RESOURCE_EXHAUSTED. 0 is no cap.
    max_queued: int = 100_000
    # How workers are chosen: "rendezvous", or "modulo" of a fixed number of numbered workers.
    placement: str = RENDEZVOUS
    expected_workers: int = 0
    # No worker gets more than this share of the average load while others have room.
    load_percent: int = 125
    # How long an action waits for its preferred worker while others have room; 0: not at all.
    preferred_wait_seconds: float = 0.05
    # Waiting so long counts as much as one more priority.
    ageing_seconds: float = 1.0
    # An action that fits nowhere for so long gets a worker kept free for it; 0: never.
    starvation_seconds: float = 60.0
    # A second worker starts on an action that takes this share of its expected time; 0: never.
    hedge_percent: int = 0
    # (name, weight, max_running, max_queued) of tenants; 0 is no cap, "" is for all others.
    tenants: tuple[TenantRow, ...] = ()
    # Of each invocation; 0 is no cap.
    max_running_per_invocation: int = 0
    max_queued_per_invocation: int = 0
    # What the workers of pools offer that may have none now: actions for them wait.
    pools: tuple[PoolRow, ...] = ()
    # Tokens that all workers share, such as floating licences.
    fleet_resources: Resources = ()
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
    # Finished actions are remembered for this long, and at most so many of them.
    history_days: float = 7.0
    history_max_rows: int = 1_000_000
    # The journal is folded into a snapshot after at least so many events.
    snapshot_interval_events: int = 20_000
    # What is done to the platform properties of actions, by instance name.
    platform_rewritings: Mapping[str, PlatformRewriting] = field(default_factory=dict)

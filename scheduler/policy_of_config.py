"""The core's policy as the settings have it."""

from .config import SchedulerConfig
from .policy import Policy


def policy_of(config: SchedulerConfig, former: Policy) -> Policy:
    """`former` is the policy of the journal: what the settings leave open stays as it was."""
    return Policy(
        reconnect_grace=microseconds(config.worker_timeout_seconds / 2),
        unwatched_grace=microseconds(config.unwatched_seconds),
        unmatched_grace=microseconds(config.unmatched_seconds),
        max_attempts=config.max_attempts,
        placement=config.placement,
        expected_workers=config.expected_workers or former.expected_workers,
        load_percent=config.load_percent,
        preferred_wait=microseconds(config.preferred_wait_seconds),
        ageing=microseconds(config.ageing_seconds),
        starvation=microseconds(config.starvation_seconds),
        hedge_percent=config.hedge_percent,
        tenants=config.tenants,
        max_running_per_invocation=config.max_running_per_invocation,
        max_queued_per_invocation=config.max_queued_per_invocation,
        max_queued=config.max_queued,
        pools=config.pools,
        fleet_resources=config.fleet_resources,
    )


def microseconds(seconds: float) -> int:
    """Whole ones; what is more than nothing is not rounded to it."""
    return max(round(seconds * 1_000_000), 1 if seconds else 0)

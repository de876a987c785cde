"""The settings as the scheduler takes them: plain values."""

from reapi.scheduler.config import SchedulerConfig

from .config import ServerConfig
from .scheduler_section import amounts_of


def scheduler_config(config: ServerConfig) -> SchedulerConfig:
    section = config.scheduler
    return SchedulerConfig(
        heartbeat_seconds=section.heartbeat_seconds,
        worker_timeout_seconds=section.worker_timeout_seconds,
        max_attempts=section.max_attempts,
        unwatched_seconds=section.unwatched_seconds,
        default_timeout_seconds=section.default_timeout_seconds,
        max_timeout_seconds=section.max_timeout_seconds,
        shard_name=section.shard_name,
        history_days=section.history_days,
        history_max_rows=section.history_max_rows,
        placement=section.placement,
        expected_workers=section.expected_workers,
        load_percent=section.load_percent,
        preferred_wait_seconds=section.preferred_wait_seconds,
        ageing_seconds=section.ageing_seconds,
        starvation_seconds=section.starvation_seconds,
        hedge_percent=section.hedge_percent,
        max_queued=section.max_queued,
        max_running_per_invocation=section.max_running_per_invocation,
        max_queued_per_invocation=section.max_queued_per_invocation,
        tenants=tuple(
            (name, tenant.weight, tenant.max_running, tenant.max_queued)
            for name, tenant in sorted(section.tenants.items())
        ),
        pools=tuple(
            (tuple(sorted(pool.platform.items())), amounts_of(pool.resources))
            for pool in section.pools
        ),
        fleet_resources=amounts_of(section.fleet_resources),
        platform_rewritings={
            name: instance.platform.rewriting() for name, instance in config.instances.items()
        },
    )

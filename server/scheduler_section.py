"""The settings below [scheduler], and what [instances.NAME.platform] does to actions."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from reapi.core.errors import InvalidArgument
from reapi.scheduler.model import Resources
from reapi.scheduler.operation_name import SHARD_NAME
from reapi.scheduler.platform_rewriting import PlatformRewriting
from reapi.scheduler.policy import MODULO
from reapi.scheduler.resource_properties import PREFIX, parse_amount, resources_of

from .section import Amount, NotNegative, NotNegativeSeconds, Positive, PositiveSeconds, Section

ShardName = Annotated[str, Field(pattern=rf"^({SHARD_NAME.pattern})?$")]

_LARGEST_FLEET = 1_000_000


class TenantSection(Section):
    """[scheduler.tenants.NAME]: NAME is an instance name, or "" for all that have no table"""

    # Its share of the fleet, beside the weights of others that want some too.
    weight: Annotated[int, Field(gt=0, le=1_000_000)] = 1
    # Actions that run, and wait, at most; 0 is no limit.
    max_running: NotNegative = 0
    max_queued: NotNegative = 0


class PoolSection(Section):
    """[[scheduler.pools]]: workers that may come, for which actions wait meanwhile"""

    # What each of its workers offers.
    platform: dict[str, str] = Field(default_factory=dict)
    resources: dict[str, Amount] = Field(default_factory=dict)

    @field_validator("resources")
    @classmethod
    def _check(cls, resources: dict[str, str]) -> dict[str, str]:
        amounts_of(resources)
        return resources


class ShardSection(Section):
    """[[scheduler.shards]]: one of several schedulers, for a frontend that has none, in place of
    scheduler.endpoint. Each action goes to the first one that takes it."""

    # Its own scheduler.shard_name.
    name: Annotated[ShardName, Field(min_length=1)]
    # As scheduler.endpoint.
    endpoint: str
    # It takes actions of these instances; unset: of all.
    instance_names: tuple[str, ...] | None = None
    # It takes actions that ask for all of these properties, and maybe for more.
    platform: dict[str, str] = Field(default_factory=dict)


class SchedulerSection(Section):
    """[scheduler]"""

    # HOST:PORT of the scheduler, for a server that has none: an executor alone joins it (at
    # 127.0.0.1:8980 if this is unset), a frontend alone passes Execution on to it. Where others
    # stand by: all of them, separated by commas, or a name that has all of their addresses.
    endpoint: str | None = None
    # Of several schedulers that share the work: the name of this one, as of a host. Each has a
    # journal of its own.
    shard_name: ShardName = ""
    shards: tuple[ShardSection, ...] = ()
    # How often a worker says that it is alive.
    heartbeat_seconds: PositiveSeconds = 5
    # A worker that is silent, or away, this long is lost: its actions go to others.
    worker_timeout_seconds: PositiveSeconds = 20
    # How often an action is tried before it fails when its workers die.
    max_attempts: Positive = 3
    # A folder for the events of the last hours or days, which `reapi-cli scheduler replay` reads;
    # nothing is recorded if it is unset.
    record_dir: Path | None = None
    # The oldest go beyond this size.
    record_max_size_bytes: Positive = 1 << 30
    # How long an action runs on that nobody waits for any more.
    unwatched_seconds: PositiveSeconds = 120
    # The timeout of actions that name none, and the longest that one may name.
    default_timeout_seconds: Positive = 3600
    max_timeout_seconds: Positive = 24 * 3600
    # Finished actions are remembered so long, for `explain` and `history`, and at most so many.
    history_days: Annotated[float, Field(gt=0, le=36500)] = 7
    history_max_rows: Positive = 1_000_000
    # "rendezvous": the same action goes to the same worker while that has room. "modulo": to the
    # worker whose ordinal is the action's hash modulo expected_workers, and to no other.
    placement: Literal["rendezvous", "modulo"] = "rendezvous"
    # How many workers there shall be. 0: what `reapi-cli workers expect` said last, if anything.
    expected_workers: Annotated[int, Field(ge=0, le=_LARGEST_FLEET)] = 0
    # No worker takes more than this share of the average load while others have room.
    load_percent: Annotated[int, Field(ge=100, le=10_000)] = 125
    # How long an action waits for its preferred worker while others have room.
    preferred_wait_seconds: NotNegativeSeconds = 0.05
    # Waiting so long counts as much as one more priority.
    ageing_seconds: PositiveSeconds = 1
    # An action that has waited so long without fitting anywhere gets a worker kept free; 0: never.
    starvation_seconds: NotNegativeSeconds = 60
    # A second worker starts on an action that takes this share of the expected time; 0: never.
    hedge_percent: Annotated[int, Field(ge=0, le=100_000)] = 0
    # Actions that wait for a worker; more are refused for the time being.
    max_queued: Positive = 100_000
    # Of each invocation (a build), actions that run, and wait; 0 is no limit.
    max_running_per_invocation: NotNegative = 0
    max_queued_per_invocation: NotNegative = 0
    tenants: dict[str, TenantSection] = Field(default_factory=dict)
    pools: tuple[PoolSection, ...] = ()
    # Tokens that all workers share, such as floating licences: an action books one with the
    # platform property `resource.NAME`.
    fleet_resources: dict[str, Amount] = Field(default_factory=dict)

    @field_validator("shards")
    @classmethod
    def _check_shards(cls, shards: tuple[ShardSection, ...]) -> tuple[ShardSection, ...]:
        """Names of operations must lead to one of them."""
        if len({shard.name for shard in shards}) < len(shards):
            raise ValueError("two of them have the same name")
        return shards

    @field_validator("fleet_resources")
    @classmethod
    def _check_fleet_resources(cls, resources: dict[str, str]) -> dict[str, str]:
        amounts_of(resources)
        for name in ("cpu", "memory", "gpu"):
            if name in resources:
                raise ValueError(f"{name} is a worker's: set it in executor.resources or in a pool")
        return resources

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.placement == MODULO and not self.expected_workers:
            raise ValueError(
                'placement = "modulo" needs expected_workers: set it to the number of workers'
            )
        if 0 < self.hedge_percent <= 100:
            raise ValueError(
                f"hedge_percent of {self.hedge_percent} would run every action twice: "
                "set it above 100, as 300 for three times the expected time, or to 0 for never"
            )
        return self


class PlatformSection(Section):
    """[instances.NAME.platform]: what is done to the properties of actions before they count"""

    # In this order: names that are dropped, names that become others, ...
    remove: tuple[str, ...] = ()
    rename: dict[str, str] = Field(default_factory=dict)
    # ... values in place of what actions say, and values where actions say nothing.
    set: dict[str, str] = Field(default_factory=dict)
    add: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [*self.remove, *self.rename, *self.rename.values(), *self.set, *self.add]
        if not all(names):
            raise ValueError("a name is empty: properties have names")
        for name in sorted({*self.set} & {*self.add}):
            raise ValueError(f"{name} is in both set and add: leave it in set, which overrides")
        for name in sorted({*self.remove} & {*self.rename}):
            raise ValueError(f"{name} is in both remove and rename: leave it in one of them")
        for values in (self.set, self.add):
            amounts_of(
                {
                    name.removeprefix(PREFIX): value
                    for name, value in values.items()
                    if name.startswith(PREFIX)
                }
            )
        return self

    def rewriting(self) -> PlatformRewriting:
        """The same for the component."""
        return PlatformRewriting(
            remove=frozenset(self.remove), rename=self.rename, set=self.set, add=self.add
        )


def amounts_of(resources: dict[str, str]) -> Resources:
    """The amounts of a table; raises ValueError, which pydantic tells under the table's key."""
    try:
        return resources_of({name: parse_amount(name, text) for name, text in resources.items()})
    except InvalidArgument as error:
        raise ValueError(error.message.removeprefix(PREFIX)) from error

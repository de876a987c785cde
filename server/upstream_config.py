"""[upstream]: the servers behind an edge frontend, and what goes together with them."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from reapi.clients.address import parse_address
from reapi.core.errors import InvalidArgument

from .section import Section

if TYPE_CHECKING:
    from .config import ServerConfig


class UpstreamServer(Section):
    """[[upstream.servers]]"""

    # HOST:PORT, or grpcs://HOST:PORT where TLS is spoken.
    endpoint: str
    # With combine = "shard", twice the weight gets twice the blobs.
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1
    # What decides which blobs a shard gets: keep it when the endpoint changes; empty for that.
    name: str = ""

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str) -> str:
        try:
            return str(parse_address(endpoint))
        except InvalidArgument as error:
            raise ValueError(error.message) from error

    @property
    def shard_name(self) -> str:
        """The name, which the endpoint is where there is none."""
        return self.name or self.endpoint


class UpstreamSection(Section):
    """[upstream]: this server is an edge frontend, with a cache in front of other servers."""

    servers: Annotated[tuple[UpstreamServer, ...], Field(min_length=1)]
    # How several servers hold blobs and results. "shard": each has its part. "mirror": two have
    # everything, and what one lacks is copied from the other.
    combine: Literal["shard", "mirror"] | None = None
    # Above 0, writes are acknowledged when the local disk has them, as long as the servers are owed
    # no more than so many bytes; 0: when the servers have them.
    write_back_max_bytes: Annotated[int, Field(ge=0)] = 0
    # The instance under which the servers are asked for blobs; the first of server.instance_names
    # unless set. Results and actions go under the name that the caller gives.
    instance_name: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.servers) > 1 and self.combine is None:
            raise ValueError('several servers need combine = "shard" or combine = "mirror"')
        if len(self.servers) == 1 and self.combine is not None:
            raise ValueError("combine is for several servers: leave it out")
        if self.combine == "mirror" and len(self.servers) != 2:
            raise ValueError(f'combine = "mirror" takes two servers, not {len(self.servers)}')
        if self.combine != "shard" and any(server.weight != 1 for server in self.servers):
            raise ValueError('weight is for combine = "shard": leave it out')
        for texts in (
            [server.endpoint for server in self.servers],
            [server.shard_name for server in self.servers],
        ):
            if len(set(texts)) < len(texts):
                raise ValueError(f"servers must differ, but there are {', '.join(texts)}")
        return self

    @property
    def runs_actions(self) -> bool:
        """Whether a single server has all that an action needs."""
        return self.combine != "shard"


def check_edge(config: "ServerConfig", upstream: UpstreamSection) -> None:
    """Raises ValueError for settings that an edge frontend cannot have, or would not heed."""
    if set(config.server.roles) != {"frontend"}:
        raise ValueError(
            "an edge frontend has no other role, since actions are scheduled and run upstream: "
            'set server.roles = ["frontend"], or pass --role frontend'
        )
    unheeded = {
        "storage.state.kind": config.storage.state.kind != "sqlite",
        "storage.blobs.kind": config.storage.blobs.kind != "disk",
        "scheduler.endpoint": config.scheduler.endpoint is not None,
        "results.ttl_seconds": config.results.ttl_seconds is not None,
    }
    for name, section in config.instances.items():
        unheeded[f"instances.{name!r}.max_size_bytes"] = section.max_size_bytes is not None
        unheeded[f"instances.{name!r}.results_since"] = section.results_since is not None
    keys = [key for key, is_set in unheeded.items() if is_set]
    if keys:
        raise ValueError(f"{', '.join(keys)}: leave out what is the upstream's to decide")
    if upstream.write_back_max_bytes and config.server.processes > 1:
        raise ValueError(
            "write_back_max_bytes needs server.processes = 1: other processes would not know "
            "what is owed"
        )
    if upstream.write_back_max_bytes > config.storage.max_size_bytes // 2:
        raise ValueError(
            "write_back_max_bytes is above half of storage.max_size_bytes, which is all that "
            "there is for the cache"
        )

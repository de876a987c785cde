"""The server's settings: one TOML file, overlaid by REAPI_<SECTION>__<KEY>, checked before use.

The comments on the fields are the manual. Components get plain values, never these objects.
"""

import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from reapi.cas.objects.s3_config import S3Config
from reapi.core.errors import InvalidArgument

from .auth_section import AuthSection
from .executor_section import ExecutorSection
from .scheduler_section import PlatformSection, SchedulerSection
from .section import Positive, Section, Share
from .server_section import ConnectionsSection, ServerSection
from .upstream_config import UpstreamSection, check_edge

_UNKNOWN_INSTANCE = "unknown_instance"
_WATERMARKS = "watermarks"


class InstanceSection(Section):
    """[instances.NAME]: what is special about an instance of server.instance_names"""

    # What a hash of 64 digits is of when a request does not say so. Unless it is SHA256, that is
    # not served under this name: clients never state it in full.
    digest_function: Literal["SHA256", "BLAKE3", "SHA256TREE"] = "SHA256"
    # Blobs that this instance was the first to store may take so much; unset: no bound of its own.
    max_size_bytes: Positive | None = None
    # Results stored before this time are misses, as if they had been deleted.
    results_since: AwareDatetime | None = None
    # How the platform properties of its actions are rewritten.
    platform: PlatformSection = PlatformSection()


class StateSection(Section):
    """[storage.state]: rows of blobs, small blobs, action results, the scheduler's journal"""

    # In files below data_dir, or in a database that many processes share.
    kind: Literal["sqlite", "postgresql"] = "sqlite"
    # A file that holds the connection string of PostgreSQL, which has a password in it.
    dsn_file: Path | None = None

    @model_validator(mode="after")
    def _check_dsn_file(self) -> Self:
        if self.kind == "postgresql" and self.dsn_file is None:
            raise ValueError("dsn_file is needed with kind = 'postgresql'")
        if self.kind == "sqlite" and self.dsn_file is not None:
            raise ValueError("dsn_file needs kind = 'postgresql'")
        return self


class BlobsSection(Section):
    """[storage.blobs]: where the bytes of large blobs are."""

    # "disk": files in data_dir. "s3": objects in a bucket; all other keys are for that.
    kind: Literal["disk", "s3"] = "disk"
    bucket: str = ""
    # HOST:PORT; empty for the one that AWS has in the region.
    endpoint: str = ""
    region: str = "us-east-1"
    # What all keys in the bucket begin with.
    key_prefix: str = ""
    use_ssl: bool = True
    # "AES256", "aws:kms" or nothing.
    server_side_encryption: str = ""
    # Files with the credentials; without them the environment is asked.
    access_key_id_file: Path | None = None
    secret_access_key_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        fields = type(self).model_fields
        others = [
            name
            for name in fields
            if name != "kind" and getattr(self, name) != fields[name].default
        ]
        if self.kind == "disk" and others:
            raise ValueError(
                f'{", ".join(sorted(others))}: only for a bucket: set kind = "s3", or remove what '
                "is not for the disk"
            )
        if self.kind == "s3":
            if not self.bucket:
                raise ValueError(
                    'kind = "s3" needs a bucket: set bucket to its name; '
                    "`reapi-server storage init` makes it"
                )
            try:
                self.s3()
            except InvalidArgument as error:
                raise ValueError(error.message) from error
        return self

    def s3(self) -> S3Config:
        """The same for the component, when `kind` is "s3"."""
        return S3Config(**self.model_dump(exclude={"kind"}))


class StorageSection(Section):
    """[storage]"""

    # Blobs beyond this are evicted, oldest use first.
    max_size_bytes: Positive = 50 << 30
    # Shares of max_size_bytes: eviction begins above the high one and ends at the low one.
    high_watermark: Share = 0.95
    low_watermark: Share = 0.9
    # A blob reported present stays readable this long.
    retention_seconds: Positive = 24 * 3600
    # What an invocation (a build) uses stays beyond that while the invocation calls this often ...
    pin_idle_seconds: Positive = 3600
    # ... for this long at most, ...
    pin_max_seconds: Positive = 7 * 24 * 3600
    # ... and for this share of max_size_bytes; 0 turns it off.
    pin_max_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    # Whether each write is synced to the disk before it is acknowledged.
    survives_power_loss: bool = False
    # Blobs up to this size live in the database instead of in a file of their own.
    inline_max_bytes: Annotated[int, Field(ge=0, le=1 << 20)] = 16 << 10
    # "zstd": larger blobs are compressed at rest, where that saves.
    compression: Literal["none", "zstd"] = "none"
    # Of a cache of the bucket's blobs below data_dir; 0 for none.
    cache_max_size_bytes: Annotated[int, Field(ge=0)] = 0
    state: StateSection = StateSection()
    blobs: BlobsSection = BlobsSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low_watermark > self.high_watermark:
            raise PydanticCustomError(_WATERMARKS, "low_watermark is above high_watermark")
        if self.cache_max_size_bytes and self.blobs.kind == "disk":
            raise ValueError("cache_max_size_bytes is for blobs in a bucket: they are on disk here")
        return self

    @property
    def is_shared(self) -> bool:
        """Whether processes of other machines see the same blobs and results."""
        return self.state.kind == "postgresql" and self.blobs.kind == "s3"


class ResultsSection(Section):
    """[results]"""

    # A result stored longer ago is a miss; unset: results go only with the blobs of their age.
    ttl_seconds: Positive | None = None


class ServerConfig(Section):
    """All settings, valid and frozen."""

    # Everything that is kept lives below this folder.
    data_dir: Path = Path("reapi-data")
    server: ServerSection = ServerSection()
    # By instance name; "" is quoted in TOML.
    instances: dict[str, InstanceSection] = Field(default_factory=dict)
    storage: StorageSection = StorageSection()
    results: ResultsSection = ResultsSection()
    scheduler: SchedulerSection = SchedulerSection()
    executor: ExecutorSection = Field(default_factory=ExecutorSection)
    auth: AuthSection = AuthSection()
    connections: ConnectionsSection = ConnectionsSection()
    # Unless set, this server keeps what is stored itself.
    upstream: UpstreamSection | None = None

    @property
    def storage_dir(self) -> Path:
        """Where the storage lies; that of an edge frontend is a cache."""
        return self.data_dir if self.upstream is None else self.data_dir / "cache"

    @property
    def executor_dir(self) -> Path:
        """Where inputs are cached and actions run."""
        return self.executor.cache_dir or self.data_dir / "executor"

    @field_validator("instances")
    @classmethod
    def _check_instances(
        cls, instances: dict[str, InstanceSection], info: ValidationInfo
    ) -> dict[str, InstanceSection]:
        """A misspelt name must not silently leave an instance as it is."""
        server = info.data.get("server")
        for name in instances:
            if server is not None and name not in server.instance_names:
                raise PydanticCustomError(
                    _UNKNOWN_INSTANCE,
                    "server.instance_names does not have {name}",
                    {"name": repr(name)},
                )
        return instances

    @field_validator("executor")
    @classmethod
    def _check_executor(cls, executor: ExecutorSection, info: ValidationInfo) -> ExecutorSection:
        """What another process stores must be the same storage."""
        storage = info.data.get("storage")
        if executor.storage == "direct" and storage is not None and not storage.is_shared:
            raise ValueError(
                'storage = "direct" needs storage.state.kind = "postgresql" and '
                'storage.blobs.kind = "s3": set them as the frontends have them, or leave it out'
            )
        if executor.storage == "direct" and executor.frontend_endpoint is not None:
            raise ValueError(
                'frontend_endpoint is not used with storage = "direct": leave one of them out'
            )
        scheduler, server = info.data.get("scheduler"), info.data.get("server")
        if scheduler is not None and server is not None and "executor" in server.roles:
            executor.check_number(scheduler)
        return executor

    @model_validator(mode="after")
    def _check_upstream(self) -> Self:
        if self.upstream is not None:
            try:
                check_edge(self, self.upstream)
            except ValueError as error:
                raise ValueError(f"upstream: {error}") from error
        return self


def load_config(file: Path | None, flags: dict[str, Any]) -> ServerConfig:
    """Settings from flags, then the environment, then `file`, then defaults.

    Raises InvalidArgument that names each wrong key and what is wrong with it.
    """
    settings: dict[str, Any] = {}
    for source in (_read_file(file), _read_environment(), flags):
        settings = _overlaid(settings, source)
    try:
        return ServerConfig.model_validate(settings)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(each)}" for each in error.errors())
        raise InvalidArgument(f"the configuration is not valid:\n{problems}") from error


def _overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables of the same name are merged; otherwise what is above counts."""
    merged = dict(below)
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(name), dict):
            value = _overlaid(merged[name], value)
        merged[name] = value
    return merged


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError as error:
        raise InvalidArgument(f"no configuration file at {file}") from error
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"cannot read {file}: {error}") from error


def _read_environment() -> dict[str, Any]:
    """`REAPI_<SECTION>__<KEY>` of our sections, with one more `__` before the key of a section
    within a section; other names may be the client's.

    Tables in sections add their name, as in REAPI_STORAGE__BLOBS__BUCKET. Lists and tables are
    written as JSON.
    """
    settings: dict[str, Any] = {}
    for name, value in os.environ.items():
        section, *keys = name.removeprefix("REAPI_").lower().split("__")
        if name.startswith("REAPI_") and keys and section in ServerConfig.model_fields:
            table: Any = _environment_value(name, value)
            for key in reversed(keys):
                table = {key: table}
            settings = _overlaid(settings, {section: table})
    return settings


def _environment_value(name: str, value: str) -> Any:
    if not value.startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise InvalidArgument(f"{name} is not JSON: {error}") from error


def _problem(error: ErrorDetails) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such key"
    if error["type"] in (_UNKNOWN_INSTANCE, _WATERMARKS):
        return f"{key}: {error['msg']}"
    if error["type"] == "value_error":
        reason = str(error["ctx"]["error"])
        return f"{key}: {reason}" if key else reason  # of settings together: it names them
    return f"{key}: {error['msg']}, not {error['input']!r}"

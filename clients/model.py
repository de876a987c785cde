"""What the public API takes and returns: plain typed values instead of protocol messages."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from reapi.core.digest import Digest
from reapi.core.errors import DeadlineExceeded
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecuteResponse,
    ExecutionStage,
)


class Stage(enum.IntEnum):
    """How far an operation is, by the protocol's numbers."""

    UNKNOWN = ExecutionStage.UNKNOWN
    CACHE_CHECK = ExecutionStage.CACHE_CHECK
    QUEUED = ExecutionStage.QUEUED
    EXECUTING = ExecutionStage.EXECUTING
    COMPLETED = ExecutionStage.COMPLETED


@dataclass(frozen=True, slots=True)
class Operation:
    """One state of an operation; `response`, the protocol's own message, is set once it is done.

    `position` is its place in the queue from 1, or 0; `reason` says why it waits or why this
    worker runs it. `stdout_name` and `stderr_name` are resources of ByteStream with what its
    command prints. Servers other than ours do not tell what follows `response`.
    """

    name: str
    stage: Stage
    action_digest: Digest | None
    worker: str
    response: ExecuteResponse | None
    position: int = 0
    expected_start: datetime | None = None
    attempts: int = 0
    reason: str = ""
    invocation: str = ""
    target: str = ""
    stdout_name: str = ""
    stderr_name: str = ""

    @property
    def is_done(self) -> bool:
        return self.response is not None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload or download is."""

    blobs_done: int
    blobs_total: int
    bytes_done: int
    bytes_total: int


class Activity(enum.StrEnum):
    """What a run is doing."""

    HASHING = "hashing inputs"
    UPLOADING = "uploading"
    QUEUED = "queued"
    EXECUTING = "executing"
    DOWNLOADING = "downloading"


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is; `transfer` while it uploads or downloads."""

    activity: Activity
    transfer: Progress | None = None


LogStream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that a command has printed to `stream`.

    `is_anew` if they take the place of all that came before: the action was run once more, since
    its worker was lost, and printed something else.
    """

    stream: LogStream
    data: bytes
    is_anew: bool = False


class EntryKind(enum.StrEnum):
    """What an entry of a tree is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, directory or symlink in a tree or among the outputs of a command.

    `digest` is that of a file's content or of a Directory, and of the Tree where a directory is an
    output. A symlink has a `target` instead.
    """

    path: str
    kind: EntryKind
    digest: Digest | None = None
    is_executable: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of an action went, in seconds, as its worker says; None where it does not."""

    queued: float | None
    input_fetch: float | None
    execution: float | None
    output_upload: float | None


@dataclass(frozen=True, slots=True)
class Transfer:
    """A number of blobs and their bytes."""

    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command used, as its worker tells: see ResourceUsage in usage.proto.

    `peak_memory_bytes` is that of all its processes together where the worker can count it, else of
    the largest. The transfers are None in history, which does not keep them.
    """

    user_seconds: float
    system_seconds: float
    peak_memory_bytes: int
    read_bytes: int
    written_bytes: int
    inputs_fetched: Transfer | None = None
    inputs_reused: Transfer | None = None
    outputs_uploaded: Transfer | None = None
    outputs_present: Transfer | None = None


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command to run remotely.

    `inputs` and `outputs` are paths relative to the input root, which is a local directory.
    `working_directory`, also relative to it, is where the command starts. `timeout_seconds` is
    what the command itself may take, without queue and transfers.
    """

    arguments: Sequence[str]
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    platform: Sequence[tuple[str, str]] = ()
    working_directory: str = ""
    timeout_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a command. A non-zero exit code is a result, not an error.

    The paths of `outputs` are relative to the input root. `operation` is empty for a result that
    was looked up in the action cache.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes
    stdout_digest: Digest
    stderr_digest: Digest
    cached: bool
    action_digest: Digest
    operation: str
    worker: str
    timings: Timings
    outputs: Sequence[Entry]
    message: str = ""
    usage: Usage | None = None
    """None where the worker does not tell."""


class CommandTimedOut(DeadlineExceeded):
    """The command took longer than its timeout and was killed; `result` is what it left."""

    def __init__(self, message: str, result: RunResult) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True, slots=True)
class ActionDetails:
    """An action with its command, and the cached result if there is one."""

    digest: Digest
    command_digest: Digest
    input_root_digest: Digest
    command: CommandSpec
    do_not_cache: bool
    result: RunResult | None


@dataclass(frozen=True, slots=True)
class ResultQuery:
    """Cached results for which all conditions hold that are not None. Times are aware of their
    zone, to the second, and inclusive.
    """

    instance_name: str | None = None
    worker: str | None = None
    writer: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredResult:
    """Where a cached result is from: `worker` ran the action, `writer` stored what came of it."""

    instance_name: str
    action_digest: Digest
    stored: datetime
    worker: str
    writer: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One lease of an action. `end` says how it ended; empty while it runs."""

    worker: str
    epoch: int
    leased: datetime | None
    reason: str
    end: str
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An operation of the past, or one that goes on: then `finished` is None.

    `cache_state` is what the action cache said when it began: `present` when it answered.
    `duration_seconds` is what the command itself took. `status_code` is a google.rpc code.
    """

    operation: str
    instance_name: str
    action_digest: Digest
    tenant: str
    invocation: str
    target: str
    mnemonic: str
    queued: datetime | None
    started: datetime | None
    finished: datetime | None
    duration_seconds: float | None
    cache_state: str
    exit_code: int
    status_code: int
    message: str
    attempts: Sequence[Attempt]
    usage: Usage | None = None

    @property
    def cached(self) -> bool:
        return self.cache_state == "present"


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Finished operations for which all conditions hold that are set; the `limit` latest."""

    instance_name: str = ""
    target: str = ""
    worker: str = ""
    since: datetime | None = None
    failed: bool = False
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """One respect in which an action differs from an earlier one, such as an input or argument."""

    kind: str
    subject: str
    earlier: str
    now: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an action was cached or not, waits or waited, and ran where it did.

    `lines` tell all of it to a person. `run_reason` is why it ran in spite of the cache, and
    `differences` are those from `compared_with`, where they are the reason; `notes` say what could
    not be compared. `history` begins with the operation that is explained.
    """

    lines: Sequence[str]
    cache_state: str
    cache_reason: str
    run_reason: str
    differences: Sequence[Difference]
    notes: Sequence[str]
    compared_with: HistoryEntry | None
    history: Sequence[HistoryEntry]


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as the scheduler sees it.

    Of `resources`, `booked` ones are taken by what it runs; `cpu` is in thousandths of a core and
    `memory` in bytes.
    """

    name: str
    slots: int
    platform: Sequence[tuple[str, str]]
    is_connected: bool
    is_draining: bool
    operations: Sequence[str]
    is_cordoned: bool = False
    resources: Mapping[str, int] = field(default_factory=dict)
    booked: Mapping[str, int] = field(default_factory=dict)
    ordinal: int | None = None
    last_heard: datetime | None = None


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What a server says about itself, and how long one question took."""

    server: str
    instance_name: str
    low_api_version: str
    high_api_version: str
    digest_functions: Sequence[str]
    max_batch_total_size_bytes: int
    can_update_action_cache: bool
    can_execute: bool
    latency_seconds: float

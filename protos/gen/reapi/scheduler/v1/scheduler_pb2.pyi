import datetime

from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as _remote_execution_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from reapi.protos.reapi.executor.v1 import usage_pb2 as _usage_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2 as _worker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReadLogRequest(_message.Message):
    __slots__ = ("name", "instance_name", "stream", "offset")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    name: str
    instance_name: str
    stream: _worker_pb2.LogStream
    offset: int
    def __init__(self, name: _Optional[str] = ..., instance_name: _Optional[str] = ..., stream: _Optional[_Union[_worker_pb2.LogStream, str]] = ..., offset: _Optional[int] = ...) -> None: ...

class ReadLogResponse(_message.Message):
    __slots__ = ("data", "stored", "digest_function")
    DATA_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    stored: _remote_execution_pb2.Digest
    digest_function: _remote_execution_pb2.DigestFunction.Value
    def __init__(self, data: _Optional[bytes] = ..., stored: _Optional[_Union[_remote_execution_pb2.Digest, _Mapping]] = ..., digest_function: _Optional[_Union[_remote_execution_pb2.DigestFunction.Value, str]] = ...) -> None: ...

class CordonWorkersRequest(_message.Message):
    __slots__ = ("pattern", "cordoned")
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    CORDONED_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    cordoned: bool
    def __init__(self, pattern: _Optional[str] = ..., cordoned: _Optional[bool] = ...) -> None: ...

class CordonWorkersResponse(_message.Message):
    __slots__ = ("worker_ids",)
    WORKER_IDS_FIELD_NUMBER: _ClassVar[int]
    worker_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, worker_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DrainWorkersRequest(_message.Message):
    __slots__ = ("pattern",)
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    pattern: str
    def __init__(self, pattern: _Optional[str] = ...) -> None: ...

class DrainWorkersResponse(_message.Message):
    __slots__ = ("worker_ids", "busy_worker_ids", "running")
    WORKER_IDS_FIELD_NUMBER: _ClassVar[int]
    BUSY_WORKER_IDS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    worker_ids: _containers.RepeatedScalarFieldContainer[str]
    busy_worker_ids: _containers.RepeatedScalarFieldContainer[str]
    running: int
    def __init__(self, worker_ids: _Optional[_Iterable[str]] = ..., busy_worker_ids: _Optional[_Iterable[str]] = ..., running: _Optional[int] = ...) -> None: ...

class SetExpectedWorkersRequest(_message.Message):
    __slots__ = ("expected_workers",)
    EXPECTED_WORKERS_FIELD_NUMBER: _ClassVar[int]
    expected_workers: int
    def __init__(self, expected_workers: _Optional[int] = ...) -> None: ...

class SetExpectedWorkersResponse(_message.Message):
    __slots__ = ("former_expected_workers",)
    FORMER_EXPECTED_WORKERS_FIELD_NUMBER: _ClassVar[int]
    former_expected_workers: int
    def __init__(self, former_expected_workers: _Optional[int] = ...) -> None: ...

class ExecutionState(_message.Message):
    __slots__ = ("position", "expected_start", "attempts", "worker_id", "reason", "tenant", "invocation", "target")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_START_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    INVOCATION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    position: int
    expected_start: _timestamp_pb2.Timestamp
    attempts: int
    worker_id: str
    reason: str
    tenant: str
    invocation: str
    target: str
    def __init__(self, position: _Optional[int] = ..., expected_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempts: _Optional[int] = ..., worker_id: _Optional[str] = ..., reason: _Optional[str] = ..., tenant: _Optional[str] = ..., invocation: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("instance_name", "action_digest", "operation_name", "digest_function")
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    OPERATION_NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    instance_name: str
    action_digest: _remote_execution_pb2.Digest
    operation_name: str
    digest_function: _remote_execution_pb2.DigestFunction.Value
    def __init__(self, instance_name: _Optional[str] = ..., action_digest: _Optional[_Union[_remote_execution_pb2.Digest, _Mapping]] = ..., operation_name: _Optional[str] = ..., digest_function: _Optional[_Union[_remote_execution_pb2.DigestFunction.Value, str]] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("lines", "cache_state", "differences", "history", "state", "cache_reason", "compared_with", "notes", "run_reason")
    LINES_FIELD_NUMBER: _ClassVar[int]
    CACHE_STATE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CACHE_REASON_FIELD_NUMBER: _ClassVar[int]
    COMPARED_WITH_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    RUN_REASON_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    cache_state: str
    differences: _containers.RepeatedCompositeFieldContainer[Difference]
    history: _containers.RepeatedCompositeFieldContainer[HistoryEntry]
    state: ExecutionState
    cache_reason: str
    compared_with: HistoryEntry
    notes: _containers.RepeatedScalarFieldContainer[str]
    run_reason: str
    def __init__(self, lines: _Optional[_Iterable[str]] = ..., cache_state: _Optional[str] = ..., differences: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[HistoryEntry, _Mapping]]] = ..., state: _Optional[_Union[ExecutionState, _Mapping]] = ..., cache_reason: _Optional[str] = ..., compared_with: _Optional[_Union[HistoryEntry, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ..., run_reason: _Optional[str] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("kind", "subject", "earlier", "now")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    EARLIER_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    kind: str
    subject: str
    earlier: str
    now: str
    def __init__(self, kind: _Optional[str] = ..., subject: _Optional[str] = ..., earlier: _Optional[str] = ..., now: _Optional[str] = ...) -> None: ...

class HistoryEntry(_message.Message):
    __slots__ = ("operation_name", "instance_name", "action_digest", "tenant", "invocation", "target", "mnemonic", "queued_at", "started_at", "finished_at", "duration", "cached", "exit_code", "status_code", "message", "attempts", "digest_function", "cache_state", "usage")
    OPERATION_NAME_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    INVOCATION_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MNEMONIC_FIELD_NUMBER: _ClassVar[int]
    QUEUED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    CACHE_STATE_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    operation_name: str
    instance_name: str
    action_digest: _remote_execution_pb2.Digest
    tenant: str
    invocation: str
    target: str
    mnemonic: str
    queued_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    duration: _duration_pb2.Duration
    cached: bool
    exit_code: int
    status_code: int
    message: str
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    digest_function: _remote_execution_pb2.DigestFunction.Value
    cache_state: str
    usage: _usage_pb2.ResourceUsage
    def __init__(self, operation_name: _Optional[str] = ..., instance_name: _Optional[str] = ..., action_digest: _Optional[_Union[_remote_execution_pb2.Digest, _Mapping]] = ..., tenant: _Optional[str] = ..., invocation: _Optional[str] = ..., target: _Optional[str] = ..., mnemonic: _Optional[str] = ..., queued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cached: _Optional[bool] = ..., exit_code: _Optional[int] = ..., status_code: _Optional[int] = ..., message: _Optional[str] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., digest_function: _Optional[_Union[_remote_execution_pb2.DigestFunction.Value, str]] = ..., cache_state: _Optional[str] = ..., usage: _Optional[_Union[_usage_pb2.ResourceUsage, _Mapping]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("worker_id", "epoch", "leased_at", "reason", "end", "ended_at")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LEASED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    epoch: int
    leased_at: _timestamp_pb2.Timestamp
    reason: str
    end: str
    ended_at: _timestamp_pb2.Timestamp
    def __init__(self, worker_id: _Optional[str] = ..., epoch: _Optional[int] = ..., leased_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., end: _Optional[str] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListHistoryRequest(_message.Message):
    __slots__ = ("instance_name", "limit", "target", "worker_id", "finished_since", "failed_only")
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    FINISHED_SINCE_FIELD_NUMBER: _ClassVar[int]
    FAILED_ONLY_FIELD_NUMBER: _ClassVar[int]
    instance_name: str
    limit: int
    target: str
    worker_id: str
    finished_since: _timestamp_pb2.Timestamp
    failed_only: bool
    def __init__(self, instance_name: _Optional[str] = ..., limit: _Optional[int] = ..., target: _Optional[str] = ..., worker_id: _Optional[str] = ..., finished_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failed_only: _Optional[bool] = ...) -> None: ...

class ListHistoryResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[HistoryEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[HistoryEntry, _Mapping]]] = ...) -> None: ...

class GetClusterRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetClusterResponse(_message.Message):
    __slots__ = ("queues", "queued", "executing", "expected_workers", "absent_workers", "generation")
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    EXECUTING_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_WORKERS_FIELD_NUMBER: _ClassVar[int]
    ABSENT_WORKERS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedCompositeFieldContainer[Queue]
    queued: int
    executing: int
    expected_workers: int
    absent_workers: _containers.RepeatedScalarFieldContainer[str]
    generation: int
    def __init__(self, queues: _Optional[_Iterable[_Union[Queue, _Mapping]]] = ..., queued: _Optional[int] = ..., executing: _Optional[int] = ..., expected_workers: _Optional[int] = ..., absent_workers: _Optional[_Iterable[str]] = ..., generation: _Optional[int] = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("platform", "queued", "executing", "workers", "slots", "free_slots", "oldest_wait", "reason")
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    EXECUTING_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    FREE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_WAIT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    platform: _remote_execution_pb2.Platform
    queued: int
    executing: int
    workers: int
    slots: int
    free_slots: int
    oldest_wait: _duration_pb2.Duration
    reason: str
    def __init__(self, platform: _Optional[_Union[_remote_execution_pb2.Platform, _Mapping]] = ..., queued: _Optional[int] = ..., executing: _Optional[int] = ..., workers: _Optional[int] = ..., slots: _Optional[int] = ..., free_slots: _Optional[int] = ..., oldest_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

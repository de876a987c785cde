import datetime

from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as _remote_execution_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LogStream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_STREAM_UNSPECIFIED: _ClassVar[LogStream]
    LOG_STREAM_STDOUT: _ClassVar[LogStream]
    LOG_STREAM_STDERR: _ClassVar[LogStream]
LOG_STREAM_UNSPECIFIED: LogStream
LOG_STREAM_STDOUT: LogStream
LOG_STREAM_STDERR: LogStream

class ConnectRequest(_message.Message):
    __slots__ = ("register", "heartbeat", "progress", "completion", "drain", "log_chunk")
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    LOG_CHUNK_FIELD_NUMBER: _ClassVar[int]
    register: Register
    heartbeat: Heartbeat
    progress: Progress
    completion: Completion
    drain: Drain
    log_chunk: LogChunk
    def __init__(self, register: _Optional[_Union[Register, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., completion: _Optional[_Union[Completion, _Mapping]] = ..., drain: _Optional[_Union[Drain, _Mapping]] = ..., log_chunk: _Optional[_Union[LogChunk, _Mapping]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("registered", "lease", "cancel", "completion_received", "read_log")
    REGISTERED_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    READ_LOG_FIELD_NUMBER: _ClassVar[int]
    registered: Registered
    lease: Lease
    cancel: CancelLease
    completion_received: CompletionReceived
    read_log: ReadLog
    def __init__(self, registered: _Optional[_Union[Registered, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., cancel: _Optional[_Union[CancelLease, _Mapping]] = ..., completion_received: _Optional[_Union[CompletionReceived, _Mapping]] = ..., read_log: _Optional[_Union[ReadLog, _Mapping]] = ...) -> None: ...

class Register(_message.Message):
    __slots__ = ("worker_id", "session_id", "slots", "platform", "held", "resources", "ordinal")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    session_id: str
    slots: int
    platform: _remote_execution_pb2.Platform
    held: _containers.RepeatedCompositeFieldContainer[LeaseKey]
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    ordinal: int
    def __init__(self, worker_id: _Optional[str] = ..., session_id: _Optional[str] = ..., slots: _Optional[int] = ..., platform: _Optional[_Union[_remote_execution_pb2.Platform, _Mapping]] = ..., held: _Optional[_Iterable[_Union[LeaseKey, _Mapping]]] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., ordinal: _Optional[int] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("name", "amount")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    amount: int
    def __init__(self, name: _Optional[str] = ..., amount: _Optional[int] = ...) -> None: ...

class LeaseKey(_message.Message):
    __slots__ = ("operation_name", "epoch")
    OPERATION_NAME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    operation_name: str
    epoch: int
    def __init__(self, operation_name: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Progress(_message.Message):
    __slots__ = ("key", "metadata")
    KEY_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    key: LeaseKey
    metadata: _remote_execution_pb2.ExecutedActionMetadata
    def __init__(self, key: _Optional[_Union[LeaseKey, _Mapping]] = ..., metadata: _Optional[_Union[_remote_execution_pb2.ExecutedActionMetadata, _Mapping]] = ...) -> None: ...

class Completion(_message.Message):
    __slots__ = ("key", "response")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    key: LeaseKey
    response: _remote_execution_pb2.ExecuteResponse
    def __init__(self, key: _Optional[_Union[LeaseKey, _Mapping]] = ..., response: _Optional[_Union[_remote_execution_pb2.ExecuteResponse, _Mapping]] = ...) -> None: ...

class Drain(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Registered(_message.Message):
    __slots__ = ("heartbeat_interval", "revoked")
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    heartbeat_interval: _duration_pb2.Duration
    revoked: _containers.RepeatedCompositeFieldContainer[LeaseKey]
    def __init__(self, heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., revoked: _Optional[_Iterable[_Union[LeaseKey, _Mapping]]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("key", "instance_name", "digest_function", "action_digest", "action", "blobs", "timeout", "queued_timestamp", "request_metadata", "inline_stdout", "inline_stderr", "inline_output_files", "platform", "resources")
    KEY_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    REQUEST_METADATA_FIELD_NUMBER: _ClassVar[int]
    INLINE_STDOUT_FIELD_NUMBER: _ClassVar[int]
    INLINE_STDERR_FIELD_NUMBER: _ClassVar[int]
    INLINE_OUTPUT_FILES_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    key: LeaseKey
    instance_name: str
    digest_function: _remote_execution_pb2.DigestFunction.Value
    action_digest: _remote_execution_pb2.Digest
    action: _remote_execution_pb2.Action
    blobs: _containers.RepeatedCompositeFieldContainer[InlineBlob]
    timeout: _duration_pb2.Duration
    queued_timestamp: _timestamp_pb2.Timestamp
    request_metadata: _remote_execution_pb2.RequestMetadata
    inline_stdout: bool
    inline_stderr: bool
    inline_output_files: _containers.RepeatedScalarFieldContainer[str]
    platform: _remote_execution_pb2.Platform
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    def __init__(self, key: _Optional[_Union[LeaseKey, _Mapping]] = ..., instance_name: _Optional[str] = ..., digest_function: _Optional[_Union[_remote_execution_pb2.DigestFunction.Value, str]] = ..., action_digest: _Optional[_Union[_remote_execution_pb2.Digest, _Mapping]] = ..., action: _Optional[_Union[_remote_execution_pb2.Action, _Mapping]] = ..., blobs: _Optional[_Iterable[_Union[InlineBlob, _Mapping]]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., queued_timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., request_metadata: _Optional[_Union[_remote_execution_pb2.RequestMetadata, _Mapping]] = ..., inline_stdout: _Optional[bool] = ..., inline_stderr: _Optional[bool] = ..., inline_output_files: _Optional[_Iterable[str]] = ..., platform: _Optional[_Union[_remote_execution_pb2.Platform, _Mapping]] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ...) -> None: ...

class InlineBlob(_message.Message):
    __slots__ = ("digest", "data")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    digest: _remote_execution_pb2.Digest
    data: bytes
    def __init__(self, digest: _Optional[_Union[_remote_execution_pb2.Digest, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class CancelLease(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: LeaseKey
    def __init__(self, key: _Optional[_Union[LeaseKey, _Mapping]] = ...) -> None: ...

class CompletionReceived(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: LeaseKey
    def __init__(self, key: _Optional[_Union[LeaseKey, _Mapping]] = ...) -> None: ...

class ReadLog(_message.Message):
    __slots__ = ("key", "stream", "offset", "at_once")
    KEY_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    key: LeaseKey
    stream: LogStream
    offset: int
    at_once: bool
    def __init__(self, key: _Optional[_Union[LeaseKey, _Mapping]] = ..., stream: _Optional[_Union[LogStream, str]] = ..., offset: _Optional[int] = ..., at_once: _Optional[bool] = ...) -> None: ...

class LogChunk(_message.Message):
    __slots__ = ("key", "stream", "offset", "data", "is_all", "is_over")
    KEY_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    IS_ALL_FIELD_NUMBER: _ClassVar[int]
    IS_OVER_FIELD_NUMBER: _ClassVar[int]
    key: LeaseKey
    stream: LogStream
    offset: int
    data: bytes
    is_all: bool
    is_over: bool
    def __init__(self, key: _Optional[_Union[LeaseKey, _Mapping]] = ..., stream: _Optional[_Union[LogStream, str]] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., is_all: _Optional[bool] = ..., is_over: _Optional[bool] = ...) -> None: ...

class ListWorkersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWorkersResponse(_message.Message):
    __slots__ = ("workers",)
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    workers: _containers.RepeatedCompositeFieldContainer[Worker]
    def __init__(self, workers: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("worker_id", "slots", "platform", "draining", "connected", "operations", "resources", "booked", "cordoned", "ordinal", "last_heard", "busy")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    BOOKED_FIELD_NUMBER: _ClassVar[int]
    CORDONED_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    slots: int
    platform: _remote_execution_pb2.Platform
    draining: bool
    connected: bool
    operations: _containers.RepeatedScalarFieldContainer[str]
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    booked: _containers.RepeatedCompositeFieldContainer[Resource]
    cordoned: bool
    ordinal: int
    last_heard: _timestamp_pb2.Timestamp
    busy: int
    def __init__(self, worker_id: _Optional[str] = ..., slots: _Optional[int] = ..., platform: _Optional[_Union[_remote_execution_pb2.Platform, _Mapping]] = ..., draining: _Optional[bool] = ..., connected: _Optional[bool] = ..., operations: _Optional[_Iterable[str]] = ..., resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., booked: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., cordoned: _Optional[bool] = ..., ordinal: _Optional[int] = ..., last_heard: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., busy: _Optional[int] = ...) -> None: ...

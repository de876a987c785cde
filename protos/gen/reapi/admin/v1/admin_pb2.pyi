import datetime

from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as _remote_execution_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResultQuery(_message.Message):
    __slots__ = ("instance_name", "worker", "writer", "stored_since", "stored_until")
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    STORED_SINCE_FIELD_NUMBER: _ClassVar[int]
    STORED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    instance_name: str
    worker: str
    writer: str
    stored_since: _timestamp_pb2.Timestamp
    stored_until: _timestamp_pb2.Timestamp
    def __init__(self, instance_name: _Optional[str] = ..., worker: _Optional[str] = ..., writer: _Optional[str] = ..., stored_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stored_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StoredResult(_message.Message):
    __slots__ = ("instance_name", "action_digest", "digest_function", "stored_at", "worker", "writer")
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    STORED_AT_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    instance_name: str
    action_digest: _remote_execution_pb2.Digest
    digest_function: _remote_execution_pb2.DigestFunction.Value
    stored_at: _timestamp_pb2.Timestamp
    worker: str
    writer: str
    def __init__(self, instance_name: _Optional[str] = ..., action_digest: _Optional[_Union[_remote_execution_pb2.Digest, _Mapping]] = ..., digest_function: _Optional[_Union[_remote_execution_pb2.DigestFunction.Value, str]] = ..., stored_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., worker: _Optional[str] = ..., writer: _Optional[str] = ...) -> None: ...

class ListResultsRequest(_message.Message):
    __slots__ = ("query",)
    QUERY_FIELD_NUMBER: _ClassVar[int]
    query: ResultQuery
    def __init__(self, query: _Optional[_Union[ResultQuery, _Mapping]] = ...) -> None: ...

class ListResultsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[StoredResult]
    def __init__(self, results: _Optional[_Iterable[_Union[StoredResult, _Mapping]]] = ...) -> None: ...

class RevokeResultsRequest(_message.Message):
    __slots__ = ("query", "dry_run")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    query: ResultQuery
    dry_run: bool
    def __init__(self, query: _Optional[_Union[ResultQuery, _Mapping]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RevokeResultsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[StoredResult]
    def __init__(self, results: _Optional[_Iterable[_Union[StoredResult, _Mapping]]] = ...) -> None: ...

import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResourceUsage(_message.Message):
    __slots__ = ("user_time", "system_time", "peak_memory_bytes", "largest_process_bytes", "read_bytes", "written_bytes", "involuntary_context_switches", "inputs_fetched", "inputs_reused", "outputs_uploaded", "outputs_present")
    USER_TIME_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_TIME_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    LARGEST_PROCESS_BYTES_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    INVOLUNTARY_CONTEXT_SWITCHES_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FETCHED_FIELD_NUMBER: _ClassVar[int]
    INPUTS_REUSED_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_UPLOADED_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_PRESENT_FIELD_NUMBER: _ClassVar[int]
    user_time: _duration_pb2.Duration
    system_time: _duration_pb2.Duration
    peak_memory_bytes: int
    largest_process_bytes: int
    read_bytes: int
    written_bytes: int
    involuntary_context_switches: int
    inputs_fetched: Transfer
    inputs_reused: Transfer
    outputs_uploaded: Transfer
    outputs_present: Transfer
    def __init__(self, user_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., system_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., peak_memory_bytes: _Optional[int] = ..., largest_process_bytes: _Optional[int] = ..., read_bytes: _Optional[int] = ..., written_bytes: _Optional[int] = ..., involuntary_context_switches: _Optional[int] = ..., inputs_fetched: _Optional[_Union[Transfer, _Mapping]] = ..., inputs_reused: _Optional[_Union[Transfer, _Mapping]] = ..., outputs_uploaded: _Optional[_Union[Transfer, _Mapping]] = ..., outputs_present: _Optional[_Union[Transfer, _Mapping]] = ...) -> None: ...

class Transfer(_message.Message):
    __slots__ = ("count", "size_bytes")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    count: int
    size_bytes: int
    def __init__(self, count: _Optional[int] = ..., size_bytes: _Optional[int] = ...) -> None: ...

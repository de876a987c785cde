from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Manifest(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("root", "inputs", "lookups", "result", "variables", "names")
    ROOT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    LOOKUPS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    VARIABLES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    root: str
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    lookups: str
    result: Result
    variables: _containers.RepeatedCompositeFieldContainer[Variable]
    names: bytes
    def __init__(self, root: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., lookups: _Optional[str] = ..., result: _Optional[_Union[Result, _Mapping]] = ..., variables: _Optional[_Iterable[_Union[Variable, _Mapping]]] = ..., names: _Optional[bytes] = ...) -> None: ...

class LookedUp(_message.Message):
    __slots__ = ("everywhere", "beside")
    EVERYWHERE_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    everywhere: _containers.RepeatedScalarFieldContainer[str]
    beside: _containers.RepeatedCompositeFieldContainer[Beside]
    def __init__(self, everywhere: _Optional[_Iterable[str]] = ..., beside: _Optional[_Iterable[_Union[Beside, _Mapping]]] = ...) -> None: ...

class Beside(_message.Message):
    __slots__ = ("directory", "names")
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    directory: str
    names: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, directory: _Optional[str] = ..., names: _Optional[_Iterable[int]] = ...) -> None: ...

class Variable(_message.Message):
    __slots__ = ("name", "hash")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    name: str
    hash: bytes
    def __init__(self, name: _Optional[str] = ..., hash: _Optional[bytes] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("path", "hash", "size_bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    hash: bytes
    size_bytes: int
    def __init__(self, path: _Optional[str] = ..., hash: _Optional[bytes] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("outputs", "stdout", "stderr", "depfile", "action")
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    DEPFILE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    outputs: _containers.RepeatedCompositeFieldContainer[Output]
    stdout: bytes
    stderr: bytes
    depfile: bytes
    action: str
    def __init__(self, outputs: _Optional[_Iterable[_Union[Output, _Mapping]]] = ..., stdout: _Optional[bytes] = ..., stderr: _Optional[bytes] = ..., depfile: _Optional[bytes] = ..., action: _Optional[str] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("index", "hash", "size_bytes")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    index: int
    hash: bytes
    size_bytes: int
    def __init__(self, index: _Optional[int] = ..., hash: _Optional[bytes] = ..., size_bytes: _Optional[int] = ...) -> None: ...

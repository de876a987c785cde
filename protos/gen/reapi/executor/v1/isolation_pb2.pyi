from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Isolation(_message.Message):
    __slots__ = ("sandbox", "network", "root")
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    sandbox: str
    network: bool
    root: str
    def __init__(self, sandbox: _Optional[str] = ..., network: _Optional[bool] = ..., root: _Optional[str] = ...) -> None: ...

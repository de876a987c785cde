"""Which permission each method asks for, and of which instance its requests are.

What is not listed here is not served to anybody where tokens are asked for, so a new method needs a
line. Health and reflection are open to all: they are added behind the guard.
"""

from collections.abc import Callable
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from reapi.core.access import Rule
from reapi.core.errors import InvalidArgument
from reapi.core.identity import Permission
from reapi.core.resource_name import instance_of
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream import bytestream_pb2
from reapi.protos.reapi.admin.v1 import admin_pb2
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2

from .forward import path_of

InstanceName = Callable[[Message], str | None]

_READ = (Permission.READ,)
_STORE = (Permission.WRITE_BLOBS,)
_EXECUTE = (Permission.EXECUTE,)
_END = (Permission.EXECUTE, Permission.OPERATE)
_PUBLISH = (Permission.WRITE_RESULTS,)
_WORK = (Permission.WORK,)
_OPERATE = (Permission.OPERATE,)


def _field(request: Any) -> str | None:
    """Of a request that names its instance."""
    return str(request.instance_name)


def _resource(request: Any) -> str | None:
    """Of a request that names a blob or a log."""
    return instance_of(request.resource_name)


def _filter(request: Any) -> str | None:
    """Of a question about one instance, or without a name about all of them."""
    return str(request.instance_name) or None


def _collection(request: Any) -> str | None:
    """Of a list of operations, whose name is that of an instance or stands for all."""
    return None if request.name in ("", "operations") else str(request.name)


def _every(_: Any) -> str | None:
    """Of a request about the server as a whole."""
    return None


_METHODS: dict[ServiceDescriptor, dict[str, tuple[tuple[Permission, ...], InstanceName | None]]] = {
    re_pb2.DESCRIPTOR.services_by_name["Capabilities"]: {"GetCapabilities": (_READ, _field)},
    re_pb2.DESCRIPTOR.services_by_name["ActionCache"]: {
        "GetActionResult": (_READ, _field),
        "UpdateActionResult": (_PUBLISH, _field),
    },
    re_pb2.DESCRIPTOR.services_by_name["ContentAddressableStorage"]: {
        "FindMissingBlobs": (_READ, _field),
        "BatchUpdateBlobs": (_STORE, _field),
        "BatchReadBlobs": (_READ, _field),
        "GetTree": (_READ, _field),
        "SplitBlob": (_READ, _field),
        "SpliceBlob": (_STORE, _field),
    },
    bytestream_pb2.DESCRIPTOR.services_by_name["ByteStream"]: {
        "Read": (_READ, _resource),
        "Write": (_STORE, _resource),
        "QueryWriteStatus": (_STORE, _resource),
    },
    re_pb2.DESCRIPTOR.services_by_name["Execution"]: {
        "Execute": (_EXECUTE, _field),
        "WaitExecution": (_READ, None),
    },
    operations_pb2.DESCRIPTOR.services_by_name["Operations"]: {
        "ListOperations": (_READ, _collection),
        "GetOperation": (_READ, None),
        "WaitOperation": (_READ, None),
        "CancelOperation": (_END, None),
        "DeleteOperation": (_END, None),
    },
    scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"]: {
        "CordonWorkers": (_OPERATE, _every),
        "DrainWorkers": (_OPERATE, _every),
        "SetExpectedWorkers": (_OPERATE, _every),
        "Explain": (_READ, _field),
        "ListHistory": (_READ, _filter),
        "GetCluster": (_READ, _every),
        "ReadLog": (_READ, _field),
    },
    worker_pb2.DESCRIPTOR.services_by_name["WorkerService"]: {
        "Connect": (_WORK, _every),
        "ListWorkers": (_READ, _every),
    },
    admin_pb2.DESCRIPTOR.services_by_name["ResultAdminService"]: {
        "ListResults": (_OPERATE, _every),
        "RevokeResults": (_OPERATE, _every),
    },
}


def _rule(
    method: MethodDescriptor,
    permissions: tuple[Permission, ...],
    instance_name: InstanceName | None,
) -> Rule:
    """The rule of a method whose handler may take its requests as bytes."""
    if instance_name is None:
        return Rule(permissions)
    request_type = GetMessageClass(method.input_type)

    def of(request: Any) -> str | None:
        if isinstance(request, bytes):
            try:
                request = request_type.FromString(request)
            except DecodeError as error:
                raise InvalidArgument(f"the request is not a {method.input_type.name}") from error
        return instance_name(request)

    return Rule(permissions, of)


RULES = {
    path_of(service.methods_by_name[name]): _rule(
        service.methods_by_name[name], permissions, instance
    )
    for service, methods in _METHODS.items()
    for name, (permissions, instance) in methods.items()
}
"""By the path of a method."""

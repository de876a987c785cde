"""gRPC server reflection through the method table, so that grpcurl and buf curl need no schema."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from .interfaces import Call
from .rpc import Method, bind

_SERVICE = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


class ReflectionService:
    """Describes the named services and all messages that they use."""

    def __init__(self, service_names: Sequence[str]) -> None:
        self._names = sorted({*service_names, _SERVICE.full_name})
        self._pool = descriptor_pool.Default()

    def methods(self) -> list[Method]:
        """The rows of v1alpha and of v1, whose messages are the same on the wire."""
        (method,) = bind(_SERVICE, {"ServerReflectionInfo": self.server_reflection_info})
        return [method, replace(method, path=method.path.replace(".v1alpha.", ".v1."))]

    async def server_reflection_info(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], call: Call
    ) -> AsyncGenerator[reflection_pb2.ServerReflectionResponse, None]:
        """One answer per request, in order; what is unknown is an answer too, not an error."""
        async for request in requests:
            answer = self._answer(request)
            answer.valid_host = request.host
            answer.original_request.CopyFrom(request)
            yield answer

    def _answer(
        self, request: reflection_pb2.ServerReflectionRequest
    ) -> reflection_pb2.ServerReflectionResponse:
        answer = reflection_pb2.ServerReflectionResponse()
        try:
            if request.HasField("list_services"):
                for name in self._names:
                    answer.list_services_response.service.add(name=name)
            elif request.HasField("file_by_filename"):
                self._add_file(answer, self._pool.FindFileByName(request.file_by_filename))
            elif request.HasField("file_containing_symbol"):
                file = self._pool.FindFileContainingSymbol(request.file_containing_symbol)
                self._add_file(answer, file)
            else:
                _say(answer, grpc.StatusCode.UNIMPLEMENTED, "extensions are not described")
        except KeyError as error:
            _say(answer, grpc.StatusCode.NOT_FOUND, f"not found: {error}")
        return answer

    def _add_file(
        self, answer: reflection_pb2.ServerReflectionResponse, file: FileDescriptor
    ) -> None:
        """The file and all that it imports, so that the caller need not ask again."""
        todo, seen = [file], {file.name}
        while todo:
            current = todo.pop()
            proto = FileDescriptorProto()
            current.CopyToProto(proto)
            answer.file_descriptor_response.file_descriptor_proto.append(proto.SerializeToString())
            fresh = [each for each in current.dependencies if each.name not in seen]
            seen.update(each.name for each in fresh)
            todo.extend(fresh)


def _say(
    answer: reflection_pb2.ServerReflectionResponse, code: grpc.StatusCode, message: str
) -> None:
    answer.error_response.error_code = code.value[0]
    answer.error_response.error_message = message

"""The methods that clients call, typed: path, request and reply of each.

Paths come from the service descriptors, so that a name that does not exist fails on import.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.longrunning import operations_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.google.bytestream import bytestream_pb2
from reapi.protos.reapi.admin.v1 import admin_pb2
from reapi.protos.reapi.scheduler.v1 import scheduler_pb2
from reapi.protos.reapi.worker.v1 import worker_pb2

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True)
class ClientMethod(Generic[Request, Reply]):
    """One method as its caller sees it."""

    path: str
    request_type: type[Request]
    reply_type: type[Reply]


def _method(
    file: FileDescriptor, name: str, request_type: type[Request], reply_type: type[Reply]
) -> ClientMethod[Request, Reply]:
    service_name, _, method_name = name.partition(".")
    service = file.services_by_name[service_name]
    return ClientMethod(
        f"/{service.full_name}/{service.methods_by_name[method_name].name}",
        request_type,
        reply_type,
    )


_REAPI = re_pb2.DESCRIPTOR
_BYTESTREAM = bytestream_pb2.DESCRIPTOR
_OPERATIONS = operations_pb2.DESCRIPTOR
_ADMIN = admin_pb2.DESCRIPTOR
_SCHEDULER = scheduler_pb2.DESCRIPTOR
_WORKER = worker_pb2.DESCRIPTOR
_HEALTH = health_pb2.DESCRIPTOR

GET_CAPABILITIES = _method(
    _REAPI,
    "Capabilities.GetCapabilities",
    re_pb2.GetCapabilitiesRequest,
    re_pb2.ServerCapabilities,
)
FIND_MISSING_BLOBS = _method(
    _REAPI,
    "ContentAddressableStorage.FindMissingBlobs",
    re_pb2.FindMissingBlobsRequest,
    re_pb2.FindMissingBlobsResponse,
)
BATCH_UPDATE_BLOBS = _method(
    _REAPI,
    "ContentAddressableStorage.BatchUpdateBlobs",
    re_pb2.BatchUpdateBlobsRequest,
    re_pb2.BatchUpdateBlobsResponse,
)
BATCH_READ_BLOBS = _method(
    _REAPI,
    "ContentAddressableStorage.BatchReadBlobs",
    re_pb2.BatchReadBlobsRequest,
    re_pb2.BatchReadBlobsResponse,
)
GET_ACTION_RESULT = _method(
    _REAPI, "ActionCache.GetActionResult", re_pb2.GetActionResultRequest, re_pb2.ActionResult
)
UPDATE_ACTION_RESULT = _method(
    _REAPI, "ActionCache.UpdateActionResult", re_pb2.UpdateActionResultRequest, re_pb2.ActionResult
)
EXECUTE = _method(_REAPI, "Execution.Execute", re_pb2.ExecuteRequest, operations_pb2.Operation)
WAIT_EXECUTION = _method(
    _REAPI, "Execution.WaitExecution", re_pb2.WaitExecutionRequest, operations_pb2.Operation
)
READ = _method(
    _BYTESTREAM, "ByteStream.Read", bytestream_pb2.ReadRequest, bytestream_pb2.ReadResponse
)
WRITE = _method(
    _BYTESTREAM, "ByteStream.Write", bytestream_pb2.WriteRequest, bytestream_pb2.WriteResponse
)
QUERY_WRITE_STATUS = _method(
    _BYTESTREAM,
    "ByteStream.QueryWriteStatus",
    bytestream_pb2.QueryWriteStatusRequest,
    bytestream_pb2.QueryWriteStatusResponse,
)
GET_OPERATION = _method(
    _OPERATIONS,
    "Operations.GetOperation",
    operations_pb2.GetOperationRequest,
    operations_pb2.Operation,
)
LIST_OPERATIONS = _method(
    _OPERATIONS,
    "Operations.ListOperations",
    operations_pb2.ListOperationsRequest,
    operations_pb2.ListOperationsResponse,
)
CANCEL_OPERATION = _method(
    _OPERATIONS, "Operations.CancelOperation", operations_pb2.CancelOperationRequest, Empty
)
LIST_RESULTS = _method(
    _ADMIN,
    "ResultAdminService.ListResults",
    admin_pb2.ListResultsRequest,
    admin_pb2.ListResultsResponse,
)
REVOKE_RESULTS = _method(
    _ADMIN,
    "ResultAdminService.RevokeResults",
    admin_pb2.RevokeResultsRequest,
    admin_pb2.RevokeResultsResponse,
)
EXPLAIN = _method(
    _SCHEDULER,
    "SchedulerService.Explain",
    scheduler_pb2.ExplainRequest,
    scheduler_pb2.ExplainResponse,
)
LIST_HISTORY = _method(
    _SCHEDULER,
    "SchedulerService.ListHistory",
    scheduler_pb2.ListHistoryRequest,
    scheduler_pb2.ListHistoryResponse,
)
READ_LOG = _method(
    _SCHEDULER,
    "SchedulerService.ReadLog",
    scheduler_pb2.ReadLogRequest,
    scheduler_pb2.ReadLogResponse,
)
HEALTH_WATCH = _method(
    _HEALTH, "Health.Watch", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
)
CONNECT = _method(
    _WORKER, "WorkerService.Connect", worker_pb2.ConnectRequest, worker_pb2.ConnectResponse
)
LIST_WORKERS = _method(
    _WORKER,
    "WorkerService.ListWorkers",
    worker_pb2.ListWorkersRequest,
    worker_pb2.ListWorkersResponse,
)
CORDON_WORKERS = _method(
    _SCHEDULER,
    "SchedulerService.CordonWorkers",
    scheduler_pb2.CordonWorkersRequest,
    scheduler_pb2.CordonWorkersResponse,
)
DRAIN_WORKERS = _method(
    _SCHEDULER,
    "SchedulerService.DrainWorkers",
    scheduler_pb2.DrainWorkersRequest,
    scheduler_pb2.DrainWorkersResponse,
)
SET_EXPECTED_WORKERS = _method(
    _SCHEDULER,
    "SchedulerService.SetExpectedWorkers",
    scheduler_pb2.SetExpectedWorkersRequest,
    scheduler_pb2.SetExpectedWorkersResponse,
)
GET_CLUSTER = _method(
    _SCHEDULER,
    "SchedulerService.GetCluster",
    scheduler_pb2.GetClusterRequest,
    scheduler_pb2.GetClusterResponse,
)

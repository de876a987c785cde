"""GetCapabilities: says what works here, and nothing else (conformance 1.2)."""

from collections.abc import Sequence

from reapi.core.compression import COMPRESSORS
from reapi.core.digest import DigestFunction
from reapi.core.identity import Permission
from reapi.core.instances import Instances
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, bind
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from reapi.protos.build.bazel.semver.semver_pb2 import SemVer

from .chunking import ANNOUNCED

_SERVICE = re_pb2.DESCRIPTOR.services_by_name["Capabilities"]

MAX_BATCH_TOTAL_SIZE_BYTES = 4_000_000
"""Of the data in one batch. Leaves room for the rest of a message below 4 MiB (L1)."""

_ALL_PRIORITIES = re_pb2.PriorityCapabilities(
    priorities=[
        re_pb2.PriorityCapabilities.PriorityRange(min_priority=-(2**31), max_priority=2**31 - 1)
    ]
)

_CHUNKING = re_pb2.CacheCapabilities(
    split_blob_support=True,
    splice_blob_support=True,
    fast_cdc_2020_params=re_pb2.FastCdc2020Params(
        avg_chunk_size_bytes=ANNOUNCED.avg_size_bytes, seed=ANNOUNCED.seed
    ),
)


class CapabilitiesService:
    """Instances differ in their digest functions, callers in what they may do.

    Execution is told of only when it is here.
    """

    def __init__(self, instances: Instances, *, has_execution: bool) -> None:
        self._instances = instances
        self._has_execution = has_execution
        self._replies: dict[tuple[Sequence[DigestFunction], bool, bool], bytes] = {}

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(
            _SERVICE, {"GetCapabilities": self.get_capabilities}, at_once=("GetCapabilities",)
        )

    async def get_capabilities(self, request: re_pb2.GetCapabilitiesRequest, call: Call) -> bytes:
        """A serialized ServerCapabilities, of what the caller may use."""
        functions = self._instances.functions(request.instance_name)
        may_update = call.identity.may(Permission.WRITE_RESULTS)
        may_execute = call.identity.may(Permission.EXECUTE)
        key = functions, may_update, may_execute
        reply = self._replies.get(key)
        if reply is None:
            message = _capabilities(functions, has_execution=self._has_execution)
            message.cache_capabilities.MergeFrom(_CHUNKING)
            updates = message.cache_capabilities.action_cache_update_capabilities
            updates.update_enabled = may_update
            if self._has_execution:
                message.execution_capabilities.exec_enabled = may_execute
            reply = self._replies[key] = message.SerializeToString()
        return reply


def _capabilities(
    served: Sequence[DigestFunction], *, has_execution: bool
) -> re_pb2.ServerCapabilities:
    functions = [function.name for function in served]
    compressors = list(COMPRESSORS.values())
    capabilities = re_pb2.ServerCapabilities(
        cache_capabilities=re_pb2.CacheCapabilities(
            digest_functions=functions,
            cache_priority_capabilities=_ALL_PRIORITIES,
            max_batch_total_size_bytes=MAX_BATCH_TOTAL_SIZE_BYTES,
            symlink_absolute_path_strategy=re_pb2.SymlinkAbsolutePathStrategy.ALLOWED,
            supported_compressors=compressors,
            supported_batch_update_compressors=compressors,
        ),
        low_api_version=SemVer(major=2, minor=0),
        high_api_version=SemVer(major=2, minor=12),
    )
    if has_execution:
        capabilities.execution_capabilities.CopyFrom(
            re_pb2.ExecutionCapabilities(
                digest_function=functions[0],
                digest_functions=functions,
                execution_priority_capabilities=_ALL_PRIORITIES,
            )
        )
    return capabilities

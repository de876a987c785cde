"""The services over an open storage."""

from reapi.core.instances import Instances
from reapi.core.interfaces import OperationLogs
from reapi.core.rpc import Method

from .action_cache_service import ActionCacheService
from .bytestream_service import ByteStreamService
from .capabilities_service import CapabilitiesService
from .cas_service import CasService
from .find_missing import MissingBlobsFinder
from .result_admin_service import ResultAdminService
from .storage import Storage


def services(
    storage: Storage,
    instances: Instances,
    *,
    has_execution: bool,
    logs: OperationLogs | None = None,
) -> list[Method]:
    """The rows of all services that storage offers; `has_execution` is for GetCapabilities.

    Their calls are noted for pins.
    """
    blobs, reads = storage.blobs, storage.reads
    finder = MissingBlobsFinder(blobs, storage.presence, storage.filter, instances)
    cas = CasService(reads, blobs.for_instance, finder, instances, storage.chunk_records)
    methods = [
        *CapabilitiesService(instances, has_execution=has_execution).methods(),
        *cas.methods(),
        *ByteStreamService(reads, storage.uploads, instances, blobs, logs).methods(),
        *ActionCacheService(storage.action_cache, reads, instances).methods(),
    ]
    admin = ResultAdminService(storage.parts.results, storage.presence.now)
    return [*storage.invocations.watched(methods), *admin.methods()]

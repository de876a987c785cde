"""google.longrunning.Operations: Get, List and Cancel (OP1-OP3). The others stay unbound."""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from google.longrunning.operations_pb2 import (
    DESCRIPTOR,
    CancelOperationRequest,
    GetOperationRequest,
    ListOperationsRequest,
    ListOperationsResponse,
)
from google.protobuf.empty_pb2 import Empty

from reapi.core.errors import InvalidArgument
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, bind

from .dispatcher import Dispatcher

_SERVICE = DESCRIPTOR.services_by_name["Operations"]
_DEFAULT_PAGE_SIZE = 100
_LARGEST_PAGE_SIZE = 500
_LARGEST_PAGE_BYTES = 2 << 20
_NAME = re.compile(
    r"operations/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII
)


class OperationsService:
    """Live operations and those that finished within the retention time."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(
            _SERVICE,
            {
                "GetOperation": self.get_operation,
                "ListOperations": self.list_operations,
                "CancelOperation": self.cancel_operation,
            },
        )

    async def get_operation(self, request: GetOperationRequest, call: Call) -> bytes:
        return await self._dispatcher.message(request.name)

    async def list_operations(
        self, request: ListOperationsRequest, call: Call
    ) -> ListOperationsResponse:
        """In the order of their names. `name` is an instance name; empty or `operations` is all."""
        if request.filter:
            raise InvalidArgument("filter is not supported: leave it empty")
        if request.page_size < 0:
            raise InvalidArgument(f"page_size of {request.page_size} is negative")
        size = min(request.page_size or _DEFAULT_PAGE_SIZE, _LARGEST_PAGE_SIZE)
        after = _parse_token(request.page_token) if request.page_token else ""
        instance_name = None if request.name in ("", "operations") else request.name
        # One more than asked for tells whether there is a next page.
        found = await self._dispatcher.page(instance_name, after, size + 1)
        response = ListOperationsResponse()
        total = 0
        for name, operation in found[:size]:
            total += len(operation)
            if response.operations and total > _LARGEST_PAGE_BYTES:
                break
            response.operations.add().ParseFromString(operation)
            after = name
        if len(response.operations) < len(found):
            response.next_page_token = urlsafe_b64encode(after.encode()).decode()
        return response

    async def cancel_operation(self, request: CancelOperationRequest, call: Call) -> Empty:
        await self._dispatcher.cancel(request.name)
        return Empty()


def _parse_token(token: str) -> str:
    """The last name of the page before; InvalidArgument for a token that no reply had."""
    try:
        name = urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeDecodeError):
        name = ""
    if not _NAME.fullmatch(name) or urlsafe_b64encode(name.encode()).decode() != token:
        raise InvalidArgument(
            f"page_token {token[:80]!r} is not one that this server gave; start at the first page"
        )
    return name

"""google.longrunning.Operations: Get, List and Cancel (OP1-OP3). The others stay unbound."""

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
from .operation_filter import parse_filter
from .page_token import make_token, parse_token

_SERVICE = DESCRIPTOR.services_by_name["Operations"]
_DEFAULT_PAGE_SIZE = 100
_LARGEST_PAGE_SIZE = 500
_LARGEST_PAGE_BYTES = 2 << 20


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
        """In the order of their names. `name` is an instance name; empty or `operations` is all.

        A page may hold fewer than asked for, or none, while there are more: look at its token.
        """
        if request.page_size < 0:
            raise InvalidArgument(f"page_size of {request.page_size} is negative")
        wanted = parse_filter(request.filter)
        question = f"{request.name}\0{request.filter}"
        after = parse_token(request.page_token, question) if request.page_token else ""
        instance_name = None if request.name in ("", "operations") else request.name
        size = min(request.page_size or _DEFAULT_PAGE_SIZE, _LARGEST_PAGE_SIZE)
        page = await self._dispatcher.page(instance_name, wanted, after, size)
        response = ListOperationsResponse()
        total, goes_on_after = 0, page.goes_on_after
        for name, operation in page.operations:
            total += len(operation)
            if response.operations and total > _LARGEST_PAGE_BYTES:
                goes_on_after = after
                break
            response.operations.add().ParseFromString(operation)
            after = name
        if goes_on_after:
            response.next_page_token = make_token(goes_on_after, question)
        return response

    async def cancel_operation(self, request: CancelOperationRequest, call: Call) -> Empty:
        await self._dispatcher.cancel(request.name)
        return Empty()

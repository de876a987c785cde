"""reapi.worker.v1.WorkerService: one stream per worker, with leases pushed to it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from reapi.core.errors import DeadlineExceeded, InvalidArgument
from reapi.core.interfaces import Call
from reapi.core.rpc import Method, bind
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    DESCRIPTOR,
    ConnectRequest,
    ConnectResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    Register,
    Worker,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import LeaseKey as LeaseKeyMessage

from .cluster import worker_message, workers
from .config import SchedulerConfig
from .dispatcher import Dispatcher
from .events import WorkerConnected
from .model import LeaseKey, Resources
from .resource_properties import check_amount, resources_of
from .validation import platform_properties
from .worker_links import WorkerLink

_SERVICE = DESCRIPTOR.services_by_name["WorkerService"]
_MOST_SLOTS = 10_000
_LONGEST_ID = 200


class WorkerService:
    """Reads what workers say and hands it to the dispatcher; writes what that has for them."""

    def __init__(self, config: SchedulerConfig, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._heartbeat_seconds = config.heartbeat_seconds
        self._silence_seconds = max(config.worker_timeout_seconds / 2, 2 * config.heartbeat_seconds)

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(_SERVICE, {"Connect": self.connect, "ListWorkers": self.list_workers})

    async def connect(
        self, requests: AsyncIterator[ConnectRequest], call: Call
    ) -> AsyncGenerator[ConnectResponse, None]:
        """Raises InvalidArgument for a stream that does not begin with a proper Register, and
        DeadlineExceeded when the worker has fallen silent: it is welcome to come back."""
        event = await self._registration(requests)
        link = WorkerLink(event.worker_id, event.session_id)
        link.last_heard = self._dispatcher.now()
        self._dispatcher.connect(link, event)
        reader = asyncio.create_task(self._read(requests, link))
        try:
            while (message := await link.next()) is not None:
                yield message
        finally:
            reader.cancel()
            self._dispatcher.disconnect(link)
            await asyncio.wait([reader])

    async def list_workers(self, request: ListWorkersRequest, call: Call) -> ListWorkersResponse:
        return ListWorkersResponse(workers=worker_messages(self._dispatcher))

    async def _registration(self, requests: AsyncIterator[ConnectRequest]) -> WorkerConnected:
        try:
            async with asyncio.timeout(self._silence_seconds):
                first = await anext(requests)
        except StopAsyncIteration:
            raise InvalidArgument("the stream ended before a Register") from None
        except TimeoutError:
            raise DeadlineExceeded("no Register arrived") from None
        if first.WhichOneof("message") != "register":
            raise InvalidArgument("the first message of a worker must be a Register")
        return _registered(first.register)

    async def _read(self, requests: AsyncIterator[ConnectRequest], link: WorkerLink) -> None:
        """Serves the worker's messages until it ends the stream, breaks it or falls silent."""
        try:
            while True:
                async with asyncio.timeout(self._silence_seconds):
                    request = await anext(requests)
                link.last_heard = self._dispatcher.now()
                self._take(request, link.worker_id)
        except StopAsyncIteration:
            link.close()
        except TimeoutError:
            link.close(DeadlineExceeded(f"no heartbeat for {self._silence_seconds:g} s"))
        except Exception as error:
            link.close(error)

    def _take(self, request: ConnectRequest, worker_id: str) -> None:
        match request.WhichOneof("message"):
            case "completion":
                key = _key(request.completion.key)
                self._dispatcher.complete(worker_id, key, request.completion.response)
            case "progress":
                key = _key(request.progress.key)
                self._dispatcher.progress(worker_id, key, request.progress.metadata)
            case "log_chunk":
                self._dispatcher.log_reads.answer(worker_id, request.log_chunk)
            case "drain":
                self._dispatcher.drain(worker_id)
            case "register":
                raise InvalidArgument("a second Register on one stream")
            case _:
                # A heartbeat has done its work by arriving; unknown words come from newer workers.
                pass


def worker_messages(dispatcher: Dispatcher) -> list[Worker]:
    """All known workers, in the order of their ids."""
    queue = dispatcher.queue
    return [
        worker_message(queue, worker, dispatcher.last_heard(worker)) for worker in workers(queue)
    ]


def _registered(register: Register) -> WorkerConnected:
    for name, value in (("worker_id", register.worker_id), ("session_id", register.session_id)):
        if not 0 < len(value) <= _LONGEST_ID:
            raise InvalidArgument(f"{name} must have 1 to {_LONGEST_ID} characters")
    if not 0 < register.slots <= _MOST_SLOTS:
        raise InvalidArgument(f"slots must be 1 to {_MOST_SLOTS}, not {register.slots}")
    if len(register.held) > _MOST_SLOTS:
        raise InvalidArgument(f"more than {_MOST_SLOTS} leases are held")
    return WorkerConnected(
        worker_id=register.worker_id,
        session_id=register.session_id,
        slots=register.slots,
        properties=platform_properties(register.platform),
        held=tuple(_key(key) for key in register.held),
        resources=_resources(register),
        ordinal=register.ordinal if register.HasField("ordinal") else -1,
    )


def _resources(register: Register) -> Resources:
    """What the worker offers; InvalidArgument for names that no action could ask for."""
    amounts = {one.name: check_amount(one.name, one.amount) for one in register.resources}
    return resources_of(amounts)


def _key(message: LeaseKeyMessage) -> LeaseKey:
    return (message.operation_name, message.epoch)

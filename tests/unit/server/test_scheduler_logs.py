"""Logs for a frontend, from a scheduler that goes away in the middle."""

from collections.abc import AsyncGenerator

import pytest
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

from reapi.core.digest import Digest, digest_of
from reapi.core.errors import NotFound, ReapiError, Relayed, Unavailable
from reapi.core.interfaces import Call
from reapi.core.log_name import LogName
from reapi.core.rpc import bind
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import (
    DESCRIPTOR,
    ReadLogRequest,
    ReadLogResponse,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import LogStream
from reapi.server.scheduler_logs import SchedulerLogs
from tests.unit.scheduler.harness import CALL

LOG = b"0123456789"
NAME = LogName("main", "operations/x", LogStream.LOG_STREAM_STDERR)
SERVICE = DESCRIPTOR.services_by_name["SchedulerService"]


class FakeScheduler:
    """Tells two bytes of a log in each call and then fails; without more errors it goes on."""

    def __init__(self, *errors: ReapiError, is_raw: bool = False) -> None:
        self._errors = list(errors)
        self._is_raw = is_raw
        self.requests: list[ReadLogRequest] = []
        raw = frozenset({"ReadLog"} if is_raw else ())
        self.logs = SchedulerLogs(bind(SERVICE, {"ReadLog": self._read_log}, raw_requests=raw))

    async def _read_log(
        self, message: ReadLogRequest | bytes, call: Call
    ) -> AsyncGenerator[ReadLogResponse | bytes, None]:
        request = ReadLogRequest.FromString(message) if isinstance(message, bytes) else message
        self.requests.append(request)
        error = self._errors.pop(0) if self._errors else None
        end = len(LOG) if error is None else request.offset + 2
        response = ReadLogResponse(data=LOG[request.offset : end])
        yield response.SerializeToString() if self._is_raw else response
        if error is not None:
            raise error
        digest = digest_of(LOG)
        response = ReadLogResponse(
            stored=digest.to_message(), digest_function=digest.function.number
        )
        yield response.SerializeToString() if self._is_raw else response

    async def read(self) -> list[bytes | Digest]:
        return [part async for part in self.logs.read(NAME, 1, CALL)]


@pytest.mark.parametrize("is_raw", [False, True])
async def test_a_log_is_read_to_its_stored_end(is_raw: bool) -> None:
    scheduler = FakeScheduler(is_raw=is_raw)
    assert await scheduler.read() == [LOG[1:], digest_of(LOG)]
    (request,) = scheduler.requests
    assert (request.instance_name, request.name) == ("main", "operations/x")
    assert (request.stream, request.offset) == (LogStream.LOG_STREAM_STDERR, 1)


async def test_reading_goes_on_at_its_offset_when_the_scheduler_is_back() -> None:
    gone = Relayed(Status(code=code_pb2.CANCELLED))
    scheduler = FakeScheduler(Unavailable("restarting"), gone)
    assert await scheduler.read() == [b"12", b"34", b"56789", digest_of(LOG)]
    assert [request.offset for request in scheduler.requests] == [1, 3, 5]


async def test_what_the_scheduler_answers_otherwise_is_the_answer() -> None:
    for error in (NotFound("forgotten"), Relayed(Status(code=code_pb2.NOT_FOUND))):
        with pytest.raises(type(error)):
            await FakeScheduler(error).read()

"""One scheduler after the other in one process: what calls meet before, in and after a term."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from google.longrunning import operations_pb2
from google.longrunning.operations_pb2 import GetOperationRequest, Operation
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry

from reapi.core.errors import FailedPrecondition, ReapiError, Unavailable, Unimplemented
from reapi.core.health import HealthService
from reapi.core.interfaces import Call
from reapi.core.rpc import bind
from reapi.protos.reapi.scheduler.v1.scheduler_pb2 import GetClusterResponse
from reapi.server import office as offices
from reapi.server.cluster_health import ClusterView
from reapi.server.forward import SERVICE_NAMES
from reapi.server.office import InOffice, Listeners, Office
from tests.unit.scheduler.harness import CALL

OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
EXECUTION = "build.bazel.remote.execution.v2.Execution"


def _nobody() -> ClusterView:
    return ClusterView([], GetClusterResponse())


class FakeTerms:
    """Terms that begin and end when a test says so."""

    def __init__(self) -> None:
        self.turn = asyncio.Event()
        self.oust = asyncio.Event()
        self.failure: ReapiError | None = None
        self.failed = asyncio.Event()
        self.number = 0
        self.listeners: Listeners

    @asynccontextmanager
    async def open(self, listeners: Listeners) -> AsyncIterator[InOffice]:
        self.listeners = listeners
        if not self.turn.is_set():
            listeners.standing_by()
            await self.turn.wait()
        if self.failure is not None:
            self.failed.set()
            raise self.failure
        self.number += 1
        self.oust.clear()

        async def get(request: GetOperationRequest, call: Call) -> Operation:
            return Operation(name=f"{request.name} of term {self.number}")

        yield InOffice(bind(OPERATIONS, {"GetOperation": get}), self.oust.wait, _nobody)


class Served:
    """An office as its callers and its operators see it."""

    def __init__(self, terms: FakeTerms) -> None:
        self.registry = CollectorRegistry()
        self.office = Office(terms.open, self.registry)
        self.health = HealthService(SERVICE_NAMES)
        self._rows = {method.path: method for method in self.office.methods()}

    async def get(self, name: str = "a", *, method: str = "GetOperation") -> str:
        handler = cast(Any, self._rows[f"/google.longrunning.Operations/{method}"].handler)
        return str((await handler(GetOperationRequest(name=name), CALL)).name)

    async def until(self, is_serving: bool) -> None:
        """Waits until the health of Execution is so."""
        request = health_pb2.HealthCheckRequest(service=EXECUTION)
        async for state in self.health.watch(request, CALL):
            if (state.status == state.SERVING) == is_serving:
                return

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


@pytest.fixture
def terms() -> FakeTerms:
    return FakeTerms()


@pytest.fixture
def served(terms: FakeTerms) -> Served:
    return Served(terms)


async def test_a_term_that_can_begin_has_begun_on_entry(terms: FakeTerms, served: Served) -> None:
    terms.turn.set()
    async with served.office.serving(served.health):
        assert await served.get() == "a of term 1"
        assert served.office.standby is None
        assert served.metric("reapi_scheduler_active") == 1
        with pytest.raises(Unimplemented):
            await served.get(method="DeleteOperation")


async def test_a_standby_refuses_and_says_when_to_come_again(
    terms: FakeTerms, served: Served
) -> None:
    async with served.office.serving(served.health):
        assert served.office.standby
        assert served.metric("reapi_scheduler_active") == 0
        with pytest.raises(Unavailable, match="standby") as caught:
            await served.get()
        assert caught.value.retry_after_seconds
        await served.until(False)
        terms.turn.set()
        await served.until(True)
        assert await served.get() == "a of term 1"


async def test_one_that_is_ousted_is_counted_and_serves_again_in_its_next_term(
    terms: FakeTerms, served: Served
) -> None:
    terms.turn.set()
    async with served.office.serving(served.health):
        terms.turn.clear()
        terms.oust.set()
        await served.until(False)
        assert served.office.standby
        terms.turn.set()
        await served.until(True)
        assert served.metric("reapi_scheduler_fenced_total") == 1
        assert await served.get() == "a of term 2"


async def test_F9_without_its_database_it_is_not_serving(terms: FakeTerms, served: Served) -> None:
    terms.turn.set()
    async with served.office.serving(served.health):
        for has_database in (True, False, True):
            terms.listeners.on_renewal(has_database)
            await served.until(has_database)


async def test_one_that_cannot_begin_its_first_term_does_not_start(
    terms: FakeTerms, served: Served
) -> None:
    terms.turn.set()
    terms.failure = FailedPrecondition("the journal cannot be read")
    with pytest.raises(FailedPrecondition, match="cannot be read"):
        async with served.office.serving(served.health):
            pass


async def test_a_standby_that_cannot_begin_says_why_and_tries_again(
    terms: FakeTerms, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offices, "_PAUSE_SECONDS", 0)
    async with served.office.serving(served.health):
        terms.failure = FailedPrecondition("the journal cannot be read")
        terms.turn.set()
        await terms.failed.wait()
        assert served.office.problem == "the journal cannot be read"
        terms.failure = None
        await served.until(True)
        assert served.office.problem is None


async def test_one_that_resigns_serves_no_more(terms: FakeTerms, served: Served) -> None:
    terms.turn.set()
    async with served.office.serving(served.health):
        await served.office.resign()
        with pytest.raises(Unavailable):
            await served.get()
        await served.until(False)
    assert served.metric("reapi_scheduler_fenced_total") == 0

"""The scheduler of this process: its services while it is active, a refusal while it stands by."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from prometheus_client import CollectorRegistry, Counter, Gauge

from reapi.core.errors import ReapiError, Unavailable, Unimplemented
from reapi.core.health import HealthService
from reapi.core.interfaces import Call
from reapi.core.rpc import Method

from .cluster_health import ClusterView
from .forward import SERVICE_NAMES, bind_services, path_of

logger = logging.getLogger(__name__)

_RETRY_AFTER_SECONDS = 1.0
_PAUSE_SECONDS = 5.0
_STANDBY = "standby: another scheduler is active, or its database is away"


@dataclass(frozen=True)
class InOffice:
    """A scheduler that is active. `over` returns when another one has taken over."""

    methods: Sequence[Method]
    over: Callable[[], Awaitable[None]]
    view: Callable[[], ClusterView]
    """Its workers and queues now."""


@dataclass(frozen=True)
class Listeners:
    """Whom a term tells that another scheduler is active, and, again and again, whether its
    database is there."""

    standing_by: Callable[[], None]
    on_renewal: Callable[[bool], None]


OpenTerm = Callable[[Listeners], AbstractAsyncContextManager[InOffice]]
"""Entering it waits until no other scheduler is active; inside this one is."""


class Office:
    """Runs one scheduler after the other, each from the journal that the last one left.

    A term that another scheduler ended is followed by the next one, in which this process stands by
    until it is its turn: nothing has to be restarted. What one term knew, the next does not.
    """

    def __init__(self, open_term: OpenTerm, registry: CollectorRegistry) -> None:
        self._open_term = open_term
        self._handlers: Mapping[str, Any] | None = None
        self._view: Callable[[], ClusterView] | None = None
        self._has_database = True
        self._health: HealthService | None = None
        self._running: asyncio.Task[None] | None = None
        self.standby: str | None = None
        """In words for a person, while another scheduler is active."""
        self.problem: str | None = None
        """In words for a person, why this one cannot become active."""
        self._fenced = Counter(
            "reapi_scheduler_fenced",
            "Times that this scheduler found that another one had taken over.",
            registry=registry,
        )
        self._active = Gauge(
            "reapi_scheduler_active",
            "1 while this scheduler is active, 0 while it stands by.",
            registry=registry,
        )

    def methods(self) -> list[Method]:
        """A row for every method of the scheduler's services."""
        return bind_services(self._handler)

    @asynccontextmanager
    async def serving(self, health: HealthService) -> AsyncIterator[None]:
        """Inside it is active or stands by, and `health` says which.

        Raises what makes the first term impossible, such as a journal that cannot be read.
        """
        self._health = health
        self._tell()
        decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(decided))
        try:
            await decided
            yield
        finally:
            await self.resign()

    def view(self) -> ClusterView | None:
        """Workers and queues; None while this scheduler is not active."""
        return None if self._view is None else self._view()

    async def ask(self) -> ClusterView:
        """The same, for those who wait for an answer. One that stands by has none to give."""
        view = self.view()
        if view is None:
            raise self._not_active()
        return view

    async def resign(self) -> None:
        """Ends all streams and lets another scheduler take over at once; for good."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self, decided: "asyncio.Future[None]") -> None:
        def standing_by() -> None:
            if self.standby is None:
                logger.info("standing by: another scheduler is active, or its database is away")
            self.standby = _STANDBY
            _decide(decided)

        while True:
            try:
                listeners = Listeners(standing_by, self._renewed)
                async with self._open_term(listeners) as term:
                    self._begin(term)
                    _decide(decided)
                    try:
                        await term.over()
                    finally:
                        self._end()
                    self._fenced.inc()
                    logger.warning("another scheduler has taken over: this one stands by")
            except Exception as error:
                if not decided.done():
                    decided.set_exception(error)
                    return
                self._cannot_begin(error)
                # Nothing tells when it would go better.
                await asyncio.sleep(_PAUSE_SECONDS)

    def _begin(self, term: InOffice) -> None:
        self._handlers = {method.path: method.handler for method in term.methods}
        self._view = term.view
        self._has_database = True
        self.standby = self.problem = None
        self._active.set(1)
        self._tell()
        logger.info("this scheduler is active")

    def _end(self) -> None:
        self._handlers = self._view = None
        self.standby = _STANDBY
        self._active.set(0)
        self._tell()

    def _cannot_begin(self, error: Exception) -> None:
        self.problem = error.message if isinstance(error, ReapiError) else "an internal error"
        logger.error("the scheduler cannot be active: %s", self.problem, exc_info=error)

    def _renewed(self, has_database: bool) -> None:
        if has_database != self._has_database:
            self._has_database = has_database
            self._tell()

    def _tell(self) -> None:
        if self._health is not None:
            is_available = self._handlers is not None and self._has_database
            self._health.set_available(SERVICE_NAMES, is_available)

    def _not_active(self) -> Unavailable:
        return Unavailable(
            f"this scheduler is not active: {self.problem or _STANDBY}",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )

    def _handler(self, method: MethodDescriptor) -> Callable[[Any, Call], Any]:
        path = path_of(method)

        def handle(request: Any, call: Call) -> Any:
            if self._handlers is None:
                raise self._not_active()
            if path not in self._handlers:
                raise Unimplemented(f"this scheduler has no method {path}")
            return self._handlers[path](request, call)

        return handle


def _decide(decided: "asyncio.Future[None]") -> None:
    if not decided.done():
        decided.set_result(None)

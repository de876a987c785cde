"""A running executor: takes leases from the scheduler, runs them in its slots, reports each once.

The worker protocol is docs/decisions/0003-worker-protocol.md.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Self

from reapi.clients.patient_blobs import PatientBlobStore
from reapi.clients.schedulers import Schedulers
from reapi.core.errors import Cancelled, ReapiError, ResourceExhausted, status_of
from reapi.core.execution_properties import PERSISTENT_WORKER_KEY
from reapi.core.interfaces import BlobStore
from reapi.core.uninterrupted import uninterrupted
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecuteResponse,
    Platform,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import (
    ConnectRequest,
    ConnectResponse,
    Drain,
    Lease,
    Progress,
    ReadLog,
    Register,
    Registered,
    Resource,
)

from .action import Action
from .action_uid import can_separate_uids
from .cgroups import Cgroups
from .completion_files import CompletionFiles
from .config import ExecutorConfig
from .held_leases import HeldLease, HeldLeases
from .images import Images
from .input_tree import InputTrees
from .local_cache import LocalCache
from .roots import RootAbilities, Roots, find_abilities
from .sandbox_choice import SandboxChoice, choose_sandbox
from .scheduler_link import SchedulerLink
from .slot import Slot
from .watched_logs import WatchedLogs
from .work_area import WorkArea

_LOG = logging.getLogger(__name__)
_PROGRESS_AFTER_SECONDS = 0.05
"""A command that ends sooner is reported by its completion alone: a message less per action."""


class Worker:
    """Runs actions from `run` on until it is drained; an async context manager.

    `schedulers` know the one that gives leases; `blob_store` makes the store of an instance name,
    which must be usable as long as the worker is, and need have no patience of its own. Leaving
    the context kills what still runs; what is done and has not been taken is on disk then, and
    delivered by the next life.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        schedulers: Schedulers,
        blob_store: Callable[[str], BlobStore],
    ) -> None:
        self._config = config
        self._blob_store = blob_store
        self.has_joined = asyncio.Event()
        """Set once the scheduler has welcomed this worker for the first time."""
        self._session_id = str(uuid.uuid4())
        self._link = SchedulerLink(schedulers, self._register, self._handle)
        self._stack = AsyncExitStack()
        self._trees = InputTrees()
        self._held: HeldLeases
        self._logs = WatchedLogs(self._send, config.limits.log_size_bytes)
        self._free: list[Slot] = []
        self._free_slots = asyncio.Semaphore(0)
        self._is_draining = False
        self._parting: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._cache: LocalCache
        self._roots: Roots
        self._abilities: RootAbilities
        self.sandbox: SandboxChoice
        """Set as soon as the worker is entered."""

    async def __aenter__(self) -> Self:
        try:
            await self._prepare()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _prepare(self) -> None:
        config = self._config
        area = await uninterrupted(asyncio.to_thread(WorkArea, config.cache_dir))
        self._stack.callback(area.close)
        self._held = HeldLeases(CompletionFiles(area.completions))
        await asyncio.to_thread(self._held.load)
        separate_uid = can_separate_uids(area.slots)
        self.sandbox = await choose_sandbox(
            config.sandbox, area.sandbox, config.sandbox_paths, separate_uid=separate_uid
        )
        cache = LocalCache(area.files, config.cache_max_size_bytes)
        self._cache = await self._stack.enter_async_context(cache)
        images = Images(area.images, self._trees, cache)
        await self._stack.enter_async_context(images)
        self._abilities = find_abilities(self.sandbox, area.sandbox)
        self._roots = Roots(self._abilities, images)
        cgroups = Cgroups(config.cache_dir, config.limits)
        _LOG.info("limits of actions: %s; files and outputs by rlimit and count", cgroups.report())
        for number in range(config.slots):
            slot = Slot(
                area.slots / str(number),
                cache,
                separate_uid=separate_uid,
                bubblewrap=self.sandbox.bubblewrap,
                limits=config.limits,
                cgroups=cgroups,
                persistent_worker_idle_seconds=config.persistent_worker_idle_seconds,
            )
            self._give_back(await self._stack.enter_async_context(slot))

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """Works until `drain` is through. Cancelling it kills what runs and reports nothing."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                if self._is_draining:
                    self._leave_if_done()
                await self._link.run()
        finally:
            if self._parting is not None:
                self._parting.cancel()
            self._logs.close()
            self._held.keep_all()

    def drain(self) -> None:
        """Takes no new leases; `run` ends when the scheduler has all completions.

        When all actions have ended and it does not take them for `delivery_seconds`, they are left
        to the next life.
        """
        if self._is_draining:
            return
        self._is_draining = True
        if self._tasks is not None:
            self._send(ConnectRequest(drain=Drain()))
            self._leave_if_done()

    def _register(self) -> Register:
        properties = sorted({*self._config.platform.items(), *self._abilities.offers})
        return Register(
            worker_id=self._config.worker_id,
            session_id=self._session_id,
            slots=self._config.slots,
            platform=Platform(
                properties=[Platform.Property(name=name, value=value) for name, value in properties]
            ),
            held=[held.key for held in self._held],
            resources=[
                Resource(name=name, amount=amount)
                for name, amount in sorted(self._config.resources.items())
            ],
            ordinal=self._config.ordinal,
        )

    def _handle(self, response: ConnectResponse) -> None:
        match response.WhichOneof("message"):
            case "registered":
                self._registered(response.registered)
            case "lease":
                self._accept(response.lease)
            case "cancel":
                if (held := self._held.get(response.cancel.key)) and not held.completion:
                    held.cancel()
            case "completion_received":
                self._held.forget(response.completion_received.key)
                self._leave_if_done()
            case "read_log":
                self._read_log(response.read_log)

    def _read_log(self, request: ReadLog) -> None:
        held = self._held.get(request.key)
        if held is None or held.completion is not None:
            self._logs.refuse(request)
        else:
            self._logs.ask(request)

    def _registered(self, registered: Registered) -> None:
        self.has_joined.set()
        for key in registered.revoked:
            if held := self._held.forget(key):
                held.is_revoked = True
                held.cancel()
        for held in self._held:
            if held.completion is not None:
                self._send(ConnectRequest(completion=held.completion))
        if self._is_draining:
            self._send(ConnectRequest(drain=Drain()))
            self._leave_if_done()

    def _accept(self, lease: Lease) -> None:
        if self._held.get(lease.key):
            return
        held = self._held.add(lease.key)
        if self._held.running > self._config.slots:
            _LOG.error("lease %s came while no slot was free", lease.key.operation_name)
            self._complete(held, _response(ResourceExhausted("this worker has no free slot")))
        else:
            self._start(self._serve(held, lease))

    async def _serve(self, held: HeldLease, lease: Lease) -> None:
        action = Action(
            lease,
            self._config.worker_id,
            PatientBlobStore(
                self._blob_store(lease.instance_name),
                patience_seconds=self._config.storage_patience_seconds,
            ),
            self._trees,
            self._cache,
            self._roots,
        )
        slot = await self._take_slot(lease)
        try:
            await self._run(held, action, slot)
        finally:
            await uninterrupted(slot.restore(action.started_ns))
            await self._roots.trim()
            self._give_back(slot)

    async def _run(self, held: HeldLease, action: Action, slot: Slot) -> None:
        """Runs and completes a lease, unless it is revoked meanwhile."""
        if held.is_cancelled:
            self._complete(held, _response(Cancelled("the operation was cancelled")))
            return
        progress: list[asyncio.TimerHandle] = []

        def on_start() -> None:
            self._logs.begin(held.key, slot.runner)
            loop = asyncio.get_running_loop()
            message = ConnectRequest(progress=Progress(key=held.key, metadata=action.metadata))
            progress.append(loop.call_later(_PROGRESS_AFTER_SECONDS, self._send, message))

        held.run = asyncio.ensure_future(action.run(slot, on_start))
        try:
            await uninterrupted(asyncio.wait((held.run,)), on_cancel=held.run.cancel)
        finally:
            for timer in progress:
                timer.cancel()
        if held.is_revoked:
            self._logs.end(held.key)
        elif held.run.cancelled():
            self._complete(held, await action.cancelled(slot))
        else:
            self._complete(held, held.run.result())

    def _complete(self, held: HeldLease, response: ExecuteResponse) -> None:
        self._logs.end(held.key)
        if not held.is_revoked:
            is_away = not self._link.is_open
            completion = self._held.complete(held, response, self._start, is_away=is_away)
            self._send(ConnectRequest(completion=completion))
            self._leave_if_done()

    def _send(self, request: ConnectRequest) -> None:
        self._start(self._link.send(request))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        """Does `work` beside the rest; not once `run` is being cancelled, or is through."""
        assert self._tasks is not None
        try:
            self._tasks.create_task(work)
        except RuntimeError:  # the group begins nothing while it shuts down, and leaves `work` open
            work.close()

    def _leave_if_done(self) -> None:
        if not self._is_draining or self._held.running:
            return
        if not self._held:
            self._start(self._link.leave())
        elif self._parting is None:
            loop = asyncio.get_running_loop()
            self._parting = loop.call_later(self._config.delivery_seconds, self._leave_undelivered)

    def _leave_undelivered(self) -> None:
        _LOG.warning("leaving with %d results that the scheduler has not taken", len(self._held))
        self._start(self._link.leave())

    async def _take_slot(self, lease: Lease) -> Slot:
        """The free slot that suits best; of equal ones that which was used last."""
        await self._free_slots.acquire()
        root = lease.action.input_root_digest.hash
        keys = (p.value for p in lease.platform.properties if p.name == PERSISTENT_WORKER_KEY)
        client_key = next(keys, None)
        slot = max(reversed(self._free), key=lambda slot: slot.suitability(root, client_key))
        self._free.remove(slot)
        return slot

    def _give_back(self, slot: Slot) -> None:
        self._free.append(slot)
        self._free_slots.release()


def _response(error: ReapiError) -> ExecuteResponse:
    return ExecuteResponse(status=status_of(error))

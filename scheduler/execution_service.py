"""Execution: Execute and WaitExecution (conformance 1.7)."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from reapi.core.cache_state import CacheFinding, CacheState, ResultAbsent
from reapi.core.digest import Digest, parse_digest
from reapi.core.errors import BlobsMissing, NotFound, status_of
from reapi.core.execution_properties import matched_properties
from reapi.core.inlining import with_inlined_outputs
from reapi.core.instances import Instances
from reapi.core.interfaces import ActionCache, BlobStore, Call
from reapi.core.request_metadata import request_metadata
from reapi.core.rpc import Method, bind
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    DESCRIPTOR,
    Action,
    ActionResult,
    ExecuteRequest,
    ExecuteResponse,
    RequestMetadata,
    WaitExecutionRequest,
)
from reapi.protos.reapi.worker.v1.worker_pb2 import Lease

from . import operation_message
from .action_traits import traits_of
from .config import SchedulerConfig
from .dispatcher import Dispatcher
from .events import Enqueue
from .live_operation import LiveOperation
from .missing_inputs import missing_inputs
from .model import Properties, Resources
from .operation_name import new_name
from .platform_rewriting import UNCHANGED, PlatformRewriting
from .resource_properties import split_resources
from .validation import (
    check_size,
    parse_action,
    parse_command,
    required_properties,
    timeout_seconds,
)

_SERVICE = DESCRIPTOR.services_by_name["Execution"]
_MOST_INLINE_FILES = 1000
_LONGEST_INVOCATION = 200
_LARGEST_ROOT_READ_BYTES = 256 << 10


class ExecutionService:
    """Answers with serialized Operations.

    A request that cannot be an operation fails the call (EX4). Missing blobs are told in the
    response of a done Operation all the same, because some clients drop the details of a status
    (EX8). Everything later stands there anyway.
    """

    def __init__(
        self,
        config: SchedulerConfig,
        dispatcher: Dispatcher,
        blobs: BlobStore,
        action_cache: ActionCache,
        instances: Instances,
    ) -> None:
        self._config = config
        self._dispatcher = dispatcher
        self._recorder = dispatcher.history.recorder
        self._blobs = blobs
        self._action_cache = action_cache
        self._instances = instances

    def methods(self) -> list[Method]:
        """The rows of this service."""
        return bind(_SERVICE, {"Execute": self.execute, "WaitExecution": self.wait_execution})

    async def execute(self, request: ExecuteRequest, call: Call) -> AsyncGenerator[bytes, None]:
        function = self._instances.parse_function(
            request.instance_name, request.digest_function, len(request.action_digest.hash)
        )
        action_digest = parse_digest(request.action_digest, function)
        check_size(action_digest, "action")
        name = new_name(self._config.shard_name)
        try:
            blobs = {action_digest: await self._read_action(action_digest)}
            action, command_digest, root_digest = parse_action(blobs[action_digest], action_digest)
            cached = await self._look_up(request, action, action_digest)
            if isinstance(cached, CacheFinding):
                blobs |= await self._read_inputs(command_digest, root_digest)
        except BlobsMissing as error:
            response = ExecuteResponse(status=status_of(error))
            yield self._answer(name, action_digest, response)
            return
        metadata = request_metadata(call)
        if isinstance(cached, ActionResult):
            self._recorder.hit(name, request.instance_name, action_digest, metadata)
            cached = await self._with_inlined(request, cached, action_digest)
            response = ExecuteResponse(result=cached, cached_result=True)
            yield self._answer(name, action_digest, response)
            return
        command = parse_command(blobs[command_digest], command_digest)
        traits = traits_of(request.instance_name, action_digest, metadata, command)
        asked = self._rewriting(request.instance_name).apply(required_properties(action, command))
        properties, resources = split_resources(matched_properties(asked, function))
        template = self._lease_template(request, metadata, action, action_digest, asked, resources)
        event = Enqueue(
            operation_name=name,
            instance_name=request.instance_name,
            action=action_digest.subject,
            is_mergeable=not action.do_not_cache,
            properties=properties,
            priority=request.execution_policy.priority,
            lease_template=template.SerializeToString(),
            tenant=request.instance_name,
            invocation=metadata.tool_invocation_id[:_LONGEST_INVOCATION],
            resources=resources,
            expected=self._recorder.durations.expected(
                request.instance_name, traits.target, traits.mnemonic
            ),
        )
        self._recorder.describe(name, traits, cached)
        live = await self._dispatcher.enqueue(event, action_digest, metadata, blobs)
        async with aclosing(self._follow(live)) as messages:
            async for message in messages:
                yield message

    async def wait_execution(
        self, request: WaitExecutionRequest, call: Call
    ) -> AsyncGenerator[bytes, None]:
        live = self._dispatcher.watch(request.name)
        if live is None:
            yield await self._dispatcher.message(request.name)
            return
        async with aclosing(self._follow(live)) as messages:
            async for message in messages:
                yield message

    def _answer(self, name: str, action_digest: Digest, response: ExecuteResponse) -> bytes:
        """The last message of what need not be queued; its name is known for a while."""
        message = operation_message.done(name, action_digest, response)
        self._dispatcher.answer(name, message)
        return message

    async def _follow(self, live: LiveOperation) -> AsyncGenerator[bytes, None]:
        """The state now, then every change, until it is done; quiet streams repeat it (EX16)."""
        live.streams += 1
        try:
            while True:
                version, is_done = live.version, live.is_done
                yield live.message()
                if is_done:
                    return
                await live.changed(version, self._config.update_interval_seconds)
        finally:
            live.streams -= 1
            self._dispatcher.leave(live)

    async def _look_up(
        self, request: ExecuteRequest, action: Action, action_digest: Digest
    ) -> ActionResult | CacheFinding:
        """The cached result, if caller and action allow to use one (EX9-EX11); or why not."""
        if action.do_not_cache:
            return CacheFinding(CacheState.NOT_CACHEABLE)
        if request.skip_cache_lookup:
            return CacheFinding(CacheState.NOT_ASKED)
        try:
            return await self._action_cache.get(request.instance_name, action_digest)
        except NotFound as error:
            if isinstance(error, ResultAbsent):
                return error.finding
            return CacheFinding(CacheState.ABSENT)

    async def _with_inlined(
        self, request: ExecuteRequest, result: ActionResult, action_digest: Digest
    ) -> ActionResult:
        """The cached result with the bytes that the caller asks for; a worker adds its own."""
        if not (request.inline_stdout or request.inline_stderr or request.inline_output_files):
            return result
        return await with_inlined_outputs(
            self._blobs,
            result,
            action_digest.function,
            stdout=request.inline_stdout,
            stderr=request.inline_stderr,
            output_files=request.inline_output_files,
        )

    async def _read_action(self, digest: Digest) -> bytes:
        data = (await self._blobs.read_many([digest])).get(digest)
        if data is None:
            raise BlobsMissing([digest.subject])
        return data

    async def _read_inputs(
        self, command_digest: Digest, root_digest: Digest
    ) -> dict[Digest, bytes]:
        """The Command, and the root of the input tree when it is small; the worker reads on.

        Raises BlobsMissing when one is absent, with all that is found absent of the tree (EX7).
        """
        wanted = {command_digest: None}
        if 0 < root_digest.size_bytes <= _LARGEST_ROOT_READ_BYTES:
            wanted[root_digest] = None
        blobs = await self._blobs.read_many(list(wanted))
        if len(blobs) < len(wanted):
            absent = [command_digest] if command_digest not in blobs else []
            absent += await missing_inputs(self._blobs, root_digest)
            raise BlobsMissing([digest.subject for digest in dict.fromkeys(absent)])
        return blobs

    def _rewriting(self, instance_name: str) -> PlatformRewriting:
        return self._config.platform_rewritings.get(instance_name, UNCHANGED)

    def _lease_template(
        self,
        request: ExecuteRequest,
        metadata: RequestMetadata,
        action: Action,
        action_digest: Digest,
        properties: Properties,
        resources: Resources,
    ) -> Lease:
        """All of the lease that does not depend on who runs it when."""
        config = self._config
        timeout = timeout_seconds(
            action, default=config.default_timeout_seconds, maximum=config.max_timeout_seconds
        )
        template = Lease(
            instance_name=request.instance_name,
            digest_function=action_digest.function.number,  # type: ignore[arg-type]  # an enum's number
            action_digest=action_digest.to_message(),
            request_metadata=metadata,
            inline_stdout=request.inline_stdout,
            inline_stderr=request.inline_stderr,
        )
        template.timeout.FromNanoseconds(round(timeout * 1_000_000_000))
        template.queued_timestamp.FromNanoseconds(time.time_ns())
        for property_name, value in properties:
            template.platform.properties.add(name=property_name, value=value)
        for resource_name, amount in resources:
            template.resources.add(name=resource_name, amount=amount)
        # Inlining is a hint (AC4): too much of it is not kept.
        if len(request.inline_output_files) <= _MOST_INLINE_FILES:
            template.inline_output_files.extend(request.inline_output_files)
        return template

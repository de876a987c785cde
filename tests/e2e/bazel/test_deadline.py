"""What Bazel's --remote_timeout does to a call that takes longer."""

import asyncio

from reapi.core.digest import Digest
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import ActionResult
from tests.e2e.bazel.invocation import Bazel
from tests.fakes.memory_store import MemoryActionCache
from tests.fakes.reapi_server import FakeReapiServer


class EndlessLookups(MemoryActionCache):
    """A lookup ends when its call does. `seen` is what happened, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    async def get(self, instance_name: str, action_digest: Digest) -> ActionResult:
        self.seen.append("lookup")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        raise AssertionError

    async def put(
        self, instance_name: str, action_digest: Digest, result: ActionResult, *, writer: str = ""
    ) -> ActionResult:
        self.seen.append("result")
        return result


async def test_a_call_ends_at_its_deadline_and_the_action_runs_here(bazel: Bazel) -> None:
    async with FakeReapiServer() as server:
        server.action_cache = lookups = EndlessLookups()
        build = await asyncio.to_thread(
            bazel.run,
            "build",
            "//outputs:nothing",
            f"--remote_cache={server.address}",
            "--remote_timeout=3",
            "--remote_retries=0",
        )
    assert build.exit_code == 0
    assert "DEADLINE_EXCEEDED" in build.output
    assert lookups.seen == ["lookup", "cancelled", "result"]

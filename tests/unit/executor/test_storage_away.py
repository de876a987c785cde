"""An action outlasts a storage that is away, and never says more than what is stored."""

import pytest
from google.rpc import code_pb2

from reapi.core.errors import DeadlineExceeded, ReapiError, Unavailable
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.harness import Harness, add_lease

OUTPUTS = {
    "small": "echo out > out; echo printed",
    "many": "i=0; while [ $i -lt 20 ]; do head -c 900000 /dev/zero > out$i; "
    "printf $i >> out$i; i=$((i + 1)); done",
    "large": "head -c 5000000 /dev/zero > out",
}
"""What an action does so that its outputs go by batches, after a question, and by streams."""


class FlickeringStore(MemoryBlobStore):
    """Once `is_flickering`, it fails every other call."""

    def __init__(self) -> None:
        super().__init__()
        self.is_flickering = False
        self.failures = 0
        self._error: ReapiError = Unavailable("the storage is away")

    def _begin(self, call: str) -> None:
        super()._begin(call)
        if self.is_flickering and sum(self.call_counts.values()) % 2:
            self.failures += 1
            raise self._error

    def flicker(self, error: ReapiError | None = None) -> None:
        self._error = error or self._error
        self.call_counts.clear()
        self.is_flickering = True


def _command(script: str) -> re_pb2.Command:
    names = ["out", *(f"out{number}" for number in range(20))]
    return re_pb2.Command(arguments=["sh", "-c", script], output_paths=names)


@pytest.fixture
def store(harness: Harness) -> FlickeringStore:
    harness.store = FlickeringStore()
    return harness.store


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("error", [None, DeadlineExceeded("no answer")])
async def test_outputs_of_every_size_wait_for_their_storage(
    harness: Harness, store: FlickeringStore, outputs: str, error: ReapiError | None
) -> None:
    lease = add_lease(store, _command(OUTPUTS[outputs]), {})
    action = harness.action(lease)
    response = await action.run(harness.slot, lambda: store.flicker(error))
    assert response.status.code == code_pb2.OK, response.status.message
    assert store.failures
    store.is_flickering = False
    digests = [file.digest for file in response.result.output_files]
    assert digests
    for digest in digests:
        assert any(blob.hash == digest.hash for blob in store.blobs)


async def test_inputs_wait_for_their_storage(harness: Harness, store: FlickeringStore) -> None:
    lease = add_lease(store, _command("cat in/* > out"), {"in": {"a": b"a", "b": b"b" * (2 << 20)}})
    store.flicker()
    response = await harness.run_lease(lease)
    assert response.status.code == code_pb2.OK, response.status.message
    assert response.result.output_files[0].digest.size_bytes == 1 + (2 << 20)


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("error", [Unavailable("away"), DeadlineExceeded("no answer")])
async def test_compile_clients_F5_no_success_is_said_before_the_bytes_are_stored(
    harness: Harness, outputs: str, error: ReapiError
) -> None:
    """A timeout of the storage is none of the action (EX18)."""

    def lose() -> None:
        harness.store.error = error

    lease = add_lease(harness.store, _command(OUTPUTS[outputs]), {})
    action = harness.action(lease, patience_seconds=0)
    response = await action.run(harness.slot, lose)
    assert response.status.code == code_pb2.UNAVAILABLE
    assert not response.HasField("result")


async def test_what_was_stored_in_part_is_no_success(harness: Harness) -> None:
    def refuse_writes() -> None:
        harness.store.write_error = Unavailable("no more")

    lease = add_lease(harness.store, _command(OUTPUTS["many"]), {})
    action = harness.action(lease, patience_seconds=0)
    response = await action.run(harness.slot, refuse_writes)
    assert response.status.code == code_pb2.UNAVAILABLE
    assert not response.HasField("result")

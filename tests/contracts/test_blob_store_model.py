"""Random histories of every BlobStore against a dict, by nothing but its interface."""

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from reapi.core.digest import Digest, digest_of
from reapi.core.errors import InvalidArgument, NotFound
from reapi.core.interfaces import BlobStore
from tests.contracts.test_blob_store import STORES, store_opener
from tests.fakes.local_storage import INLINE_MAX_BYTES

SIZES = [0, 1, 500, INLINE_MAX_BYTES, INLINE_MAX_BYTES + 1, 70_000, 200_000]
CONTENTS = [random.Random(size).randbytes(size) for size in SIZES]
DIGESTS = [digest_of(content) for content in CONTENTS]
CONTENT_OF = dict(zip(DIGESTS, CONTENTS, strict=True))
EMPTY = DIGESTS[0]
CHUNK_BYTES = 30_000

numbers = st.integers(0, len(CONTENTS) - 1)
some_numbers = st.lists(numbers, max_size=6)


class BlobStoreHistory(RuleBasedStateMachine):
    """`model` is what the store must hold, no more and no less.

    `leftover` are blobs whose write was cancelled at the last moment: a part of the store may have
    their bytes, where a read finds them, though the store does not count them as present.
    """

    def __init__(
        self, open_store: Callable[[Path], AbstractAsyncContextManager[BlobStore]]
    ) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.stack = AsyncExitStack()
        opening = self.stack.enter_async_context(open_store(self.directory))
        self.store: BlobStore = self.runner.run(opening)
        self.model: dict[Digest, bytes] = {EMPTY: b""}
        self.leftover: set[Digest] = set()

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.directory)

    @rule(some=some_numbers, wrong=some_numbers)
    def write_many(self, some: list[int], wrong: list[int]) -> None:
        blobs = {DIGESTS[n]: CONTENTS[n] for n in some}
        bad = {DIGESTS[n]: CONTENTS[n] + b"!" for n in wrong if n not in some}
        failures = self.runner.run(self.store.write_many(blobs | bad))
        # Whether the bytes of a blob that is present are looked at is the store's own business.
        assert failures.keys() <= bad.keys()
        assert failures.keys() >= bad.keys() - self.model.keys() - self.leftover
        assert all(isinstance(failure, InvalidArgument) for failure in failures.values())
        self.model |= {digest: CONTENT_OF[digest] for digest in (blobs | bad).keys() - failures}

    @rule(number=numbers)
    def write(self, number: int) -> None:
        self.runner.run(self.store.write(DIGESTS[number], chunks(CONTENTS[number])))
        self.model[DIGESTS[number]] = CONTENTS[number]

    @rule(number=numbers, change=st.sampled_from(["shorter", "longer", "other"]))
    def write_wrong_bytes(self, number: int, change: str) -> None:
        data = CONTENTS[number]
        wrong = {"shorter": data[:-1], "longer": data + b"!", "other": b"!" + data[1:]}[change]
        try:
            self.runner.run(self.store.write(DIGESTS[number], chunks(wrong)))
        except InvalidArgument:
            assert wrong != data
        else:
            assert wrong == data or DIGESTS[number] in self.model.keys() | self.leftover
            self.model[DIGESTS[number]] = data

    @rule(number=numbers, steps=st.integers(0, 12))
    def cancel_a_write(self, number: int, steps: int) -> None:
        """It may have come to its end before, and then the blob is there."""
        digest = DIGESTS[number]

        async def cancelled() -> bool:
            writing = asyncio.create_task(self.store.write(digest, chunks(CONTENTS[number])))
            for _ in range(steps):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.wait((writing,))
            return digest not in await self.store.find_missing([digest])

        if self.runner.run(cancelled()):
            self.model[digest] = CONTENTS[number]
        else:
            assert digest not in self.model
            self.leftover.add(digest)

    @rule(number=numbers, steps=st.integers(0, 12))
    def cancel_one_of_two_writes(self, number: int, steps: int) -> None:
        digest = DIGESTS[number]

        async def write_twice() -> None:
            first, second = (
                asyncio.create_task(self.store.write(digest, chunks(CONTENTS[number])))
                for _ in range(2)
            )
            for _ in range(steps):
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait((first,))
            await second

        self.runner.run(write_twice())
        self.model[digest] = CONTENTS[number]

    @rule(number=numbers, offset=st.integers(0, 200_000), limit=st.none() | st.integers(0, 200_000))
    def read(self, number: int, offset: int, limit: int | None) -> None:
        digest, data = DIGESTS[number], CONTENTS[number]
        offset = min(offset, len(data))
        end = len(data) if limit is None else offset + limit
        is_empty = not data[offset:end]
        try:
            found = self.runner.run(self._read(digest, offset, limit))
        except NotFound:
            assert digest not in self.model
        else:
            assert found == data[offset:end]
            # Who asks for no bytes may get them without a look.
            assert is_empty or digest in self.model.keys() | self.leftover

    async def _read(self, digest: Digest, offset: int, limit: int | None) -> bytes:
        chunks = self.store.read(digest, offset=offset, limit=limit)
        return b"".join([chunk async for chunk in chunks])

    @rule(number=numbers, readers=st.integers(2, 4))
    def read_at_once(self, number: int, readers: int) -> None:
        async def read() -> list[bytes | BaseException]:
            reads = (self._read(DIGESTS[number], 0, None) for _ in range(readers))
            return await asyncio.gather(*reads, return_exceptions=True)

        for outcome in self.runner.run(read()):
            if DIGESTS[number] in self.model:
                assert outcome == CONTENTS[number]
            elif not isinstance(outcome, NotFound):
                assert DIGESTS[number] in self.leftover
                assert outcome == CONTENTS[number]

    @rule(some=some_numbers)
    def read_many(self, some: list[int]) -> None:
        digests = [DIGESTS[number] for number in some]
        found = self.runner.run(self.store.read_many(digests))
        assert found == {digest: CONTENT_OF[digest] for digest in found}
        assert found.keys() >= self.model.keys() & digests
        assert found.keys() <= self.model.keys() | self.leftover

    @invariant()
    def missing_is_what_was_not_written(self) -> None:
        wanted = [digest for digest in DIGESTS if digest not in self.model]
        assert self.runner.run(self.store.find_missing(DIGESTS)) == wanted


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield data[start : start + CHUNK_BYTES]


@pytest.mark.parametrize("name", STORES)
def test_every_history_is_that_of_a_dict(request: pytest.FixtureRequest, name: str) -> None:
    open_store = store_opener(request, name)
    run_state_machine_as_test(
        lambda: BlobStoreHistory(open_store),
        settings=settings(
            max_examples=8,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # a history that fails is short enough, and opening is slow
        ),
    )

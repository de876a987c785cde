"""Random histories of the embedded store against a dict: writes, reads, time, crashes, damage."""

import asyncio
import contextlib
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reapi.cas.storage import Storage
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from tests.fakes.call import call_of
from tests.fakes.local_storage import INLINE_MAX_BYTES, ManualClock, local_storage

MAX_BYTES = 10_000
RETENTION_SECONDS = 48_000
GRANULE_SECONDS = 2000
QUOTA = 5000
PIN_IDLE_SECONDS = 20_000
PIN_MAX_SECONDS = 150_000
CLOCK_SLACK_SECONDS = 60  # calls are noted once a minute
STEPS_SECONDS = [1, GRANULE_SECONDS, RETENTION_SECONDS // 3, RETENTION_SECONDS // 2]

BLOBS = [bytes([n]) * size for n, size in enumerate([900, 900, INLINE_MAX_BYTES + 1, *[4000] * 4])]
"""Half of them fill the store."""
numbers = st.integers(0, len(BLOBS) - 1)


class StoreHistory(RuleBasedStateMachine):
    """`promised` says until when each blob must stay readable; `damaged` may be gone at once.

    The one invocation began at `began` and called last at `called`: what was `used` since stays.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp())
        self.generation = 0
        self.clock = ManualClock()
        self.promised: dict[Digest, int] = {}
        self.used: dict[Digest, int] = {}
        self.began = self.called = -(1 << 40)
        self.damaged: set[Digest] = set()
        self.storage: Storage
        self.stack: AsyncExitStack

    @property
    def data_dir(self) -> Path:
        return self.directory / str(self.generation)

    @initialize()
    def open(self) -> None:
        self.stack = AsyncExitStack()
        storage = local_storage(
            self.data_dir,
            clock=self.clock,
            max_size_bytes=MAX_BYTES,
            retention_seconds=RETENTION_SECONDS,
            memory_bytes=2000,
            quotas={"main": QUOTA},
            pin_idle_seconds=PIN_IDLE_SECONDS,
            pin_max_seconds=PIN_MAX_SECONDS,
            pin_max_share=1.0,
        )
        self.storage = self.runner.run(self.stack.enter_async_context(storage))

    def teardown(self) -> None:
        self.runner.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.directory)

    @rule()
    def call(self) -> None:
        async def note() -> None:
            self.storage.invocations.note(call_of("build"))
            await self.storage.invocations.aclose()

        self.runner.run(note())
        now = self.clock.seconds
        if now - self.began >= PIN_MAX_SECONDS:
            self.began = now
        self.called = now

    @rule(
        some=st.sets(numbers, max_size=4),
        bad=st.booleans(),
        instance_name=st.sampled_from(["", "main"]),
    )
    def write_many(self, some: set[int], bad: bool, instance_name: str = "") -> None:
        wanted = {digest_of(BLOBS[number]): BLOBS[number] for number in sorted(some)}
        absent = digest_of(b"never stored")
        failures = self.runner.run(
            self.storage.blobs.for_instance(instance_name).write_many(
                wanted | ({absent: b"other"} if bad else {})
            )
        )
        assert isinstance(failures.pop(absent, None), InvalidArgument) == bad
        for digest, failure in failures.items():
            assert isinstance(failure, ResourceExhausted)
            bound = QUOTA if "instance 'main'" in failure.message else MAX_BYTES
            assert (bound == QUOTA) <= (instance_name == "main")
            assert self.bytes_that_must_stay() + sum(map(len, wanted.values())) > bound, digest
        for digest in wanted.keys() - failures.keys():
            self.promise(digest)

    @rule(number=numbers)
    def write_one(self, number: int) -> None:
        self.write_many({number}, False)

    @rule(some=st.lists(numbers, max_size=6))
    def find_missing(self, some: list[int]) -> None:
        digests = [digest_of(BLOBS[number]) for number in some]
        missing = self.runner.run(self.storage.blobs.find_missing(digests))
        for digest in set(digests) - set(missing):
            assert digest in self.promised
            self.promise(digest)
        assert not set(missing) & self.must_be_present()
        for digest in missing:
            self.promised.pop(digest, None)
            self.used.pop(digest, None)

    @rule(offset=st.integers(0, 4000))
    def read_all(self, offset: int) -> None:
        for data in BLOBS:
            self.read(data, min(offset, len(data)))

    def read(self, data: bytes, offset: int) -> None:
        digest = digest_of(data)

        async def read() -> bytes:
            chunks = self.storage.blobs.read(digest, offset=offset)
            return b"".join([chunk async for chunk in chunks])

        try:
            assert self.runner.run(read()) == data[offset:]
        except (NotFound, DataLoss):
            assert digest not in self.must_be_present()

    @rule(seconds=st.sampled_from(STEPS_SECONDS))
    def pass_time(self, seconds: int) -> None:
        self.clock.seconds += seconds

    @rule(number=numbers)
    def damage_a_file(self, number: int) -> None:
        digest = digest_of(BLOBS[number])
        for path in (self.data_dir / "blobs").glob(f"*/{digest.hash}-*"):
            path.write_bytes(b"?" * digest.size_bytes)
            self.damaged.add(digest)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.stack.aclose())
        self.open()

    @rule(let_recovery_end=st.booleans())
    def crash(self, let_recovery_end: bool) -> None:
        before = self.data_dir
        self.generation += 1
        # What a crash at this moment leaves; memory is nothing of it.
        shutil.copytree(
            before,
            self.data_dir,
            ignore=shutil.ignore_patterns("shared.mem"),
            copy_function=_copy_unless_gone,
        )
        self.runner.run(self.stack.aclose())
        shutil.rmtree(before)
        self.open()
        if let_recovery_end:
            assert self.storage.recovery is not None
            self.runner.run(asyncio.wait_for(self.storage.recovery, None))

    @invariant()
    def promised_blobs_are_readable(self) -> None:
        if not hasattr(self, "storage"):
            return
        digests = list(self.must_be_present())
        found = self.runner.run(self.storage.blobs.read_many(digests))
        assert found == {digest_of(data): data for data in BLOBS if digest_of(data) in digests}

    @invariant()
    def the_store_keeps_its_bound(self) -> None:
        if not hasattr(self, "storage"):
            return
        keys = [digest_of(data).key for data in BLOBS]
        entries = self.runner.run(self.storage.blobs._index.find(keys))
        assert sum(entry.size for entry in entries.values()) <= MAX_BYTES
        totals = self.runner.run(self.storage.blobs._index.total_bytes())
        assert sum(totals.values()) == sum(entry.size for entry in entries.values())
        assert totals.get("main", 0) <= QUOTA

    def promise(self, digest: Digest) -> None:
        self.promised[digest] = self.clock.seconds + RETENTION_SECONDS
        self.used[digest] = self.clock.seconds

    def must_be_present(self) -> set[Digest]:
        now = self.clock.seconds
        is_alive = now - self.called <= PIN_IDLE_SECONDS and now - self.began < PIN_MAX_SECONDS - 1
        return {
            digest
            for digest, until in self.promised.items()
            if until > now or (is_alive and self.used[digest] >= self.began)
        } - self.damaged

    def bytes_that_must_stay(self) -> int:
        """At most: promises hold up to one granule longer, and a refused write renews them too.

        Pins reach back a granule more than they must.
        """
        now = self.clock.seconds
        may_be_alive = now - self.called <= PIN_IDLE_SECONDS + CLOCK_SLACK_SECONDS
        return sum(
            digest.size_bytes
            for digest, until in self.promised.items()
            if until + 2 * GRANULE_SECONDS > now
            or (may_be_alive and self.used[digest] + 3 * GRANULE_SECONDS >= self.began)
        )


def _copy_unless_gone(source: str, target: str) -> None:
    """Eviction deletes files in a thread, which no loop holds up."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)


StoreHistory.TestCase.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None, derandomize=True
)
TestStoreHistories = StoreHistory.TestCase

"""Random histories of every BlobIndex, by two processes on one state, against a dict."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from reapi.cas.state.interface import BlobIndex, Entry, NewObject
from tests.contracts.test_blob_index import FACTORIES, Open, key

T = TypeVar("T")

KEYS = [key(n) for n in range(8)]
OWNERS = ["", "main"]
keys = st.sampled_from(KEYS)
some_keys = st.lists(keys, max_size=5)
stamps = st.integers(1, 5)
owners = st.sampled_from(OWNERS)


@dataclass
class Row:
    """What a row must say, and the bytes of an inline one."""

    size: int
    used: int
    owner: str
    suffix: str
    data: bytes | None


class IndexHistory(RuleBasedStateMachine):
    """`model` is the index, `left` what was evicted and not forgotten."""

    def __init__(self, open_index: Open) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.run = self.runner.run
        self.indexes = [self.run(self.stack.enter_async_context(open_index())) for _ in range(2)]
        self.turn = 0
        self.objects = 0
        self.model: dict[bytes, Row] = {}
        self.left: list[Entry] = []
        self.run(_empty(self.index))

    @property
    def index(self) -> BlobIndex:
        """Sometimes the one, sometimes the other."""
        self.turn += 1
        return self.indexes[self.turn % 2]

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    @rule(some=st.sets(keys, max_size=4), used=stamps, owner=owners)
    def add_objects(self, some: set[bytes], used: int, owner: str) -> None:
        objects = []
        for one in sorted(some):
            self.objects += 1
            objects.append(NewObject(one, 10 + self.objects % 5, f".{self.objects:016x}"))
        late = self.run(self.index.add_objects(objects, used, 1, owner))
        assert sorted(late) == sorted(some & self.model.keys())
        for one, size, suffix in objects:
            self._added(one, Row(size, used, owner, suffix, None))

    @rule(some=st.dictionaries(keys, st.binary(max_size=4), max_size=4), used=stamps, owner=owners)
    def add_inline(self, some: dict[bytes, bytes], used: int, owner: str) -> None:
        self.run(self.index.add_inline(some, used, 1, owner))
        for one, data in some.items():
            self._added(one, Row(len(data), used, owner, "", data))

    def _added(self, one: bytes, row: Row) -> None:
        present = self.model.setdefault(one, row)
        present.used = max(present.used, row.used)

    @rule(some=some_keys, used=stamps)
    def touch(self, some: list[bytes], used: int) -> None:
        assert self.run(self.index.touch(some, used)) == (self.model.keys() >= set(some))
        for one in self.model.keys() & set(some):
            self.model[one].used = max(self.model[one].used, used)

    @rule(one=keys, is_outdated=st.booleans())
    def remove(self, one: bytes, is_outdated: bool) -> None:
        entry = self.run(self.index.find([one])).get(one, Entry(one, 1, 1, None, ".0"))
        if is_outdated:
            entry = entry._replace(suffix=entry.suffix + "0")
        before = [index.losses() for index in self.indexes]
        remover = self.index
        was_there = self.run(remover.remove(entry))
        assert was_there == (one in self.model and not is_outdated)
        if was_there:
            del self.model[one]
            assert remover.losses() != before[self.indexes.index(remover)]

    @rule(wanted=st.integers(0, 60), last=stamps, owner=st.one_of(st.none(), owners))
    def evict(self, wanted: int, last: int, owner: str | None) -> None:
        async def evict() -> list[Entry]:
            index = self.index
            async with index.evicting():
                return [one async for batch in index.evict(wanted, last, owner) for one in batch]

        gone = self.run(evict())
        due = {
            one: row
            for one, row in self.model.items()
            if row.used <= last and owner in (None, row.owner)
        }
        for entry in gone:
            assert entry.used == due[entry.key].used
            del self.model[entry.key]
        freed = sum(entry.size for entry in gone)
        if due.keys() - {entry.key for entry in gone}:
            assert freed >= wanted
            latest = max((entry.used for entry in gone), default=0)
            assert all(row.used >= latest for one, row in due.items() if one in self.model)
        # One fewer would not have been enough; empty blobs cost nothing and may come along.
        assert not gone or freed - max(entry.size for entry in gone) < wanted
        self.left += gone

    @rule(number=st.integers(0, 5))
    def forget(self, number: int) -> None:
        forgotten, self.left = self.left[:number], self.left[number:]
        self.run(self.index.forget(forgotten))
        ids = [one.inline_id for one in forgotten if one.inline_id is not None]
        assert self.run(self.index.read_inline(ids)) == {}

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        found = self.run(self.index.find(KEYS))
        inline = {one.inline_id: one for one in found.values() if one.inline_id is not None}
        data = self.run(self.index.read_inline(list(inline)))
        shown = {
            one.key: (one.size, one.used, one.suffix, data.get(one.inline_id or 0))
            for one in found.values()
        }
        assert shown == {
            one: (row.size, row.used, row.suffix, row.data) for one, row in self.model.items()
        }
        totals = self.run(self.index.total_bytes())
        for owner in OWNERS:
            assert totals.get(owner, 0) == sum(
                row.size for row in self.model.values() if row.owner == owner
            )
        assert sorted(self.run(self.index.leaving()), key=str) == sorted(self.left, key=str)
        oldest = min((row.used for row in self.model.values()), default=None)
        assert self.run(self.index.oldest_used()) == oldest


async def _empty(index: BlobIndex) -> None:
    async for batch in index.rows():
        for entry in batch:
            await index.remove(entry)
    await index.forget(await index.leaving())


@pytest.fixture(params=FACTORIES)
def open_index(request: pytest.FixtureRequest) -> Open:
    return FACTORIES[request.param](request)


def test_random_histories(open_index: Open) -> None:
    class History(IndexHistory):
        def __init__(self) -> None:
            super().__init__(open_index)

    run_state_machine_as_test(
        History,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, derandomize=True, database=None
        ),
    )

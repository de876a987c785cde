"""What every BlobIndex must do, also for two processes on one state; a new one adds one line."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from reapi.cas.state.interface import BlobIndex, Entry, NewObject
from reapi.cas.state.postgresql import PostgresqlIndex
from reapi.cas.state.sqlite import open_sqlite
from reapi.core.postgresql.dsn import Dsn
from reapi.core.postgresql.pool import PostgresqlPool
from tests.cancelling import STEPS, cancel_after

Open = Callable[[], AbstractAsyncContextManager[BlobIndex]]
"""Opens the one state of a test as another process would."""


def _postgresql(request: pytest.FixtureRequest) -> Open:
    dsn: Dsn = request.getfixturevalue("postgresql_dsn")

    @asynccontextmanager
    async def opened() -> AsyncIterator[BlobIndex]:
        async with PostgresqlPool(dsn) as pool, PostgresqlIndex(pool) as index:
            yield index

    return opened


def _sqlite(request: pytest.FixtureRequest) -> Open:
    data_dir: Path = request.getfixturevalue("tmp_path")
    free = sorted(range(8), reverse=True)

    @asynccontextmanager
    async def opened() -> AsyncIterator[BlobIndex]:
        member = free.pop()
        async with open_sqlite(data_dir, member=member, members=8) as state:
            yield state.index
        free.append(member)

    return opened


FACTORIES: dict[str, Callable[[pytest.FixtureRequest], Open]] = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
}


@pytest.fixture(params=FACTORIES)
def open_index(request: pytest.FixtureRequest) -> Open:
    return FACTORIES[request.param](request)


@pytest.fixture
async def index(open_index: Open) -> AsyncIterator[BlobIndex]:
    async with open_index() as one:
        yield one


@pytest.fixture
async def other(open_index: Open, index: BlobIndex) -> AsyncIterator[BlobIndex]:
    """The same state, as another process sees it."""
    async with open_index() as one:
        yield one


def key(number: int) -> bytes:
    return b"\x01" + sha256(b"%d" % number).digest()


def new(number: int, size: int = 100, suffix: str = "") -> NewObject:
    return NewObject(key(number), size, suffix or f".{number:016x}")


async def add(index: BlobIndex, *numbers: int, used: int = 10, owner: str = "") -> None:
    late = await index.add_objects([new(n) for n in numbers], used, 1, owner)
    assert late == []


async def entry(index: BlobIndex, number: int) -> Entry | None:
    return (await index.find([key(number)])).get(key(number))


async def used(index: BlobIndex, number: int) -> int | None:
    found = await entry(index, number)
    return found and found.used


async def evict(
    index: BlobIndex, wanted_bytes: int, last_stamp: int, owner: str | None = None
) -> list[Entry]:
    async with index.evicting():
        batches = index.evict(wanted_bytes, last_stamp, owner)
        return [one async for batch in batches for one in batch]


EVERYTHING = 1 << 50


class TestFind:
    async def test_rows_that_exist_are_found_and_others_are_not(self, index: BlobIndex) -> None:
        await add(index, 1, 2, used=7)
        assert await index.find([key(1), key(3), key(2)]) == {
            key(1): Entry(key(1), 100, 7, None, new(1).suffix),
            key(2): Entry(key(2), 100, 7, None, new(2).suffix),
        }

    async def test_nothing_is_asked_and_nothing_is_found(self, index: BlobIndex) -> None:
        assert await index.find([]) == {}

    async def test_a_key_may_be_asked_for_twice(self, index: BlobIndex) -> None:
        await add(index, 1)
        assert list(await index.find([key(1), key(1)])) == [key(1)]

    async def test_many_keys_are_found_at_once(self, index: BlobIndex) -> None:
        await add(index, *range(5000))
        assert len(await index.find([key(n) for n in range(2500, 7500)])) == 2500

    async def test_what_one_process_adds_the_other_finds_at_once(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        await add(index, 1)
        await other.add_inline({key(2): b"two"}, 1, 1, "")
        assert await index.find([key(1), key(2)]) == await other.find([key(1), key(2)])
        assert len(await other.find([key(1), key(2)])) == 2

    async def test_a_cancelled_find_costs_the_others_nothing(self, index: BlobIndex) -> None:
        await add(index, 1)
        finds = [asyncio.create_task(index.find([key(1)])) for _ in range(3)]
        await asyncio.sleep(0)
        finds[1].cancel()
        results = await asyncio.gather(*finds, return_exceptions=True)
        assert isinstance(results[0], dict)
        assert results[2] == results[0]


class TestAddObjects:
    async def test_a_key_that_has_a_row_is_touched_and_returned(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        await add(index, 1, used=10)
        again = [new(1, suffix=".ffffffffffffffff"), new(2)]
        assert await other.add_objects(again, 20, 5, "") == [key(1)]
        assert await entry(index, 1) == Entry(key(1), 100, 20, None, new(1).suffix)
        assert await used(index, 2) == 20

    async def test_adding_never_lowers_the_last_use(self, index: BlobIndex) -> None:
        await add(index, 1, used=20)
        assert await index.add_objects([new(1, suffix=".0f")], 10, 5, "") == [key(1)]
        assert await used(index, 1) == 20

    async def test_an_inline_row_stays_inline(self, index: BlobIndex) -> None:
        await index.add_inline({key(1): b"one"}, 10, 1, "")
        assert await index.add_objects([new(1)], 20, 1, "") == [key(1)]
        found = await entry(index, 1)
        assert found is not None
        assert found.inline_id is not None
        assert found.used == 20

    async def test_of_many_writers_of_one_key_exactly_one_wins(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        objects = [new(1, suffix=f".{n:016x}") for n in range(20)]
        late = await asyncio.gather(
            *((index, other)[n % 2].add_objects([one], 1, 1, "") for n, one in enumerate(objects))
        )
        (winner,) = [one for one, keys in zip(objects, late, strict=True) if not keys]
        found = await entry(index, 1)
        assert found is not None
        assert found.suffix == winner.suffix
        assert await index.total_bytes() == {"": 100}

    async def test_writers_of_the_same_keys_in_any_order_do_not_block_each_other(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        objects = [new(n) for n in range(200)]
        for step in range(5):
            await asyncio.gather(
                index.add_objects(objects, step, 1, "a"),
                other.add_objects(objects[::-1], step, 1, "b"),
                other.touch([one.key for one in objects[50:]], step),
                index.touch([one.key for one in objects[::-2]], step),
            )
        assert len(await index.find([one.key for one in objects])) == 200

    async def test_nothing_is_added(self, index: BlobIndex) -> None:
        assert await index.add_objects([], 1, 1, "") == []


class TestInline:
    async def test_bytes_are_read_back_by_their_number(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        blobs = {key(1): b"one", key(2): b"", key(3): bytes(range(256)) * 64}
        await index.add_inline(blobs, 10, 1, "")
        found = await other.find(list(blobs))
        assert {one.size for one in found.values()} == {3, 0, 16384}
        ids = {one.inline_id: blobs[one.key] for one in found.values()}
        assert None not in ids
        assert {one.suffix for one in found.values()} == {""}
        assert await other.read_inline([one for one in ids if one is not None]) == ids

    async def test_bytes_that_are_not_there_are_not_read(self, index: BlobIndex) -> None:
        assert await index.read_inline([999_999]) == {}
        assert await index.read_inline([]) == {}

    async def test_a_key_that_has_a_row_is_touched_only(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        await index.add_inline({key(1): b"one"}, 10, 1, "")
        before = await entry(index, 1)
        assert before is not None
        await other.add_inline({key(1): b"one", key(2): b"two"}, 20, 2, "")
        assert await entry(index, 1) == before._replace(used=20)
        assert await index.total_bytes() == {"": 6}

    async def test_many_writers_of_one_key_leave_one_row(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        await asyncio.gather(
            *((index, other)[n % 2].add_inline({key(1): b"one"}, n, 1, "") for n in range(20))
        )
        assert await used(index, 1) == 19
        assert await index.total_bytes() == {"": 3}

    async def test_a_number_is_never_used_again(self, index: BlobIndex) -> None:
        numbers = []
        for _ in range(3):
            await index.add_inline({key(1): b"one"}, 10, 1, "")
            found = await entry(index, 1)
            assert found is not None
            numbers.append(found.inline_id)
            assert await index.remove(found)
        assert len(set(numbers)) == 3

    async def test_no_inline_blob_is_added(self, index: BlobIndex) -> None:
        await index.add_inline({}, 1, 1, "")


class TestCancellation:
    @pytest.mark.parametrize("is_inline", [True, False])
    async def test_a_cancelled_addition_is_there_at_once_or_never(
        self, open_index: Open, is_inline: bool
    ) -> None:
        present = {}
        async with open_index() as index:
            for steps in range(STEPS):
                adding = (
                    index.add_inline({key(steps): b"data"}, 1, 1, "")
                    if is_inline
                    else index.add_objects([new(steps)], 1, 1, "")
                )
                await cancel_after(steps, adding)
                present[steps] = await entry(index, steps)
        async with open_index() as index:
            assert present == {steps: await entry(index, steps) for steps in range(STEPS)}

    async def test_a_cancelled_removal_happens_at_once_or_never_and_is_known_as_a_loss(
        self, open_index: Open
    ) -> None:
        present = {}
        async with open_index() as index:
            await add(index, *range(STEPS))
            for steps in range(STEPS):
                row, before = await entry(index, steps), index.losses()
                assert row is not None
                await cancel_after(steps, index.remove(row))
                present[steps] = await entry(index, steps)
                assert present[steps] or index.losses() != before
        async with open_index() as index:
            assert present == {steps: await entry(index, steps) for steps in range(STEPS)}


class TestTouch:
    async def test_touching_raises_the_last_use_and_never_lowers_it(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        await add(index, 1, 2, used=10)
        assert await index.touch([key(1)], 20)
        assert await other.touch([key(1), key(2)], 15)
        assert (await used(index, 1), await used(index, 2)) == (20, 15)

    async def test_a_row_that_is_not_there_makes_it_false_and_the_others_are_touched(
        self, index: BlobIndex
    ) -> None:
        await add(index, 1, used=10)
        assert not await index.touch([key(1), key(2)], 20)
        assert await used(index, 1) == 20

    async def test_each_caller_hears_of_his_own_keys(self, index: BlobIndex) -> None:
        await add(index, 1, 2)
        touches = (index.touch([key(n), key(n)], 20 + n) for n in (1, 2, 3))
        assert await asyncio.gather(*touches) == [True, True, False]
        assert (await used(index, 1), await used(index, 2)) == (21, 22)

    async def test_nothing_is_touched(self, index: BlobIndex) -> None:
        assert await index.touch([], 1)

    async def test_more_keys_than_fit_one_statement_are_touched(self, index: BlobIndex) -> None:
        await add(index, *range(5000), used=1)
        assert await index.touch([key(n) for n in range(5000)], 2)
        assert not await index.touch([key(n) for n in range(5001)], 2)
        assert {one.used for one in (await index.find([key(4999), key(0)])).values()} == {2}


class TestRemove:
    async def test_a_row_goes_with_its_inline_bytes(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        await index.add_inline({key(1): b"one"}, 10, 1, "a")
        await add(index, 2, owner="a")
        one, two = await entry(other, 1), await entry(other, 2)
        assert one is not None
        assert two is not None
        assert one.inline_id is not None
        assert await other.remove(one)
        assert await other.remove(two)
        assert await index.find([key(1), key(2)]) == {}
        assert await index.read_inline([one.inline_id]) == {}
        assert (await index.total_bytes()).get("a", 0) == 0

    async def test_a_row_that_says_something_else_by_now_stays(self, index: BlobIndex) -> None:
        await add(index, 1)
        outdated = await entry(index, 1)
        assert outdated is not None
        assert await index.remove(outdated)
        assert await index.add_objects([new(1, suffix=".0000000000000aaa")], 10, 1, "") == []
        assert not await index.remove(outdated)
        assert not await index.remove(outdated._replace(suffix="", inline_id=7))
        assert await entry(index, 1) is not None
        assert not await index.remove(Entry(key(2), 1, 1, None, ""))

    async def test_a_row_that_was_touched_meanwhile_goes(self, index: BlobIndex) -> None:
        await add(index, 1, used=10)
        found = await entry(index, 1)
        assert found is not None
        await index.touch([key(1)], 20)
        assert await index.remove(found)

    async def test_of_two_who_remove_one_does(self, index: BlobIndex, other: BlobIndex) -> None:
        await add(index, 1)
        found = await entry(index, 1)
        assert found is not None
        results = await asyncio.gather(index.remove(found), other.remove(found))
        assert sorted(results) == [False, True]
        assert (await index.total_bytes()).get("", 0) == 0


class TestLosses:
    async def test_nothing_is_lost_by_adding_touching_and_evicting(
        self, index: BlobIndex, other: BlobIndex
    ) -> None:
        before = index.losses(), other.losses()
        assert None not in before
        await add(index, 1, 2, used=10)
        await other.touch([key(1)], 20)
        await evict(other, EVERYTHING, 15)
        assert (index.losses(), other.losses()) == before

    async def test_who_removed_knows_when_it_returns(self, index: BlobIndex) -> None:
        await add(index, 1)
        found = await entry(index, 1)
        assert found is not None
        before = index.losses()
        await index.remove(found)
        assert index.losses() != before

    async def test_the_others_hear_of_it(self, index: BlobIndex, other: BlobIndex) -> None:
        await add(index, 1)
        found = await entry(index, 1)
        assert found is not None
        before = other.losses()
        await index.remove(found)
        async with asyncio.timeout(60):
            while other.losses() == before:
                # Something the state has to answer, so that time passes.
                await other.find([key(1)])

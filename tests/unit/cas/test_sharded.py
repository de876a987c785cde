"""Where the blobs of a sharded store go, and what happens when a shard fails."""

from collections import Counter
from collections.abc import AsyncIterator

import pytest

from reapi.cas.stores.sharded import Shard, ShardedStore, choose_shard
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import NotFound, Unavailable
from tests.fakes.memory_store import MemoryBlobStore

DIGESTS = [digest_of(b"%d" % number) for number in range(20_000)]
BLOBS = {digest_of(b"%d" % number): b"%d" % number for number in range(300)}


def shards(**weights: float) -> list[Shard]:
    return [Shard(name, weight, MemoryBlobStore()) for name, weight in weights.items()]


def names(of: list[Shard]) -> list[str]:
    return [choose_shard(of, digest).name for digest in DIGESTS]


def share(of: list[Shard], name: str) -> float:
    return Counter(names(of))[name] / len(DIGESTS)


class TestChoice:
    def test_each_shard_gets_its_weight_in_blobs(self) -> None:
        three = shards(small=1, middle=2, large=5)
        for name, wanted in {"small": 1 / 8, "middle": 2 / 8, "large": 5 / 8}.items():
            assert share(three, name) == pytest.approx(wanted, abs=0.015)

    def test_a_new_shard_takes_its_part_and_moves_nothing_else(self) -> None:
        before, after = names(shards(a=1, b=1, c=1)), names(shards(a=1, b=1, c=1, d=1))
        moved = [new for old, new in zip(before, after, strict=True) if old != new]
        assert set(moved) == {"d"}
        assert len(moved) / len(DIGESTS) == pytest.approx(1 / 4, abs=0.015)

    def test_a_shard_that_leaves_gives_up_its_own_part_only(self) -> None:
        before, after = names(shards(a=1, b=3, c=1)), names(shards(a=1, c=1))
        assert {old for old, new in zip(before, after, strict=True) if old != new} == {"b"}

    def test_a_weight_that_grows_only_attracts(self) -> None:
        before, after = names(shards(a=1, b=1, c=1)), names(shards(a=1, b=1, c=2))
        assert {new for old, new in zip(before, after, strict=True) if old != new} == {"c"}

    def test_the_order_of_the_shards_does_not_matter(self) -> None:
        three = shards(a=1, b=2, c=3)
        assert names(three) == names(three[::-1])

    def test_the_choice_is_the_same_for_ever(self) -> None:
        # Another answer here means that every sharded store in the field loses its blobs.
        three = shards(a=1, b=1, c=2)
        assert "".join(names(three)[:24]) == "cccbacbbacbbbccccccbaaab"


class TestShardedStore:
    async def test_blobs_lie_where_the_choice_says(self) -> None:
        three = shards(a=1, b=2, c=3)
        await ShardedStore(three).write_many(BLOBS)
        for shard in three:
            assert isinstance(shard.store, MemoryBlobStore)
            assert {choose_shard(three, digest) for digest in shard.store.blobs} == {shard}

    async def test_a_shard_that_is_down_fails_its_own_blobs_only(self) -> None:
        three = shards(a=1, b=1, c=1)
        store = ShardedStore(three)
        down = three[0].store
        assert isinstance(down, MemoryBlobStore)
        down.error = Unavailable("down")
        failures = await store.write_many(BLOBS)
        theirs = {digest for digest in BLOBS if choose_shard(three, digest).name == "a"}
        assert failures == dict.fromkeys(theirs, down.error)
        others = BLOBS.keys() - theirs
        assert await store.read_many(list(others)) == {digest: BLOBS[digest] for digest in others}
        assert await store.find_missing(others) == []

    async def test_nothing_is_said_of_blobs_that_could_not_be_looked_for(self) -> None:
        three = shards(a=1, b=1, c=1)
        store = ShardedStore(three)
        for shard in three[1:]:
            assert isinstance(shard.store, MemoryBlobStore)
            shard.store.error = Unavailable("down")
        with pytest.raises(Unavailable):
            await store.find_missing(BLOBS)
        with pytest.raises(Unavailable):
            await store.read_many(list(BLOBS))

    async def test_a_read_and_a_write_go_to_one_shard(self) -> None:
        three = shards(a=1, b=1, c=1)
        store = ShardedStore(three)
        digest, data = next(iter(BLOBS.items()))
        with pytest.raises(NotFound):
            await _read(store, digest)
        await store.write(digest, _chunks(data))
        assert await _read(store, digest) == data
        calls = [
            shard.store.call_counts for shard in three if isinstance(shard.store, MemoryBlobStore)
        ]
        assert sorted(map(sum, (each.values() for each in calls))) == [0, 0, 3]

    @pytest.mark.parametrize("wrong", [[], shards(a=1) * 2, shards(a=0), shards(a=float("inf"))])
    def test_shards_that_make_no_sense_are_refused(self, wrong: list[Shard]) -> None:
        with pytest.raises(ValueError, match="shard"):
            ShardedStore(wrong)


async def _read(store: ShardedStore, digest: Digest) -> bytes:
    return b"".join([chunk async for chunk in store.read(digest)])


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data

"""Images: staged once, shared, kept while there is room."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from reapi.core.digest import SHA256, Digest, digest_of
from reapi.core.errors import BlobsMissing, InvalidArgument, ResourceExhausted
from reapi.executor.images import Images
from reapi.executor.input_tree import InputTrees
from reapi.executor.local_cache import LocalCache
from reapi.executor.work_area import WorkArea
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.fakes.memory_store import MemoryBlobStore
from tests.unit.executor.harness import Executable, Link, Tree, add_tree, read_tree

MOUNTED = ("proc", "dev", "tmp", "build")
EMPTY_PLACES = {name: {} for name in MOUNTED}
ETC = {"resolv.conf": b"", "hosts": b""}


def add_image(store: MemoryBlobStore, tree: Tree, *, only_tree: bool = True) -> Digest:
    """Stores the Tree of an image; its Directories only there, unless asked for."""
    before = set(store.blobs)
    root = add_tree(store, tree)
    directories: dict[Digest, re_pb2.Directory] = {}

    def visit(digest: Digest) -> None:
        directories[digest] = re_pb2.Directory.FromString(store.blobs[digest])
        for node in directories[digest].directories:
            if node.digest.size_bytes:
                visit(Digest(node.digest.hash, node.digest.size_bytes, SHA256))

    visit(root)
    if only_tree:
        for digest in directories.keys() - before:
            del store.blobs[digest]
    message = re_pb2.Tree(root=directories.pop(root), children=directories.values())
    return store.add(message.SerializeToString())


class World:
    """Images over a cache of their own and a store in memory."""

    def __init__(self, area: WorkArea, cache: LocalCache, images: Images, at: Path) -> None:
        self.area = area
        self.cache = cache
        self.images = images
        self.at = at
        self.store = MemoryBlobStore()

    async def read(self, digest: Digest) -> object:
        async with self.images.use(digest, self.store) as path:
            return read_tree(path)

    @property
    def kept(self) -> list[str]:
        return sorted(os.listdir(self.at))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    area = WorkArea(tmp_path / "work")
    async with AsyncExitStack() as stack:
        stack.callback(area.close)
        cache = await stack.enter_async_context(LocalCache(area.files, 1 << 20))
        at = tmp_path / "work" / "images"
        images = Images(at, InputTrees(), cache)
        await stack.enter_async_context(images)
        yield World(area, cache, images, at)


async def test_an_image_is_its_tree_and_what_is_mounted_on(world: World) -> None:
    digest = add_image(
        world.store, {"bin": {"sh": Executable(b"#!")}, "lib": Link("usr/lib"), "empty": {}}
    )
    assert await world.read(digest) == {
        "bin": {"sh": Executable(b"#!")},
        "lib": Link("usr/lib"),
        "empty": {},
        "etc": ETC,
        **EMPTY_PLACES,
    }


async def test_what_is_in_the_way_of_a_mount_gives_way_to_a_directory(world: World) -> None:
    digest = add_image(
        world.store,
        {
            "tmp": Link("/oldroot/tmp"),
            "dev": b"",
            "build": {"kept": b"1"},
            "etc": {"resolv.conf": Link("../run/resolv.conf"), "hosts": b"2", "passwd": b"3"},
        },
    )
    assert await world.read(digest) == {
        **EMPTY_PLACES,
        "build": {"kept": b"1"},
        "etc": {"resolv.conf": b"", "hosts": b"2", "passwd": b"3"},
    }


async def test_an_image_is_staged_once_for_all_who_want_it(world: World) -> None:
    digest = add_image(world.store, {"a": b"1"})
    async with AsyncExitStack() as stack:
        uses = [stack.enter_async_context(world.images.use(digest, world.store)) for _ in range(5)]
        assert len(set(await asyncio.gather(*uses))) == 1
    world.store.blobs.clear()
    assert await world.read(digest) == {"a": b"1", "etc": ETC, **EMPTY_PLACES}
    assert world.kept == ["1"]


async def test_an_image_goes_on_being_staged_when_one_stops_waiting(world: World) -> None:
    digest = add_image(world.store, {"a": b"1"})
    impatient = asyncio.ensure_future(world.read(digest))
    patient = asyncio.ensure_future(world.read(digest))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == {"a": b"1", "etc": ETC, **EMPTY_PLACES}
    assert impatient.cancelled()


async def test_EX7_all_that_is_missing_is_named(world: World) -> None:
    digest = add_image(world.store, {"a": b"1", "d": {"b": b"2"}, "c": b"3"})
    absent = [digest_of(b"1"), digest_of(b"2")]
    for each in absent:
        del world.store.blobs[each]
    with pytest.raises(BlobsMissing) as caught:
        await world.read(digest)
    assert set(caught.value.subjects) == {each.subject for each in absent}
    assert world.kept == []

    for data in (b"1", b"2"):
        world.store.add(data)
    assert await world.read(digest) == {
        **{"a": b"1", "d": {"b": b"2"}, "c": b"3"},
        **{"etc": ETC, **EMPTY_PLACES},
    }


async def test_an_absent_tree_is_missing(world: World) -> None:
    with pytest.raises(BlobsMissing) as caught:
        await world.read(digest_of(b"absent"))
    assert list(caught.value.subjects) == [digest_of(b"absent").subject]
    assert world.kept == []


async def test_what_is_no_tree_or_a_hostile_one_is_refused(world: World) -> None:
    with pytest.raises(InvalidArgument, match="is not the Tree of an image"):
        await world.read(world.store.add(b"\xff\xff\xff"))
    hostile = re_pb2.Tree()
    hostile.root.files.add(name="../outside", digest=world.store.add(b"1").to_message())
    with pytest.raises(InvalidArgument, match="is not a safe name"):
        await world.read(world.store.add(hostile.SerializeToString()))
    assert world.kept == []


async def test_an_image_larger_than_the_cache_is_refused(world: World) -> None:
    with pytest.raises(ResourceExhausted, match="raise cache_max_size_bytes"):
        await world.read(add_image(world.store, {"a": bytes(2 << 20)}))


async def test_the_image_that_was_used_last_is_kept_the_longest(world: World) -> None:
    data = [bytes([number]) * (400 << 10) for number in range(3)]
    first, second, third = (add_image(world.store, {"a": each}) for each in data)
    for digest in (first, second, first):
        await world.read(digest)
        await world.images.trim()
    assert world.kept == ["1", "2"]
    await world.read(third)
    await world.images.trim()
    assert world.kept == ["1", "3"]
    assert not world.cache.is_full


async def test_an_image_in_use_stays_however_full_the_cache_is(world: World) -> None:
    first = add_image(world.store, {"a": b"1" * (700 << 10)})
    second = add_image(world.store, {"a": b"2" * (700 << 10)})
    async with world.images.use(first, world.store) as path:
        await world.read(second)
        await world.images.trim()
        assert world.kept == ["1"]
        assert os.path.getsize(f"{path}/a") == 700 << 10  # noqa: ASYNC240 one call


async def test_images_with_too_many_files_are_not_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reapi.executor.images._MOST_NODES", 10)
    digest = add_image(world.store, {str(number): b"" for number in range(20)})
    async with world.images.use(digest, world.store):
        await world.images.trim()
        assert world.kept == ["1"]
    await world.images.trim()
    assert world.kept == []


async def test_a_file_that_an_action_altered_is_staged_anew(world: World) -> None:
    digest = add_image(world.store, {"a": b"1"})
    async with world.images.use(digest, world.store) as path:
        os.chmod(f"{path}/a", 0o644)
        with open(f"{path}/a", "wb") as file:  # noqa: ASYNC230 one byte
            file.write(b"2")
    (key,) = (each for each in world.cache._files if each.digest == digest_of(b"1"))
    world.cache.drop_damaged(world.cache._files[key])
    assert await world.read(digest) == {"a": b"1", "etc": ETC, **EMPTY_PLACES}


async def test_cancelling_the_end_of_the_worker_leaves_no_task(world: World) -> None:
    use = asyncio.ensure_future(world.read(add_image(world.store, {"a": b"1"})))
    await asyncio.sleep(0)
    use.cancel()
    await asyncio.wait((use,))
    await world.images.__aexit__()
    assert asyncio.all_tasks() == {asyncio.current_task()}

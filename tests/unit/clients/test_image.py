"""Root file systems become Trees: what archives may hold, and what they must not."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from reapi.clients.client import Client
from reapi.clients.image import ImportedImage
from reapi.core.digest import Digest, digest_of
from reapi.core.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from reapi.core.execution_properties import execution_properties
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory, Tree
from tests.fakes.reapi_server import FakeReapiServer


class Archive:
    """A tar archive in memory, member by member."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w")  # noqa: SIM115

    def add(self, name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> "Archive":
        member = tarfile.TarInfo(name)
        member.type = kind
        data = fields.pop("data", b"")
        member.size = len(data)
        for field, value in fields.items():
            setattr(member, field, value)
        self._tar.addfile(member, io.BytesIO(data))
        return self

    def file(self, name: str, data: bytes = b"", mode: int = 0o644) -> "Archive":
        return self.add(name, data=data, mode=mode)

    def directory(self, name: str) -> "Archive":
        return self.add(name, tarfile.DIRTYPE)

    def symlink(self, name: str, target: str) -> "Archive":
        return self.add(name, tarfile.SYMTYPE, linkname=target)

    def hard_link(self, name: str, target: str) -> "Archive":
        return self.add(name, tarfile.LNKTYPE, linkname=target)

    def bytes(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


class Importer:
    """Imports archives and reads back what is in the store then."""

    def __init__(self, server: FakeReapiServer, directory: Path) -> None:
        self.server = server
        self._path = directory / "rootfs.tar"

    async def run(self, archive: "Archive | bytes") -> ImportedImage:
        self._path.write_bytes(archive if isinstance(archive, bytes) else archive.bytes())
        async with Client(self.server.address, remembers_digests=False) as client:
            return await client.import_image(self._path)

    async def tree(self, archive: "Archive | bytes") -> dict[str, Any]:
        return self.read((await self.run(archive)).root_digest)

    def read(self, digest: Digest) -> dict[str, Any]:
        """Files as (bytes, executable), symlinks as their targets, directories as dicts."""
        directory = Directory.FromString(self.blob(digest))
        found: dict[str, Any] = {}
        for file in directory.files:
            data = self.blob(Digest(file.digest.hash, file.digest.size_bytes))
            found[file.name] = (data, file.is_executable)
        for link in directory.symlinks:
            found[link.name] = link.target
        for below in directory.directories:
            found[below.name] = self.read(Digest(below.digest.hash, below.digest.size_bytes))
        return found

    def blob(self, digest: Digest) -> bytes:
        return self.server.blobs.blobs[digest] if digest.size_bytes else b""


@pytest.fixture
def importer(server: FakeReapiServer, tmp_path: Path) -> Importer:
    return Importer(server, tmp_path)


def root_file_system() -> Archive:
    archive = Archive().directory("./").directory("./bin/").directory("./empty/")
    archive.file("./bin/sh", b"#!", mode=0o755).hard_link("./bin/ash", "./bin/sh")
    return archive.symlink("./lib", "usr/lib").symlink("./etc/mtab", "/proc/mounts")


async def test_files_links_and_empty_directories_are_kept(importer: Importer) -> None:
    assert await importer.tree(root_file_system()) == {
        "bin": {"sh": (b"#!", True), "ash": (b"#!", True)},
        "empty": {},
        "etc": {"mtab": "/proc/mounts"},
        "lib": "usr/lib",
    }


async def test_the_tree_holds_the_same_and_is_what_the_platform_property_names(
    importer: Importer,
) -> None:
    found = await importer.run(root_file_system())
    tree = Tree.FromString(importer.blob(found.tree_digest))
    assert digest_of(tree.root.SerializeToString(deterministic=True)) == found.root_digest
    assert len(tree.children) == len({child.SerializeToString() for child in tree.children}) == 3
    properties = (found.platform_property,)
    assert execution_properties(properties, found.tree_digest.function).image == found.tree_digest


async def test_what_was_found_is_counted(importer: Importer) -> None:
    archive = root_file_system().add("dev/null", tarfile.CHRTYPE).add("dev/sda", tarfile.BLKTYPE)
    archive.add("run/initctl", tarfile.FIFOTYPE).add("dev/zero", tarfile.CHRTYPE)
    found = await importer.run(archive)
    assert (found.files, found.directories, found.symlinks, found.size_bytes) == (2, 5, 2, 4)
    assert found.left_out == {"character devices": 2, "block devices": 1, "FIFOs": 1}
    assert importer.read(found.root_digest)["dev"] == {}


async def test_a_second_import_sends_nothing(importer: Importer) -> None:
    data = root_file_system().bytes()
    first, second = await importer.run(data), await importer.run(data)
    assert first.uploaded_blobs > 0
    assert second.uploaded_blobs == second.uploaded_bytes == 0
    assert second.tree_digest == first.tree_digest


async def test_large_files_are_streamed_from_the_archive(importer: Importer) -> None:
    large = bytes(range(256)) * 8192
    tree = await importer.tree(Archive().file("a", b"small").file("b", large).file("c", b"x"))
    assert tree == {"a": (b"small", False), "b": (large, False), "c": (b"x", False)}


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstandard.compress],
    ids=["gzip", "bzip2", "xz", "zstd"],
)
async def test_compressed_archives_are_read(
    importer: Importer, compress: Callable[[bytes], bytes]
) -> None:
    data = root_file_system().bytes()
    plain = await importer.run(data)
    assert (await importer.run(compress(data))).tree_digest == plain.tree_digest


async def test_the_same_name_again_replaces_what_was_there(importer: Importer) -> None:
    archive = Archive().file("a", b"1").directory("b").file("b/c", b"2").symlink("d", "b")
    archive.file("a", b"3").file("b", b"4").directory("d")
    assert await importer.tree(archive) == {"a": (b"3", False), "b": (b"4", False), "d": {}}


async def test_a_symlink_on_the_way_to_a_member_is_followed_below_the_root(
    importer: Importer,
) -> None:
    archive = Archive().symlink("lib", "/usr/lib").symlink("up", "../../usr").file("lib/a", b"1")
    archive.file("up/b", b"2")
    assert await importer.tree(archive) == {
        "lib": "/usr/lib",
        "up": "../../usr",
        "usr": {"lib": {"a": (b"1", False)}, "b": (b"2", False)},
    }


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (Archive().file("../outside"), "leads out of the root"),
        (Archive().file("a/../../outside"), "leads out of the root"),
        (Archive().file("n" * 256), "too long"),
        (Archive().file("/".join(["d"] * 300)), "more than 256 directories deep"),
        (Archive().file("/".join(["d" * 200] * 20)), "more than 3500 bytes"),
        (Archive().file("\udcff"), "not UTF-8"),
        (Archive().hard_link("a", "../../etc/shadow"), "leads out of the root"),
        (Archive().hard_link("a", "absent"), "hard link to 'absent', which is not there"),
        (Archive().file("a").file("a/b"), "'a' is not a directory"),
        (Archive().symlink("a", "b").symlink("b", "a").file("a/c"), "lead in circles"),
        (Archive().symlink("a", ""), "without a usable target"),
        (Archive().add("a", tarfile.CONTTYPE[:0] + b"Z"), "a kind that is not served"),
    ],
)
async def test_a_member_that_cannot_be_in_a_tree_is_refused_by_name(
    importer: Importer, archive: Archive, message: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await importer.run(archive)
    assert message in caught.value.message
    assert caught.value.message.startswith("rootfs.tar: member ")
    assert not importer.server.blobs.blobs


@pytest.mark.parametrize("cut", [0, 100, 512, 700, 1024, 2000])
async def test_an_archive_that_is_cut_short_is_refused(importer: Importer, cut: int) -> None:
    data = Archive().file("a", b"x" * 600).file("b", b"y").bytes()
    with pytest.raises(InvalidArgument, match=r"rootfs\.tar"):
        await importer.run(data[:cut])


async def test_a_damaged_archive_is_refused(importer: Importer) -> None:
    data = bytearray(Archive().file("a").file("b").file("c").bytes())
    data[512 + 10] ^= 1  # in the header of b, whose checksum is wrong then
    with pytest.raises(InvalidArgument, match="damaged or cut short 512 bytes from its start"):
        await importer.run(bytes(data))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
async def test_a_damaged_compressed_archive_is_refused(
    importer: Importer, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(root_file_system().bytes())
    with pytest.raises(InvalidArgument, match="cannot be decompressed"):
        await importer.run(data[: len(data) // 2])


async def test_a_header_that_asks_for_much_memory_is_refused(importer: Importer) -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.XHDTYPE, 1 << 30
    await_data = member.tobuf() + bytes(64 << 20)
    with pytest.raises(InvalidArgument, match="asks for"):
        await importer.run(await_data)


async def test_too_many_members_are_refused(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reapi.clients.image_tree.MOST_ENTRIES", 3)
    with pytest.raises(InvalidArgument, match="more than 3 members"):
        await importer.run(Archive().file("a").file("b").file("c").file("d"))


async def test_a_decompression_bomb_is_refused(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reapi.clients.tar_archive.LARGEST_ARCHIVE_BYTES", 1 << 20)
    with pytest.raises(InvalidArgument, match="holds more than 1048576 bytes"):
        await importer.run(gzip.compress(bytes(16 << 20)))


async def test_no_room_to_decompress_says_what_to_do(
    importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> int:
        raise OSError(28, "No space left on device")

    data = gzip.compress(root_file_system().bytes())
    monkeypatch.setattr("reapi.clients.tar_archive.os.write", no_room)
    with pytest.raises(ResourceExhausted, match="set TMPDIR"):
        await importer.run(data)


async def test_an_archive_that_is_not_there_is_not_found(server: FakeReapiServer) -> None:
    async with Client(server.address, remembers_digests=False) as client:
        with pytest.raises(NotFound, match="cannot be read"):
            await client.import_image("/nonexistent.tar")


async def test_an_archive_that_changes_during_the_upload_is_noticed(
    importer: Importer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def upload_later(store: Any, blobs: Any, files: Any, on_progress: Any) -> Any:
        (tmp_path / "rootfs.tar").write_bytes(Archive().file("a", b"2").bytes())
        return await upload(store, blobs, files, on_progress)

    from reapi.clients.upload import upload

    monkeypatch.setattr("reapi.clients.client.upload", upload_later)
    with pytest.raises(FailedPrecondition, match=r"rootfs\.tar: a changed while"):
        await importer.run(Archive().file("a", b"1"))


LOWER = (
    Archive().file("kept", b"1").file("gone", b"2").file("dir/a", b"3").file("dir/b", b"4").bytes()
)
UPPER = (
    Archive()
    .file("dir/c", b"5")
    .file("dir/.wh..wh..opq")
    .file(".wh.gone")
    .file(".wh..wh.plnk/1.2")
    .hard_link("again", "kept")
    .bytes()
)
MERGED = {"kept": (b"1", False), "again": (b"1", False), "dir": {"c": (b"5", False)}}


def docker_save(*layers: bytes, images: int = 1) -> Archive:
    archive = Archive()
    names = [f"{digest_of(layer).hash}/layer.tar" for layer in layers]
    for name, layer in zip(names, layers, strict=True):
        archive.file(name, layer)
    return archive.file("manifest.json", json.dumps([{"Layers": names}] * images).encode())


def oci_layout(*layers: bytes) -> Archive:
    archive = Archive().file("oci-layout", b"{}").directory("blobs").directory("blobs/sha256")

    def add(data: bytes) -> dict[str, Any]:
        digest = digest_of(data).hash
        archive.file(f"blobs/sha256/{digest}", data)
        return {"digest": f"sha256:{digest}"}

    manifest = add(json.dumps({"layers": [add(layer) for layer in layers]}).encode())
    attestation = {"digest": "sha256:0", "platform": {"architecture": "unknown"}}
    index = add(json.dumps({"manifests": [manifest, attestation]}).encode())
    return archive.file("index.json", json.dumps({"manifests": [index]}).encode())


@pytest.mark.parametrize("save", [docker_save, oci_layout])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
async def test_the_layers_of_an_image_are_put_upon_one_another(
    importer: Importer, save: Callable[..., Archive], compress: Callable[[bytes], bytes]
) -> None:
    found = await importer.run(save(compress(LOWER), compress(UPPER)))
    assert importer.read(found.root_digest) == MERGED
    assert found.layers == 2


async def test_an_archive_of_an_image_may_be_compressed_itself(importer: Importer) -> None:
    assert await importer.tree(gzip.compress(docker_save(LOWER, UPPER).bytes())) == MERGED


async def test_files_of_a_plain_archive_may_have_the_names_of_whiteouts(importer: Importer) -> None:
    assert await importer.tree(Archive().file("a").file(".wh.a")) == {
        "a": (b"", False),
        ".wh.a": (b"", False),
    }


async def test_a_root_file_system_with_a_manifest_is_no_image(importer: Importer) -> None:
    archive = docker_save(LOWER).directory("usr")
    assert "manifest.json" in await importer.tree(archive)


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (docker_save(LOWER, images=2), "holds 2 images"),
        (Archive().file("manifest.json", b"{"), "is not JSON"),
        (Archive().file("manifest.json", b'[{"Layers": ["a"]}]'), "lacks its part a"),
        (Archive().file("manifest.json", b"[{}]"), "names no layers"),
        (Archive().file("manifest.json", b"7"), "is no image as"),
        (Archive().file("index.json", b'{"manifests": [{"digest": "../x"}]}'), "names no blob"),
        (Archive().file("index.json", b'{"manifests": [7]}'), "is no image as"),
    ],
)
async def test_an_image_that_cannot_be_read_is_refused(
    importer: Importer, archive: Archive, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await importer.run(archive)

"""What is wrong in a cache, by accident or on purpose, is a miss and harms nobody."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reapi.clients.compile.model import Finished
from reapi.clients.compile.outcome import OutcomeKind
from reapi.clients.compile.packing import pack, unpack
from reapi.clients.compile.service import Service
from reapi.protos.reapi.compile.v1 import manifest_pb2
from tests.integration.compile.checkout import Checkout, Client, kind_of, open_client
from tests.integration.compile.test_compiler_flags import assert_same

pytestmark = pytest.mark.asyncio(loop_scope="session")

HIT, MISS = OutcomeKind.HIT_LOCAL, OutcomeKind.MISS_REMOTE
CALL = ("-c", "foo.c", "-Iinclude", "-MD")


@pytest.fixture
def project(checkout: Checkout, request: pytest.FixtureRequest) -> Checkout:
    checkout.write("include/a.h", "#define A 1\n")
    name = request.node.name.replace("\0", "")
    checkout.write("foo.c", f'#include "a.h"\nint f(int x) {{ return x + A; }}\n// {name}\n')
    return checkout


async def ends(project: Checkout, client: Client, *kinds: OutcomeKind) -> Finished:
    call = project.call("gcc", *CALL)
    plain = project.plain(call)
    ended, answer = await project.through(client, call)
    await client.shared(call)
    assert kind_of(answer) in kinds, answer
    assert isinstance(answer, Finished)
    assert_same(ended, plain)
    return answer


def files_of(cache: Path, kind: str) -> Iterator[Path]:
    return (path for path in cache.glob(f"*/{kind}/*/*") if path.is_file())


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"",
        lambda data: os.urandom(len(data)),
    ],
)
async def test_what_is_damaged_here_is_fetched_again(
    project: Checkout, open_path: Path, kind: str, damage: Callable[[bytes], bytes]
) -> None:
    async with open_client(open_path / "cache") as client:
        await ends(project, client, MISS)
    for path in files_of(open_path / "cache", kind):
        path.write_bytes(damage(path.read_bytes()))
    async with open_client(open_path / "cache") as client:
        await ends(project, client, OutcomeKind.HIT_REMOTE)
        await ends(project, client, HIT)


async def test_a_cache_that_is_a_file_or_read_only_keeps_nothing_and_stops_nobody(
    project: Checkout, open_path: Path
) -> None:
    (open_path / "cache").write_text("")
    async with open_client(open_path / "cache") as client:
        await ends(project, client, MISS)
        await ends(project, client, HIT, OutcomeKind.HIT_REMOTE)


async def test_a_full_disk_keeps_nothing_and_stops_nobody(
    project: Checkout, open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with open_client(open_path / "cache") as client:
        monkeypatch.setattr("reapi.clients.compile.local_cache.write_all", is_full)
        await ends(project, client, MISS)
        await ends(project, client, OutcomeKind.HIT_REMOTE)
    assert not list((open_path / "cache").rglob("*.tmp"))


def bomb() -> bytes:
    return pack(b"\0" * (65 << 20))


def manifest(change: Callable[[manifest_pb2.Entry], object]) -> Callable[[bytes], bytes]:
    """The real one with a change in its entry."""

    def changed(data: bytes) -> bytes:
        message = manifest_pb2.Manifest.FromString(unpack(data, largest_bytes=1 << 20))
        for entry in message.entries:
            change(entry)
        return pack(message.SerializeToString())

    return changed


def same_index(entry: manifest_pb2.Entry) -> None:
    entry.result.outputs.append(entry.result.outputs[0])


def large(entry: manifest_pb2.Entry) -> None:
    entry.result.outputs[0].size_bytes = (1 << 64) - 1


def set_index(entry: manifest_pb2.Entry) -> None:
    entry.result.outputs[0].index = 7


def no_outputs(entry: manifest_pb2.Entry) -> None:
    del entry.result.outputs[:]


def many_outputs(entry: manifest_pb2.Entry) -> None:
    for _ in range(10_000):
        entry.result.outputs.append(entry.result.outputs[0])


def no_inputs(entry: manifest_pb2.Entry) -> None:
    del entry.inputs[:]


def other_path(path: str) -> Callable[[manifest_pb2.Entry], None]:
    def change(entry: manifest_pb2.Entry) -> None:
        entry.inputs[0].path = path

    return change


def short_hash(entry: manifest_pb2.Entry) -> None:
    entry.result.outputs[0].hash = b"\1"


def other_depfile(rule: bytes) -> Callable[[manifest_pb2.Entry], None]:
    def change(entry: manifest_pb2.Entry) -> None:
        entry.result.depfile = rule

    return change


def absent_blob(entry: manifest_pb2.Entry) -> None:
    entry.result.outputs[0].hash = b"\7" * 32


def wrong_size(entry: manifest_pb2.Entry) -> None:
    entry.result.outputs[0].size_bytes += 1


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "garbage": lambda data: b"garbage",
    "packed garbage": lambda data: pack(b"\xff" * 100),
    "bomb": lambda data: bomb(),
    "many": lambda data: pack(unpack(data, largest_bytes=1 << 20) * 5000),
    "large": manifest(large),
    "index": manifest(set_index),
    "same index": manifest(same_index),
    "no outputs": manifest(no_outputs),
    "many outputs": manifest(many_outputs),
    "no inputs": manifest(no_inputs),
    "relative": manifest(other_path("etc/passwd")),
    "nul": manifest(other_path("/etc/\0passwd")),
    "endless": manifest(other_path("/proc/kmsg")),
    "endless by a detour": manifest(other_path("/etc/../proc/kmsg")),
    "directory": manifest(other_path("/etc")),
    "hash": manifest(short_hash),
    "depfile": manifest(other_depfile(b"garbage")),
    "depfile bomb": manifest(other_depfile(pack(b"\0" * (65 << 20)))),
    "absent": manifest(absent_blob),
    "wrong size": manifest(wrong_size),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_M9_whatever_a_server_says_is_a_manifest_is_checked(
    project: Checkout,
    open_path: Path,
    here: Client,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    await ends(project, here, MISS)
    real = Service.manifest

    async def hostile(this: Service, key: str) -> bytes | None:
        data = await real(this, key)
        return None if data is None else HOSTILE[name](data)

    monkeypatch.setattr(Service, "manifest", hostile)
    async with open_client(open_path / "cache") as client:
        await ends(project, client, MISS, *([OutcomeKind.HIT_REMOTE] if name == "many" else []))
        await ends(project, client, HIT)

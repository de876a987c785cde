from reapi.clients.compile.manifest import Entry, Interner, read_manifest, write_manifest
from reapi.clients.compile.model import CANONICAL_ROOT, View
from reapi.clients.compile.packing import pack
from reapi.core.digest import SHA256, digest_of
from reapi.protos.reapi.compile.v1 import manifest_pb2

HERE = View("/home/a/project", CANONICAL_ROOT)
THERE = View("/home/b/checkout", CANONICAL_ROOT)


def _entry(view: View, text: bytes = b"x", root: str = "") -> Entry:
    result = manifest_pb2.Result(stderr=b"a warning")
    result.outputs.add(index=0, hash=bytes.fromhex(digest_of(text).hash), size_bytes=len(text))
    records = [(f"{view.root}/x.c", digest_of(text)), ("/usr/include/y.h", digest_of(b"y"))]
    return Entry(records, "lookups", result, root, names=b"names")


def _read(data: bytes, view: View) -> list[Entry]:
    return read_manifest(data, view, SHA256, Interner())


def test_what_one_checkout_wrote_another_reads_with_its_own_paths() -> None:
    data = write_manifest([_entry(HERE)], HERE)
    (found,) = _read(data, THERE)
    assert found.records == _entry(THERE).records
    assert found.fingerprint == "lookups"
    assert found.names == b"names"
    assert found.result == _entry(HERE).result


def test_what_holds_for_one_checkout_only_is_kept_by_the_others_that_write() -> None:
    data = write_manifest([_entry(HERE, root=HERE.root), _entry(HERE, b"2")], HERE)
    again = write_manifest(_read(data, THERE), THERE)
    assert [entry.root for entry in _read(again, HERE)] == [HERE.root, ""]


def test_the_latest_few_are_kept() -> None:
    entries = [_entry(HERE, bytes([number])) for number in range(100)]
    found = _read(write_manifest(entries, HERE), HERE)
    assert 1 < len(found) < 20
    assert found[0].records == entries[0].records


def test_equal_files_of_two_entries_are_one_object() -> None:
    intern = Interner()
    data = write_manifest([_entry(HERE)], HERE)
    one, other = (read_manifest(data, HERE, SHA256, intern)[0] for _ in range(2))
    assert one.records[0] is other.records[0]


def test_what_is_damaged_has_no_entries() -> None:
    data = write_manifest([_entry(HERE)], HERE)
    for damaged in (b"", b"garbage", data[:-5], pack(b"\xff\xff\xff")):
        assert _read(damaged, HERE) == []


def test_a_bomb_has_no_entries() -> None:
    bomb = pack(bytes(1 << 28))
    assert _read(bomb, HERE) == []
    assert _read(bytes(8) + bomb[8:], HERE) == []


def test_an_entry_with_a_hash_of_another_function_is_left_out() -> None:
    message = manifest_pb2.Manifest()
    message.entries.add().inputs.add(path="/x", hash=b"short")
    message.entries.add().result.outputs.add(hash=b"x" * 20)
    assert _read(pack(message.SerializeToString()), HERE) == []
